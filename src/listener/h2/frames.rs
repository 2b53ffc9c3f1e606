//! Finds the frames in a stream of HTTP/2 bytes, in either direction, without holding any of them.
//!
//! Only heads (RFC 9113 §4.1) are read, and of payloads the few bytes that the budget needs: padding length, window
//! increments, settings. Payloads are skipped, not looked at, so the cost is per frame, not per byte. Nothing is
//! checked: h2 does that; the scanner only must not lose its place, whatever comes.
//!
//! Invariant: state is a few dozen bytes; how the stream is cut into pieces does not change what is seen.

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FrameHead {
    /// Payload length.
    pub(crate) length: u32,
    /// Type code.
    pub(crate) kind: u8,
    /// Flags.
    pub(crate) flags: u8,
    /// Stream, 0 for the connection.
    pub(crate) stream: u32,
}

impl FrameHead {
    /// The flag `END_STREAM` of DATA and HEADERS (the bit is `ACK` elsewhere).
    pub(crate) const fn ends_stream(self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The flag `END_HEADERS` of HEADERS and CONTINUATION.
    pub(crate) const fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }
}

/// What the scanner came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A frame begins.
    Begin(FrameHead),
    /// A padded DATA frame carries this many bytes that are neither its padding nor the padding's length.
    Unpadded(FrameHead, u32),
    /// `WINDOW_UPDATE`.
    Increment {
        /// Stream, 0 for the connection.
        stream: u32,
        /// As sent; 0 is an error that h2 deals with.
        by: u32,
    },
    /// One setting of a SETTINGS frame.
    Setting {
        /// Identifier.
        id: u16,
        /// Value.
        value: u32,
    },
    /// The frame's last byte was here.
    End(FrameHead),
}

/// The place in one direction of a connection.
#[derive(Clone, Debug)]
pub(crate) struct FrameScanner {
    /// Bytes to pass by before the first frame: the client's preface.
    preface: u32,
    head: [u8; HEAD_BYTES],
    head_have: u8,
    /// The frame within whose payload the place is.
    frame: Option<FrameHead>,
    left: u32,
    /// The payload's bytes that are being gathered.
    group: [u8; SETTING_BYTES],
    group_have: u8,
    group_want: u8,
}

impl FrameScanner {
    /// At the start of what a server sends.
    pub(crate) const fn new() -> Self {
        Self {
            preface: 0,
            head: [0; HEAD_BYTES],
            head_have: 0,
            frame: None,
            left: 0,
            group: [0; SETTING_BYTES],
            group_have: 0,
            group_want: 0,
        }
    }

    /// At the start of what a client sends.
    pub(crate) const fn at_preface() -> Self {
        Self { preface: PREFACE_BYTES, ..Self::new() }
    }

    /// Whether the place is between two frames (or before the first).
    pub(crate) const fn is_between_frames(&self) -> bool {
        self.frame.is_none() && self.head_have == 0
    }

    /// Moves on over `bytes` and reports what was in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut report: impl FnMut(Seen)) {
        bytes = self.skip_preface(bytes);
        while !bytes.is_empty() {
            bytes = match self.frame {
                None => self.feed_head(bytes, &mut report),
                Some(frame) => self.feed_payload(frame, bytes, &mut report),
            };
        }
    }

    fn skip_preface<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let skip = bytes.len().min(self.preface as usize);
        self.preface -= u32::try_from(skip).unwrap_or(self.preface);
        bytes.get(skip..).unwrap_or_default()
    }

    fn feed_head<'b>(&mut self, bytes: &'b [u8], report: &mut impl FnMut(Seen)) -> &'b [u8] {
        let rest = gather(&mut self.head, &mut self.head_have, HEAD_BYTES, bytes);
        if usize::from(self.head_have) < HEAD_BYTES {
            return rest;
        }
        self.head_have = 0;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
        let frame = FrameHead {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            // The highest bit is reserved and ignored.
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        };
        report(Seen::Begin(frame));
        self.left = frame.length;
        self.group_have = 0;
        self.group_want = match kind {
            DATA if flags & PADDED != 0 => 1,
            WINDOW_UPDATE => 4,
            SETTINGS => 6,
            _ => 0,
        };
        self.frame = Some(frame);
        self.end_if_over(report);
        rest
    }

    fn feed_payload<'b>(
        &mut self,
        frame: FrameHead,
        bytes: &'b [u8],
        report: &mut impl FnMut(Seen),
    ) -> &'b [u8] {
        let (mut payload, rest) = bytes.split_at(bytes.len().min(self.left as usize));
        self.left -= u32::try_from(payload.len()).unwrap_or(self.left);
        while self.group_want > 0 && !payload.is_empty() {
            payload = gather(&mut self.group, &mut self.group_have, usize::from(self.group_want), payload);
            if self.group_have == self.group_want {
                self.group_have = 0;
                self.report_group(frame, report);
            }
        }
        self.end_if_over(report);
        rest
    }

    fn report_group(&mut self, frame: FrameHead, report: &mut impl FnMut(Seen)) {
        let [b0, b1, b2, b3, b4, b5] = self.group;
        match frame.kind {
            DATA => {
                self.group_want = 0;
                let padding = u32::from(b0) + 1;
                report(Seen::Unpadded(frame, frame.length.saturating_sub(padding)));
            }
            WINDOW_UPDATE => {
                self.group_want = 0;
                report(Seen::Increment {
                    stream: frame.stream,
                    by: u32::from_be_bytes([b0 & 0x7f, b1, b2, b3]),
                });
            }
            // SETTINGS: one after another.
            _ => report(Seen::Setting {
                id: u16::from_be_bytes([b0, b1]),
                value: u32::from_be_bytes([b2, b3, b4, b5]),
            }),
        }
    }

    fn end_if_over(&mut self, report: &mut impl FnMut(Seen)) {
        if self.left == 0
            && let Some(frame) = self.frame.take()
        {
            report(Seen::End(frame));
        }
    }
}

