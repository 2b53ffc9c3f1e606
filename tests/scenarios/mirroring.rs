//! Requests that are copied to another pool: who asked never notices.

use crate::stage::Stage;
use crate::stage::gate::Gate;
use crate::stage::reply::reply;

#[tokio::test]
async fn what_an_origin_is_asked_for_is_copied_and_its_answer_is_nobodys() {
    let site = "pool = \"a\"\nmirror = { pool = \"b\" }\nrequest_headers = { set = { x-edge = \"1\" } }\n";
    let stage = Stage::build().origins(&["a", "b"]).site(site).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("true")]);
    stage.origin("b").on("/x", [reply(200).cache_control("max-age=60").body("shadow")]);
    stage.client().header("x-kind", "one").get("/x").await.expect(200, "true");
    stage.until(|count| count.stored == 1 && count.requests == 2).await;
    // A hit asks nobody, so nothing is copied; what is stored is the first pool's.
    stage.client().get("/x").await.expect(200, "true").cache_status_has("hit");
    stage.origin("b").saw(1, "/x");
    let copy = stage.origin("b").seen().remove(0);
    let first = stage.origin("a").seen().remove(0);
    assert_eq!(
        (&copy.head.start, &copy.head.fields),
        (&first.head.start, &first.head.fields),
        "a copy is what the first was"
    );
    assert_eq!(copy.field("x-edge").as_deref(), Some("1"));
    // What may change something is not done twice.
    stage.origin("a").on("/y", [reply(200).body("done")]);
    stage.client().post("/y", "form").await.expect(200, "done");
    stage.client().request("DELETE", "/y", b"").await.expect_status(200);
    stage.origin("b").saw(0, "/y");
}

#[tokio::test]
async fn where_all_requests_are_copied_hits_are_too() {
    let site = "pool = \"a\"\nmirror = { pool = \"b\", of = \"requests\" }\n";
    let stage = Stage::build().origins(&["a", "b"]).site(site).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("true")]);
    stage.origin("b").answers("/x", |_| reply(200).body("shadow"));
    stage.client().get("/x").await.expect(200, "true");
    stage.until(|count| count.stored == 1).await;
    for _ in 0..4 {
        stage.client().get("/x").await.expect(200, "true").cache_status_has("hit");
    }
    stage.until(|count| count.requests == 6).await;
    stage.origin("b").saw(5, "/x");
    stage.origin("a").saw(1, "/x");
}

/// The other pool hangs, lies or is not there: nobody waits for it, and it fails nobody.
#[tokio::test]
async fn a_pool_that_is_in_trouble_is_not_felt_by_those_whose_requests_are_copied_to_it() {
    let site = "pool = \"a\"\nmirror = { pool = \"b\", of = \"requests\" }\ncache = \"off\"\n";
    let stage = Stage::build().origins(&["a", "b"]).site(site).start().await;
    let gate = Gate::shut();
    for target in ["/hangs", "/fails"] {
        stage.origin("a").answers(target, |_| reply(200).body("true"));
    }
    stage.origin("b").on("/hangs", [reply(200).body("shadow").head_after(&gate)]);
    stage.origin("b").answers("/fails", |_| reply(500));
    for target in ["/hangs", "/fails", "/hangs", "/fails"] {
        stage.client().get(target).await.expect(200, "true");
    }
    stage.until(|count| count.requests == 8).await;
    let metrics = stage.operator().get("/metrics").await;
    assert!(metrics.text().contains("tidegate_mirrored_total 4"), "{}", metrics.text());
    gate.open();
}
