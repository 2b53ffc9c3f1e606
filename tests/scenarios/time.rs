//! Time may jump, freshness does not: eight kinds of jump (FAULTS F8, B27).

use crate::stage::reply::reply;
use crate::stage::{Stage, secs};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// From the stage's morning to 2038-01-19 03:14:08 UTC, where signed seconds of 32 bits end.
const TO_2038: i64 = (2_147_483_648 - 1_793_611_200) * 1000;
const JUMPS: [(&str, i64); 8] = [
    ("an hour ahead", HOUR),
    ("an hour back", -HOUR),
    ("a day ahead", DAY),
    ("a day back", -DAY),
    ("ten minutes ahead", HOUR / 6),
    ("half a second back", -500),
    ("past 2038", TO_2038 + 1000),
    ("back to 1970", -1_793_611_200_000),
];

#[tokio::test]
async fn what_is_stored_lives_as_long_as_it_was_told_however_the_wall_clock_jumps() {
    for (jump, millis) in JUMPS {
        let stage = Stage::new().await;
        stage
            .origin("a")
            .on("/x", [reply(200).cache_control("max-age=60").body("old"), reply(200).body("new")]);
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.stored == 1).await;
        stage.clock.step_wall(millis);
        stage.clock.advance(secs(59));
        let answer = stage.client().get("/x").await;
        assert!(answer.is_hit(), "{jump}: lost a second before its end");
        answer.expect(200, "old").has("age", "59");
        stage.clock.advance(secs(1));
        assert_eq!(stage.client().get("/x").await.text(), "new", "{jump}: served beyond its end");
    }
}

#[tokio::test]
async fn what_has_expired_stays_expired_when_the_wall_clock_goes_back() {
    for (jump, millis) in JUMPS {
        let stage = Stage::new().await;
        stage
            .origin("a")
            .on("/x", [reply(200).cache_control("max-age=60").body("old"), reply(200).body("new")]);
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(61));
        stage.clock.step_wall(millis);
        assert_eq!(stage.client().get("/x").await.text(), "new", "{jump}");
    }
}

#[tokio::test]
async fn an_expiry_on_the_calendar_is_not_stretched_by_a_wall_clock_that_is_wrong() {
    for (jump, millis) in JUMPS {
        let stage = Stage::new().await;
        // The origin's clock is right, ours is not: its own Date says how long is meant.
        let right = reply(200)
            .field("date", "Mon, 02 Nov 2026 09:20:00 GMT")
            .field("expires", "Mon, 02 Nov 2026 09:21:00 GMT");
        stage.origin("a").on("/x", [right.body("old"), reply(200).body("new")]);
        stage.clock.step_wall(millis);
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        stage.clock.advance(secs(60));
        assert_eq!(stage.client().get("/x").await.text(), "new", "{jump}");
    }
}

#[tokio::test]
async fn no_jump_of_the_wall_clock_ends_a_request_or_a_connection() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    let mut client = stage.client().connect().await;
    for (_, millis) in JUMPS {
        stage.clock.step_wall(millis);
        client.write(&stage.client().bytes("GET", "/x", b"")).await;
        client.answer("GET").await.expect(200, "x");
        stage.clock.step_wall(-millis);
    }
    stage.origin("a").saw(1, "/x");
}