/// Moves bytes into `into` until it has `want` of them; returns the rest.
fn gather<'b, const N: usize>(into: &mut [u8; N], have: &mut u8, want: usize, bytes: &'b [u8]) -> &'b [u8] {
    let at = usize::from(*have);
    let (now, rest) = bytes.split_at(bytes.len().min(want.saturating_sub(at)));
    if let Some(place) = into.get_mut(at..at + now.len()) {
        place.copy_from_slice(now);
    }
    *have = have.saturating_add(u8::try_from(now.len()).unwrap_or(u8::MAX));
    rest
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
const HEAD_BYTES: usize = 9;
const SETTING_BYTES: usize = 6;
const PREFACE_BYTES: u32 = 24;

/// A GOAWAY frame, RFC 9113 §6.8.
pub(crate) fn goaway(last_stream: u32, code: u32) -> [u8; 17] {
    let [l0, l1, l2, l3] = last_stream.to_be_bytes();
    let [c0, c1, c2, c3] = code.to_be_bytes();
    [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, l0, l1, l2, l3, c0, c1, c2, c3]
}

#[cfg(test)]
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("test payloads are short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Seen> {
        let mut scanner = FrameScanner::new();
        let mut all = Vec::new();
        for piece in pieces {
            scanner.feed(&piece, |seen| all.push(seen));
        }
        assert!(scanner.is_between_frames());
        all
    }

    fn head(kind: u8, flags: u8, stream: u32, length: u32) -> FrameHead {
        FrameHead { length, kind, flags, stream }
    }

    #[test]
    fn a_padded_data_frame_tells_what_is_not_padding() {
        let bytes = frame(DATA, PADDED, 1, &[3, b'a', b'b', 0, 0, 0]);
        let of = head(DATA, PADDED, 1, 6);
        assert_eq!(seen([bytes]), [Seen::Begin(of), Seen::Unpadded(of, 2), Seen::End(of)]);
    }

    #[test]
    fn padding_longer_than_the_frame_leaves_nothing() {
        let bytes = frame(DATA, PADDED, 1, &[200]);
        let of = head(DATA, PADDED, 1, 1);
        assert_eq!(seen([bytes]), [Seen::Begin(of), Seen::Unpadded(of, 0), Seen::End(of)]);
    }

    #[test]
    fn every_setting_and_increment_is_seen_and_the_reserved_bit_is_not() {
        let mut bytes = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0, 0, 3, 0, 0, 0, 100]);
        bytes.extend(frame(WINDOW_UPDATE, 0, 0x8000_0005, &[0x80, 0, 0, 9]));
        let (settings, update) = (head(SETTINGS, 0, 0, 12), head(WINDOW_UPDATE, 0, 5, 4));
        assert_eq!(
            seen([bytes]),
            [
                Seen::Begin(settings),
                Seen::Setting { id: 4, value: 256 },
                Seen::Setting { id: 3, value: 100 },
                Seen::End(settings),
                Seen::Begin(update),
                Seen::Increment { stream: 5, by: 9 },
                Seen::End(update),
            ]
        );
    }

    #[test]
    fn the_preface_is_passed_by_in_any_pieces() {
        let mut scanner = FrameScanner::at_preface();
        let mut count = 0;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        for byte in bytes {
            scanner.feed(&[byte], |_| count += 1);
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn a_written_goaway_is_read_as_one() {
        let of = head(GOAWAY, 0, 0, 8);
        assert_eq!(seen([goaway(7, 11).to_vec()]), [Seen::Begin(of), Seen::End(of)]);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_does_not_change_what_is_seen(
            frames in prop::collection::vec((0u8..12, any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 1..8),
            cuts in prop::collection::vec(1usize..30, 1..60),
        ) {
            let bytes: Vec<u8> =
                frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                pieces.push(now.to_vec());
                rest = later;
            }
            prop_assert_eq!(seen(pieces), seen([bytes]));
        }
    }
}
