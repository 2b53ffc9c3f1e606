//! Appends, forgets, reads and reclaims at once: no wrong byte, and never a version below one that was complete before the look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use cache_store::tiers::files::Torn;
use cache_store::tiers::files::torn::Faults;
use cache_store::tiers::segments::{Appended, Segments};

use crate::model::{Random, append, check, key, read, settings, small};

const KEYS: u64 = 64;
const WRITERS: u64 = 2;

fn race(seed: u64, per_mille: u64) -> (u64, u64) {
    let disk = Torn::new(seed);
    let log = Segments::open(Arc::new(disk.clone()), settings(9)).expect("ours");
    disk.faults(Faults { per_mille, ..Faults::default() });
    let bars: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let found = AtomicU64::new(0);
    thread::scope(|scope| {
        let (log, bars, done, found) = (&log, &bars, &done, &found);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let mut random = Random::new(seed * 31 + writer);
                    for version in 1..4000u64 {
                        let number = random.below(KEYS / WRITERS) * WRITERS + writer;
                        if random.below(10) == 0 {
                            log.forget(key(number), version);
                            bars[small(number)].store(version + 1, Ordering::SeqCst);
                            continue;
                        }
                        // The length follows from the version, so that a reader knows it.
                        let kept = append(log, number, version, length(version));
                        assert_ne!(kept, Appended::Outdated);
                        if kept != (Appended::Kept { flush: false }) && random.below(8) > 0 {
                            let _ = log.flush();
                        }
                        bars[small(number)].store(version, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for reader in 0..2 {
            scope.spawn(move || {
                let mut random = Random::new(seed * 37 + reader);
                while !done.load(Ordering::SeqCst) {
                    let number = random.below(KEYS);
                    let bar = bars[small(number)].load(Ordering::SeqCst);
                    if let Some(read) = read(log, number) {
                        assert!(read.version >= bar, "key {number}: {} after {bar}", read.version);
                        check(number, &read, length(read.version));
                        found.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                let _ = log.flush();
                let _ = log.sync();
            }
        });
        for writer in writers {
            writer.join().expect("no panic");
        }
        done.store(true, Ordering::SeqCst);
    });
    disk.faults(Faults::default());
    log.sync().expect("sound again");
    let usage = log.usage();
    assert!(per_mille > 0 || usage.damaged == 0, "{usage:?}");
    // And what a restart finds is no older either.
    drop(log);
    let log = Segments::open(Arc::new(disk), settings(9)).expect("ours");
    for (number, bar) in (0..).zip(&bars) {
        if let Some(read) = read(&log, number) {
            assert!(read.version >= bar.load(Ordering::SeqCst));
            check(number, &read, length(read.version));
        }
    }
    (found.load(Ordering::Relaxed), usage.evicted)
}

fn length(version: u64) -> usize {
    small(version * 7 % 1800)
}

#[test]
fn threads_that_race_see_no_wrong_byte_and_no_older_version() {
    let (mut found, mut evicted) = (0, 0);
    for seed in 1..=6 {
        let (more, gone) = race(seed, 0);
        found += more;
        evicted += gone;
    }
    assert!(found > 1000 && evicted > 100, "{found} found, {evicted} evicted");
}

#[test]
fn nor_do_they_on_a_disk_that_fails() {
    for seed in 1..=3 {
        race(seed, 50);
    }
}
