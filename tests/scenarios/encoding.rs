//! One response, several encodings: made once, beside the requests, and gone with it.

use std::io::Read as _;
use std::sync::Arc;

use cache_store::rules::Coding;
use tidegate::config::encode::TypePattern;
use tidegate::config::{DiskAdmission, DiskCache, Encode, Preset};

use crate::stage::answer::Answer;
use crate::stage::directory::Directory;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::origin::Seen;
use crate::stage::region::Region;
use crate::stage::reply::{Frame, Reply, reply};
use crate::stage::settings::encrypted;
use crate::stage::{Stage, secs};

#[tokio::test]
async fn a_page_is_encoded_once_and_every_client_gets_what_it_takes() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page()]);
    let first = ask(&stage, "br").get("/x").await;
    first.expect(200, &text()).lacks("content-encoding").has("vary", "accept-encoding").has("etag", "\"1\"");
    made(&stage, 1).await;
    for _ in 0..3 {
        let answer = ask(&stage, "gzip, deflate, br, zstd").get("/x").await;
        assert!(answer.is_hit());
        encoded(&answer, "br").has("etag", "W/\"1\"").has("vary", "accept-encoding");
        answer.has("content-length", &answer.body.len().to_string()).has("content-type", "text/html");
    }
    // Another coding is made when somebody wants it; until then what is there is sent.
    ask(&stage, "zstd").get("/x").await.expect(200, &text()).lacks("content-encoding");
    made(&stage, 2).await;
    encoded(&ask(&stage, "zstd").get("/x").await, "zstd");
    encoded(&ask(&stage, "gzip, br;q=0.5").get("/x").await, "br");
    made(&stage, 3).await;
    encoded(&ask(&stage, "gzip, br;q=0.5").get("/x").await, "gzip");
    for accepted in ["identity", "", "deflate", "br;q=0", "gzip;q=0.1, identity"] {
        let answer = ask(&stage, accepted).get("/x").await;
        answer
            .expect(200, &text())
            .lacks("content-encoding")
            .has("vary", "accept-encoding")
            .has("etag", "\"1\"");
    }
    stage.client().get("/x").await.expect(200, &text()).has("vary", "accept-encoding");
    stage.origin("a").saw(1, "/x");
    let figures = stage.edge().encoders.figures();
    assert_eq!((figures.made, figures.given_up, figures.dropped), ([1, 1, 1], 0, 0));
    assert!(figures.bytes_out < figures.bytes_in / 4, "{figures:?}");
    // One object, whatever hangs from it.
    assert_eq!(stage.count().memory_objects, 1);
}

#[tokio::test]
async fn nothing_is_encoded_where_the_settings_do_not_say_so() {
    for preset in [Preset::Default, Preset::Rfc] {
        let stage = Stage::preset(preset).await;
        stage.origin("a").on("/x", [page()]);
        for _ in 0..3 {
            let answer = ask(&stage, "br, gzip").get("/x").await;
            answer.expect(200, &text()).lacks("content-encoding").lacks("vary");
        }
        assert_eq!(stage.edge().encoders.figures(), tidegate::encode::Encodings::default());
        let seen = stage.origin("a").seen_for("/x");
        assert_eq!(seen[0].field("accept-encoding").as_deref(), Some("br, gzip"), "as the client sent it");
    }
    assert!(Preset::Static.encode().is_some() && Preset::News.encode().is_some());
}

#[tokio::test]
async fn what_is_encoded_already_or_must_not_be_or_would_gain_nothing_is_sent_as_it_is() {
    let stage = encoding().await;
    let claims: [(&str, Reply, bool); 9] = [
        ("/typeless", reply(200).cache_control("max-age=60").body(text()), false),
        ("/image", of_type("image/png").body(text()), false),
        ("/font", of_type("font/woff2").body(text()), false),
        ("/short", of_type("text/css").body("a { b: c }".repeat(25)), false),
        ("/no-transform", page_for("max-age=60, No-Transform"), false),
        ("/zipped", page().field("content-encoding", "gzip"), true),
        ("/twice", page().field("content-encoding", "br, gzip"), false),
        ("/other", page().field("content-encoding", "compress"), false),
        ("/empty", of_type("text/html").body(""), false),
    ];
    for (target, answer, varies) in claims {
        stage.origin("a").on(target, [answer]);
        let first = ask(&stage, "gzip").get(target).await;
        for _ in 0..2 {
            let again = ask(&stage, "gzip").get(target).await;
            assert_eq!((again.is_hit(), &again.body), (true, &first.body), "{target}");
            assert_eq!(again.field("content-encoding"), first.field("content-encoding"), "{target}");
            assert_eq!(again.field("vary").is_some(), varies, "{target}");
        }
    }
    // Noise does not become shorter: tried once, and sent as it is.
    stage.origin("a").on("/noise", [of_type("text/plain").body(noise(5000))]);
    ask(&stage, "gzip").get("/noise").await.lacks("content-encoding");
    stage.until(|_| stage.edge().encoders.figures().given_up == 1).await;
    for _ in 0..3 {
        ask(&stage, "gzip").get("/noise").await.lacks("content-encoding").has("vary", "accept-encoding");
    }
    let figures = stage.edge().encoders.figures();
    assert_eq!((figures.made, figures.given_up, figures.waiting), ([0; 3], 1, 0));
}

