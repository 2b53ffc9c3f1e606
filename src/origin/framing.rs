//! The bytes of responses -> heads and bodies, read strictly.
//!
//! What one side repairs the other may read as the next response. So nothing is repaired here that an origin must not
//! send (bare LF, `Content-Length` beside `Transfer-Encoding`, equal lengths twice, folded lines): `connection.rs` shows every
//! byte it reads to a [`Scanner`], which tells what it finds to a [`Listen`]; what it objects to fails the request with 502 and
//! ends the connection.
//!
//! ```text
//! Quiet --begin--> Head --1xx--> Head --final--> Length(n) | Chunks | Close | Done;  Length, Chunks --end--> Done
//!                                   '--101, where it was asked for--> Switched
//! ```
//!
//! Sans-I/O, panic-free, constant memory but for one line (bounded by the head's bound).
//! Invariant: in `Quiet` and `Done` any byte is a finding.
//! RFC 9112 §4 (status line), §5 (fields), §6 (message body), §7.1 (chunked).

use super::Surplus;
use super::error::{Finding, OriginError};
use crate::config::limits::{
    CHUNK_LINE_BYTES_MAX, ORIGIN_FIELDS_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_INTERIM_MAX, TRAILER_BYTES_MAX,
};

/// How the end of a response's body is known. RFC 9112 §6.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none: HEAD, 204, 304.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// It ends with the connection: whole only if that was closed cleanly.
    Close,
}

/// Who is told what a [`Scanner`] reads.
pub(crate) trait Listen {
    /// A line of a head's fields, but for `Content-Length` and `Transfer-Encoding`.
    fn field(&mut self, name: &[u8], value: &[u8]);
    /// A head is complete; an interim one (1xx) if more is to come.
    fn head(&mut self, status: u16, interim: bool);
    /// Bytes of the body, without their framing.
    fn data(&mut self, bytes: &[u8]);
    /// A line behind the body.
    fn trailer(&mut self, _name: &[u8], _value: &[u8]) {}
}

/// Nobody is.
#[cfg(test)]
impl Listen for () {
    fn field(&mut self, _: &[u8], _: &[u8]) {}
    fn head(&mut self, _: u16, _: bool) {}
    fn data(&mut self, _: &[u8]) {}
}

/// Reads responses on one connection, one after the other.
#[derive(Debug)]
pub(crate) struct Scanner {
    state: State,
    head: Head,
    to_head_request: bool,
    surplus: Surplus,
    interims: usize,
    /// The request asked for another protocol.
    may_switch: bool,
    line: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Quiet,
    StatusLine,
    Fields,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(usize),
    Close,
    /// Another protocol: all bytes are its.
    Switched,
    Done,
}

/// What the head read last says about its body.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: u16,
    minor: u8,
    bytes: usize,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Quiet,
            head: Head::default(),
            to_head_request: false,
            surplus: Surplus::Refuse,
            interims: 0,
            may_switch: false,
            line: Vec::new(),
        }
    }
}

impl Scanner {
    /// A request goes out; `to_head_request`: its method is HEAD.
    pub(crate) fn begin(&mut self, to_head_request: bool, surplus: Surplus) {
        self.surplus = surplus;
        debug_assert!(matches!(self.state, State::Quiet | State::Done), "one request at a time");
        self.state = State::StatusLine;
        self.head = Head::default();
        self.to_head_request = to_head_request;
        self.interims = 0;
        self.may_switch = false;
        self.line.clear();
    }

    /// The request that goes out asks for another protocol. Whatever the answer, the connection carries no other request:
    /// an origin may wait for that protocol all the same.
    pub(crate) fn may_switch(&mut self) {
        self.may_switch = true;
    }

    /// Whether the origin has gone over to another protocol.
    pub(crate) fn has_switched(&self) -> bool {
        self.state == State::Switched
    }

    /// How the body of the response whose head has been read is framed.
    pub(crate) fn framing(&self) -> Framing {
        if self.bodiless() {
            Framing::None
        } else if self.head.chunked {
            Framing::Chunked
        } else {
            self.head.length.map_or(Framing::Close, Framing::Length)
        }
    }

    /// The `Content-Length` of the response whose head has been read, body or not.
    pub(crate) fn declared_length(&self) -> Option<u64> {
        self.head.length
    }

    /// Whether the response is whole by its framing, and the connection may carry another.
    pub(crate) fn reusable(&self) -> bool {
        let persistent = if self.head.minor == 0 { self.head.keep_alive } else { true };
        self.state == State::Done && persistent && !self.head.close && !self.may_switch
    }

