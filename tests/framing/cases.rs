//! Raw bytes and what must become of them: the framing table.
//!
//! Each case is one request as a client would put it on the wire, or what an attacker would. The table knows nothing of
//! the server it is sent to, so it goes over memory, TCP and TLS alike. Statuses suppose the default limits.
//!
//! FAULTS S1, S2, S4 to S10, S12, R6; RFC 9112.

/// One case.
pub(crate) struct Case {
    /// What is claimed of it.
    pub(crate) name: String,
    /// What is sent.
    pub(crate) bytes: Vec<u8>,
    /// What must happen.
    pub(crate) expect: Expect,
}

/// What must happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expect {
    /// Answered with this status, and the connection closed; nothing behind it is parsed, nothing reaches an origin.
    Refuse(u16),
    /// Taken as exactly one request, and the connection stays in order.
    Accept,
    /// Taken as exactly one request, and the connection closed behind the answer.
    AcceptAndClose,
}

use Expect::{Accept, AcceptAndClose, Refuse};

/// The whole table.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    codings(&mut cases);
    lengths(&mut cases);
    length_and_coding(&mut cases);
    chunks(&mut cases);
    trailers(&mut cases);
    lines(&mut cases);
    request_lines(&mut cases);
    targets(&mut cases);
    hosts(&mut cases);
    expectations(&mut cases);
    connection_options(&mut cases);
    aliases(&mut cases);
    limits(&mut cases);
    ordinary(&mut cases);
    cases
}

fn add(cases: &mut Vec<Case>, name: impl Into<String>, bytes: impl AsRef<[u8]>, expect: Expect) {
    cases.push(Case { name: name.into(), bytes: bytes.as_ref().to_vec(), expect });
}

/// A POST with these lines and what follows the head.
fn post(lines: &[u8], rest: &[u8]) -> Vec<u8> {
    [b"POST /x HTTP/1.1\r\nHost: a.example\r\n".as_slice(), lines, b"\r\n", rest].concat()
}

/// A GET with these lines.
fn get(lines: &[u8]) -> Vec<u8> {
    [b"GET /x HTTP/1.1\r\nHost: a.example\r\n".as_slice(), lines, b"\r\n"].concat()
}

fn show(bytes: &[u8]) -> String {
    let short = bytes.get(..60).unwrap_or(bytes);
    format!("`{}`", short.escape_ascii())
}

