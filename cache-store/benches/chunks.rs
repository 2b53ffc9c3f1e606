//! What the chunks cost: CPU a MiB to put and to read, beside cacache's own writing, and memory a chunk at a million.
//!
//! `cargo bench -p cache-store --bench chunks [-- DIR]`; DIR is on the file system to measure, the temporary directory
//! where none is given. CPU is user and system time of the process, so the disk's own speed stays out. A million chunks
//! are hard links to a few files, entered by the walk as after a start.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use cache_store::tiers::chunks::{CHUNK_BYTES, ChunkId, ChunkStore, Limits, Walked};
use rustix::time::{ClockId, clock_gettime};

const CHUNKS: u32 = 256;
const WALKED: u32 = 1_000_000;

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let dir = named.map_or_else(std::env::temp_dir, PathBuf::from).join("tidegate-bench-chunks");
    let _ = fs::remove_dir_all(&dir);
    // First: what the process had before would be taken for its own again.
    million(&dir);
    fs::remove_dir_all(&dir).expect("removed");
    for _ in 0..3 {
        transfers(&dir);
        fs::remove_dir_all(&dir).expect("removed");
    }
}

fn open(dir: &Path) -> ChunkStore {
    let limits = Limits { bytes: 1 << 42, inodes: 1 << 24, free_bytes_min: 0, open_files: 512 };
    ChunkStore::open(dir, limits).expect("it opens")
}

fn transfers(dir: &Path) {
    // A store makes its own directory, not the one above it.
    fs::create_dir_all(dir).expect("a directory");
    let sha256 = cacache::Algorithm::Sha256;
    let chunks: Vec<_> = (0..CHUNKS).map(chunk).collect();
    let ids: Vec<_> = chunks.iter().map(|chunk| ChunkId::of(chunk)).collect();
    let chunk = |number: u32| &chunks[number as usize][..];
    let name =
        |number: u32| cacache::Integrity::from_hex(ids[number as usize].to_string(), sha256).expect("a name");
    let [ours, theirs, theirs_asking] = ["ours", "theirs", "theirs-asking"].map(|name| dir.join(name));
    let store = open(&ours);
    in_turn(&mut [
        ("hash (SHA-256)", &mut |number| {
            black_box(ChunkId::of(chunk(number)));
        }),
        ("put, new", &mut |number| {
            store.put(chunk(number)).expect("room");
        }),
        ("cacache write, not asking whether it is there", &mut |number| {
            cacache::write_hash_sync_with_algo(sha256, &theirs, chunk(number)).expect("room");
        }),
        ("cacache write, asking first", &mut |number| {
            black_box(ChunkId::of(chunk(number)));
            cacache::write_hash_sync_with_algo(sha256, &theirs_asking, chunk(number)).expect("room");
        }),
        ("put, known", &mut |number| {
            store.put(chunk(number)).expect("known");
        }),
    ]);
    let (store, mut waiting) = (open(&ours), 0);
    let read = |number: u32, len: u32| {
        for piece in 0..CHUNK_BYTES / len {
            black_box(store.read(ids[number as usize], piece * len..(piece + 1) * len).expect("there"));
        }
    };
    in_turn(&mut [
        ("read, first in this life", &mut |number| read(number, CHUNK_BYTES)),
        ("read, whole", &mut |number| read(number, CHUNK_BYTES)),
        ("read, 16 x 64 KiB", &mut |number| read(number, CHUNK_BYTES / 16)),
        ("read without waiting, 16 x 64 KiB", &mut |number| {
            for piece in 0..16 {
                let range = piece << 16..(piece + 1) << 16;
                waiting += u32::from(black_box(store.try_read(ids[number as usize], range)).is_none());
            }
        }),
        ("cacache read, whole", &mut |number| {
            black_box(cacache::read_hash_sync(&ours, &name(number)).expect("there"));
        }),
    ]);
    print(&format!("             {waiting} of {} would have waited", 16 * CHUNKS));
}

/// The walk over a million names; memory by our own count and by the kernel's.
fn million(dir: &Path) {
    let content = dir.join("content-v2/sha256");
    let mut target = PathBuf::new();
    for number in 0..WALKED {
        let name = ChunkId::of(&number.to_le_bytes()).to_string();
        let fan = content.join(&name[..2]).join(&name[2..4]);
        if number < 65_536 * 4 {
            fs::create_dir_all(&fan).expect("a directory");
        }
        let path = fan.join(&name[4..]);
        // Fewer links than any file system allows.
        if number % 30_000 == 0 {
            let _ = fs::create_dir_all(&fan);
            fs::write(&path, b"x").expect("written");
            target = path;
        } else if fs::hard_link(&target, &path).is_err() {
            fs::create_dir_all(&fan).expect("a directory");
            fs::hard_link(&target, &path).expect("linked");
        }
    }
    let before = resident();
    let opened = cpu();
    let store = open(dir);
    let open_us = cpu() - opened;
    let start = cpu();
    while store.walk(10_000) == Walked::Some {}
    let walked = cpu() - start;
    let chunks = store.usage().chunks;
    assert_eq!(chunks, u64::from(WALKED));
    #[allow(clippy::cast_precision_loss)] // a figure to read
    let per = |bytes: usize| bytes as f64 / chunks as f64;
    print(&format!("{open_us:9.0} us  open over {chunks} chunks"));
    print(&format!("{:9.2} us  walk, a chunk", walked / f64::from(WALKED)));
    print(&format!("{:9.1} B   a chunk, accounted", per(store.accounting_bytes())));
    print(&format!("{:9.1} B   a chunk, resident", per(resident().saturating_sub(before))));
}

/// A chunk that differs from every other in every block.
fn chunk(number: u32) -> Vec<u8> {
    let words = number * (CHUNK_BYTES / 4)..(number + 1) * (CHUNK_BYTES / 4);
    words.flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

/// CPU a step. One step of each after the other: what the machine does meanwhile is the same for all.
fn in_turn(steps: &mut [(&str, &mut dyn FnMut(u32))]) {
    let mut taken = vec![0.0; steps.len()];
    for number in 0..CHUNKS {
        for ((_, step), taken) in steps.iter_mut().zip(&mut taken) {
            let start = cpu();
            step(number);
            *taken += cpu() - start;
        }
    }
    for ((name, _), taken) in steps.iter().zip(taken) {
        print(&format!("{:9.1} us  {name}", taken / f64::from(CHUNKS)));
    }
}

/// Microseconds of CPU so far.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss)] // a figure to read
    let us = time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3;
    us
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let state = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = state.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

#[allow(clippy::print_stdout)] // it is what a bench is for
fn print(line: &str) {
    println!("{line}");
}
