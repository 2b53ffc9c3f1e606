//! The same promises over HTTP/2 and TLS: hits, shared fetches, visible cuts.

use tidegate::config::{DiskAdmission, DiskCache};

use crate::stage::Stage;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::origin::Seen;
use crate::stage::reply::{Frame, Trouble, reply};
use crate::stage::settings::encrypted;

#[tokio::test]
async fn a_hit_is_a_hit_over_http_2_and_says_the_same() {
    let (stage, identity) = secure().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").etag("\"1\"").body("page")]);
    let client = H2Client::connect(stage.address(), &identity).await;
    client.get("/x").await.expect(200, "page").cache_status("fwd=uri-miss; fwd-status=200; stored; ttl=60");
    stage.until(|count| count.stored == 1).await;
    let hit = client.get("/x").await;
    hit.expect(200, "page")
        .cache_status("hit; ttl=60")
        .has("etag", "\"1\"")
        .has("age", "0")
        .lacks("connection");
    stage.origin("a").saw(1, "/x");
}

/// Many windows of it: each opens again as the origin takes what came.
#[tokio::test]
async fn an_upload_of_many_windows_reaches_the_origin() {
    let (stage, identity) = secure().await;
    stage.origin("a").answers("/take", |seen: &Seen| {
        let sum: u64 = seen.body.iter().map(|byte| u64::from(*byte)).sum();
        reply(200).cache_control("no-store").body(format!("{} {sum}", seen.body.len()))
    });
    let client = H2Client::connect(stage.address(), &identity).await;
    let body: Vec<u8> = (0..1_500_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let others: Vec<_> = (0..3).map(|_| tokio::spawn(client.post("/take", body.clone()))).collect();
    for other in others {
        let answer = other.await.expect("no panic");
        assert_eq!(answer.expect_status(200).body, format!("1500000 {sum}").into_bytes());
    }
}

/// More than a stream's window: read from disk as the client takes it.
#[tokio::test]
async fn a_large_body_comes_from_disk_over_http_2() {
    let directory = Directory::new();
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let disk =
        DiskCache { path: directory.path().to_owned(), bytes: 64 << 20, admission: DiskAdmission::default() };
    let build = Stage::build().config(move |config, _| {
        config.listeners = vec![encrypted(cert, key)];
        config.cache.memory_bytes = 1 << 20;
        config.cache.disk = Some(disk);
    });
    let stage = build.start().await;
    let body: Vec<u8> = (0..625_000_u32).flat_map(u32::to_le_bytes).collect();
    let page = reply(200).cache_control("max-age=60").etag("\"1\"").body(body.clone());
    stage.origin("a").on("/x", [page]);
    let client = H2Client::connect(stage.address(), &identity).await;
    assert!(client.get("/x").await.expect_status(200).body == body);
    stage.until(|count| count.stored == 1).await;
    let hit = client.get("/x").await;
    assert!(hit.expect_status(200).is_hit() && hit.body == body);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn streams_of_one_connection_share_a_fetch_and_one_that_waits_holds_up_no_other() {
    let (stage, identity) = secure().await;
    let gate = Gate::shut();
    stage.origin("a").on("/slow", [reply(200).cache_control("max-age=60").body("slow").head_after(&gate)]);
    stage.origin("a").on("/quick", [reply(200).cache_control("max-age=60").body("quick")]);
    let client = H2Client::connect(stage.address(), &identity).await;
    let slow: Vec<_> = (0..20).map(|_| tokio::spawn(client.get("/slow"))).collect();
    stage.until(|count| count.collapsed == 19).await;
    client.get("/quick").await.expect(200, "quick");
    gate.open();
    for answer in slow {
        answer.await.expect("no panic").expect(200, "slow");
    }
    stage.origin("a").saw(1, "/slow");
}

#[tokio::test]
async fn a_body_that_is_cut_resets_its_stream_and_no_other() {
    let (stage, identity) = secure().await;
    stage.origin("a").on("/whole", [reply(200).cache_control("max-age=60").body("whole")]);
    let client = H2Client::connect(stage.address(), &identity).await;
    for framing in [Frame::Length, Frame::Chunks(3)] {
        for at in [0, 1, 5, 8] {
            let target = format!("/{at}{}", framing == Frame::Length);
            let cut = reply(200).cache_control("max-age=60").body("firstlast").framed(framing);
            stage.origin("a").on(&target, [cut.but(Trouble::Truncates(at))]);
            let answer = client.get(&target).await;
            assert!(answer.status == 502 || answer.was_cut(), "{framing:?} at {at}: {answer:?}");
            client.get("/whole").await.expect(200, "whole");
        }
    }
    stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    assert_eq!(stage.count().stored, 1);
}

async fn secure() -> (Stage, Identity) {
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let stage =
        Stage::build().config(move |config, _| config.listeners = vec![encrypted(cert, key)]).start().await;
    (stage, identity)
}