#[allow(clippy::too_many_lines)] // a table
fn codings(cases: &mut Vec<Case>) {
    let values: &[(&[u8], u16)] = &[
        (b"identity", 501),
        (b"gzip", 501),
        (b"deflate", 501),
        (b"compress", 501),
        (b"br", 501),
        (b"x", 501),
        (b"xchunked", 501),
        (b"chunkedx", 501),
        (b"x-chunked", 501),
        (b"chunked-x", 501),
        (b"chunke", 501),
        (b"cow", 501),
        (b"gzip, deflate", 501),
        (b"identity, gzip", 501),
        (b"gzip, chunked", 400),
        (b"chunked, gzip", 400),
        (b"chunked, chunked", 400),
        (b"identity, chunked", 400),
        (b"chunked, identity", 400),
        (b"cow, chunked", 400),
        (b"", 400),
        (b",", 400),
        (b", chunked", 400),
        (b"chunked,", 400),
        (b" , chunked", 400),
        (b"chunked;", 400),
        (b"chunked;q=1", 400),
        (b"chunked; a=b", 400),
        (b"chunked a", 400),
        (b"a chunked", 400),
        (b"\"chunked\"", 400),
        (b"'chunked", 501),
        (b"'chunked'", 501),
        (b"\"chunked", 400),
        (b"(chunked)", 400),
        (b"chunked\"", 400),
        (b"\x0bchunked", 400),
        (b"chunked\x0b", 400),
        (b"\x0cchunked", 400),
        (b"chunked\x0c", 400),
        (b"\x00chunked", 400),
        (b"chunked\x00", 400),
        (b"chun\x00ked", 400),
        (b"\x85chunked", 400),
        (b"\xa0chunked", 400),
        (b"\xc2\xa0chunked", 400),
        (b"chunked\xc2\x85", 400),
        (b"\xe2\x80\xaechunked", 400),
        (b"\xef\xbb\xbfchunked", 400),
        (b"ch\xefunked", 400),
        (b"chunk\rer", 400),
        (b"\x7fchunked", 400),
        (b"chunked\x1f", 400),
        (b"chunked: x", 400),
        (b"chunked=1", 400),
        (b"{chunked}", 400),
        (b"chunked/1", 400),
        (b"%63hunked", 501),
    ];
    for (value, status) in values {
        let line = [b"Transfer-Encoding: ".as_slice(), value, b"\r\n"].concat();
        let name = format!("Transfer-Encoding {} is refused", show(value));
        add(cases, name, post(&line, b"0\r\n\r\n"), Refuse(*status));
    }
    let lines: &[(&[u8], u16)] = &[
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\ntransfer-encoding: CHUNKED\r\n", 400),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", 400),
        (b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding : chunked\r\n", 400),
        (b"Transfer-Encoding\t: chunked\r\n", 400),
        (b"Transfer-Encoding\x0b: chunked\r\n", 400),
        (b"Transfer-Encoding\x00: chunked\r\n", 400),
        (b" Transfer-Encoding: chunked\r\n", 400),
        (b"\tTransfer-Encoding: chunked\r\n", 400),
        (b"X: y\r\n Transfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding:\r\n chunked\r\n", 400),
        (b"Transfer-Encoding:\r\n\tchunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n , identity\r\n", 400),
        (b"Transfer-Encoding: chunked\n", 400),
        (b"X: y\nTransfer-Encoding: chunked\r\n", 400),
        (b"X: y\rTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding\r\n: chunked\r\n", 400),
        (b"Transfer-\r\nEncoding: chunked\r\n", 400),
        (b"Transfer\xadEncoding: chunked\r\n", 400),
        (b"\xffTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer Encoding: chunked\r\n", 400),
        (b"\"Transfer-Encoding\": chunked\r\n", 400),
        (b"(Transfer-Encoding): chunked\r\n", 400),
    ];
    for (lines, status) in lines {
        let name = format!("the lines {} are refused", show(lines));
        add(cases, name, post(lines, b"0\r\n\r\n"), Refuse(*status));
    }
    add(
        cases,
        "chunked in HTTP/1.0 is refused",
        "POST /x HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refuse(400),
    );
    for line in ["Transfer-Encoding: chunked", "transfer-encoding:chunked", "TRANSFER-ENCODING:\tChunked \t"]
    {
        let name = format!("`{line}` frames a body");
        add(cases, name, post(format!("{line}\r\n").as_bytes(), b"3\r\nabc\r\n0\r\n\r\n"), Accept);
    }
}

fn lengths(cases: &mut Vec<Case>) {
    let values: &[&[u8]] = &[
        b"+5",
        b"-5",
        b"-0",
        b"+0",
        b"0x5",
        b"0X5",
        b"5x",
        b"x5",
        b"5 5",
        b"5,5",
        b"5, 5",
        b"5,6",
        b"5;",
        b"5;q=1",
        b"005",
        b"05",
        b"00",
        b"000",
        b"00000000000000000000005",
        b"",
        b",",
        b",5",
        b"5,",
        b"5.0",
        b"5e0",
        b"5_0",
        b"0b101",
        b"0o5",
        b"'5'",
        b"\"5\"",
        b"(5)",
        b"five",
        b"\x0b5",
        b"5\x0b",
        b"\x005",
        b"5\x00",
        b"\xa05",
        b"\xc2\xa05",
        b"\xd9\xa5",
        b"\xef\xbc\x95",
        b"18446744073709551616",
        b"18446744073709551621",
        b"99999999999999999999999999",
        b"5\r6",
        b"NaN",
        b"1 0",
        b"5 0",
        b"5-",
        b"5%30",
        b"\x7f5",
    ];
    for value in values {
        let line = [b"Content-Length: ".as_slice(), value, b"\r\n"].concat();
        add(cases, format!("Content-Length {} is refused", show(value)), post(&line, b"hello"), Refuse(400));
    }
    let lines: &[&[u8]] = &[
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 6\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\ncontent-length: 5\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length:\r\n",
        b"Content-Length:\r\nContent-Length: 5\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length\t: 5\r\n",
        b" Content-Length: 5\r\n",
        b"X: y\r\n Content-Length: 5\r\n",
        b"Content-Length:\r\n 5\r\n",
        b"Content-Length: 5\r\n 0\r\n",
        b"Content-Length: 5\n",
        b"X: y\nContent-Length: 5\r\n",
        b"X: y\rContent-Length: 5\r\n",
        b"Content-Length 5\r\n",
        b"Content-Length=5\r\n",
        b"Content Length: 5\r\n",
        b"\x00Content-Length: 5\r\n",
    ];
    for lines in lines {
        add(cases, format!("the lines {} are refused", show(lines)), post(lines, b"hello"), Refuse(400));
    }
    add(cases, "Content-Length 0 is no body", post(b"Content-Length: 0\r\n", b""), Accept);
    add(cases, "Content-Length 5 frames five bytes", post(b"Content-Length: 5\r\n", b"hello"), Accept);
    add(cases, "Content-Length with tabs around frames", post(b"Content-Length:\t5\t\r\n", b"hello"), Accept);
    add(
        cases,
        "a body that looks like a request is a body",
        post(
            b"Content-Length: 38\r\n",
            b"GET /smuggled HTTP/1.1\r\nHost: a.b.cd\r\n\r\n".get(..38).unwrap_or_default(),
        ),
        Accept,
    );
    add(
        cases,
        "a GET may have a body",
        [get(b"Content-Length: 5\r\n").as_slice(), b"hello"].concat(),
        Accept,
    );
}

