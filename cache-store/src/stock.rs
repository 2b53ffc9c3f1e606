//! What is stored, by URL: all of it while there is little, a sample once there is much.
//!
//! Keys are hashes, so a store cannot tell from them what lies under a prefix. The stock remembers the URL, the tags and the size of
//! those responses whose key, read as a number, is not above its *share* of all numbers. Keys are keyed hashes, so that is a fair
//! draw that nobody can aim at, and the same one after a restart. At first everything is in it, and counts are exact; when it is
//! full its share is halved, and counts become estimates that know how far off they may be.
//!
//! ```text
//! insert ── note ──► shard: key ──► Item        shard full ─► sweep: what is gone goes ─► still full: half the share
//! start ── take_stock: the records on disk, those of the share
//! ```
//!
//! It costs nothing when something is evicted or purged: whoever counts asks the tiers whether an item is still there.
//!
//! Invariant: whatever is stored and within the share is in it, once a start has read the disk ([`Stock::is_whole`]); its size is
//! bounded. Called with the lock of a key's shard held or without; takes no lock of the store's but, under its own, the tiers'.
//!
//! Deliberately absent: what it is asked about. `purge/apply.rs` counts what an order would take.

use std::collections::hash_map::Entry;

use parking_lot::Mutex;

use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::entry::{Epoch, StoredResponse};
use crate::key::{CacheKey, KeyMap};
use crate::purge::Resource;

/// Authority and target of a URL in normal form, in one piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    bytes: Box<[u8]>,
    authority_len: usize,
}

/// A response of the sample.
#[derive(Debug)]
pub(crate) struct Item {
    /// The key of its resource.
    pub(crate) primary: CacheKey,
    pub(crate) address: Address,
    pub(crate) tags: Box<[Box<str>]>,
    /// Of its head and body.
    pub(crate) bytes: u64,
    /// The purge epoch of its fetch.
    pub(crate) epoch: Epoch,
}

/// The sample.
#[derive(Debug)]
pub(crate) struct Stock {
    /// The highest number of a key that is in it.
    share: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    is_whole: AtomicBool,
}

#[derive(Debug, Default)]
struct Shard {
    items: KeyMap<Item>,
    bytes: usize,
}

/// How many there are, as far as a sample tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// So many objects it may be off, in 19 of 20 cases; zero where all were counted.
    pub(crate) margin: u64,
    /// Not all that was on disk at the start was known when the count began.
    pub(crate) is_partial: bool,
}

impl Address {
    pub(crate) fn of(resource: &Resource<'_>) -> Self {
        let bytes = [resource.authority, resource.target].concat().into();
        Self { bytes, authority_len: resource.authority.len() }
    }

    /// The resource of this key that has the address.
    pub(crate) fn resource(&self, key: CacheKey) -> Resource<'_> {
        let (authority, target) = self.bytes.split_at_checked(self.authority_len).unwrap_or_default();
        Resource { key, authority, target }
    }
}

impl Item {
    pub(crate) fn of(resource: &Resource<'_>, stored: &StoredResponse) -> Self {
        Self {
            primary: resource.key,
            address: Address::of(resource),
            tags: stored.tags().into(),
            bytes: stored.body_len() + stored.lines().len() as u64,
            epoch: stored.epoch(),
        }
    }

    /// What it costs here.
    fn weight(&self) -> usize {
        let tags = self.tags.iter().map(|tag| tag.len() + TAG_BYTES_BESIDE).sum::<usize>();
        ITEM_BYTES_BESIDE + self.address.bytes.len() + tags
    }
}

impl Stock {
    /// An empty one; `is_whole` unless there is a disk that may know more.
    pub(crate) fn new(is_whole: bool) -> Self {
        Self {
            share: AtomicU64::new(u64::MAX),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            is_whole: AtomicBool::new(is_whole),
        }
    }

    /// Whether a response under this key belongs to it.
    #[inline]
    pub(crate) fn takes(&self, key: CacheKey) -> bool {
        number(key) <= self.share.load(Ordering::Relaxed)
    }

    /// What is stored under `key` is this from now on. `is_held` tells whether a key leads to something.
    pub(crate) fn note(&self, key: CacheKey, item: Item, is_held: impl Fn(CacheKey) -> bool) {
        self.put(key, item, true, is_held);
    }

    /// The same for what a start finds on disk: what was noted since then is newer.
    pub(crate) fn note_found(&self, key: CacheKey, item: Item, is_held: impl Fn(CacheKey) -> bool) {
        self.put(key, item, false, is_held);
    }

