//! How nodes of a tier know each other, and what they tell each other alone.
//!
//! A child's request carries `Tidegate-Child: SCHEME SECONDS PROOF` and `Tidegate-Purged: POSITION`. The proof is an HMAC-SHA-256
//! under the shared key over everything that decides what is asked for, and the time: the key itself never goes over the
//! wire, and a request that was overheard can be repeated for some minutes only, for the same answer. Where children are
//! known by their network the proof is `-`.
//!
//! A parent's answer to a proven child carries `Tidegate-Tier`, without which it is not taken for one (whatever stands at that
//! address may be a cache that knows nothing of purges), and `Tidegate-Control` with what the parent has computed.
//!
//! Invariant: no field that begins with `tidegate-` goes to an origin or a client, or counts when it comes from one.

use std::io;

use aws_lc_rs::hmac;
use cache_store::rules::Fields;
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, Method};
use purge_api::bus::Position;

use crate::clock::Clock;
use crate::config::limits::{TIER_CLOCK_SKEW, TIER_KEY_BYTES};
use crate::config::{Network, Tier, TierKey};
use crate::listener::fields::FieldId;
use crate::listener::request::{Request, Scheme};

/// Who asks, and that it may.
pub(crate) const CHILD: HeaderName = HeaderName::from_static("tidegate-child");
/// As of which purges.
pub(crate) const PURGED: HeaderName = HeaderName::from_static(PURGED_NAME);
const PURGED_NAME: &str = "tidegate-purged";
/// How a parent answers a child.
pub(crate) const TIER: HeaderName = HeaderName::from_static("tidegate-tier");
/// What a parent has computed of a response's lifetime: the first of a child's targeted fields.
pub(crate) const CONTROL: HeaderName = HeaderName::from_static("tidegate-control");
/// What all of them begin with.
pub(crate) const OURS: &str = "tidegate-";

/// In place of a position: around what is stored.
pub(crate) const AROUND: &str = "around";

/// The word of [`TIER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    /// An answer.
    Answer,
    /// One that stands in for an origin that failed.
    Stale,
    /// The parent has none: its page says why.
    Failed,
    /// In an interim response: it lives, and is asking in its turn.
    Asking,
}

impl Word {
    const ALL: [Self; 4] = [Self::Answer, Self::Stale, Self::Failed, Self::Asking];

    /// As written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Asking => "asking",
        }
    }

    /// The one in a head.
    pub(crate) fn of(fields: &impl Fields) -> Option<Self> {
        let is_said = |word: &Self| fields.values(&TIER).next() == Some(word.as_str().as_bytes());
        Self::ALL.into_iter().find(is_said)
    }
}

/// A shared key, ready for use; none where the network is the proof.
#[derive(Clone, Debug)]
pub(crate) struct Key(Option<hmac::Key>);

/// What a proof covers.
#[derive(Clone, Copy)]
pub(crate) struct Proven<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: Scheme,
    pub(crate) authority: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) at_secs: u64,
    pub(crate) purged: &'a [u8],
}

impl Key {
    /// The key of the settings.
    ///
    /// # Errors
    /// Its file cannot be read, or holds no key.
    pub(crate) fn read(key: Option<&TierKey>) -> io::Result<Self> {
        let secret = match key {
            None | Some(TierKey::None) => return Ok(Self(None)),
            Some(TierKey::Written(secret)) => secret.to_string(),
            Some(TierKey::File(path)) => std::fs::read_to_string(path)?.trim().to_owned(),
        };
        if !TIER_KEY_BYTES.contains(&secret.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a key has from 16 to 1024 bytes"));
        }
        Ok(Self(Some(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))))
    }

    /// The key itself.
    pub(super) fn secret(&self) -> Option<&hmac::Key> {
        self.0.as_ref()
    }

    /// What [`CHILD`] says.
    pub(crate) fn prove(&self, proven: Proven<'_>) -> String {
        let mut text = format!("{} {} ", proven.scheme.as_str(), proven.at_secs);
        match &self.0 {
            None => text.push('-'),
            Some(key) => {
                let mut context = hmac::Context::with_key(key);
                proven.feed(&mut |part| context.update(part));
                for byte in context.sign().as_ref() {
                    for half in [byte >> 4, byte & 15] {
                        text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
                    }
                }
            }
        }
        text
    }

    /// Whether `proof` is one, compared in constant time.
    fn verifies(&self, proven: Proven<'_>, proof: &str) -> bool {
        let (Some(key), Some(proof)) = (&self.0, bytes_of(proof)) else { return false };
        let mut covered = Vec::with_capacity(256);
        proven.feed(&mut |part| covered.extend_from_slice(part));
        hmac::verify(key, &covered, &proof).is_ok()
    }
}

