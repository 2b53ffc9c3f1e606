//! A purge is a fact: what was fetched before it is not served as fresh after it was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stage::client::gather;
use crate::stage::gate::Gate;
use crate::stage::origin::Seen;
use crate::stage::reply::{Reply, reply};
use crate::stage::settings::HOST;
use crate::stage::{Stage, secs};

#[tokio::test]
async fn what_was_purged_is_fetched_anew() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page("old"), page("new")]);
    stored(&stage, "/x", "old").await;
    let receipt = stage.purge(&["/x"], false).await;
    assert!(receipt.text().contains("\"matched\":1"), "{}", receipt.text());
    let last = format!("\"sequence\":{}", stage.count().purge_sequence);
    assert!(receipt.text().contains(&last), "{}", receipt.text());
    stage.client().get("/x").await.expect(200, "new").cache_status_has("stored");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_purge_takes_what_it_names_and_nothing_else() {
    let stage = Stage::new().await;
    for target in ["/x", "/x?a=1", "/x/", "/y"] {
        stage.origin("a").on(target, [page("old"), page("new")]);
        stored(&stage, target, "old").await;
    }
    stage.purge(&["/x"], false).await;
    stage.client().get("/x").await.expect(200, "new");
    for target in ["/x?a=1", "/x/", "/y"] {
        assert!(stage.client().get(target).await.expect(200, "old").is_hit(), "{target}");
    }
}

#[tokio::test]
async fn a_purge_names_a_page_by_any_spelling_of_its_url() {
    let spellings = [
        "http://WWW.Example.TEST/a%20b/~c",
        "http://www.example.test:80/a%20b/%7Ec",
        "http://www.example.test./a%20b/~c",
        "https://www.example.test/a%20b/./d/../~c",
        "http://www.example.test/a%20b/~c#part",
    ];
    for url in spellings {
        let stage = Stage::new().await;
        stage.origin("a").on("/a%20b/~c", [page("old"), page("new")]);
        stored(&stage, "/a%20b/~c", "old").await;
        let body = format!("{{\"urls\": [\"{url}\"]}}");
        let answer = stage.operator().post("/v1/purge", &body).await;
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        let answer = stage.client().get("/a%20b/~c").await;
        assert_eq!(answer.text(), "new", "{url}");
    }
}

/// Not what it took, which nobody may ask for again: what was fetched again for it.
#[tokio::test]
async fn what_a_purge_has_cost_the_origin_is_told() {
    let stage = Stage::new().await;
    for target in ["/a", "/b", "/c"] {
        let answer = |body| page(body).field("surrogate-key", "t");
        stage.origin("a").on(target, [answer("1"), answer("2"), answer("3"), answer("4")]);
        stored(&stage, target, "1").await;
    }
    let refetched = async |sequence: u64| {
        let answer = stage.operator().get(&format!("/v1/purge/{sequence}")).await;
        let told: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
        told["refetched"].as_u64().expect("a number")
    };
    let host = format!("{{\"hosts\": [\"{HOST}\"]}}");
    for (version, body, asked) in [
        ("2", "{\"tags\": [\"t\"]}", &["/a", "/b"][..]),
        ("3", &*host, &["/a", "/b"]),
        ("4", "{\"urls\": [\"http://www.example.test/a\", \"http://www.example.test/b\"]}", &["/a"]),
    ] {
        assert_eq!(stage.operator().post("/v1/purge", body).await.status, 200, "{body}");
        let sequence = stage.count().purge_sequence;
        assert_eq!(refetched(sequence).await, 0, "{body}: nobody has asked yet");
        for target in asked {
            stored(&stage, target, version).await;
            assert!(stage.client().get(target).await.is_hit());
        }
        assert_eq!(refetched(sequence).await, asked.len() as u64, "{body}");
    }
    assert_eq!(refetched(1).await, 2, "what was taken twice was fetched for the second");
    let metrics = stage.operator().get("/metrics").await;
    let metrics = metrics.text();
    assert!(metrics.contains("\ntidegate_purge_refetches_total 5\n"), "{metrics}");
}