    fn put(&self, key: CacheKey, item: Item, is_newer: bool, is_held: impl Fn(CacheKey) -> bool) {
        if !self.takes(key) {
            return;
        }
        let Some(shard) = self.shards.get(shard_of(key)) else { return };
        let mut shard = shard.lock();
        let is_full = shard.items.len() >= ITEMS_MAX || shard.bytes >= BYTES_MAX;
        if is_full && !shard.items.contains_key(&key) {
            let share = self.share.load(Ordering::Relaxed);
            shard.retain(|key| number(key) <= share && is_held(key));
            let is_full = shard.items.len() >= ITEMS_MAX / 4 * 3 || shard.bytes >= BYTES_MAX / 4 * 3;
            if is_full {
                // The other shards learn of it when they are full, and whoever counts at once.
                let share = self.share.fetch_min(share / 2, Ordering::Relaxed).min(share / 2);
                shard.retain(|key| number(key) <= share);
            }
            if !self.takes(key) {
                return;
            }
        }
        let Shard { items, bytes } = &mut *shard;
        *bytes += item.weight();
        match items.entry(key) {
            Entry::Vacant(place) => drop(place.insert(item)),
            Entry::Occupied(mut known) if is_newer => {
                *bytes = bytes.saturating_sub(known.insert(item).weight());
            }
            Entry::Occupied(_) => *bytes = bytes.saturating_sub(item.weight()),
        }
    }

    /// The address of what is stored under `key`, if that is in it.
    pub(crate) fn address_of(&self, key: CacheKey) -> Option<Address> {
        let shard = self.shards.get(shard_of(key))?.lock();
        shard.items.get(&key).map(|item| item.address.clone())
    }

    /// About to read what a disk has, which is so many objects: its share is such that they find room.
    pub(crate) fn prepare(&self, objects: u64) -> u64 {
        let room = (SHARDS * ITEMS_MAX / 2) as u64;
        let share = u64::MAX / objects.div_ceil(room).max(1);
        self.share.fetch_min(share, Ordering::Relaxed).min(share)
    }

    /// What was on disk at the start is in it.
    pub(crate) fn whole(&self) {
        self.is_whole.store(true, Ordering::Release);
    }

    /// Whether it knows of everything; before that it knows of some.
    fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// Counts what `is_meant`. Costs a look at every item, at most 16,384.
    pub(crate) fn count(&self, is_meant: impl Fn(CacheKey, &Item) -> bool) -> Counted {
        // Both read first: what comes to be known meanwhile may not be counted, and what is beyond a share that falls meanwhile is not
        // counted twice as much.
        let is_partial = !self.is_whole();
        let share = self.share.load(Ordering::Relaxed);
        let (mut objects, mut bytes) = (0_u64, 0_u64);
        for shard in &self.shards {
            for (key, item) in &shard.lock().items {
                if number(*key) <= share && is_meant(*key, item) {
                    objects += 1;
                    bytes = bytes.saturating_add(item.bytes);
                }
            }
        }
        Counted { is_partial, ..estimate(objects, bytes, share) }
    }
}

impl Shard {
    fn retain(&mut self, stays: impl Fn(CacheKey) -> bool) {
        self.items.retain(|key, _| stays(*key));
        self.bytes = self.items.values().map(Item::weight).sum();
    }
}

/// What so many in a sample say about the whole.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate, never negative
fn estimate(objects: u64, bytes: u64, share: u64) -> Counted {
    if share == u64::MAX {
        return Counted { objects, bytes, margin: 0, is_partial: false };
    }
    let part = share as f64 / u64::MAX as f64;
    // Each is drawn by itself: the deviation of a binomial draw; and of none at all 3 is what 19 of 20 draws would have seen.
    let margin = if objects == 0 { 3.0 } else { 1.96 * (objects as f64 * (1.0 - part)).sqrt() };
    let whole = |drawn: f64| (drawn / part).round() as u64;
    let (objects, bytes) = (whole(objects as f64), whole(bytes as f64));
    Counted { objects, bytes, margin: whole(margin).max(1), is_partial: false }
}

/// The number by which a key is drawn: the half of it by which the disk's index knows it.
#[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
const fn number(key: CacheKey) -> u64 {
    key.bits() as u64
}

