//! One URL, several answers: chosen by what the origin's `Vary` names, and bounded (RFC 9111 §4.1, FAULTS C8).

use crate::stage::Stage;
use crate::stage::client::gather;
use crate::stage::origin::Seen;
use crate::stage::reply::{Reply, reply};
use tidegate::config::Preset;

#[tokio::test]
async fn who_asks_differently_in_a_field_that_vary_names_gets_an_answer_of_its_own() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| mirrored(seen, "x-kind"));
    let kind = |value| stage.client().header("x-kind", value);
    kind("one").get("/x").await.expect(200, "one").cache_status_has("fwd=uri-miss");
    kind("two").get("/x").await.expect(200, "two").cache_status_has("fwd=vary-miss");
    stage.client().get("/x").await.expect(200, "").cache_status_has("fwd=vary-miss");
    stage.until(|count| count.stored == 3).await;
    for value in ["one", "two"] {
        assert!(kind(value).get("/x").await.expect(200, value).is_hit());
    }
    assert!(stage.client().get("/x").await.expect(200, "").is_hit());
    // Whitespace and several lines are no difference (RFC 9111 §4.1).
    let listed = stage.client().header("x-kind", "a,b");
    listed.get("/x").await.expect(200, "a,b");
    stage.until(|count| count.stored == 4).await;
    let spaced = stage.client().header("x-kind", "a ,  b");
    let lined = stage.client().header("x-kind", "a").header("x-kind", "b");
    for same in [spaced, lined] {
        assert!(same.get("/x").await.expect(200, "a,b").is_hit());
    }
    stage.origin("a").saw(4, "/x");
}

#[tokio::test]
async fn who_asks_the_same_but_for_what_vary_does_not_name_gets_the_same() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| mirrored(seen, "x-kind"));
    stage.client().header("x-kind", "one").header("user-agent", "a").get("/x").await.expect(200, "one");
    stage.until(|count| count.stored == 1).await;
    let other = stage.client().header("x-kind", "one").header("user-agent", "b").header("accept", "text/*");
    assert!(other.get("/x").await.expect(200, "one").is_hit());
}

#[tokio::test]
async fn vary_on_several_fields_asks_that_all_of_them_match() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let kinds = [seen.field("x-a"), seen.field("x-b")].map(Option::unwrap_or_default);
        reply(200).cache_control("max-age=60").vary("X-A").vary("x-b").body(kinds.join("/"))
    });
    let ask = |a, b| stage.client().header("x-a", a).header("x-b", b).get("/x");
    for (a, b) in [("1", "1"), ("1", "2"), ("2", "1")] {
        ask(a, b).await.expect(200, &format!("{a}/{b}"));
    }
    stage.until(|count| count.stored == 3).await;
    for (a, b) in [("1", "1"), ("1", "2"), ("2", "1")] {
        assert!(ask(a, b).await.expect(200, &format!("{a}/{b}")).is_hit());
    }
    assert!(!ask("2", "2").await.expect(200, "2/2").is_hit());
}

#[tokio::test]
async fn an_encoding_that_a_client_does_not_take_is_never_sent_to_it() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let gzip = seen.field("accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
        let page = reply(200).cache_control("max-age=60").vary("Accept-Encoding");
        if gzip { page.field("content-encoding", "gzip").body("zipped") } else { page.body("plain") }
    });
    let ask = |accepted: &str| stage.client().header("accept-encoding", accepted).get("/x");
    ask("gzip, br").await.expect(200, "zipped").has("content-encoding", "gzip");
    stage.client().get("/x").await.expect(200, "plain").lacks("content-encoding");
    stage.until(|count| count.stored == 2).await;
    for (accepted, body) in [
        ("gzip, br", "zipped"),
        ("br, gzip", "zipped"),
        ("gzip", "zipped"),
        ("identity", "plain"),
        ("br", "plain"),
    ] {
        ask(accepted).await.expect(200, body);
    }
    assert!(ask("gzip, br").await.is_hit());
    assert!(stage.client().get("/x").await.expect(200, "plain").is_hit());
}