#[tokio::test]
async fn a_purge_takes_every_form_at_once() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page(), of_type("text/html").body(text().to_uppercase())]);
    ask(&stage, "br").get("/x").await;
    made(&stage, 1).await;
    encoded(&ask(&stage, "br").get("/x").await, "br");
    stage.purge(&["/x"], false).await;
    let answer = ask(&stage, "br").get("/x").await;
    answer.expect(200, &text().to_uppercase()).lacks("content-encoding").cache_status_has("fwd=uri-miss");
    made(&stage, 2).await;
    assert_eq!(decoded(&ask(&stage, "br").get("/x").await), text().to_uppercase());
}

#[tokio::test]
async fn a_confirmation_confirms_every_form_and_nothing_is_encoded_again() {
    let stage = encoding().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let round = if seen.field("if-none-match").is_some() { "2" } else { "1" };
        page().field("x-round", round).confirms()
    });
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    encoded(&ask(&stage, "gzip").get("/x").await, "gzip").has("x-round", "1").has("age", "0");
    stage.clock.advance(secs(61));
    let confirmed = ask(&stage, "gzip").get("/x").await;
    encoded(&confirmed, "gzip").has("x-round", "2").cache_status_has("fwd-status=304");
    let again = ask(&stage, "gzip").get("/x").await;
    encoded(&again, "gzip").has("x-round", "2").has("etag", "W/\"1\"").has("age", "0");
    assert!(again.is_hit());
    stage.client().get("/x").await.expect(200, &text()).has("x-round", "2").has("etag", "\"1\"");
    // The origin was asked by its own tag, not by ours.
    let seen = stage.origin("a").seen_for("/x");
    assert_eq!(seen[1].field("if-none-match").as_deref(), Some("\"1\""));
    // But harder, since it is still asked for.
    let figures = stage.edge().encoders.figures();
    assert_eq!(figures.made.iter().sum::<u64>() - figures.harder, 1, "{figures:?}");
}

#[tokio::test]
async fn a_confirmation_that_forbids_encoding_is_heard() {
    let stage = encoding().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let control =
            if seen.field("if-none-match").is_some() { "max-age=60, no-transform" } else { "max-age=60" };
        page_for(control).confirms()
    });
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    encoded(&ask(&stage, "gzip").get("/x").await, "gzip");
    stage.clock.advance(secs(61));
    for _ in 0..2 {
        ask(&stage, "gzip").get("/x").await.expect(200, &text()).lacks("content-encoding");
    }
}

#[tokio::test]
async fn a_client_confirms_what_it_has_in_any_coding() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page().field("last-modified", "Sun, 01 Nov 2026 00:00:00 GMT")]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    for (accepted, etag) in [("gzip", "W/\"1\""), ("identity", "\"1\"")] {
        for known in ["\"1\"", "W/\"1\"", "*", "\"0\", W/\"1\""] {
            let answer = ask(&stage, accepted).header("if-none-match", known).get("/x").await;
            answer.expect(304, "").has("etag", etag).has("vary", "accept-encoding").lacks("content-encoding");
        }
        ask(&stage, accepted).header("if-none-match", "\"0\"").get("/x").await.expect_status(200);
        let since = ask(&stage, accepted).header("if-modified-since", "Sun, 01 Nov 2026 00:00:00 GMT");
        since.get("/x").await.expect(304, "").has("etag", etag);
    }
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn head_tells_what_get_would_send() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page()]);
    ask(&stage, "br").get("/x").await;
    made(&stage, 1).await;
    for accepted in ["br", "identity"] {
        let get = ask(&stage, accepted).get("/x").await;
        let head = ask(&stage, accepted).head("/x").await;
        head.expect(200, "");
        for name in ["content-length", "content-encoding", "etag", "vary", "content-type"] {
            assert_eq!(head.field(name), get.field(name), "{name} for {accepted}");
        }
    }
}

