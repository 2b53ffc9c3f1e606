//! What is predicted from a sample is what all requests would say, and the sample is bounded.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "small numbers of a test"
)]

use super::*;
use crate::key::Keyer;
use crate::tiers::shelf::LARGE_BYTES_MIN;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next()).unwrap()) / f64::from(1_u32 << 31)
    }
}

fn key(number: u64) -> CacheKey {
    Keyer::new([9; 32]).primary("http", b"h", &number.to_le_bytes(), None)
}

fn body_in(bytes: u64) -> BodyIn {
    if bytes < LARGE_BYTES_MIN { BodyIn::Record } else { BodyIn::Chunks }
}

fn asked(number: u64, bytes: u64) -> Asked {
    Asked {
        key: key(number),
        weight: usize::try_from(bytes).unwrap() + 400,
        bytes,
        record_bytes: 400,
        body_in: body_in(bytes),
        class: 3,
        until_millis: 1000,
        epoch: 0,
        now_millis: 0,
        regardless: false,
        policy: Policy::Worth { exponent: 0.7 },
        again: true,
        disk_takes_all: false,
    }
}

fn ask(sizing: &Sizing, asked: &Asked) -> Option<u32> {
    sizing.samples(asked.key, asked.bytes).then(|| sizing.asked(asked, |_| false))?
}

/// Requests whose popularity falls slowly, lengths from 1 KB to 1 MB: number and length of each.
fn requests(count: usize) -> (Vec<(u64, u64)>, f64) {
    let mut random = Random(7);
    let objects = 40_000.0_f64;
    let requests: Vec<_> = (0..count)
        .map(|_| {
            let number = (objects.powf(random.unit()) - 1.0) as u64 * 7 + random.next() % 7;
            let length = 1000 << (key(number).bits() % 11);
            (number, length)
        })
        .collect();
    let bytes = requests.iter().map(|(_, bytes)| *bytes as f64).sum();
    (requests, bytes)
}

#[test]
fn a_sample_says_what_all_requests_say() {
    let count = 150_000;
    let (requests, bytes) = requests(count);
    for (disk, tables_bytes) in [(None, 1 << 20), (Some(400 << 20), 3 << 20)] {
        let whole = Sizing::new(100 << 20, None, disk, 1 << 30);
        let sample = Sizing::new(100 << 20, None, disk, tables_bytes);
        for (number, length) in &requests {
            ask(&whole, &asked(*number, *length));
            ask(&sample, &asked(*number, *length));
        }
        assert!(whole.rate() == 1.0 && sample.rate() < 0.3, "{sample:?}");
        let (expected, told) = (whole.advice(), sample.advice());
        assert_eq!((expected.len(), told.len(), told[0].0), (1, 1, 3));
        for (expected, told) in expected[0].1.iter().zip(&told[0].1) {
            let points = |told: f64, expected: f64, all: f64| 100.0 * (told - expected).abs() / all;
            assert!(
                points(told.gain.requests, expected.gain.requests, count as f64) < 2.0,
                "{told:?} {expected:?}"
            );
            assert!(points(told.gain.bytes, expected.gain.bytes, bytes) < 2.0, "{told:?} {expected:?}");
        }
        // Of the disk, where there is one: it has what a smaller memory has not.
        let gains: Vec<_> = expected[0].1.iter().map(|one| one.gain.requests / count as f64).collect();
        let [.., half, twice, four] = gains[..] else { panic!("three sizes of each tier") };
        assert!(half < -0.01 && twice > 0.01 && four > twice, "{half} {twice} {four}");
    }
}

#[test]
fn the_caches_are_bounded_however_many_keys_there_are() {
    let sizing = Sizing::new(1 << 40, None, Some(1 << 44), 1 << 20);
    for number in 0..30_000 {
        ask(&sizing, &asked(number, 1000 + number % 100_000));
        let sample = sizing.sample.lock();
        assert!(!sample.is_full() && sample.classes.len() == 1);
    }
    let sample = sizing.sample.lock();
    assert!(sample.entries() > sample.entries_max / 4, "nor are they empty");
}

