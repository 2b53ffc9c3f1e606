//! What RFC 9113 asks of a server at each frame and in each state of a stream, a row a rule. In the manner of h2spec.

use super::super::frame::{
    CONTINUATION, Code, DATA, FrameHead, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};
use super::super::rehearsal::rehearse;
use super::h2_cases::{frame, section};

/// What must come of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comes {
    /// The connection ends with this code.
    Goaway(Code),
    /// Stream 1 is reset with this code, and the connection goes on.
    Reset(Code),
    /// Stream 1 is answered, and the connection goes on.
    Answer,
    /// No frame but ours of the beginning and acknowledgements.
    Nothing,
}

use Code::{
    CompressionError, EnhanceYourCalm, FlowControlError, FrameSizeError, NoError, ProtocolError, StreamClosed,
};
use Comes::{Answer, Goaway, Nothing, Reset};

fn block(method: &[u8]) -> Vec<u8> {
    section(&[(b":method", method), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/")])
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, 5, stream, &block(b"GET"))
}

/// A request whose body is to come.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, 4, stream, &block(b"POST"))
}

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Padding, or priority, in front of a fragment.
fn fronted(front: &[u8], behind: &[u8]) -> Vec<u8> {
    [front, &block(b"GET"), behind].concat()
}

type Row = (&'static str, Vec<Vec<u8>>, Comes);

#[allow(clippy::too_many_lines)] // a table
fn frames() -> Vec<Row> {
    vec![
        ("4.1 unknown kinds are ignored", vec![frame(0x16, 0xff, 9, &[0; 40]), get(1)], Answer),
        ("4.1 undefined flags are ignored", vec![frame(PING, 0xfe, 0, &[0; 8]), get(1)], Answer),
        ("4.1 the reserved bit is ignored", vec![frame(PING, 0, 1 << 31, &[0; 8]), get(1)], Answer),
        (
            "4.2 a frame above the size",
            vec![post(1), frame(DATA, 0, 1, &[0; 16_385])],
            Goaway(FrameSizeError),
        ),
        ("4.2 a frame of the size", vec![post(1), frame(DATA, 1, 1, &[0; 16_384])], Answer),
        ("4.3 a broken block", vec![frame(HEADERS, 5, 1, &[0x80])], Goaway(CompressionError)),
        (
            "4.3 another frame in a block",
            vec![frame(HEADERS, 1, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])],
            Goaway(ProtocolError),
        ),
        (
            "4.3 an unknown frame in a block",
            vec![frame(HEADERS, 1, 1, &[0x82]), frame(0x16, 0, 0, &[])],
            Goaway(ProtocolError),
        ),
        (
            "4.3 DATA in a block",
            vec![frame(HEADERS, 1, 1, &[0x82]), frame(DATA, 0, 1, &[])],
            Goaway(ProtocolError),
        ),
        ("6.1 DATA on stream 0", vec![frame(DATA, 0, 0, b"x")], Goaway(ProtocolError)),
        ("6.1 padding as long as DATA", vec![post(1), frame(DATA, 9, 1, &[1])], Goaway(ProtocolError)),
        ("6.1 DATA that is all padding ends a body", vec![post(1), frame(DATA, 9, 1, &[1, 0])], Answer),
        ("6.1 padded DATA without its length", vec![post(1), frame(DATA, 9, 1, &[])], Goaway(FrameSizeError)),
        ("6.2 HEADERS on stream 0", vec![get(0)], Goaway(ProtocolError)),
        ("6.2 padded HEADERS", vec![frame(HEADERS, 13, 1, &fronted(&[2], &[0, 0]))], Answer),
        (
            "6.2 padding longer than HEADERS",
            vec![frame(HEADERS, 13, 1, &fronted(&[255], &[]))],
            Goaway(ProtocolError),
        ),
        ("6.2 HEADERS with priority", vec![frame(HEADERS, 0x25, 1, &fronted(&[0, 0, 0, 0, 9], &[]))], Answer),
        (
            "6.2 HEADERS too short for priority",
            vec![frame(HEADERS, 0x25, 1, &[0; 4])],
            Goaway(FrameSizeError),
        ),
        ("6.3 PRIORITY of an idle stream", vec![frame(PRIORITY, 0, 7, &[0; 5]), get(1)], Answer),
        ("6.3 PRIORITY on stream 0", vec![frame(PRIORITY, 0, 0, &[0; 5])], Goaway(ProtocolError)),
        ("6.3 PRIORITY of another length", vec![frame(PRIORITY, 0, 1, &[0; 4])], Goaway(FrameSizeError)),
        ("6.4 RST_STREAM on stream 0", vec![reset(0)], Goaway(ProtocolError)),
        ("6.4 RST_STREAM of an idle stream", vec![reset(1)], Goaway(ProtocolError)),
        (
            "6.4 RST_STREAM of another length",
            vec![post(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            Goaway(FrameSizeError),
        ),
        ("6.5 SETTINGS on a stream", vec![frame(SETTINGS, 0, 1, &[])], Goaway(ProtocolError)),
        ("6.5 SETTINGS of an odd length", vec![frame(SETTINGS, 0, 0, &[0; 5])], Goaway(FrameSizeError)),
        (
            "6.5 an acknowledgement with a payload",
            vec![frame(SETTINGS, 1, 0, &[0; 6])],
            Goaway(FrameSizeError),
        ),
        ("6.5 one acknowledgement", vec![frame(SETTINGS, 1, 0, &[]), get(1)], Answer),
        ("6.5 two acknowledgements", vec![frame(SETTINGS, 1, 0, &[]).repeat(2)], Goaway(ProtocolError)),
        ("6.5.2 ENABLE_PUSH of 2", vec![setting(2, 2)], Goaway(ProtocolError)),
        ("6.5.2 INITIAL_WINDOW_SIZE above the largest", vec![setting(4, 1 << 31)], Goaway(FlowControlError)),
        ("6.5.2 MAX_FRAME_SIZE below the smallest", vec![setting(5, 16_383)], Goaway(ProtocolError)),
        ("6.5.2 MAX_FRAME_SIZE above the largest", vec![setting(5, 1 << 24)], Goaway(ProtocolError)),
        ("6.5.2 a setting nobody knows", vec![setting(0xfff, 1), get(1)], Answer),
        ("6.6 PUSH_PROMISE", vec![post(1), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], Goaway(ProtocolError)),
        ("6.7 PING on a stream", vec![frame(PING, 0, 1, &[0; 8])], Goaway(ProtocolError)),
        ("6.7 PING of another length", vec![frame(PING, 0, 0, &[0; 7])], Goaway(FrameSizeError)),
        ("6.7 an unasked acknowledgement", vec![frame(PING, 1, 0, &[0; 8])], Nothing),
        ("6.8 GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], Goaway(ProtocolError)),
        ("6.8 GOAWAY that is too short", vec![frame(GOAWAY, 0, 0, &[0; 7])], Goaway(FrameSizeError)),
        ("6.9 an increment of 0", vec![update(0, 0)], Goaway(ProtocolError)),
        ("6.9 an increment of 0 on a stream", vec![post(1), update(1, 0)], Goaway(ProtocolError)),
        (
            "6.9 WINDOW_UPDATE of another length",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            Goaway(FrameSizeError),
        ),
        ("6.9.1 a window too large", vec![update(0, 0x7fff_ffff)], Goaway(FlowControlError)),
        ("6.9.1 a stream's window too large", vec![post(1), update(1, 0x7fff_ffff)], Reset(FlowControlError)),
        (
            "6.9.2 a window that SETTINGS make too large",
            vec![post(1), update(1, 0x7fff_0000), setting(4, 0x7fff_ffff)],
            Goaway(FlowControlError),
        ),
        ("6.10 CONTINUATION of nothing", vec![frame(CONTINUATION, 4, 1, &[])], Goaway(ProtocolError)),
        (
            "6.10 CONTINUATION on another stream",
            vec![frame(HEADERS, 1, 1, &[0x82]), frame(CONTINUATION, 4, 3, &[])],
            Goaway(ProtocolError),
        ),
        (
            "6.10 CONTINUATION behind the end",
            vec![get(1), frame(CONTINUATION, 4, 1, &[])],
            Goaway(ProtocolError),
        ),
        (
            "6.10 a block beyond the limit",
            vec![frame(HEADERS, 1, 1, &[0x82]), frame(CONTINUATION, 0, 1, &[0x82; 16_384]).repeat(4)],
            Goaway(EnhanceYourCalm),
        ),
    ]
}

fn streams() -> Vec<Row> {
    let whole = block(b"GET");
    let (head, tail) = whole.split_at(10);
    let trailers = |flags| frame(HEADERS, flags, 1, &section(&[(b"x", b"1")]));
    let three = [frame(HEADERS, 1, 1, head), frame(CONTINUATION, 0, 1, &[]), frame(CONTINUATION, 4, 1, tail)];
    vec![
        ("5.1 DATA on an idle stream", vec![frame(DATA, 0, 1, b"x")], Goaway(ProtocolError)),
        ("5.1 WINDOW_UPDATE of an idle stream", vec![update(1, 1)], Goaway(ProtocolError)),
        (
            "5.1 DATA behind the end of what was answered",
            vec![get(1), frame(DATA, 0, 1, b"x")],
            Goaway(StreamClosed),
        ),
        ("5.1 HEADERS behind the end of what was answered", vec![get(1), get(1)], Goaway(StreamClosed)),
        ("5.1 WINDOW_UPDATE behind the end", vec![get(1), update(1, 1)], Answer),
        ("5.1 PRIORITY behind the end", vec![get(1), frame(PRIORITY, 0, 1, &[0; 5])], Answer),
        (
            "5.1 DATA behind a reset of the client's",
            vec![post(1), reset(1), frame(DATA, 0, 1, b"x")],
            Goaway(StreamClosed),
        ),
        (
            "5.1 DATA behind a reset of ours",
            vec![post(1), update(1, 0x7fff_ffff), frame(DATA, 0, 1, b"x")],
            Reset(FlowControlError),
        ),
        (
            "5.1 trailers behind a reset of ours",
            vec![post(1), update(1, 0x7fff_ffff), trailers(5)],
            Reset(FlowControlError),
        ),
        ("5.1.1 an even stream", vec![get(2)], Goaway(ProtocolError)),
        ("5.1.1 a stream lower than one before", vec![get(5), get(3)], Goaway(ProtocolError)),
        (
            "6.9.1 a body as large as the window",
            vec![post(1), frame(DATA, 0, 1, &[0; 16_384]).repeat(4), frame(DATA, 1, 1, &[])],
            Answer,
        ),
        (
            "6.9.1 a body larger than the window",
            vec![post(1), frame(DATA, 0, 1, &[0; 16_384]).repeat(4), frame(DATA, 1, 1, b"x")],
            Reset(FlowControlError),
        ),
        ("6.10 a block in three frames", three.to_vec(), Answer),
        ("8.1 trailers end a body", vec![post(1), frame(DATA, 0, 1, b"x"), trailers(5)], Answer),
        ("8.1 a second block that is no end", vec![post(1), trailers(4)], Reset(ProtocolError)),
        ("8.1 a body in empty frames", vec![post(1), frame(DATA, 0, 1, &[]), frame(DATA, 1, 1, &[])], Answer),
        ("6.8 a client that leaves", vec![get(1), frame(GOAWAY, 0, 0, &[0; 8])], Goaway(NoError)),
    ]
}

/// What came, from the frames that we sent.
fn came(bytes: &[u8]) -> (Comes, bool) {
    let rehearsed = rehearse([bytes]);
    let mut comes = Nothing;
    let mut rest = &rehearsed.out[..];
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let head = FrameHead::parse(*head);
        let (payload, behind) = after.split_at(head.length as usize);
        rest = behind;
        let code = |at: usize| {
            let code = u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
            ALL.into_iter().find(|known| *known as u32 == code).expect("a code that we know")
        };
        match head.kind {
            GOAWAY => comes = Goaway(code(4)),
            RST_STREAM if head.stream == 1 => comes = Reset(code(0)),
            HEADERS | DATA if head.stream == 1 && head.ends_stream() => comes = Answer,
            _ => {}
        }
    }
    (comes, rehearsed.ended.is_some())
}

#[test]
fn every_row_comes_to_what_the_standard_says() {
    let mut wrong = Vec::new();
    for (claim, frames, wanted) in frames().into_iter().chain(streams()) {
        let bytes = [&PREFACE[..], &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat();
        let (comes, ended) = came(&bytes);
        let leaves = wanted == Goaway(NoError);
        let right = if leaves {
            comes == Answer && ended
        } else {
            comes == wanted && ended == matches!(wanted, Goaway(_))
        };
        if !right {
            wrong.push(format!("{claim}: {comes:?}, ended: {ended}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// RFC 9113 §3.4.
#[test]
fn what_is_no_preface_and_what_does_not_begin_with_settings_ends_the_connection() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        assert_eq!(came(bytes), (Goaway(ProtocolError), true));
    }
    for first in [get(1), frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 1, 0, &[])] {
        assert_eq!(came(&[&PREFACE[..], &first].concat()), (Goaway(ProtocolError), true));
    }
}

/// RFC 7541 §4.2: a client that allows us no table is told so in front of the first block, once.
#[test]
fn a_smaller_table_is_acknowledged_in_the_next_block() {
    let bytes = [&PREFACE[..], &setting(1, 0), &get(1), &get(3)].concat();
    let out = rehearse([&bytes[..]]).out;
    let (mut rest, mut begins) = (&out[..], Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let head = FrameHead::parse(*head);
        if head.kind == HEADERS {
            begins.push([after[0], after[1]]);
        }
        rest = &after[head.length as usize..];
    }
    assert_eq!(begins.len(), 2);
    assert_eq!(begins[0], [0x20, 0x88]);
    assert_eq!(begins[1][0], 0x88);
}

const ALL: [Code; 9] = [
    NoError,
    ProtocolError,
    Code::InternalError,
    FlowControlError,
    StreamClosed,
    FrameSizeError,
    Code::RefusedStream,
    CompressionError,
    EnhanceYourCalm,
];
