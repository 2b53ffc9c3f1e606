//! FAULTS C6: an origin that takes a URL for another page than the node does answers with somebody's page; nobody else gets it, and
//! it is not stored, whatever the origin says of it and whatever the site has rules for.

use crate::stage::origin::Seen;
use crate::stage::reply::{Reply, reply};
use crate::stage::{Stage, secs};

/// What origins and their frameworks are known to end a path at, or to cut a segment at.
const DELIMITERS: [&str; 18] = [
    "/", ";", "%3b", "%3B", "%23", "%3f", "%3F", "%0a", "%0d", "%0d%0a", "%00", "%09", "%20", "%2f", "%5c",
    "%253b", "%253f", "%2523",
];
const ENDINGS: [&str; 12] = [
    "x.css",
    "x.js",
    "x.png",
    "x.jpg",
    "x.ico",
    "x.svg",
    "x.woff2",
    "x.txt",
    "x.pdf",
    ".css",
    "robots.txt",
    "a/b.js",
];
/// Ways to say `..` and a slash.
const CLIMBS: [&str; 16] = [
    "..%2f",
    "%2e%2e%2f",
    ".%2e%2f",
    "..%5c",
    "%2e%2e%5c",
    "..;/",
    "..;x=y/",
    "%2e%2e;/",
    "..%3b/",
    "..%252f",
    "%252e%252e/",
    "..%00/",
    "..%0a/",
    "..%3f/",
    "..%23/",
    "x%2f..%2f..%2f",
];
const DIRECTORIES: [&str; 3] = ["/static/", "/assets/img/", "/robots.txt%2f"];

/// Rules as sites have them that were written for speed: whatever the origin says, files are kept for an hour.
const SITE: &str = r#"
[[site.route]]
path = "/static/*"
ttl = "1h"

[[site.route]]
path = "/assets/*"
ttl = "1h"

[[site.route]]
path = "*.css"
ttl = "1h"

[[site.route]]
path = "*.js"
ttl = "1h"

[[site.route]]
path = "*.png"
ttl = "1h"

[[site.route]]
path = "*.jpg"
ttl = "1h"

[[site.route]]
path = "*.ico"
ttl = "1h"

[[site.route]]
path = "*.svg"
ttl = "1h"

[[site.route]]
path = "*.woff2"
ttl = "1h"

[[site.route]]
path = "*.txt"
ttl = "1h"

[[site.route]]
path = "*.pdf"
ttl = "1h"

[[site.route]]
path = "/robots.txt*"
ttl = "1h"
"#;

fn urls() -> Vec<String> {
    let ended = DELIMITERS.iter().flat_map(|cut| ENDINGS.map(|ending| format!("/account{cut}{ending}")));
    let climbed = DIRECTORIES.iter().flat_map(|from| {
        CLIMBS.iter().flat_map(move |climb| {
            [format!("{from}{climb}account"), format!("{from}{climb}{climb}account?x.css")]
        })
    });
    ended.chain(climbed).collect()
}

/// The page of whoever asks, as origins send it that never thought of a cache.
fn page_of(seen: &Seen, said: &str) -> Reply {
    let cookie = seen.field("cookie").unwrap_or_default();
    let page = reply(200).field("content-type", "text/html; charset=utf-8").body(format!("for {cookie}"));
    match said {
        "private" => page.cache_control("private, max-age=600"),
        "no-store" => page.cache_control("no-store"),
        "cookie" => page.field("set-cookie", "session=next"),
        _ => page,
    }
}

#[tokio::test]
async fn no_private_page_is_stored_under_any_of_its_spellings() {
    let urls = urls();
    assert!(urls.len() >= 300, "{}", urls.len());
    for said in ["private", "no-store", "cookie", "nothing"] {
        let stage = Stage::build().site(SITE).start().await;
        stage.origin("a").answers("*", move |seen: &Seen| page_of(seen, said));
        let (mut refused, mut told) = (0, 0);
        for url in &urls {
            let hers = stage.client().header("cookie", "session=ann").get(url).await;
            if hers.status != 200 {
                // A path that can be understood in two ways, or in none.
                refused += 1;
                continue;
            }
            assert!(hers.text().contains("session=ann") || hers.text() == "for ", "{said}, {url}: {hers:?}");
            let his = stage.client().header("cookie", "session=bob").get(url).await;
            assert!(!his.text().contains("session=ann"), "{said}, {url}: {his:?}");
            assert!(!his.is_hit(), "{said}, {url}: {his:?}");
            told += 1;
        }
        assert_eq!(stage.count().stored, 0, "{said}: a page was stored");
        assert!(told >= 200, "{said}: {told} told, {refused} refused");
    }
}

/// What the rules are for is stored all the same.
#[tokio::test]
async fn what_is_what_its_ending_says_is_stored() {
    let stage = Stage::build().site(SITE).start().await;
    for (nth, (target, kind)) in [
        ("/a/x.css", "text/css"),
        ("/a/x.js", "application/javascript; charset=utf-8"),
        ("/a/x.png", "image/png"),
        ("/a/x.woff2", "font/woff2"),
        ("/a/x.txt", "text/plain"),
        ("/static/page", "text/html"),
    ]
    .into_iter()
    .enumerate()
    {
        stage.origin("a").on(target, [reply(200).field("content-type", kind).body("file")]);
        stage.client().get(target).await.expect(200, "file");
        stage.until(|count| count.stored == nth as u64 + 1).await;
        stage.clock.advance(secs(3000));
        assert!(stage.client().get(target).await.expect(200, "file").is_hit(), "{target}");
    }
    let page = reply(200).field("content-type", "text/html").body("page");
    stage.origin("a").on("/b/x.css", [page.clone(), page]);
    for _ in 0..2 {
        stage.client().get("/b/x.css").await.expect(200, "page").cache_status_has("detail=ending");
    }
}