#[tokio::test]
async fn a_range_is_one_of_what_the_client_can_put_together() {
    let stage = encoding().await;
    let modified = "Sun, 01 Nov 2026 00:00:00 GMT";
    stage.origin("a").on("/x", [page().field("last-modified", modified).field("accept-ranges", "bytes")]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    let form = ask(&stage, "gzip").get("/x").await;
    // Ranges are not offered of what may be encoded anew.
    encoded(&form, "gzip").lacks("accept-ranges");
    let whole = text();
    let part = |client: crate::stage::client::Client| client.header("range", "bytes=2-9").get("/x");
    // Of identity: under its strong tag, or no condition.
    for condition in [None, Some("\"1\"")] {
        let client = ask(&stage, "gzip");
        let client = condition.iter().fold(client, |client, tag| client.header("if-range", tag));
        let answer = part(client).await;
        answer.expect(206, &whole[2..=9]).has("etag", "\"1\"").lacks("content-encoding");
        answer.has("content-range", &format!("bytes 2-9/{}", whole.len())).has("vary", "accept-encoding");
    }
    // What names no bytes of identity: a weak tag, another, a date that all forms share.
    for condition in ["W/\"1\"", modified] {
        let answer = part(ask(&stage, "gzip").header("if-range", condition)).await;
        assert_eq!((answer.status, &answer.body), (200, &form.body), "{condition}");
        encoded(&answer, "gzip").lacks("content-range");
    }
    part(ask(&stage, "gzip").header("if-range", "\"0\"")).await.expect(200, &whole).lacks("content-range");
    // Who takes no coding goes by the date as ever.
    part(ask(&stage, "identity").header("if-range", modified)).await.expect(206, &whole[2..=9]);
    // Who refuses identity gets the whole of what it takes.
    let refused = part(ask(&stage, "gzip, identity;q=0")).await;
    assert_eq!((refused.status, &refused.body), (200, &form.body));
    let beyond = ask(&stage, "gzip").header("range", "bytes=999999-").get("/x").await;
    beyond.expect_status(416).has("content-range", &format!("bytes */{}", whole.len()));
}

#[tokio::test]
async fn a_date_completes_nothing_while_a_page_that_may_be_encoded_is_coming() {
    let stage = encoding().await;
    let modified = "Sun, 01 Nov 2026 00:00:00 GMT";
    stage.origin("a").on("/x", [page().field("last-modified", modified)]);
    let answer =
        ask(&stage, "gzip").header("range", "bytes=2-9").header("if-range", modified).get("/x").await;
    answer.expect(200, &text()).lacks("content-range").has("vary", "accept-encoding");
}

#[tokio::test]
async fn an_origins_own_encoding_is_used_as_it_is_and_multiplies_nothing() {
    let stage = encoding().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let accepted = seen.field("accept-encoding").unwrap_or_default();
        if accepted.contains("gzip") {
            page().vary("Accept-Encoding").field("content-encoding", "gzip").body("zipped")
        } else {
            page().vary("Accept-Encoding").body(text())
        }
    });
    let answer = ask(&stage, "gzip, deflate, br, zstd").get("/x").await;
    answer.expect(200, "zipped").has("content-encoding", "gzip").has("etag", "\"1\"");
    stage.until(|count| count.stored == 1).await;
    // Whoever takes it has it, however it says so.
    for accepted in ["gzip", "br, gzip", "x-gzip;q=0.1", "*", "GZIP, deflate"] {
        assert!(ask(&stage, accepted).get("/x").await.expect(200, "zipped").is_hit(), "{accepted}");
    }
    // Who does not gets its own, which then answers whoever does not take gzip.
    ask(&stage, "br").get("/x").await.expect(200, &text()).lacks("content-encoding");
    stage.until(|count| count.stored == 2).await;
    for accepted in ["identity", "zstd", "gzip;q=0"] {
        assert!(ask(&stage, accepted).get("/x").await.is_hit(), "{accepted}");
    }
    stage.origin("a").saw(2, "/x");
    let asked: Vec<_> =
        stage.origin("a").seen_for("/x").iter().map(|seen| seen.field("accept-encoding")).collect();
    assert_eq!(asked, [Some("br, zstd, gzip".to_owned()), Some("br".to_owned())]);
}

