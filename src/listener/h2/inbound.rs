//! Bytes of a client -> frames, however they are cut.
//!
//! ```text
//! preface ──> head ──┬─> whole payload (HEADERS, SETTINGS …) ──> head …
//!                    ├─> DATA piece by piece ───────────────────> head …
//!                    └─> skipped (what nobody reads) ───────────> head …
//! ```
//!
//! A frame that decides something is handed out when all of it is there; DATA and what is skipped as they come, so that they
//! need no buffer. Only a frame's own rules are checked (`frame.rs`); the rest is `connection.rs`'s.
//!
//! Invariant: how the bytes are cut changes neither what is handed out, but for the cuts of DATA, nor the errors. RFC 9113
//! §3.4, §4.1, §6.1.

use super::frame::{CONTINUATION, Code, DATA, FrameHead, GOAWAY, HEAD_BYTES, HEADERS, PREFACE, SETTINGS};

/// What comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event<'b> {
    /// A whole frame.
    Frame(FrameHead, &'b [u8]),
    /// A DATA frame begins, with so many bytes of padding (and its length); the rest is body.
    Data(FrameHead, u32),
    /// Bytes of its body, if it has any.
    Piece(u32, &'b [u8]),
    /// Its end, if it ends its stream.
    DataEnds(u32),
    /// A frame begins whose payload nobody reads: GOAWAY, or of a kind nobody knows.
    Skipped(FrameHead),
}

/// The place in a client's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inbound {
    /// Before the preface.
    Preface,
    /// Before the client's SETTINGS, which must come first.
    Settings,
    /// Before a head.
    Head,
    /// Within DATA.
    Data { stream: u32, body: u32, padding: u32, ends: bool },
    /// Within what is skipped.
    Skip(u32),
}

impl Inbound {
    /// What comes next in `input`, and is taken off it; `None` if there is not enough.
    ///
    /// # Errors
    /// Nothing more may be read.
    #[inline]
    pub(crate) fn next<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Event<'b>>, Code> {
        loop {
            match self {
                Self::Preface => {
                    let seen = input.len().min(PREFACE.len());
                    if input.get(..seen) != PREFACE.get(..seen) {
                        return Err(Code::ProtocolError);
                    }
                    let Some((_, rest)) = input.split_at_checked(PREFACE.len()) else { return Ok(None) };
                    *input = rest;
                    *self = Self::Settings;
                }
                Self::Settings | Self::Head => return self.head(input),
                Self::Data { stream, body, padding, ends } => {
                    if *body > 0 {
                        if input.is_empty() {
                            return Ok(None);
                        }
                        let piece = take(input, body);
                        return Ok(Some(Event::Piece(*stream, piece)));
                    }
                    take(input, padding);
                    if *padding > 0 {
                        return Ok(None);
                    }
                    let (stream, ends) = (*stream, *ends);
                    *self = Self::Head;
                    if ends {
                        return Ok(Some(Event::DataEnds(stream)));
                    }
                }
                Self::Skip(left) => {
                    take(input, left);
                    if *left > 0 {
                        return Ok(None);
                    }
                    *self = Self::Head;
                }
            }
        }
    }

    /// Reads a head, and the payload of what must be whole.
    #[inline]
    fn head<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Event<'b>>, Code> {
        let Some((bytes, after)) = input.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let head = FrameHead::parse(*bytes);
        head.check()?;
        if *self == Self::Settings && (head.kind != SETTINGS || head.is_ack()) {
            return Err(Code::ProtocolError);
        }
        match head.kind {
            DATA => {
                let mut payload = after;
                let (mut body, mut padding) = (head.length, 0);
                if head.is_padded() {
                    let Some((length, rest)) = payload.split_first() else { return Ok(None) };
                    payload = rest;
                    padding = u32::from(*length);
                    body = head.length.checked_sub(padding + 1).ok_or(Code::ProtocolError)?;
                }
                *input = payload;
                *self = Self::Data { stream: head.stream, body, padding, ends: head.ends_stream() };
                Ok(Some(Event::Data(head, head.length - body)))
            }
            GOAWAY | UNKNOWN.. => {
                *input = after;
                *self = Self::Skip(head.length);
                Ok(Some(Event::Skipped(head)))
            }
            _ => {
                let Some((payload, rest)) = after.split_at_checked(head.length as usize) else {
                    return Ok(None);
                };
                *input = rest;
                *self = Self::Head;
                Ok(Some(Event::Frame(head, payload)))
            }
        }
    }

    /// Whether `input`, of which [`Inbound::next`] could take nothing, is the beginning of a header block; and how many
    /// bytes the frame that it begins takes.
    pub(crate) fn waits_for(self, input: &[u8]) -> (bool, usize) {
        match input.first_chunk::<HEAD_BYTES>() {
            Some(bytes) if matches!(self, Self::Settings | Self::Head) => {
                let head = FrameHead::parse(*bytes);
                let whole = match head.kind {
                    DATA => HEAD_BYTES + 1,
                    _ => HEAD_BYTES + head.length as usize,
                };
                (matches!(head.kind, HEADERS | CONTINUATION), whole)
            }
            _ => (false, HEAD_BYTES.max(PREFACE.len())),
        }
    }
}

/// Takes as much of `left` as is there.
fn take<'b>(input: &mut &'b [u8], left: &mut u32) -> &'b [u8] {
    let (piece, rest) = input.split_at(input.len().min(*left as usize));
    *input = rest;
    // No longer than `left`.
    *left = left.saturating_sub(u32::try_from(piece.len()).unwrap_or(u32::MAX));
    piece
}

/// Kinds beyond those that we know.
const UNKNOWN: u8 = CONTINUATION + 1;