    /// Whether the body is whole by its framing, given that the connection's end was clean if it has ended.
    pub(crate) fn whole(&self) -> bool {
        matches!(self.state, State::Done | State::Close)
    }

    /// Whether the final head has been read.
    pub(crate) const fn has_head(&self) -> bool {
        !matches!(self.state, State::Quiet | State::StatusLine | State::Fields)
    }

    /// Whether nothing more belongs to the response.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// [`Scanner::read`] for whoever wants the verdict only.
    ///
    /// # Errors
    /// As there.
    #[cfg(test)]
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<usize, OriginError> {
        self.read(bytes, &mut ())
    }

    /// Reads the next bytes; returns how many of them belong to a response.
    ///
    /// # Errors
    /// The first thing wrong with them; the scanner must not be given more.
    pub(crate) fn read(
        &mut self,
        mut bytes: &[u8],
        listener: &mut impl Listen,
    ) -> Result<usize, OriginError> {
        let all = bytes.len();
        while !bytes.is_empty() {
            match self.state {
                State::Quiet => return Err(OriginError::Framing(Finding::Unsolicited)),
                State::Done if self.surplus == Surplus::Drop && self.head.length.is_some() => {
                    self.head.close = true;
                    return Ok(all - bytes.len());
                }
                State::Done => return Err(OriginError::Framing(Finding::ExtraBytes)),
                State::Close | State::Switched => {
                    listener.data(bytes);
                    return Ok(all);
                }
                State::Length(left) => {
                    let (data, rest) = split(bytes, left);
                    listener.data(data);
                    bytes = rest;
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                }
                State::ChunkData(left) => {
                    let (data, rest) = split(bytes, left);
                    listener.data(data);
                    bytes = rest;
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                }
                State::Fields if self.line.is_empty() => {
                    bytes = match whole_field(bytes) {
                        Some((name, value, rest)) => {
                            self.head_grows(bytes.len().saturating_sub(rest.len()))?;
                            self.field(name, value, listener).map_err(OriginError::Framing)?;
                            self.head_has_room()?;
                            rest
                        }
                        None => self.read_line(bytes, listener)?,
                    };
                }
                State::StatusLine
                | State::Fields
                | State::ChunkSize
                | State::ChunkEnd
                | State::Trailers(_) => {
                    bytes = self.read_line(bytes, listener)?;
                }
            }
        }
        Ok(all)
    }