#[tokio::test]
async fn an_origin_that_forgets_vary_poisons_nobody() {
    let stage = encoding().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let zips = seen.field("accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
        if zips { page().field("content-encoding", "gzip").body("zipped") } else { page() }
    });
    ask(&stage, "gzip").get("/x").await.expect(200, "zipped");
    stage.until(|count| count.stored == 1).await;
    assert!(ask(&stage, "gzip").get("/x").await.has("vary", "accept-encoding").is_hit());
    stage.client().get("/x").await.expect(200, &text()).lacks("content-encoding");
}

#[tokio::test]
async fn a_bomb_of_an_origin_stays_what_it_is() {
    let stage = encoding().await;
    // Ten mebibytes of zeros in ten kibibytes.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, &vec![0; 10 << 20]).expect("it is encoded");
    let bomb = bomb.finish().expect("it is encoded");
    let bytes = bomb.clone();
    stage.origin("a").answers("/x", move |_: &Seen| {
        of_type("text/html").field("content-encoding", "gzip").body(bytes.clone())
    });
    for accepted in ["gzip", "gzip", "br", "identity", ""] {
        let answer = ask(&stage, accepted).get("/x").await;
        assert_eq!((answer.status, &answer.body), (200, &bomb), "{accepted}");
    }
    let figures = stage.edge().encoders.figures();
    assert_eq!((figures.made, figures.bytes_in), ([0; 3], 0));
    assert!(stage.count().memory_bytes < 100_000);
}

#[tokio::test]
async fn what_is_still_asked_for_later_is_compressed_harder() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page_for("max-age=600")]);
    ask(&stage, "br").get("/x").await;
    made(&stage, 1).await;
    let fast = ask(&stage, "br").get("/x").await;
    stage.clock.advance(secs(9));
    ask(&stage, "br").get("/x").await;
    assert_eq!(stage.edge().encoders.figures().harder, 0);
    stage.clock.advance(secs(1));
    for _ in 0..3 {
        encoded(&ask(&stage, "br").get("/x").await, "br");
    }
    stage.until(|_| stage.edge().encoders.figures().harder == 1).await;
    let best = ask(&stage, "br").get("/x").await;
    encoded(&best, "br");
    assert!(best.body.len() < fast.body.len(), "{} after {}", best.body.len(), fast.body.len());
    // Weak tags promise no equal bytes.
    best.has("etag", "W/\"1\"");
    stage.clock.advance(secs(60));
    ask(&stage, "br").get("/x").await;
    assert_eq!(stage.edge().encoders.figures().made, [2, 0, 0]);
}

#[tokio::test]
async fn a_newer_page_gets_the_forms_that_the_older_one_had() {
    let stage = encoding().await;
    let answers = ["max-age=10, stale-while-revalidate=60", "max-age=60"].map(|control| {
        page_for(control).body(if control == "max-age=60" { text().to_uppercase() } else { text() })
    });
    stage.origin("a").on("/x", answers);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    stage.clock.advance(secs(11));
    // Whoever causes the refresh takes nothing; those who come do.
    stage.client().get("/x").await.expect(200, &text());
    stage.until(|count| count.stored == 2).await;
    made(&stage, 2).await;
    assert_eq!(decoded(&ask(&stage, "gzip").get("/x").await), text().to_uppercase());
}

#[tokio::test]
async fn a_stale_form_is_served_as_stale() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page_for("max-age=10, stale-if-error=600"), reply(503)]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    stage.clock.advance(secs(20));
    let answer = ask(&stage, "gzip").get("/x").await;
    encoded(&answer, "gzip").cache_status_has("ttl=-10").has("age", "20");
}

