//! HTTP/1.1 messages read strictly: whatever a careful peer would refuse is an error here, with its reason.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Field lines in order, names in lower case.
pub(crate) type FieldLines = Vec<(String, Vec<u8>)>;

/// Start line and fields of a message, with the bytes they were read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: FieldLines,
    pub(crate) raw: Vec<u8>,
}

/// How a body's end is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    Close,
}

/// How a message, or the connection under it, ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Where its framing said.
    Clean,
    /// Before that; what was seen.
    Cut(String),
}

/// Bytes from a peer, read into messages.
#[derive(Debug)]
pub(crate) struct Wire<R> {
    pub(crate) stream: R,
    pub(crate) unread: Vec<u8>,
}

impl Head {
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut values = self.all(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let first = values.next()?;
        Some(values.fold(first, |all, more| format!("{all}, {more}")))
    }

    /// Reads a head; `Err` names the line that no careful peer accepts.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, String> {
        let text = raw.strip_suffix(b"\r\n\r\n").ok_or("the head does not end in an empty line")?;
        let mut lines = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..at]);
            rest = &rest[at + 2..];
        }
        lines.push(rest);
        if let Some(line) =
            lines.iter().find(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)))
        {
            return Err(format!("a line holds CR, LF or NUL: {}", line.escape_ascii()));
        }
        let start = String::from_utf8(lines[0].to_vec()).map_err(|_| "the start line is not text")?;
        let mut fields = FieldLines::new();
        for line in &lines[1..] {
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(format!("a field name that is no token: {}", name.escape_ascii()));
            }
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii().to_vec()));
        }
        Ok(Self { start, fields, raw: raw.to_vec() })
    }

    /// The framing its fields announce; `Err` if they are ambiguous.
    pub(crate) fn framing(&self) -> Result<Option<Framing>, String> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
            ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let length =
                    String::from_utf8_lossy(length).parse().map_err(|_| "a length that is no number")?;
                Ok(Some(Framing::Length(length)))
            }
            _ => Err(format!("ambiguous framing: {} lengths, {} codings", lengths.len(), codings.len())),
        }
    }
}

impl<R: AsyncRead + Unpin> Wire<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// More bytes; `Ok(false)` at the peer's end.
    pub(crate) async fn more(&mut self) -> io::Result<bool> {
        self.unread.reserve(16 * 1024);
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }

    /// A head, or `None` where the peer ended (or broke) the connection before its first byte.
    pub(crate) async fn head(&mut self) -> Result<Option<Head>, String> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let raw: Vec<u8> = self.unread.drain(..at + 4).collect();
                return Head::parse(&raw).map(Some);
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) | Err(_) if self.unread.is_empty() => return Ok(None),
                Ok(false) => return Err(format!("the end within a head: {}", self.unread.escape_ascii())),
                Err(error) => return Err(format!("{error} within a head: {}", self.unread.escape_ascii())),
            }
        }
    }

    /// A body, added to `body` as it comes. `Err`: bytes that are no body of this framing.
    pub(crate) async fn body(&mut self, framing: Framing, body: &mut Vec<u8>) -> Result<End, String> {
        match framing {
            Framing::None => Ok(End::Clean),
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| "a length beyond memory")?;
                self.exactly(length, body).await
            }
            Framing::Chunked => self.chunks(body).await,
            Framing::Close => loop {
                body.append(&mut self.unread);
                match self.more().await {
                    Ok(true) => {}
                    Ok(false) => return Ok(End::Clean),
                    Err(error) => return Ok(End::Cut(error.to_string())),
                }
            },
        }
    }

    /// Completes once the peer has ended the connection; what it still sent stays in `unread`.
    pub(crate) async fn ended(&mut self) -> End {
        loop {
            match self.more().await {
                Ok(true) => {}
                Ok(false) => return End::Clean,
                Err(error) => return End::Cut(error.to_string()),
            }
        }
    }

    async fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> Result<End, String> {
        let mut left = length;
        loop {
            let taken = left.min(self.unread.len());
            body.extend(self.unread.drain(..taken));
            left -= taken;
            if left == 0 {
                return Ok(End::Clean);
            }
            if let Some(end) = self.cut(&format!("{left} of {length} bytes short")).await {
                return Ok(end);
            }
        }
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> Result<End, String> {
        loop {
            let size = loop {
                if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                    let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                    break chunk_size(&line[..at])?;
                }
                if let Some(end) = self.cut("within a chunk's size").await {
                    return Ok(end);
                }
            };
            if size > 0
                && let cut @ End::Cut(_) = self.exactly(size, body).await?
            {
                return Ok(cut);
            }
            let mut end = Vec::new();
            if let cut @ End::Cut(_) = self.exactly(2, &mut end).await? {
                return Ok(cut);
            }
            if end != b"\r\n" {
                return Err(format!("behind a chunk stands {}", end.escape_ascii()));
            }
            if size == 0 {
                return Ok(End::Clean);
            }
        }
    }

    async fn cut(&mut self, what: &str) -> Option<End> {
        match self.more().await {
            Ok(true) => None,
            Ok(false) => Some(End::Cut(format!("closed, {what}"))),
            Err(error) => Some(End::Cut(format!("{error}, {what}"))),
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<usize, String> {
    if line.is_empty() || line.len() > 8 || !line.iter().all(u8::is_ascii_hexdigit) {
        return Err(format!("a chunk size that is none: {}", line.escape_ascii()));
    }
    usize::from_str_radix(&String::from_utf8_lossy(line), 16).map_err(|error| error.to_string())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