    /// Takes bytes up to and with the next LF; acts when there is one.
    fn read_line<'b>(
        &mut self,
        bytes: &'b [u8],
        listener: &mut impl Listen,
    ) -> Result<&'b [u8], OriginError> {
        let (part, rest) = match memchr::memchr(b'\n', bytes) {
            Some(at) => bytes.split_at(at.saturating_add(1).min(bytes.len())),
            None => (bytes, &[][..]),
        };
        let held = self.line.len().saturating_add(part.len());
        match self.state {
            State::StatusLine | State::Fields => self.head_grows(part.len())?,
            State::Trailers(total) => {
                let total = total.saturating_add(part.len());
                if total > TRAILER_BYTES_MAX {
                    return Err(OriginError::Framing(Finding::Trailer));
                }
                self.state = State::Trailers(total);
            }
            _ if held > CHUNK_LINE_BYTES_MAX => return Err(OriginError::Framing(Finding::Chunk)),
            _ => {}
        }
        let outcome = if self.line.is_empty() && part.last() == Some(&b'\n') {
            // The usual case: the whole line came at once.
            self.line_ended(part, listener)
        } else {
            self.line.extend_from_slice(part);
            if self.line.last() != Some(&b'\n') {
                return Ok(rest);
            }
            let mut line = std::mem::take(&mut self.line);
            let outcome = self.line_ended(&line, listener);
            line.clear();
            self.line = line;
            outcome
        };
        outcome.map_err(OriginError::Framing)?;
        self.head_has_room()?;
        Ok(rest)
    }

    /// So many bytes of a head have come.
    fn head_grows(&mut self, bytes: usize) -> Result<(), OriginError> {
        self.head.bytes = self.head.bytes.saturating_add(bytes);
        if self.head.bytes > ORIGIN_HEAD_BYTES_MAX { Err(OriginError::HeadTooLarge) } else { Ok(()) }
    }

    /// Told apart from a malformation because it is a bound.
    fn head_has_room(&self) -> Result<(), OriginError> {
        if self.head.fields > ORIGIN_FIELDS_MAX { Err(OriginError::HeadTooLarge) } else { Ok(()) }
    }

    fn line_ended(&mut self, line: &[u8], listener: &mut impl Listen) -> Result<(), Finding> {
        match line.strip_suffix(b"\r\n") {
            Some(text) if is_text(text) => self.line_read(text, listener),
            _ => Err(Finding::LineEnding),
        }
    }

    fn line_read(&mut self, line: &[u8], listener: &mut impl Listen) -> Result<(), Finding> {
        match self.state {
            State::StatusLine => {
                (self.head.minor, self.head.status) = status_line(line)?;
                self.state = State::Fields;
            }
            State::Fields if line.is_empty() => {
                let status = self.head.status;
                self.state = self.head_read()?;
                listener.head(status, self.state == State::StatusLine);
            }
            State::Fields => {
                let (name, value) = split_field(line).ok_or(Finding::FieldLine)?;
                self.field(name, value, listener)?;
            }
            State::ChunkSize => {
                self.state = match chunk_size(line).ok_or(Finding::Chunk)? {
                    0 => State::Trailers(0),
                    size => State::ChunkData(size),
                };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Finding::Chunk),
            State::Trailers(_) if line.is_empty() => self.state = State::Done,
            State::Trailers(_) => {
                let (name, value) = split_field(line).ok_or(Finding::Trailer)?;
                listener.trailer(name, value);
            }
            State::Quiet
            | State::Length(_)
            | State::ChunkData(_)
            | State::Close
            | State::Switched
            | State::Done => {}
        }
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8], listener: &mut impl Listen) -> Result<(), Finding> {
        self.head.fields = self.head.fields.saturating_add(1);
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.head.length.is_some() {
                return Err(Finding::TwoLengths);
            }
            self.head.length = Some(decimal(value).ok_or(Finding::Length)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.head.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Finding::TransferEncoding);
            }
            self.head.chunked = true;
        } else {
            listener.field(name, value);
        }
        if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.head.close |= option.eq_ignore_ascii_case(b"close");
                self.head.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// The empty line after a head: what follows.
    fn head_read(&mut self) -> Result<State, Finding> {
        let head = self.head;
        if head.length.is_some() && head.chunked {
            return Err(Finding::LengthAndEncoding);
        }
        if head.chunked && head.minor == 0 {
            return Err(Finding::TransferEncoding);
        }
        match head.status {
            101 if self.may_switch && head.minor == 1 && !head.chunked && head.length.is_none() => {
                Ok(State::Switched)
            }
            101 => Err(Finding::Upgrade),
            100..=199 => {
                if head.chunked || head.length.is_some() {
                    return Err(Finding::ForbiddenBody);
                }
                self.interims = self.interims.saturating_add(1);
                if self.interims > ORIGIN_INTERIM_MAX {
                    return Err(Finding::InterimStorm);
                }
                self.head = Head::default();
                Ok(State::StatusLine)
            }
            // RFC 9110 §8.6 forbids the field in a 204; a zero is common and says nothing wrong.
            204 if head.chunked || head.length.is_some_and(|length| length > 0) => {
                Err(Finding::ForbiddenBody)
            }
            _ => Ok(match self.framing() {
                Framing::None | Framing::Length(0) => State::Done,
                Framing::Length(length) => State::Length(length),
                Framing::Chunked => State::ChunkSize,
                Framing::Close => State::Close,
            }),
        }
    }

    fn bodiless(&self) -> bool {
        self.to_head_request || matches!(self.head.status, 204 | 304)
    }
}

/// The first `count` bytes, as far as they are there, and the rest.
fn split(bytes: &[u8], count: u64) -> (&[u8], &[u8]) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    bytes.split_at_checked(count).unwrap_or((bytes, &[]))
}

/// Whether all are visible characters, SP, HTAB or obs-text: what may stand in a line. So no NUL and no bare CR.
pub(crate) fn is_text(line: &[u8]) -> bool {
    let Some(last) = line.last_chunk() else { return line.iter().all(|byte| is_text_byte(*byte)) };
    // Eight at once, those at the end counted from there, and one by one only where something is there that most lines have not.
    let (words, _) = line.as_chunks();
    words
        .iter()
        .chain([last])
        .all(|word| unprintable(*word) == 0 || word.iter().all(|byte| is_text_byte(*byte)))
}

