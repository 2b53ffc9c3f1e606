//! Bytes -> the body of a request: decoders for `Content-Length` and `chunked` that do no I/O.
//!
//! `pump.rs` feeds them what the connection read and sends on what they give. Sizes are plain hexadecimal, every line
//! ends in CR LF, extensions and trailers are read by their grammar, bounded and dropped (FAULTS S5, S6), the latter unless
//! they are to be kept ([`Decoder::keep_trailers`]).
//!
//! ```text
//! Size ──> Data ──> DataEnd ──> Size …      Size "0" ──> Trailers ──> End
//! ```
//!
//! Invariant: a decoder takes no byte behind the end of its body, and after an error it gives nothing but that error.
//! RFC 9112 §6.2, §7.1.

use bytes::{Buf, Bytes, BytesMut};

use super::look::is_token_byte;
use crate::config::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use crate::listener::trailers::Trailers;

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Body bytes that may still come.
    allowed: u64,
    /// What follows the body, if it is to be kept.
    trailers: Option<Box<Trailers>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// `Content-Length`: bytes to come.
    Length(u64),
    Size,
    /// Bytes of the chunk to come, more than none.
    Data(u64),
    DataEnd,
    /// Bytes of trailers taken.
    Trailers(usize),
    End,
    Broken(Malformed),
}

/// What a decoder made of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Some bytes of the body, at least one.
    Data(Bytes),
    /// Nothing without more input.
    NeedMore,
    /// The body is complete; what is left in the input is not part of it.
    End,
}

/// The body cannot be read on; whose fault: the client's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Malformed {
    /// A chunk size is not hexadecimal, too long, or followed by what is no extension.
    #[error("malformed chunk size")]
    Size,
    /// The line of a chunk size is longer than `CHUNK_LINE_BYTES_MAX`.
    #[error("chunk extensions too long")]
    ExtensionTooLong,
    /// A chunk's bytes are not followed by CR LF.
    #[error("chunk without line end")]
    DataEnd,
    /// A trailer line is not a field, or does not end in CR LF.
    #[error("malformed trailer")]
    Trailer,
    /// The trailers are longer than `TRAILER_BYTES_MAX`.
    #[error("trailers too long")]
    TrailerTooLong,
    /// The body is longer than allowed.
    #[error("body too long")]
    TooLong,
}

impl Decoder {
    /// For a body of exactly `length` bytes.
    pub const fn length(length: u64) -> Self {
        let state = if length == 0 { State::End } else { State::Length(length) };
        Self { state, allowed: length, trailers: None }
    }

    /// For a chunked body of at most `allowed` bytes, framing not counted.
    pub const fn chunked(allowed: u64) -> Self {
        Self { state: State::Size, allowed, trailers: None }
    }

    /// Keeps what follows the body.
    pub fn keep_trailers(&mut self) {
        self.trailers = Some(Box::default());
    }

    /// What followed the body, if it was kept and there was something.
    pub fn take_trailers(&mut self) -> Option<Box<Trailers>> {
        self.trailers.take().filter(|trailers| !trailers.is_empty())
    }

    /// Whether the body is complete.
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Body bytes still to come where that is known.
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Takes what it can off `input`, without copying.
    ///
    /// # Errors
    /// [`Malformed`], and the same again at every further call.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Malformed> {
        let outcome = self.step(input);
        if let Err(error) = outcome {
            self.state = State::Broken(error);
        }
        outcome
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Broken(error) => return Err(error),
                State::Length(left) => {
                    let Some(data) = take(input, left) else { return Ok(Decoded::NeedMore) };
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { State::End } else { State::Length(left) };
                    return Ok(Decoded::Data(data));
                }
                State::Data(left) => {
                    let Some(data) = take(input, left) else { return Ok(Decoded::NeedMore) };
                    let left = left.saturating_sub(data.len() as u64);
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Decoded::Data(data));
                }
                State::DataEnd => match input.as_ref() {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::NeedMore),
                    _ => return Err(Malformed::DataEnd),
                },
                State::Size => {
                    let Some(end) = line_end(input, CHUNK_LINE_BYTES_MAX, Malformed::ExtensionTooLong)?
                    else {
                        return Ok(Decoded::NeedMore);
                    };
                    let size = chunk_size(&input.split_to(end)).ok_or(Malformed::Size)?;
                    self.allowed = self.allowed.checked_sub(size).ok_or(Malformed::TooLong)?;
                    self.state = if size == 0 { State::Trailers(0) } else { State::Data(size) };
                }
                State::Trailers(taken) => {
                    let room = TRAILER_BYTES_MAX.saturating_sub(taken);
                    let Some(end) = line_end(input, room, Malformed::TrailerTooLong)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    let line = input.split_to(end);
                    let line = line.strip_suffix(b"\r\n").ok_or(Malformed::Trailer)?;
                    self.state = if line.is_empty() {
                        State::End
                    } else if let Some((name, value)) = field_line(line) {
                        if let Some(trailers) = &mut self.trailers {
                            trailers.add(name, value);
                        }
                        State::Trailers(taken.saturating_add(end))
                    } else {
                        return Err(Malformed::Trailer);
                    };
                }
            }
        }
    }
}

/// The next bytes of `input`, at most `left`.
fn take(input: &mut BytesMut, left: u64) -> Option<Bytes> {
    let len = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (len > 0).then(|| input.split_to(len).freeze())
}

/// Where the first line of `input` ends, LF included; `None` if it has not come yet.
fn line_end(input: &[u8], bytes_max: usize, too_long: Malformed) -> Result<Option<usize>, Malformed> {
    match memchr::memchr(b'\n', input.get(..bytes_max).unwrap_or(input)) {
        Some(at) => Ok(Some(at + 1)),
        None if input.len() >= bytes_max => Err(too_long),
        None => Ok(None),
    }
}

/// Reads `1*16HEXDIG *( ";" name [ "=" value ] ) CR LF`. White space around `;` and `=`, which RFC 9112 §7.1.1 calls bad, is
/// refused: no one sends it but those who look for parsers that disagree.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, mut rest) = line.split_at(digits);
    if size.len() > SIZE_DIGITS_MAX {
        return None;
    }
    while !rest.is_empty() {
        rest = after_token(rest.strip_prefix(b";")?)?;
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = if value.first() == Some(&b'"') { after_quoted(value)? } else { after_token(value)? };
        }
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

/// What follows a token of at least one byte.
fn after_token(text: &[u8]) -> Option<&[u8]> {
    let len = text.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(text.len());
    (len > 0).then(|| text.split_at(len).1)
}

/// What follows a quoted string. RFC 9110 §5.6.4.
fn after_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some(after),
            b'\\' => after.split_first().filter(|(byte, _)| is_text(**byte))?.1,
            byte if is_text(*byte) => after,
            _ => return None,
        };
    }
}

/// Name and value, if it is a field.
fn field_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    let is_field = !name.is_empty()
        && name.iter().all(|byte| is_token_byte(*byte))
        && value.iter().all(|byte| is_text(*byte));
    is_field.then(|| (name, value.strip_prefix(b":").unwrap_or(value).trim_ascii()))
}

/// Visible, space, tab or above ASCII.
const fn is_text(byte: u8) -> bool {
    !byte.is_ascii_control() || byte == b'\t'
}

/// Digits of the largest size that fits 64 bits.
const SIZE_DIGITS_MAX: usize = 16;
