//! What is read ahead of a client, seen by the files that are open: a chunk that was just put has none.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::tiers::manifest::Manifest;
use crate::tiers::shelf::Shelf;

/// A body of four chunks, the last a short one, and a pool of one thread, which does what it is told in order.
struct Stage {
    dir: PathBuf,
    pool: Runtime,
    large: Arc<Large>,
}

impl Stage {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-ahead-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let pool = Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
        let shelf = Shelf::open(&dir, 1 << 30, pool.handle().clone()).expect("it opens");
        let mut manifest = Manifest::of_length(LENGTH).expect("short enough");
        for index in 0..CHUNKS {
            let bytes = if index + 1 == CHUNKS { LAST } else { CHUNK };
            let bytes = vec![b'a' + u8::try_from(index).expect("few"); usize::try_from(bytes).expect("few")];
            manifest.note(index, shelf.chunks.put(&bytes).expect("room")).expect("within");
        }
        Self { dir, large: Large::of(&shelf, manifest, None), pool }
    }

    /// Whether the file system can tell what the page cache has; where it cannot, nothing is sent from files.
    fn can_tell(&self) -> bool {
        self.send(&mut self.large.reader(0, Some(1))) == 1
    }

    /// Waits until a part of a file is there, and takes it; 0 where there are bytes in its place.
    fn send(&self, reader: &mut LargeReader) -> u64 {
        let first = poll_fn(|cx| reader.poll_first(cx, &mut |_| panic!("nothing is missing")));
        let first = self.pool.block_on(first).expect("not at its end").expect("it is not cut");
        first.map_or_else(|| reader.file().expect("it was just there").length, |_| 0)
    }

    /// How many chunks were read when the pool is through with what it was given so far.
    fn read(&self) -> usize {
        self.pool.block_on(self.pool.spawn_blocking(|| ())).expect("it does not panic");
        self.large.shelf.chunks.usage().open_files
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn the_next_chunk_is_read_while_this_one_is_sent() {
    let stage = Stage::new("next");
    let mut reader = stage.large.reader(0, Some(LENGTH));
    assert_eq!(stage.read(), 0);
    if stage.send(&mut reader) == 0 {
        return;
    }
    for sent in 1..CHUNKS as usize {
        assert_eq!(stage.read(), sent + 1, "one more, however long this one takes");
        let part = reader.file().expect("it takes no waiting");
        assert_eq!(part.length, if sent + 1 == CHUNKS as usize { LAST } else { CHUNK });
    }
    assert_eq!(stage.read(), CHUNKS as usize);
    assert!(reader.file().is_none());
}

/// Whoever cannot be sent files gets pieces, each from its place.
#[test]
fn pieces_are_read_ahead_as_well() {
    let stage = Stage::new("pieces");
    if !stage.can_tell() {
        return;
    }
    let mut reader = stage.large.reader(CHUNK, Some(LENGTH));
    let mut at = CHUNK;
    loop {
        let next = poll_fn(|cx| reader.poll_next(cx, &mut |_| panic!("nothing is missing")));
        let Some(piece) = stage.pool.block_on(next) else { break };
        let piece = piece.expect("it is not cut");
        let index = index_of(at);
        assert!(piece.iter().all(|byte| *byte == b'a' + u8::try_from(index).expect("few")), "at {at}");
        at += piece.len() as u64;
        // Of the first chunk, `can_tell` has read a byte.
        assert_eq!(stage.read(), (index as usize + 2).min(CHUNKS as usize));
    }
    assert_eq!(at, LENGTH);
}

#[test]
fn nothing_is_read_beyond_the_end_of_a_range() {
    for (end, chunks) in [(1, 1), (CHUNK, 1), (CHUNK + 1, 2)] {
        let stage = Stage::new("range");
        let mut reader = stage.large.reader(0, Some(end));
        if stage.send(&mut reader) == 0 {
            return;
        }
        assert_eq!(stage.read(), chunks, "a range that ends at {end}");
    }
}

#[test]
fn for_a_client_that_left_nothing_more_is_read() {
    let stage = Stage::new("left");
    let mut reader = stage.large.reader(0, Some(LENGTH));
    let (release, held) = mpsc::channel::<()>();
    let first = poll_fn(|cx| reader.poll_first(cx, &mut |_| panic!("nothing is missing")));
    let first = stage.pool.block_on(first).expect("not at its end").expect("it is not cut");
    drop(stage.pool.spawn_blocking(move || held.recv()));
    if first.is_some() {
        return;
    }
    reader.file().expect("it was just there");
    drop(reader);
    drop(release);
    assert_eq!(stage.read(), 1);
}

#[test]
fn what_the_page_cache_has_is_not_asked_for_ahead() {
    let stage = Stage::new("warm");
    let mut first = stage.large.reader(0, Some(LENGTH));
    if stage.send(&mut first) == 0 {
        return;
    }
    while first.at < LENGTH {
        stage.send(&mut first);
    }
    let mut second = stage.large.reader(0, Some(LENGTH));
    while second.file().is_some() {
        assert!(second.next.is_none());
    }
    assert_eq!(second.at, LENGTH);
}

const CHUNKS: u32 = 4;
const LAST: u64 = 300_000;
const LENGTH: u64 = (CHUNKS as u64 - 1) * CHUNK + LAST;
