//! A disk that kills the node at a call of our choice, or fails, fills up, dawdles or vanishes.
//!
//! `disk.c` stands between the node and its files (`LD_PRELOAD`), and does what the [`Control`] says. Whatever the disk does,
//! every answer must be whole, right, and no older than what was purged; and when it is well again, so must the node be.
//!
//! `TIDEGATE_CALLS` is how many calls are each died at (all from the first on; by default a few of the first 500), before it (with
//! `TIDEGATE_TORN=0` only so), and within it, half of it done (`TIDEGATE_TORN=1`); `TIDEGATE_REQUESTS` how many requests are made of a
//! failing disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::node::{Directory, Node};
use crate::origin::PAGES;
use crate::random::Random;
use crate::{Model, number};

#[test]
fn no_call_is_the_wrong_one_to_die_at() {
    let points: Vec<u64> = match number("TIDEGATE_CALLS") {
        Some(calls) => (1..=calls).collect(),
        None => (0..CALLS_BY_DEFAULT).map(|n| 1 + n * 500 / CALLS_BY_DEFAULT).collect(),
    };
    let (mut died, mut hits) = (0, 0);
    let phases = number("TIDEGATE_TORN").map_or(vec![false, true], |torn| vec![torn != 0]);
    for torn in phases.iter().copied() {
        let directory = Directory::new(if torn { "torn" } else { "calls" });
        let model = Model::new();
        for point in &points {
            // Two lives in three begin with what the last one left, so that recovery is died in as well.
            if point % 3 == 0 {
                directory.clear();
            }
            let control = Control::new();
            control.set(Field::KillTorn, torn.into());
            control.set(Field::KillAt, *point);
            if let Ok(node) =
                Node::spawn(model.origin.address(), directory.path(), &control.environment(&directory))
            {
                died += u64::from(model.ask_until_gone(&node, *point));
                node.kill();
            } else {
                died += 1;
            }
            let node = Node::start(model.origin.address(), directory.path());
            hits +=
                (0..PAGES).filter(|number| model.ask_again(&node, *number).expect("the node serves")).count();
            node.kill();
        }
    }
    println!("{died} of {} lives ended at their call; {hits} hits after it", phases.len() * points.len());
    assert!(
        died > (phases.len() * points.len() / 2) as u64 && hits > 0,
        "{died} deaths, {hits} hits prove nothing"
    );
}

#[test]
fn errors_of_the_disk_reach_no_client() {
    let (model, directory, control) = (Model::new(), Directory::new("errors"), Control::new());
    let node = Node::spawn(model.origin.address(), directory.path(), &control.environment(&directory))
        .expect("the disk is well");
    model.ask_often(&node, REQUESTS / 10, 1);
    control.set(Field::PerMille, 50);
    model.ask_often(&node, number("TIDEGATE_REQUESTS").unwrap_or(REQUESTS), 2);
    control.set(Field::PerMille, 0);
    let failed = control.get(Field::Failed);
    println!("{failed} of {} calls failed", control.get(Field::Calls));
    assert!(failed > 20, "{failed} calls failed: that proves nothing");
    recovers(&model, &node);
}

#[test]
fn a_full_disk_reaches_no_client() {
    let (model, directory, control) = (Model::new(), Directory::new("full"), Control::new());
    let node = Node::spawn(model.origin.address(), directory.path(), &control.environment(&directory))
        .expect("there is room");
    model.ask_often(&node, REQUESTS / 10, 1);
    control.set(Field::Full, 1);
    until(|| {
        model.ask_often(&node, 20, 3);
        node.ready().contains("disk")
    });
    model.ask_often(&node, REQUESTS / 4, 2);
    assert!(control.get(Field::Failed) > 0);
    control.set(Field::Full, 0);
    recovers(&model, &node);
}

#[test]
fn a_disk_that_dawdles_holds_nobody_up_but_purges() {
    let (model, directory, control) = (Model::new(), Directory::new("slow"), Control::new());
    let node = Node::spawn(model.origin.address(), directory.path(), &control.environment(&directory))
        .expect("the disk is well");
    control.set(Field::DelayMillis, 1000);
    let changes = control.get(Field::Changes);
    for number in 0..PAGES {
        model.ask(&node, number).expect("the node serves");
    }
    // Each of these pages would be a second late if it waited for its write.
    let waited = control.get(Field::Changes) - changes;
    assert!(waited < PAGES / 2, "{waited} writes of a second each were waited for by {PAGES} requests");
    control.set(Field::DelayMillis, 0);
    recovers(&model, &node);
}

