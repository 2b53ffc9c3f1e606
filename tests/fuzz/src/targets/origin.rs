//! HTTP/1.1 from origins, and what goes to them: `origin/framing.rs`, `origin/forward.rs`.

use tidegate::fuzzing::scan;
use tidegate::listener::fields::{FieldId, Fields};
use tidegate::listener::request::{Protocol, Scheme};
use tidegate::origin::forward::{Conditions, Hop, fields};
use tidegate::origin::{Framing, Surplus};

use super::{Cut, field_lines, lines, second};
use crate::reached;

/// However the bytes of a response are cut, the same is found in them.
pub fn origin_response(data: &[u8]) {
    for to_head_request in [false, true] {
        for surplus in [Surplus::Refuse, Surplus::Drop] {
            let whole = scan([data], to_head_request, surplus);
            reached(format!(
                "{:?}",
                whole.as_ref().map(|found| (found.whole, found.reusable, kind(found.framing)))
            ));
            for cut in [Cut::Bytes, Cut::Uneven] {
                assert_eq!(whole, scan(cut.pieces(data), to_head_request, surplus), "{cut:?}");
            }
            let Ok(found) = whole else { continue };
            assert!(found.taken <= data.len());
            assert!(
                found.whole || !found.reusable,
                "a connection is used again behind a whole response only"
            );
            assert!(!(found.reusable && found.framing == Framing::Close && found.whole && found.taken == 0));
            if surplus == Surplus::Refuse {
                assert_eq!(found.taken, data.len(), "no byte is left over where that is refused");
            }
        }
    }
}

const fn kind(framing: Framing) -> &'static str {
    match framing {
        Framing::None => "none",
        Framing::Length(_) => "length",
        Framing::Chunked => "chunked",
        Framing::Close => "close",
    }
}

/// What we accept, hyper's client reads with the same status, fields, body and framing, and as whole exactly where we do.
pub fn origin_against_hyper(data: &[u8]) {
    for to_head_request in [false, true] {
        let Ok(found) = scan([data], to_head_request, Surplus::Refuse) else { continue };
        let theirs = second::response(data, to_head_request);
        let is_whole = theirs.as_ref().is_some_and(|message| message.complete);
        reached((found.whole, kind(found.framing), theirs.as_ref().map(|message| message.body.len().min(3))));
        assert_eq!(found.whole, is_whole, "{found:?} {theirs:?}\n{}", data.escape_ascii());
        let Some(theirs) = theirs.filter(|_| is_whole) else { continue };
        assert_eq!(found.told.status.to_string(), theirs.start);
        assert_eq!(found.told.body, theirs.body);
        if let Framing::Length(length) = found.framing {
            assert_eq!(theirs.body.len() as u64, length);
        }
        // hyper groups lines by name.
        let mut ours = found.told.fields;
        let of_framing = |name: &str| matches!(name, "content-length" | "transfer-encoding");
        let mut others: Vec<(Vec<u8>, Vec<u8>)> = theirs
            .fields
            .iter()
            .filter(|(name, _)| !of_framing(name))
            .map(|(name, value)| (name.clone().into_bytes(), value.clone()))
            .collect();
        ours.sort();
        others.sort();
        assert_eq!(ours, others);
        let lengths: Vec<_> = theirs.fields.iter().filter(|(name, _)| name == "content-length").collect();
        assert!(lengths.len() <= 1);
        let length = lengths.first().and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        assert_eq!(found.declared_length, length);
    }
}

/// Whatever a client sends, an origin gets no field of the connection, and our own claims only.
pub fn forwarded_fields(data: &[u8]) {
    let mut lines = lines(data);
    let authority = lines.next().unwrap_or_default();
    let pairs = field_lines(&mut lines);
    let received = Fields::pack(pairs.iter().copied());
    let hop = Hop {
        node: "n1",
        client: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        protocol: Protocol::Http11,
        authority,
        known: None,
    };
    let own = Conditions::Own { etag: Some(b"\"a\""), last_modified: None, range: None };
    for conditions in [Conditions::Client, own] {
        let sent = match fields(&received, &hop, conditions, |_| true) {
            Ok(sent) => sent.to_map(),
            Err(error) => {
                reached(format!("{error:?}"));
                continue;
            }
        };
        let nominated: Vec<String> = received
            .all(FieldId::Connection)
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
            .collect();
        for name in HOP_BY_HOP {
            assert!(!sent.contains_key(*name), "{name}");
        }
        for name in
            nominated.iter().filter(|name| !OURS.contains(&name.as_str()) && !is_own(name, conditions))
        {
            assert!(!sent.contains_key(name.as_str()), "`{name}` was nominated");
        }
        for (name, count) in OURS.iter().map(|name| (*name, sent.get_all(*name).iter().count())) {
            assert!(
                count > 0 && (count == 1 || matches!(name, "via" | "cdn-loop")),
                "{count} lines of {name}"
            );
        }
        assert_eq!(sent["x-forwarded-for"], "192.0.2.1");
        if matches!(conditions, Conditions::Own { .. }) {
            assert!(["range", "if-match", "if-range"].iter().all(|name| !sent.contains_key(*name)));
            assert_eq!(sent.get_all("if-none-match").iter().collect::<Vec<_>>(), ["\"a\""]);
        }
        reached((sent.len().min(20), nominated.len().min(3)));
    }
}

fn is_own(name: &str, conditions: Conditions<'_>) -> bool {
    matches!(conditions, Conditions::Own { .. }) && name == "if-none-match"
}

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OURS: &[&str] =
    &["cdn-loop", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Words of responses.
pub const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 206 Partial Content\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length:",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding:",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "\r\n\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    ";a=b",
    ";",
    "\r\n ",
    " : ",
];