#[tokio::test]
async fn a_purge_takes_every_variant() {
    let stage = Stage::new().await;
    let version = Arc::new(AtomicU64::new(1));
    let now = Arc::clone(&version);
    stage.origin("a").answers("/x", move |seen: &Seen| {
        let language = seen.field("accept-language").unwrap_or_default();
        page(&format!("{language} {}", now.load(Ordering::Relaxed))).vary("Accept-Language, Accept-Encoding")
    });
    let ask = |language| stage.client().header("accept-language", language).get("/x");
    for language in ["de", "fr", "en"] {
        ask(language).await.expect(200, &format!("{language} 1"));
    }
    stage.until(|count| count.stored == 3).await;
    version.store(2, Ordering::Relaxed);
    assert!(ask("fr").await.expect(200, "fr 1").is_hit());
    let receipt = stage.purge(&["/x"], false).await;
    assert!(receipt.text().contains("\"matched\":3"), "{}", receipt.text());
    for language in ["de", "fr", "en"] {
        ask(language).await.expect(200, &format!("{language} 2"));
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale_and_what_allows_stale_still_holds() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    let page = |body| page(body).cache_control("max-age=600, stale-while-revalidate=60");
    let old = reply(200).cache_control("max-age=600, stale-while-revalidate=60").body("old");
    stage.origin("a").on("/x", [old, page("new").head_after(&gate)]);
    stored(&stage, "/x", "old").await;
    stage.clock.advance(secs(10));
    stage.purge(&["/x"], true).await;
    stage.clock.advance(secs(1));
    let answer = stage.client().get("/x").await;
    answer.expect(200, "old").cache_status_has("hit").cache_status_has("detail=stale-while-revalidate");
    stage.until(|count| count.requests == 2).await;
    gate.open();
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn what_was_purged_softly_is_confirmed_and_not_fetched_where_it_has_not_changed() {
    let stage = Stage::new().await;
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=600").etag("\"1\"").body("same").confirms()]);
    stored(&stage, "/x", "same").await;
    stage.purge(&["/x"], true).await;
    stage.client().get("/x").await.expect(200, "same").cache_status_has("fwd-status=304");
    assert_eq!(stage.origin("a").seen_for("/x")[1].field("if-none-match").as_deref(), Some("\"1\""));
    assert!(stage.client().get("/x").await.expect(200, "same").is_hit(), "confirmed after the purge");
}

#[tokio::test]
async fn what_was_purged_hard_does_not_come_back_when_the_origin_fails() {
    let stage = Stage::new().await;
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=600, stale-if-error=600").body("old"), reply(503)]);
    stored(&stage, "/x", "old").await;
    stage.purge(&["/x"], false).await;
    stage.client().get("/x").await.expect(503, "");
}

/// Invariant 2, FAULTS F13: the fill waits for its head, or is within its body, when the purge comes.
#[tokio::test]
async fn a_fill_begun_before_a_purge_is_answered_but_never_stored() {
    for within_body in [false, true] {
        let stage = Stage::new().await;
        let (head, body) = (Gate::shut(), Gate::shut());
        let slow = page("older").head_after(&head).pause(2, &body);
        stage.origin("a").on("/x", [slow, page("newer")]);
        let leader = stage.client().get("/x");
        stage.until(|count| count.requests == 1).await;
        if within_body {
            head.open();
            stage.until(|count| count.arriving_bytes > 0).await;
        }
        stage.purge(&["/x"], false).await;
        head.open();
        body.open();
        leader.await.expect(200, "older");
        stage.until(|count| count.arriving_bytes == 0).await;
        assert_eq!(stage.count().stored, 0);
        stage.client().get("/x").await.expect(200, "newer");
    }
}

#[tokio::test]
async fn who_comes_after_a_purge_does_not_join_a_fill_that_began_before_it() {
    for within_body in [false, true] {
        let stage = Stage::new().await;
        let (head, body) = (Gate::shut(), Gate::shut());
        let slow = page("older").head_after(&head).pause(2, &body);
        stage.origin("a").on("/x", [slow, page("newer")]);
        let leader = stage.client().get("/x");
        stage.until(|count| count.requests == 1).await;
        let before = stage.client().get("/x");
        stage.until(|count| count.collapsed == 1).await;
        if within_body {
            head.open();
            stage.until(|count| count.arriving_bytes > 0).await;
        }
        stage.purge(&["/x"], false).await;
        stage.client().get("/x").await.expect(200, "newer");
        stage.until(|count| count.stored == 1).await;
        head.open();
        body.open();
        // Who had asked before the purge was acknowledged may have what was there then.
        leader.await.expect(200, "older");
        before.await.expect(200, "older");
        stage.until(|count| count.arriving_bytes == 0).await;
        let answer = stage.client().get("/x").await;
        assert!(
            answer.expect(200, "newer").is_hit(),
            "the older fill, ending later, must not replace the newer"
        );
        stage.origin("a").saw(2, "/x");
    }
}

