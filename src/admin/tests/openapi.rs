//! The document that describes the calls is held against the calls.

use purge_api::PurgeRequest;
use purge_api::compat::{service, zones};
use purge_api::deploy::DeployRequest;

use super::*;

#[tokio::test]
async fn the_document_has_every_call_and_no_other() {
    let document = Stage::new().call("GET", "/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut told: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let mut calls: Vec<_> =
        calls::CALLS.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    told.sort_unstable();
    calls.sort_unstable();
    assert_eq!(told, calls);
}

#[tokio::test]
async fn what_needs_no_token_is_told_to_need_none() {
    let document = Stage::new().call("GET", "/v1/openapi.json").await.json();
    for call in calls::CALLS {
        let operation = &document["paths"][call.path][call.method.to_lowercase()];
        let open = operation["security"] == json!([{}]);
        assert_eq!(open, call.needs.is_empty(), "{}", call.path);
        let keys: Vec<_> = operation["security"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|one| one.as_object().unwrap().keys())
            .collect();
        for key in call.keys {
            assert!(keys.iter().any(|known| known == key), "{}: {key}", call.path);
        }
    }
}

#[tokio::test]
async fn its_examples_are_calls() {
    let document = Stage::new().call("GET", "/v1/openapi.json").await.json();
    let as_written = |url: &purge_api::ResourceUrl| Ok(url.clone());
    let mut seen = 0;
    for call in calls::CALLS.iter().filter(|call| call.method == "POST") {
        let mut body = &document["paths"][call.path]["post"]["requestBody"];
        if let Some(reference) = body["$ref"].as_str() {
            body = document.pointer(reference.trim_start_matches('#')).unwrap();
        }
        for (name, example) in
            body["content"]["application/json"]["examples"].as_object().into_iter().flatten()
        {
            let text = example["value"].to_string();
            let bytes = text.as_bytes();
            let refused = match call.route {
                Route::Purge => PurgeRequest::parse(bytes, &as_written).err(),
                Route::ZonePurge => zones::parse(bytes, &as_written).err(),
                Route::KeysPurge => service::keys(None, bytes, false).err(),
                Route::Steer => steer::Move::parse(bytes).err().map(|_| purge_api::Refusal::Empty),
                Route::Deploy => DeployRequest::parse(bytes, &as_written).err(),
                _ => panic!("{} has no body", call.path),
            };
            assert_eq!(refused, None, "{} {name}", call.path);
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

/// What the parsers know and what the document says of it are the same members.
#[tokio::test]
async fn its_bodies_have_the_members_that_are_understood() {
    let document = Stage::new().call("GET", "/v1/openapi.json").await.json();
    for (schema, target) in [("Purge", "/v1/purge"), ("Deploy", "/v1/deploy")] {
        let unknown =
            with_body(request("POST", target, &[]), vec![Ok(Bytes::from_static(b"{\"nonsense\":1}"))]);
        let told = Stage::new().send(unknown).await.json();
        let detail = told["errors"][0]["detail"].as_str().unwrap().to_owned();
        let (_, known) = detail.split_once("known are ").unwrap();
        let mut known: Vec<_> = known.split(", ").flat_map(|part| part.split(" and ")).collect();
        let members = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        let mut told: Vec<_> = members.keys().map(String::as_str).collect();
        known.sort_unstable();
        told.sort_unstable();
        assert_eq!(known, told, "{schema}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let text = include_str!("../openapi.json");
    let document = Stage::new().call("GET", "/v1/openapi.json").await.json();
    for reference in text.split("\"$ref\": \"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
