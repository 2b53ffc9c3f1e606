//! The promises of the chunks, on real directories.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

mod damage;
mod limits;

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tidegate-chunks-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn open(&self) -> ChunkStore {
        self.open_with(Limits { bytes: 1 << 30, inodes: 1 << 20, free_bytes_min: 0, open_files: 16 })
    }

    fn open_with(&self, limits: Limits) -> ChunkStore {
        ChunkStore::open(&self.0, limits).expect("it opens")
    }

    /// Every file under the content's directories.
    fn files(&self) -> Vec<PathBuf> {
        fn below(dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.expect("readable").path();
                if path.is_dir() { below(&path, files) } else { files.push(path) }
            }
        }
        let mut files = Vec::new();
        below(&self.0.join("content-v2"), &mut files);
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A seeded row of numbers (xorshift).
struct Row(u64);

impl Row {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(len).collect()
    }
}

fn limits(bytes: u64, inodes: u64) -> Limits {
    Limits { bytes, inodes, free_bytes_min: 0, open_files: 16 }
}

fn whole(bytes: &[u8]) -> Range<u32> {
    0..u32::try_from(bytes.len()).expect("a chunk")
}

fn walk_all(store: &ChunkStore) {
    while store.walk(1000) == Walked::Some {}
}

/// Chunks of one disk block each, told apart by a number.
fn put_numbered(store: &ChunkStore, numbers: Range<u32>) -> Vec<ChunkId> {
    numbers.map(|number| store.put(&number.to_le_bytes()).expect("room")).collect()
}

#[test]
fn equal_bytes_are_one_file() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let id = store.put(b"the same").expect("room");
    assert_eq!(store.put(b"the same").expect("known"), id);
    assert_eq!((store.usage().bytes, store.usage().chunks), (4096, 1));
    assert_eq!((store.health().written, store.health().shared), (1, 1));
    let again = scratch.open();
    assert_eq!(again.put(b"the same").expect("compared"), id);
    assert_eq!((again.health().written, again.health().shared), (0, 1), "an earlier life's file is compared");
    assert_eq!(scratch.files().len(), 1);
}

#[test]
fn cacache_reads_what_we_write_and_we_read_what_it_writes() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let ours = store.put(b"ours").expect("room");
    let named = cacache::Integrity::from_hex(ours.to_string(), cacache::Algorithm::Sha256).expect("a name");
    assert_eq!(cacache::read_hash_sync(&scratch.0, &named).expect("the path we computed"), b"ours");
    let theirs =
        cacache::write_hash_sync_with_algo(cacache::Algorithm::Sha256, &scratch.0, b"theirs").expect("room");
    let id = ChunkId::of(b"theirs");
    assert_eq!(theirs.to_hex().1, id.to_string());
    assert_eq!(store.read(id, 1..4).as_deref(), Some(&b"hei"[..]));
}

#[test]
fn a_range_is_read_and_what_lies_beyond_the_end_is_a_miss() {
    let scratch = Scratch::new();
    let id = scratch.open().put(b"0123456789").expect("room");
    let fresh = scratch.open();
    assert_eq!(fresh.read(id, 5..11), None, "on the first read");
    assert_eq!(fresh.read(id, 8..10).as_deref(), Some(&b"89"[..]));
    assert_eq!(fresh.read(id, 5..11), None, "and on a later one");
    #[allow(clippy::reversed_empty_ranges)] // as a caller may get it wrong
    let reversed = 3..2;
    assert_eq!(fresh.read(id, reversed.clone()), None);
    assert_eq!(fresh.try_read(id, reversed), None);
    assert_eq!(fresh.try_read(id, 0..u32::MAX), None);
    assert_eq!(fresh.read(id, 4..4).as_deref(), Some(&b""[..]));
    assert_eq!((fresh.health().corrupt, fresh.usage().chunks), (0, 1), "the chunk is well");
}

#[test]
fn chunks_of_no_length_or_too_much_are_refused() {
    let scratch = Scratch::new();
    let store = scratch.open();
    assert!(matches!(store.put(b""), Err(PutError::Length(0))));
    assert!(matches!(store.put(&vec![0; 1_048_577]), Err(PutError::Length(1_048_577))));
    assert!(store.put(&vec![0; 1_048_576]).is_ok());
}

#[test]
fn reading_without_waiting_needs_a_verified_chunk_in_the_page_cache() {
    let scratch = Scratch::new();
    let id = scratch.open().put(b"warm").expect("room");
    let fresh = scratch.open();
    assert_eq!(fresh.try_read(id, 0..4), None, "not verified in this life");
    walk_all(&fresh);
    assert_eq!(fresh.try_read(id, 0..4), None, "seen by the walk is not verified");
    assert_eq!(fresh.read(id, 0..4).as_deref(), Some(&b"warm"[..]));
    // A file system that cannot tell says so, to us and to this test.
    let file = fs::File::open(fresh.path(id)).expect("there");
    let expected = content::read_cached(&file, 1..3).map(Bytes::from);
    assert_eq!(fresh.try_read(id, 1..3), expected);
    if let Some(read) = expected {
        assert_eq!(read, b"ar"[..]);
    }
}

