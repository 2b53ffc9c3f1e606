//! Every bound holds at its edge: what fits is served, what is one beyond is refused in its own words, and nobody can
//! take time or room without end (FAULTS R1, R6, B21, invariant 5).

use crate::stage::reply::reply;
use crate::stage::wire::End;
use crate::stage::{Stage, secs};

#[tokio::test]
async fn a_target_may_be_as_long_as_allowed_and_one_byte_more_is_414() {
    let stage = Stage::build().config(|config, _| config.limits.target_bytes_max = 200).start().await;
    stage.origin("a").answers("*", |_| reply(200).cache_control("no-store").body("x"));
    stage.client().get(&format!("/{}", "a".repeat(199))).await.expect(200, "x");
    stage.client().get(&format!("/{}", "a".repeat(200))).await.expect_status(414);
    stage.client().get(&format!("/?{}", "a".repeat(199))).await.expect_status(414);
    assert_eq!(stage.count().requests, 1);
}

#[tokio::test]
async fn a_request_may_have_as_many_fields_as_allowed_and_one_more_is_431() {
    let stage = Stage::build().config(|config, _| config.limits.fields_max = 20).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("x")]);
    let with =
        |count: usize| (1..count).fold(stage.client(), |client, nth| client.header(&format!("x-{nth}"), "v"));
    with(20).get("/x").await.expect(200, "x");
    with(21).get("/x").await.expect_status(431);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_head_may_be_as_long_as_allowed_and_no_longer() {
    let stage = Stage::build().config(|config, _| config.limits.head_bytes_max = 4096).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("x")]);
    stage.client().header("x-long", &"a".repeat(3900)).get("/x").await.expect(200, "x");
    stage.client().header("x-long", &"a".repeat(4096)).get("/x").await.expect_status(431);
    // A head without end is refused at the bound and not read to an end that never comes.
    let drip = format!("GET /x HTTP/1.1\r\nHost: www.example.test\r\nx: {}", "a".repeat(100_000));
    stage.client().raw(drip).await.expect_status(431);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413_whether_announced_or_not() {
    let stage = Stage::build().config(|config, _| config.limits.request_body_bytes_max = 1000).start().await;
    stage.origin("a").on("/x", [reply(200).body("taken")]);
    stage.client().post("/x", &"a".repeat(1000)).await.expect(200, "taken");
    stage.client().post("/x", &"a".repeat(1001)).await.expect_status(413);
    let chunked = |count: usize| {
        let chunk = format!("64\r\n{}\r\n", "a".repeat(100)).repeat(count);
        format!(
            "POST /x HTTP/1.1\r\nHost: www.example.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        )
    };
    stage.client().raw(chunked(10)).await.expect(200, "taken");
    stage.client().raw(chunked(11)).await.expect_status(413);
    let whole = stage.origin("a").seen().iter().filter(|seen| seen.head.start.starts_with("POST")).count();
    assert_eq!(whole, 2, "nothing beyond the limit reached the origin whole");
}

#[tokio::test]
async fn who_does_not_finish_a_head_in_time_is_let_go() {
    let stage = Stage::new().await;
    for sent in [
        "",
        "G",
        "GET /x HTTP/1.1\r\nHost: www.example.test\r\n",
        "GET /x HTTP/1.1\r\nHost: www.example.test\r\nX: ",
    ] {
        let mut slow = stage.client().connect().await;
        slow.write(sent.as_bytes()).await;
        // Dripping does not buy time: it counts from the first byte.
        let (said, _) = stage.let_go(slow, if sent.is_empty() { b"" } else { b"a" }).await;
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "after `{sent}`: {said}");
    }
}

#[tokio::test]
async fn who_is_idle_for_too_long_is_let_go() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("x")]);
    let mut idle = stage.client().connect().await;
    for _ in 0..3 {
        idle.write(&stage.client().bytes("GET", "/x", b"")).await;
        idle.answer("GET").await.expect(200, "x");
        stage.clock.advance(secs(50));
    }
    assert_eq!(stage.let_go(idle, b"").await, (Vec::new(), End::Clean));
}

#[tokio::test]
async fn who_sends_a_body_too_slowly_is_let_go() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).body("taken")]);
    let mut slow = stage.client().connect().await;
    slow.write(b"POST /x HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: 100000\r\n\r\nbegin").await;
    stage.until(|_| stage.origin("a").connections() == 1).await;
    let (said, _) = stage.let_go(slow, b"a").await;
    let said = String::from_utf8_lossy(&said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    stage.until(|_| stage.origin("a").seen_for("/x").is_empty()).await;
}

#[tokio::test]
async fn a_connection_ends_politely_after_its_last_request() {
    let stage =
        Stage::build().config(|config, _| config.limits.requests_per_connection_max = 3).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("x")]);
    let mut client = stage.client().connect().await;
    for nth in 1..=3 {
        client.write(&stage.client().bytes("GET", "/x", b"")).await;
        let answer = client.answer("GET").await;
        answer.expect(200, "x");
        assert_eq!(answer.field("connection").as_deref() == Some("close"), nth == 3, "request {nth}");
        stage.until(|count| count.stored == 1).await;
    }
    assert_eq!(client.rest().await, (Vec::new(), End::Clean));
}

#[tokio::test]
async fn a_full_node_makes_room_by_the_oldest_idle_connection() {
    let stage = Stage::build()
        .config(|config, _| {
            config.limits.connections_max = 4;
            config.workers = 1;
        })
        .start()
        .await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("x")]);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = stage.client().connect().await;
        client.write(&stage.client().bytes("GET", "/x", b"")).await;
        client.answer("GET").await.expect(200, "x");
        held.push(client);
        stage.clock.advance(secs(1));
    }
    stage.client().get("/x").await.expect(200, "x");
    let (said, _) = held.remove(0).rest().await;
    assert_eq!(said, b"");
    for client in &mut held {
        client.write(&stage.client().bytes("GET", "/x", b"")).await;
        client.answer("GET").await.expect(200, "x");
    }
}

#[tokio::test]
async fn an_origin_that_sends_a_head_without_end_is_no_answer() {
    let stage = Stage::new().await;
    let long = reply(200).cache_control("max-age=60").field("x-long", "a".repeat(80 << 10)).body("x");
    let many = (0..400)
        .fold(reply(200).cache_control("max-age=60"), |reply, nth| reply.field(&format!("x-{nth}"), "v"));
    stage.origin("a").on("/long", [long]);
    stage.origin("a").on("/many", [many.body("x")]);
    for target in ["/long", "/many"] {
        stage.client().get(target).await.expect_status(502);
    }
    assert_eq!(stage.count().stored, 0);
}

#[tokio::test]
async fn what_the_store_holds_stays_within_its_budget() {
    let stage = Stage::build().config(|config, _| config.cache.memory_bytes = 4 << 20).start().await;
    let body = vec![b'x'; 100_000];
    stage.origin("a").answers("*", move |_| reply(200).cache_control("max-age=600").body(body.clone()));
    for nth in 0..120 {
        stage.client().get(&format!("/{nth}")).await.expect_status(200);
    }
    stage.until(|count| count.arriving_bytes == 0).await;
    let count = stage.count();
    assert!(count.memory_bytes <= count.memory_bytes_max, "{count:?}");
    assert!(count.memory_evictions > 0, "{count:?}");
}