/// Zero if there is neither a control character among them nor DEL; else the lowest bit set is the high one of the first such.
fn unprintable(word: [u8; 8]) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH * 0x80;
    let word = u64::from_le_bytes(word);
    // A byte's high bit is set where it was below what is subtracted, and only above such a one where it was not.
    let low = word.wrapping_sub(EACH * 0x20) & !word;
    let dels = word ^ (EACH * 0x7f);
    let del = dels.wrapping_sub(EACH) & !dels;
    (low | del) & HIGH
}

const fn is_text_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// `HTTP/1.1 200 OK` → minor version and status. RFC 9112 §4; the reason may be missing with its space.
fn status_line(line: &[u8]) -> Result<(u8, u16), Finding> {
    let rest = line.strip_prefix(b"HTTP/").ok_or(Finding::StatusLine)?;
    let rest = rest.strip_prefix(b"1.").ok_or(Finding::Version)?;
    let (minor, rest) = rest.split_first().ok_or(Finding::StatusLine)?;
    let minor = match minor {
        b'0' => 0,
        b'1' => 1,
        _ => return Err(Finding::Version),
    };
    let rest = rest.strip_prefix(b" ").ok_or(Finding::StatusLine)?;
    let (digits, reason) = rest.split_at_checked(3).ok_or(Finding::StatusLine)?;
    let status = decimal_digits(digits).ok_or(Finding::StatusLine)?;
    let status = u16::try_from(status).map_err(|_| Finding::StatusLine)?;
    if !(100..=999).contains(&status) || !(reason.is_empty() || reason.starts_with(b" ")) {
        return Err(Finding::StatusLine);
    }
    Ok((minor, status))
}

/// The field line at the start of `bytes`, if all of it is there and nothing is wrong with it: name, trimmed value, and what comes
/// behind the line. Each byte is looked at once; every other line is read for what it is.
fn whole_field(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = bytes.iter().position(|byte| !is_of_token(*byte))?;
    let (name, rest) = bytes.split_at_checked(colon).filter(|(name, _)| !name.is_empty())?;
    let rest = rest.strip_prefix(b":")?;
    let (value, rest) = rest.split_at_checked(text_len(rest))?;
    Some((name, value.trim_ascii(), rest.strip_prefix(b"\r\n")?))
}

/// How many bytes from the start on may stand in a line.
fn text_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        rest = match unprintable(*word).trailing_zeros() / 8 {
            // None of eight.
            8.. => behind,
            at => {
                let odd = rest.get(at as usize..).unwrap_or_default();
                match odd.strip_prefix(b"\t") {
                    Some(behind) => behind,
                    None => return bytes.len().saturating_sub(odd.len()),
                }
            }
        };
    }
    let last = rest.iter().take_while(|byte| is_text_byte(**byte)).count();
    bytes.len().saturating_sub(rest.len()).saturating_add(last)
}

/// `Name: value` → name and trimmed value. No space before the colon, no folded line (RFC 9112 §5.1, §5.2).
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_checked(at)?;
    let value = value.strip_prefix(b":")?.trim_ascii();
    is_name(name).then_some((name, value))
}

/// Whether it is a token, as field names are.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().fold(true, |good, byte| good & is_of_token(*byte))
}

fn is_of_token(byte: u8) -> bool {
    TOKENS.get(usize::from(byte)).is_some_and(|is| *is)
}

/// A `Content-Length`: decimal digits only, no leading zero.
fn decimal(value: &[u8]) -> Option<u64> {
    let leading_zero = value.len() > 1 && value.starts_with(b"0");
    if leading_zero { None } else { decimal_digits(value) }
}

fn decimal_digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// `1a;ext=1` → 26. At most 16 digits; white space is allowed only before an extension (RFC 9112 §7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = match memchr::memchr(b';', line) {
        Some(at) => line.get(..at)?.trim_ascii_end(),
        None => line,
    };
    if size.is_empty() || size.len() > 16 {
        return None;
    }
    size.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        number.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// Whether a byte may stand in a token: looked up, since every byte of every name is.
#[allow(clippy::cast_possible_truncation)] // below 256
static TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0;
    while byte < tokens.len() {
        tokens[byte] = matches!(
            byte as u8,
            b'!'
            | b'#'..=b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'0'..=b'9'
            | b'A'..=b'Z'
            | b'^'..=b'z'
            | b'|'
            | b'~'
        );
        byte += 1;
    }
    tokens
};
