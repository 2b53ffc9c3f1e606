//! kill -9 as the normal shutdown: the real binary over a disk, under mixed load, killed at random moments.
//!
//! Every body says which page and which generation of it it is, and carries its own checksum. The model is one number a
//! page: the generation that the origin had when the last hard purge of the page was *acknowledged*. After any number of
//! kills no answer may be corrupt, cut, of another page, or of an earlier generation than that.
//!
//! `TIDEGATE_KILLS` says how often (`tests/crash/run 1000` for a long one), `TIDEGATE_SEED` replays the requests; the moment of
//! a kill is the machine's. In `faults.rs` the disk has it: it kills at a call of our choice, or fails.

mod faults;
mod node;
mod origin;
mod random;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use node::{Directory, Node};
use origin::{Origin, PAGES, Told, page};
use random::Random;

#[test]
fn no_kill_makes_the_cache_lie() {
    let kills = number("TIDEGATE_KILLS").unwrap_or(12);
    let seed = number("TIDEGATE_SEED").unwrap_or(1);
    let model = Arc::new(Model::new());
    let directory = Directory::new("kills");
    let mut random = Random::new(seed);
    let (mut hits, mut doubts) = (0, 0);
    for round in 0..kills {
        let node = Arc::new(Node::start(model.origin.address(), directory.path()));
        doubts += u64::from(node.is_doubtful());
        let (steps, made) = channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (model, node, steps) = (Arc::clone(&model), Arc::clone(&node), steps.clone());
                let random = Random::new(seed ^ (round << 8) ^ client);
                std::thread::spawn(move || model.ask_on(&node, random, &steps))
            })
            .collect();
        drop(steps);
        // Fewer where every client has lost its node before: the next assertion tells why.
        let steps = usize::try_from(random.below(STEPS_MAX)).unwrap_or_default();
        let _ = made.iter().take(steps).count();
        node.kill();
        for client in clients {
            hits += client.join().expect("no answer was wrong");
        }
    }
    let node = Node::start(model.origin.address(), directory.path());
    doubts += u64::from(node.is_doubtful());
    let kept = (0..PAGES).filter(|number| model.ask_again(&node, *number).expect("the node serves")).count();
    node.kill();
    println!(
        "{kills} kills, {hits} hits between them, {doubts} starts in doubt of the purges; {kept} of {PAGES} pages were hits after the last"
    );
    assert!(hits > 0 && kept > 0, "a cache that never hits proves nothing");
}

/// What must hold.
struct Model {
    origin: Origin,
    /// The earliest generation that may still be seen, by page.
    floors: Vec<AtomicU64>,
}

impl Model {
    fn new() -> Self {
        Self { origin: Origin::open(), floors: (0..PAGES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Asks until the node is gone; how many answers were hits.
    fn ask_on(&self, node: &Node, mut random: Random, steps: &Sender<()>) -> u64 {
        let mut hits = 0;
        loop {
            let number = random.below(PAGES);
            let asked = if random.below(12) == 0 {
                self.purge(node, number, random.below(3) == 0)
            } else if origin::is_large(number) && random.below(2) == 0 {
                let (from, length) = (random.below(1_400_000), 1 + random.below(99_000));
                self.ask_part(node, number, from, length)
            } else {
                self.ask(node, number)
            };
            match asked {
                Ok(hit) => hits += u64::from(hit),
                // A part of a large page was missing, and the origin had another generation by then.
                Err(error) if origin::is_large(number) && error.kind() == io::ErrorKind::UnexpectedEof => {
                    if node.is_killed() {
                        return hits;
                    }
                }
                Err(error) => {
                    assert!(node.is_killed(), "page {number}: {error}, and the node lives");
                    return hits;
                }
            }
            // The test has enough.
            let _ = steps.send(());
        }
    }

    /// A page from the node; whether it was a hit. An error where the node is gone; panics at an answer that must not be.
    fn ask(&self, node: &Node, number: u64) -> io::Result<bool> {
        let floor = self.floor(number).load(Ordering::SeqCst);
        let answer = node.get(&page(number))?;
        assert_eq!(answer.status, 200, "page {number}");
        let told = origin::read(&answer.body)
            .unwrap_or_else(|| panic!("page {number} is corrupt in its {} bytes", answer.body.len()));
        assert_eq!(told.number, number, "another page's bytes");
        assert!(
            told.generation >= floor,
            "page {number}: generation {} after {floor} was purged",
            told.generation
        );
        assert!(
            told.generation <= self.origin.generation(number),
            "page {number}: a generation that never was"
        );
        Ok(answer.is_hit)
    }

    /// The same once more where a large page broke off: a chunk of it was lost, and the origin had another generation by then, so
    /// that what had been begun could not be ended. It is told by the cut, and costs no second one.
    fn ask_again(&self, node: &Node, number: u64) -> io::Result<bool> {
        match self.ask(node, number) {
            Err(error) if origin::is_large(number) && error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ask(node, number)
            }
            asked => asked,
        }
    }

    /// A part of a large page; as [`Model::ask`].
    fn ask_part(&self, node: &Node, number: u64, from: u64, length: u64) -> io::Result<bool> {
        let floor = self.floor(number).load(Ordering::SeqCst);
        let (from, length) = (usize::try_from(from).expect("small"), usize::try_from(length).expect("small"));
        let answer = node.get_part(&page(number), from, length)?;
        assert_eq!((answer.status, answer.body.len()), (206, length), "page {number}");
        let generation = answer.tag.expect("a large page has a tag");
        let told = Told { number, generation };
        assert!(
            origin::is_part(told, from, &answer.body),
            "page {number} is corrupt at {from}, {length} bytes"
        );
        assert!(generation >= floor, "page {number}: generation {generation} after {floor} was purged");
        Ok(answer.is_hit)
    }

    /// Changes a page and purges it.
    fn purge(&self, node: &Node, number: u64, soft: bool) -> io::Result<bool> {
        let generation = self.origin.change(number);
        node.purge(&page(number), soft)?;
        if !soft {
            self.floor(number).fetch_max(generation, Ordering::SeqCst);
        }
        Ok(false)
    }

    fn floor(&self, number: u64) -> &AtomicU64 {
        &self.floors[usize::try_from(number).expect("few pages")]
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

const CLIENTS: u64 = 4;
/// Requests between two kills, at most.
const STEPS_MAX: u64 = 600;