impl Proven<'_> {
    /// Its parts, each ended by a byte that none of them holds.
    fn feed(&self, put: &mut dyn FnMut(&[u8])) {
        let at = self.at_secs.to_string();
        let parts = [
            self.method.as_str().as_bytes(),
            self.scheme.as_str().as_bytes(),
            self.authority,
            self.target,
            at.as_bytes(),
            self.purged,
        ];
        for part in parts {
            put(part);
            put(b"\n");
        }
    }
}

/// Who is taken for a child here.
#[derive(Debug)]
pub(crate) struct Children {
    key: Key,
    networks: Vec<Network>,
}

/// A child's request, as it names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    /// How the child's client connected, which is part of the key.
    pub(crate) scheme: Scheme,
    /// As of which purges; none that could be found here: around what is stored.
    pub(crate) purged: Option<Position>,
}

impl Children {
    /// By the settings; none where nobody is.
    ///
    /// # Errors
    /// The key cannot be read.
    pub(crate) fn new(tier: &Tier) -> io::Result<Option<Self>> {
        if !tier.takes_children() {
            return Ok(None);
        }
        Ok(Some(Self { key: Key::read(tier.key.as_ref())?, networks: tier.children_from.clone() }))
    }

    /// The child that asks, if it is one.
    #[inline]
    pub(crate) fn admit(&self, request: &Request, clock: &Clock) -> Option<Child> {
        if request.fields.has(FieldId::TidegateChild) { self.proven(request, clock.wall()) } else { None }
    }

    fn proven(&self, request: &Request, wall: Timestamp) -> Option<Child> {
        let mut said = request.fields.all(FieldId::TidegateChild);
        let text = std::str::from_utf8(said.next()?).ok()?;
        let mut parts = text.split(' ');
        let scheme = match parts.next()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let at_secs: u64 = parts.next()?.parse().ok()?;
        let proof = parts.next()?;
        let mut positions = request.fields.named(PURGED_NAME);
        let purged = positions.next().unwrap_or_default();
        if parts.next().is_some() || said.next().is_some() || positions.next().is_some() {
            return None;
        }
        let proven = Proven {
            method: &request.method,
            scheme,
            authority: request.authority(),
            target: request.target(),
            at_secs,
            purged,
        };
        let by_network = self.networks.iter().any(|network| network.contains(request.client.address.ip()));
        let is_timely = wall.as_secs().abs_diff(at_secs) <= TIER_CLOCK_SKEW.as_secs();
        let is_proven = by_network || (is_timely && self.key.verifies(proven, proof));
        if !is_proven {
            return None;
        }
        Some(Child { scheme, purged: std::str::from_utf8(purged).ok().and_then(|text| text.parse().ok()) })
    }
}

