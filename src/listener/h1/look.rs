//! The look at a request head before `httparse` reads it: where it ends, and what `httparse` would let pass.
//!
//! `httparse` takes a bare LF for a line end, skips empty lines before a request and leaves the target's bytes to its
//! caller. Here each line is looked at once, as it arrives, so a head that drips in byte by byte costs no more than
//! one that comes at once, and a request line that cannot become valid is refused without waiting for the rest.
//!
//! Invariant: a head that [`Look::advance`] calls complete consists of lines that end in CR LF and do not continue
//! one another, the first being a request line that [`RequestLine::parse`] takes.
//!
//! RFC 9112 §2.2, §3, §5.2.

use super::refusal::Refusal;
use crate::config::limits::Limits;

/// How far the head at the start of the input has been looked at.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Bytes searched for LF.
    scanned: usize,
    /// Where the line under way began.
    line_at: usize,
    /// Lines seen whole.
    lines: usize,
}

/// The three parts of a request line.
#[derive(Debug)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    /// 0 or 1: the minor version of HTTP/1.
    pub(super) minor: u8,
}

impl Look {
    /// Whether part of a head has been looked at.
    pub(super) const fn is_begun(&self) -> bool {
        self.scanned > 0
    }

    /// Looks at what is new in `input`; the length of the head with its empty line once it is complete.
    #[inline]
    pub(super) fn advance(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        while let Some(found) = memchr::memchr(b'\n', input.get(self.scanned..).unwrap_or_default()) {
            let at = self.scanned + found;
            let line = input.get(self.line_at..at).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(Refusal::BareLineFeed)?;
            self.scanned = at + 1;
            self.line_at = at + 1;
            match (self.lines, line.first()) {
                (0, None) | (1, Some(b' ' | b'\t')) => return Err(Refusal::LeadingWhiteSpace),
                (0, Some(_)) => {
                    RequestLine::parse(line, limits)?;
                }
                (_, None) if self.scanned > limits.head_bytes_max => return Err(Refusal::HeadTooLong),
                (_, None) => return Ok(Some(self.scanned)),
                (_, Some(b' ' | b'\t')) => return Err(Refusal::Fold),
                (lines, Some(_)) if lines > limits.fields_max => return Err(Refusal::TooManyFields),
                (_, Some(_)) => {}
            }
            self.lines += 1;
        }
        self.scanned = input.len();
        if self.lines == 0
            && input.len() > limits.target_bytes_max.saturating_add(REQUEST_LINE_REST_BYTES_MAX)
        {
            return Err(Refusal::TargetTooLong);
        }
        if input.len() > limits.head_bytes_max {
            return Err(Refusal::HeadTooLong);
        }
        Ok(None)
    }
}

impl<'a> RequestLine<'a> {
    /// Reads a line without its CR LF.
    #[inline]
    pub(super) fn parse(line: &'a [u8], limits: &Limits) -> Result<Self, Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::LeadingWhiteSpace);
        }
        // Nearly every request, in one pass over its target; a space is no target byte, so what fits is whole. What does not
        // fit is looked at below for what is wrong with it.
        if let Some(target) = line.strip_prefix(b"GET ").and_then(|rest| rest.strip_suffix(b" HTTP/1.1"))
            && !target.is_empty()
            && target.len() <= limits.target_bytes_max
            && are_target_bytes(target)
        {
            return Ok(Self { method: b"GET", target, minor: 1 });
        }
        let mut parts = line.split(|byte| *byte == b' ');
        let method = parts.next().unwrap_or_default();
        if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) {
            return Err(Refusal::MethodByte);
        }
        let (Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::RequestLine);
        };
        let minor = match version {
            b"HTTP/1.1" => 1,
            b"HTTP/1.0" => 0,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        };
        check_method(method)?;
        if target.len() > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        if target.is_empty() {
            return Err(Refusal::RequestLine);
        }
        if !are_target_bytes(target) {
            return Err(Refusal::TargetByte);
        }
        Ok(Self { method, target, minor })
    }
}

/// Whether a token is a method that is served: in capitals, not too long, neither CONNECT nor TRACE.
pub(in crate::listener) fn check_method(method: &[u8]) -> Result<(), Refusal> {
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Refusal::MethodNotAllowed);
    }
    if method.len() > METHOD_BYTES_MAX
        || !method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'))
    {
        return Err(Refusal::MethodUnknown);
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
pub(in crate::listener) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What a target may hold. RFC 3986 and, because browsers send them in queries, `{`, `}`, `|`, `^` and the square brackets;
/// not `#` (a fragment is not sent), `\` (some take it for `/`) nor anything outside ASCII.
pub(in crate::listener) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>' | b'`')
}

/// Whether a target has no other bytes. Without an early end, which would cost more than it saves.
#[inline]
fn are_target_bytes(target: &[u8]) -> bool {
    target.iter().fold(true, |all, byte| all & TARGET_BYTES[usize::from(*byte)])
}

/// Longest registered method: `UPDATEREDIRECTREF`; the rest is room.
const METHOD_BYTES_MAX: usize = 24;
/// What a request line holds besides its target: method, two spaces, version, line end.
const REQUEST_LINE_REST_BYTES_MAX: usize = METHOD_BYTES_MAX + 12;

/// [`is_target_byte`] of every byte: the target is looked at byte by byte on every request.
static TARGET_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = is_target_byte(byte);
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};
