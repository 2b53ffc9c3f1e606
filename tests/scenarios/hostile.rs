//! Attackers get nothing that is not theirs, and leave nothing behind for others (FAULTS 2a, 2b; B1, B6, B8, B19, B20).

use crate::cases::{self, Expect};
use crate::stage::client::within;
use crate::stage::origin::Seen;
use crate::stage::reply::{Trouble, reply};
use crate::stage::settings::HOST;
use crate::stage::wire::End;
use crate::stage::{Stage, secs};
use tidegate::config::{HostPattern, Preset};

/// What an attacker might put into a request without changing its key, beside what `Vary` is for.
const UNKEYED: [&str; 52] = [
    "x-forwarded-host",
    "x-forwarded-server",
    "x-forwarded-hostname",
    "x-host",
    "x-original-host",
    "x-backend-host",
    "x-http-host-override",
    "x-host-override",
    "forwarded",
    "x-forwarded",
    "forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-port",
    "x-url-scheme",
    "x-scheme",
    "front-end-https",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-script-name",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-forwarded-for",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-country-code",
    "x-user-agent",
    "x-device",
    "x-middleware-subrequest",
    "x-middleware-prefetch",
    "x-nextjs-data",
    "x-invoke-path",
    "x-invoke-status",
    "max-forwards",
    "surrogate-capability",
    "x-accel-redirect",
    "soapaction",
    "X_Forwarded_Host",
    "proxy",
];

/// What browsers send as well; the presets for sites keep it from the origin, the safe defaults leave it to `Vary`. (So
/// do all with `Accept`, which is on the pass list: pictures are negotiated by it.)
const USUAL: [&str; 9] = [
    "user-agent",
    "origin",
    "referer",
    "cookie",
    "dnt",
    "sec-fetch-site",
    "x-requested-with",
    "x-anything",
    "priority",
];

/// FAULTS C1: the origin mirrors everything it is sent; who comes after the attacker sees nothing of it.
#[tokio::test]
async fn what_is_not_in_the_key_changes_no_answer_that_others_get() {
    for preset in [Preset::Default, Preset::Static, Preset::News, Preset::Rfc] {
        let stage = Stage::preset(preset).await;
        stage.origin("a").answers("*", |seen: &Seen| {
            // But for the name that the node itself gives each fetch.
            let named = |line: &&[u8]| !line.to_ascii_lowercase().starts_with(b"x-request-id:");
            let told: Vec<&[u8]> = seen.head.raw.split(|byte| *byte == b'\n').filter(named).collect();
            reply(200).cache_control("max-age=600").body(told.join(&b'\n').to_ascii_lowercase())
        });
        let keyed_only = matches!(preset, Preset::Static | Preset::News);
        let usual: &[&str] = if keyed_only { &USUAL } else { &[] };
        for (nth, name) in UNKEYED.iter().chain(usual).enumerate() {
            let target = format!("/{nth}");
            stage.client().header(name, "evil-7.example").get(&target).await.expect_status(200);
            stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
            let clean = stage.client().get(&target).await;
            assert!(clean.is_hit(), "{preset:?}, {name}: nothing was shared, so nothing was tried");
            assert!(!clean.text().contains("evil-7"), "{preset:?}, {name}: {}", clean.text());
            stage.purge(&[&target], false).await;
            let baseline = stage.client().get(&target).await;
            assert_eq!(clean.text(), baseline.text(), "{preset:?}, {name}");
        }
    }
}

/// FAULTS C2.
#[tokio::test]
async fn a_body_with_a_get_reaches_no_origin_and_changes_nothing() {
    let stage = Stage::new().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        reply(200).cache_control("max-age=600").body([b"got ", seen.body.as_slice()].concat())
    });
    let fat = stage.client().header("content-type", "application/x-www-form-urlencoded");
    fat.request("GET", "/x", b"_method=DELETE&evil=1").await.expect(200, "got ");
    stage.until(|count| count.stored == 1).await;
    stage.client().get("/x").await.expect(200, "got ");
    let seen = &stage.origin("a").seen_for("/x")[0];
    assert_eq!(
        (seen.field("content-length"), seen.field("transfer-encoding"), seen.field("content-type")),
        (None, None, None)
    );
}