#[test]
fn what_was_warmed_is_verified_open_and_in_the_page_cache() {
    let scratch = Scratch::new();
    let bytes = Row(7).bytes(300_000);
    let id = scratch.open().put(&bytes).expect("room");
    let fresh = scratch.open();
    for range in [whole(&bytes), 70_000..300_000, 5..5] {
        assert_eq!(fresh.warm(id, range.clone()), Some(()));
        if content::read_cached(&fs::File::open(fresh.path(id)).expect("there"), 0..1).is_some() {
            assert!(fresh.try_file(id, &range).is_some(), "{range:?}");
        }
    }
    assert_eq!(fresh.warm(id, 0..300_001), None, "beyond its end");
    assert_eq!((fresh.health().corrupt, fresh.usage().chunks), (0, 1), "the chunk is well");
    // Cut under our hands: what is not there is no longer a chunk.
    fs::File::options().write(true).open(fresh.path(id)).expect("there").set_len(100_000).expect("cut");
    assert_eq!(fresh.warm(id, whole(&bytes)), None);
    assert_eq!(fresh.usage().chunks, 0);
    let damaged = scratch.open();
    fs::create_dir_all(damaged.path(id).parent().expect("below others")).expect("made");
    fs::write(damaged.path(id), vec![0; 300_000]).expect("written");
    assert_eq!(damaged.warm(id, 0..1), None, "not what its name says");
    assert_eq!(damaged.health().corrupt, 1);
}

/// Whichever part of it, however much of it is there, and however the system reads ahead.
#[test]
#[cfg(target_os = "linux")]
fn what_was_warmed_is_there_after_the_page_cache_let_go_of_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let bytes = Row(7).bytes(CHUNK_BYTES as usize);
    for len in [1, 4096, 4097, 300_000, 1 << 20] {
        let bytes = &bytes[..len];
        let id = store.put(bytes).expect("room");
        let file = fs::File::open(store.path(id)).expect("there");
        file.sync_all().expect("written");
        let end = whole(bytes).end;
        for range in [0..end, 0..end / 2, end / 2..end, end - 1..end] {
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a file");
            assert_eq!(store.warm(id, range.clone()), Some(()));
            let there = content::read_cached(&file, range.clone());
            assert!(there.is_none_or(|there| there == bytes[range.start as usize..range.end as usize]));
            if content::read_cached(&file, 0..0).is_some() {
                assert!(store.try_file(id, &range).is_some(), "{range:?} of {len}");
                let read = store.try_read(id, range.start..range.end.min(range.start + 128 * 1024));
                assert!(read.is_some(), "{range:?} of {len}, a piece at a time");
            }
        }
    }
}

#[test]
fn what_a_killed_write_left_is_wiped_at_the_start() {
    let scratch = Scratch::new();
    let id = scratch.open().put(b"kept").expect("room");
    fs::write(scratch.0.join("tmp/half"), b"hal").expect("writes");
    let store = scratch.open();
    assert_eq!(fs::read_dir(scratch.0.join("tmp")).expect("there").count(), 0);
    assert!(store.read(id, 0..4).is_some());
}

#[test]
fn open_files_are_bounded_and_a_hot_one_is_kept() {
    let scratch = Scratch::new();
    let store = scratch.open_with(Limits { open_files: 4, ..limits(1 << 30, 1000) });
    let ids = put_numbered(&store, 0..1);
    for number in 1..100 {
        store.read(ids[0], 0..4).expect("hot");
        put_numbered(&store, number..number + 1);
        assert!(store.usage().open_files <= 4);
    }
    assert!(store.files.find(ids[0]).is_some());
    store.remove(ids[0]).expect("unlinked");
    assert!(store.files.find(ids[0]).is_none(), "and its space is free");
    let none = scratch.open_with(Limits { open_files: 0, ..limits(1 << 30, 1000) });
    assert!(none.read(ids[0], 0..4).is_none());
    assert!(none.read(ChunkId::of(&5u32.to_le_bytes()), 0..4).is_some());
    assert_eq!(none.usage().open_files, 0);
}

