//! What may be stored and what not: a table of answers, each asked for twice (RFC 9111 §3, FAULTS C6, C9, C13).

use crate::stage::client::gather;
use crate::stage::reply::{Frame, Reply, reply};
use crate::stage::{Stage, secs};
use tidegate::config::{Cookies, Forward, PathPattern};
use tidegate::config::{Preset, Route, RoutePolicy};

/// The claim, the answer, and whether the second request may be served from the store.
type Claim = (&'static str, Reply, bool);

#[tokio::test]
async fn the_safe_defaults_store_what_says_that_it_may_be_stored_and_nothing_else() {
    let fresh = || reply(200).cache_control("max-age=60");
    let claims: Vec<Claim> = vec![
        ("a lifetime", fresh(), true),
        ("public with a lifetime", reply(200).cache_control("public, max-age=60"), true),
        ("a shared lifetime", reply(200).cache_control("s-maxage=60"), true),
        (
            "a shared lifetime beats a private one of zero",
            reply(200).cache_control("max-age=0, s-maxage=60"),
            true,
        ),
        ("Expires in the future", reply(200).field("expires", "Mon, 02 Nov 2026 10:20:00 GMT"), true),
        ("Expires in the past", reply(200).field("expires", "Mon, 02 Nov 2026 08:20:00 GMT"), false),
        ("Expires that is no date", reply(200).field("expires", "0"), false),
        ("nothing said", reply(200), false),
        ("nothing said but long unmodified", last_modified(reply(200)), true),
        ("no-store", reply(200).cache_control("no-store"), false),
        ("no-store beside a lifetime", reply(200).cache_control("no-store, max-age=60"), false),
        ("no-store in a field of its own", fresh().cache_control("no-store"), false),
        ("NO-STORE", reply(200).cache_control("Max-Age=60, NO-STORE"), false),
        ("private", reply(200).cache_control("private, max-age=60"), false),
        ("private with a field list", reply(200).cache_control("private=\"x-user\", max-age=60"), true),
        ("no-cache", reply(200).cache_control("no-cache, max-age=60"), false),
        ("a lifetime of zero", reply(200).cache_control("max-age=0"), false),
        ("two lifetimes that differ", reply(200).cache_control("max-age=60, max-age=0"), false),
        ("a lifetime that is no number", reply(200).cache_control("max-age=soon"), false),
        ("a cookie", fresh().field("set-cookie", "id=1"), false),
        (
            "a cookie beside public",
            reply(200).cache_control("public, max-age=60").field("set-cookie", "id=1"),
            false,
        ),
        ("Vary: *", fresh().vary("*"), false),
        ("Vary on what does not differ", fresh().vary("Accept-Encoding"), true),
        (
            "targeted at caches like this one",
            reply(200).cache_control("no-store").field("cdn-cache-control", "max-age=60"),
            true,
        ),
        ("kept away from caches like this one", fresh().field("cdn-cache-control", "no-store"), false),
        ("by a surrogate's control", reply(200).field("surrogate-control", "max-age=60"), true),
        ("204 with a lifetime", reply(204).cache_control("max-age=60"), true),
        ("301 with a lifetime", reply(301).cache_control("max-age=60").field("location", "/y"), true),
        ("302 with a lifetime", reply(302).cache_control("max-age=60").field("location", "/y"), true),
        ("302 that says nothing", reply(302).field("location", "/y"), false),
        ("404 with a lifetime", reply(404).cache_control("max-age=60"), true),
        ("404 that says nothing", reply(404), false),
        ("410 with a lifetime", reply(410).cache_control("max-age=60"), true),
        ("400 with a lifetime", reply(400).cache_control("max-age=60"), false),
        ("403 with a lifetime", reply(403).cache_control("max-age=60"), false),
        ("414 with a lifetime", reply(414).cache_control("max-age=60"), false),
        ("416 with a lifetime", reply(416).cache_control("max-age=60"), false),
        ("431 with a lifetime", reply(431).cache_control("max-age=60"), false),
        ("500 with a lifetime", reply(500).cache_control("max-age=60"), false),
        ("503 with a lifetime", reply(503).cache_control("max-age=60"), false),
        ("a status nobody knows", reply(299), false),
        ("chunks", fresh().framed(Frame::Chunks(3)), true),
        ("to the end of the connection", fresh().framed(Frame::Close), true),
        ("no date", fresh().dateless(), true),
        ("an age beyond the lifetime", fresh().field("age", "61"), false),
        ("an age within the lifetime", fresh().field("age", "59"), true),
        ("an age that is no number", fresh().field("age", "old"), false),
    ];
    judge(Preset::Default, claims).await;
}

#[tokio::test]
async fn the_static_preset_stores_what_says_nothing_for_a_while() {
    let claims: Vec<Claim> = vec![
        ("nothing said", reply(200), true),
        ("404 that says nothing", reply(404), true),
        ("no-store", reply(200).cache_control("no-store"), false),
        ("private", reply(200).cache_control("private"), false),
        ("no-cache", reply(200).cache_control("no-cache"), false),
        ("a cookie", reply(200).field("set-cookie", "id=1"), false),
        ("403 that says nothing", reply(403), false),
    ];
    judge(Preset::Static, claims).await;
}

#[tokio::test]
async fn the_rfc_preset_stores_what_the_standard_allows() {
    let claims: Vec<Claim> = vec![
        (
            "a cookie with a lifetime",
            reply(200).cache_control("max-age=60").field("set-cookie", "id=1"),
            true,
        ),
        ("500 with a lifetime", reply(500).cache_control("max-age=60"), true),
        ("403 with a lifetime", reply(403).cache_control("max-age=60"), true),
        ("private", reply(200).cache_control("private, max-age=60"), false),
        ("no-store", reply(200).cache_control("no-store, max-age=60"), false),
    ];
    judge(Preset::Rfc, claims).await;
}

/// RFC 9111 §3.5.
#[tokio::test]
async fn an_answer_to_a_request_with_credentials_is_stored_only_where_it_says_so() {
    let claims = [
        ("a lifetime", "max-age=60", false),
        ("public", "public, max-age=60", true),
        ("a shared lifetime", "s-maxage=60", true),
        ("must-revalidate", "must-revalidate, max-age=60", true),
        ("private", "private, max-age=60", false),
    ];
    for (claim, control, stored) in claims {
        let stage = Stage::new().await;
        stage
            .origin("a")
            .on("/x", [reply(200).cache_control(control).body("for alice"), reply(200).body("for all")]);
        let alice = stage.client().header("authorization", "Basic YWxpY2U6");
        alice.get("/x").await.expect(200, "for alice");
        stage.until(|count| count.stored == u64::from(stored) && count.fills_under_way == 0).await;
        let other = stage.client().get("/x").await;
        assert_eq!(other.text() == "for alice", stored, "{claim}");
    }
}

#[tokio::test]
async fn a_request_that_says_no_store_leaves_nothing_behind() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.client().header("cache-control", "no-store").get("/x").await.expect(200, "x");
    stage.until(|count| count.fills_under_way == 0).await;
    assert_eq!(stage.count().stored, 0);
    stage.client().get("/x").await.expect(200, "x");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn cookies_of_a_session_pass_by_the_cache_in_the_presets_for_sites() {
    let stage = Stage::preset(Preset::News).await;
    stage.origin("a").answers("/x", |seen| {
        reply(200).cache_control("max-age=60").body(seen.field("cookie").unwrap_or_else(|| "nobody".into()))
    });
    let alice = stage.client().header("cookie", "sessionid=alice; theme=dark");
    alice.get("/x").await.expect(200, "sessionid=alice; theme=dark").cache_status_has("fwd=bypass");
    stage.client().header("cookie", "_ga=tracker; theme=light").get("/x").await.expect(200, "nobody");
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, "nobody").is_hit());
    alice.get("/x").await.expect(200, "sessionid=alice; theme=dark");
}