#[tokio::test]
async fn a_fill_passed_by_a_soft_purge_is_stored_as_stale() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    let slow = reply(200).cache_control("max-age=600").etag("\"1\"").body("x").confirms();
    stage.origin("a").on("/x", [slow.clone().head_after(&gate), slow]);
    let leader = stage.client().get("/x");
    stage.until(|count| count.requests == 1).await;
    stage.purge(&["/x"], true).await;
    gate.open();
    leader.await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    stage.client().get("/x").await.expect(200, "x").cache_status_has("fwd-status=304");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_confirmation_passed_by_a_purge_does_not_bring_back_what_was_purged() {
    for in_background in [false, true] {
        let stage = Stage::new().await;
        let gate = Gate::shut();
        let control = if in_background { "max-age=1, stale-while-revalidate=600" } else { "max-age=1" };
        let old = reply(200).cache_control(control).etag("\"1\"").body("old").confirms();
        stage.origin("a").on("/x", [old.clone(), old.head_after(&gate), page("new")]);
        stored(&stage, "/x", "old").await;
        stage.clock.advance(secs(3));
        let confirming = stage.client().get("/x");
        stage.until(|count| count.requests == 2).await;
        stage.purge(&["/x"], false).await;
        gate.open();
        confirming.await.expect(200, "old");
        stage.until(|count| count.fills_under_way == 0).await;
        stage.client().get("/x").await.expect(200, "new");
        stage.until(|count| count.stored == 2 && count.arriving_bytes == 0).await;
    }
}

/// FAULTS B33: whoever asks after the acknowledgement gets what the origin had then, or newer, whatever is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_purge_is_lost_however_fills_and_purges_meet() {
    let stage = Stage::new().await;
    let version = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&version);
    stage.origin("a").answers("/x", move |_: &Seen| {
        reply(200).cache_control("max-age=600").body(now.load(Ordering::SeqCst).to_string())
    });
    for round in 1..=150 {
        let crowd = gather((0..6).map(|_| stage.client().get("/x")).collect());
        version.store(round, Ordering::SeqCst);
        stage.purge(&["/x"], round % 3 == 0).await;
        for answer in gather((0..3).map(|_| stage.client().get("/x")).collect()).await.0 {
            let seen: u64 = answer.expect_status(200).text().parse().expect("the origin sends numbers");
            assert!(seen >= round, "round {round}: an answer from before the purge, {seen}");
        }
        crowd.await;
    }
}

#[tokio::test]
async fn the_purge_method_works_for_those_who_may_and_for_nobody_else() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page("old"), page("new")]);
    stored(&stage, "/x", "old").await;
    stage.client().request("PURGE", "/x", b"").await.expect_status(200);
    stage.client().get("/x").await.expect(200, "new");

    let closed = Stage::build().config(|config, _| config.purge.method_from.clear()).start().await;
    closed.origin("a").on("/x", [page("old"), page("new")]);
    stored(&closed, "/x", "old").await;
    for lie in ["127.0.0.1", "10.0.0.1"] {
        let client =
            closed.client().header("x-forwarded-for", lie).header("forwarded", &format!("for={lie}"));
        client.request("PURGE", "/x", b"").await.expect_status(403);
    }
    assert!(closed.client().get("/x").await.expect(200, "old").is_hit());
    closed.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn the_purge_method_purges_softly_when_told_so() {
    for name in ["fastly-soft-purge", "soft-purge"] {
        let stage = Stage::new().await;
        stage
            .origin("a")
            .on("/x", [reply(200).cache_control("max-age=60").etag("\"1\"").body("x").confirms()]);
        stored(&stage, "/x", "x").await;
        stage.client().header(name, "1").request("PURGE", "/x", b"").await.expect_status(200);
        stage.client().get("/x").await.expect(200, "x").cache_status_has("fwd-status=304");
    }
}

