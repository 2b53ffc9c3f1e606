//! In which order the parents of a key are asked.
//!
//! Rendezvous hashing: each parent scores each key, the highest is asked first. Every child scores alike, so a region asks for an
//! object at one place; where a parent goes, only its keys move, and they spread over those that are left. A parent that has
//! more under way than its share leaves the next request to the next of the key's order, as long as there is a next.
//!
//! Pure: who is well and what is under way are arguments.

use aws_lc_rs::{digest, hmac};

use super::proof::Key;
use crate::config::limits::{TIER_LOAD_PERCENT, TIER_LOAD_SLACK};

/// The scores of a tier's parents.
#[derive(Debug)]
pub(super) struct Order {
    /// The tier's, so that nobody else can aim at one parent.
    key: hmac::Key,
    /// By parent.
    seeds: Vec<u64>,
}

impl Order {
    /// Of parents with these names; all children of a tier have its key, or none.
    pub(super) fn new<'n>(key: &Key, names: impl Iterator<Item = &'n str>) -> Self {
        let seed = |name: &str| number(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
        let key = key.secret().cloned().unwrap_or_else(|| hmac::Key::new(hmac::HMAC_SHA256, b""));
        Self { key, seeds: names.map(seed).collect() }
    }

    /// All parents, best first, for the resource that these parts name.
    pub(super) fn of(&self, scheme: &str, authority: &[u8], target: &[u8]) -> Vec<usize> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [b"order\n", scheme.as_bytes(), b"\n", authority, b"\n", target] {
            context.update(part);
        }
        let resource = number(context.sign().as_ref());
        let mut order: Vec<usize> = (0..self.seeds.len()).collect();
        order.sort_by_cached_key(|nth| {
            let seed = self.seeds.get(*nth).copied().unwrap_or_default();
            std::cmp::Reverse(mixed(resource ^ seed))
        });
        order
    }
}

/// `order` with those behind that have more under way than their share; `loads` is what each of them has, in that order.
pub(super) fn by_load(order: &[usize], loads: &[u64]) -> Vec<usize> {
    let total: u64 = loads.iter().sum();
    let count = (order.len() as u64).max(1);
    let bound = (total + 1).saturating_mul(TIER_LOAD_PERCENT).div_ceil(100 * count) + TIER_LOAD_SLACK;
    let (mut light, mut heavy) = (Vec::with_capacity(order.len()), Vec::new());
    for (nth, load) in order.iter().zip(loads) {
        if *load >= bound { heavy.push(*nth) } else { light.push(*nth) }
    }
    light.append(&mut heavy);
    light
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// The finalizer of `SplitMix64`: every bit of the input changes half of those of the output.
const fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::TierKey;

    const KEYS: usize = 4000;

    fn firsts(names: &[String]) -> Vec<String> {
        let key = Key::read(Some(&TierKey::Written("a key of sixteen".into()))).expect("it needs no file");
        let order = Order::new(&key, names.iter().map(String::as_str));
        let first = |nth: usize| order.of("https", b"www.example.com", format!("/{nth}").as_bytes())[0];
        (0..KEYS).map(|nth| names[first(nth)].clone()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// FAULTS B32: keys moved ≤ 1/N + 5 %.
        #[test]
        fn when_a_parent_leaves_its_keys_move_and_no_others(count in 2usize..9, gone in any::<prop::sample::Index>(), salt in 0u32..1000) {
            let mut names: Vec<String> = (0..count).map(|nth| format!("https://p{nth}-{salt}.example.net")).collect();
            let before = firsts(&names);
            let gone = names.remove(gone.index(count));
            let after = firsts(&names);
            let mut moved = 0;
            for (was, is) in before.iter().zip(&after) {
                prop_assert!(was == is || *was == gone);
                moved += usize::from(was != is);
            }
            let (moved, keys) = (u32::try_from(moved).unwrap(), u32::try_from(KEYS).unwrap());
            let share = f64::from(moved) / f64::from(keys);
            prop_assert!(share <= 1.0 / f64::from(u32::try_from(count).unwrap()) + 0.05, "{share} of {count}");
        }

        #[test]
        fn no_child_sees_another_order(shift in 1usize..5) {
            let names: Vec<String> = (0..5).map(|nth| format!("http://10.0.0.{nth}")).collect();
            let mut turned = names.clone();
            turned.rotate_left(shift);
            prop_assert_eq!(firsts(&names), firsts(&turned));
        }
    }

    #[test]
    fn who_has_more_than_a_share_leaves_the_rest_to_the_next() {
        for (loads, expected, claim) in [
            (vec![0, 0, 0], vec![2, 0, 1], "nothing under way"),
            (vec![4, 0, 0], vec![2, 0, 1], "a few are no load"),
            (vec![9, 0, 0], vec![0, 1, 2], "more than a share"),
            (vec![30, 30, 0], vec![1, 2, 0], "two of them, in their order"),
            (vec![100, 100, 100], vec![2, 0, 1], "all alike"),
        ] {
            assert_eq!(by_load(&[2, 0, 1], &loads), expected, "{claim}");
        }
    }
}
