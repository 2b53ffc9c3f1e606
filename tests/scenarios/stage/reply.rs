//! What an origin answers, byte by byte, and the ways in which it may misbehave.

use cache_store::timestamp::Timestamp;

use super::gate::Gate;
use super::origin::Seen;

/// One scripted answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    framing: Frame,
    date: bool,
    before: Vec<Step>,
    head_gates: Vec<Gate>,
    pauses: Vec<(usize, Gate)>,
    trouble: Option<Trouble>,
    confirms: bool,
    ranged: bool,
}

/// How the origin frames a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, in chunks of at most so many bytes.
    Chunks(usize),
    /// The end of the connection.
    Close,
}

/// Ways to misbehave, by name.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Takes the request and says nothing.
    Stalls,
    /// Sends so many bytes of its body, framing included, and then nothing more.
    StallsAt(usize),
    /// Ends the connection within the head, after so many of its bytes.
    TruncatesHead(usize),
    /// Ends the connection within the body, after so many of its bytes, framing included.
    Truncates(usize),
    /// Resets the connection there.
    ResetsAt(usize),
    /// Resets the connection instead of answering.
    Resets,
    /// Closes the connection instead of answering.
    Closes,
    /// Announces a length that is wrong by so much, and closes.
    LiesAboutLength(i64),
    /// Sends this behind a whole answer, on a connection it keeps.
    ExtraBytes(&'static [u8]),
    /// Sends this instead of an answer, and closes.
    Garbage(&'static [u8]),
}

/// What an origin does next on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Gate),
    /// Says nothing until the peer goes.
    Stall,
    Close,
    Reset,
}

/// An answer with this status, an empty body and a `Date`.
pub(crate) fn reply(status: u16) -> Reply {
    Reply {
        status,
        fields: Vec::new(),
        body: Vec::new(),
        framing: Frame::Length,
        date: true,
        before: Vec::new(),
        head_gates: Vec::new(),
        pauses: Vec::new(),
        trouble: None,
        confirms: false,
        ranged: false,
    }
}

impl Reply {
    pub(crate) fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn cache_control(self, value: &str) -> Self {
        self.field("cache-control", value)
    }

    pub(crate) fn etag(self, value: &str) -> Self {
        self.field("etag", value)
    }

