//! What `body.rs` makes of bytes: FAULTS S5, S6.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::body::{Decoded, Decoder, Malformed};

/// The body, whether it ended, and what was left over.
pub(super) type Read = Result<(Vec<u8>, bool, Vec<u8>), Malformed>;

pub(super) fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> Read {
    let (mut input, mut body) = (BytesMut::new(), Vec::new());
    let mut pieces = bytes.chunks(step.max(1));
    loop {
        match decoder.decode(&mut input)? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::End => {
                let rest: Vec<u8> = pieces.flatten().copied().collect();
                return Ok((body, true, [&input[..], &rest].concat()));
            }
            Decoded::NeedMore => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return Ok((body, false, input.to_vec())),
            },
        }
    }
}

#[test]
fn chunks_that_are_well_formed_are_joined_and_what_follows_is_left() {
    let rows: &[(&[u8], &[u8], &[u8])] = &[
        (b"0\r\n\r\n", b"", b""),
        (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"GET"),
        (b"1\r\na\r\n2;x=\"y\\\"z\"\r\nbc\r\n00;q\r\nT: u\r\nV:\r\n\r\n\r\n", b"abc", b"\r\n"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    ];
    for (bytes, body, rest) in rows {
        let read = decode(Decoder::chunked(100), bytes, bytes.len());
        assert_eq!(read, Ok((body.to_vec(), true, rest.to_vec())), "{}", bytes.escape_ascii());
    }
}

#[test]
fn chunks_that_are_not_are_refused_for_their_cause() {
    let long = [b"1;".as_slice(), &[b'a'; 300], b"\r\n"].concat();
    let trailers = [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(2000)].concat();
    let rows: &[(&[u8], Malformed)] = &[
        (b"0x1\r\na\r\n", Malformed::Size),
        (b"1 \r\na\r\n", Malformed::Size),
        (b"\r\n", Malformed::Size),
        (b"1\na", Malformed::Size),
        (b"00000000000000001\r\na", Malformed::Size),
        (b"1;a b\r\na", Malformed::Size),
        (&long, Malformed::ExtensionTooLong),
        (b"1\r\nab", Malformed::DataEnd),
        (b"1\r\na\n", Malformed::DataEnd),
        (b"0\r\nX\r\n", Malformed::Trailer),
        (b"0\r\n\n", Malformed::Trailer),
        (&trailers, Malformed::TrailerTooLong),
        (b"65\r\n", Malformed::TooLong),
        (b"ffffffffffffffff\r\n", Malformed::TooLong),
    ];
    for (bytes, cause) in rows {
        assert_eq!(
            decode(Decoder::chunked(100), bytes, bytes.len()),
            Err(*cause),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn chunks_add_up_against_the_limit() {
    let read = decode(Decoder::chunked(5), b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", 1);
    assert_eq!(read, Err(Malformed::TooLong));
}

#[test]
fn a_broken_decoder_stays_broken() {
    let (mut decoder, mut input) = (Decoder::chunked(5), BytesMut::from(&b"x\r\n"[..]));
    assert_eq!(decoder.decode(&mut input), Err(Malformed::Size));
    input.clear();
    input.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(decoder.decode(&mut input), Err(Malformed::Size));
}

#[test]
fn a_length_takes_that_many_bytes_and_no_more() {
    assert_eq!(decode(Decoder::length(3), b"abcdef", 6), Ok((b"abc".to_vec(), true, b"def".to_vec())));
    assert_eq!(decode(Decoder::length(3), b"ab", 1), Ok((b"ab".to_vec(), false, Vec::new())));
    assert_eq!(decode(Decoder::length(0), b"ab", 2), Ok((Vec::new(), true, b"ab".to_vec())));
}

fn almost_chunks() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&'static [u8]> = vec![
        b"0",
        b"1",
        b"3",
        b"a",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"abc",
        b"x",
        b";",
        b";a=b",
        b";a=\"",
        b"\"",
        b"\\",
        b"X: y\r\n",
        b":",
        b" ",
        b"\x00",
        b"1\r\nx\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_body_that_drips_in_is_read_as_one_that_comes_at_once(bytes in almost_chunks(), step in 1usize..7) {
        let at_once = decode(Decoder::chunked(50), &bytes, bytes.len());
        prop_assert_eq!(decode(Decoder::chunked(50), &bytes, step), at_once);
    }

    #[test]
    fn what_is_chunked_comes_out_again(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)) {
        let mut bytes = Vec::new();
        for piece in &pieces {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(decode(Decoder::chunked(1000), &bytes, 3), Ok((pieces.concat(), true, Vec::new())));
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(Decoder::chunked(u64::MAX), &bytes, 5);
        let _ = decode(Decoder::length(u64::MAX), &bytes, 5);
    }
}
