//! HTTP/2 that costs and brings nothing, as data: floods of frames and header bombs (FAULTS R2, R3; B15, B16).
//!
//! Sent to a whole node by `floods.rs` and `bomb.rs`, and at scale by `benches/peers`. Paths: `/hit` is answered and may be
//! stored, whatever begins with `/stall` is never answered.

use super::h2_cases::{frame, section};

/// A flood: how it begins and how its `n`th piece goes on.
pub struct Flood {
    /// What it is called.
    pub claim: &'static str,
    /// Behind the preface.
    pub begins: Vec<u8>,
    /// Some frames each.
    pub goes_on: fn(u32) -> Vec<u8>,
    /// So many.
    pub frames: u64,
    /// What the node says at the end.
    pub code: u32,
}

/// The kinds.
#[allow(clippy::too_many_lines)] // a table
pub fn floods() -> Vec<Flood> {
    let upload = || frame(HEADERS, END_HEADERS, 1, &section(&request(b"POST", b"/stall")));
    let waiting = || get(1, "/stall");
    let unfinished = || frame(HEADERS, END_STREAM, 1, &section(&request(b"GET", b"/stall")));
    vec![
        kind("PING", waiting(), 1, |_| frame(6, 0, 0, &[0; 8])),
        kind("PING acknowledged", waiting(), 1, |_| frame(6, 1, 0, &[0; 8])),
        kind("SETTINGS", waiting(), 1, |_| frame(4, 0, 0, &[])),
        kind("SETTINGS that move the windows", waiting(), 1, |n| {
            frame(4, 0, 0, &[0, 4, 0, 0, 0x80, n.to_be_bytes()[3]])
        }),
        malformed("SETTINGS acknowledged unasked", waiting(), 1, |_| frame(4, 1, 0, &[])),
        kind("PRIORITY", waiting(), 1, |_| frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        kind("PRIORITY of idle streams", waiting(), 1, |n| frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 1])),
        kind("WINDOW_UPDATE of the connection", waiting(), 1, |_| frame(8, 0, 0, &[0, 0, 0, 1])),
        kind("WINDOW_UPDATE of a stream", waiting(), 1, |_| frame(8, 0, 1, &[0, 0, 0, 1])),
        kind("unknown frames", waiting(), 1, |_| frame(0xfa, 0, 0, &[])),
        kind("long unknown frames", waiting(), 1, |_| frame(0xfa, 0, 1, &[0; 4096])),
        kind("PRIORITY_UPDATE", waiting(), 1, |_| frame(0x10, 0, 0, b"\0\0\0\x01u=1")),
        kind("GOAWAY", waiting(), 1, |_| frame(7, 0, 0, &[0; 8])),
        kind("empty DATA", upload(), 1, |_| frame(0, 0, 1, &[])),
        kind("DATA of padding only", upload(), 1, |_| frame(0, 8, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        kind("empty CONTINUATION", unfinished(), 1, |_| frame(9, 0, 1, &[])),
        kind("full CONTINUATION", unfinished(), 1, |_| frame(9, 0, 1, &section(&[(b"x", &[b'y'; 1000])]))),
        kind("rapid reset of what waits", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(3, 0, 2 * n - 1, &[0, 0, 0, 8])].concat()
        }),
        kind("rapid reset of hits", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/hit"), frame(3, 0, 2 * n - 1, &[0, 0, 0, 8])].concat()
        }),
        malformed("resets provoked by an increment of 0", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(8, 0, 2 * n - 1, &[0; 4])].concat()
        }),
        kind("resets provoked by a window too large", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(8, 0, 2 * n - 1, &[0x7f, 0xff, 0xff, 0xff])].concat()
        }),
        kind("resets provoked by DATA behind the end", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(0, 0, 2 * n - 1, b"x")].concat()
        }),
        kind("resets provoked by a stream that depends on itself", Vec::new(), 2, |n| {
            let stream = 2 * n - 1;
            [get(stream, "/stall"), frame(2, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat())].concat()
        }),
        kind("resets provoked by malformed requests", Vec::new(), 1, |n| {
            let mut fields = request(b"GET", b"/stall");
            fields.push((b"connection", b"close"));
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * n - 1, &section(&fields))
        }),
        kind("streams above the limit", Vec::new(), 1, |n| get(2 * n - 1, "/stall")),
        kind("streams above the limit that end in trailers", Vec::new(), 2, |n| {
            let fields = section(&request(b"POST", b"/stall"));
            let trailers = section(&[(b"x", b"y")]);
            [
                frame(HEADERS, END_HEADERS, 2 * n - 1, &fields),
                frame(HEADERS, END_STREAM | END_HEADERS, 2 * n - 1, &trailers),
            ]
            .concat()
        }),
        kind("resets of a stream that is over", get(1, "/hit"), 1, |_| frame(3, 0, 1, &[0, 0, 0, 8])),
    ]
}