    pub(crate) fn vary(self, value: &str) -> Self {
        self.field("vary", value)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn framed(mut self, framing: Frame) -> Self {
        self.framing = framing;
        self
    }

    /// Leaves `Date` out.
    pub(crate) fn dateless(mut self) -> Self {
        self.date = false;
        self
    }

    /// Sends these bytes before the head: interim responses.
    pub(crate) fn before(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.before.push(Step::Send(bytes.into()));
        self
    }

    /// The head is held back until the gate opens.
    pub(crate) fn head_after(mut self, gate: &Gate) -> Self {
        self.head_gates.push(gate.clone());
        self
    }

    /// The body from byte `at` on is held back until the gate opens; the order of calls is the order of bytes.
    pub(crate) fn pause(mut self, at: usize, gate: &Gate) -> Self {
        self.pauses.push((at, gate.clone()));
        self
    }

    pub(crate) fn but(mut self, trouble: Trouble) -> Self {
        self.trouble = Some(trouble);
        self
    }

    /// Answers 304 to a request whose conditions name this answer's `ETag` or `Last-Modified`.
    pub(crate) fn confirms(mut self) -> Self {
        self.confirms = true;
        self
    }

    /// Answers 206 or 416 to a request for one range.
    pub(crate) fn ranged(mut self) -> Self {
        self.ranged = true;
        self
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// This answer as `request` gets it: 304 or 206 where it is one for such requests.
    fn for_request(mut self, request: &Seen) -> Self {
        if self.confirms && self.is_confirmed_by(request) {
            self.status = 304;
            self.body.clear();
            return self;
        }
        if self.ranged
            && self.status == 200
            && let Some(range) = request.head.field("range")
            && request.head.field("if-range").is_none_or(|tag| self.value("etag") == Some(&tag))
        {
            self.cut_to(&range);
        }
        self
    }

    fn is_confirmed_by(&self, request: &Seen) -> bool {
        if let Some(tags) = request.head.field("if-none-match") {
            return self.value("etag").is_some_and(|etag| tags.split(", ").any(|tag| tag == etag));
        }
        request.head.field("if-modified-since").is_some_and(|at| self.value("last-modified") == Some(&at))
    }

    fn cut_to(&mut self, range: &str) {
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return;
        };
        let length = self.body.len();
        let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first, last.min(length.saturating_sub(1))),
            (Ok(first), Err(_)) if last.is_empty() => (first, length.saturating_sub(1)),
            (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length.saturating_sub(1)),
            _ => return,
        };
        if first >= length || first > last {
            self.status = 416;
            self.body.clear();
            self.fields.push(("content-range".into(), format!("bytes */{length}")));
            return;
        }
        self.status = 206;
        self.fields.push(("content-range".into(), format!("bytes {first}-{last}/{length}")));
        self.body = self.body[first..=last].to_vec();
    }

    /// Everything the origin does for `request` at `now`.
    pub(crate) fn steps(self, request: &Seen, now: Timestamp) -> Vec<Step> {
        let reply = self.for_request(request);
        let mut steps = reply.before.clone();
        if matches!(reply.trouble, Some(Trouble::Stalls)) {
            return with(steps, [Step::Stall]);
        }
        steps.extend(reply.head_gates.iter().cloned().map(Step::Wait));
        match &reply.trouble {
            Some(Trouble::Resets) => return with(steps, [Step::Reset]),
            Some(Trouble::Closes) => return with(steps, [Step::Close]),
            Some(Trouble::Garbage(bytes)) => return with(steps, [Step::Send(bytes.to_vec()), Step::Close]),
            _ => {}
        }
        let head = reply.head(now);
        if let Some(Trouble::TruncatesHead(at)) = reply.trouble {
            let cut = head.get(..at).unwrap_or(&head).to_vec();
            return with(steps, [Step::Send(cut), Step::Close]);
        }
        steps.push(Step::Send(head));
        let bodiless = request.method() == "HEAD" || reply.status == 304 || reply.status == 204;
        if !bodiless {
            steps.extend(reply.body_steps());
        }
        match &reply.trouble {
            Some(Trouble::ExtraBytes(bytes)) => steps.push(Step::Send(bytes.to_vec())),
            Some(Trouble::LiesAboutLength(_)) => steps.push(Step::Close),
            None if reply.framing == Frame::Close && !bodiless => steps.push(Step::Close),
            _ => {}
        }
        steps
    }

    /// Bytes of the body with its framing.
    pub(crate) fn body_wire_len(&self) -> usize {
        self.pieces().iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn head(&self, now: Timestamp) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        if self.date && !self.has("date") {
            head.extend(["Date: ", &http_date(now), "\r\n"]);
        }
        for (name, value) in &self.fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let own = self.has("content-length") || self.has("transfer-encoding");
        if !own && self.status != 304 && self.status != 204 {
            match self.framing {
                Frame::Length => {
                    let lie = if let Some(Trouble::LiesAboutLength(lie)) = self.trouble { lie } else { 0 };
                    let length = i64::try_from(self.body.len()).unwrap_or(i64::MAX) + lie;
                    head.extend(["Content-Length: ", &length.to_string(), "\r\n"]);
                }
                Frame::Chunks(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
                Frame::Close => head.push_str("Connection: close\r\n"),
            }
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body's bytes on the wire, each piece with the offset in the body where it begins.
    fn pieces(&self) -> Vec<(usize, Vec<u8>)> {
        let size = if let Frame::Chunks(size) = self.framing { size.max(1) } else { usize::MAX };
        let mut edges: Vec<usize> = self.pauses.iter().map(|(at, _)| *at).collect();
        edges.push(self.body.len());
        let (mut at, mut pieces) = (0, Vec::new());
        for edge in edges {
            while at < edge.min(self.body.len()) {
                let end = edge.min(self.body.len()).min(at.saturating_add(size));
                let bytes = &self.body[at..end];
                let piece = if let Frame::Chunks(_) = self.framing {
                    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                    chunk.extend_from_slice(bytes);
                    chunk.extend_from_slice(b"\r\n");
                    chunk
                } else {
                    bytes.to_vec()
                };
                pieces.push((at, piece));
                at = end;
            }
        }
        if let Frame::Chunks(_) = self.framing {
            pieces.push((self.body.len(), b"0\r\n\r\n".to_vec()));
        }
        pieces
    }

    fn body_steps(&self) -> Vec<Step> {
        let (end, last) = match self.trouble {
            Some(Trouble::StallsAt(at)) => (at, Some(Step::Stall)),
            Some(Trouble::Truncates(at)) => (at, Some(Step::Close)),
            Some(Trouble::ResetsAt(at)) => (at, Some(Step::Reset)),
            _ => (usize::MAX, None),
        };
        let mut gates = self.pauses.iter();
        let mut next = gates.next();
        let mut steps = Vec::new();
        let mut sent = 0;
        for (at, bytes) in self.pieces() {
            while let Some((_, gate)) = next.filter(|(pause, _)| *pause <= at) {
                steps.push(Step::Wait(gate.clone()));
                next = gates.next();
            }
            let left = end.saturating_sub(sent);
            sent += bytes.len();
            if bytes.len() > left {
                steps.push(Step::Send(bytes[..left].to_vec()));
                break;
            }
            steps.push(Step::Send(bytes));
        }
        // Pauses at or behind the end hold back what comes after the body, the cut included.
        while let Some((_, gate)) = next {
            steps.push(Step::Wait(gate.clone()));
            next = gates.next();
        }
        steps.extend(last);
        steps
    }
}

/// A moment as in `Date`.
pub(crate) fn http_date(at: Timestamp) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_millis(at.as_millis()))
}

fn with<const N: usize>(mut steps: Vec<Step>, more: [Step; N]) -> Vec<Step> {
    steps.extend(more);
    steps
}
