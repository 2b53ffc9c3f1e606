//! The chunks when the process is killed and when the disk refuses. Each needs a process of its own, which is this
//! binary again, told by the environment what to be.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cache_store::tiers::chunks::{ChunkId, ChunkStore, Limits, PutError, Walked};

const DIR: &str = "TIDEGATE_CHUNKS_DIR";
const BODIES: u64 = 300;

fn open(dir: &Path, chunks: u64) -> ChunkStore {
    let limits = Limits { bytes: 1 << 40, inodes: chunks, free_bytes_min: 0, open_files: 8 };
    ChunkStore::open(dir, limits).expect("it opens")
}

/// 1 byte to 250 KiB, told apart by its number.
fn body(number: u64) -> Vec<u8> {
    let len = 1 + usize::try_from(number.wrapping_mul(0x9e37_79b9) % 256_000).expect("small");
    let block: Vec<_> = (number..number + 64).flat_map(u64::to_le_bytes).collect();
    let mut body = block.repeat(len.div_ceil(block.len()));
    body.truncate(len);
    body
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a chunk")
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// This binary, to be run as one of its tests.
fn again(test: &str) -> Vec<String> {
    let this = std::env::current_exe().expect("this binary").display().to_string();
    [this, "--exact".into(), test.into(), "--nocapture".into()].into()
}

fn told() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_a_killed_process_leaves_is_whole_or_wiped() {
    let dir = scratch("killed");
    let mut kept = 0;
    for round in 0..12 {
        let command = again("being_the_process_that_is_killed");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env(DIR, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // Somewhere amid its work, at another place each time.
        let seen = lines.map_while(Result::ok).filter(|line| line.starts_with("step")).nth(5 + 13 * round);
        child.kill().expect("it runs until it is killed");
        child.wait().expect("it ended");
        assert!(seen.is_some(), "it worked until then");

        let store = open(&dir, 100);
        assert!(files(&dir.join("tmp")).is_empty(), "what was half written is wiped");
        for file in files(&dir.join("content-v2")) {
            let bytes = fs::read(&file).expect("readable");
            assert_eq!(store.path(ChunkId::of(&bytes)), file, "a file is what its name says");
        }
        while store.walk(512) == Walked::Some {}
        assert_eq!(files(&dir.join("content-v2")).len() as u64, store.usage().chunks);
        for number in 0..BODIES {
            let body = body(number);
            if let Some(read) = store.read(ChunkId::of(&body), 0..len(&body)) {
                assert_eq!(read, body);
                kept += 1;
            }
        }
        assert_eq!(store.health().corrupt, 0);
    }
    assert!(kept > 100, "{kept}: it did keep some");
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn being_the_process_that_is_killed() {
    let Some(dir) = told() else { return };
    let store = open(&dir, 100);
    // Ends by itself if nobody kills it.
    for step in 0..20_000u64 {
        let number = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        store.put(&body(number % BODIES)).expect("room is made");
        let other = body((number >> 8) % BODIES);
        if let Some(read) = store.read(ChunkId::of(&other), 0..len(&other)) {
            assert_eq!(read, other);
        }
        store.walk(200);
        store.reclaim();
        println!("step {step}");
    }
}

/// Needs no rights: a process may not write files longer than the limit that its shell has set.
#[test]
fn a_write_that_is_refused_halfway_leaves_nothing() {
    let dir = scratch("refused");
    let mut shell = Command::new("sh");
    // Ignored, the signal becomes an error of the write. 64 blocks of 512 bytes or 1024.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]);
    let status = shell.args(again("being_the_process_whose_writes_are_refused")).env(DIR, &dir).status();
    assert!(status.expect("a shell").success());
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn being_the_process_whose_writes_are_refused() {
    let Some(dir) = told() else { return };
    let store = open(&dir, 100);
    let (small, large) = (vec![1; 20_000], vec![2; 200_000]);
    let id = store.put(&small).expect("below the limit");
    for _ in 0..3 {
        assert!(matches!(store.put(&large), Err(PutError::Disk(_))));
    }
    assert!(store.health().failing);
    assert_eq!(store.health().write_errors, 3);
    assert_eq!(store.read(ChunkId::of(&large), 0..1), None);
    assert!(store.read(id, 0..len(&small)).is_some_and(|read| read == small));
    assert_eq!((files(&dir).len(), store.usage().chunks), (1, 1));
    store.put(b"another").expect("it heals by trying");
    assert!(!store.health().failing);
}

/// A disk of 4 MiB, then a disk that may only be read, in a mount namespace of its own. Where the system allows none,
/// says so; the tests above hold everywhere.
#[test]
fn a_full_disk_and_a_read_only_one_are_refusals_and_misses_and_heal() {
    let may = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tidegate", "/mnt"]).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("not run: no mount namespaces here");
        return;
    }
    let dir = scratch("full");
    let mut shell = Command::new("unshare");
    shell.args([
        "-rm",
        "sh",
        "-c",
        "mount -t tmpfs -o size=4m tidegate \"$TIDEGATE_CHUNKS_DIR\" && exec \"$0\" \"$@\"",
    ]);
    let status = shell.args(again("being_the_process_on_a_small_disk")).env(DIR, &dir).status();
    assert!(status.expect("it ran").success());
    fs::remove_dir_all(dir).expect("removed");
}

#[test]
fn being_the_process_on_a_small_disk() {
    let Some(dir) = told() else { return };
    let chunk = |number: u32| [number.to_le_bytes().to_vec(), vec![7; 600_000]].concat();
    let limits = Limits { bytes: 1 << 40, inodes: 1000, free_bytes_min: 0, open_files: 8 };
    let store = ChunkStore::open(&dir, limits).expect("it opens");

    // Others fill the disk behind our back: what is free is less than what a chunk takes, and nothing may be evicted.
    let id = store.put(&chunk(0)).expect("room");
    let pin = store.pin(id).expect("pinned");
    let others = dir.join("others");
    assert!(fs::write(&others, vec![0; 8 << 20]).is_err(), "4 MiB are full");
    let refused = store.put(&chunk(1));
    assert!(matches!(refused, Err(PutError::Full)), "{refused:?}");
    assert!(store.read(id, 0..600_004).is_some_and(|read| read == chunk(0)));
    fs::remove_file(&others).expect("removed");
    drop(pin);

    // Ours fill it: each makes its room.
    for number in 1..40 {
        store.put(&chunk(number)).expect("evicts for its room");
        let id = ChunkId::of(&chunk(number));
        assert!(store.read(id, 0..600_004).is_some_and(|read| read == chunk(number)));
    }
    assert!(store.usage().chunks < 8 && store.health().evicted >= 33);
    assert!(files(&dir.join("tmp")).is_empty());

    let remount = |how: &str| {
        let status = Command::new("mount").args(["-o", how]).arg(&dir).status().expect("mount runs");
        assert!(status.success());
    };
    let (kept, evictions) = (ChunkId::of(&chunk(39)), store.health().evicted);
    // A chunk's file that was kept open for writing would keep the disk from it.
    remount("remount,ro");
    assert!(store.read(kept, 0..600_004).is_some(), "what is there is served");
    let refused = store.put(b"new");
    assert!(
        matches!(&refused, Err(PutError::Disk(error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem),
        "{refused:?}"
    );
    assert!(store.remove(kept).is_err());
    assert!(store.contains(kept) && store.health().failing);
    assert_eq!(store.health().evicted, evictions);
    remount("remount,rw");
    store.put(b"new").expect("it heals by trying");
    assert!(!store.health().failing);
    assert_eq!(files(&dir.join("content-v2")).len() as u64, store.usage().chunks);
}
