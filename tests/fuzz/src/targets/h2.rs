//! HTTP/2 from clients: `listener/h2/`'s frames, header blocks, and a whole connection.

use tidegate::fuzzing::{frames, header_blocks, rehearse};

use super::Cut;
use crate::reached;

/// However the bytes are cut, the same frames, as a plain reading finds them; and the same comes of the connection.
pub fn h2_frames(data: &[u8]) {
    let (whole, error) = frames([data]);
    let plain = plain_frames(data);
    let ours: Vec<_> = whole.iter().map(|frame| (frame.0, frame.1, frame.2)).collect();
    // Ours ends at an error, theirs at bytes that are missing; one whose head alone is there is ours only if it streams.
    let both = ours.len().min(plain.len());
    assert_eq!(ours[..both], plain[..both]);
    assert!(error.is_some() || ours.len() >= plain.len(), "{} of {} frames", ours.len(), plain.len());
    let rehearsed = rehearse([data]);
    assert_eq!(rehearsed.served.len(), rehearsed.finished, "each request is reported once");
    assert_whole(&rehearsed.out);
    for cut in [Cut::Bytes, Cut::Uneven] {
        let cut_frames = frames(cut.pieces(data));
        assert_eq!((&whole, error), (&cut_frames.0, cut_frames.1), "{cut:?}");
        let other = rehearse(cut.pieces(data));
        assert_eq!((&other.ended, &other.served), (&rehearsed.ended, &rehearsed.served), "{cut:?}");
        assert_eq!(other.served.len(), other.finished, "{cut:?}");
        assert_whole(&other.out);
    }
    reached((whole.len().min(6), whole.last().map(|last| last.0 & 15), error));
    reached((rehearsed.ended, rehearsed.served.len().min(4)));
}

/// Any bytes are read as header blocks or refused, and read again to the same fields.
pub fn h2_header_blocks(data: &[u8]) {
    // Each behind its length.
    let (mut blocks, mut rest) = (Vec::new(), data);
    while let Some((length, behind)) = rest.split_first() {
        let (block, after) = behind.split_at(behind.len().min(usize::from(*length)));
        blocks.push(block);
        rest = after;
    }
    let read = header_blocks(blocks.iter().copied());
    assert_eq!(read, header_blocks(blocks.iter().copied()));
    for (name, value) in read.iter().flatten().flatten() {
        assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_uppercase));
        assert!(name.starts_with(b":") || !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    let sizes: Vec<_> =
        read.iter().map(|block| block.as_ref().map(|fields| fields.len().min(3))).take(4).collect();
    reached(sizes);
}

/// What we write is whole frames.
fn assert_whole(out: &[u8]) {
    let mut rest = out;
    while !rest.is_empty() {
        let ([l0, l1, l2, ..], after) = rest.split_first_chunk::<9>().expect("a whole head");
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
        rest = after.get(length..).expect("a whole payload");
    }
}

/// RFC 9113 §4.1 read the slow way: kind, flags and stream of every frame whose last byte is there.
fn plain_frames(data: &[u8]) -> Vec<(u8, u8, u32)> {
    let mut rest = data.strip_prefix(PREFACE).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some(([l0, l1, l2, kind, flags, s0, s1, s2, s3], after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]);
        let Some(behind) = usize::try_from(length).ok().and_then(|length| after.get(length..)) else { break };
        let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]) & 0x7fff_ffff;
        frames.push((*kind, *flags, stream));
        rest = behind;
    }
    frames
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whole frames, by kind; the header block is a GET for `/` of `a`, or a POST.
pub const WORDS: &[&str] = &[
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0\0\0\u{4}\0\0\0\0\0",
    "\0\0\0\u{4}\u{1}\0\0\0\0",
    "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{4}\0\0\0\0",
    "\0\0\u{17}\u{1}\u{5}\0\0\0\u{1}\u{2}\u{3}GET\u{4}\u{1}/\u{6}\u{5}https\u{0}\u{4}host\u{1}a",
    "\0\0\u{17}\u{1}\u{4}\0\0\0\u{3}\u{2}\u{3}PUT\u{4}\u{1}/\u{6}\u{5}https\u{0}\u{4}host\u{1}a",
    "\0\0\u{17}\u{1}\0\0\0\0\u{5}\u{2}\u{3}GET\u{4}\u{1}/\u{6}\u{5}https\u{0}\u{4}host\u{1}a",
    "\0\0\0\u{9}\u{4}\0\0\0\u{5}",
    "\0\0\u{5}\0\0\0\0\0\u{3}hello",
    "\0\0\0\0\u{1}\0\0\0\u{3}",
    "\0\0\u{3}\0\u{8}\0\0\0\u{3}\u{2}\0\0",
    "\0\0\u{4}\u{8}\0\0\0\0\0\0\0\0\u{1}",
    "\0\0\u{4}\u{8}\0\0\0\0\u{1}\u{7f}\u{7f}\u{7f}\u{7f}",
    "\0\0\u{4}\u{3}\0\0\0\0\u{1}\0\0\0\u{8}",
    "\0\0\u{8}\u{6}\0\0\0\0\0abcdefgh",
    "\0\0\u{5}\u{2}\0\0\0\0\u{1}abcde",
];

/// Pieces of header blocks.
pub const BLOCK_WORDS: &[&str] =
    &["@\u{1}x\u{1}y", "\0\u{1}x\u{1}y", "\u{10}\u{1}x\u{1}y", " ", "?", "\u{2}\u{3}GET", "\u{4}\u{1}/"];
