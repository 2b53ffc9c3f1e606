//! The tier against a simple model, among threads, and what is claimed of its policy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::key::Keyer;
use crate::rules::freshness::Windows;
use crate::rules::{Freshness, VarySpec};
use crate::timestamp::Timestamp;

fn key(number: u32) -> CacheKey {
    Keyer::new([5; 32]).primary("http", b"h", &number.to_le_bytes(), None)
}

/// A response that can be told from others by its `serial`.
fn page(serial: u64, body_bytes: usize) -> Slot {
    Slot::Response(Arc::new(StoredResponse::new(Parts {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        body: vec![Bytes::from(vec![0; body_bytes])],
        large: None,
        freshness: Freshness::new(
            Timestamp::from_secs(1),
            Duration::ZERO,
            60,
            Windows::default(),
            Freshness::EXPLICIT,
        ),
        vary: VarySpec::default(),
        tags: Box::default(),
        held: None,
        epoch: serial,
    })))
}

fn serial(slot: &Slot) -> u64 {
    let Slot::Response(stored) = slot else { panic!("only responses were put in") };
    stored.epoch()
}

impl Objects {
    fn check_invariants(&self) {
        let mut weight = 0;
        for (at, shard) in self.shards.iter().enumerate() {
            let ledger = shard.0.read();
            ledger.check_invariants();
            weight += ledger.weight();
            let least = self.least[at].load(Relaxed);
            assert_eq!(least == NOTHING, ledger.len() == 0, "an empty shard is known to be empty");
            assert!(
                least == NOTHING || ledger.least_known().is_some_and(|known| f64::from_bits(least) <= known)
            );
        }
        assert_eq!(weight, self.bytes());
        assert!(self.bytes() <= self.capacity_bytes());
    }

    /// A request: what a node does for one.
    fn ask(&self, number: u32, body_bytes: usize) -> bool {
        let hit = self.find(key(number)).is_some();
        if !hit {
            self.insert(key(number), page(0, body_bytes));
        }
        hit
    }

