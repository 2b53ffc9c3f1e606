//! Reading the answers of a server under test: where the head ends, how long the body is, when it is over.
//!
//! Invariant: an answer that is not a 200 of known or chunked length is an error, never a fast success.
//! Deliberately narrow: bodies come from our own origin and hold no line breaks, so the last chunk is found
//! by its bytes; 1xx and trailers do not occur.

/// How far one answer has come.
#[derive(Default)]
pub(crate) struct Reply {
    head: Vec<u8>,
    body: Option<BodyLeft>,
}

enum BodyLeft {
    Known(usize),
    Chunked { tail: [u8; 5] },
}

/// What the bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
    Broken,
}

impl Reply {
    /// Takes the next bytes of the connection. One answer at a time: nothing may follow it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Progress {
        if self.body.is_none() {
            return self.take_head(bytes);
        }
        self.take_body(bytes)
    }

    fn take_head(&mut self, bytes: &[u8]) -> Progress {
        self.head.extend_from_slice(bytes);
        let Some(end) = find(&self.head, b"\r\n\r\n") else { return Progress::More };
        let rest = self.head.split_off(end + 4);
        let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Progress::Broken;
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        self.body = match (field("content-length:").map(str::parse), field("transfer-encoding:")) {
            (Some(Ok(length)), None) => Some(BodyLeft::Known(length)),
            (None, Some("chunked")) => Some(BodyLeft::Chunked { tail: *b"     " }),
            _ => return Progress::Broken,
        };
        self.take_body(&rest)
    }

    fn take_body(&mut self, bytes: &[u8]) -> Progress {
        let done = match &mut self.body {
            Some(BodyLeft::Known(left)) if bytes.len() > *left => return Progress::Broken,
            Some(BodyLeft::Known(left)) => {
                *left -= bytes.len();
                *left == 0
            }
            Some(BodyLeft::Chunked { tail }) => {
                for byte in &bytes[bytes.len().saturating_sub(5)..] {
                    tail.rotate_left(1);
                    tail[4] = *byte;
                }
                tail == b"0\r\n\r\n"
            }
            None => false,
        };
        if !done {
            return Progress::More;
        }
        self.head.clear();
        self.body = None;
        Progress::Done
    }
}

/// Where `needle` first stands in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_they_say() {
        use Progress::{Broken, Done, More};
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (claim, pieces, wanted) in [
            ("a whole answer", vec![format!("{head}abc")], Done),
            ("a body in pieces", vec![head.into(), "a".into(), "bc".into()], Done),
            (
                "a head in pieces",
                vec!["HTTP/1.1 2".into(), "00 OK\r\nContent-Length: 0\r\n\r\n".into()],
                Done,
            ),
            ("a short body", vec![format!("{head}ab")], More),
            ("too much body", vec![format!("{head}abcd")], Broken),
            ("an error status", vec!["HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into()], Broken),
            ("a body of no stated length", vec!["HTTP/1.1 200 OK\r\n\r\n".into()], Broken),
            ("chunks", vec![format!("{chunked}1\r\na\r\n"), "0\r\n".into(), "\r\n".into()], Done),
            ("chunks without the last", vec![format!("{chunked}1\r\na\r\n")], More),
        ] {
            let mut reply = Reply::default();
            let got = pieces.iter().map(|piece| reply.take(piece.as_bytes())).last();
            assert_eq!(got, Some(wanted), "{claim}");
        }
    }
}