#[test]
fn what_is_no_longer_fresh_or_was_purged_is_no_hit_at_any_size() {
    let sizing = Sizing::new(1 << 20, None, None, 1 << 30);
    let gains =
        |sizing: &Sizing| sizing.advice()[0].1.iter().map(|one| one.gain.requests).collect::<Vec<_>>();
    // Three objects of which a quarter of a tier each fits four times: the real one holds them, and half of it does not.
    let large = |number| asked(number, 200 << 10);
    for _ in 0..10 {
        for number in 0..3 {
            ask(&sizing, &Asked { policy: Policy::Recency, ..large(number) });
        }
    }
    let before = gains(&sizing);
    assert!(before[0] < -5.0 && before[1] == 0.0, "{before:?}");
    // Each of them is too old, or purged, whenever it is asked for again: then size makes no difference.
    for round in 1..10 {
        for number in 0..3 {
            let now_millis = 1000 * round;
            ask(&sizing, &Asked { now_millis, until_millis: now_millis + 1, ..large(number) });
        }
    }
    assert_eq!(gains(&sizing), before);
    for epoch in 1..10 {
        for number in 0..3 {
            let asked = Asked { epoch, now_millis: 9500, until_millis: 99_000, ..large(number) };
            sizing.asked(&asked, |known| known < epoch);
        }
    }
    assert_eq!(gains(&sizing), before);
}

#[test]
fn why_the_origin_was_asked_may_have_nothing_to_do_with_size() {
    let sizing = Sizing::new(1 << 20, None, None, 1 << 30);
    for _ in 0..5 {
        ask(&sizing, &Asked { regardless: true, ..asked(1, 1000) });
    }
    assert!(sizing.advice().is_empty());
}

#[test]
fn what_every_size_has_is_settled_until_a_use_counts_anew() {
    for disk in [None, Some(64 << 20)] {
        let sizing = Sizing::new(1 << 20, None, disk, 1 << 30);
        assert_eq!(ask(&sizing, &asked(1, 1000)), None, "nobody had it");
        let first = sizing.round();
        assert_eq!(ask(&sizing, &asked(1, 1000)), Some(first));
        // The quarter of a tier that half of one never keeps, but for its head where there is a disk for the rest.
        let large = asked(2, 200 << 10);
        assert_eq!(ask(&sizing, &large), None);
        let round = sizing.round();
        assert_eq!(ask(&sizing, &large), disk.map(|_| round));
        assert_eq!(ask(&sizing, &Asked { until_millis: 0, ..asked(1, 1000) }), Some(sizing.round()));
        assert_eq!(ask(&sizing, &Asked { now_millis: 1000, ..asked(1, 1000) }), None, "too old");
        assert_ne!(sizing.round(), first, "so much was inserted");
    }
}

/// Long ones that are asked for a few times and never again, among short ones that are asked for once: recency answers more of it
/// than size, whatever the real tier does.
#[test]
fn a_tier_of_another_size_follows_what_is_best_there() {
    let count = 60_000;
    let gains = [None, Some(Goal::Both)].map(|goal| {
        let sizing = Sizing::new(1 << 20, goal, None, 1 << 20);
        for at in 0..count {
            let (number, bytes) = if at % 2 == 0 { (at / 10, 120_000) } else { (1_000_000 + at, 2000) };
            ask(&sizing, &Asked { policy: Policy::Worth { exponent: 1.0 }, ..asked(number, bytes) });
        }
        sizing.advice()[0].1.iter().map(|one| one.gain.requests / count as f64).collect::<Vec<_>>()
    });
    let [following, choosing] = gains;
    assert!(following[0] < -0.04, "size costs the long ones: {following:?}");
    assert!(choosing.iter().all(|gain| *gain > 0.02), "{choosing:?}, as today {following:?}");
}

