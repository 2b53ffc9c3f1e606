//! What ends up in the access log: `observe/line.rs`, `observe/escape.rs`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tidegate::fuzzing::log_lines;
use tidegate::listener::fields::Fields;
use tidegate::listener::request::{Client, Interims, Protocol, Request, RequestBody, Scheme, Tls, Upgrade};
use tidegate::listener::service::Finished;
use tidegate::observe::escape;
use tidegate::respond::response::{CacheOutcome, Outcome};

use super::{field_lines, lines};
use crate::reached;

/// Whatever a client sends is one line of the log, which reads back as what it was.
///
/// Lines: method, authority, target, then fields.
pub fn access_log(data: &[u8]) {
    let mut input = lines(data);
    let method =
        input.next().and_then(|name| http::Method::from_bytes(name).ok()).unwrap_or(http::Method::GET);
    // Not cut into lines here: a target holds no line feed, but the log must not rely on that.
    let authority = Bytes::copy_from_slice(input.next().unwrap_or_default());
    let target = Bytes::copy_from_slice(data);
    let pairs = field_lines(&mut input);
    let request = Request {
        method,
        scheme: Scheme::Https,
        authority: authority.clone().into(),
        target: target.clone().into(),
        fields: Fields::pack(pairs.iter().copied()),
        body: RequestBody::Empty,
        protocol: Protocol::Http11,
        client: Arc::new(Client::new(
            SocketAddr::from(([192, 0, 2, 33], 5000)),
            Some(Tls { version: "TLSv1.3", server_name: None }),
        )),
        received_micros: 1,
        interims: Interims::None,
        upgrade: Upgrade::No,
        spare: Vec::new(),
        held: std::sync::OnceLock::new(),
        id: std::cell::OnceCell::new(),
    };
    let outcome =
        Outcome { cache: CacheOutcome::Miss, ttl: Some(-3), pool: Some("eu".into()), ..Outcome::default() };
    let finished =
        Finished { status: 200, body_bytes: 1, duration_micros: 42, complete: false, outcome: &outcome };
    let wall_millis = data.iter().take(6).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (json, combined) = log_lines(&request, &finished, wall_millis);

    for line in [&json, &combined] {
        assert_eq!(
            line.iter().position(|byte| *byte == b'\n'),
            Some(line.len() - 1),
            "one line, whatever comes"
        );
    }
    let told: serde_json::Value =
        serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{error}: {}", json.escape_ascii()));
    assert!(std::str::from_utf8(&json).is_ok_and(|text| !text.trim_end().chars().any(char::is_control)));
    assert!(combined.iter().all(|byte| *byte == b'\n' || (0x20..0x7f).contains(byte)));
    // Bounded, though every byte may become six.
    assert!(json.len() < 64 * 1024);
    reached((
        told["user_agent"].is_string(),
        told["referer"].is_string(),
        target.is_ascii(),
        pairs.len().min(3),
    ));

    let mut text = vec![b'"'];
    escape::json(&mut text, data);
    text.push(b'"');
    let back: String = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}"));
    if let Ok(plain) = std::str::from_utf8(data) {
        assert_eq!(back, plain, "what is text is kept");
    }
}