    fn holds(&self, numbers: impl IntoIterator<Item = u32>) -> usize {
        let held = |number: &u32| self.shards[shard_of(key(*number))].0.read().find(key(*number)).is_some();
        numbers.into_iter().filter(held).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, usize),
    Admit(u32, usize),
    Find(u32),
    Remove(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0u32..40;
    prop_oneof![
        4 => (number(), 0usize..60_000).prop_map(|(number, bytes)| Step::Insert(number, bytes)),
        1 => (number(), 0usize..300_000).prop_map(|(number, bytes)| Step::Admit(number, bytes)),
        4 => number().prop_map(Step::Find),
        1 => number().prop_map(Step::Remove),
    ]
}

proptest! {
    /// What is found is what was inserted last; what was removed, refused or replaced is not; nothing is lost but by an eviction
    /// that is counted.
    #[test]
    fn it_forgets_but_does_not_lie(steps in prop::collection::vec(step(), 0..300), budget in 100_000usize..2_000_000, adaptive: bool) {
        let admission = if adaptive { MemoryAdmission::Adaptive } else { MemoryAdmission::All };
        let objects = Objects::new(budget, admission, Goal::Both);
        let mut model: HashMap<u32, u64> = HashMap::new();
        for (now, step) in (0u64..).zip(steps) {
            let evicted = objects.evictions();
            match step {
                Step::Insert(number, bytes) => {
                    let slot = page(now, bytes);
                    let heavy = slot.weight() > objects.entry_weight_max();
                    let inserted = objects.insert(key(number), slot);
                    prop_assert_eq!(inserted == Inserted::TooHeavy, heavy);
                    prop_assert!(adaptive || inserted != Inserted::Unworthy);
                    model.remove(&number);
                    if inserted == Inserted::Kept {
                        model.insert(number, now);
                    }
                }
                Step::Admit(number, bytes) => {
                    let slot = page(now, bytes);
                    let fits = slot.weight() <= objects.entry_weight_max();
                    prop_assert_eq!(objects.admit(key(number), slot), fits);
                    model.remove(&number);
                    if fits {
                        model.insert(number, now);
                    }
                }
                Step::Find(number) => {
                    let found = objects.find(key(number)).map(|slot| serial(&slot));
                    prop_assert_eq!(found, model.get(&number).copied());
                }
                Step::Remove(number) => {
                    let removed = objects.remove(key(number)).map(|slot| serial(&slot));
                    prop_assert_eq!(removed, model.remove(&number));
                    prop_assert!(objects.find(key(number)).is_none());
                }
            }
            objects.check_invariants();
            // What went for it: as many as are counted, but for one that stood under the key itself.
            let before = model.len();
            model.retain(|number, _| objects.holds([*number]) == 1);
            let gone = (before - model.len()) as u64;
            let counted = objects.evictions() - evicted;
            prop_assert!(gone <= counted && counted <= gone + 1, "{} gone, {} counted", gone, counted);
            prop_assert_eq!(objects.entries(), model.len());
        }
    }
}

/// Each key's writers take turns, as under the store's lock of its shard; readers and evictions come as they like.
#[test]
fn among_threads_a_replaced_value_never_comes_back() {
    for seed in 1..=4u64 {
        let objects = Objects::new(
            600_000,
            if seed % 2 == 0 { MemoryAdmission::All } else { MemoryAdmission::Adaptive },
            Goal::Both,
        );
        let latest: Vec<Mutex<u64>> = (0..KEYS).map(|_| Mutex::new(0)).collect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (objects, latest, over) = (&objects, &latest, &over);
                scope.spawn(move || {
                    let mut random = seed << 8 | thread;
                    for _ in 0..4000 {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let (number, what) = ((random >> 33) as u32 % KEYS, (random >> 20) % 8);
                        if what < 4 {
                            // Older than what the model says is a lie; newer is a writer that has not told the model yet.
                            let known = *latest[number as usize].lock();
                            let found = objects.find(key(number)).map(|slot| serial(&slot));
                            assert!(found.is_none_or(|found| found >= known), "{found:?} after {known}");
                        } else {
                            let mut latest = latest[number as usize].lock();
                            *latest += 1;
                            let bytes = (random >> 40) as usize % 30_000;
                            let expected = match what {
                                7 => {
                                    objects.remove(key(number));
                                    None
                                }
                                6 => objects.admit(key(number), page(*latest, bytes)).then_some(*latest),
                                _ => (objects.insert(key(number), page(*latest, bytes)) == Inserted::Kept)
                                    .then_some(*latest),
                            };
                            let found = objects.find(key(number)).map(|slot| serial(&slot));
                            assert!(found.is_none() || found == expected, "{found:?}, not {expected:?}");
                        }
                        over.fetch_or(objects.bytes() > objects.capacity_bytes(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(!over.into_inner(), "the budget holds at every moment");
        objects.check_invariants();
        assert!(objects.evictions() > 0);
    }
}

const KEYS: u32 = 64;

#[test]
fn a_scan_does_not_displace_what_is_used() {
    let objects = Objects::new(4 << 20, MemoryAdmission::Adaptive, Goal::Both);
    for _ in 0..4 {
        for number in 0..1000 {
            objects.ask(number, 1000);
        }
        // Time passes by what is inserted.
        for number in 0..400 {
            objects.ask(100_000 + number, 1000);
        }
    }
    let held = objects.holds(0..1000);
    assert!(held > 990, "{held} of 1000 before the scan");
    for number in 0..20_000 {
        objects.ask(200_000 + number, 1000);
        // They go on being used, each once in a while.
        objects.ask(number % 1000, 1000);
    }
    let held = objects.holds(0..1000);
    assert!(held > 990, "{held} of 1000 after a scan of seven times the budget");
}

#[test]
fn a_large_rare_object_does_not_push_out_a_thousand_small_hot_ones() {
    let objects = Objects::new(4 << 20, MemoryAdmission::Adaptive, Goal::Both);
    for round in 0..4 {
        for number in 0..3200 {
            objects.ask(number, 1000);
        }
        objects.ask(50_000 + round, 1000);
    }
    for number in 0..3200 {
        objects.ask(number, 1000);
    }
    let before = objects.holds(0..3200);
    for large in 0..8 {
        assert!(!objects.ask(90_000 + large, 1_000_000));
        assert_eq!(objects.holds([90_000 + large]), 0, "it is not worth them");
    }
    let after = objects.holds(0..3200);
    assert!(before > 3100 && after + 10 > before, "{before} before, {after} after");
    // What the disk brought must be taken in, and goes as soon as something better comes.
    assert!(objects.admit(key(99_999), page(0, 200_000)));
    assert_eq!(objects.holds([99_999]), 1);
    assert!(objects.holds(0..3200) + 250 > after);
    for number in 70_000..70_010 {
        objects.ask(number, 1000);
    }
    assert_eq!(objects.holds([99_999]), 0);
}

/// LRU hits nothing of a loop that is larger than the cache, so a loop is where a policy shows.
#[test]
fn a_loop_larger_than_the_cache_is_hit_in_part() {
    let hits = |admission| {
        let objects = Objects::new(1 << 20, admission, Goal::Both);
        (0..20_000u32).filter(|at| objects.ask(at % 1500, 1000)).count()
    };
    let (adaptive, all) = (hits(MemoryAdmission::Adaptive), hits(MemoryAdmission::All));
    assert!(adaptive >= all, "{adaptive} hits, {all} by recency");
}

#[test]
fn one_object_may_take_a_quarter_and_no_more() {
    for admission in [MemoryAdmission::Adaptive, MemoryAdmission::All] {
        let objects = Objects::new(8 << 20, admission, Goal::Both);
        let quarter = objects.entry_weight_max();
        assert_eq!(quarter, objects.capacity_bytes() / 4);
        assert_eq!(objects.insert(key(1), page(0, quarter * 3 / 4)), Inserted::Kept);
        assert_eq!(objects.insert(key(1), page(0, quarter)), Inserted::TooHeavy);
        assert_eq!((objects.entries(), objects.bytes()), (0, 0), "it leaves nothing there");
    }
}

#[test]
fn what_is_asked_for_again_and_again_gets_in() {
    let objects = Objects::new(4 << 20, MemoryAdmission::Adaptive, Goal::Both);
    for _ in 0..4 {
        for number in 0..3000 {
            objects.ask(number, 1000);
        }
    }
    let asked = (1..200).find(|_| objects.ask(77_777, 600_000));
    assert!(asked.is_some(), "a large one that is asked for two hundred times on end");
}

#[test]
fn by_recency_the_one_that_was_used_longest_ago_goes() {
    let objects = Objects::new(2 << 20, MemoryAdmission::All, Goal::Both);
    for number in 0..4000 {
        objects.ask(number, 1000);
    }
    let kept = u32::try_from(objects.entries()).expect("a few thousand") * 9 / 10;
    let recent = objects.holds(4000 - kept..4000);
    assert_eq!(recent, kept as usize, "all but the order within an era");
}

/// What stands in a shard's order as worth little may have been used often since. Here that refused a newcomer, whatever there was in
/// the other shards.
#[test]
fn a_newcomer_is_held_against_the_least_of_all_shards() {
    let objects = Objects::new(1 << 20, MemoryAdmission::Adaptive, Goal::Both);
    // Long, so of little worth at first, and alone in its shard.
    objects.insert(key(0), page(0, 60_000));
    let others = (1..).filter(|number| shard_of(key(*number)) != shard_of(key(0)));
    for number in others.take(200) {
        // More than fit.
        assert_eq!(objects.insert(key(number), page(0, 16_000)), Inserted::Kept, "{number}");
        // Counts once an era.
        assert!(objects.find(key(0)).is_some());
    }
    assert!(objects.evictions() > 100);
    assert!(objects.find(key(0)).is_some(), "and what is used stays");
    objects.check_invariants();
}

#[test]
fn a_tier_without_room_keeps_nothing_and_does_not_hang() {
    for budget in [0, 1, 1000, 70_000] {
        let objects = Objects::new(budget, MemoryAdmission::Adaptive, Goal::Both);
        for number in 0..100 {
            objects.ask(number, 30_000);
            objects.admit(key(number), page(0, 30_000));
        }
        objects.check_invariants();
        assert_eq!(objects.holds(0..100), 0, "{budget}");
    }
}
