//! A parent that is lost costs time, never the answer (FAULTS F11, B32).

use std::time::Duration;

use crate::stage::client::gather;
use crate::stage::gate::Gate;
use crate::stage::region::Region;
use crate::stage::reply::{Reply, Trouble, reply};
use crate::stage::secs;

/// A child whose only parent is played by the origin `x`.
async fn behind(answer: Reply) -> Region {
    let region = Region::build().origins(&["a", "x"]).node("c", &["x"]).start().await;
    region.follow_all();
    region.origin("a").answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target()));
    region.origin("x").answers("*", move |_| answer.clone());
    region
}

#[tokio::test]
async fn whatever_a_parent_does_the_answer_comes_from_the_origin_and_it_is_left_alone() {
    for (answer, claim) in [
        (reply(200).but(Trouble::Resets), "it resets"),
        (reply(200).but(Trouble::Closes), "it closes"),
        (reply(200).but(Trouble::TruncatesHead(20)), "it ends within its head"),
        (reply(200).but(Trouble::Garbage(b"SSH-2.0-OpenSSH_9.9\r\n")), "it speaks something else"),
        (reply(503).body("busy"), "a balancer before it has nobody to ask"),
        (reply(200).cache_control("max-age=60").body("old"), "a cache that knows nothing of purges"),
        (reply(200).field("tidegate-tier", "asking").body("old"), "it says what makes no sense"),
    ] {
        let region = behind(answer).await;
        region.client("c").get("/1").await.expect(200, "/1");
        region.client("c").get("/2").await.expect(200, "/2");
        assert_eq!(region.origin("x").seen().len(), 1, "{claim}: it is left out");
        region.origin("a").saw(1, "/1");
        region.clock.advance(secs(2));
        region.client("c").get("/3").await.expect(200, "/3");
        assert_eq!(region.origin("x").seen().len(), 2, "{claim}: it is tried again");
    }
}

#[tokio::test]
async fn a_parent_that_fails_by_its_own_word_is_not_the_answer_and_not_left_out() {
    for status in [421, 502, 503, 504] {
        let region = behind(reply(status).field("tidegate-tier", "failed").body("no")).await;
        region.client("c").get("/1").await.expect(200, "/1");
        region.client("c").get("/2").await.expect(200, "/2");
        assert_eq!(region.origin("x").seen().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn an_error_that_the_origin_gave_to_a_parent_is_the_answer() {
    let region = behind(reply(503).field("tidegate-tier", "answer").body("the origin's")).await;
    region.client("c").get("/1").await.expect(503, "the origin's");
    region.origin("a").saw(0, "/1");
}

#[tokio::test]
async fn a_parent_that_says_nothing_is_given_up_within_three_seconds_and_then_left_out() {
    let region = behind(reply(200).but(Trouble::Stalls)).await;
    let asked = region.client("c").get("/1");
    region.in_time(secs(3), asked).await.expect(200, "/1");
    region.client("c").get("/2").await.expect(200, "/2");
    assert_eq!(region.origin("x").seen().len(), 1);
}

/// It said that it was asking, and then its network was gone.
#[tokio::test]
async fn a_parent_that_is_lost_while_it_asks_is_given_up_too() {
    let sign = "HTTP/1.1 102 Processing\r\nTidegate-Tier: asking\r\n\r\n";
    let region = behind(reply(200).before(sign).but(Trouble::Stalls)).await;
    let asked = region.client("c").get("/1");
    let answer = region.in_time(secs(4), asked).await;
    answer.expect(200, "/1");
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
}

#[tokio::test]
async fn a_parent_that_comes_back_is_tried_by_one_request() {
    let region = behind(reply(200).but(Trouble::Stalls)).await;
    let asked = region.client("c").get("/1");
    region.in_time(secs(3), asked).await.expect(200, "/1");
    region.clock.advance(secs(2));
    let trial = region.client("c").get("/2");
    region.until(|| region.origin("x").seen().len() == 2).await;
    gather((3..9).map(|nth| region.client("c").get(&format!("/{nth}"))).collect()).await;
    assert_eq!(region.origin("x").seen().len(), 2, "the others went elsewhere meanwhile");
    region.in_time(secs(3), trial).await.expect(200, "/2");
}

#[tokio::test]
async fn a_parent_that_is_asking_in_its_turn_is_waited_for() {
    let region = Region::usual().await;
    let gate = Gate::shut();
    let slow = reply(200).cache_control("max-age=60").body("slow").head_after(&gate);
    region.origin("a").on("/slow", [slow]);
    let asked = region.client("c").get("/slow");
    region.until(|| region.origin("a").seen_for("/slow").len() == 1).await;
    let until = region.clock.now().plus(secs(20));
    region
        .until(|| {
            region.clock.advance(Duration::from_millis(50));
            region.clock.now() >= until
        })
        .await;
    assert!(!asked.is_over());
    gate.open();
    asked.await.expect(200, "slow");
    region.origin("a").saw(1, "/slow");
}

#[tokio::test]
async fn when_a_parent_dies_nobody_sees_an_error_and_the_other_takes_its_keys() {
    let mut region = Region::usual().await;
    region.origin("a").answers("*", |seen| reply(200).cache_control("max-age=600").body(seen.target()));
    let mut nth = 0;
    for victim in ["p", "q"] {
        let targets: Vec<String> = (0..30)
            .map(|_| {
                nth += 1;
                format!("/{nth}")
            })
            .collect();
        let asked = targets.iter().map(|target| region.client("c").get(target)).collect();
        region.kill(victim).await;
        for (answer, target) in gather(asked).await.0.iter().zip(&targets) {
            answer.expect(200, target);
            assert!(region.origin("a").seen_for(target).len() <= 2, "{target}");
        }
        let survivor = if victim == "p" { "q" } else { "p" };
        let before = region.edge(survivor).store.usage().fills;
        for _ in 0..30 {
            nth += 1;
            let target = format!("/{nth}");
            region.client("c").get(&target).await.expect(200, &target);
            region.origin("a").saw(1, &target);
        }
        assert_eq!(region.edge(survivor).store.usage().fills - before, 30, "all go to the other");
        region.revive(victim).await;
        region.follow_all();
        region.clock.advance(secs(30));
    }
    let before = region.edge("q").store.usage().fills;
    for _ in 0..40 {
        nth += 1;
        region.client("c").get(&format!("/{nth}")).await.expect_status(200);
    }
    assert!(region.edge("q").store.usage().fills - before > 5, "it has its keys again");
}

/// FAULTS C12: the crowd is one request at each tier.
#[tokio::test]
async fn without_parents_a_crowd_is_still_one_request_a_node() {
    let mut region = Region::build().node("p", &[]).node("c", &["p"]).node("d", &["p"]).start().await;
    region.follow_all();
    region.kill("p").await;
    let gate = Gate::shut();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x").head_after(&gate)]);
    let crowd = (0..60).map(|nth| region.client(if nth % 2 == 0 { "c" } else { "d" }).get("/x")).collect();
    region.until(|| region.origin("a").seen_for("/x").len() == 2).await;
    gate.open();
    gather(crowd).await.expect_all(200, "x");
    region.origin("a").saw(2, "/x");
}