#[test]
fn a_directory_that_vanishes_reaches_no_client() {
    let (model, directory, control) = (Model::new(), Directory::new("gone"), Control::new());
    let node = Node::spawn(model.origin.address(), directory.path(), &control.environment(&directory))
        .expect("it is there");
    model.ask_often(&node, REQUESTS / 10, 1);
    let away = directory.path().with_extension("away");
    std::fs::rename(directory.path(), &away).expect("it can be moved");
    model.ask_often(&node, REQUESTS / 4, 2);
    std::fs::rename(&away, directory.path()).expect("nobody made another");
    recovers(&model, &node);
}

/// The disk is well again: so is the node in the end, and its purges are durable.
fn recovers(model: &Model, node: &Node) {
    until(|| {
        model.ask_often(node, 20, 4);
        !node.ready().contains("disk")
    });
    for number in 0..PAGES {
        model.purge(node, number, false).expect("a purge is taken");
        model.ask(node, number).expect("the node serves");
    }
    // Something is kept again: memory holds less than a round, and what the disk was slow to begin may still hold its writer up.
    until(|| (0..PAGES).any(|number| model.ask(node, number).expect("the node serves")));
    node.kill();
}

/// Until it holds; a few thousand rounds of requests take longer than any of our ticks.
fn until(mut holds: impl FnMut() -> bool) {
    assert!((0..ROUNDS_MAX).any(|_| holds()), "it did not come");
}

impl Model {
    /// Asks and purges until the node is gone, or has had its chance; whether it is gone.
    fn ask_until_gone(&self, node: &Node, seed: u64) -> bool {
        let mut random = Random::new(seed);
        for _ in 0..CHANCES {
            let number = random.below(PAGES);
            let asked = match random.below(6) {
                0 => self.purge(node, number, random.below(3) == 0),
                _ => self.ask_again(node, number),
            };
            if let Err(error) = asked {
                assert!(node.is_ending(), "page {number}: {error}, and the node lives");
                return true;
            }
        }
        false
    }

    /// So many requests, each of which must be answered right.
    fn ask_often(&self, node: &Node, requests: u64, seed: u64) {
        let mut random = Random::new(seed);
        for _ in 0..requests {
            let number = random.below(PAGES);
            self.ask(node, number).unwrap_or_else(|error| panic!("page {number}: {error}"));
        }
    }
}

/// What the disk is told.
struct Control {
    file: File,
    path: PathBuf,
}

/// The fields of `struct control`, in its order.
#[derive(Clone, Copy)]
enum Field {
    KillAt,
    KillTorn,
    PerMille,
    Full,
    DelayMillis,
    Calls,
    Changes,
    Failed,
}

impl Control {
    fn new() -> Self {
        let number = CONTROLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("tidegate-crash-control-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.expect("a file for a test");
        file.set_len(4096).expect("it can grow");
        Self { file, path }
    }

    fn set(&self, field: Field, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), field as u64 * 8).expect("it can be written");
    }

    fn get(&self, field: Field) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, field as u64 * 8).expect("it can be read");
        u64::from_ne_bytes(bytes)
    }

    fn environment<'c>(&'c self, directory: &'c Directory) -> [(&'c str, &'c Path); 3] {
        [
            ("LD_PRELOAD", library()),
            ("TIDEGATE_DISK", directory.path()),
            ("TIDEGATE_DISK_CONTROL", &self.path),
        ]
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What is left behind harms nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `disk.c`, compiled once a run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-disk.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&to).arg(source).arg("-ldl");
        let made = compiler.status().expect("the C compiler that Rust links with");
        assert!(made.success(), "{compiler:?}");
        to
    })
}

static CONTROLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
/// Calls that are died at where nobody says how many.
const CALLS_BY_DEFAULT: u64 = 10;
/// Requests in which the node must have made its 500th call.
const CHANCES: u64 = 1_500;
const REQUESTS: u64 = 2_000;
const ROUNDS_MAX: u64 = 5_000;
