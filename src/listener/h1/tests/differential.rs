//! hyper as the oracle: what we accept, hyper's server reads with the same method, target, fields and body.
//!
//! The reverse does not hold and is the point: hyper repairs what we refuse. `TIDEGATE_DIFFERENTIAL_CASES` sets the
//! number of cases (default 512).

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::BytesMut;
use http_body::Body as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::body::Decoder;
use super::super::head::{BodyLength, HeadReader};
use super::bodies::decode;
use super::heads::almost_a_head;
use crate::config::limits::Limits;
use crate::listener::fields::FieldIndex;
use crate::listener::request::Scheme;

/// One request as read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reading {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

#[test]
fn what_we_accept_hyper_reads_with_the_same_meaning() {
    let cases =
        std::env::var("TIDEGATE_DIFFERENTIAL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(512);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    let accepted = Cell::new(0);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    runner
        .run(&almost_a_head(), |bytes| {
            let Some(ours) = our_reading(&bytes) else { return Ok(()) };
            accepted.set(accepted.get() + 1);
            let theirs = runtime.block_on(their_reading(&bytes));
            prop_assert_eq!(Some(ours), theirs);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // A table in which little is accepted would prove little.
    assert!(accepted.get() > cases / 10, "{} of {cases}", accepted.get());
}

/// The first request, if it is accepted and whole.
fn our_reading(bytes: &[u8]) -> Option<Reading> {
    let limits = Limits::default();
    let mut input = BytesMut::from(bytes);
    let head =
        HeadReader::default().next(&mut input, &mut FieldIndex::default(), Scheme::Http, &limits).ok()??;
    let decoder = match head.body {
        BodyLength::None => Decoder::length(0),
        BodyLength::Exactly(length) => Decoder::length(length),
        BodyLength::Chunked => Decoder::chunked(limits.request_body_bytes_max),
    };
    let (body, ended, _) = decode(decoder, &input, 64).ok()?;
    // hyper does not tell `http://a` from `http://a/`, which mean different things to OPTIONS (RFC 9112 §3.2.4).
    let target = head.fields.part(&head.target);
    let asterisk = head.method == http::Method::OPTIONS && target == b"/";
    ended.then(|| Reading {
        method: head.method.to_string(),
        target: String::from_utf8_lossy(if asterisk { b"*" } else { target }).into_owned(),
        fields: sorted(
            head.fields
                .lines()
                .map(|line| (String::from_utf8_lossy(line.name).to_ascii_lowercase(), line.value.to_vec())),
        ),
        body,
    })
}

/// The first request as hyper's server hands it to its service.
async fn their_reading(bytes: &[u8]) -> Option<Reading> {
    let seen = Arc::new(Mutex::new(None));
    let service = hyper::service::service_fn({
        let seen = Arc::clone(&seen);
        move |request: http::Request<hyper::body::Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                if let Some(body) = whole(body).await {
                    let mut seen = seen.lock().expect("no one panics with it");
                    let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
                    let asterisk = head.method == http::Method::OPTIONS && target == "/";
                    seen.get_or_insert(Reading {
                        method: head.method.to_string(),
                        target: if asterisk { "*" } else { target }.to_owned(),
                        fields: sorted(
                            head.headers
                                .iter()
                                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())),
                        ),
                        body,
                    });
                }
                Ok::<_, Infallible>(http::Response::new(String::new()))
            }
        }
    });
    let script = Script { input: bytes.to_vec(), at: 0 };
    // How the connection ends does not matter, only what was read before.
    let _ =
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(script, service).await;
    seen.lock().expect("no one panics with it").take()
}

async fn whole(body: hyper::body::Incoming) -> Option<Vec<u8>> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Some(bytes)
}

fn sorted(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.collect();
    fields.sort();
    fields
}

/// An I/O object that gives fixed bytes and then ends.
struct Script {
    input: Vec<u8>,
    at: usize,
}

impl hyper::rt::Read for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let count = buf.remaining().min(this.input.len() - this.at);
        buf.put_slice(&this.input[this.at..this.at + count]);
        this.at += count;
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
