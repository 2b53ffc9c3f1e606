//! By a hash: the same client, or the same URL, at the same origin while it is well.
//!
//! Weighted rendezvous hashing: each origin scores each key, the best is asked. Where an origin comes or goes only its keys
//! move, and all nodes with the same settings choose alike. By URL an origin that has more under way than its share
//! leaves further ones to the key's next (bounded load), so that one hot URL does not take its origin down with it; a
//! client stays where its session is.

use std::net::IpAddr;

use super::Standing;
use super::of_grade;
use crate::config::limits::{HASH_LOAD_PERCENT, HASH_LOAD_SLACK};

/// What of a request says which origin it goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// A hash, for those ways to balance that go by it.
    Hash(u64),
    /// Its client was given to the origin at this place.
    Origin(usize),
}

/// Of a client: its address, of IPv6 the network that one household has.
pub(crate) fn key_of_client(address: IpAddr) -> Key {
    match address.to_canonical() {
        IpAddr::V4(address) => Key::Hash(mixed(u64::from(address.to_bits()))),
        IpAddr::V6(address) => {
            let network = u64::try_from(address.to_bits() >> 64).unwrap_or_default();
            // Turned, so that no IPv4 address meets it.
            Key::Hash(mixed(!network))
        }
    }
}

/// Of a resource.
pub(crate) fn key_of_resource(authority: &[u8], target: &[u8]) -> Key {
    Key::Hash(mixed(fnv(fnv(FNV_BASIS, authority), target)))
}

/// What an origin of this name adds to keys.
pub(super) fn seed(name: &str) -> u64 {
    mixed(fnv(FNV_BASIS, name.as_bytes()))
}

/// The one that `key` belongs to; `bounded`: unless it has more than its share under way.
pub(super) fn of_key(standings: &[Standing], grade: u8, key: u64, bounded: bool) -> Option<usize> {
    let (mut active, mut weights) = (1_u64, 0_u64);
    for (_, origin) in of_grade(standings, grade) {
        active = active.saturating_add(origin.view.active);
        weights = weights.saturating_add(origin.view.weight);
    }
    let heavy = |origin: &Standing| {
        let share = u128::from(active) * u128::from(origin.view.weight) * HASH_LOAD_PERCENT;
        let share = share.div_ceil(100 * u128::from(weights.max(1)));
        bounded && u128::from(origin.view.active) >= share + HASH_LOAD_SLACK
    };
    let best = of_grade(standings, grade)
        .map(|(index, origin)| (index, heavy(origin), distance(key, origin)))
        .min_by(|one, other| one.1.cmp(&other.1).then(one.2.total_cmp(&other.2)));
    best.map(|(index, ..)| index)
}

/// How far `key` is from an origin: exponentially distributed, the shorter the more it weighs.
fn distance(key: u64, origin: &Standing) -> f64 {
    #[allow(clippy::cast_precision_loss)] // 53 bits, and weights far below them
    let (drawn, weight) = (((mixed(key ^ origin.seed) >> 11) + 1) as f64, origin.view.weight as f64);
    -(drawn / TWO_TO_53).ln() / weight
}

/// The finalizer of `SplitMix64`: every bit of the input changes half of those of the output.
pub(crate) const fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// FNV-1a: alike on every node and in every version, which the standard library's hash does not promise.
fn fnv(basis: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(basis, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

const FNV_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const TWO_TO_53: f64 = 9_007_199_254_740_992.0;
