//! Fresh is served from the store, stale is not, and both say how old they are (RFC 9111 §4.2, §5.1).

use crate::stage::reply::{http_date, reply};
use crate::stage::{Stage, secs};

#[tokio::test]
async fn a_fresh_response_is_served_from_the_store_with_its_age() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("one")]);
    stage
        .client()
        .get("/x")
        .await
        .expect(200, "one")
        .cache_status("fwd=uri-miss; fwd-status=200; stored; ttl=60");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(19));
    stage.client().get("/x").await.expect(200, "one").cache_status("hit; ttl=41").has("age", "19");
    stage.origin("a").saw(1, "/x");
}
