//! Calls that purge, and the log of them.

use super::*;

#[tokio::test]
async fn a_purge_gets_a_receipt() {
    let stage = Stage::new();
    let got = stage.send(purge_of(r#"{"urls":["https://a/x","https://a/y"],"soft":true}"#)).await;
    let receipt = got.json();
    assert_eq!(got.status, 200, "{receipt}");
    assert_eq!(
        (&receipt["sequence"], &receipt["scope"], &receipt["soft"]),
        (&json!(1), &json!("url"), &json!(true))
    );
    assert_eq!(receipt["nodes"], json!([{"node": "n1", "sequence": 1, "ms": 0}]));
    assert_eq!(receipt["id"], "e1", "the log's name for it");
    let orders = stage.node.purges.orders();
    assert!(matches!(&orders[..], [Order { selectors, soft: true }] if selectors.len() == 2), "{orders:?}");
}

#[tokio::test]
async fn a_call_may_name_anything_and_has_one_number_and_one_place_in_the_log() {
    let stage = Stage::new();
    let body = r#"{"urls":["https://A/b/../x"],"prefixes":["https://a/news/"],"hosts":["a"],"tags":["t"]}"#;
    let receipt = stage.send(purge_of(body)).await.json();
    assert_eq!((&receipt["sequence"], &receipt["scope"]), (&json!(1), &json!("mixed")), "{receipt}");
    let told = stage.call("GET", "/v1/purge/1").await.json();
    assert_eq!((&told["id"], &told["sequence"]), (&receipt["id"], &json!(1)));
    assert_eq!(told["order"]["urls"], json!(["https://a/x"]), "in the spelling that it is known by");
    assert_eq!(told["nodes"][0]["node"], "n1");
    let log = stage.call("GET", "/v1/purges?since=0").await.json();
    assert_eq!((&log["sequence"], &log["purges"][0]["id"]), (&json!(1), &receipt["id"]), "{log}");
    assert_eq!(stage.call("GET", "/v1/purges?since=1").await.json()["purges"], json!([]));
    let got = stage.call("GET", "/v1/purge/2").await;
    assert_eq!((got.status, got.code().as_str()), (404, "no-purge"));
}

#[tokio::test]
async fn the_log_is_held_open_until_something_comes_or_time_is_over() {
    let stage = Stage::new();
    let clock = stage.service.0.clock.clone();
    let (got, ()) = tokio::join!(stage.call("GET", "/v1/purges?since=0&wait=30"), async {
        tokio::task::yield_now().await;
        clock.advance(std::time::Duration::from_secs(29));
        tokio::task::yield_now().await;
        stage.send(purge_of(r#"{"tags":["t"]}"#)).await;
    });
    assert_eq!(got.json()["purges"][0]["sequence"], 1, "{}", got.body);
    let (got, ()) = tokio::join!(stage.call("GET", "/v1/purges?since=1&wait=30"), async {
        tokio::task::yield_now().await;
        clock.advance(std::time::Duration::from_secs(30));
    });
    assert_eq!((got.status, &got.json()["purges"]), (200, &json!([])));
}

#[tokio::test]
async fn who_waits_for_the_fleet_is_told_who_is_late() {
    let late = Remembers { purges: Fake::default().late(&["lon-1", "nyc-1"]), ..Remembers::default() };
    let stage = Stage::of(late, Door::Loopback);
    let got = stage.send(purge_of(r#"{"tags":["t"],"wait":"fleet"}"#)).await;
    assert_eq!((got.status, &got.json()["late"]), (202, &json!(["lon-1", "nyc-1"])));
    let got = stage.send(purge_of(r#"{"tags":["t"],"wait":"node"}"#)).await;
    assert_eq!((got.status, &got.json()["late"]), (200, &Value::Null));
    assert_eq!(stage.call("GET", "/v1/purge/1").await.json()["late"], json!(["lon-1", "nyc-1"]));
}

#[tokio::test]
async fn a_dry_run_purges_nothing() {
    let stage = Stage::new();
    let receipt = stage.send(purge_of(r#"{"urls":["https://a/x"],"dry_run":true}"#)).await.json();
    assert_eq!(
        (&receipt["matched"], &receipt["dry_run"], &receipt["sequence"]),
        (&json!(0), &json!(true), &Value::Null)
    );
    assert!(stage.node.purges.orders().is_empty());
}

#[tokio::test]
async fn a_purge_that_is_refused_purges_nothing() {
    let stage = Stage::new();
    let long = vec![b' '; crate::config::limits::PURGE_BODY_BYTES_MAX];
    let good = br#"{"urls":["https://a/x"]}"#;
    for (claim, request, status, code) in [
        ("an empty selection", purge_of("{}"), 400, "empty-selection"),
        ("a bad URL beside a good one", purge_of(r#"{"urls":["https://a/x","/y"]}"#), 422, "malformed-url"),
        (
            "a bad host beside a good URL",
            purge_of(r#"{"urls":["https://a/x"],"hosts":["a:1"]}"#),
            422,
            "malformed-host",
        ),
        ("a misspelt member", purge_of(r#"{"urls":["https://a/x"],"sotf":true}"#), 400, "malformed-request"),
        (
            "everything beside URLs",
            purge_of(r#"{"everything":true,"urls":["https://a/x"]}"#),
            400,
            "everything-not-by-itself",
        ),
        (
            "a body beyond its bound",
            with_body(
                request("POST", "/v1/purge", &[]),
                vec![Ok(Bytes::from(long)), Ok(Bytes::from_static(good))],
            ),
            413,
            "body-too-long",
        ),
        (
            "a body that breaks off where it would be whole",
            with_body(
                request("POST", "/v1/purge", &[]),
                vec![Ok(Bytes::from_static(good)), Err(BodyError::Closed)],
            ),
            400,
            "body",
        ),
    ] {
        let got = stage.send(request).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{claim}");
    }
    assert!(stage.node.purges.orders().is_empty());
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let stage = Stage::new();
    let (sender, frames) = mpsc::channel(1);
    let mut request = request("POST", "/v1/purge", &[]);
    request.body = RequestBody::Channel { frames, length: None, ended: false, wanted: None };
    let clock = stage.service.0.clock.clone();
    let (got, ()) = tokio::join!(stage.send(request), async {
        tokio::task::yield_now().await;
        clock.advance(crate::config::limits::ADMIN_BODY_TIMEOUT);
    });
    assert_eq!((got.status, got.code().as_str()), (408, "body-timeout"));
    drop(sender);
}

#[tokio::test]
async fn who_asked_is_told_beside_what_was_purged() {
    let stage = Stage::with_token(&[Permission::Purge, Permission::Read]);
    let mut asked = with_body(request("POST", "/service/s1/purge/front", &[("Fastly-Key", "abc")]), vec![]);
    asked.client = Arc::new(Client::new("192.0.2.9:1".parse().unwrap(), None));
    assert_eq!(stage.send(asked).await.body, "{\"id\":\"e1\",\"status\":\"ok\"}\n");
    let reader = [("Authorization", "Bearer abc")];
    let log = stage.send(request("GET", "/v1/purges", &reader)).await.json();
    let entry = &log["purges"][0];
    assert_eq!((&entry["by"], &entry["client"]), (&json!("ci"), &json!("192.0.2.9")), "{log}");
    assert_eq!((&entry["via"], &entry["matched"]), (&json!("/service/{service}/purge/{key}"), &json!(0)));
    assert_eq!(entry["order"], json!({ "tags": ["front"], "soft": false }));
}

/// What other people's plugins send, and what they look for in the answer.
#[tokio::test]
async fn calls_in_other_peoples_shapes_purge_and_are_answered_in_their_words() {
    let bearer = ("Authorization", "Bearer abc");
    let (key, soft) = (("Fastly-Key", "abc"), ("Fastly-Soft-Purge", "1"));
    for (target, lines, body, order, answer) in [
        (
            "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache",
            &[bearer][..],
            r#"{"files":["https://a/x"]}"#,
            r#"{"soft":false,"urls":["https://a/x"]}"#,
            r#"{"errors":[],"messages":[],"result":{"id":"e1","matched":0,"sequence":1},"success":true}"#,
        ),
        (
            "/zones/any/purge_cache",
            &[("X-Auth-Key", "abc"), ("X-Auth-Email", "a@b")],
            r#"{"purge_everything":true}"#,
            r#"{"everything":true,"soft":false}"#,
            r#"{"errors":[],"messages":[],"result":{"id":"e1","matched":0,"sequence":1},"success":true}"#,
        ),
        (
            "/service/SU1/purge/article%2F42",
            &[key, soft],
            "",
            r#"{"soft":true,"tags":["article/42"]}"#,
            r#"{"id":"e1","status":"ok"}"#,
        ),
        (
            "/service/SU1/purge",
            &[key, ("Surrogate-Key", "a b")],
            "",
            r#"{"soft":false,"tags":["a","b"]}"#,
            r#"{"a":"e1","b":"e1"}"#,
        ),
        (
            "/service/SU1/purge",
            &[bearer],
            r#"{"surrogate_keys":["a"]}"#,
            r#"{"soft":false,"tags":["a"]}"#,
            r#"{"a":"e1"}"#,
        ),
        (
            "/service/SU1/purge_all",
            &[key],
            "",
            r#"{"everything":true,"soft":false}"#,
            r#"{"id":"e1","status":"ok"}"#,
        ),
    ] {
        let stage = Stage::with_token(&[Permission::Purge]);
        let got =
            stage.send(with_body(request("POST", target, lines), vec![Ok(body.to_owned().into())])).await;
        assert_eq!((got.status, got.body.trim_end()), (200, answer), "{target}");
        let orders = stage.node.purges.orders();
        assert_eq!(purge_api::log::order_json(&orders[0]).to_string(), order, "{target}");

        // The same without the token, in words that its callers know.
        let got = stage.send(request("POST", target, &[])).await;
        assert_eq!(got.status, 401, "{target}");
        let told = got.json();
        assert!(told["success"] == json!(false) || told["msg"] == "Unauthorized", "{told}");
        assert_eq!(stage.node.purges.orders().len(), 1);
    }
}

#[tokio::test]
async fn a_deploy_purges_what_differs_from_the_one_before() {
    let stage = Stage::new();
    let send = |files: &str, rest: &str| {
        let body = format!("{{\"site\":\"https://A/\",\"files\":{files}{rest}}}");
        stage.send(with_body(request("POST", "/v1/deploy", &[]), vec![Ok(body.into())]))
    };
    let first = send(r#"{"index.html":"1","a.css":"1"}"#, "").await.json();
    assert_eq!(
        (&first["first"], &first["whole_site"], &first["soft"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!((&first["sequence"], &first["site"]), (&json!(1), &json!("https://a/")));
    let dry = send(r#"{"index.html":"2","a.css":"1"}"#, r#","dry_run":true"#).await.json();
    assert_eq!(
        (&dry["changed"], &dry["sequence"], &dry["dry_run"]),
        (&json!(["index.html"]), &Value::Null, &json!(true))
    );
    let second = send(r#"{"index.html":"2","b.css":"1"}"#, r#","soft":false"#).await.json();
    assert_eq!(
        (&second["sequence"], &second["scope"], &second["soft"]),
        (&json!(2), &json!("url"), &json!(false))
    );
    assert_eq!(
        second["counts"],
        json!({ "added": 1, "changed": 1, "removed": 1, "unchanged": 0, "elsewhere": 0 })
    );
    let same = send(r#"{"index.html":"2","b.css":"1"}"#, "").await;
    assert_eq!(
        (same.status, &same.json()["sequence"], &same.json()["counts"]["unchanged"]),
        (200, &Value::Null, &json!(2))
    );
    let entry = stage.call("GET", "/v1/purge/2").await.json();
    assert_eq!(entry["via"], "/v1/deploy");
    assert_eq!(
        entry["order"]["urls"],
        json!(["https://a/b.css", "https://a/index.html", "https://a/", "https://a/a.css"])
    );
    let refused = send("{}", "").await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "empty-selection"));
    assert_eq!(stage.node.purges.sequence(), 2);
}