#[test]
fn a_directory_that_vanished_is_misses_and_heals_by_the_next_put() {
    let scratch = Scratch::new();
    let store = scratch.open_with(Limits { open_files: 0, ..limits(1 << 30, 1000) });
    let ids = put_numbered(&store, 0..10);
    fs::remove_dir_all(&scratch.0).expect("removed");
    assert_eq!(store.read(ids[0], 0..4), None);
    assert_eq!(store.usage().chunks, 9, "what is missed is forgotten");
    let id = store.put(b"again").expect("the directories are made again");
    assert!(store.read(id, 0..5).is_some());
    assert_eq!(store.put(&0u32.to_le_bytes()).expect("written again"), ids[0]);
    assert!(store.read(ids[0], 0..4).is_some());
    // In the way of the directory stands a file.
    fs::remove_dir_all(&scratch.0).expect("removed");
    fs::write(&scratch.0, b"").expect("writes");
    assert!(matches!(store.put(b"nowhere"), Err(PutError::Disk(_))));
    assert!(store.health().failing);
    assert_eq!(store.read(id, 0..5), None);
    fs::remove_file(&scratch.0).expect("removed");
    assert!(store.put(b"nowhere").is_ok());
    assert!(!store.health().failing);
    store.table.check_invariants();
}

#[test]
fn a_put_amid_an_eviction_of_the_same_bytes_stays() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let id = store.put(b"wanted").expect("room");
    assert_eq!(store.table.victim(), Some(id));
    assert!(!store.contains(id) && store.pin(id).is_none(), "on its way out");
    assert_eq!(store.table.victim(), None, "nobody chooses it twice");
    store.put(b"wanted").expect("room");
    assert!(store.contains(id), "the eviction finds it is wanted");
    store.table.check_invariants();
}

#[test]
fn an_entry_takes_no_more_than_64_bytes_where_the_index_has_just_grown() {
    let table = Table::new(&limits(u64::MAX, u64::MAX));
    // 256 shards of 460: behind 448, where an index of 512 places grows to 1024.
    let chunks = 256 * 460;
    for number in 0..chunks {
        table.insert(ChunkId::of(&u32::to_le_bytes(number)), CHUNK_BYTES, Entering::Verified, None);
    }
    table.check_invariants();
    let bytes = table.memory_bytes();
    assert!(bytes <= 64 * chunks as usize, "{bytes} bytes for {chunks} entries");
    while let Some(id) = table.victim() {
        table.remove(id);
    }
    assert_eq!((table.chunks(), table.bytes()), (0, 0));
    table.check_invariants();
}

/// Four threads put, read, pin, remove, evict and walk forty bodies in a store that holds ten of them.
#[test]
fn nothing_wrong_is_read_whatever_runs_at_once() {
    let scratch = Scratch::new();
    let store = scratch.open_with(limits(1 << 30, 10));
    let bodies: Vec<_> =
        (0..40u8).map(|seed| Row(u64::from(seed) + 1).bytes(100 + 97 * usize::from(seed))).collect();
    let ids: Vec<_> = bodies.iter().map(|body| ChunkId::of(body)).collect();
    let (hits, pinned_kept) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let (store, bodies, ids, hits, pinned_kept) = (&store, &bodies, &ids, &hits, &pinned_kept);
            scope.spawn(move || {
                let mut row = Row(seed * 0x9e37);
                for _ in 0..2500 {
                    let at = row.below(40);
                    let (id, body) = (ids[at], &bodies[at]);
                    let from = row.below(body.len());
                    let range = u32::try_from(from).expect("small")..whole(body).end;
                    match row.below(8) {
                        0..=2 => drop(store.put(body)),
                        3..=4 => {
                            let read = store.try_read(id, range.clone()).or_else(|| store.read(id, range));
                            if let Some(read) = read {
                                assert_eq!(read, body[from..]);
                                hits.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        5 => {
                            if let Some(_pin) = store.pin(id)
                                && store.put(body).is_ok()
                            {
                                // Removed by hand it may be; evicted it is not.
                                while row.below(4) > 0 {
                                    store.evict();
                                }
                                pinned_kept.fetch_add(u32::from(store.contains(id)), Ordering::Relaxed);
                            }
                        }
                        6 if row.below(20) == 0 => store.remove(id).expect("unlinked"),
                        6 => drop(store.reclaim()),
                        _ => drop(store.walk(3)),
                    }
                }
            });
        }
    });
    store.table.check_invariants();
    assert_eq!(store.usage().pins, 0);
    assert!(store.usage().chunks <= 10);
    assert!(hits.load(Ordering::Relaxed) > 100 && pinned_kept.load(Ordering::Relaxed) > 100);
    let known: HashMap<_, _> = ids.iter().map(|id| (store.path(*id), store.contains(*id))).collect();
    for file in scratch.files() {
        assert_eq!(known.get(&file), Some(&true), "a file that nobody accounts for");
    }
    assert_eq!(scratch.files().len() as u64, store.usage().chunks);
    assert_eq!(store.health().corrupt, 0);
    assert_eq!(fs::read_dir(scratch.0.join("tmp")).expect("there").count(), 0);
}