fn length_and_coding(cases: &mut Vec<Case>) {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "content-length: 5\r\ntransfer-encoding: CHUNKED\r\n",
        "TRANSFER-ENCODING:chunked\r\nCONTENT-LENGTH:5\r\n",
        "Content-Length:\t5\r\nTransfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 4\r\n",
        "Content-Length: 5\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let name = format!("length and coding together, {}, are refused", show(lines.as_bytes()));
        add(cases, name, post(lines.as_bytes(), b"0\r\n\r\n"), Refuse(400));
    }
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        let bytes = format!(
            "{method} /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        );
        add(cases, format!("length and coding in {method} are refused"), bytes, Refuse(400));
    }
    let lines = b"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n";
    add(cases, "a length with an unknown coding is refused", post(lines, b"hello"), Refuse(501));
}

fn chunks(cases: &mut Vec<Case>) {
    let bodies: &[&[u8]] = &[
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\t5\r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"5h\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5.\r\nhello\r\n0\r\n\r\n",
        b"5,\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhellospill\r\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\n\n",
        b"5\r\nhello\r\n0\r\r\n",
        b"5\r\nhello\r\n-0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"5; a\r\nhello\r\n0\r\n\r\n",
        b"5 ;a\r\nhello\r\n0\r\n\r\n",
        b"5;a =b\r\nhello\r\n0\r\n\r\n",
        b"5;a=\r\nhello\r\n0\r\n\r\n",
        b"5;=b\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;\n\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"b\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"b\nc\"\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"\\\r\n\"\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a b\r\nhello\r\n0\r\n\r\n",
        b"5;a;\r\nhello\r\n0\r\n\r\n",
        b"5\x00\r\nhello\r\n0\r\n\r\n",
        b"\x005\r\nhello\r\n0\r\n\r\n",
        b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"ffffffffffffffff0\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let name = format!("the chunks {} are refused", show(body));
        add(cases, name, post(b"Transfer-Encoding: chunked\r\n", body), Refuse(400));
    }
    for size in ["ffffffffffffffff", "fffffffffffffffe", "8000000000000000", "6400001"] {
        let name = format!("a chunk of {size} bytes is over the limit");
        let body = format!("{size}\r\nhello");
        add(cases, name, post(b"Transfer-Encoding: chunked\r\n", body.as_bytes()), Refuse(413));
    }
    for (name, len) in [("300 bytes", 300), ("64 KiB", 65536)] {
        let body = [b"5;a=".as_slice(), &vec![b'b'; len], b"\r\nhello\r\n0\r\n\r\n"].concat();
        let name = format!("an extension of {name} is refused");
        add(cases, name, post(b"Transfer-Encoding: chunked\r\n", &body), Refuse(400));
    }
    let bodies: &[&[u8]] = &[
        b"0\r\n\r\n",
        b"000\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"0000000000000005\r\nhello\r\n0\r\n\r\n",
        b"a\r\n0123456789\r\n0\r\n\r\n",
        b"A\r\n0123456789\r\n0\r\n\r\n",
        b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
        b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
        b"5;a\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;c=d\r\n\r\n",
        b"5;a=\"b c;\\\"d\"\r\nhello\r\n0\r\n\r\n",
        b"5;a;b;c\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let name = format!("the chunks {} are a body", show(body));
        add(cases, name, post(b"Transfer-Encoding: chunked\r\n", body), Accept);
    }
}

