//! What the segment log costs: memory an object, time to open, bytes written a byte stored, time of a look and of a read.
//!
//! Workload: a million objects of 1 KB (64 B meta, 960 B payload), keys at random, on the file system of the temporary directory
//! (`TMPDIR` moves it); then objects of 1 KB and of 16 KB through a log of a third of their bytes, one in ten read again. "Warm"
//! is in the page cache, "cold" after it was told to forget the files. Run with `cargo bench -p cache-store --bench segments`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program that prints what it measured
#![allow(clippy::cast_precision_loss)] // figures for the eye

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::tiers::files::Directory;
use cache_store::tiers::segments::{Appended, Read, Record, Segments, Settings};

const OBJECTS: u64 = 1_000_000;
const META_BYTES: usize = 64;
const LOOKS: u64 = 1_000_000;
const READS: u64 = 200_000;

/// Set for the process that only opens the log and tells what that takes.
const OPEN_ONLY: &str = "TIDEGATE_BENCH_OPEN_ONLY";

fn main() {
    if let Some(root) = std::env::var_os(OPEN_ONLY) {
        let before = resident_bytes();
        let log = open(Path::new(&root), &Settings::for_capacity(2 << 30));
        let grown = resident_bytes().saturating_sub(before);
        println!(
            "  resident memory / object, opened       {:8.1} B",
            grown as f64 / log.usage().objects as f64
        );
        return;
    }
    let root = std::env::temp_dir().join(format!("tidegate-bench-segments-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    million(&root);
    let _ = std::fs::remove_dir_all(&root);
    for bytes in [1024, 16 * 1024] {
        churn(&root, bytes);
        let _ = std::fs::remove_dir_all(&root);
    }
}

fn million(root: &Path) {
    let settings = Settings::for_capacity(2 << 30);
    let before = resident_bytes();
    let log = open(root, &settings);
    let started = Instant::now();
    for number in 0..OBJECTS {
        append(&log, number, 1, 1024);
    }
    let appended = started.elapsed();
    log.sync().expect("synced");
    let synced = started.elapsed();
    let usage = log.usage();
    assert_eq!((usage.objects, usage.refused + usage.dropped), (OBJECTS, 0));
    let stored = OBJECTS * 1024;
    println!("1 M objects of 1 KB, {} MiB segments", settings.segment_bytes >> 20);
    println!("  append, flushed by the same thread     {:8.2} us each", micros(appended, OBJECTS));
    println!("  all of it, with the last sync          {:8.2} s", synced.as_secs_f64());
    println!("  bytes written / bytes stored           {:8.3}", usage.written_bytes as f64 / stored as f64);
    println!("  bytes on disk / object                 {:8.1}", usage.bytes as f64 / OBJECTS as f64);
    let grown = resident_bytes().saturating_sub(before);
    println!("  resident memory / object, filled       {:8.1} B", grown as f64 / OBJECTS as f64);
    looks(&log);
    reads(&log);
    drop(log);

    // Dropped without a close: what a kill leaves.
    for (name, is_cold) in [("warm", false), ("cold", true)] {
        if is_cold {
            forget_pages(root);
        }
        let started = Instant::now();
        let log = open(root, &settings);
        println!("  open after a kill, {name}                {:8.3} s", started.elapsed().as_secs_f64());
        assert_eq!(log.usage().objects, OBJECTS);
    }
    let log = open(root, &settings);
    let started = Instant::now();
    log.close().expect("closed");
    println!("  close                                  {:8.3} s", started.elapsed().as_secs_f64());
    drop(log);
    for (name, is_cold) in [("warm", false), ("cold", true)] {
        if is_cold {
            forget_pages(root);
        }
        let started = Instant::now();
        let log = open(root, &settings);
        println!("  open after a stop, {name}                {:8.3} s", started.elapsed().as_secs_f64());
        assert_eq!(log.usage().objects, OBJECTS);
    }
    // What a start takes is measured where nothing was freed before.
    if let Ok(program) = std::env::current_exe() {
        let child = std::process::Command::new(program).env(OPEN_ONLY, root).output().expect("a child");
        print!("{}", String::from_utf8_lossy(&child.stdout));
    }
}

fn looks(log: &Segments) {
    let mut random = 7;
    let started = Instant::now();
    for _ in 0..LOOKS {
        black_box(log.locate(key(next(&mut random) % OBJECTS)));
    }
    println!("  look, there                            {:8.1} ns", nanos(started.elapsed(), LOOKS));
    let started = Instant::now();
    for _ in 0..LOOKS {
        black_box(log.locate(key(OBJECTS + next(&mut random))));
    }
    println!("  look, not there                        {:8.1} ns", nanos(started.elapsed(), LOOKS));
}

fn reads(log: &Segments) {
    let mut random = 9;
    let (mut found, mut would_block) = (0, 0);
    let started = Instant::now();
    for _ in 0..READS {
        let Some(location) = log.locate(key(next(&mut random) % OBJECTS)) else { continue };
        match log.try_read(&location) {
            Read::Found(read) => {
                black_box(read);
                found += 1;
            }
            Read::WouldBlock => would_block += 1,
            Read::Miss => {}
        }
    }
    println!(
        "  look and try_read, warm                {:8.2} us ({found} found, {would_block} would block)",
        micros(started.elapsed(), READS)
    );
    let started = Instant::now();
    for _ in 0..READS {
        let location = log.locate(key(next(&mut random) % OBJECTS));
        black_box(location.and_then(|location| log.read(&location)));
    }
    println!("  look and read, warm                    {:8.2} us", micros(started.elapsed(), READS));
}

fn churn(root: &Path, bytes: usize) {
    let settings = Settings::for_capacity(256 << 20);
    let objects = 3 * settings.capacity_bytes / bytes as u64;
    let log = open(root, &settings);
    let mut random = 11;
    let started = Instant::now();
    for number in 0..objects {
        append(&log, number, 1, bytes);
        if number % 10 == 0 {
            // Among the newer half of what fits: like a popular object, read again before it is reclaimed.
            let back = next(&mut random) % (settings.capacity_bytes / bytes as u64 / 2);
            log.touch(key(number.saturating_sub(back)));
        }
    }
    log.sync().expect("synced");
    let usage = log.usage();
    println!(
        "{} MiB of {bytes} B objects through {} MiB",
        (objects * bytes as u64) >> 20,
        settings.capacity_bytes >> 20
    );
    println!(
        "  throughput                             {:8.0} MB/s",
        (objects * bytes as u64) as f64 / started.elapsed().as_secs_f64() / 1e6
    );
    println!(
        "  bytes written / bytes appended         {:8.3}",
        usage.written_bytes as f64 / (objects * bytes as u64) as f64
    );
    println!("  evicted {}, carried {}, refused {}", usage.evicted, usage.carried, usage.refused);
    assert!(usage.bytes <= settings.capacity_bytes);
}

fn open(root: &Path, settings: &Settings) -> Segments {
    Segments::open(Arc::new(Directory::new(root)), settings.clone()).expect("ours")
}

fn append(log: &Segments, number: u64, version: u64, bytes: usize) {
    let body = vec![u8::try_from(number % 251).unwrap_or_default(); bytes];
    let (meta, payload) = body.split_at(META_BYTES);
    let record = Record { key: key(number), version, flags: 0, meta, payload: &[payload] };
    while log.append(&record) != (Appended::Kept { flush: false }) {
        log.flush().expect("written");
        if log.locate(key(number)).is_some() {
            break;
        }
    }
}

fn key(number: u64) -> u128 {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(next(&mut state)) << 64 | u128::from(next(&mut state))
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)) >> 1
}

fn forget_pages(root: &Path) {
    for entry in std::fs::read_dir(root).expect("listed").flatten() {
        let path: PathBuf = entry.path();
        if let Ok(file) = std::fs::File::open(path) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

fn micros(elapsed: Duration, times: u64) -> f64 {
    elapsed.as_secs_f64() * 1e6 / times as f64
}

fn nanos(elapsed: Duration, times: u64) -> f64 {
    elapsed.as_secs_f64() * 1e9 / times as f64
}
