//! FAULTS B7: of generated pairs of requests, equal keys and equal forwards are the same thing; normalising twice is once;
//! an origin that splits and decodes reads the forward as it would have read the request.
//!
//! `TIDEGATE_PROPERTY_PAIRS` sets the number of pairs (default 100 000; the gate runs a million) and
//! `TIDEGATE_PROPERTY_SEED` replays a run.

use std::collections::HashMap;

use bytes::Bytes;
use cache_store::key::Keyer;
use http::Method;

use super::super::{Normal, RouteTable};
use super::{CLIENT, Query, RoutePolicy, any_host, policy};
use crate::listener::fields::Fields;
use crate::listener::request::Scheme;

/// `SplitMix64`: small, and the seed replays.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) scheme: Scheme,
    pub(super) authority: Vec<u8>,
    pub(super) target: Vec<u8>,
}

const AUTHORITIES: &[&str] = &[
    "a.example",
    "A.Example",
    "a.example.",
    "a.example:80",
    "a.example:443",
    "a.example:8080",
    "a.example:",
    "b.example",
    "[::1]",
    "[0::1]:80",
    "[::1]:443",
    "a.example.:80",
    "a.example@b",
    "",
];
/// Pieces that mean something to somebody; few, so that pairs meet.
const PIECES: &[&str] = &[
    "/", "/", "/", "a", "a", "b", "A", ".", "..", "%2e", "%2E", "%61", "%41", "%2f", "%2F", "%5c", "\\",
    "%00", "%25", "%", "%6", "%zz", ";", "%3b", "?", "?", "=", "&", "&", "utm_a", "utm%5fb", "%75tm_c", "#",
    " ", "|", "%7c", "\u{e4}", "%c3%a4", "+", "%20", "%26", "%3d", "//", "*", "\0", "[", "%5B", "\"", "\r\n",
    "fbclid", "%66bclid",
];

pub(super) fn sample(random: &mut Random) -> Sample {
    let mut target = b"/".to_vec();
    for _ in 0..random.below(7) {
        if random.below(40) == 0 {
            target.push(random.next().to_le_bytes()[0]);
        } else {
            target.extend_from_slice(random.pick(PIECES).as_bytes());
        }
    }
    if random.below(50) == 0 {
        target.remove(0);
    }
    Sample {
        scheme: random.pick(&[Scheme::Http, Scheme::Http, Scheme::Https]),
        authority: random.pick(AUTHORITIES).as_bytes().to_vec(),
        target,
    }
}

/// The same request in another spelling, or nearly the same.
pub(super) fn respelled(sample: &Sample, random: &mut Random) -> Sample {
    let mut other = sample.clone();
    if other.target.is_empty() {
        other.target.push(b'/');
    }
    for _ in 0..=random.below(2) {
        match random.below(8) {
            0 => other.authority.make_ascii_uppercase(),
            1 => other.authority.extend_from_slice(random.pick(&[&b"."[..], b":80", b":443"])),
            2 => other.target = recoded(&other.target, random),
            3 => other.target.extend_from_slice(random.pick(&[
                &b"?"[..],
                b"&",
                b"&utm_z=1",
                b"?utm_z",
                b"/.",
                b"/x/..",
            ])),
            4 => other.target = other.target.replacen_one(random),
            5 => other.target.splice(1..1, *b"./").for_each(drop),
            6 => other.target.splice(1..1, *b"q/../").for_each(drop),
            _ => other.scheme = random.pick(&[Scheme::Http, Scheme::Https]),
        }
        if other.target.first() != Some(&b'/') {
            other.target.insert(0, b'/');
        }
    }
    other
}

trait ReplaceOne {
    fn replacen_one(&self, random: &mut Random) -> Vec<u8>;
}

impl ReplaceOne for Vec<u8> {
    fn replacen_one(&self, random: &mut Random) -> Vec<u8> {
        let mut changed = self.clone();
        let at = random.below(changed.len().max(1));
        if let Some(byte) = changed.get_mut(at) {
            *byte = random.pick(b"ab/.%?&=;A2fF");
        }
        changed
    }
}

/// One byte percent-encoded, or the case of the hexadecimal digits changed.
fn recoded(target: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(3) == 0 {
        let flipped = target.iter().scan(0_u8, |left, byte| {
            *left = if *byte == b'%' { 3 } else { left.saturating_sub(1) };
            Some(if *left > 0 { byte.to_ascii_uppercase() } else { *byte })
        });
        return flipped.collect();
    }
    let at = random.below(target.len().max(2) - 1) + 1;
    let mut out = target.to_vec();
    if let Some(byte) = target.get(at) {
        out.splice(at..=at, format!("%{byte:02x}").into_bytes());
    }
    out
}

type Forward = (Scheme, Vec<u8>, Vec<u8>);

/// Key and forward of a request that may be cached.
fn keyed(table: &RouteTable, keyer: &Keyer, sample: &Sample) -> Option<(u128, Forward)> {
    let (authority, target) = (Bytes::from(sample.authority.clone()), Bytes::from(sample.target.clone()));
    let fields = Fields::default();
    let route = table.route_parts(&Method::GET, sample.scheme, &authority, &target, &fields, CLIENT).ok()?;
    let forward = (sample.scheme, route.authority().to_vec(), route.forward_target().to_vec());
    // What passes is forwarded whole, and its key is only for forgetting.
    if route.bypass.is_some() {
        return None;
    }
    Some((route.key(keyer).bits(), forward))
}

/// Name and, behind a `=`, value.
type Parameter = (Vec<u8>, Option<Vec<u8>>);

