//! The site as its readers and its cache see it.

use std::collections::{BTreeSet, VecDeque};

use cache_store::timestamp::Timestamp;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::demo::site::Answer;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn get(path: &str) -> Ask<'_> {
    Ask {
        method: &Method::GET,
        path,
        accept_language: "",
        if_none_match: None,
        if_modified_since: None,
        now: NOW,
    }
}

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// The values of `href` and `src` in a page, without fragments.
fn links(page: &str) -> impl Iterator<Item = &str> {
    ["href=\"", "src=\""].into_iter().flat_map(|mark| {
        page.split(mark)
            .skip(1)
            .filter_map(|rest| rest.split(['"', '#']).next())
            .filter(|link| !link.is_empty())
    })
}

#[test]
fn every_link_on_every_page_leads_to_a_page_of_the_site() {
    let site = Site::new(NOW);
    let (mut seen, mut queue) = (BTreeSet::new(), VecDeque::from(["/".to_owned(), "/nowhere".to_owned()]));
    while let Some(path) = queue.pop_front() {
        if !seen.insert(path.clone()) {
            continue;
        }
        assert!(path.starts_with('/'), "{path} leads out of the site");
        let answer = site.answer(&get(&path));
        let expected = if path == "/nowhere" { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(answer.status, expected, "{path}");
        if field(&answer, "content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            queue.extend(links(std::str::from_utf8(&answer.body).unwrap()).map(str::to_owned));
        }
    }
    let articles = seen.iter().filter(|path| path.matches('/').count() == 2 && !path.starts_with("/assets"));
    assert!(articles.count() >= 16, "eight articles and their pictures are reached: {seen:?}");
}

#[test]
fn nothing_that_may_be_kept_lacks_a_tag_and_nothing_private_may_be_kept() {
    let site = Site::new(NOW);
    for (path, control) in [
        ("/", "public, max-age=10"),
        ("/harbour", "public, max-age=10"),
        ("/harbour/the-gate-holds", "public, max-age=60"),
        ("/live", "public, max-age=5, stale-while-revalidate=30"),
        ("/assets/harbour.png", "public, max-age=86400"),
        ("/account", "private, no-store"),
        ("/outage/off", "no-store"),
    ] {
        let answer = site.answer(&get(path));
        assert!(field(&answer, "cache-control").unwrap().starts_with(control), "{path}");
        assert_eq!(field(&answer, "surrogate-key").is_some(), control.starts_with("public"), "{path}");
        assert_eq!(field(&answer, "set-cookie").is_some(), path == "/account", "{path}");
    }
}

#[test]
fn validation() {
    let site = Site::new(NOW);
    let article = "/harbour/the-gate-holds";
    let first = site.answer(&get(article));
    let (tag, modified) = (field(&first, "etag").unwrap(), field(&first, "last-modified").unwrap());
    let weak = format!("\"other\", W/{tag}");
    for (claim, if_none_match, if_modified_since, status) in [
        ("the tag we gave is known", Some(tag), None, 304),
        ("also in a list, and weakened", Some(&*weak), None, 304),
        ("a star knows all", Some("*"), None, 304),
        ("another tag is not", Some("\"other\""), None, 200),
        ("the date we gave is known", None, Some(modified), 304),
        ("another date is not", None, Some("Thu, 01 Jan 1970 00:00:00 GMT"), 200),
        ("a tag beats a date", Some("\"other\""), Some(modified), 200),
    ] {
        let answer = site.answer(&Ask { if_none_match, if_modified_since, ..get(article) });
        assert_eq!(answer.status.as_u16(), status, "{claim}");
        assert_eq!(answer.body.is_empty(), status == 304, "{claim}");
        assert_eq!(field(&answer, "etag"), Some(tag), "{claim}");
    }
}

#[test]
fn the_live_page_is_never_the_same_twice() {
    let site = Site::new(NOW);
    let tag = |answer: Answer| field(&answer, "etag").map(str::to_owned);
    assert_ne!(tag(site.answer(&get("/live"))), tag(site.answer(&get("/live"))));
}

#[test]
fn languages() {
    let site = Site::new(NOW);
    for (claim, accept_language, language) in [
        ("none is English", "", "en"),
        ("one that we have", "de", "de"),
        ("a region of it", "fr-CH, fr;q=0.9", "fr"),
        ("the first that we have", "it, nb;q=0.8, de;q=0.7", "nb"),
        ("none that we have is English", "ja", "en"),
        ("nonsense is English", "ä,é;;=", "en"),
    ] {
        let answer = site.answer(&Ask { accept_language, ..get("/welcome") });
        assert_eq!(field(&answer, "content-language"), Some(language), "{claim}");
        assert_eq!(field(&answer, "vary"), Some("Accept-Language"), "{claim}");
    }
}

#[test]
fn switches() {
    let site = Site::new(NOW);
    let status = |path| site.answer(&get(path)).status.as_u16();
    assert_eq!((status("/"), site.quay_is_dark()), (200, false));
    assert_eq!((status("/outage/on"), status("/"), status("/nowhere")), (200, 503, 503));
    assert_eq!((status("/outage/quay"), status("/"), site.quay_is_dark()), (200, 200, true));
    assert_eq!((status("/outage/up"), site.quay_is_dark()), (404, true));
    assert_eq!((status("/outage/off"), status("/"), site.quay_is_dark()), (200, 200, false));
    assert_eq!([status("/flaky"), status("/flaky"), status("/flaky")], [200, 503, 200]);
    assert_eq!(site.answer(&Ask { method: &Method::POST, ..get("/") }).status, 405);
}

/// Sends one request and reads until the connection ends.
async fn exchange(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn both_berths_serve_until_the_quay_goes_dark() {
    let site = start(&Clock::manual(NOW)).await.unwrap();
    let [quay, pier] = site.addresses;
    let answer = exchange(quay, "GET", "/town").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nx-berth: quay\r\n") && answer.ends_with("</html>\n"), "{answer}");
    let head = exchange(pier, "HEAD", "/town").await;
    let length = answer.split("\r\n\r\n").nth(1).unwrap().len();
    assert!(head.contains(&format!("\r\ncontent-length: {length}\r\n")), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    exchange(pier, "GET", "/outage/quay").await;
    assert_eq!(exchange(quay, "GET", "/town").await, "");
    assert!(exchange(pier, "GET", "/town").await.contains("\r\nx-berth: pier\r\n"));
}

#[tokio::test]
async fn the_slow_page_takes_two_seconds_of_the_clock() {
    let clock = Clock::manual(NOW);
    let site = start(&clock).await.unwrap();
    let reader = tokio::spawn(exchange(site.addresses[0], "GET", "/slow"));
    // Whenever its request arrives, the page waits until the clock has moved two seconds from then.
    while !reader.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert!(reader.await.unwrap().contains("Two seconds"));
    assert!(clock.now() >= NOW.plus(Duration::from_secs(2)));
}

#[test]
fn every_page_in_the_guide_is_there() {
    let (node, admin) = ("127.0.0.1:8080".parse().unwrap(), "127.0.0.1:9180".parse().unwrap());
    let guide = guide("target/release/tidegate", node, admin);
    assert!(guide.contains(" target/release/tidegate purge --admin 127.0.0.1:9180 http"), "{guide}");
    for word in ["NODE", "ADMIN", "TIDEGATE"] {
        assert!(!guide.contains(word), "{word} is not filled in:\n{guide}");
    }
    let mut found = 0;
    for path in guide.split("http://127.0.0.1:8080").skip(1) {
        let path = path.split([' ', '\n', ';']).next().unwrap();
        assert_eq!(Site::new(NOW).answer(&get(path)).status, StatusCode::OK, "{path}");
        found += 1;
    }
    assert!(found > 10, "{guide}");
}

#[test]
fn a_program_with_a_strange_path_is_one_word_to_the_shell() {
    for (path, word) in [
        ("tidegate", "tidegate"),
        ("/opt/tide-gate_1.0/tidegate", "/opt/tide-gate_1.0/tidegate"),
        ("my builds/tidegate", "'my builds/tidegate'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
    ] {
        assert_eq!(shell_word(path), word, "{path}");
    }
}