fn trailers(cases: &mut Vec<Case>) {
    let lines: &[&[u8]] = &[
        b"X: y\n",
        b"X\r\n",
        b": y\r\n",
        b"X : y\r\n",
        b" X: y\r\n",
        b"X: y\r\n z\r\n",
        b"X: \x00\r\n",
        b"X: a\rb\r\n",
        b"X Y: z\r\n",
        b"X\x00: z\r\n",
        b"GET / HTTP/1.1\r\n",
        b"X: y\n\r\n",
    ];
    for line in lines {
        let body = [b"0\r\n".as_slice(), line, b"\r\n"].concat();
        let name = format!("the trailer {} is refused", show(line));
        add(cases, name, post(b"Transfer-Encoding: chunked\r\n", &body), Refuse(400));
    }
    let long = [b"0\r\nX: ".as_slice(), &vec![b'y'; 16 * 1024], b"\r\n\r\n"].concat();
    add(cases, "trailers of 16 KiB are refused", post(b"Transfer-Encoding: chunked\r\n", &long), Refuse(400));
    let many = [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(3000), b"\r\n"].concat();
    add(cases, "3000 trailers are refused", post(b"Transfer-Encoding: chunked\r\n", &many), Refuse(400));
    for line in [
        "X: y\r\n",
        "X: y\r\nZ: \r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: b.example\r\n",
        "Authorization: Basic eDp5\r\n",
        "Cookie: a=b\r\n",
    ] {
        let name = format!("the trailer {} is dropped", show(line.as_bytes()));
        let body = format!("0\r\n{line}\r\n");
        add(cases, name, post(b"Transfer-Encoding: chunked\r\n", body.as_bytes()), Accept);
    }
}

