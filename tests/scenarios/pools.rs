//! Which origin is asked, which is left out, and what is tried again (FAULTS F3).

use std::sync::Arc;

use crate::stage::client::gather;
use crate::stage::reply::{Reply, Trouble, reply};
use crate::stage::settings::pool;
use crate::stage::{Stage, millis, secs};
use tidegate::config::{Concurrency, Health, Steer};
use tidegate::origin::Stands;

#[tokio::test]
async fn origins_are_asked_by_their_weight() {
    let stage = Stage::build()
        .origins(&["a", "b"])
        .config(|config, _| {
            let main = config.pools.get_mut("main").expect("the stage's pool");
            main.origins[0].weight = 3;
        })
        .start()
        .await;
    everywhere(&stage, &["a", "b"], &reply(200).cache_control("no-store").body("x"));
    for _ in 0..40 {
        stage.client().get("/x").await.expect(200, "x");
    }
    stage.origin("a").saw(30, "/x");
    stage.origin("b").saw(10, "/x");
}

#[tokio::test]
async fn pools_are_asked_by_their_weight() {
    let stage = Stage::build()
        .origins(&["a", "b"])
        .config(|config, addresses| {
            for (name, address) in [("main", addresses[0]), ("other", addresses[1])] {
                config.pools.insert(name.into(), pool(name, &[address]));
            }
            let site = &mut config.sites[0];
            let mut policy = tidegate::config::RoutePolicy::clone(&site.defaults);
            policy.steer = Steer::weight(vec![("main".into(), 3), ("other".into(), 1)]);
            site.defaults = Arc::new(policy);
        })
        .start()
        .await;
    everywhere(&stage, &["a", "b"], &reply(200).cache_control("no-store").body("x"));
    for _ in 0..80 {
        stage.client().get("/x").await.expect(200, "x");
    }
    let main = stage.origin("a").seen_for("/x").len();
    assert!((56..=64).contains(&main), "{main} of 80 where 60 were due");
}

#[tokio::test]
async fn a_backup_is_asked_only_when_no_other_is_available() {
    let stage = Stage::build()
        .origins(&["a", "b"])
        .config(|config, _| {
            let main = config.pools.get_mut("main").expect("the stage's pool");
            main.origins[1].backup = true;
            main.eject_after = 1;
        })
        .start()
        .await;
    everywhere(&stage, &["a"], &reply(200).cache_control("no-store").body("main"));
    everywhere(&stage, &["b"], &reply(200).cache_control("no-store").body("backup"));
    for _ in 0..5 {
        stage.client().get("/x").await.expect(200, "main");
    }
    stage.origin("a").refuses().await;
    for _ in 0..5 {
        stage.client().get("/x").await.expect(200, "backup");
    }
    stage.origin("a").listens().await;
    stage.clock.advance(secs(11));
    stage.client().get("/x").await.expect(200, "main");
}

#[tokio::test]
async fn an_origin_that_fails_often_is_left_out_for_a_while_and_then_tried_by_one() {
    let stage = Stage::build()
        .origins(&["a", "b"])
        .config(|config, _| {
            let main = config.pools.get_mut("main").expect("the stage's pool");
            main.eject_after = 3;
        })
        .start()
        .await;
    everywhere(&stage, &["a"], &reply(200).but(Trouble::Resets));
    everywhere(&stage, &["b"], &reply(200).cache_control("no-store").body("b"));
    // While it is in, each of its failures is made good by the other.
    for _ in 0..12 {
        stage.client().get("/x").await.expect(200, "b");
    }
    let before = stage.origin("a").seen_for("/x").len();
    assert!((3..=6).contains(&before), "{before} requests before it was left out");
    for _ in 0..10 {
        stage.client().get("/x").await.expect(200, "b");
    }
    stage.origin("a").saw(before, "/x");
    everywhere(&stage, &["a"], &reply(200).cache_control("no-store").body("a"));
    stage.clock.advance(secs(11));
    let bodies: Vec<_> = gather((0..8).map(|_| stage.client().get("/x")).collect()).await.0;
    assert!(bodies.iter().any(|answer| answer.text() == "a"), "it is back");
}

#[tokio::test]
async fn when_every_origin_is_left_out_all_are_tried() {
    let stage = Stage::build()
        .config(|config, _| {
            config.pools.get_mut("main").expect("the stage's pool").eject_after = 1;
        })
        .start()
        .await;
    stage.origin("a").refuses().await;
    for _ in 0..3 {
        stage.client().get("/x").await.expect_status(502);
    }
    stage.origin("a").listens().await;
    stage.origin("a").on("/x", [reply(200).body("back")]);
    stage.client().get("/x").await.expect(200, "back");
}

