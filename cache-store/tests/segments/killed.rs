//! A real process on a real directory, killed at any moment: what it had called durable is there, or something newer.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cache_store::tiers::files::Directory;
use cache_store::tiers::segments::{Appended, Recovery, Segments, Settings};

use crate::model::{Random, append, check, read, small};

const DIRECTORY: &str = "TIDEGATE_SEGMENTS_KILLED";
const SEED: &str = "TIDEGATE_SEGMENTS_SEED";
const KEYS: u64 = 200;
const ROUNDS: u64 = 25;

fn log(root: &Path) -> Segments {
    let settings = Settings {
        segment_bytes: 128 * 1024,
        buffer_bytes: 16 * 1024,
        ..Settings::for_capacity(16 * 128 * 1024)
    };
    Segments::open(Arc::new(Directory::new(root)), settings).expect("ours")
}

fn length(version: u64) -> usize {
    small(version * 13 % 2500)
}

/// Not a test of its own: the process that is killed. It tells after each sync up to which version all is durable.
#[test]
fn child() {
    let Ok(root) = std::env::var(DIRECTORY) else { return };
    let seed: u64 = std::env::var(SEED).expect("set").parse().expect("a number");
    let log = log(Path::new(&root));
    let mut random = Random::new(seed);
    let mut out = std::io::stdout();
    // Above all versions of the rounds before.
    for version in seed * 1_000_000..(seed + 1) * 1_000_000 {
        let number = version % KEYS;
        if !matches!(append(&log, number, version, length(version)), Appended::Kept { flush: false }) {
            let _ = log.flush();
        }
        if random.below(20) == 0 && log.sync().is_ok() {
            writeln!(out, "durable {version}").expect("the parent reads");
            out.flush().expect("the parent reads");
        }
    }
}

#[test]
fn a_killed_process_leaves_what_it_called_durable() {
    let root = std::env::temp_dir().join(format!("tidegate-segments-killed-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let mut random = Random::new(42);
    let mut found = 0;
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "killed::child", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, &root)
            .env(SEED, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut durable = 0;
        let mut left = 1 + random.below(200);
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while left > 0 && out.read_line(&mut line).expect("a line") > 0 {
            if let Some(version) = line.trim().strip_prefix("durable ") {
                durable = version.parse().expect("a number");
                left -= 1;
            }
            line.clear();
        }
        child.kill().expect("it runs");
        child.wait().expect("it died");
        // What it said before it died counts too.
        for line in out.lines().map_while(Result::ok) {
            durable =
                line.strip_prefix("durable ").and_then(|version| version.parse().ok()).unwrap_or(durable);
        }
        let log = log(&root);
        assert!(matches!(log.recovery(), Recovery::Segments { condemned: 0, .. }), "{:?}", log.recovery());
        for number in 0..KEYS {
            let Some(read) = read(&log, number) else { continue };
            found += 1;
            check(number, &read, length(read.version));
            // The newest version of the key that was durable in this round.
            let newest = durable - (durable - number) % KEYS;
            if newest >= round * 1_000_000 {
                assert!(read.version >= newest, "key {number}: {} after {newest}", read.version);
            }
        }
        assert_eq!(log.usage().damaged, 0);
        assert!(log.usage().objects >= KEYS / 2, "{:?}", log.usage());
    }
    assert!(found > ROUNDS * KEYS / 2, "{found} records were found");
    std::fs::remove_dir_all(&root).expect("ours");
}
