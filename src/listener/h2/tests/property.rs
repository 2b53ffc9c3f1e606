//! Any bytes, however they are cut.

use proptest::prelude::*;

use super::super::frame::{
    self, CONTINUATION, DATA, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
};
use super::super::rehearsal::{Rehearsed, rehearse};
use super::h2_cases::section;

/// A frame that a client could send, more or less.
fn client_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop::sample::select(vec![0_u32, 1, 1, 3, 3, 5, 7, 8, 9]);
    let payload = prop_oneof![
        4 => Just(get("/a")),
        2 => Just(get("/b")),
        1 => Just(section(&[(b"x-trailer", b"1")])),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![0, 4, 0, 0, 0, 9]),
        1 => Just(vec![0, 0, 0, 1]),
    ];
    let kind = prop::sample::select(vec![
        HEADERS,
        HEADERS,
        HEADERS,
        DATA,
        DATA,
        CONTINUATION,
        SETTINGS,
        PING,
        PRIORITY,
        RST_STREAM,
        8,
        GOAWAY,
        0xfa,
    ]);
    let flags = prop::sample::select(vec![0_u8, 1, 4, 5, 5, 5, 8, 0x25]);
    (kind, flags, stream, payload).prop_map(|(kind, flags, stream, payload)| {
        // What has a length of its own gets it, mostly.
        let payload = match (kind, payload.len() % 8) {
            (_, 7) => payload,
            (RST_STREAM | 8, _) => vec![0, 0, 1, 0],
            (PING, _) => vec![7; 8],
            (SETTINGS, _) if flags & 1 != 0 => Vec::new(),
            _ => payload,
        };
        let mut out = Vec::new();
        frame::append(&mut out, kind, flags, stream, &payload);
        out
    })
}

fn get(path: &str) -> Vec<u8> {
    section(&[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"a.example"),
        (b":path", path.as_bytes()),
    ])
}

fn client() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec(client_frame(), 0..24);
    frames.prop_map(|mut frames| {
        // A client that has said GOAWAY is left as soon as nothing is under way: what it says behind that is read or not.
        let last = frames.iter().position(|frame| frame.get(3) == Some(&GOAWAY));
        frames.truncate(last.map_or(frames.len(), |last| last + 1));
        frames.truncate(begun_again(&frames).unwrap_or(frames.len()));
        [&PREFACE[..], b"\0\0\0\x04\0\0\0\0\0", &frames.concat()].concat()
    })
}

/// The first head or data for a stream that has had its end: whether that is the stream's error or the connection's depends on
/// whether its answer has gone out (RFC 9113 §5.1, half-closed and closed).
fn begun_again(frames: &[Vec<u8>]) -> Option<usize> {
    let mut ended = Vec::new();
    frames.iter().position(|frame| {
        let head = frame::FrameHead::parse(*frame.first_chunk().expect("a frame has a head"));
        let is_of_a_message = matches!(head.kind, HEADERS | DATA);
        let is_again = is_of_a_message && ended.contains(&head.stream);
        if is_of_a_message && head.flags & 1 != 0 {
            ended.push(head.stream);
        }
        is_again
    })
}

/// What must hold of every connection, and what of it no cut may change.
fn sound(rehearsed: &Rehearsed) -> Result<(Option<&String>, &[Vec<u8>]), TestCaseError> {
    prop_assert_eq!(rehearsed.served.len(), rehearsed.finished, "each request is reported once");
    let mut rest = &rehearsed.out[..];
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let head = frame::FrameHead::parse(*head);
        prop_assert!(head.length as usize <= after.len(), "a frame is cut");
        rest = &after[head.length as usize..];
    }
    prop_assert!(rest.is_empty());
    Ok((rehearsed.ended.as_ref(), &rehearsed.served))
}

proptest! {
    #[test]
    fn how_bytes_are_cut_changes_nothing(
        bytes in client(),
        cuts in prop::collection::vec(1_usize..60, 1..6),
    ) {
        let whole = rehearse([&bytes[..]]);
        let mut pieces = Vec::new();
        let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().expect("it goes round")).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let cut = rehearse(pieces);
        let single = rehearse(bytes.chunks(1));
        prop_assert_eq!(sound(&whole)?, sound(&cut)?);
        prop_assert_eq!(sound(&whole)?, sound(&single)?);
    }

    #[test]
    fn no_bytes_panic_a_connection(bytes in prop::collection::vec(any::<u8>(), 0..400), begun in any::<bool>()) {
        let bytes = if begun { [&PREFACE[..], b"\0\0\0\x04\0\0\0\0\0", &bytes].concat() } else { bytes };
        sound(&rehearse([&bytes[..]]))?;
    }
}
