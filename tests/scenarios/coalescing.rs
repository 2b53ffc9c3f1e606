//! Requests for the same thing at the same time become one fetch, and nobody gets what was not for them.

use std::collections::HashSet;

use crate::stage::Stage;
use crate::stage::client::gather;
use crate::stage::gate::Gate;
use crate::stage::origin::Seen;
use crate::stage::reply::{Frame, Reply, Trouble, reply};
use crate::stage::secs;

/// FAULTS B10, invariant 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_who_miss_at_once_cost_the_origin_one_request() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=60").body("one for all").head_after(&gate)]);
    let crowd = stage.clients(1000).get("/x");
    stage.until(|count| count.collapsed == 999).await;
    gate.open();
    crowd.await.expect_all(200, "one for all");
    stage.origin("a").saw(1, "/x");
    assert_eq!(stage.count().fills, 1);
}

#[tokio::test]
async fn a_crowd_that_comes_when_a_response_has_expired_costs_one_request() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1").body("old"),
            reply(200).cache_control("max-age=60").body("new").head_after(&gate),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(2));
    let crowd = stage.clients(64).get("/x");
    stage.until(|count| count.collapsed == 63).await;
    gate.open();
    crowd.await.expect_all(200, "new");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_crowd_that_comes_after_a_purge_costs_one_request() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=60").body("old"),
            reply(200).cache_control("max-age=60").body("new").head_after(&gate),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.purge(&["/x"], false).await;
    let crowd = stage.clients(64).get("/x");
    stage.until(|count| count.collapsed == 63).await;
    gate.open();
    crowd.await.expect_all(200, "new");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_follower_says_that_it_was_collapsed() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x").head_after(&gate)]);
    let leader = stage.client().get("/x");
    stage.until(|count| count.requests == 1).await;
    let follower = stage.client().get("/x");
    stage.until(|count| count.collapsed == 1).await;
    gate.open();
    leader.await.expect(200, "x").cache_status("fwd=uri-miss; fwd-status=200; stored; ttl=60");
    follower.await.expect(200, "x").cache_status("fwd=uri-miss; collapsed; ttl=60");
}

#[tokio::test]
async fn followers_read_along_from_the_first_byte_while_the_body_still_comes() {
    for framing in [Frame::Length, Frame::Chunks(4)] {
        let stage = Stage::new().await;
        let (head, body) = (Gate::shut(), Gate::shut());
        stage.origin("a").on(
            "/x",
            [reply(200)
                .cache_control("max-age=60")
                .body("firstlast")
                .framed(framing)
                .head_after(&head)
                .pause(5, &body)],
        );
        let leader = stage.client().get("/x");
        stage.until(|count| count.requests == 1).await;
        let early = stage.client();
        let mut early = early.connect().await;
        early.write(&stage.client().bytes("GET", "/x", b"")).await;
        stage.until(|count| count.collapsed == 1).await;
        head.open();
        early.head().await;
        let piece = if framing == Frame::Length { "first".len() } else { "5\r\nfirst\r\n".len() };
        let first = early.read(piece).await;
        assert!(first.windows(5).any(|five| five == b"first") || first.starts_with(b"4"), "{first:?}");
        let late = stage.client().get("/x");
        stage.until(|count| count.collapsed == 2).await;
        assert_eq!(stage.count().stored, 0, "the body is not whole yet");
        body.open();
        leader.await.expect(200, "firstlast");
        late.await.expect(200, "firstlast");
        stage.origin("a").saw(1, "/x");
    }
}