#[tokio::test]
async fn a_request_that_may_be_repeated_goes_elsewhere_and_one_that_may_not_does_not() {
    let claims = [
        ("GET", Trouble::Resets, true),
        ("GET", Trouble::Closes, true),
        ("HEAD", Trouble::Closes, true),
        ("OPTIONS", Trouble::Closes, true),
        ("DELETE", Trouble::Closes, true),
        ("POST", Trouble::Closes, false),
        ("POST", Trouble::Resets, false),
        ("PATCH", Trouble::Closes, false),
        ("POST", Trouble::Garbage(b"nonsense\r\n\r\n"), false),
    ];
    for (method, trouble, repeated) in claims {
        let told = format!("{method} {trouble:?}");
        let stage = Stage::build().origins(&["a", "b"]).start().await;
        everywhere(&stage, &["a"], &reply(200).but(trouble));
        everywhere(&stage, &["b"], &reply(200).cache_control("no-store").body("b"));
        // Two requests: one of them meets `a` first.
        let answers = [
            stage.client().request(method, "/x", b"").await,
            stage.client().request(method, "/x", b"").await,
        ];
        let failed = answers.iter().filter(|answer| answer.status == 502).count();
        assert_eq!(failed, usize::from(!repeated), "{told}: {answers:?}");
        let total = stage.origin("a").seen_for("/x").len() + stage.origin("b").seen_for("/x").len();
        assert_eq!(total, if repeated { 3 } else { 2 }, "{told}");
    }
}

#[tokio::test]
async fn a_connection_that_was_never_made_is_no_reason_to_fail_whatever_the_method() {
    for (method, body) in [("GET", ""), ("POST", "body"), ("PATCH", "body")] {
        let stage = Stage::build().origins(&["a", "b"]).start().await;
        stage.origin("a").refuses().await;
        everywhere(&stage, &["b"], &reply(200).cache_control("no-store").body("b"));
        for _ in 0..4 {
            stage.client().request(method, "/x", body.as_bytes()).await.expect(200, "b");
        }
        assert!(stage.origin("b").seen_for("/x").iter().all(|seen| seen.body == body.as_bytes()), "{method}");
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_taken_up_by_another_origin() {
    let stage = Stage::build().origins(&["a", "b"]).start().await;
    everywhere(
        &stage,
        &["a", "b"],
        &reply(200).cache_control("no-store").body("0123456789").but(Trouble::Truncates(5)),
    );
    stage.client().get("/x").await.expect_cut(200);
    assert_eq!(stage.count().requests, 1);
}

/// FAULTS F3: no more than a tenth beyond what is asked, once the savings are spent.
#[tokio::test]
async fn a_pool_in_trouble_is_not_asked_much_more_than_one_that_is_well() {
    let stage = Stage::build().origins(&["a", "b", "c"]).start().await;
    everywhere(&stage, &["a", "b", "c"], &reply(200).but(Trouble::Closes));
    for _ in 0..200 {
        stage.client().get("/x").await.expect_status(502);
    }
    let asked = stage.count().requests;
    assert!(asked <= 200 + 10 + 20 + 1, "{asked} requests for 200");
}

#[tokio::test]
async fn a_kept_connection_that_the_origin_has_closed_costs_no_request() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("x")]);
    stage.client().get("/x").await.expect(200, "x");
    stage.origin("a").refuses().await;
    stage.origin("a").listens().await;
    stage.client().get("/x").await.expect(200, "x");
    stage.client().post("/x", "body").await.expect(200, "x");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_not_beyond_its_time() {
    let stage = Stage::build().config(|config, _| config.workers = 1).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("x")]);
    for _ in 0..5 {
        stage.client().get("/x").await.expect(200, "x");
    }
    assert_eq!(stage.origin("a").connections(), 1);
    stage.clock.advance(secs(61));
    stage.client().get("/x").await.expect(200, "x");
    assert_eq!(stage.origin("a").connections(), 2);
}