/// By bits of the other half: what is drawn is spread as everything is.
#[allow(clippy::cast_possible_truncation)] // the bits of `SHARDS` are left
const fn shard_of(key: CacheKey) -> usize {
    (key.bits() >> 64) as usize % SHARDS
}

const SHARDS: usize = 16;
/// Items of a shard: with an ordinary URL about 200 bytes each.
const ITEMS_MAX: usize = 1024;
/// …and what they may take, for URLs and tags may be long.
const BYTES_MAX: usize = 512 * 1024;
/// What an item costs beside its URL and tags.
const ITEM_BYTES_BESIDE: usize = 128;
/// What a tag costs beside its bytes.
const TAG_BYTES_BESIDE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> CacheKey {
        // As the keyed hash spreads them: halves that do not know each other.
        let mixed = |seed: u64| {
            let mut bits = (number ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bits ^= bits >> 32;
            bits = bits.wrapping_mul(0xd6e8_feb8_6659_fd93);
            bits ^ bits >> 32
        };
        CacheKey::from_bits(u128::from(mixed(1 << 40)) << 64 | u128::from(mixed(0)))
    }

    fn item(target: &str, tag_bytes: usize) -> Item {
        let tag = "t".repeat(tag_bytes).into();
        let resource = Resource { key: key(0), authority: b"a:81", target: target.as_bytes() };
        Item { primary: key(0), address: Address::of(&resource), tags: [tag].into(), bytes: 1000, epoch: 0 }
    }

    #[test]
    fn an_address_is_authority_and_target_again() {
        let item = item("/x?y", 0);
        let resource = item.address.resource(key(9));
        assert_eq!((resource.authority, resource.target), (&b"a:81"[..], &b"/x?y"[..]));
    }

    #[test]
    fn a_few_are_counted_and_many_estimated_within_what_is_told() {
        for (there, is_exact) in [(1_000, true), (10_000, true), (200_000, false)] {
            let stock = Stock::new(true);
            for number in 0..there {
                let target = if number % 10 == 0 { "/news/" } else { "/" };
                stock.note(key(number), item(target, 0), |_| true);
            }
            let counted = stock.count(|_, item| item.address.resource(key(0)).target == b"/news/");
            assert_eq!(counted.margin == 0, is_exact, "{there}: {counted:?}");
            assert!(counted.objects.abs_diff(there / 10) <= counted.margin * 2, "{there}: {counted:?}");
            assert_eq!(counted.bytes / 1000, counted.objects, "{there}");
            let all = stock.count(|_, _| true);
            assert!(all.margin * 20 < all.objects, "what is told says something: {all:?}");
            let none = stock.count(|_, _| false);
            assert_eq!((none.objects, none.margin == 0), (0, is_exact));
        }
    }

    #[test]
    fn what_is_gone_makes_room_and_costs_no_sharpness() {
        let stock = Stock::new(true);
        for number in 0..200_000 {
            stock.note(key(number), item("/", 0), |of| {
                (number.saturating_sub(500)..number).any(|n| key(n) == of)
            });
        }
        assert_eq!(stock.share.load(Ordering::Relaxed), u64::MAX);
    }

    #[test]
    fn it_is_bounded_whatever_the_tags() {
        let stock = Stock::new(true);
        for number in 0..20_000 {
            stock.note(key(number), item("/", 20_000), |_| true);
        }
        for shard in &stock.shards {
            let shard = shard.lock();
            assert!(shard.bytes <= BYTES_MAX + 30_000 && shard.items.len() <= ITEMS_MAX);
            assert_eq!(shard.bytes, shard.items.values().map(Item::weight).sum::<usize>());
        }
    }

    #[test]
    fn what_a_start_finds_does_not_stand_in_for_what_is_newer() {
        let stock = Stock::new(false);
        stock.note(key(1), item("/new", 0), |_| true);
        stock.note_found(key(1), item("/old", 0), |_| true);
        assert_eq!(stock.count(|_, item| item.address.resource(key(0)).target == b"/old").objects, 0);
        assert!(!stock.is_whole());
    }

    #[test]
    fn a_count_that_began_before_all_was_known_is_partial_whatever_is_known_at_its_end() {
        let stock = Stock::new(false);
        stock.note_found(key(1), item("/x", 0), |_| true);
        let during = stock.count(|_, _| {
            stock.whole();
            true
        });
        assert!(during.objects == 1 && during.is_partial, "{during:?}");
        assert!(!stock.count(|_, _| true).is_partial);
    }
}