/// The bytes of a body are never a request: not behind a hit, a 304, a redirect, an error or a refusal (FAULTS S3).
#[tokio::test]
async fn an_early_answer_leaves_nothing_of_the_body_to_be_read_as_a_request() {
    let stage = Stage::new().await;
    stage.origin("a").on("/hit", [reply(200).cache_control("max-age=600").etag("\"1\"").body("hit")]);
    stage.origin("a").on("/canary", [reply(200).cache_control("max-age=600").body("canary")]);
    stage.origin("a").on("/redirect", [reply(302).field("location", "/y").body("moved")]);
    stage.client().get("/hit").await.expect(200, "hit");
    stage.client().get("/canary").await.expect(200, "canary");
    stage.until(|count| count.stored == 2).await;
    let smuggled = format!("GET /admin HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let kinds = [
        ("GET", "/hit", "", 200),
        ("GET", "/hit", "If-None-Match: \"1\"\r\n", 304),
        ("GET", "/hit", "Range: bytes=0-0\r\n", 206),
        ("GET", "/hit", "Range: bytes=9-\r\n", 416),
        ("HEAD", "/hit", "", 200),
        ("GET", "/redirect", "", 302),
        ("GET", "/absent", "", 404),
        ("GET", "/x", "Cache-Control: only-if-cached\r\n", 504),
        ("PURGE", "/nothing", "", 200),
        ("TRACE", "/x", "", 405),
    ];
    for (method, target, lines, status) in kinds {
        for chunked in [false, true] {
            let told = format!("{method} {target} {lines} chunked: {chunked}");
            let body = if chunked {
                format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len())
            } else {
                format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len())
            };
            let mut client = stage.client().connect().await;
            client
                .write(format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}{body}").as_bytes())
                .await;
            let answer = client.answer(method).await;
            assert_eq!(answer.status, status, "{told}");
            if answer.field("connection").as_deref() == Some("close") {
                assert_eq!(client.rest().await.0, b"", "{told}");
                continue;
            }
            client.write(&stage.client().bytes("GET", "/canary", b"")).await;
            client.answer("GET").await.expect(200, "canary");
        }
    }
    stage.origin("a").saw(0, "/admin");
}

