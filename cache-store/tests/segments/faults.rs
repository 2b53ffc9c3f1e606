//! Disks that fail, fill up and vanish: records are lost, nothing else, and the log heals.

use std::io;

use cache_store::tiers::files::torn::Faults;
use cache_store::tiers::segments::Appended;

use crate::model::{KEYS, Op, Random, Walk, append, read};

fn heals(walk: &mut Walk) {
    walk.disk.faults(Faults::default());
    walk.log().sync().expect("a sound disk again");
    assert_eq!(walk.log().health(), None);
    let version = 1 << 40;
    assert!(matches!(append(walk.log(), 0, version, 100), Appended::Kept { .. }));
    walk.log().sync().expect("a sound disk");
    assert_eq!(read(walk.log(), 0).map(|found| found.version), Some(version));
}

#[test]
fn errors_in_a_twentieth_of_all_calls_never_show_in_an_answer() {
    let mut failed = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut walk = Walk::new(seed, 9);
        walk.disk.faults(Faults { per_mille: 50, ..Faults::default() });
        for _ in 0..1500 {
            let op = random.op();
            walk.step(op);
            match random.below(100) {
                0 => walk.step(Op::Kill),
                1 => walk.step(Op::PowerLoss),
                2 => walk.step(Op::Close),
                _ => {}
            }
        }
        walk.check_all();
        failed += walk.disk.calls().1;
        heals(&mut walk);
    }
    assert!(failed > 1000, "{failed} calls failed, too few to mean something");
}

/// Each call of a fixed walk fails once.
#[test]
fn whichever_call_fails_the_answer_is_right_and_the_log_heals() {
    let calls = {
        let mut walk = Walk::new(3, 9);
        fixed(&mut walk);
        walk.disk.calls().0
    };
    for at in 1..=calls {
        let mut walk = Walk::new(3, 9);
        walk.disk.faults(Faults { at_call: Some(at), ..Faults::default() });
        fixed(&mut walk);
        walk.step(Op::PowerLoss);
        heals(&mut walk);
    }
}

fn fixed(walk: &mut Walk) {
    let mut random = Random::new(11);
    for round in 0..240 {
        let op = random.op();
        walk.step(op);
        if round == 120 {
            walk.step(Op::Close);
        }
        if round == 180 {
            walk.step(Op::Kill);
        }
    }
}

#[test]
fn a_full_disk_makes_the_log_shorter() {
    let mut random = Random::new(5);
    let mut walk = Walk::new(5, 40);
    walk.disk.faults(Faults { capacity_bytes: Some(150_000), ..Faults::default() });
    for _ in 0..3000 {
        let op = random.op();
        walk.step(op);
    }
    let usage = walk.log().usage();
    assert!(walk.disk.stored_bytes() <= 150_000);
    assert!(usage.evicted > 0 && usage.objects > 10, "{usage:?}");
    walk.log().sync().expect("room was made");
    heals(&mut walk);
}

#[test]
fn a_disk_without_any_room_refuses_and_counts_and_an_older_version_does_not_come_back() {
    let mut walk = Walk::new(6, 9);
    for key in 0..KEYS {
        walk.step(Op::Append { key, bytes: 900 });
        walk.step(Op::Flush);
    }
    walk.step(Op::Sync);
    walk.disk.faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    for _ in 0..20 {
        for key in 0..KEYS {
            walk.step(Op::Append { key, bytes: 900 });
            walk.step(Op::Read { key });
        }
        walk.step(Op::Flush);
    }
    let trouble = walk.log().health().expect("a full disk");
    assert_eq!(trouble.kind, io::ErrorKind::StorageFull);
    assert!(walk.log().usage().refused > 0);
    walk.disk.faults(Faults::default());
    walk.step(Op::Sync);
    assert_eq!(walk.log().health(), None);
    walk.step(Op::PowerLoss);
    heals(&mut walk);
}

#[test]
fn a_vanished_directory_is_made_again() {
    let mut walk = Walk::new(8, 9);
    walk.step(Op::Append { key: 1, bytes: 900 });
    walk.step(Op::Sync);
    walk.disk.faults(Faults { vanished: true, ..Faults::default() });
    walk.step(Op::Append { key: 2, bytes: 900 });
    walk.step(Op::Sync);
    assert_eq!(walk.log().health().map(|trouble| trouble.kind), Some(io::ErrorKind::NotFound));
    walk.step(Op::Read { key: 1 });
    walk.step(Op::Read { key: 2 });
    heals(&mut walk);
}