/// FAULTS C11.
#[tokio::test]
async fn a_leader_whose_client_leaves_fetches_on_for_those_who_wait() {
    for leaves_after_head in [false, true] {
        let stage = Stage::new().await;
        let (head, body) = (Gate::shut(), Gate::shut());
        stage.origin("a").on(
            "/x",
            [reply(200).cache_control("max-age=60").body("firstlast").head_after(&head).pause(5, &body)],
        );
        let mut leader = stage.client().connect().await;
        leader.write(&stage.client().bytes("GET", "/x", b"")).await;
        stage.until(|count| count.requests == 1).await;
        let followers = stage.clients(8).get("/x");
        stage.until(|count| count.collapsed == 8).await;
        if leaves_after_head {
            head.open();
            leader.head().await;
            leader.read(5).await;
        }
        drop(leader);
        head.open();
        body.open();
        followers.await.expect_all(200, "firstlast");
        stage.until(|count| count.stored == 1).await;
        stage.origin("a").saw(1, "/x");
    }
}

#[tokio::test]
async fn a_fill_whose_only_client_has_left_is_stored_all_the_same() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x").head_after(&gate)]);
    let leader = stage.client().get("/x");
    stage.until(|count| count.requests == 1).await;
    leader.leave();
    gate.open();
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, "x").is_hit());
}

#[tokio::test]
async fn a_leader_that_fails_before_its_head_gives_one_failure_to_all() {
    let troubles = [
        Trouble::Closes,
        Trouble::Resets,
        Trouble::TruncatesHead(20),
        Trouble::Garbage(b"\x16\x03\x01 no\r\n\r\n"),
    ];
    for trouble in troubles {
        let stage = Stage::new().await;
        let gate = Gate::shut();
        let told = format!("{trouble:?}");
        stage.origin("a").on("/x", [reply(200).body("x").but(trouble).head_after(&gate)]);
        let crowd = stage.clients(16).get("/x");
        stage.until(|count| count.collapsed == 15).await;
        stage.until(|count| count.requests == 1).await;
        gate.open();
        for answer in crowd.await.0 {
            answer.expect_status(502);
        }
        // One more where an idempotent request may be repeated on a fresh connection, never one a follower.
        let seen = stage.origin("a").seen_for("/x").len();
        assert!(seen <= 2, "{told}: {seen} requests");
    }
}

#[tokio::test]
async fn an_origin_that_says_nothing_in_time_gives_one_timeout_to_all() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).but(Trouble::Stalls)]);
    let crowd = stage.clients(16).get("/x");
    stage.until(|count| count.collapsed == 15 && count.requests == 1).await;
    for answer in stage.in_time(secs(31), crowd).await.0 {
        answer.expect_status(504).cache_status("detail=first-byte-timeout");
    }
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_body_that_is_cut_mid_way_reaches_everyone_as_a_cut() {
    for framing in [Frame::Length, Frame::Chunks(3)] {
        for trouble in [Trouble::Truncates(6), Trouble::ResetsAt(6)] {
            let stage = Stage::new().await;
            let (head, body) = (Gate::shut(), Gate::shut());
            let broken =
                reply(200).cache_control("max-age=60").body("firstlast").framed(framing).but(trouble);
            stage.origin("a").on("/x", [broken.head_after(&head).pause(3, &body)]);
            let crowd = stage.clients(8).get("/x");
            stage.until(|count| count.collapsed == 7).await;
            head.open();
            body.open();
            for answer in crowd.await.0 {
                // A reset may overtake the head: then nobody was told anything at all.
                assert!(answer.status == 502 || answer.was_cut(), "{answer:?}");
            }
            assert_eq!(stage.count().stored, 0);
            stage.origin("a").saw(1, "/x");
        }
    }
}

/// What an origin gives to a user.
type ForUser = fn(&str) -> Reply;