#[tokio::test]
async fn a_route_that_is_off_is_never_stored() {
    let stage = Stage::build()
        .config(|config, _| {
            let site = &mut config.sites[0];
            let off = RoutePolicy { cache: false, ..RoutePolicy::clone(&site.defaults) };
            site.routes.push(Route {
                path: PathPattern::Prefix("/api/".into()),
                methods: Vec::new(),
                conditions: tidegate::config::Conditions::default(),
                policy: std::sync::Arc::new(off),
            });
        })
        .start()
        .await;
    for target in ["/api/x", "/api/../api/x", "/%61pi/x", "/x"] {
        stage.origin("a").on(target, [reply(200).cache_control("max-age=60").body("x")]);
    }
    for target in ["/api/x", "/api/x", "/api/../api/x", "/%61pi/x", "/x/../api/x"] {
        let answer = stage.client().get(target).await;
        assert!(!answer.is_hit(), "{target}");
        answer.cache_status_has("fwd=bypass");
    }
    assert_eq!(stage.count().stored, 0);
    stage.client().get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
}

/// FAULTS C6: nothing is cacheable for the look of its path.
#[tokio::test]
async fn a_private_page_is_not_stored_for_looking_like_a_file() {
    for preset in [Preset::Default, Preset::Static, Preset::News, Preset::Rfc] {
        let stage = Stage::preset(preset).await;
        stage.origin("a").answers("*", |_| reply(200).cache_control("private").body("alice's account"));
        let suffixes = ["css", "js", "png", "ico", "avif", "woff2", "html", "xml", "txt", "webp"];
        let joints = [
            "/", "/..", ";", "%3b", "%23", "%3f", "%0a", "%00", "/.", "%2f", "%2f..%2f", "%5c", "!", "~",
            ".", "%20", "//",
        ];
        let mut targets = Vec::new();
        for suffix in suffixes {
            targets.extend(joints.iter().map(|joint| format!("/account{joint}x.{suffix}")));
            targets.push(format!("/static/..%2faccount.{suffix}"));
            targets.push(format!("/robots.txt%2f..%2faccount.{suffix}"));
            targets.push(format!("/{suffix}/%2e%2e/account?x.{suffix}"));
        }
        assert!(targets.len() >= 200, "{}", targets.len());
        for round in 0..2 {
            let asked = targets.iter().map(|target| stage.client().get(target));
            for (target, answer) in targets.iter().zip(gather(asked.collect()).await.0) {
                assert!(!answer.is_hit(), "{target} in round {round}");
                assert!(matches!(answer.status, 200 | 400), "{target}: {}", answer.status);
            }
        }
        assert_eq!(stage.count().stored, 0, "{preset:?}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_origin_end_at_the_node() {
    let stage = Stage::new().await;
    let chatty = reply(200)
        .cache_control("max-age=60")
        .field("connection", "x-private, keep-alive")
        .field("keep-alive", "timeout=5")
        .field("x-private", "1")
        .field("proxy-authenticate", "Basic")
        .field("proxy-connection", "keep-alive")
        .field("upgrade", "h2c")
        .field("trailer", "x-sum")
        .field("te", "trailers")
        .field("surrogate-key", "one two")
        .field("cache-tag", "three")
        .field("surrogate-control", "max-age=60")
        .field("x-public", "2")
        .body("x");
    stage.origin("a").on("/x", [chatty]);
    for _ in 0..2 {
        let answer = stage.client().get("/x").await;
        answer.expect(200, "x").has("x-public", "2");
        let gone = [
            "keep-alive",
            "x-private",
            "proxy-connection",
            "upgrade",
            "trailer",
            "te",
            "surrogate-key",
            "cache-tag",
            "surrogate-control",
        ];
        for name in gone {
            answer.lacks(name);
        }
        stage.until(|count| count.stored == 1).await;
    }
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn an_answer_that_came_too_large_for_the_store_is_sent_and_not_stored() {
    let stage = Stage::build().config(|config, _| config.cache.object_bytes_max = 1000).start().await;
    for (target, length, stored) in [("/below", 999, true), ("/at", 1000, true), ("/above", 1001, false)] {
        for framing in [Frame::Length, Frame::Chunks(300)] {
            let target = format!("{target}-{framing:?}").replace(['(', ')'], "");
            let answer = reply(200).cache_control("max-age=60").body(vec![b'x'; length]).framed(framing);
            stage.origin("a").on(&target, [answer]);
            let before = stage.count().stored;
            assert_eq!(stage.client().get(&target).await.expect_status(200).body.len(), length);
            stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
            assert_eq!(stage.count().stored - before, u64::from(stored), "{target}");
        }
    }
}

#[tokio::test]
async fn a_post_is_not_answered_from_the_store_and_a_head_is() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("page")]);
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    stage.client().head("/x").await.expect(200, "").cache_status("hit; ttl=60").has("content-length", "4");
    stage.origin("a").saw(1, "/x");
    stage.client().post("/x", "change").await.expect(200, "page").cache_status_has("fwd=bypass");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn pass_lists_name_what_reaches_the_origin() {
    let stage = Stage::build()
        .policy(|policy| {
            policy.forward = Forward::Only(vec!["x-known".into()]);
            policy.cookies = Cookies::PassOn(Vec::new());
        })
        .start()
        .await;
    stage.origin("a").on("/x", [reply(200).body("x")]);
    let client = stage.client().header("x-known", "1").header("x-unknown", "2").header("cookie", "a=b");
    client.get("/x").await.expect(200, "x");
    let seen = &stage.origin("a").seen_for("/x")[0];
    assert_eq!(seen.field("x-known").as_deref(), Some("1"));
    assert_eq!((seen.field("x-unknown"), seen.field("cookie")), (None, None));
}

/// Asks for each answer twice, and for nothing stale: is the second from the store?
async fn judge(preset: Preset, claims: Vec<Claim>) {
    let stage = Stage::build()
        .preset(preset)
        .rules(|rules| {
            rules.stale_while_revalidate = secs(0);
            rules.stale_if_error = secs(0);
        })
        .start()
        .await;
    for (nth, (claim, answer, stored)) in claims.into_iter().enumerate() {
        let target = format!("/{nth}");
        let status = answer.status;
        stage.origin("a").on(&target, [answer.body(if status == 204 { "" } else { "body" })]);
        let first = stage.client().get(&target).await;
        assert_eq!(first.status, status, "{claim}");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        let second = stage.client().get(&target).await;
        assert_eq!((second.status, second.text()), (status, first.text()), "{claim}");
        assert_eq!(second.is_hit(), stored, "{claim}: {:?}", second.field("cache-status"));
        stage.origin("a").saw(if stored { 1 } else { 2 }, &target);
    }
}

fn last_modified(reply: Reply) -> Reply {
    reply.field("last-modified", "Sun, 01 Nov 2026 09:20:00 GMT")
}