/// How an origin reads a target: split at the first `?`, segments decoded and dots resolved, parameters decoded. Lenient
/// with percent signs, as they are.
fn origin_reads(target: &[u8]) -> (Vec<Vec<u8>>, Option<Vec<Parameter>>) {
    let mut halves = target.splitn(2, |byte| *byte == b'?');
    let path = halves.next().unwrap_or_default();
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut all = path.split(|byte| *byte == b'/').skip(1).map(percent_decoded).peekable();
    while let Some(segment) = all.next() {
        let is_last = all.peek().is_none();
        match segment.as_slice() {
            b"." | b".." => {
                if segment == b".." {
                    segments.pop();
                }
                if is_last {
                    segments.push(Vec::new());
                }
            }
            _ => segments.push(segment),
        }
    }
    let query = halves.next().map(|query| {
        let parameters = query.split(|byte| *byte == b'&').map(|one| {
            let mut parts = one.splitn(2, |byte| *byte == b'=').map(percent_decoded);
            (parts.next().unwrap_or_default(), parts.next())
        });
        parameters.collect()
    });
    (segments, query)
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| std::str::from_utf8(digits).ok()) {
            Some(digits) if *byte == b'%' => {
                out.push(u8::from_str_radix(digits, 16).unwrap());
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

pub(super) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn tables() -> Vec<RouteTable> {
    let queries = [
        Query::default(),
        Query { sort: true, ..Query::default() },
        Query { sort: true, remove: vec!["utm_*".into(), "fbclid".into()], keep: None },
    ];
    queries.map(|query| any_host(RoutePolicy { query, ..policy() }, vec![])).into()
}

#[test]
fn equal_keys_and_equal_forwards_are_the_same_thing() {
    let pairs = number("TIDEGATE_PROPERTY_PAIRS", 100_000);
    let seed = number("TIDEGATE_PROPERTY_SEED", 20_261_121);
    let mut random = Random(seed);
    let keyer = Keyer::new([3; 32]);
    let tables = tables();
    let (mut accepted, mut met) = (0_u64, 0_u64);
    // Beyond the pairs: no two of all forwards seen share a key.
    let mut forwards: Vec<HashMap<u128, Forward>> = tables.iter().map(|_| HashMap::new()).collect();
    for _ in 0..pairs {
        let one = sample(&mut random);
        let other = if random.below(4) == 0 { sample(&mut random) } else { respelled(&one, &mut random) };
        let which = random.below(tables.len());
        let [found_one, found_other] = [&one, &other].map(|sample| keyed(&tables[which], &keyer, sample));
        for (key, forward) in [&found_one, &found_other].into_iter().flatten() {
            let first = forwards[which].entry(*key).or_insert_with(|| forward.clone());
            assert_eq!(first, forward, "one key for two forwards (seed {seed})");
        }
        let (Some((key, forward)), Some((other_key, other_forward))) = (found_one, found_other) else {
            continue;
        };
        accepted += 1;
        met += u64::from(key == other_key);
        assert_eq!(key == other_key, forward == other_forward, "{one:?}\n{other:?}\n(seed {seed})");
    }
    assert!(accepted > pairs / 8, "only {accepted} of {pairs} pairs were accepted");
    assert!(met > pairs / 50, "only {met} of {pairs} pairs met");
}

#[test]
fn normalising_twice_is_normalising_once() {
    let seed = number("TIDEGATE_PROPERTY_SEED", 20_261_121);
    let mut random = Random(seed);
    let keyer = Keyer::new([3; 32]);
    let tables = tables();
    for _ in 0..number("TIDEGATE_PROPERTY_PAIRS", 100_000) / 2 {
        let sample = sample(&mut random);
        for table in &tables {
            let Some((key, forward)) = keyed(table, &keyer, &sample) else { continue };
            let (scheme, authority, target) = forward.clone();
            let again = keyed(table, &keyer, &Sample { scheme, authority, target });
            assert_eq!(again, Some((key, forward)), "{sample:?} (seed {seed})");
        }
    }
}

#[test]
fn an_origin_reads_the_forward_as_it_would_have_read_the_request() {
    let seed = number("TIDEGATE_PROPERTY_SEED", 20_261_121);
    let mut random = Random(seed);
    for _ in 0..number("TIDEGATE_PROPERTY_PAIRS", 100_000) {
        let sample = sample(&mut random);
        let Ok(normal) = Normal::of(sample.scheme, &sample.authority, &sample.target) else { continue };
        let forward = normal.target.as_bytes();
        assert_eq!(origin_reads(&sample.target), origin_reads(forward), "{sample:?} (seed {seed})");
        let is_clean =
            forward.iter().all(|byte| (0x21..0x7f).contains(byte) && !b"\"#<>\\^`{|}".contains(byte));
        assert!(is_clean, "{sample:?} is forwarded with a byte that no URI may hold (seed {seed})");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = Random(number("TIDEGATE_PROPERTY_SEED", 20_261_121));
    let tables = tables();
    let keyer = Keyer::new([3; 32]);
    let bytes = |random: &mut Random| -> Vec<u8> {
        (0..random.below(24)).map(|_| random.next().to_le_bytes()[0]).collect()
    };
    for _ in 0..20_000 {
        let (authority, mut target) = (bytes(&mut random), bytes(&mut random));
        for scheme in [Scheme::Http, Scheme::Https] {
            let _ = Normal::of(scheme, &authority, &target);
            target.insert(0, b'/');
            for table in &tables {
                let _ = keyed(
                    table,
                    &keyer,
                    &Sample { scheme, authority: b"a".to_vec(), target: target.clone() },
                );
            }
        }
        let _ = Normal::from_url(&String::from_utf8_lossy(&target));
        let _ = Normal::from_url(&format!(
            "http://{}{}",
            String::from_utf8_lossy(&authority),
            String::from_utf8_lossy(&target)
        ));
    }
}