#[tokio::test]
async fn the_admin_calls_cannot_be_reached_through_the_clients_listener() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page("old"), page("new")]);
    stored(&stage, "/x", "old").await;
    let body = format!("{{\"urls\": [\"http://{HOST}/x\"]}}");
    for host in [HOST, "127.0.0.1", "localhost", "127.0.0.1:9180", "admin", "[::1]"] {
        for target in ["/v1/purge", "//v1/purge", "/v1/../v1/purge", "/v1/stop", "/metrics", "/v1/stat"] {
            let answer = stage
                .client()
                .host(host)
                .header("content-type", "application/json")
                .post(target, &body)
                .await;
            assert!(matches!(answer.status, 400 | 404 | 421), "{host} {target}: {}", answer.status);
        }
    }
    assert!(stage.client().get("/x").await.expect(200, "old").is_hit());
}

#[tokio::test]
async fn a_purge_that_selects_nothing_or_is_misspelt_is_refused_and_takes_nothing() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page("old"), page("new")]);
    stored(&stage, "/x", "old").await;
    let bodies = [
        String::new(),
        "{}".into(),
        "{\"urls\": []}".into(),
        "{\"everything\": false}".into(),
        "not json".into(),
        format!("{{\"urls\": [\"http://{HOST}/x\"], \"sofft\": true}}"),
        format!("{{\"url\": \"http://{HOST}/x\"}}"),
        "{\"urls\": [\"/x\"]}".into(),
        format!("{{\"urls\": [\"ftp://{HOST}/x\"]}}"),
    ];
    for body in bodies {
        let answer = stage.operator().post("/v1/purge", &body).await;
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
        assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"), "{body}");
    }
    assert_eq!(stage.count().purge_sequence, 0);
    assert!(stage.client().get("/x").await.expect(200, "old").is_hit());
}

#[tokio::test]
async fn a_dry_run_counts_and_takes_nothing() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page("old"), page("new")]);
    stored(&stage, "/x", "old").await;
    let body = format!("{{\"urls\": [\"http://{HOST}/x\"], \"dry_run\": true}}");
    let answer = stage.operator().post("/v1/purge", &body).await;
    answer.expect_status(200);
    assert!(answer.text().contains("\"matched\":1"), "{}", answer.text());
    assert!(stage.client().get("/x").await.expect(200, "old").is_hit());
}

/// RFC 9111 §4.4, FAULTS C18.
#[tokio::test]
async fn an_unsafe_request_that_succeeds_takes_what_it_changed() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "FROB"] {
        let stage = Stage::new().await;
        stage.origin("a").on("/x", [page("old"), reply(200).body("done"), page("new")]);
        stored(&stage, "/x", "old").await;
        stage.client().request(method, "/x", b"change").await.expect(200, "done");
        let answer = stage.client().get("/x").await;
        assert_eq!(answer.text(), "new", "{method}");
    }
}

#[tokio::test]
async fn an_unsafe_request_that_fails_takes_nothing() {
    for status in [400, 403, 404, 500, 503] {
        let stage = Stage::new().await;
        stage.origin("a").on("/x", [page("old"), reply(status).body("no"), page("new")]);
        stored(&stage, "/x", "old").await;
        stage.client().post("/x", "change").await.expect(status, "no");
        assert!(stage.client().get("/x").await.expect(200, "old").is_hit(), "{status}");
    }
}

#[tokio::test]
async fn a_location_on_another_host_is_not_purged_by_a_post_and_one_on_this_host_is() {
    let claims = [
        ("/made", true),
        ("http://www.example.test/made", true),
        ("made", true),
        ("http://other.example.test/made", false),
        ("//other.example.test/made", false),
    ];
    for (location, taken) in claims {
        let stage = Stage::new().await;
        stage.origin("a").on("/made", [page("old"), page("new")]);
        stage.origin("a").on("/post", [reply(201).field("location", location).body("made")]);
        stored(&stage, "/made", "old").await;
        stage.client().post("/post", "x").await.expect(201, "made");
        let answer = stage.client().get("/made").await;
        assert_eq!(answer.text() == "new", taken, "{location}");
    }
}

fn page(body: &str) -> Reply {
    reply(200).cache_control("max-age=600").body(body)
}

async fn stored(stage: &Stage, target: &str, body: &str) {
    let before = stage.count().stored;
    stage.client().get(target).await.expect(200, body);
    stage.until(|count| count.stored > before).await;
}