/// The framing table through the whole node (FAULTS B1): an origin sees clean requests only, and nobody's answer shifts.
#[tokio::test]
async fn nothing_of_the_framing_table_reaches_an_origin_dirty_or_shifts_an_answer() {
    let any = |config: &mut tidegate::config::Config| config.sites[0].hosts.push(HostPattern::Any);
    let stage = Stage::build().config(move |config, _| any(config)).start().await;
    stage
        .origin("a")
        .answers("*", |seen: &Seen| reply(200).cache_control("no-store").body(seen.target().to_owned()));
    let mut wrong = Vec::new();
    for (nth, case) in cases::all().into_iter().enumerate() {
        let before = stage.origin("a").seen().len();
        let mut client = stage.client().connect().await;
        client.write(&case.bytes).await;
        // Who is refused cannot know what its bytes were taken for, and reads the answer like any other.
        let is_head = case.bytes.starts_with(b"HEAD ") && !matches!(case.expect, Expect::Refuse(_));
        let method = if is_head { "HEAD" } else { "GET" };
        let answer = client.answer(method).await;
        let closes = answer.field("connection").as_deref() == Some("close");
        match case.expect {
            Expect::Refuse(status) => {
                if answer.status != status || !closes {
                    wrong.push(format!(
                        "{}: {} where {status} and a close were due",
                        case.name, answer.status
                    ));
                }
                // A head whose body turned out bad only later may be on its way: then it is cut there, never whole.
                let reached = stage.origin("a").seen().split_off(before);
                if reached.iter().any(|seen| !seen.head.start.starts_with("CUT ")) {
                    wrong.push(format!("{}: it reached the origin", case.name));
                }
                // A request behind a refusal is not even read.
                client.write(&stage.client().bytes("GET", "/behind", b"")).await;
                let (rest, _) = client.rest().await;
                if !rest.is_empty() {
                    wrong.push(format!("{}: something was said behind the refusal", case.name));
                }
            }
            Expect::Accept | Expect::AcceptAndClose => {
                if answer.status == 400 || answer.status == 0 || answer.end != End::Clean {
                    wrong.push(format!("{}: refused with {}", case.name, answer.status));
                }
                if stage.origin("a").seen().len() > before + 1 {
                    wrong.push(format!("{}: more than one request reached the origin", case.name));
                }
                if !closes && case.expect == Expect::Accept {
                    let canary = format!("/canary-{nth}");
                    client.write(&stage.client().bytes("GET", &canary, b"")).await;
                    let answer = client.answer("GET").await;
                    if answer.text() != canary {
                        wrong.push(format!("{}: the next request got {:?}", case.name, answer.text()));
                    }
                }
            }
        }
        let other = format!("/other-{nth}");
        let answer = stage.client().get(&other).await;
        if answer.text() != other {
            wrong.push(format!("{}: another client got {:?}", case.name, answer.text()));
        }
    }
    for seen in stage.origin("a").seen() {
        if seen.head.start.starts_with("DIRTY") || seen.target() == "/behind" || seen.target() == "/admin" {
            wrong.push(format!("the origin saw {}", seen.head.start));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// FAULTS S16.
#[tokio::test]
async fn a_thousand_pipelined_requests_are_answered_in_order() {
    let stage = Stage::new().await;
    stage
        .origin("a")
        .answers("*", |seen: &Seen| reply(200).cache_control("max-age=600").body(seen.target().to_owned()));
    let mut client = stage.client().connect().await;
    let all: Vec<u8> =
        (0..1000).flat_map(|nth| stage.client().bytes("GET", &format!("/{}", nth % 50), b"")).collect();
    client.write(&all).await;
    for nth in 0..1000 {
        within(client.answer("GET")).await.expect(200, &format!("/{}", nth % 50));
    }
    stage.until(|count| count.requests == 50).await;
}

/// FAULTS S15: what an origin sends that is no answer is no answer, and poisons nobody.
#[tokio::test]
async fn what_is_no_answer_is_502_stored_by_nobody_and_its_connection_is_not_used_again() {
    let garbage: [(&str, &'static [u8]); 20] = [
        (
            "both framings",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("a length that is none", b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"),
        ("a signed length", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
        ("a length beyond counting", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello"),
        ("a coding nobody knows", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nhello"),
        ("two codings", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunked twice",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("no version", b"hello, this is not HTTP\r\n\r\n"),
        ("another version", b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("no status", b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of zero", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a field without a colon", b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n"),
        ("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("101 unasked", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
        ("another protocol", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("nothing but 100", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("an empty line", b"\r\n"),
    ];
    for (kind, bytes) in garbage {
        let stage = Stage::build().config(|config, _| config.workers = 1).start().await;
        stage.origin("a").on("/x", [reply(200).but(Trouble::Garbage(bytes))]);
        stage.origin("a").on("/y", [reply(200).cache_control("max-age=600").body("y")]);
        let answer = stage.client().get("/x").await;
        assert_eq!(answer.status, 502, "{kind}: {answer:?}");
        stage.client().get("/y").await.expect(200, "y");
        stage.until(|count| count.stored == 1).await;
        assert!(stage.client().get("/y").await.expect(200, "y").is_hit(), "{kind}");
    }
}

#[tokio::test]
async fn chunks_that_are_no_chunks_are_a_cut_and_stored_by_nobody() {
    let bad: [(&str, &'static [u8]); 10] = [
        ("a size in hex dress", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a space", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n"),
        ("a size beyond counting", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("no line end behind the data", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n"),
        ("a bare line feed", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
        ("more data than its size", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n"),
        ("a line feed in an extension", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a last chunk without its end", b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    ];
    for (kind, bytes) in bad {
        let stage = Stage::new().await;
        stage.origin("a").on("/x", [reply(200).but(Trouble::Garbage(bytes))]);
        let answer = stage.client().get("/x").await;
        assert!(answer.status == 502 || answer.was_cut(), "{kind}: {answer:?}");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        assert_eq!(stage.count().stored, 0, "{kind}");
    }
}

/// FAULTS B19, R8.
#[tokio::test]
async fn a_request_that_has_been_here_before_is_refused() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("x")]);
    let loops = [
        ("cdn-loop", "stage"),
        ("cdn-loop", "other, stage"),
        ("cdn-loop", "STAGE; version=1"),
        ("via", "1.1 stage"),
        ("via", "1.0 other, 1.1 stage (comment)"),
    ];
    for (name, value) in loops {
        stage.client().header(name, value).get("/x").await.expect_status(508);
        // No nomination takes the trace away.
        let hidden = stage.client().header(name, value).header("connection", name).get("/x").await;
        assert!(matches!(hidden.status, 400 | 508), "{name}: {value}: {}", hidden.status);
    }
    let long = (0..20).map(|nth| format!("cdn-{nth}")).collect::<Vec<_>>().join(", ");
    stage.client().header("cdn-loop", &long).get("/x").await.expect_status(508);
    stage.origin("a").saw(0, "/x");
    stage.client().header("cdn-loop", "other").get("/x").await.expect(200, "x");
    assert_eq!(stage.origin("a").seen_for("/x")[0].field("cdn-loop").as_deref(), Some("other, stage"));
}

#[tokio::test]
async fn a_node_that_is_its_own_origin_ends_after_one_turn() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let stage = Stage::build()
        .config(move |config, _| {
            config.listeners[0].address = address;
            config.pools.insert("main".into(), crate::stage::settings::pool("main", &[address]));
        })
        .start()
        .await;
    stage.client().get("/x").await.expect_status(508);
    stage.client().post("/x", "body").await.expect_status(508);
}

/// FAULTS R9: origins come from the settings; whatever a client names, nothing else is ever connected to.
#[tokio::test]
async fn no_client_can_send_the_node_anywhere_but_to_its_origins() {
    let stage = Stage::build()
        .origins(&["a", "trap"])
        .config(|config, addresses| {
            config.pools.insert("main".into(), crate::stage::settings::pool("main", &addresses[..1]));
        })
        .start()
        .await;
    let trap = stage.origin("trap").address();
    stage.origin("a").answers("*", move |_| {
        reply(302)
            .cache_control("no-store")
            .field("location", format!("http://{trap}/followed"))
            .body("moved")
    });
    let port = trap.port();
    let hosts = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.1:{port}"),
        format!("127.1:{port}"),
        "169.254.169.254".into(),
        format!("www.example.test@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}#www.example.test"),
        format!("127.0.0.1:{port}/www.example.test"),
        format!("www.example.test:{port}"),
        format!("127.0.0.1:{port}%00.example.test"),
        format!("127.0.0.1:{port}\\www.example.test"),
        "metadata.internal".into(),
        format!("www.example.test.127.0.0.1.nip.io:{port}"),
    ];
    let mut probes = Vec::new();
    for host in &hosts {
        probes.push(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        probes.push(format!("GET http://{host}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        probes.push(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        probes.push(format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        for name in [
            "x-forwarded-host",
            "x-original-url",
            "x-rewrite-url",
            "forwarded",
            "x-host",
            "proxy",
            "x-real-host",
        ] {
            probes.push(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{name}: http://{host}/\r\n\r\n"));
        }
        probes.push(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    assert!(probes.len() >= 100, "{}", probes.len());
    for probe in probes {
        let answer = stage.client().raw(probe.clone()).await;
        assert!(matches!(answer.status, 302 | 400 | 404 | 405 | 421 | 501), "{probe}: {}", answer.status);
    }
    assert_eq!(stage.origin("trap").connections(), 0);
    let named = stage
        .origin("a")
        .seen()
        .iter()
        .filter_map(|seen| seen.field("host"))
        .collect::<std::collections::HashSet<_>>();
    assert!(named.iter().all(|host| host == HOST || *host == format!("{HOST}:{port}")), "{named:?}");
}

/// FAULTS S12: framing, identity and the trace cannot be nominated away.
#[tokio::test]
async fn connection_cannot_take_away_what_is_not_the_clients_to_take() {
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "authorization",
        "cookie",
        "x-forwarded-for",
        "cache-control",
        "via",
    ] {
        let stage = Stage::new().await;
        stage.origin("a").answers("*", |seen: &Seen| {
            let user = seen.field("authorization").or_else(|| seen.field("cookie")).unwrap_or_default();
            reply(200).cache_control("private").body(user)
        });
        let client = stage
            .client()
            .header("connection", name)
            .header("authorization", "Basic a")
            .header("cookie", "u=a");
        let answer = client.get("/x").await;
        assert!(answer.status == 400 || answer.text() == "Basic a", "{name}: {answer:?}");
        for seen in stage.origin("a").seen() {
            assert!(seen.field("x-forwarded-for").as_deref() == Some("127.0.0.1"), "{name}");
        }
    }
}

/// FAULTS C13: an error that one request provoked is not served to others.
#[tokio::test]
async fn a_request_that_makes_the_origin_fail_leaves_no_error_behind() {
    for preset in [Preset::Default, Preset::Static, Preset::News] {
        for status in [400, 405, 413, 414, 416, 417, 431, 500, 501, 502] {
            let stage = Stage::preset(preset).await;
            stage.origin("a").answers("/x", move |seen: &Seen| {
                if seen.field("accept-language").is_some_and(|value| value.len() > 100) {
                    reply(status).body("error")
                } else {
                    reply(200).cache_control("max-age=600").body("page")
                }
            });
            stage.client().header("accept-language", &"x".repeat(500)).get("/x").await;
            stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
            stage.clock.advance(secs(2));
            let clean = stage.client().get("/x").await;
            assert_eq!((clean.status, clean.text().as_str()), (200, "page"), "{preset:?}, {status}");
        }
    }
}

/// FAULTS S11. Of those that are, `upgrades.rs` tells.
#[tokio::test]
async fn an_upgrade_that_is_not_allowed_is_not_passed_on() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-store").body("x")]);
    for protocol in ["h2c", "h2", "TLS/1.0"] {
        let client =
            stage.client().header("connection", "upgrade, http2-settings").header("upgrade", protocol);
        client.header("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA").get("/x").await.expect(200, "x");
    }
    for seen in stage.origin("a").seen_for("/x") {
        assert_eq!(
            (seen.field("upgrade"), seen.field("connection"), seen.field("http2-settings")),
            (None, None, None)
        );
    }
}

/// Invariant 7, in small: whatever bytes come, the node answers the next client.
#[tokio::test]
async fn no_bytes_of_a_client_take_the_node_down() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("x")]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let valid = stage
        .client()
        .header("range", "bytes=0-1")
        .header("if-none-match", "\"a\"")
        .bytes("GET", "/x?a=b", b"");
    for _ in 0..400 {
        let mut bytes = valid.clone();
        for _ in 0..=next() % 4 {
            let at = usize::try_from(next() % bytes.len() as u64).unwrap_or(0);
            match next() % 3 {
                0 => bytes[at] = u8::try_from(next() & 0xff).unwrap_or(0),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, u8::try_from(next() & 0xff).unwrap_or(0)),
            }
        }
        let mut client = stage.client().connect().await;
        client.write(&bytes).await;
        drop(client);
    }
    stage.client().get("/x").await.expect(200, "x");
    let metrics = stage.operator().get("/metrics").await;
    metrics.expect_status(200);
    let panics = metrics
        .text()
        .lines()
        .filter(|line| line.contains("panic") && !line.starts_with('#'))
        .any(|line| !line.ends_with(" 0"));
    assert!(!panics, "{}", metrics.text());
}
