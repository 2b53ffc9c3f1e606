//! What a purge promises, against a simple model: stores, fills in flight, purges of every scope, kills and power losses in any
//! order, over a disk that forgets what was not synced.
//!
//! A body carries the moment its fill began. The model knows, for each page, the moments of the purges that took it: nothing
//! that began before a hard one is ever served again, nothing that began before a soft one as fresh.

use std::sync::Arc;
use std::time::Duration;

use cache_store::coalesce::Fill;
use cache_store::lookup::Lookup;
use cache_store::purge::{Purge, Scope, Source, new_id};
use cache_store::store::CacheStore;
use cache_store::tiers::disk::Disk;
use cache_store::tiers::files::torn::Faults;
use cache_store::tiers::files::{Files, Torn};
use cache_store::timestamp::Timestamp;
use proptest::prelude::*;
use tokio::runtime::Handle;

use pages::{NOW, Page, text};

mod pages;

const PAGES: usize = 5;
/// Authority, path and tags of each page.
const SITE: [Page; PAGES] = [
    ("a", "/0", &["x"]),
    ("a", "/1/x", &["x", "y"]),
    ("a:8080", "/1/y", &[]),
    ("b", "/1/y", &["y"]),
    ("b", "/2", &["yy"]),
];

/// A purge in the model's words.
#[derive(Clone, Copy, Debug)]
enum What {
    Page(usize),
    Prefix(&'static str, &'static str),
    Host(&'static str),
    Tag(&'static str),
    Everything,
}

impl What {
    fn takes(self, page: usize) -> bool {
        let (authority, path, tags) = SITE[page];
        match self {
            Self::Page(one) => one == page,
            Self::Prefix(of, prefix) => authority == of && path.starts_with(prefix),
            Self::Host(host) => authority.split(':').next() == Some(host),
            Self::Tag(tag) => tags.contains(&tag),
            Self::Everything => true,
        }
    }

    fn scope(self, store: &CacheStore) -> Scope {
        match self {
            Self::Page(page) => {
                let (authority, path, _) = SITE[page];
                Scope::Url {
                    url: format!("http://{authority}{path}").into(),
                    keys: [pages::key(store, SITE[page])].into(),
                }
            }
            Self::Prefix(authority, path) => Scope::Prefix { authority: authority.into(), path: path.into() },
            Self::Host(host) => Scope::Host(host.into()),
            Self::Tag(tag) => Scope::Tag(tag.into()),
            Self::Everything => Scope::Everything,
        }
    }
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => (0..PAGES).prop_map(What::Page),
        1 => Just(What::Prefix("a", "/1/")),
        1 => Just(What::Prefix("b", "/")),
        1 => Just(What::Prefix("a:8080", "/1")),
        2 => prop_oneof![Just("a"), Just("b")].prop_map(What::Host),
        3 => prop_oneof![Just("x"), Just("y"), Just("z")].prop_map(What::Tag),
        1 => Just(What::Everything),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin { page: usize, stale: bool },
    End { nth: u8 },
    Abandon { nth: u8 },
    Purge { what: What, soft: bool },
    Look { page: usize },
    Flush,
    Kill { power: bool },
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let page = 0..PAGES;
    prop_oneof![
        8 => (page.clone(), any::<bool>()).prop_map(|(page, stale)| Step::Begin { page, stale }),
        8 => any::<u8>().prop_map(|nth| Step::End { nth }),
        1 => any::<u8>().prop_map(|nth| Step::Abandon { nth }),
        4 => (what(), any::<bool>()).prop_map(|(what, soft)| Step::Purge { what, soft }),
        12 => page.prop_map(|page| Step::Look { page }),
        2 => Just(Step::Flush),
        1 => any::<bool>().prop_map(|power| Step::Kill { power }),
        1 => Just(Step::Stop),
    ]
}

/// A store and the disk it comes back from.
struct Node {
    torn: Option<Torn>,
    store: Arc<CacheStore>,
}

impl Node {
    fn start(torn: Option<Torn>) -> Self {
        Self::start_at(torn, NOW)
    }

    fn start_at(torn: Option<Torn>, now: Timestamp) -> Self {
        let store = pages::store(torn.as_ref(), now, 1 << 30);
        Self { torn, store }
    }

    /// The store goes without a word, and another comes.
    fn again(self, power: bool) -> Self {
        let Self { torn, store } = self;
        let torn = torn.map(|mut torn| {
            if power {
                torn.power_loss();
            } else {
                torn.kill();
            }
            torn
        });
        // What it does at its end changes nothing on the disk that is left.
        drop(store);
        Self::start(torn)
    }

    fn look(&self, page: usize, now: Timestamp) -> Lookup {
        pages::look(&self.store, SITE[page], now)
    }

    fn purge(&self, what: What, soft: bool) -> bool {
        let id = new_id().expect("randomness");
        self.store.purge(Purge { id, at: NOW, soft, scopes: vec![what.scope(&self.store)] }).is_ok()
    }
}

fn end(fill: Fill, page: usize, text: &str) {
    pages::end(fill, SITE[page], text);
}

/// Follows the steps; panics with the page where a promise is broken.
fn follow(torn: Option<Torn>, steps: &[Step]) {
    let mut node = Node::start(torn);
    let mut fills: Vec<(usize, usize, Fill)> = Vec::new();
    let (mut hard, mut soft) = ([0; PAGES], [0; PAGES]);
    for (time, step) in (1_usize..).zip(steps) {
        match *step {
            Step::Begin { page, stale } => {
                // Ask late now and then, so that what is stored must be refreshed.
                let now = if stale { NOW.plus(Duration::from_secs(100)) } else { NOW };
                if let Lookup::Miss(fill) | Lookup::Stale(_, Some(fill)) = node.look(page, now) {
                    fills.push((time, page, fill));
                }
            }
            Step::End { nth } if !fills.is_empty() => {
                let (began, page, fill) = fills.swap_remove(usize::from(nth) % fills.len());
                end(fill, page, &format!("{page} {began}"));
            }
            Step::Abandon { nth } if !fills.is_empty() => {
                fills.swap_remove(usize::from(nth) % fills.len());
            }
            Step::Purge { what, soft: is_soft } => {
                assert!(node.purge(what, is_soft), "the disk is well");
                for page in (0..PAGES).filter(|page| what.takes(*page)) {
                    let last = if is_soft { &mut soft } else { &mut hard };
                    last[page] = time;
                }
            }
            Step::Look { page } => {
                let found = node.look(page, NOW);
                let Some(body) = text(&found) else { continue };
                let (of, began) = body.split_once(' ').expect("as written");
                assert_eq!(of, page.to_string(), "another page's body");
                let began: usize = began.parse().expect("a number");
                assert!(began > hard[page], "page {page}: purged at {}, begun at {began}", hard[page]);
                let fresh = matches!(found, Lookup::Fresh(_));
                assert!(
                    !fresh || began > soft[page],
                    "page {page}: purged softly at {}, yet fresh",
                    soft[page]
                );
            }
            Step::Flush => {
                if let Some(disk) = node.store.disk() {
                    disk.settle().expect("the disk is well");
                }
            }
            Step::Kill { power } => {
                fills.clear();
                node = node.again(power);
                if node.torn.is_none() {
                    // All is new, and so is the log.
                    (hard, soft) = ([0; PAGES], [0; PAGES]);
                }
            }
            Step::Stop => {
                fills.clear();
                node.store.tend_purges(Timestamp::from_secs(0)).expect("the disk is well");
                if let Some(disk) = node.store.disk() {
                    disk.close().expect("the disk is well");
                }
                node = node.again(false);
            }
            Step::End { .. } | Step::Abandon { .. } => {}
        }
    }
}

fn run(follow: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { follow() });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_fetched_before_a_purge_is_served_fresh_after_it(steps in prop::collection::vec(step(), 1..120)) {
        run(|| follow(None, &steps));
    }

    #[test]
    fn nor_after_any_number_of_kills(steps in prop::collection::vec(step(), 1..120), seed in any::<u64>()) {
        run(|| follow(Some(Torn::new(seed)), &steps));
    }
}

/// A start may find that the log's file is longer than it needs be.
#[test]
fn a_power_loss_right_after_a_start_costs_no_purge() {
    let page = |page, soft| Step::Purge { what: What::Page(page), soft };
    let steps = [
        Step::Begin { page: 0, stale: false },
        page(1, false),
        page(1, false),
        page(0, true),
        Step::End { nth: 0 },
        page(1, false),
        Step::Purge { what: What::Everything, soft: false },
        page(0, true),
        page(0, true),
        Step::Stop,
        Step::Kill { power: true },
        Step::Look { page: 0 },
    ];
    for seed in 0..20 {
        run(|| follow(Some(Torn::new(seed)), &steps));
    }
}

#[test]
fn what_was_fetched_again_since_its_purge_outlasts_a_kill() {
    for (soft, vary) in [(false, ""), (true, ""), (false, "x-device"), (true, "x-device")] {
        run(|| {
            let node = Node::start(Some(Torn::new(1)));
            for (page, text) in [(0, "0 1"), (1, "1 1")] {
                let Lookup::Miss(fill) = node.look(page, NOW) else { panic!("a miss") };
                pages::end_varied(fill, SITE[page], text, vary);
                assert!(node.purge(What::Page(page), soft));
            }
            let (Lookup::Miss(fill) | Lookup::Stale(_, Some(fill))) = node.look(0, NOW) else {
                panic!("it was purged")
            };
            pages::end_varied(fill, SITE[0], "0 2", vary);
            // It is on disk, and which purges that has heard of is not settled.
            node.store.disk().expect("there is one").settle().expect("well");
            let node = node.again(false);
            let found = node.look(0, NOW);
            assert!(matches!(found, Lookup::Fresh(_)), "soft {soft}, vary {vary:?}");
            assert_eq!(text(&found).as_deref(), Some("0 2"));
            let other = node.look(1, NOW);
            let is_gone =
                if soft { matches!(other, Lookup::Stale(..)) } else { matches!(other, Lookup::Miss(_)) };
            assert!(is_gone, "the other was not fetched again; soft {soft}, vary {vary:?}");
        });
    }
}

#[test]
fn a_purge_costs_a_record_and_a_record_is_not_written_twice() {
    run(|| {
        let node = Node::start(Some(Torn::new(1)));
        let source = |position| Source { name: "parent".into(), identity: 7, position };
        let order = |id| Purge { id, at: NOW, soft: false, scopes: vec![Scope::Everything] };
        let applied = node.store.replicate(vec![order(1), order(2), order(1)], source(3)).expect("well");
        assert_eq!(applied.iter().map(|applied| applied.sequence).collect::<Vec<_>>(), [1, 2, 1]);
        let node = node.again(true);
        let log = node.store.purge_log();
        assert_eq!(log.sequence(), 2);
        assert_eq!(log.source("parent").expect("well"), Some(source(3)));
        assert_eq!(
            log.since(1, 10).expect("well").iter().map(|logged| logged.purge.id).collect::<Vec<_>>(),
            [2]
        );
        node.store.purge(order(3)).expect("well");
        node.store.purge_log().note_given("parent", 3).expect("well");
        let node = node.again(true);
        let log = node.store.purge_log();
        let via = log.since(1, 10).expect("well").into_iter().map(|logged| logged.via).collect::<Vec<_>>();
        assert_eq!(via, ["parent".into(), Box::from("")]);
        assert_eq!(log.given("parent").expect("well"), 3);
    });
}

#[test]
fn a_purge_that_cannot_be_written_holds_all_the_same_and_says_so() {
    run(|| {
        let torn = Torn::new(1);
        let node = Node::start(Some(torn.clone()));
        let Lookup::Miss(fill) = node.look(0, NOW) else { panic!("a miss") };
        end(fill, 0, "0 1");
        torn.faults(Faults { per_mille: 1000, ..Faults::default() });
        assert!(!node.purge(What::Host("a"), false), "it is told");
        torn.faults(Faults::default());
        assert!(matches!(node.look(0, NOW), Lookup::Miss(_)), "and it holds");
        assert!(node.purge(What::Host("a"), false), "the log comes back with the disk");
        let sequence = node.store.purge_log().sequence();
        assert!((1..=2).contains(&sequence), "what failed may stand there all the same: {sequence}");
    });
}

#[test]
fn a_log_that_is_gone_makes_everything_stale() {
    run(|| {
        for damaged in [false, true] {
            let torn = Torn::new(1);
            let node = Node::start(Some(torn.clone()));
            let Lookup::Miss(fill) = node.look(0, NOW) else { panic!("a miss") };
            end(fill, 0, "0 1");
            node.store.disk().expect("it has one").close().expect("well");
            drop(node);
            if damaged {
                let file = torn.open("purges.redb").expect("it is there");
                file.write_at(&[0xff; 512], 0).expect("well");
            } else {
                torn.remove("purges.redb").expect("it is there");
            }
            let node = Node::start(Some(torn)).again(false);
            assert!(matches!(node.look(0, NOW), Lookup::Stale(..)), "damaged: {damaged}");
            assert_eq!(node.store.purge_log().sequence(), 1, "as a purge that a second restart knows of");
        }
    });
}

/// What was acknowledged may have stood in it alone. Nor does a start that is cut make it forgotten.
#[test]
fn a_journal_that_is_gone_or_cut_makes_everything_stale() {
    run(|| {
        let mut is_cut = false;
        for length in [None, Some(0), Some(4096), Some(5000)] {
            for calls in [None, Some(1), Some(3), Some(8), Some(20), Some(60), Some(150), Some(400)] {
                let torn = Torn::new(1);
                let node = Node::start(Some(torn.clone()));
                let Lookup::Miss(fill) = node.look(0, NOW) else { panic!("a miss") };
                end(fill, 0, "0 1");
                node.store.disk().expect("it has one").close().expect("well");
                assert!(node.purge(What::Host("b"), false));
                drop(node);
                match length {
                    None => torn.remove("purges.journal").expect("it is there"),
                    Some(length) => {
                        let file = torn.open("purges.journal").expect("it is there");
                        file.set_length(length).and_then(|()| file.sync()).expect("well");
                    }
                }
                let mut torn = torn;
                torn.faults(Faults { ends_after: calls, ..Faults::default() });
                let files: Arc<dyn Files> = Arc::new(torn.clone());
                let begun = Disk::over(&files, 64 << 20, Handle::current(), NOW);
                is_cut |= begun.is_err();
                drop((begun, files));
                torn.kill();
                torn.faults(Faults::default());
                let node = Node::start(Some(torn)).again(false);
                let found = node.look(0, NOW);
                assert!(matches!(found, Lookup::Stale(..)), "{length:?} {calls:?}: {found:?}");
            }
        }
        assert!(is_cut, "some of the starts are");
    });
}

/// Purges go into the database with the tick, or when the journal is full; none is lost on the way, and each has one number.
#[test]
fn what_the_journal_cannot_hold_is_in_the_database() {
    run(|| {
        let torn = Torn::new(1);
        let mut node = Node::start(Some(torn));
        for nth in 1..=600 {
            assert!(node.purge(What::Host("b"), nth % 3 == 0));
            if nth % 250 == 0 {
                node.store.tend_purges(NOW).expect("well");
            }
            if nth % 170 == 0 {
                node = node.again(true);
            }
        }
        let logged = node.store.purge_log().since(0, 1000).expect("well");
        let numbers: Vec<_> = logged.iter().map(|logged| logged.sequence).collect();
        assert_eq!(numbers, (1..=600).collect::<Vec<_>>());
        assert!(logged.iter().all(|logged| logged.purge.soft == (logged.sequence % 3 == 0)));
        let behind = node.store.purge_log().since(595, 3).expect("well");
        assert_eq!(behind.iter().map(|logged| logged.sequence).collect::<Vec<_>>(), [596, 597, 598]);
        assert_eq!(node.store.purge_log().first().expect("well"), 1);
    });
}

/// What was stored by a node that was started often is not above what its next log counts.
#[test]
fn a_log_that_is_gone_after_many_starts_makes_everything_stale() {
    run(|| {
        let torn = Torn::new(1);
        let often = |node: Node| (0..4).fold(node, |node, _| node.again(false));
        let node = often(Node::start(Some(torn)));
        let Lookup::Miss(fill) = node.look(0, NOW) else { panic!("a miss") };
        end(fill, 0, "0 1");
        node.store.disk().expect("it has one").close().expect("well");
        let torn = node.torn.clone().expect("it has one");
        drop(node);
        torn.remove("purges.redb").expect("it is there");
        // A start takes longer than that.
        let node = often(Node::start_at(Some(torn), NOW.plus(Duration::from_millis(100))));
        let found = node.look(0, NOW);
        assert!(matches!(found, Lookup::Stale(..)), "{found:?}");
    });
}

/// Whatever a bit of the log's file says: no panic, and what was purged is not served as fresh.
#[test]
fn a_flipped_bit_in_the_log_never_brings_back_what_was_purged() {
    run(|| {
        for seed in 0..200_u64 {
            let torn = Torn::new(seed);
            let node = Node::start(Some(torn.clone()));
            for page in 0..PAGES {
                let Lookup::Miss(fill) = node.look(page, NOW) else { panic!("a miss") };
                end(fill, page, &format!("{page} 1"));
            }
            node.store.disk().expect("it has one").settle().expect("well");
            for what in [What::Host("b"), What::Tag("y"), What::Prefix("a", "/0"), What::Page(2)] {
                assert!(node.purge(what, false));
            }
            // As it is after a clean end, and as it is behind the last commit.
            let mut torn = torn;
            if seed % 2 == 0 {
                drop(node);
            }
            torn.kill();
            let at = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if seed % 4 < 2 {
                torn.flip("purges.redb", at);
            } else {
                // Where the purges stand, and a block behind them.
                torn.flip("purges.journal", at % (5 * 4096 * 8));
            }
            let node = Node::start(Some(torn));
            for page in 0..PAGES {
                let found = node.look(page, NOW);
                assert!(!matches!(found, Lookup::Fresh(_)), "page {page}, bit {at}: {found:?}");
            }
        }
    });
}

/// Whatever is on the disk of a commit that failed when the power fails: what was acknowledged before holds.
#[test]
fn a_commit_that_is_torn_takes_no_purge_before_it_along() {
    run(|| {
        for seed in 0..400_u64 {
            let torn = Torn::new(seed);
            let node = Node::start(Some(torn.clone()));
            for page in 0..PAGES {
                let Lookup::Miss(fill) = node.look(page, NOW) else { panic!("a miss") };
                end(fill, page, &format!("{page} 1"));
            }
            node.store.disk().expect("it has one").settle().expect("well");
            assert!(node.purge(What::Tag("y"), false));
            torn.faults(Faults { at_call: Some(1 + seed % 16), ..Faults::default() });
            node.purge(What::Page(0), false);
            torn.faults(Faults::default());
            let node = node.again(true);
            for page in (0..PAGES).filter(|page| What::Tag("y").takes(*page)) {
                let found = node.look(page, NOW);
                assert!(!matches!(found, Lookup::Fresh(_)), "page {page}, seed {seed}: {found:?}");
            }
        }
    });
}
