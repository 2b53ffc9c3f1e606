//! FAULTS S15: what an origin may not send, row by row, and that the next request is right all the same.

use super::*;
use crate::config::limits::{
    CHUNK_LINE_BYTES_MAX, ORIGIN_FIELDS_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_INTERIM_MAX, TRAILER_BYTES_MAX,
};
use crate::origin::Surplus;
use crate::origin::framing::{Scanner, is_text};

type Row = (&'static str, Method, &'static str, Result<(u16, &'static str), OriginError>);

fn finding(finding: Finding) -> Result<(u16, &'static str), OriginError> {
    Err(OriginError::Framing(finding))
}

#[allow(clippy::too_many_lines)] // a table
fn rows() -> Vec<Row> {
    use Finding as F;
    let row = |name, response, expected| (name, Method::GET, response, expected);
    let head = |name, response, expected| (name, Method::HEAD, response, expected);
    vec![
        // What is right.
        row("a length frames the body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Ok((200, "abc"))),
        row(
            "chunks frame the body",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            Ok((200, "abcde")),
        ),
        row(
            "chunked is matched in any case",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
            Ok((200, "")),
        ),
        row(
            "a chunk extension is skipped",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
            Ok((200, "abc")),
        ),
        row(
            "trailers are dropped",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
            Ok((200, "")),
        ),
        row("a missing reason is fine", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Ok((200, ""))),
        row("an unknown status is fine", "HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", Ok((299, ""))),
        row(
            "204 with a zero length has no body",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            Ok((204, "")),
        ),
        row(
            "304 may declare the length it would have",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Ok((304, "")),
        ),
        head(
            "HEAD may declare the length GET would have",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            Ok((200, "")),
        ),
        head(
            "HEAD may declare the chunks GET would have",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Ok((200, "")),
        ),
        row(
            "an interim response comes before the answer",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            Ok((200, "a")),
        ),
        row(
            "HTTP/1.0 with a length is fine",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            Ok((200, "a")),
        ),
        // Two framings, or a framing twice.
        row(
            "CL and TE",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            finding(F::LengthAndEncoding),
        ),
        row(
            "TE and CL",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            finding(F::LengthAndEncoding),
        ),
        row(
            "two different CL",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            finding(F::TwoLengths),
        ),
        row(
            "two equal CL",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            finding(F::TwoLengths),
        ),
        row("a list of CL", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", finding(F::Length)),
        row(
            "two TE",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            finding(F::TransferEncoding),
        ),
        row(
            "TE gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            finding(F::TransferEncoding),
        ),
        row(
            "TE identity",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            finding(F::TransferEncoding),
        ),
        row(
            "TE xchunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            finding(F::TransferEncoding),
        ),
        row(
            "TE with a parameter",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            finding(F::TransferEncoding),
        ),
        row("empty TE", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n", finding(F::TransferEncoding)),
        row(
            "TE in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            finding(F::TransferEncoding),
        ),
        // Lengths.
        row("CL with a plus", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", finding(F::Length)),
        row("CL below zero", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", finding(F::Length)),
        row("CL in hex", "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc", finding(F::Length)),
        row(
            "CL with a leading zero",
            "HTTP/1.1 200 OK\r\nContent-Length: 003\r\n\r\nabc",
            finding(F::Length),
        ),
        row(
            "CL of 2^64",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
            finding(F::Length),
        ),
        row("empty CL", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", finding(F::Length)),
        row(
            "bytes after the length",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            finding(F::ExtraBytes),
        ),
        row(
            "a second response after the first",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
            finding(F::ExtraBytes),
        ),
        row(
            "bytes after the last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
            finding(F::ExtraBytes),
        ),
        // Bodies where none may be.
        row(
            "204 with a length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
            finding(F::ForbiddenBody),
        ),
        row(
            "204 with chunks",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            finding(F::ForbiddenBody),
        ),
        row("204 with bytes behind it", "HTTP/1.1 204 No Content\r\n\r\nabc", finding(F::ExtraBytes)),
        row(
            "304 with a body",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc",
            finding(F::ExtraBytes),
        ),
        head("HEAD with a body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", finding(F::ExtraBytes)),
        row(
            "an interim response with a length",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabc",
            finding(F::ForbiddenBody),
        ),
        row(
            "101 unasked",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            finding(F::Upgrade),
        ),
        // Lines.
        row("HTTP/0.9", "<html>hello</html>\r\n", finding(F::StatusLine)),
        row("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", finding(F::Version)),
        row("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", finding(F::Version)),
        row("lower-case version", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", finding(F::StatusLine)),
        row("two-digit status", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", finding(F::StatusLine)),
        row("four-digit status", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", finding(F::StatusLine)),
        row("status 099", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", finding(F::StatusLine)),
        row("tab after the version", "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n", finding(F::StatusLine)),
        row(
            "bare LF after the status line",
            "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row(
            "bare LF after a field",
            "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row(
            "bare LF at the head's end",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
            finding(F::LineEnding),
        ),
        row(
            "bare CR in a value",
            "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row(
            "NUL in a value",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", finding(F::FieldLine)),
        row("no colon", "HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n", finding(F::FieldLine)),
        row("empty name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n", finding(F::FieldLine)),
        row(
            "folded line",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
            finding(F::FieldLine),
        ),
        row(
            "leading space on the first field",
            "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 0\r\n\r\n",
            finding(F::FieldLine),
        ),
        row("empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", finding(F::StatusLine)),
        // Chunks.
        row(
            "chunk size 0x3",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk size with a space before it",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk size with a space after it",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk size 5_0",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5_0\r\nabc\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk size below zero",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk size of 17 digits",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000003\r\nabc\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "empty chunk size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk size line ending in LF",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row(
            "LF in an extension",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row(
            "CR in an extension",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
            finding(F::LineEnding),
        ),
        row(
            "chunk longer than its size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "chunk without its CRLF",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n",
            finding(F::Chunk),
        ),
        row(
            "malformed trailer",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX y\r\n\r\n",
            finding(F::Trailer),
        ),
    ]
}

#[tokio::test]
async fn every_framing_row_is_judged_as_named_and_the_next_request_is_answered_right() {
    for (name, method, response, expected) in rows() {
        let origin = Scripted::new(vec![
            vec![Play::Read, write(response), Play::Read, write(OK)],
            vec![Play::Read, write(OK)],
        ])
        .await;
        let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
        let refused = expected.is_err();
        let outcome = fetch(&pools, ask(method, "/first")).await;
        assert_eq!(outcome, expected.map(|(status, body)| (status, body.to_owned())), "{name}");
        let canary = fetch(&pools, get("/canary")).await;
        assert_eq!(canary, Ok((200, "ok".to_owned())), "{name}: canary");
        let seen = origin.seen();
        assert_eq!(seen.requests.len(), 2, "{name}: nothing is asked twice");
        let fresh = refused || response.starts_with("HTTP/1.0");
        assert_eq!(seen.connections, if fresh { 2 } else { 1 }, "{name}: connection after it");
    }
}

/// The scanner's word must not depend on where reads end.
#[test]
fn every_framing_row_is_judged_alike_byte_by_byte() {
    for (name, method, response, expected) in rows() {
        let mut scanner = Scanner::default();
        scanner.begin(method == Method::HEAD, Surplus::Refuse);
        let outcome = response.as_bytes().chunks(1).try_for_each(|byte| scanner.feed(byte).map(drop));
        assert_eq!(outcome, expected.map(|_| ()), "{name}");
        if outcome.is_ok() {
            assert!(scanner.whole(), "{name}: whole at its end");
            assert_eq!(scanner.reusable(), !response.starts_with("HTTP/1.0"), "{name}: reusable");
        }
    }
}

#[test]
fn a_value_ends_before_the_first_byte_that_may_not_stand_in_it_wherever_that_lies() {
    for (odd, is_fine) in [
        (b'\t', true),
        (0x80, true),
        (0xff, true),
        (b' ', true),
        (0, false),
        (0x1f, false),
        (0x7f, false),
        (b'\r', false),
    ] {
        for at in 0..20 {
            let mut value = [b'v'; 20];
            value[at] = odd;
            assert!((0..=at).all(|from| is_text(&value[from..]) == is_fine), "{odd} at {at}");
            let head = [b"HTTP/1.1 200 OK\r\nX: <", &value[..], b">\r\nContent-Length: 0\r\n\r\n"].concat();
            let mut scanner = Scanner::default();
            scanner.begin(false, Surplus::Refuse);
            let read = scanner.feed(&head);
            assert_eq!(read.is_ok() && scanner.is_done(), is_fine, "{odd} at {at}: {read:?}");
        }
    }
}

#[test]
fn bounds_hold_one_beyond_them() {
    let feed = |response: &str| {
        let mut scanner = Scanner::default();
        scanner.begin(false, Surplus::Refuse);
        response.as_bytes().chunks(1000).try_for_each(|bytes| scanner.feed(bytes).map(drop))
    };
    let interims = |count| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count) + "HTTP/1.1 200 OK\r\n\r\n";
    let fields = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count));
    let sized = |bytes: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(bytes - 24));
    let extension = |bytes: usize| {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;{}\r\n\r\n", "y".repeat(bytes - 4))
    };
    let trailer = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {}\r\n\r\n",
            "y".repeat(bytes - 7)
        )
    };
    assert_eq!(sized(100).len(), 100);
    assert_eq!(feed(&interims(ORIGIN_INTERIM_MAX)), Ok(()));
    assert_eq!(feed(&interims(ORIGIN_INTERIM_MAX + 1)), Err(OriginError::Framing(Finding::InterimStorm)));
    assert_eq!(feed(&fields(ORIGIN_FIELDS_MAX)), Ok(()));
    assert_eq!(feed(&fields(ORIGIN_FIELDS_MAX + 1)), Err(OriginError::HeadTooLarge));
    assert_eq!(feed(&sized(ORIGIN_HEAD_BYTES_MAX)), Ok(()));
    assert_eq!(feed(&sized(ORIGIN_HEAD_BYTES_MAX + 1)), Err(OriginError::HeadTooLarge));
    assert_eq!(feed(&extension(CHUNK_LINE_BYTES_MAX)), Ok(()));
    assert_eq!(feed(&extension(CHUNK_LINE_BYTES_MAX + 1)), Err(OriginError::Framing(Finding::Chunk)));
    assert_eq!(feed(&trailer(TRAILER_BYTES_MAX)), Ok(()));
    assert_eq!(feed(&trailer(TRAILER_BYTES_MAX + 1)), Err(OriginError::Framing(Finding::Trailer)));
}

#[tokio::test]
async fn an_interim_storm_a_megabyte_status_line_and_a_head_without_end_are_refused() {
    let storm = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let status_line = format!("HTTP/1.1 200 {}", "x".repeat(1 << 20));
    let endless = "X: y\r\n".repeat(1 << 16);
    for (name, response, expected) in [
        ("storm", storm, OriginError::Framing(Finding::InterimStorm)),
        ("status line", status_line, OriginError::HeadTooLarge),
        ("endless head", format!("HTTP/1.1 200 OK\r\n{endless}"), OriginError::HeadTooLarge),
    ] {
        let origin = Scripted::new(vec![vec![Play::Read, write(response)]]).await;
        let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
        assert_eq!(fetch(&pools, get("/")).await, Err(expected), "{name}");
    }
}

#[tokio::test]
async fn a_large_head_within_the_bounds_is_read() {
    let response = format!(
        "HTTP/1.1 200 OK\r\n{}X-Long: {}\r\nContent-Length: 2\r\n\r\nok",
        "X: y\r\n".repeat(200),
        "z".repeat(60_000)
    );
    let origin = Scripted::new(vec![vec![Play::Read, write(response)]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".to_owned())));
}

#[tokio::test]
async fn bytes_that_come_while_a_connection_is_idle_are_never_the_next_answer() {
    let gate = Arc::new(Notify::new());
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let origin = Scripted::new(vec![
        vec![Play::Read, write(OK), Play::Wait(Arc::clone(&gate)), write(poison), Play::Read],
        vec![Play::Read, write(OK)],
    ])
    .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    assert_eq!(fetch(&pools, get("/1")).await, Ok((200, "ok".to_owned())));
    gate.notify_one();
    origin.until(|seen| seen.writes == 2).await;
    assert_eq!(fetch(&pools, get("/2")).await, Ok((200, "ok".to_owned())));
}

#[tokio::test]
async fn hop_by_hop_fields_stay_behind_and_a_nomination_cannot_take_cache_control_away() {
    let origin = Scripted::new(vec![vec![
        Play::Read,
        write(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, Cache-Control, Set-Cookie\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nCache-Control: private\r\nSet-Cookie: a=b\r\nX-End: 1\r\n\r\nok",
        ),
    ]])
    .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let answer = pools.ask(get("/")).await.unwrap();
    let mut names: Vec<&str> = answer.fields.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "set-cookie", "x-end"]);
    assert_eq!((answer.framing, answer.length), (Framing::Length(2), Some(2)));
}

#[tokio::test]
async fn interim_responses_reach_the_sink_in_order_without_the_unasked_100() {
    let origin = Scripted::new(vec![vec![
        Play::Read,
        write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n"),
        write(OK),
    ]])
    .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let sink = InterimSink::default();
    let asked = Ask { interim: Some(sink.clone()), ..get("/") };
    assert_eq!(fetch(&pools, asked).await, Ok((200, "ok".to_owned())));
    let interims = sink.take();
    let [interim] = interims.as_slice() else { panic!("{interims:?}") };
    assert_eq!(interim.status.as_u16(), 103);
    assert_eq!(interim.fields.get("link").unwrap(), "</a>");
    assert!(!interim.fields.contains_key("connection"));
}

proptest::proptest! {
    /// Whatever the bytes and wherever reads end: no panic, and one verdict.
    #[test]
    fn the_verdict_does_not_depend_on_where_reads_end(
        row in 0..rows().len(),
        edits in proptest::collection::vec((0_usize..200, proptest::prelude::any::<u8>()), 0..3),
        cuts in proptest::collection::vec(1_usize..40, 0..8),
    ) {
        let (_, method, response, _) = rows().swap_remove(row);
        let mut bytes = response.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at % bytes.len();
            *bytes.get_mut(at).unwrap() = byte;
        }
        let verdict = |pieces: &[&[u8]]| {
            let mut scanner = Scanner::default();
            scanner.begin(method == Method::HEAD, Surplus::Refuse);
            let outcome = pieces.iter().try_for_each(|piece| scanner.feed(piece).map(drop));
            (outcome, outcome.is_ok() && scanner.whole())
        };
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, left) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        pieces.push(rest);
        let whole = verdict(&[bytes.as_slice()]);
        proptest::prop_assert_eq!(&whole, &verdict(&pieces));
        proptest::prop_assert_eq!(&whole, &verdict(&bytes.chunks(1).collect::<Vec<_>>()));
    }
}