#[tokio::test]
async fn a_connection_that_is_in_doubt_is_not_used_again() {
    let doubtful = [
        reply(200).body("0123456789").but(Trouble::Truncates(4)),
        reply(200).body("x").but(Trouble::ExtraBytes(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")),
        reply(200).field("connection", "close").body("x"),
    ];
    for doubtful in doubtful {
        let stage = Stage::build().config(|config, _| config.workers = 1).start().await;
        stage.origin("a").on("/x", [doubtful.clone()]);
        stage.origin("a").on("/y", [reply(200).cache_control("no-store").body("y")]);
        stage.client().get("/x").await;
        for _ in 0..3 {
            stage.client().get("/y").await.expect(200, "y");
        }
        let first = stage.origin("a").seen_for("/x")[0].connection;
        let after = stage.origin("a").seen_for("/y")[0].connection;
        assert_ne!(first, after, "{doubtful:?}");
    }
}

#[tokio::test]
async fn a_pool_whose_connections_are_all_taken_queues_within_bounds_and_refuses_beyond() {
    let gate = crate::stage::gate::Gate::shut();
    let stage = Stage::build()
        .config(|config, _| {
            let main = config.pools.get_mut("main").expect("the stage's pool");
            (main.connections_max, main.queue_max) = (2, 3);
            config.workers = 1;
        })
        .start()
        .await;
    stage.origin("a").answers("*", {
        let gate = gate.clone();
        move |_| reply(200).cache_control("no-store").body("x").head_after(&gate)
    });
    let taken: Vec<_> = (0..2).map(|nth| stage.client().get(&format!("/{nth}"))).collect();
    stage.until(|count| count.requests == 2).await;
    let waiting: Vec<_> = (2..5).map(|nth| stage.client().get(&format!("/{nth}"))).collect();
    stage.until(|count| count.fills == 5).await;
    let refused = stage.client().get("/5").await;
    refused.expect_status(503).has("retry-after", "1");
    gate.open();
    gather(taken).await.expect_all(200, "x");
    gather(waiting).await.expect_all(200, "x");
}

#[tokio::test]
async fn who_waits_too_long_for_a_connection_is_told_503() {
    let stage = Stage::build()
        .config(|config, _| {
            let main = config.pools.get_mut("main").expect("the stage's pool");
            main.connections_max = 1;
            config.workers = 1;
        })
        .start()
        .await;
    stage.origin("a").on("/stalls", [reply(200).but(Trouble::Stalls)]);
    let stalled = stage.client().get("/stalls");
    stage.until(|count| count.requests == 1).await;
    let waiting = stage.client().get("/x");
    stage.until(|count| count.fills == 2).await;
    stage.in_time(secs(6), waiting).await.expect_status(503).cache_status("detail=queue-timeout");
    stalled.leave();
}

#[tokio::test]
async fn a_redirect_of_an_origin_is_an_answer_and_is_not_followed() {
    let stage = Stage::build().origins(&["a", "b"]).start().await;
    let trap = format!("http://{}/secret", stage.origin("b").address());
    everywhere(&stage, &["a", "b"], &reply(302).field("location", &trap).body("moved"));
    stage.client().get("/x").await.expect(302, "moved").has("location", &trap);
    stage.origin("a").saw(0, "/secret");
    stage.origin("b").saw(0, "/secret");
}

#[tokio::test]
async fn interim_responses_are_passed_on_and_a_storm_of_them_is_no_answer() {
    let stage = Stage::new().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").before(hints).body("x")]);
    let answer = stage.client().get("/x").await;
    answer.expect(200, "x");
    assert!(answer.interim.iter().all(|head| head.start.starts_with("HTTP/1.1 103")), "{:?}", answer.interim);
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, "x").is_hit());
    stage
        .origin("a")
        .on("/storm", [reply(200).cache_control("max-age=60").before(hints.repeat(1000)).body("x")]);
    stage.client().get("/storm").await.expect_status(502);
    stage.client().get("/x").await.expect(200, "x");
}

#[tokio::test]
async fn an_origin_that_has_enough_to_do_gets_no_more_and_something_stale_stands_in() {
    let gate = crate::stage::gate::Gate::shut();
    let stage = Stage::build()
        .config(|config, _| {
            config.pools.get_mut("main").expect("the stage's pool").concurrency = Concurrency::Adaptive;
        })
        .start()
        .await;
    stage.origin("a").on("/old", [reply(200).cache_control("max-age=1, stale-if-error=600").body("old")]);
    stage.client().get("/old").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    stage.origin("a").answers("*", {
        let gate = gate.clone();
        move |_| reply(200).cache_control("no-store").body("x").head_after(&gate)
    });
    let busy: Vec<_> = (0..32).map(|nth| stage.client().get(&format!("/{nth}"))).collect();
    stage.until(|count| count.requests == 33).await;
    stage.client().get("/more").await.expect_status(503).cache_status("detail=overload");
    stage.client().get("/old").await.expect(200, "old");
    gate.open();
    gather(busy).await.expect_all(200, "x");
    stage.client().get("/more").await.expect(200, "x");
}