const fn kind(claim: &'static str, begins: Vec<u8>, frames: u64, goes_on: fn(u32) -> Vec<u8>) -> Flood {
    Flood { claim, begins, goes_on, frames, code: ENHANCE_YOUR_CALM }
}

/// A kind that ends at its first frame already.
const fn malformed(claim: &'static str, begins: Vec<u8>, frames: u64, goes_on: fn(u32) -> Vec<u8>) -> Flood {
    Flood { claim, begins, goes_on, frames, code: PROTOCOL_ERROR }
}

/// HEADERS of a GET that ends its stream.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &section(&request(b"GET", path.as_bytes())))
}

/// The pseudo fields of a request to `a.example`.
pub fn request<'a>(method: &'a [u8], path: &'a [u8]) -> Vec<(&'a [u8], &'a [u8])> {
    vec![(b":method", method), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", path)]
}

/// The header block of stream `n` of a connection, for this target.
pub type Bomb = fn(n: usize, target: &str) -> Vec<u8>;

/// The kinds of bombs.
pub const BOMBS: [(&str, Bomb); 4] = [
    ("fields of one byte each", one_byte_fields),
    ("as many names as there are fields", many_names),
    ("crumbs of a cookie", crumbs),
    ("one long value, named again and again", long_value),
];

/// Every stream that a connection may have, each with a bomb; `number` tells connections apart.
pub fn bomb_frames(number: usize, bomb: Bomb) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..STREAMS {
        let target = format!("/stall/{number}/{n}");
        let stream = u32::try_from(2 * n + 1).expect("there are few");
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb(n, &target)));
    }
    bytes
}

/// Requests that weigh what any weighs.
pub fn no_fields(_: usize, target: &str) -> Vec<u8> {
    section(&request(b"GET", target.as_bytes()))
}

fn one_byte_fields(_: usize, target: &str) -> Vec<u8> {
    let mut block = section(&request(b"GET", target.as_bytes()));
    // `accept-encoding: gzip, deflate` of the static table.
    block.extend([0x90; FIELDS]);
    block
}

fn crumbs(n: usize, target: &str) -> Vec<u8> {
    remembered(n, target, "cookie", "a=b", FIELDS)
}

fn long_value(n: usize, target: &str) -> Vec<u8> {
    // Four of them are the most that fits into the list's 16 KiB.
    remembered(n, target, "x-long", &"y".repeat(3900), 4)
}

fn many_names(n: usize, target: &str) -> Vec<u8> {
    let mut block = section(&request(b"GET", target.as_bytes()));
    for name in 0..FIELDS {
        if n == 0 {
            let name = format!("x-{name}");
            let mut literal = section(&[(name.as_bytes(), b"y")]);
            literal[0] = 0x40;
            block.extend(literal);
        } else {
            // The last hundred entries of the dynamic table, from 62 on; beyond 126 in two bytes.
            let index = 62 + name;
            match u8::try_from(index) {
                Ok(small) if small < 127 => block.push(0x80 | small),
                _ => block.extend([0xff, u8::try_from(index - 127).expect("below 128")]),
            }
        }
    }
    block
}

/// A field that the first stream puts into the dynamic table, and all name by one byte.
fn remembered(n: usize, target: &str, name: &str, value: &str, times: usize) -> Vec<u8> {
    let mut block = section(&request(b"GET", target.as_bytes()));
    let mut times = times;
    if n == 0 {
        // As a literal it has the same form but for its first bits (RFC 7541 §6.2.1).
        let mut literal = section(&[(name.as_bytes(), value.as_bytes())]);
        literal[0] = 0x40;
        block.extend(literal);
        times -= 1;
    }
    block.extend(std::iter::repeat_n(0xbe, times));
    block
}

const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113 §7.
pub const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
/// By then a flood must have been closed. FAULTS B15.
pub const FRAMES_MAX: u64 = 10_000;
/// The same in bytes.
pub const BYTES_MAX: usize = 1_000_000;
/// What a connection may have open.
pub const STREAMS: usize = 100;
/// What a request may have, less the pseudo fields, which count among them nowhere.
const FIELDS: usize = 100;
