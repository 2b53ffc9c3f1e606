//! Requests that an HTTP/2 client may try to smuggle, split or confuse with, as data (FAULTS S13, B2).
//!
//! Each case is one stream: a field section sent as it stands (no check, no normalising; every field as a literal
//! without indexing), then pieces of a body. What must come of it is [`Expect`]. Used by the listener's own tests over
//! memory, and sendable with [`Case::frames`] to a whole node.

/// One stream and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What the row claims.
    pub claim: &'static str,
    /// The field section, pseudo fields included, in order.
    pub fields: &'static [(&'static [u8], &'static [u8])],
    /// What follows it; nothing: the field section ends the stream.
    pub body: &'static [Piece],
    /// What must happen.
    pub expect: Expect,
}

/// A frame behind the field section.
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    /// DATA.
    Data(&'static [u8]),
    /// DATA that ends the stream.
    Last(&'static [u8]),
    /// A trailer section, which ends the stream.
    Trailers(&'static [(&'static [u8], &'static [u8])]),
}

/// What must come of a case. In all but [`Expect::Closed`] the connection lives on and the next request on it is
/// answered right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The connection is closed with a GOAWAY and nothing reaches an origin.
    Closed,
    /// The stream is reset and nothing reaches an origin.
    Reset,
    /// Answered with this status and nothing reaches an origin.
    Refused(u16),
    /// Reaches the service with this authority and target, and is answered.
    Passed(&'static str, &'static str),
    /// Reaches the service, but its body ends in an error there.
    BodyBroken,
}

impl Case {
    /// The frames of the case on `stream`.
    pub fn frames(&self, stream: u32) -> Vec<u8> {
        let alone = self.body.is_empty();
        let mut bytes = frame(HEADERS, END_HEADERS | u8::from(alone), stream, &section(self.fields));
        for piece in self.body {
            bytes.extend(match piece {
                Piece::Data(data) => frame(DATA, 0, stream, data),
                Piece::Last(data) => frame(DATA, END_STREAM, stream, data),
                Piece::Trailers(fields) => frame(HEADERS, END_HEADERS | END_STREAM, stream, &section(fields)),
            });
        }
        bytes
    }
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("payloads of tests are short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field section of literals without indexing and without Huffman coding. RFC 7541 §6.2.2.
pub fn section(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(text.len(), &mut bytes);
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// RFC 7541 §5.1 with a prefix of seven bits.
fn integer(mut value: usize, bytes: &mut Vec<u8>) {
    if value < 127 {
        bytes.push(u8::try_from(value).expect("below 127"));
        return;
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).expect("below 128") | 0x80);
        value /= 128;
    }
    bytes.push(u8::try_from(value).expect("below 128"));
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client sends first: preface and empty settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The fields of a plain GET for `/x`, and more.
macro_rules! get {
    ($($name:literal = $value:literal),* $(,)?) => {
        &[
            (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x"),
            $(($name, $value)),*
        ]
    };
}

/// The fields of a POST to `/x`, and more.
macro_rules! post {
    ($($name:literal = $value:literal),* $(,)?) => {
        &[
            (b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x"),
            $(($name, $value)),*
        ]
    };
}

/// A request line in pseudo fields.
macro_rules! line {
    ($method:literal, $scheme:literal, $authority:literal, $path:literal) => {
        &[(b":method", $method), (b":scheme", $scheme), (b":authority", $authority), (b":path", $path)]
    };
}

const fn case(
    claim: &'static str,
    fields: &'static [(&'static [u8], &'static [u8])],
    body: &'static [Piece],
    expect: Expect,
) -> Case {
    Case { claim, fields, body, expect }
}

use Expect::{BodyBroken, Closed, Passed, Refused, Reset};
use Piece::{Data, Last, Trailers};

const X: Expect = Passed("a.example", "/x");

/// The table.
pub const CASES: &[Case] = &[
    // What must pass, so that refusing everything does not.
    case("a plain GET passes", get!(), &[], X),
    case("te: trailers passes", get!(b"te" = b"trailers"), &[], X),
    case("a tab within a value passes", get!(b"x" = b"a\tb"), &[], X),
    case("bytes above ASCII in a value pass", get!(b"x" = b"caf\xc3\xa9"), &[], X),
    case("an empty value passes", get!(b"x" = b""), &[], X),
    case("host that agrees with :authority passes", get!(b"host" = b"A.example:443"), &[], X),
    case("a body of the length announced passes", post!(b"content-length" = b"3"), &[Last(b"abc")], X),
    case("a body in two frames passes", post!(b"content-length" = b"3"), &[Data(b"a"), Last(b"bc")], X),
    case(
        "a body whose end comes in an empty frame passes",
        post!(b"content-length" = b"3"),
        &[Data(b"abc"), Last(b"")],
        X,
    ),
    case("a body without a length passes", post!(), &[Data(b"a"), Last(b"bc")], X),
    case("content-length: 0 on a GET passes", get!(b"content-length" = b"0"), &[], X),
    case("trailers are taken and dropped", post!(), &[Data(b"a"), Trailers(&[(b"x-checksum", b"1")])], X),
    case("cookie crumbs pass", get!(b"cookie" = b"a=1", b"cookie" = b"b=2"), &[], X),
    case("OPTIONS * passes", line!(b"OPTIONS", b"https", b"a.example", b"*"), &[], Passed("a.example", "*")),
    case(
        "a query passes as it stands",
        line!(b"GET", b"https", b"a.example", b"/x?a=%0d%0a&b[]={}|"),
        &[],
        Passed("a.example", "/x?a=%0d%0a&b[]={}|"),
    ),
    case(
        "an authority with a port passes",
        line!(b"GET", b"https", b"a.example:8443", b"/x"),
        &[],
        Passed("a.example:8443", "/x"),
    ),
    case(
        "an IPv6 authority passes",
        line!(b"GET", b"https", b"[::1]:8443", b"/x"),
        &[],
        Passed("[::1]:8443", "/x"),
    ),
    case(
        "host alone is the authority",
        &[(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/x"), (b"host", b"b.example")],
        &[],
        Passed("b.example", "/x"),
    ),
    case("a fragment is cut off before it is routed", line!(b"GET", b"https", b"a.example", b"/x#y"), &[], X),
    // Names and values that would become other lines in HTTP/1.
    case("CR LF in a value", get!(b"x" = b"a\r\nhost: evil"), &[], Closed),
    case("LF in a value", get!(b"x" = b"a\ntransfer-encoding: chunked"), &[], Closed),
    case("CR in a value", get!(b"x" = b"a\rb"), &[], Closed),
    case("NUL in a value", get!(b"x" = b"a\0b"), &[], Closed),
    case("DEL in a value", get!(b"x" = b"a\x7fb"), &[], Closed),
    case("white space before a value", get!(b"x" = b" a"), &[], Refused(400)),
    case("white space behind a value", get!(b"x" = b"a "), &[], Refused(400)),
    case("a tab before a value", get!(b"x" = b"\ta"), &[], Refused(400)),
    case("CR LF in a name", get!(b"x\r\nhost: evil" = b"a"), &[], Closed),
    case("LF in a name", get!(b"x\ny" = b"a"), &[], Closed),
    case("NUL in a name", get!(b"x\0y" = b"a"), &[], Closed),
    case("a colon in a name", get!(b"x: y" = b"a"), &[], Closed),
    case("a colon at the end of a name", get!(b"transfer-encoding:" = b"chunked"), &[], Closed),
    case("a space in a name", get!(b"x y" = b"a"), &[], Closed),
    case("a space at the end of a name", get!(b"transfer-encoding " = b"chunked"), &[], Closed),
    case("an empty name", get!(b"" = b"a"), &[], Closed),
    case("a name above ASCII", get!(b"x\xff" = b"a"), &[], Closed),
    case("an upper-case name", get!(b"X-Upper" = b"a"), &[], Closed),
    case("an upper-case Content-Length", post!(b"Content-Length" = b"3"), &[Last(b"abc")], Closed),
    // Fields of one connection.
    case("transfer-encoding", post!(b"transfer-encoding" = b"chunked"), &[Last(b"0\r\n\r\n")], Reset),
    case("transfer-encoding on a GET", get!(b"transfer-encoding" = b"identity"), &[], Reset),
    case("connection", get!(b"connection" = b"close"), &[], Reset),
    case("connection that names a field", get!(b"connection" = b"transfer-encoding"), &[], Reset),
    case("upgrade", get!(b"upgrade" = b"h2c"), &[], Reset),
    case("keep-alive", get!(b"keep-alive" = b"timeout=5"), &[], Reset),
    case("proxy-connection", get!(b"proxy-connection" = b"keep-alive"), &[], Reset),
    case("te: gzip", get!(b"te" = b"gzip"), &[], Reset),
    case("te: trailers, gzip", get!(b"te" = b"trailers, gzip"), &[], Reset),
    case(
        "a name like transfer-encoding",
        post!(b"transfer_encoding" = b"chunked"),
        &[Last(b"")],
        Refused(400),
    ),
    case("a name like content-length", post!(b"content_length" = b"3"), &[Last(b"")], Refused(400)),
    // Lengths.
    case("a body shorter than announced", post!(b"content-length" = b"5"), &[Last(b"abc")], BodyBroken),
    case(
        "a body shorter than announced whose end comes in an empty frame",
        post!(b"content-length" = b"5"),
        &[Data(b"abc"), Last(b"")],
        BodyBroken,
    ),
    case(
        "a body shorter than announced that ends in trailers",
        post!(b"content-length" = b"5"),
        &[Data(b"abc"), Trailers(&[(b"x", b"1")])],
        BodyBroken,
    ),
    case("a body longer than announced", post!(b"content-length" = b"2"), &[Last(b"abc")], BodyBroken),
    case("a body where none was announced", post!(b"content-length" = b"0"), &[Last(b"abc")], BodyBroken),
    case(
        "a length announced and the stream ended with the fields",
        post!(b"content-length" = b"3"),
        &[],
        Reset,
    ),
    case("a length on a GET without a body", get!(b"content-length" = b"3"), &[], Reset),
    case(
        "two different lengths",
        post!(b"content-length" = b"3", b"content-length" = b"4"),
        &[Last(b"abc")],
        Reset,
    ),
    case(
        "two equal lengths",
        post!(b"content-length" = b"3", b"content-length" = b"3"),
        &[Last(b"abc")],
        Refused(400),
    ),
    case("a list of lengths", post!(b"content-length" = b"3, 3"), &[Last(b"abc")], Reset),
    case("a signed length", post!(b"content-length" = b"+3"), &[Last(b"abc")], Reset),
    case("a negative length", post!(b"content-length" = b"-0"), &[Last(b"")], Reset),
    case("a hexadecimal length", post!(b"content-length" = b"0x3"), &[Last(b"abc")], Reset),
    case("a length with a leading zero", post!(b"content-length" = b"03"), &[Last(b"abc")], Refused(400)),
    case(
        "a length beyond 64 bits",
        post!(b"content-length" = b"18446744073709551616"),
        &[Last(b"abc")],
        Reset,
    ),
    case("an empty length", post!(b"content-length" = b""), &[Last(b"")], Refused(400)),
    case("a length above the limit", post!(b"content-length" = b"9999999999"), &[Data(b"abc")], Refused(413)),
    // Pseudo fields.
    case(
        "two :path",
        &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
            (b":path", b"/y"),
        ],
        &[],
        Reset,
    ),
    case(
        "two :authority",
        &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":authority", b"b.example"),
            (b":path", b"/x"),
        ],
        &[],
        Reset,
    ),
    case(
        "two :method",
        &[
            (b":method", b"GET"),
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
        ],
        &[],
        Reset,
    ),
    case("a pseudo field behind a field", get!(b"x" = b"1", b":path" = b"/y"), &[], Reset),
    case(
        "an unknown pseudo field",
        &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
            (b":evil", b"1"),
        ],
        &[],
        Closed,
    ),
    case(
        ":status in a request",
        &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
            (b":status", b"200"),
        ],
        &[],
        Reset,
    ),
    case(
        "no :method",
        &[(b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x")],
        &[],
        Reset,
    ),
    case("no :scheme", &[(b":method", b"GET"), (b":authority", b"a.example"), (b":path", b"/x")], &[], Reset),
    case(
        "no :path",
        &[(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example")],
        &[],
        Reset,
    ),
    case("an empty :path", line!(b"GET", b"https", b"a.example", b""), &[], Reset),
    case(
        "neither :authority nor host",
        &[(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/x")],
        &[],
        Refused(400),
    ),
    case("a space in :path", line!(b"GET", b"https", b"a.example", b"/x HTTP/1.1"), &[], Reset),
    case("CR LF in :path", line!(b"GET", b"https", b"a.example", b"/x\r\nhost: evil"), &[], Reset),
    case("a tab in :path", line!(b"GET", b"https", b"a.example", b"/x\ty"), &[], Reset),
    case("NUL in :path", line!(b"GET", b"https", b"a.example", b"/x\0"), &[], Reset),
    case(
        "bytes above ASCII in :path",
        line!(b"GET", b"https", b"a.example", b"/\xc3\xa9"),
        &[],
        Refused(400),
    ),
    case("a backslash in :path", line!(b"GET", b"https", b"a.example", b"/x\\y"), &[], Refused(400)),
    case("a quote in :path", line!(b"GET", b"https", b"a.example", b"/x\"y"), &[], Refused(400)),
    case(":path without a slash", line!(b"GET", b"https", b"a.example", b"x"), &[], Reset),
    case("an absolute :path", line!(b"GET", b"https", b"a.example", b"https://b.example/"), &[], Reset),
    case("* with GET", line!(b"GET", b"https", b"a.example", b"*"), &[], Refused(400)),
    case("a space in :method", line!(b"GET /y HTTP/1.1", b"https", b"a.example", b"/x"), &[], Closed),
    case("CR LF in :method", line!(b"GET\r\n", b"https", b"a.example", b"/x"), &[], Closed),
    case("an empty :method", line!(b"", b"https", b"a.example", b"/x"), &[], Closed),
    case("a lower-case method", line!(b"get", b"https", b"a.example", b"/x"), &[], Refused(501)),
    case("TRACE", line!(b"TRACE", b"https", b"a.example", b"/x"), &[], Refused(405)),
    case("CONNECT with a path", line!(b"CONNECT", b"https", b"a.example", b"/x"), &[], Reset),
    case("CONNECT", &[(b":method", b"CONNECT"), (b":authority", b"a.example:443")], &[], Refused(405)),
    case(
        "extended CONNECT before our settings are acknowledged",
        &[
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
        ],
        &[],
        Reset,
    ),
    case(
        "a scheme that is not the connection's",
        line!(b"GET", b"http", b"a.example", b"/x"),
        &[],
        Refused(400),
    ),
    case("a scheme with a path in it", line!(b"GET", b"https://evil/y?", b"a.example", b"/x"), &[], Reset),
    case("a scheme of another world", line!(b"GET", b"file", b"a.example", b"/x"), &[], Refused(400)),
    // Authorities.
    case("host and :authority that differ", get!(b"host" = b"b.example"), &[], Refused(400)),
    case("host and :authority with different ports", get!(b"host" = b"a.example:80"), &[], Refused(400)),
    case("two hosts", get!(b"host" = b"a.example", b"host" = b"a.example"), &[], Refused(400)),
    case("an empty host", get!(b"host" = b""), &[], Refused(400)),
    case("userinfo in :authority", line!(b"GET", b"https", b"u@a.example", b"/x"), &[], Refused(400)),
    case("a path in :authority", line!(b"GET", b"https", b"a.example/y", b"/x"), &[], Reset),
    case("a list in :authority", line!(b"GET", b"https", b"a.example,b.example", b"/x"), &[], Refused(400)),
    case("a space in :authority", line!(b"GET", b"https", b"a.example b", b"/x"), &[], Reset),
    case("CR LF in :authority", line!(b"GET", b"https", b"a.example\r\nx: y", b"/x"), &[], Reset),
    case("port 0", line!(b"GET", b"https", b"a.example:0", b"/x"), &[], Refused(400)),
    case("a port beyond 65535", line!(b"GET", b"https", b"a.example:99999", b"/x"), &[], Refused(400)),
    case("percent-encoding in :authority", line!(b"GET", b"https", b"a%2eexample", b"/x"), &[], Reset),
    // The rest.
    case("an unknown expectation", post!(b"expect" = b"200-ok"), &[Last(b"abc")], Refused(417)),
    case(
        "two expectations",
        post!(b"expect" = b"100-continue", b"expect" = b"100-continue"),
        &[Last(b"abc")],
        Refused(417),
    ),
    case(
        "a pseudo field in trailers is dropped with them",
        post!(),
        &[Data(b"a"), Trailers(&[(b":path", b"/y")])],
        X,
    ),
    case(
        "transfer-encoding in trailers",
        post!(),
        &[Data(b"a"), Trailers(&[(b"transfer-encoding", b"chunked")])],
        BodyBroken,
    ),
];