/// The answers that are for the one who asked only, as an origin gives them to `user`.
const UNSHAREABLE: [(&str, ForUser); 14] = [
    ("private", |user| reply(200).cache_control("private").body(user)),
    ("private with a lifetime", |user| reply(200).cache_control("private, max-age=60").body(user)),
    ("no-store", |user| reply(200).cache_control("no-store").body(user)),
    ("no-store beside a lifetime", |user| reply(200).cache_control("max-age=60, no-store").body(user)),
    ("no-cache without a validator", |user| reply(200).cache_control("no-cache").body(user)),
    ("a cookie set", |user| {
        reply(200).cache_control("max-age=60").field("set-cookie", format!("id={user}")).body(user)
    }),
    ("no lifetime at all", |user| reply(200).body(user)),
    ("a lifetime of zero", |user| reply(200).cache_control("max-age=0").body(user)),
    ("a shared lifetime of zero", |user| reply(200).cache_control("max-age=60, s-maxage=0").body(user)),
    ("Vary: *", |user| reply(200).cache_control("max-age=60").vary("*").body(user)),
    ("Vary: Cookie", |user| reply(200).cache_control("max-age=60").vary("Cookie").body(user)),
    ("Vary on a field that differs", |user| reply(200).cache_control("max-age=60").vary("X-Id").body(user)),
    ("an error of the client", |user| reply(403).body(user)),
    ("an expired date", |user| reply(200).field("expires", "Thu, 01 Jan 1970 00:00:00 GMT").body(user)),
];

/// FAULTS B9, C10: 64 waiters for each kind, all let go at once by an origin that waits until all are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_an_answer_that_was_for_another_and_those_sent_away_go_in_parallel() {
    const CROWD: usize = 64;
    let stage = Stage::new().await;
    for (nth, (kind, answer)) in UNSHAREABLE.into_iter().enumerate() {
        let target = format!("/{nth}");
        let (first, barrier) = (Gate::shut(), Gate::shut());
        let gates = (first.clone(), barrier.clone());
        let led = std::sync::atomic::AtomicBool::new(false);
        stage.origin("a").answers(&target, move |seen: &Seen| {
            let leads = !led.swap(true, std::sync::atomic::Ordering::Relaxed);
            let user = seen.field("x-id").unwrap_or_default();
            answer(&user).head_after(if leads { &gates.0 } else { &gates.1 })
        });
        let before = stage.count();
        let asked = (0..CROWD).map(|user| {
            let user = format!("user-{user}");
            let client = stage.client().header("x-id", &user).header("cookie", &format!("id={user}"));
            client.get(&target)
        });
        let crowd = gather(asked.collect());
        stage.until(|count| count.collapsed == before.collapsed + CROWD as u64 - 1).await;
        first.open();
        // Nobody is let go before everyone has asked for itself: in a row this would hang.
        stage.until(|count| count.requests == before.requests + CROWD).await;
        barrier.open();
        let bodies: Vec<_> = crowd.await.0.iter().map(crate::stage::answer::Answer::text).collect();
        for (user, body) in bodies.iter().enumerate() {
            assert_eq!(*body, format!("user-{user}"), "{kind}");
        }
        assert_eq!(bodies.into_iter().collect::<HashSet<_>>().len(), CROWD, "{kind}");
    }
}

#[tokio::test]
async fn what_is_known_not_to_be_shareable_is_not_waited_for_the_next_time() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on(
        "/x",
        [reply(200).cache_control("private"), reply(200).cache_control("private").head_after(&gate)],
    );
    stage.client().get("/x").await.expect_status(200);
    let crowd = stage.clients(8).get("/x");
    stage.until(|count| count.requests == 9).await;
    gate.open();
    crowd.await.expect_all(200, "");
    assert_eq!(stage.count().collapsed, 0);
}

#[tokio::test]
async fn a_resource_that_becomes_shareable_is_coalesced_again() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("private").body("mine"),
            reply(200).cache_control("max-age=1").body("ours"),
            reply(200).cache_control("max-age=1").body("ours again").head_after(&gate),
        ],
    );
    stage.client().get("/x").await.expect(200, "mine");
    stage.client().get("/x").await.expect(200, "ours");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(2));
    let crowd = stage.clients(8).get("/x");
    stage.until(|count| count.collapsed == 7).await;
    gate.open();
    crowd.await.expect_all(200, "ours again");
    stage.origin("a").saw(3, "/x");
}