#[tokio::test]
async fn those_who_wait_for_one_fetch_get_what_it_brings_and_one_form_is_made() {
    let stage = encoding().await;
    let gate = crate::stage::gate::Gate::shut();
    stage.origin("a").on("/x", [page().pause(100, &gate)]);
    // Whoever leads says which form is made.
    let mut waiting = vec![ask(&stage, "gzip").get("/x")];
    stage.until(|count| count.fills == 1).await;
    waiting.extend(["br", "identity", "gzip, br"].map(|accepted| ask(&stage, accepted).get("/x")));
    stage.until(|count| count.collapsed == 3).await;
    gate.open();
    for answer in crate::stage::client::gather(waiting).await.0 {
        answer.expect(200, &text()).lacks("content-encoding").has("vary", "accept-encoding");
    }
    stage.origin("a").saw(1, "/x");
    stage.until(|_| stage.edge().encoders.figures().made.iter().sum::<u64>() == 1).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_encoded_once_it_is_whole() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page().framed(Frame::Chunks(100))]);
    ask(&stage, "zstd").get("/x").await.expect(200, &text()).lacks("content-encoding");
    made(&stage, 1).await;
    let answer = ask(&stage, "zstd").get("/x").await;
    encoded(&answer, "zstd").has("content-length", &answer.body.len().to_string());
}

#[tokio::test]
async fn a_large_page_in_the_arena_has_forms_too() {
    let stage = encoding().await;
    let large = text().repeat(400);
    let body = large.clone();
    stage.origin("a").answers("/x", move |_: &Seen| of_type("text/css").body(body.clone()));
    assert_eq!(ask(&stage, "gzip").get("/x").await.text(), large);
    made(&stage, 1).await;
    for _ in 0..2 {
        assert!(decoded(&ask(&stage, "gzip").get("/x").await) == large);
    }
}

#[tokio::test]
async fn an_error_page_is_encoded_as_any_other() {
    let stage = encoding().await;
    stage
        .origin("a")
        .on("/x", [reply(404).cache_control("max-age=60").field("content-type", "text/html").body(text())]);
    ask(&stage, "gzip").get("/x").await.expect(404, &text());
    made(&stage, 1).await;
    let answer = ask(&stage, "gzip").get("/x").await;
    assert_eq!((answer.status, decoded(&answer)), (404, text()));
}

#[tokio::test]
async fn a_client_that_says_no_transform_is_sent_what_the_origin_sent() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page()]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    let client = ask(&stage, "gzip").header("cache-control", "no-transform");
    client.get("/x").await.expect(200, &text()).lacks("content-encoding").has("vary", "accept-encoding");
    encoded(&ask(&stage, "gzip").header("cache-control", "max-age=0").get("/x").await, "gzip");
}