/// Takes what is between nodes out of a head.
pub(crate) fn remove_ours(fields: &mut HeaderMap) {
    let ours: Vec<_> = fields.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in ours {
        fields.remove(name);
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | half)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::listener::fields::Fields;
    use crate::listener::request::{Client, Interims, Protocol, RequestBody};

    const NOW: u64 = 1_793_611_200;
    const POSITION: &str = "0000000000000000000000000000002a:7";

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_secs(NOW))
    }

    fn key(secret: &str) -> TierKey {
        TierKey::Written(secret.into())
    }

    fn tier(key: Option<TierKey>, children_from: &[&str]) -> Tier {
        let networks =
            children_from.iter().map(|text| crate::config::value::network(text).expect("a network"));
        Tier { key, children_from: networks.collect(), ..Tier::default() }
    }

    fn request(method: &Method, target: &str, lines: &[(&str, &str)]) -> Request {
        Request {
            method: method.clone(),
            scheme: Scheme::Http,
            authority: Bytes::from_static(b"www.example.test").into(),
            target: Bytes::copy_from_slice(target.as_bytes()).into(),
            fields: Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))),
            body: RequestBody::Empty,
            protocol: Protocol::Http11,
            client: Arc::new(Client::new(([192, 0, 2, 7], 1).into(), None)),
            received_micros: 0,
            interims: Interims::None,
            upgrade: crate::listener::request::Upgrade::No,
            spare: Vec::new(),
            held: std::sync::OnceLock::new(),
            id: std::cell::OnceCell::new(),
        }
    }

    fn proof(secret: &str, at_secs: u64) -> String {
        Key::read(Some(&key(secret))).expect("no file").prove(Proven {
            method: &Method::GET,
            scheme: Scheme::Https,
            authority: b"www.example.test",
            target: b"/x",
            at_secs,
            purged: POSITION.as_bytes(),
        })
    }

    #[test]
    fn a_child_is_who_proves_that_it_asks_for_this_now() {
        let children =
            Children::new(&tier(Some(key("the key of this tier")), &[])).expect("no file").expect("a key");
        let right = proof("the key of this tier", NOW);
        let other_scheme = right.replace("https", "http");
        let admitted = |method: &Method, target: &str, lines: &[(&str, &str)]| {
            children.admit(&request(method, target, lines), &clock())
        };
        let purged = ("Tidegate-Purged", POSITION);
        let child = Child { scheme: Scheme::Https, purged: POSITION.parse().ok() };
        assert_eq!(admitted(&Method::GET, "/x", &[("Tidegate-Child", &right), purged]), Some(child));
        for (claim, method, target, lines) in [
            ("another method", Method::HEAD, "/x", vec![("Tidegate-Child", &*right), purged]),
            ("another target", Method::GET, "/y", vec![("Tidegate-Child", &right), purged]),
            ("another scheme", Method::GET, "/x", vec![("Tidegate-Child", &other_scheme), purged]),
            ("no position", Method::GET, "/x", vec![("Tidegate-Child", &right)]),
            (
                "another position",
                Method::GET,
                "/x",
                vec![("Tidegate-Child", &right), ("Tidegate-Purged", "around")],
            ),
            ("two positions", Method::GET, "/x", vec![("Tidegate-Child", &right), purged, purged]),
            (
                "two proofs",
                Method::GET,
                "/x",
                vec![("Tidegate-Child", &right), ("Tidegate-Child", &right), purged],
            ),
            ("no proof", Method::GET, "/x", vec![purged]),
            ("no HMAC", Method::GET, "/x", vec![("Tidegate-Child", "https 1793611200 -"), purged]),
            (
                "another key",
                Method::GET,
                "/x",
                vec![("Tidegate-Child", &*proof("the key of another tier", NOW)), purged],
            ),
            (
                "long ago",
                Method::GET,
                "/x",
                vec![("Tidegate-Child", &*proof("the key of this tier", NOW - 301)), purged],
            ),
            (
                "not yet",
                Method::GET,
                "/x",
                vec![("Tidegate-Child", &*proof("the key of this tier", NOW + 301)), purged],
            ),
        ] {
            assert_eq!(admitted(&method, target, &lines), None, "{claim}");
        }
    }

    #[test]
    fn a_network_is_a_proof_for_those_in_it() {
        for (networks, admitted) in [(&["192.0.2.0/24"], true), (&["198.51.100.0/24"], false)] {
            let children = Children::new(&tier(None, networks)).expect("no file").expect("networks");
            let asks =
                request(&Method::GET, "/x", &[("Tidegate-Child", "http 0 -"), ("Tidegate-Purged", "around")]);
            let child = Child { scheme: Scheme::Http, purged: None };
            assert_eq!(children.admit(&asks, &clock()), admitted.then_some(child));
        }
        assert!(Children::new(&tier(None, &[])).expect("no file").is_none());
        assert!(Children::new(&tier(Some(TierKey::None), &[])).expect("no file").is_none());
    }

    proptest! {
        #[test]
        fn no_text_is_a_proof_or_panics(text in "(https?|\\PC{0,5})? ?(\\PC{0,5}|1793611200)? ?\\PC{0,70}", purged in "\\PC{0,60}") {
            let children = Children::new(&tier(Some(key("the key of this tier")), &[])).expect("no file").expect("a key");
            let asks = request(&Method::GET, "/x", &[("Tidegate-Child", &text), ("Tidegate-Purged", &purged)]);
            prop_assert_eq!(children.admit(&asks, &clock()), None);
        }
    }
}
