//! HTTP/2 from clients, before h2 reads it: `listener/h2/frames.rs` and `listener/budget.rs`.

use tidegate::fuzzing::{frames, spent};

use super::Cut;
use crate::reached;

/// However the bytes are cut, the same frames, as a plain reading finds them, and the same ledger.
pub fn h2_frames(data: &[u8]) {
    let plain = plain_frames(data);
    for cut in [Cut::Whole, Cut::Bytes, Cut::Uneven] {
        assert_eq!(plain, frames(cut.pieces(data)), "{cut:?}");
    }
    // Ours follow the client's, frame by frame: the second half of the input.
    let (theirs, ours) = data.split_at(data.len() / 2);
    let preface = (true, PREFACE);
    let whole = spent([preface, (true, theirs), (false, ours)]);
    let pieces = |cut: Cut| {
        let theirs = cut.pieces(theirs).into_iter().map(|piece| (true, piece));
        let ours = cut.pieces(ours).into_iter().map(|piece| (false, piece));
        std::iter::once(preface).chain(theirs).chain(ours).collect::<Vec<_>>()
    };
    for cut in [Cut::Bytes, Cut::Uneven] {
        assert_eq!(whole, spent(pieces(cut)), "{cut:?}");
    }
    // A client alone, which cannot earn anything, has at most as many streams as it sent frames.
    let alone = spent([(true, data)]);
    assert!(alone.streams <= plain.len() + 1);
    reached((plain.len().min(6), plain.last().map(|last| last.1 & 15), whole.streams.min(4)));
    reached((whole.overspent, whole.within_head, whole.late, whole.can_say_goodbye, alone.overspent));
}

/// RFC 9113 §4.1 read the slow way: every frame whose last byte is there.
fn plain_frames(data: &[u8]) -> Vec<(u32, u8, u8, u32)> {
    let mut rest = data.get(PREFACE.len()..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some(([l0, l1, l2, kind, flags, s0, s1, s2, s3], after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]);
        let Some(behind) = usize::try_from(length).ok().and_then(|length| after.get(length..)) else { break };
        let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]) & 0x7fff_ffff;
        frames.push((length, *kind, *flags, stream));
        rest = behind;
    }
    frames
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whole frames, by kind.
pub const WORDS: &[&str] = &[
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0\0\0\u{4}\0\0\0\0\0",
    "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{4}\0\0\0\0",
    "\0\0\u{1}\u{1}\u{5}\0\0\0\u{1}x",
    "\0\0\u{1}\u{1}\u{4}\0\0\0\u{3}x",
    "\0\0\u{1}\u{1}\0\0\0\0\u{5}x",
    "\0\0\u{1}\u{9}\u{4}\0\0\0\u{5}x",
    "\0\0\u{5}\0\0\0\0\0\u{1}hello",
    "\0\0\0\0\u{1}\0\0\0\u{1}",
    "\0\0\u{3}\0\u{8}\0\0\0\u{1}\u{2}\0\0",
    "\0\0\u{4}\u{8}\0\0\0\0\0\0\0\0\u{1}",
    "\0\0\u{4}\u{8}\0\0\0\0\u{1}\u{7f}\u{7f}\u{7f}\u{7f}",
    "\0\0\u{4}\u{3}\0\0\0\0\u{1}\0\0\0\u{8}",
    "\0\0\u{8}\u{6}\0\0\0\0\0abcdefgh",
    "\0\0\u{5}\u{2}\0\0\0\0\u{1}abcde",
];