/// A disk has no more of a long body than its shelf takes, and nothing of one whose head the log has lost.
#[test]
fn a_long_body_is_a_hit_only_where_its_chunks_are() {
    let sizing = Sizing::new(1 << 20, None, Some(64 << 20), 1 << 30);
    // Memory knows where they are, and has none of them. Ten of 4 MiB each: a disk of half the size has less room for them.
    let long = |number| Asked { weight: 700, policy: Policy::Recency, ..asked(number, 4 << 20) };
    for _ in 0..10 {
        for number in 0..10 {
            ask(&sizing, &long(number));
        }
    }
    let advice = sizing.advice();
    let of = |tier| advice[0].1.iter().filter(move |one| one.tier == tier).map(|one| one.gain.requests);
    assert_eq!(of(SizedTier::Memory).collect::<Vec<_>>(), [0.0; 3]);
    let [half, twice, four] = of(SizedTier::Disk).collect::<Vec<_>>()[..] else { panic!("three sizes") };
    assert!(half < -80.0 && twice == 0.0 && four == 0.0, "{half} {twice} {four}");
}

/// Long bodies, of which the last may go by a few bytes at a time, beside short ones.
#[test]
fn a_disk_counts_what_it_has_and_never_has_too_much() {
    let mut random = Random(5);
    let mut disk = ScaledDisk::new(2 << 30, 4096);
    for at in 0..20_000 {
        let number = random.next() % 3000;
        let bytes =
            if number.is_multiple_of(3) { (random.next() % (700 << 20)).max(1) } else { 1 + number * 80 };
        let part = disk.use_of(key(number), false, |_, _| true);
        assert!((0.0..=1.0).contains(&part), "{part}");
        if part < 1.0 {
            disk.offer(&Offer {
                key: key(number),
                bytes,
                record_bytes: 400,
                body_in: body_in(bytes),
                kept: (1000, 0),
                in_memory: false,
                again: false,
                takes_all: at % 2 == 0,
            });
        }
        if at % 5000 == 4999 {
            disk.thin(Rate::ALL.half());
        }
        if at % 64 == 0 {
            disk.check_invariants();
        }
    }
}

#[test]
fn what_was_long_and_is_short_now_is_where_short_ones_are() {
    let mut disk = ScaledDisk::new(64 << 20, 4096);
    let offer = |number, bytes| Offer {
        key: key(number),
        bytes,
        record_bytes: 400,
        body_in: body_in(bytes),
        kept: (1000, 0),
        in_memory: false,
        again: false,
        takes_all: true,
    };
    let use_of = |disk: &mut ScaledDisk| disk.use_of(key(1), false, |_, _| true);
    disk.offer(&offer(1, 8 << 20));
    assert_eq!(use_of(&mut disk), 1.0);
    disk.offer(&offer(1, 1000));
    // The shelf lets go of all that stands on it.
    (2..20).for_each(|number| disk.offer(&offer(number, 8 << 20)));
    assert_eq!(use_of(&mut disk), 1.0, "the short one");
    disk.check_invariants();
}

/// What a smaller memory never takes its disk has in chunks.
#[test]
fn what_is_too_heavy_for_a_smaller_memory_is_on_the_disk() {
    let sizing = Sizing::new(1 << 20, None, Some(64 << 20), 1 << 30);
    (0..10).for_each(|_| _ = ask(&sizing, &asked(1, 200 << 10)));
    let advice = sizing.advice();
    assert!(advice[0].1.iter().all(|one| one.gain.requests == 0.0), "{advice:?}");
    // Without a disk half of it takes an eighth of a mebibyte at most.
    let alone = Sizing::new(1 << 20, None, None, 1 << 30);
    (0..10).for_each(|_| _ = ask(&alone, &asked(1, 200 << 10)));
    assert_eq!(alone.advice()[0].1[0].gain.requests, -9.0);
}