#[tokio::test]
async fn a_client_stays_at_the_origin_that_answered_it_and_what_is_stored_tells_nobody() {
    let stage = Stage::build()
        .origins(&["a", "b", "c"])
        .config(|config, _| {
            config.pools.get_mut("main").expect("the stage's pool").sticky = Some("at".into());
        })
        .start()
        .await;
    for origin in ["a", "b", "c"] {
        stage.origin(origin).on("/mine", [reply(200).cache_control("private").body(origin)]);
        stage.origin(origin).on("/ours", [reply(200).cache_control("max-age=60").body("ours")]);
        stage.origin(origin).on("/theirs", [reply(200).cache_control("no-store, public").body(origin)]);
    }
    let first = stage.client().get("/mine").await;
    let given = first.head.field("set-cookie").expect("a cookie");
    let cookie = given.split(';').next().expect("a pair").to_owned();
    assert!(cookie.starts_with("at=") && !given.contains("127.0.0.1"), "{given}");
    for also in ["", "other=1; "] {
        for _ in 0..5 {
            let client = stage.client().header("cookie", &format!("{also}{cookie}"));
            client.get("/mine").await.expect(200, &first.text()).lacks("set-cookie");
            client.post("/mine", "x").await.expect(200, &first.text()).lacks("set-cookie");
        }
    }
    // Neither the one that fetches what is stored nor those after it are given a cookie that others would see.
    for _ in 0..3 {
        stage.client().get("/ours").await.expect(200, "ours").lacks("set-cookie");
        stage.until(|count| count.stored == 1).await;
    }
    stage.client().get("/theirs").await.lacks("set-cookie");
    // What is no mark of ours is none, and who may not be asked is left.
    let stray = stage.client().header("cookie", "at=0000000000000000").get("/mine").await;
    assert!(stray.head.field("set-cookie").is_some(), "{stray:?}");
    let address = stage.origin(&first.text()).address();
    stage.operator().post(&format!("/v1/pools/main/{address}/drain"), "").await.expect_status(200);
    let moved = stage.client().header("cookie", &cookie).get("/mine").await;
    assert_ne!(moved.text(), first.text());
    assert!(moved.head.field("set-cookie").is_some_and(|given| !given.starts_with(&cookie)), "{moved:?}");
}

#[tokio::test]
async fn an_origin_is_taken_out_and_put_back_by_hand() {
    let stage = Stage::build().origins(&["a", "b"]).start().await;
    everywhere(&stage, &["a", "b"], &reply(200).cache_control("no-store").body("x"));
    let address = stage.origin("a").address();
    let encoded = format!("http%3A%2F%2F{}", address.to_string().replace(':', "%3a"));
    let answer = stage.operator().post(&format!("/v1/pools/main/{encoded}/drain"), "").await;
    assert!(answer.expect_status(200).text().contains("\"state\":\"drained\""), "{}", answer.text());
    for _ in 0..6 {
        stage.client().get("/x").await.expect(200, "x");
    }
    stage.origin("a").saw(0, "/x");
    let told = stage.operator().get("/v1/pools").await.expect_status(200).text();
    assert!(told.contains("\"state\":\"drained\"") && told.contains("\"state\":\"healthy\""), "{told}");
    stage.operator().post(&format!("/v1/pools/main/{address}/resume"), "").await.expect_status(200);
    for _ in 0..6 {
        stage.client().get("/x").await.expect(200, "x");
    }
    stage.origin("a").saw(3, "/x");
    for unknown in
        ["/v1/pools/main/10.0.0.1:1/drain", "/v1/pools/other/127.0.0.1:1/drain", "/v1/pools/main/%zz/drain"]
    {
        let answer = stage.operator().post(unknown, "").await;
        assert!(answer.expect_status(404).text().contains(&address.to_string()), "{}", answer.text());
    }
}

#[tokio::test]
async fn checks_take_an_origin_out_before_a_request_finds_out() {
    let stage = Stage::build()
        .origins(&["a", "b"])
        .config(|config, _| {
            let main = config.pools.get_mut("main").expect("the stage's pool");
            main.health = Some(Health { path: "/healthz".into(), ..Health::default() });
        })
        .start()
        .await;
    everywhere(&stage, &["a", "b"], &reply(200).cache_control("no-store").body("x"));
    stage.origin("a").on("/healthz", [reply(503)]);
    stage.origin("b").on("/healthz", [reply(200)]);
    stage
        .until(|_| {
            stage.clock.advance(millis(500));
            let stats = stage.edge().origins.stats();
            stats.iter().any(|origin| origin.stands == Stands::Down)
        })
        .await;
    for _ in 0..6 {
        stage.client().get("/x").await.expect(200, "x");
    }
    stage.origin("a").saw(0, "/x");
}

fn everywhere(stage: &Stage, origins: &[&str], answer: &Reply) {
    for origin in origins {
        stage.origin(origin).on("/x", [answer.clone()]);
    }
}