#[tokio::test]
async fn a_request_with_credentials_neither_leads_nor_follows_what_is_not_public() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    let gate_of = gate.clone();
    stage.origin("a").answers("/x", move |seen: &Seen| {
        let user = seen.field("authorization").unwrap_or_else(|| "nobody".into());
        reply(200).cache_control("max-age=60").body(user).head_after(&gate_of)
    });
    let leader = stage.client().header("authorization", "Basic alice").get("/x");
    stage.until(|count| count.requests == 1).await;
    let other = stage.client().header("authorization", "Basic bob").get("/x");
    let nobody = stage.client().get("/x");
    // All three have asked: what nobody gets is public once it is stored, also to who comes later with credentials.
    stage.until(|count| count.collapsed == 2).await;
    gate.open();
    leader.await.expect(200, "Basic alice");
    other.await.expect(200, "Basic bob");
    nobody.await.expect(200, "nobody");
}

#[tokio::test]
async fn two_variants_are_two_fetches_and_each_is_shared() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=1").vary("Accept-Language").body("?")]);
    stage.client().header("accept-language", "de").get("/x").await.expect(200, "?");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(2));
    let gate_of = gate.clone();
    stage.origin("a").answers("/x", move |seen: &Seen| {
        let language = seen.field("accept-language").unwrap_or_default();
        reply(200).cache_control("max-age=60").vary("Accept-Language").body(language).head_after(&gate_of)
    });
    let crowds = ["de", "fr"].map(|language| {
        let client = stage.client().header("accept-language", language);
        (language, gather((0..16).map(|_| client.get("/x")).collect()))
    });
    stage.until(|count| count.collapsed == 30).await;
    gate.open();
    for (language, crowd) in crowds {
        crowd.await.expect_all(200, language);
    }
    stage.origin("a").saw(3, "/x");
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_reaches_everyone_whole_and_is_not_stored() {
    for framing in [Frame::Length, Frame::Chunks(64 << 10)] {
        let stage =
            Stage::build().config(|config, _| config.cache.object_bytes_max = 256 << 10).start().await;
        let gate = Gate::shut();
        let large: Vec<u8> = (0..1_u32 << 20).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
        let reply =
            reply(200).cache_control("max-age=60").body(large.clone()).framed(framing).head_after(&gate);
        stage.origin("a").on("/x", [reply]);
        let crowd = stage.clients(4).get("/x");
        stage.until(|count| count.collapsed == 3).await;
        gate.open();
        for answer in crowd.await.0 {
            answer.expect_status(200);
            assert!(answer.body == large, "{framing:?}: {} bytes", answer.body.len());
        }
        assert_eq!(stage.count().stored, 0, "{framing:?}");
    }
}

#[tokio::test]
async fn followers_of_a_fetch_that_was_abandoned_look_again_and_are_served() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x").head_after(&gate)]);
    // A fill of ours, begun as the node begins its own, and dropped without an end.
    let edge = stage.edge();
    let key = edge
        .routes
        .keys_of(edge.store.keyer(), tidegate::listener::request::Scheme::Http, b"www.example.test", b"/x")
        .into_iter()
        .next()
        .expect("the site answers for its host");
    let fill = {
        let fields = http::HeaderMap::new();
        let target = cache_store::rules::Target { scheme: "http", authority: "www.example.test", path: "/x" };
        let head = cache_store::rules::RequestHead { method: &http::Method::GET, target, fields: &fields };
        let policy = cache_store::rules::Policy::default();
        let resource = cache_store::purge::Resource { key, authority: b"www.example.test", target: b"/x" };
        match edge.store.lookup(resource, &head, &policy, stage.clock.now()) {
            cache_store::lookup::Lookup::Miss(fill) => fill,
            other => panic!("nothing is stored yet: {other:?}"),
        }
    };
    let crowd = stage.clients(8).get("/x");
    stage.until(|count| count.collapsed == 8).await;
    drop(fill);
    stage.until(|count| count.requests == 1 && count.collapsed == 15).await;
    gate.open();
    crowd.await.expect_all(200, "x");
    stage.origin("a").saw(1, "/x");
}
