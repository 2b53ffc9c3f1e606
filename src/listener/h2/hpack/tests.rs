//! RFC 7541's own examples, another decoder's opinion, and bytes that are no HPACK.

use http::StatusCode;
use proptest::prelude::*;

use super::table::STATIC;
use super::*;

type Lines = Vec<(String, String)>;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let text = |pair: &[u8]| String::from_utf8(pair.to_vec()).expect("digits");
    digits.chunks(2).map(|pair| u8::from_str_radix(&text(pair), 16).expect("two digits")).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Lines, Wrong> {
    let mut lines = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.decode(block, |field| lines.push((text(field.name), text(field.value))))?;
    Ok(lines)
}

fn lines(of: &[(&str, &str)]) -> Lines {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// RFC 7541 appendix C.2, each alone.
#[test]
fn the_representations_of_the_standard_are_read() {
    for (block, name, value) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key", "custom-header"),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret"),
        ("82", ":method", "GET"),
    ] {
        assert_eq!(decode(&mut Decoder::default(), &bytes(block)), Ok(lines(&[(name, value)])), "{block}");
    }
}

/// RFC 7541 appendix C.3 and C.4: three requests on one connection.
#[test]
fn the_requests_of_the_standard_are_read_with_and_without_huffman_code() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    let second = [&first[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        for (block, wanted) in blocks.iter().zip([&first[..], &second, &third]) {
            assert_eq!(decode(&mut decoder, &bytes(block)), Ok(lines(wanted)), "{block}");
        }
    }
}