fn lines(cases: &mut Vec<Case>) {
    let heads: &[(&str, &[u8])] = &[
        ("a request line that ends in LF", b"GET /x HTTP/1.1\nHost: a.example\r\n\r\n"),
        ("a head that ends in LF only", b"GET /x HTTP/1.1\nHost: a.example\n\n"),
        ("a Host line that ends in LF", b"GET /x HTTP/1.1\r\nHost: a.example\n\r\n"),
        ("an empty line of LF alone", b"GET /x HTTP/1.1\r\nHost: a.example\r\n\n"),
        ("a request line that ends in CR", b"GET /x HTTP/1.1\rHost: a.example\r\n\r\n"),
        ("a request line that ends in CR CR LF", b"GET /x HTTP/1.1\r\r\nHost: a.example\r\n\r\n"),
        ("a leading space", b" GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("a leading tab", b"\tGET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("a leading LF", b"\nGET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("a leading CR", b"\rGET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("a leading NUL", b"\x00GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("two leading empty lines", b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("a space before the first field", b"GET /x HTTP/1.1\r\n Host: a.example\r\n\r\n"),
        ("a tab before the first field", b"GET /x HTTP/1.1\r\n\tHost: a.example\r\n\r\n"),
        ("a line of one space before the fields", b"GET /x HTTP/1.1\r\n \r\nHost: a.example\r\n\r\n"),
    ];
    for (name, bytes) in heads {
        add(cases, format!("{name} is refused"), bytes, Refuse(400));
    }
    let lines: &[(&str, &[u8])] = &[
        ("a field line that ends in LF", b"X: y\n"),
        ("a field line that ends in CR", b"X: y\rZ: w\r\n"),
        ("a field line that ends in CR CR LF", b"X: y\r\r\n"),
        ("a folded line", b"X: y\r\n z\r\n"),
        ("a line folded with a tab", b"X: y\r\n\tz\r\n"),
        ("a folded empty line", b"X: y\r\n \r\n"),
        ("a space before the colon", b"X : y\r\n"),
        ("a tab before the colon", b"X\t: y\r\n"),
        ("a line without colon", b"X\r\n"),
        ("a line without colon but with a space", b"X y\r\n"),
        ("an empty name", b": y\r\n"),
        ("a name of one space", b" : y\r\n"),
        ("NUL in a name", b"X\x00Y: z\r\n"),
        ("NUL in a value", b"X: y\x00z\r\n"),
        ("BEL in a value", b"X: y\x07z\r\n"),
        ("ESC in a value", b"X: y\x1bz\r\n"),
        ("DEL in a value", b"X: y\x7fz\r\n"),
        ("CR in a value", b"X: y\rz\r\n"),
        ("VT in a value", b"X: y\x0bz\r\n"),
        ("a name above ASCII", b"X\xe9: y\r\n"),
        ("a name in parentheses", b"(X): y\r\n"),
        ("a name with a comma", b"X,Y: z\r\n"),
        ("a name with a slash", b"X/Y: z\r\n"),
        ("a name in quotes", b"\"X\": y\r\n"),
        ("a name with an at sign", b"X@Y: z\r\n"),
        ("a name with brackets", b"X[0]: z\r\n"),
        ("a request line among the fields", b"GET /y HTTP/1.1\r\n"),
    ];
    for (name, lines) in lines {
        add(cases, format!("{name} is refused"), get(lines), Refuse(400));
    }
}

fn request_lines(cases: &mut Vec<Case>) {
    let lines: &[(&[u8], u16)] = &[
        (b"GET  /x HTTP/1.1", 400),
        (b"GET /x  HTTP/1.1", 400),
        (b"GET\t/x HTTP/1.1", 400),
        (b"GET /x\tHTTP/1.1", 400),
        (b"GET /x HTTP/1.1 ", 400),
        (b"GET /x HTTP/1.1\t", 400),
        (b"GET /x HTTP/1.1 x", 400),
        (b"GET /x y HTTP/1.1", 400),
        (b"GET /x", 400),
        (b"GET", 400),
        (b"GET /x ", 400),
        (b"GET  HTTP/1.1", 400),
        (b"GET HTTP/1.1", 400),
        (b"/x HTTP/1.1", 400),
        (b"GET /x\x0bHTTP/1.1", 400),
        (b"GET\x00 /x HTTP/1.1", 400),
        (b"GET /x HTTP/1.2", 505),
        (b"GET /x HTTP/1.9", 505),
        (b"GET /x HTTP/2.0", 505),
        (b"GET /x HTTP/3.0", 505),
        (b"GET /x HTTP/0.9", 505),
        (b"GET /x HTTP/0.0", 505),
        (b"GET /x HTTP/9.9", 505),
        (b"GET /x HTTP/1", 400),
        (b"GET /x HTTP/1.", 400),
        (b"GET /x HTTP/.1", 400),
        (b"GET /x HTTP/1.10", 400),
        (b"GET /x HTTP/01.1", 400),
        (b"GET /x HTTP/1,1", 400),
        (b"GET /x HTTP /1.1", 400),
        (b"GET /x HTTP/ 1.1", 400),
        (b"GET /x http/1.1", 400),
        (b"GET /x Http/1.1", 400),
        (b"GET /x HTTPS/1.1", 400),
        (b"GET /x ICAP/1.0", 400),
        (b"GET /x HTTP/1.1\x00", 400),
        (b"get /x HTTP/1.1", 501),
        (b"Get /x HTTP/1.1", 501),
        (b"gET /x HTTP/1.1", 501),
        (b"GET1 /x HTTP/1.1", 501),
        (b"GET! /x HTTP/1.1", 501),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ /x HTTP/1.1", 501),
        (b"G(T /x HTTP/1.1", 400),
        (b"G\"T /x HTTP/1.1", 400),
        (b"G:T /x HTTP/1.1", 400),
        (b"G\xc9T /x HTTP/1.1", 400),
        (b"\"GET\" /x HTTP/1.1", 400),
        (b"CONNECT a.example:443 HTTP/1.1", 405),
        (b"CONNECT /x HTTP/1.1", 405),
        (b"TRACE /x HTTP/1.1", 405),
        (b"TRACE * HTTP/1.1", 405),
    ];
    for (line, status) in lines {
        let bytes = [*line, b"\r\nHost: a.example\r\n\r\n"].concat();
        add(cases, format!("the request line {} is refused", show(line)), bytes, Refuse(*status));
    }
    add(cases, "the HTTP/2 preface is refused", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refuse(505));
    add(cases, "a TLS hello is refused", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n", Refuse(400));
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "BAN", "M-SEARCH"] {
        let bytes = format!("{method} /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
        add(cases, format!("{method} is taken"), bytes, Accept);
    }
}

fn targets(cases: &mut Vec<Case>) {
    let refused: &[&[u8]] = &[
        b"*",
        b"x",
        b"x/y",
        b"?a=b",
        b"/x#y",
        b"/#",
        b"#",
        b"/x\\y",
        b"\\x",
        b"/x\"y",
        b"/x<y",
        b"/x>y",
        b"/x`y",
        b"/x\x7f",
        b"/x\x01",
        b"/x\x00",
        b"/x\xc3\xa9",
        b"/\xff",
        b"/x\ry",
        b"a.example",
        b"a.example:80",
        b"//a\\b",
        b"http:",
        b"http:/x",
        b"http://",
        b"http:///x",
        b"http://?x",
        b"http://:80/x",
        b"http://u@a.example/x",
        b"http://u:p@a.example/x",
        b"http://a.example:0/x",
        b"http://a.example:99999/x",
        b"http://a.example:/x",
        b"http://b.example/x",
        b"http://a.example.b.example/x",
        b"http://a.example:81/x",
        b"http://a,b/x",
        b"http://[::1/x",
        b"http://a%2eexample/x",
        b"https://a.example/x",
        b"https://a.example",
        b"ftp://a.example/x",
        b"ws://a.example/x",
        b"file:///x",
        b"javascript:x",
        b"http//a.example/x",
        b"http://a.example#x",
    ];
    for target in refused {
        let bytes = [b"GET ".as_slice(), target, b" HTTP/1.1\r\nHost: a.example\r\n\r\n"].concat();
        add(cases, format!("the target {} is refused", show(target)), bytes, Refuse(400));
    }
    for target in [
        "/",
        "/x",
        "//",
        "//x",
        "/x?y",
        "/?",
        "/x?y?z",
        "/x;y=z",
        "/%00",
        "/%2e%2e/",
        "/../",
        "/{x}|^",
        "/x?[y]={z}",
        "/x:y@z!$&'()*+,=~-._",
        "http://a.example/x",
        "http://A.EXAMPLE/x",
        "HTTP://a.example/x",
        "http://a.example:80/x",
        "http://a.example",
        "http://a.example?x",
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        add(cases, format!("the target `{target}` is taken"), bytes, Accept);
    }
    add(cases, "OPTIONS * is taken", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", Accept);
    add(
        cases,
        "OPTIONS of a host is taken",
        "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
        Accept,
    );
    add(cases, "POST * is refused", "POST * HTTP/1.1\r\nHost: a.example\r\n\r\n", Refuse(400));
    add(cases, "OPTIONS ** is refused", "OPTIONS ** HTTP/1.1\r\nHost: a.example\r\n\r\n", Refuse(400));
}

#[allow(clippy::too_many_lines)] // a table
fn hosts(cases: &mut Vec<Case>) {
    add(cases, "no Host is refused", "GET /x HTTP/1.1\r\n\r\n", Refuse(400));
    add(cases, "no Host in HTTP/1.0 is refused", "GET /x HTTP/1.0\r\n\r\n", Refuse(400));
    add(
        cases,
        "no Host beside an absolute target is refused",
        "GET http://a.example/ HTTP/1.1\r\n\r\n",
        Refuse(400),
    );
    for lines in [
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example\r\nHost: b.example\r\n",
        "Host: a.example\r\nhost: a.example\r\n",
        "Host: a.example\r\nHost:\r\n",
        "Host:\r\nHost: a.example\r\n",
        "Host : a.example\r\n",
        "Host:\r\n a.example\r\n",
        "Host: a.example\r\n b.example\r\n",
        " Host: a.example\r\n",
    ] {
        let name = format!("the lines {} are refused", show(lines.as_bytes()));
        add(cases, name, format!("GET /x HTTP/1.1\r\n{lines}\r\n"), Refuse(400));
    }
    let refused: &[&[u8]] = &[
        b"",
        b",",
        b"a,b",
        b"a, b",
        b"a b",
        b"a/path",
        b"a?x",
        b"a#x",
        b"u@a",
        b"u:p@a",
        b"@a",
        b"a@",
        b"http://a",
        b"//a",
        b"a:",
        b":80",
        b"a:0",
        b"a:65536",
        b"a:99999",
        b"a:-1",
        b"a:+80",
        b"a:8 0",
        b"a:http",
        b"a:80:80",
        b"a:0x50",
        b"a:00080",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[]",
        b"[g::1]",
        b"[::1%25lo]",
        b"[127.0.0.1]",
        b".",
        b"..",
        b".a",
        b"a..b",
        b"a%2eb",
        b"a%00",
        b"a;b",
        b"a'b",
        b"a\"b",
        b"a<b",
        b"a\\b",
        b"a\x00b",
        b"a\x0bb",
        b"\xe9.example",
        b"\xc3\xa9.example",
        b"*.example",
        b"{a}",
        b"a|b",
        b"a`b`",
        b"$(a)",
        b"a&b",
        b"a=b",
        b"a~b",
        b"a!",
    ];
    for host in refused {
        let bytes = [b"GET /x HTTP/1.1\r\nHost: ".as_slice(), host, b"\r\n\r\n"].concat();
        add(cases, format!("the Host {} is refused", show(host)), bytes, Refuse(400));
    }
    let long = format!("GET /x HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(254));
    add(cases, "a Host of 254 bytes is refused", long, Refuse(400));
    for host in [
        "a",
        "a.example",
        "A.Example",
        "a.example.",
        "a.example:80",
        "a:65535",
        "127.0.0.1",
        "[::1]",
        "[::1]:8080",
        "a_b",
        "xn--bcher-kva.example",
    ] {
        let bytes = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        add(cases, format!("the Host `{host}` is taken"), bytes, Accept);
    }
}

fn expectations(cases: &mut Vec<Case>) {
    for value in
        ["x", "y 100-continue", "100-continue, x", "100-continue;q=1", "100", "", "200-ok", "100-continued"]
    {
        let lines = format!("Expect: {value}\r\nContent-Length: 5\r\n");
        add(
            cases,
            format!("the expectation `{value}` is refused"),
            post(lines.as_bytes(), b"hello"),
            Refuse(417),
        );
    }
    let twice = b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    add(cases, "two expectations are refused", post(twice, b"hello"), Refuse(417));
    let folded = b"Expect:\r\n 100-continue\r\nContent-Length: 5\r\n";
    add(cases, "a folded expectation is refused", post(folded, b"hello"), Refuse(400));
    add(
        cases,
        "an unknown expectation on OPTIONS is refused",
        "OPTIONS * HTTP/1.1\r\nHost: a.example\r\nExpect: x\r\n\r\n",
        Refuse(417),
    );
    add(cases, "an expectation without a body is ignored", get(b"Expect: 100-continue\r\n"), Accept);
}

fn connection_options(cases: &mut Vec<Case>) {
    for name in [
        "Transfer-Encoding",
        "transfer-encoding",
        "Content-Length",
        "Host",
        "Cookie",
        "Authorization",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "Forwarded",
        "CDN-Loop",
        "Via",
        "Cache-Control",
        "Range",
        "If-None-Match",
        "Expect",
        "Accept-Encoding",
        "Content-Type",
        "X-Real-IP",
        "close, Host",
        "keep-alive,Transfer-Encoding",
        "x y",
        "(x)",
        "\"close\"",
        "Transfer_Encoding",
    ] {
        let line = format!("Connection: {name}\r\n");
        add(cases, format!("`Connection: {name}` is refused"), get(line.as_bytes()), Refuse(400));
    }
    for value in [
        "keep-alive",
        "Keep-Alive",
        "X-Own",
        "TE",
        "Upgrade",
        "keep-alive, X-Own",
        "",
        ",",
        "Upgrade, HTTP2-Settings",
    ] {
        let line = format!("Connection: {value}\r\n");
        add(cases, format!("`Connection: {value}` is taken"), get(line.as_bytes()), Accept);
    }
    for value in ["close", "Close", "keep-alive, close", "close, X-Own"] {
        let line = format!("Connection: {value}\r\n");
        add(
            cases,
            format!("`Connection: {value}` ends the connection"),
            get(line.as_bytes()),
            AcceptAndClose,
        );
    }
    let upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n";
    add(cases, "an upgrade is not made", get(upgrade), Accept);
    let h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    add(cases, "an upgrade to h2c is not made", get(h2c), Accept);
}

fn aliases(cases: &mut Vec<Case>) {
    for name in [
        "Transfer_Encoding",
        "transfer_encoding",
        "TRANSFER_ENCODING",
        "Content_Length",
        "content_length",
        "Transfer.Encoding",
        "Content~Length",
        "Transfer|Encoding",
    ] {
        let line = format!("{name}: 5\r\n");
        add(cases, format!("the name `{name}` is refused"), post(line.as_bytes(), b""), Refuse(400));
    }
    for name in ["X-Transfer-Encoding", "Content-Length-X", "TransferEncoding", "X_Own"] {
        let line = format!("{name}: 5\r\n");
        add(cases, format!("the name `{name}` is taken"), get(line.as_bytes()), Accept);
    }
}

fn limits(cases: &mut Vec<Case>) {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(len - 1));
    add(cases, "a target of 8192 bytes is taken", target(8192), Accept);
    add(cases, "a target of 8193 bytes is refused", target(8193), Refuse(414));
    add(cases, "a target of 64 KiB is refused", target(65536), Refuse(414));
    add(
        cases,
        "a request line without end is refused",
        "GET /".to_owned() + &"x".repeat(20_000),
        Refuse(414),
    );
    let fields = |count: usize| get(&b"X: y\r\n".repeat(count - 1));
    add(cases, "100 fields are taken", fields(100), Accept);
    add(cases, "101 fields are refused", fields(101), Refuse(431));
    add(cases, "5000 fields are refused", fields(5000), Refuse(431));
    let field = |len: usize| get(&[b"X: ".as_slice(), &vec![b'y'; len], b"\r\n"].concat());
    add(cases, "a field of 30 KiB is taken", field(30 * 1024), Accept);
    add(cases, "a field of 33 KiB is refused", field(33 * 1024), Refuse(431));
    add(cases, "a field of 64 KiB is refused", field(64 * 1024), Refuse(431));
    let cookies = get(&b"Cookie: a=b\r\n".repeat(200));
    add(cases, "200 cookies are refused", cookies, Refuse(431));
    add(
        cases,
        "a length over the limit is refused",
        post(b"Content-Length: 104857601\r\n", b""),
        Refuse(413),
    );
    add(
        cases,
        "the largest length is refused",
        post(b"Content-Length: 18446744073709551615\r\n", b""),
        Refuse(413),
    );
}

fn ordinary(cases: &mut Vec<Case>) {
    add(cases, "a browser's request is taken", get(b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nCookie: a=b; c=d\r\nCache-Control: max-age=0\r\n"), Accept);
    add(
        cases,
        "one empty line before a request is skipped",
        [b"\r\n".as_slice(), &get(b"")].concat(),
        Accept,
    );
    add(cases, "an empty value is taken", get(b"X:\r\nY: \r\n"), Accept);
    add(cases, "a value with tabs and bytes above ASCII is taken", get(b"X: a\tb \xe9\xff\r\n"), Accept);
    add(cases, "a name of all token bytes is taken", get(b"!#$%&'*+-.^_`|~0Az: y\r\n"), Accept);
    add(cases, "no space behind the colon is taken", get(b"X:y\r\n"), Accept);
    add(cases, "HTTP/1.0 with Host is taken", "GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n", AcceptAndClose);
    add(
        cases,
        "HTTP/1.0 with an absolute target is taken",
        "GET http://a.example/x HTTP/1.0\r\n\r\n",
        AcceptAndClose,
    );
    add(
        cases,
        "HTTP/1.0 is kept where it asks",
        "GET /x HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n",
        Accept,
    );
    add(
        cases,
        "HTTP/1.0 with a body is taken",
        "POST /x HTTP/1.0\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
        AcceptAndClose,
    );
}