#[tokio::test]
async fn a_vary_of_the_origin_is_kept_and_said_once() {
    let stage = encoding().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        page().vary("Accept-Encoding, X-Kind").body(text() + &seen.field("x-kind").unwrap_or_default())
    });
    for kind in ["one", "two"] {
        ask(&stage, "gzip").header("x-kind", kind).get("/x").await.expect(200, &(text() + kind));
    }
    made(&stage, 2).await;
    for kind in ["one", "two"] {
        let answer = ask(&stage, "gzip").header("x-kind", kind).get("/x").await;
        assert_eq!(decoded(&answer), text() + kind);
        answer.has("vary", "Accept-Encoding, X-Kind");
        // Whatever coding: one variant a kind.
        assert!(ask(&stage, "br").header("x-kind", kind).get("/x").await.is_hit());
    }
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn explain_and_metrics_tell_of_forms() {
    let stage = encoding().await;
    stage.origin("a").on("/x", [page()]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    let sent = ask(&stage, "gzip").get("/x").await;
    let url =
        format!("/v1/explain?url=http://{}/x&header=accept-encoding:%20gzip", crate::stage::settings::HOST);
    let told: serde_json::Value =
        serde_json::from_slice(&stage.operator().get(&url).await.body).expect("explain answers in JSON");
    assert_eq!(told["encoding"]["sent"], "gzip", "{told}");
    assert_eq!(told["encoding"]["bytes"], sent.body.len(), "{told}");
    assert_eq!(told["stored"]["forms"][0]["coding"], "gzip", "{told}");
    assert_eq!(told["stored"]["bytes"], text().len(), "{told}");
    let metrics = stage.operator().get("/metrics").await.text();
    assert!(metrics.contains("tidegate_encoding_gzip_total 1\n"), "{metrics}");
    let saved = format!(
        "tidegate_encoding_saved_bytes_total{{site=\"{}\"}} {}\n",
        crate::stage::settings::HOST,
        text().len() - sent.body.len()
    );
    assert!(metrics.contains(&saved), "{saved}: {metrics}");
}

#[tokio::test]
async fn a_soft_purge_makes_every_form_stale() {
    let stage = encoding().await;
    let control = "max-age=60, stale-while-revalidate=60";
    stage.origin("a").on("/x", [page_for(control), page_for(control).body(text().to_uppercase())]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    stage.purge(&["/x"], true).await;
    encoded(&ask(&stage, "gzip").get("/x").await, "gzip").cache_status_has("detail=stale-while-revalidate");
    stage.until(|count| count.stored == 2).await;
    made(&stage, 2).await;
    assert_eq!(decoded(&ask(&stage, "gzip").get("/x").await), text().to_uppercase());
}

#[tokio::test]
async fn a_purge_that_comes_while_a_form_is_made_is_not_undone() {
    let stage = encoding().await;
    let large = text().repeat(400);
    let body = large.clone();
    stage.origin("a").answers("/x", move |_: &Seen| of_type("text/html").body(body.clone()));
    for round in 1..=8 {
        assert_eq!(ask(&stage, "br").get("/x").await.cache_status_has("fwd=uri-miss").text(), large);
        stage.until(|count| count.stored == round).await;
        stage.purge(&["/x"], false).await;
    }
    // Whatever the encoders were at: nothing comes back.
    stage.until(|_| stage.edge().encoders.figures().waiting == 0).await;
    assert_eq!(stage.count().memory_objects, 0);
    ask(&stage, "br").get("/x").await.cache_status_has("fwd=uri-miss");
}

#[tokio::test]
async fn after_a_restart_identity_is_there_and_forms_are_made_anew() {
    let directory = Directory::new();
    let path = directory.path().to_owned();
    let mut stage = Stage::build()
        .policy(|policy| policy.encode = Some(Arc::new(Encode::usual())))
        .config(move |config, _| {
            config.cache.disk = Some(DiskCache { path, bytes: 256 << 20, admission: DiskAdmission::All });
        })
        .start()
        .await;
    stage.origin("a").on("/x", [page_for("max-age=600")]);
    stage
        .origin("a")
        .on("/zipped", [page_for("max-age=600").field("content-encoding", "gzip").body("zipped")]);
    ask(&stage, "gzip").get("/x").await;
    ask(&stage, "gzip").get("/zipped").await;
    made(&stage, 1).await;
    encoded(&ask(&stage, "gzip").get("/x").await, "gzip");
    stage.restart().await;
    let answer = ask(&stage, "gzip").get("/x").await;
    assert!(answer.expect(200, &text()).lacks("content-encoding").has("vary", "accept-encoding").is_hit());
    // Its first hit in memory asks for it.
    ask(&stage, "gzip").get("/x").await.expect(200, &text());
    made(&stage, 1).await;
    assert!(encoded(&ask(&stage, "gzip").get("/x").await, "gzip").is_hit());
    // What the origin encoded is on disk as it came, and known for what it is.
    assert!(ask(&stage, "br, gzip").get("/zipped").await.expect(200, "zipped").is_hit());
    assert!(!ask(&stage, "br").get("/zipped").await.is_hit());
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_child_gets_identity_and_encodes_for_itself() {
    let region = Region::build()
        .policy(|policy| policy.encode = Some(Arc::new(Encode::usual())))
        .node("p", &[])
        .node("c", &["p"])
        .start()
        .await;
    region.follow_all();
    region.origin("a").on("/x", [page()]);
    let ask = |node: &str| region.client(node).header("accept-encoding", "gzip").get("/x");
    // The parent has a form of its own by now.
    ask("p").await;
    region.until(|| region.edge("p").encoders.figures().made == [0, 0, 1]).await;
    encoded(&ask("p").await, "gzip");
    ask("c")
        .await
        .expect(200, &text())
        .lacks("content-encoding")
        .has("etag", "\"1\"")
        .has("vary", "accept-encoding");
    region.until(|| region.edge("c").encoders.figures().made == [0, 0, 1]).await;
    encoded(&ask("c").await, "gzip").has("etag", "W/\"1\"");
    region.client("c").header("accept-encoding", "br").get("/x").await.expect_status(200);
    region.client("c").get("/x").await.expect(200, &text());
    region.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_form_is_a_hit_over_http_2_too() {
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let stage = Stage::build()
        .policy(|policy| policy.encode = Some(Arc::new(Encode::usual())))
        .config(|config, _| config.listeners = vec![encrypted(cert, key)])
        .start()
        .await;
    stage.origin("a").on("/x", [page()]);
    let client = H2Client::connect(stage.address(), &identity).await;
    let ask = || client.get_with("/x", &[("accept-encoding", "br")]);
    ask().await.expect(200, &text());
    made(&stage, 1).await;
    // The second time from a block that was kept.
    for _ in 0..3 {
        encoded(&ask().await, "br").has("etag", "W/\"1\"").has("vary", "accept-encoding");
    }
}

#[tokio::test]
async fn junk_in_accept_encoding_makes_no_variants_and_no_work() {
    let stage = encoding().await;
    stage.origin("a").answers("/x", |_: &Seen| page().vary("Accept-Encoding"));
    for number in 0..300 {
        let accepted = match number % 4 {
            0 => format!("x{number}, gzip;q=0.{:03}", number % 1000 + 1),
            1 => format!("gzip;q={number}, *;q=nan"),
            2 => format!("{}gzip", "a, ".repeat(number)),
            _ => format!("gzip;{}", ";".repeat(number)),
        };
        ask(&stage, &accepted).get("/x").await.expect_status(200);
    }
    stage.origin("a").saw(1, "/x");
    assert_eq!((stage.count().memory_objects, stage.count().stored), (1, 1));
    assert!(stage.edge().encoders.figures().made.iter().sum::<u64>() <= 3);
}

#[tokio::test]
async fn a_reload_decides_anew_what_is_encoded() {
    let mut stage = encoding().await;
    stage.origin("a").on("/x", [page_for("max-age=600")]);
    ask(&stage, "gzip").get("/x").await;
    made(&stage, 1).await;
    encoded(&ask(&stage, "gzip").get("/x").await, "gzip");
    let set = |encode: Option<Encode>| {
        move |config: &mut tidegate::config::Config| {
            let mut policy = (*config.sites[0].defaults).clone();
            policy.encode = encode.map(Arc::new);
            config.sites[0].defaults = Arc::new(policy);
        }
    };
    let others = Encode { types: vec![TypePattern::parse("font/*").expect("a type")], ..Encode::usual() };
    for encode in [None, Some(others)] {
        stage.reload(set(encode)).await.expect("there is nothing wrong");
        ask(&stage, "gzip").get("/x").await.expect(200, &text()).lacks("content-encoding").lacks("vary");
    }
    stage.reload(set(Some(Encode::usual()))).await.expect("there is nothing wrong");
    assert!(encoded(&ask(&stage, "gzip").get("/x").await, "gzip").is_hit());
    stage.origin("a").saw(1, "/x");
}

/// A node whose site encodes.
async fn encoding() -> Stage {
    Stage::build().policy(|policy| policy.encode = Some(Arc::new(Encode::usual()))).start().await
}

fn ask(stage: &Stage, accepted: &str) -> crate::stage::client::Client {
    stage.client().header("accept-encoding", accepted)
}

/// Waits until so many forms have been made.
async fn made(stage: &Stage, count: u64) {
    stage
        .until(|_| {
            let figures = stage.edge().encoders.figures();
            figures.made.iter().sum::<u64>() == count && figures.waiting == 0
        })
        .await;
}

#[track_caller]
fn encoded<'a>(answer: &'a Answer, coding: &str) -> &'a Answer {
    answer.expect_status(200).has("content-encoding", coding);
    assert_eq!(decoded(answer), text());
    answer
}

#[track_caller]
fn decoded(answer: &Answer) -> String {
    let coding = answer.field("content-encoding").and_then(|name| Coding::named(name.as_bytes()));
    let (mut out, body) = (String::new(), &answer.body[..]);
    let read = match coding.unwrap_or_else(|| panic!("in no coding: {answer:?}")) {
        Coding::Brotli => brotli::Decompressor::new(body, 4096).read_to_string(&mut out),
        Coding::Zstd => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_string(&mut out),
        Coding::Gzip => flate2::read::GzDecoder::new(body).read_to_string(&mut out),
    };
    read.unwrap_or_else(|error| panic!("{error} in {answer:?}"));
    out
}

fn page() -> Reply {
    page_for("max-age=60")
}

fn page_for(control: &str) -> Reply {
    reply(200).cache_control(control).field("content-type", "text/html").etag("\"1\"").body(text())
}

fn of_type(kind: &str) -> Reply {
    reply(200).cache_control("max-age=60").field("content-type", kind)
}

fn text() -> String {
    let line = |line: u32| format!("<p>line {} of the page, and {line} more</p>\n", line * 7 % 61);
    (0..60).map(line).collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
