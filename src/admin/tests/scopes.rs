//! FAULTS B20: who may not purge does not, whatever they try, and what is malformed is told and takes nothing.

use super::*;

/// `abc` may all, `reader` may look, `limited` may purge a little.
const TOKENS: &str = r#"
[[token]]
name = "ops"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[[token]]
name = "dashboard"
sha256 = "3d0941964aa3ebdcb00ccef58b1bb399f9f898465e9886d5aec7f31090a0fb30"
may = ["read"]

[[token]]
name = "deploy"
sha256 = "7b508dace774f8adc1b121c1812b740904be6dfd37e3b5e3579bc81fbf6f5553"
hosts = ["www.example.com"]
prefixes = ["https://cdn.example/site/"]
tags = ["article-*"]
"#;

fn stage() -> Stage {
    Stage::with_door(Door::Tokens(tokens::parse(TOKENS).unwrap()))
}

fn post(target: &str, lines: &[(&str, &str)], body: &str) -> Request {
    with_body(request("POST", target, lines), vec![Ok(Bytes::copy_from_slice(body.as_bytes()))])
}

/// Calls that purge something, as one may make them who may all, and whether the limited token may.
const CALLS_THAT_PURGE: [(&str, &str, bool); 22] = [
    ("/v1/purge", r#"{"urls":["https://www.example.com/x"]}"#, true),
    ("/v1/purge", r#"{"hosts":["www.example.com"],"tags":["article-1"],"soft":true}"#, true),
    ("/v1/purge", r#"{"prefixes":["http://cdn.example/site/a"]}"#, true),
    ("/zones/z/purge_cache", r#"{"files":["https://www.example.com/x"]}"#, true),
    ("/service/s/purge/article-1", "", true),
    ("/v1/purge", r#"{"urls":["https://example.com/x"]}"#, false),
    ("/v1/purge", r#"{"urls":["https://www.example.com/x","https://other.example/y"]}"#, false),
    ("/v1/purge", r#"{"urls":["https://cdn.example/site/../admin"]}"#, false),
    ("/v1/purge", r#"{"urls":["https://cdn.example/site/%2e%2e/admin"]}"#, false),
    ("/v1/purge", r#"{"urls":["https://cdn.example/sit%65"]}"#, false),
    ("/v1/purge", r#"{"prefixes":["https://cdn.example/"]}"#, false),
    ("/v1/purge", r#"{"prefixes":["https://cdn.example/site"]}"#, false),
    ("/v1/purge", r#"{"hosts":["cdn.example"]}"#, false),
    ("/v1/purge", r#"{"tags":["article"]}"#, false),
    ("/v1/purge", r#"{"tags":["article-1","Article-2"]}"#, false),
    ("/v1/purge", r#"{"everything":true}"#, false),
    ("/v1/purge", r#"{"everything":true,"soft":true}"#, false),
    ("/zones/z/purge_cache", r#"{"purge_everything":true}"#, false),
    ("/client/v4/zones/z/purge_cache", r#"{"tags":["front"]}"#, false),
    ("/service/s/purge/front", "", false),
    ("/service/s/purge", r#"{"surrogate_keys":["article-1","front"]}"#, false),
    ("/service/s/purge_all", "", false),
];

#[tokio::test]
async fn a_token_purges_what_it_is_limited_to_and_is_told_the_first_thing_that_it_is_not() {
    for (target, body, may) in CALLS_THAT_PURGE {
        let stage = stage();
        let limited = stage.send(post(target, &[("Authorization", "Bearer limited")], body)).await;
        let purged = stage.node.purges.orders().len();
        assert_eq!(
            (limited.status, purged),
            if may { (200, 1) } else { (403, 0) },
            "{body}: {}",
            limited.body
        );
        let unlimited = stage.send(post(target, &[("Authorization", "Bearer abc")], body)).await;
        assert_eq!(unlimited.status, 200, "{body}: {}", unlimited.body);
    }
    let body = r#"{"urls":["https://www.example.com/x","https://b/y","https://c/z"]}"#;
    let got = stage().send(post("/v1/purge", &[("Authorization", "Bearer limited")], body)).await;
    assert_eq!(got.code(), "out-of-scope");
    let detail = got.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "the token `deploy` may not purge the URL `https://b/y`; nothing was purged");
}

/// A dry run tells what is stored; that is no less theirs alone.
#[tokio::test]
async fn a_dry_run_and_a_receipt_tell_no_more_than_a_token_may_purge() {
    let stage = stage();
    let (ops, limited) = ([("Authorization", "Bearer abc")], [("Authorization", "Bearer limited")]);
    let body = r#"{"hosts":["cdn.example"],"dry_run":true}"#;
    assert_eq!(stage.send(post("/v1/purge", &limited, body)).await.status, 403);
    stage.send(post("/v1/purge", &ops, r#"{"tags":["front"]}"#)).await;
    stage.send(post("/v1/purge", &ops, r#"{"tags":["article-7"]}"#)).await;
    for (target, lines, status) in [
        ("/v1/purge/1", &limited, 404),
        ("/v1/purge/2", &limited, 200),
        ("/v1/purge/1", &ops, 200),
        ("/v1/purges", &limited, 403),
        ("/v1/stat", &limited, 403),
    ] {
        assert_eq!(stage.send(request("GET", target, lines)).await.status, status, "{target}");
    }
    assert_eq!(stage.send(post("/v1/stop", &limited, "")).await.status, 403);
    assert!(!stage.node.stopped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn ten_thousand_calls_of_those_who_may_not_purge_nothing() {
    let stage = stage();
    let strangers: [&[(&str, &str)]; 17] = [
        &[],
        &[("Authorization", "Bearer ")],
        &[("Authorization", "Bearer abd")],
        &[("Authorization", "Bearer ab")],
        &[("Authorization", "Bearer abcd")],
        &[("Authorization", "Bearer ABC")],
        &[("Authorization", "Basic abc")],
        &[("Authorization", "abc")],
        &[("Authorization", "Bearer abc, Bearer abc")],
        &[("Authorization", "Bearer x"), ("Authorization", "Bearer abc")],
        &[("Authorization", "Bearer reader")],
        &[("X-Token", "abc"), ("Cookie", "token=abc")],
        &[("Fastly-Key", "abd"), ("X-Auth-Key", "abd")],
        &[("Fastly-Key", "reader"), ("X-Auth-Key", "reader")],
        &[("Authorization", "Bearer ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")],
        &[("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")],
        &[("Authorization", "Bearer limited")],
    ];
    let limited = strangers.len() - 1;
    let mut seed = 0x5eed_u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let (mut calls, mut accepted) = (0, 0);
    while calls < 10_000 {
        let (who, what) = (draw(strangers.len()), draw(CALLS_THAT_PURGE.len()));
        let (target, body, limited_may) = CALLS_THAT_PURGE[what];
        if who == limited && limited_may {
            continue;
        }
        calls += 1;
        let mut request = post(target, strangers[who], body);
        request.client =
            Arc::new(Client::new(["127.0.0.1:1", "192.0.2.1:1"][draw(2)].parse().unwrap(), None));
        let got = stage.send(request).await;
        accepted += usize::from(!matches!(got.status, 401 | 403));
    }
    assert_eq!((accepted, stage.node.purges.sequence()), (0, 0));
}

#[tokio::test]
async fn hundreds_of_malformed_calls_are_told_what_is_wrong_and_purge_nothing() {
    let stage = stage();
    let values = [
        "null",
        "true",
        "7",
        "-1",
        "\"\"",
        "\" \"",
        "{}",
        "[]",
        "[[]]",
        "[null]",
        "[1]",
        "[true]",
        "[{}]",
        "[\"\"]",
        "[\"a b\"]",
        "[\"\\u0000\"]",
        "[\"\\ud800\"]",
        "[\"/x\"]",
        "[\"*\"]",
        "[\"é\"]",
        "[\"a,b\"]",
        "[\"ftp://a/\"]",
        "[\"https://\"]",
        "[\"https://u:p@a/\"]",
        "[\"a.example:80\"]",
        "[\"https://a/?x#\", 1]",
    ];
    let mut bodies: Vec<String> = Vec::new();
    for member in ["urls", "prefixes", "hosts", "tags"] {
        let good_as_a_tag = [
            "[\"/x\"]",
            "[\"*\"]",
            "[\"ftp://a/\"]",
            "[\"https://\"]",
            "[\"https://u:p@a/\"]",
            "[\"a.example:80\"]",
        ];
        for value in values.iter().filter(|value| member != "tags" || !good_as_a_tag.contains(value)) {
            bodies.push(format!("{{\"{member}\":{value}}}"));
            bodies.push(format!("{{\"{member}\":{value},\"everything\":false,\"soft\":true}}"));
        }
    }
    for member in ["everything", "soft", "dry_run", "wait"] {
        for value in values.iter().filter(|value| **value != "true" || member == "wait") {
            bodies.push(format!("{{\"urls\":[\"https://a/\"],\"{member}\":{value}}}"));
        }
    }
    for name in
        ["url", "Urls", "tag", "host", "prefix", "all", "purge_everything", "files", "sotf", "dryrun", ""]
    {
        bodies.push(format!("{{\"{name}\":[\"https://a/\"]}}"));
        bodies.push(format!("{{\"urls\":[\"https://a/\"],\"{name}\":true}}"));
    }
    let good = r#"{"urls":["https://a/"]}"#;
    bodies.extend((0..good.len()).map(|cut| good[..cut].to_owned()));
    bodies.extend(
        ["everything", "*", "{\"everything\":true} x", "{\"everything\":true,\"urls\":[\"https://a/\"]}"]
            .map(str::to_owned),
    );
    let ops = [("Authorization", "Bearer abc")];
    for body in &bodies {
        for target in ["/v1/purge", "/zones/z/purge_cache", "/service/s/purge"] {
            // There these are calls: it has names of its own, and prefixes without scheme.
            let theirs = ["\"files\"", "\"purge_everything\"", "\"prefixes\":[\"a.example:80\"]"];
            if target == "/zones/z/purge_cache" && theirs.iter().any(|one| body.contains(one)) {
                continue;
            }
            let got = stage.send(post(target, &ops, body)).await;
            let told = got.json();
            // Some are no one's list and so selects nothing, but in no call's words is any of them a purge.
            assert!((400..500).contains(&got.status), "{target} {body}: {}", got.body);
            let sentence = told["detail"].as_str().or(told["errors"][0]["message"].as_str()).unwrap();
            assert!(!sentence.is_empty(), "{target} {body}");
            if target == "/v1/purge" {
                assert!(!got.code().is_empty());
            }
        }
    }
    assert!(bodies.len() >= 300, "{}", bodies.len());
    assert_eq!(stage.node.purges.sequence(), 0);
}

#[tokio::test]
async fn a_token_that_is_used_too_often_is_told_when_to_come_again() {
    let text = "[[token]]\nname = 'ci'\nsha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'\nrate = '2/m'";
    let stage = Stage::with_door(Door::Tokens(tokens::parse(text).unwrap()));
    let ops = [("Authorization", "Bearer abc")];
    let purge = || post("/v1/purge", &ops, r#"{"tags":["a"]}"#);
    // What is malformed counts too, or it could be sent for ever.
    for (request, status) in [(purge(), 200), (post("/v1/purge", &ops, "{}"), 400), (purge(), 429)] {
        assert_eq!(stage.send(request).await.status, status);
    }
    let got = stage.send(purge()).await;
    assert_eq!(got.code(), "token-rate");
    assert!(got.lines.contains("\r\nretry-after: 30\r\n"), "{}", got.lines);
    assert_eq!(stage.send(request("GET", "/v1/stat", &ops)).await.status, 200, "looking is not purging");
    stage.service.0.clock.advance(std::time::Duration::from_secs(30));
    assert_eq!(stage.send(purge()).await.status, 200);
    assert_eq!(stage.node.purges.sequence(), 2);
}

#[tokio::test]
async fn shares_are_moved_only_by_who_may_control_the_node() {
    let stage = stage();
    // `ops` may, and is told that this node has no such site.
    for (token, status) in [("abc", 404), ("nobody", 401)] {
        let bearer = format!("Bearer {token}");
        let lines = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = stage.send(post("/v1/steer/a", &lines, r#"{"shares": {"b": 1}}"#)).await;
        assert_eq!(answer.status, status, "{token}");
    }
    for may in [Permission::Read, Permission::Purge] {
        let stage = Stage::with_token(&[may]);
        let lines = [("authorization", "Bearer abc"), ("content-type", "application/json")];
        let answer = stage.send(post("/v1/steer/a", &lines, r#"{"shares": {"b": 1}}"#)).await;
        assert_eq!(answer.status, 403, "{may:?}");
    }
}