#[tokio::test]
async fn the_language_a_client_likes_best_is_found_where_the_standard_is_followed_to_the_letter() {
    let stage = Stage::preset(Preset::Rfc).await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let accepted = seen.field("accept-language").unwrap_or_default();
        let language = if accepted.starts_with("de") { "de" } else { "en" };
        reply(200)
            .cache_control("max-age=60")
            .vary("Accept-Language")
            .field("content-language", language)
            .body(language)
    });
    let ask = |accepted: &str| stage.client().header("accept-language", accepted).get("/x");
    ask("de").await.expect(200, "de");
    ask("en").await.expect(200, "en");
    stage.until(|count| count.stored == 2).await;
    assert!(ask("de, en;q=0.5").await.expect(200, "de").is_hit());
    assert!(ask("en;q=0.9, fr;q=0.1").await.expect(200, "en").is_hit());
}

#[tokio::test]
async fn vary_star_is_never_served_again() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").vary("*").body("x")]);
    for _ in 0..3 {
        assert!(!stage.client().get("/x").await.expect(200, "x").is_hit());
    }
    stage.origin("a").saw(3, "/x");
    assert_eq!(stage.count().stored, 0);
}

#[tokio::test]
async fn a_resource_keeps_sixty_four_variants_and_others_keep_theirs() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| mirrored(seen, "x-kind"));
    stage.origin("a").on("/bystander", [reply(200).cache_control("max-age=60").body("here")]);
    stage.client().get("/bystander").await.expect(200, "here");
    stage.until(|count| count.stored == 1).await;
    for kind in 0..200_u64 {
        let kind_name = kind.to_string();
        stage.client().header("x-kind", &kind_name).get("/x").await.expect(200, &kind_name);
        stage.until(|count| count.stored == kind + 2).await;
    }
    // 64 variants, their list, and the bystander.
    assert_eq!(stage.count().memory_objects, 66);
    let again = (136..200).map(|kind| stage.client().header("x-kind", &kind.to_string()).get("/x"));
    for answer in gather(again.collect()).await.0 {
        assert!(answer.is_hit(), "{answer:?}");
    }
    assert!(!stage.client().header("x-kind", "135").get("/x").await.is_hit());
    assert!(stage.client().get("/bystander").await.expect(200, "here").is_hit());
}

#[tokio::test]
async fn an_origin_that_begins_to_vary_is_not_answered_from_what_did_not() {
    let stage = Stage::new().await;
    let plain = || reply(200).cache_control("max-age=10").body("for all");
    stage.origin("a").on("/x", [plain()]);
    stage.client().header("x-kind", "one").get("/x").await.expect(200, "for all");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(crate::stage::secs(11));
    stage.origin("a").answers("/x", |seen: &Seen| mirrored(seen, "x-kind"));
    for kind in ["one", "two"] {
        stage.client().header("x-kind", kind).get("/x").await.expect(200, kind);
    }
}

#[tokio::test]
async fn a_stale_variant_is_confirmed_among_its_siblings() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let kind = seen.field("x-kind").unwrap_or_default();
        mirrored(seen, "x-kind").etag(&format!("\"{kind}\"")).confirms()
    });
    for kind in ["one", "two"] {
        stage.client().header("x-kind", kind).get("/x").await.expect(200, kind);
    }
    stage.until(|count| count.stored == 2).await;
    stage.clock.advance(crate::stage::secs(61));
    for kind in ["one", "two"] {
        let answer = stage.client().header("x-kind", kind).get("/x").await;
        answer.expect(200, kind).cache_status_has("fwd-status=304");
    }
    let seen = stage.origin("a").seen_for("/x");
    assert!(
        seen[2]
            .field("if-none-match")
            .is_some_and(|tags| tags.contains("\"one\"") && tags.contains("\"two\""))
    );
}

fn mirrored(seen: &Seen, name: &str) -> Reply {
    reply(200).cache_control("max-age=60").vary(name).body(seen.field(name).unwrap_or_default())
}