/// RFC 7541 appendix C.6: answers, in a table of 256 bytes, so that entries leave.
#[test]
fn entries_leave_the_table_as_the_standard_says() {
    let blocks = [
        "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let (date, later) = ("Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT");
    let location = "https://www.example.com";
    let answer = |status, date| {
        vec![(":status", status), ("cache-control", "private"), ("date", date), ("location", location)]
    };
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let third = vec![
        (":status", "200"),
        ("cache-control", "private"),
        ("date", later),
        ("location", location),
        ("content-encoding", "gzip"),
        ("set-cookie", cookie),
    ];
    let mut decoder = Decoder::default();
    for (block, wanted) in blocks.iter().zip([answer("302", date), answer("307", date), third]) {
        assert_eq!(decode(&mut decoder, &bytes(block)), Ok(lines(&wanted)), "{block}");
    }
}

#[test]
fn what_is_no_hpack_ends_the_connection() {
    for (claim, block) in [
        ("index 0", "80"),
        ("an index beyond both tables", "be"),
        ("a name's index beyond both tables", "7f 00 01 61"),
        ("an integer without its end", "ff"),
        ("an integer of five further bytes", "ff 80 80 80 80 00"),
        ("an integer that overflows", "ff ff ff ff ff ff ff ff ff 7f"),
        ("a string beyond the block", "00 05 61"),
        ("a literal without a value", "00 01 61"),
        ("a table larger than allowed", "3f e2 1f"),
        ("a size behind a field", "82 20"),
        ("EOS in a string", "00 01 61 84 ff ff ff ff"),
        ("padding of a whole byte", "00 01 61 82 1f ff"),
        ("padding that is not the beginning of EOS", "00 01 61 81 18"),
    ] {
        assert_eq!(decode(&mut Decoder::default(), &bytes(block)), Err(Wrong::Compression), "{claim}");
    }
}

#[test]
fn what_no_field_may_be_ends_the_connection_and_stays_out_of_the_table() {
    for (claim, block) in [
        ("an upper-case name", "40 01 41 01 61"),
        ("an empty name", "40 00 01 61"),
        ("a colon alone", "40 01 3a 01 61"),
        ("an unknown pseudo field", "40 02 3a 61 01 61"),
        ("CR in a value", "40 01 61 01 0d"),
        ("a space in a method", "42 02 61 20"),
    ] {
        assert_eq!(decode(&mut Decoder::default(), &bytes(block)), Err(Wrong::Field), "{claim}");
    }
}

#[test]
fn a_size_of_nothing_empties_the_table_and_an_entry_too_large_does_too() {
    let mut decoder = Decoder::default();
    assert!(decode(&mut decoder, &bytes("40 01 61 01 62 be")).is_ok());
    assert!(decode(&mut decoder, &bytes("20 82")).is_ok());
    assert_eq!(decode(&mut decoder, &bytes("be")), Err(Wrong::Compression));
    let mut decoder = Decoder::default();
    assert!(decode(&mut decoder, &bytes("40 01 61 01 62")).is_ok());
    let mut large = bytes("40 01 61 7f 81 1f");
    large.extend(vec![b'v'; 127 + 1 + 31 * 128]);
    assert_eq!(decode(&mut decoder, &large).map(|lines| lines.len()), Ok(1), "it is read all the same");
    assert_eq!(decode(&mut decoder, &bytes("be")), Err(Wrong::Compression));
}

#[test]
fn the_static_table_names_its_fields_as_they_are() {
    for (at, (id, name, value)) in STATIC.iter().enumerate() {
        assert_eq!(Name::of(name), Some(*id), "{}", String::from_utf8_lossy(name));
        let index = table::static_index(name);
        assert!(index == 0 || STATIC[index - 1].1 == *name, "{index} at {at}: {value:?}");
    }
}

#[test]
fn a_status_and_lines_are_read_as_they_were_written() {
    for code in [200, 204, 206, 301, 304, 400, 404, 421, 500, 503] {
        let mut block = Vec::new();
        status(&mut block, StatusCode::from_u16(code).expect("a status"));
        assert_eq!(decode(&mut Decoder::default(), &block), Ok(lines(&[(":status", &code.to_string())])));
    }
    for huffman in [false, true] {
        let mut block = Vec::new();
        let text = b"Content-Type: text/plain\r\nX-Own:  a b \r\nConnection: close\r\nno field\r\nDATE: now\r\nEmpty:\r\n";
        assert!(append_lines(&mut block, text, huffman));
        content_length(&mut block, 1234);
        let wanted = [
            ("content-type", "text/plain"),
            ("x-own", "a b"),
            ("date", "now"),
            ("empty", ""),
            ("content-length", "1234"),
        ];
        assert_eq!(decode(&mut Decoder::default(), &block), Ok(lines(&wanted)), "{huffman}");
    }
}

#[test]
fn integers_of_the_standard_are_written_and_read() {
    // RFC 7541 appendix C.1.
    for (value, prefix, written) in [(10, 5, "0a"), (1337, 5, "1f 9a 0a"), (42, 8, "2a")] {
        let mut out = Vec::new();
        append_integer(&mut out, 0, prefix, value);
        assert_eq!(out, bytes(written));
        let (first, mut rest) = out.split_first().expect("a byte");
        assert_eq!(integer(*first, prefix, &mut rest), Ok(value));
    }
}

/// A literal as another encoder might write it.
fn literal(out: &mut Vec<u8>, kind: u8, name: &[u8], value: &[u8], coded: bool) {
    out.push(kind);
    for text in [name, value] {
        if coded {
            append_integer(out, 0x80, 7, huffman::encoded_len(text));
            huffman::encode(text, out);
        } else {
            append_integer(out, 0, 7, text.len());
            out.extend_from_slice(text);
        }
    }
}

proptest! {
    #[test]
    fn any_text_survives_the_huffman_code(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        huffman::encode(&text, &mut coded);
        prop_assert_eq!(coded.len(), huffman::encoded_len(&text));
        prop_assert_eq!(huffman::decode(&coded, &mut back), Ok(()));
        prop_assert_eq!(back, text);
    }

    /// What both read they read alike, and neither reads what is no HPACK; ours refuses odd fields besides.
    #[test]
    fn another_decoder_reads_the_same(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
    ) {
        agree(&blocks)?;
    }

    #[test]
    fn another_decoder_reads_the_same_of_what_is_nearly_right(
        blocks in prop::collection::vec(prop::collection::vec(step(), 0..12), 1..12),
    ) {
        agree(&blocks.into_iter().map(|block| block.concat()).collect::<Vec<_>>())?;
    }
}

/// A representation, mostly valid where the tables are.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let literals =
        (prop::sample::select(vec![0_u8, 0x10, 0x40]), "[a-z-]{1,12}", "[ -~]{0,80}", any::<bool>());
    prop_oneof![
        2 => (1_u8..80).prop_map(|index| vec![0x80 | index]),
        1 => (0_u8..31).prop_map(|size| vec![0x20 | size]),
        4 => literals.prop_map(|(kind, name, value, coded)| {
            let mut out = Vec::new();
            literal(&mut out, kind, name.as_bytes(), value.as_bytes(), coded);
            out
        }),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}

fn agree(blocks: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let (mut ours, mut theirs) = (Decoder::default(), loona_hpack::Decoder::new());
    theirs.set_max_allowed_table_size(crate::config::limits::H2_TABLE_BYTES);
    for block in blocks {
        // Theirs takes no block that ends in a change of size.
        let block = &[&block[..], &[0x82]].concat()[..];
        let mut read = Vec::new();
        let our = ours.decode(block, |field| read.push((field.name.to_vec(), field.value.to_vec())));
        let their = theirs.decode(block);
        match (our, their) {
            (Ok(()), Ok(their)) => prop_assert_eq!(read, their),
            // Neither may be used further.
            (Err(_), _) => return Ok(()),
            (Ok(()), Err(error)) => prop_assert!(false, "only ours reads {:02x?}: {:?}", block, error),
        }
    }
    Ok(())
}
