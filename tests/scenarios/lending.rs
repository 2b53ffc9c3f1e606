//! Long bodies are lent to the kernel, not copied, and every client gets exactly the bytes that were stored when it asked.

use crate::stage::Stage;
use crate::stage::reply::{Reply, reply};

fn kept(body: impl Into<Vec<u8>>) -> Reply {
    reply(200).cache_control("max-age=600").body(body)
}

/// Text of which no two stretches of a page are alike.
fn text(name: &str, length: usize) -> String {
    let words: Vec<_> = (0..=length / 8).map(|nth| format!("{name}{nth:07}")).collect();
    let mut text = words.concat();
    text.truncate(length);
    text
}

/// The answer lies in the socket's queue, whole, when the object is forgotten and the memory it lay in is filled with
/// others.
#[tokio::test]
async fn a_client_that_reads_late_gets_the_old_bytes() {
    let stage = Stage::build().config(|config, _| config.cache.memory_bytes = 4 << 20).start().await;
    let old = text("o", 200_000);
    let first = old.clone();
    stage.origin("a").answers("*", move |seen| match seen.target() {
        "/old" => kept(first.clone()),
        "/next" => reply(200).cache_control("no-store").body("next"),
        _ => kept(text("n", 200_000)),
    });
    stage.client().get("/old").await.expect(200, &old);
    let mut late = stage.client().connect().await;
    let client = stage.client();
    late.write(&[client.bytes("GET", "/old", b""), client.bytes("GET", "/next", b"")].concat()).await;
    // The second is looked at when the first is out of the node's hands.
    stage.until(|count| count.requests == 2).await;
    stage.purge(&["/old"], false).await;
    for nth in 0..40 {
        stage.client().get(&format!("/new{nth}")).await.expect_status(200);
    }
    stage.until(|count| count.memory_evictions > 0).await;
    let answer = late.answer("GET").await;
    assert!(answer.expect(200, &old).is_hit(), "{answer:?}");
    late.answer("GET").await.expect(200, "next");
}

/// Bodies of several chunks, more than a socket takes at once, between short ones, heads without body and parts.
#[tokio::test]
async fn pipelined_answers_of_every_kind_come_whole_and_in_order() {
    let stage = Stage::new().await;
    let (long, middle) = (text("l", 5_000_001), text("m", 70_001));
    stage.origin("a").on("/long", [kept(long.clone())]);
    stage.origin("a").on("/middle", [kept(middle.clone())]);
    stage.origin("a").on("/short", [kept("short")]);
    for target in ["/long", "/middle", "/short"] {
        stage.client().get(target).await.expect_status(200);
    }
    stage.until(|count| count.stored == 3).await;
    let client = stage.client();
    let part = stage.client().header("Range", "bytes=999999-4000000");
    let mut connection = stage.client().connect().await;
    let asked = [
        client.bytes("GET", "/middle", b""),
        client.bytes("GET", "/short", b""),
        client.bytes("GET", "/long", b""),
        client.bytes("HEAD", "/long", b""),
        part.bytes("GET", "/long", b""),
        client.bytes("GET", "/middle", b""),
        stage.client().header("Connection", "close").bytes("GET", "/long", b""),
    ];
    connection.write(&asked.concat()).await;
    connection.answer("GET").await.expect(200, &middle);
    connection.answer("GET").await.expect(200, "short");
    connection.answer("GET").await.expect(200, &long);
    connection.answer("HEAD").await.expect(200, "").has("content-length", "5000001");
    connection.answer("GET").await.expect(206, &long[999_999..=4_000_000]);
    connection.answer("GET").await.expect(200, &middle);
    connection.answer("GET").await.expect(200, &long);
    assert_eq!(connection.rest().await.0, b"", "nothing behind the last");
    assert_eq!(stage.count().requests, 3, "all of it from memory");
}

/// A confirmed response keeps its body where it lies.
#[tokio::test]
async fn a_revalidated_body_is_the_same_bytes() {
    let stage = Stage::new().await;
    let body = text("b", 3_000_000);
    stage.origin("a").on("/x", [kept(body.clone()).etag("\"1\""), kept("").etag("\"1\"").confirms()]);
    stage.client().get("/x").await.expect(200, &body);
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(crate::stage::secs(601));
    stage.client().header("Cache-Control", "no-cache").get("/x").await.expect(200, &body);
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, &body);
    stage.origin("a").saw(2, "/x");
}
