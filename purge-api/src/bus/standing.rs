//! What a node can prove to others about the purges it has applied.
//!
//! A log is named by its identity; a [`Position`] in it says "everything up to here". Every node knows its own log, and how far
//! it has come in those it follows (its parents' logs, or the fleet's stream). A child asks a parent "as of at least this
//! position"; the parent answers from its cache only when it is there.
//!
//! Invariant: [`Standing::required`] is a position in a log that the parent follows too, at which that parent has applied
//! everything that has been applied here; where there is none to name, the parent is not asked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cache_store::purge::PurgeLog;
use parking_lot::Mutex;
use tokio::sync::watch;

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Which log.
    pub log: u128,
    /// Everything up to this number.
    pub sequence: u64,
}

/// Where a node stands. Shared by whoever follows logs, gives purges to others, and serves.
#[derive(Debug)]
pub struct Standing {
    /// The node's own log.
    log: Arc<PurgeLog>,
    /// By name: what it follows and gives to.
    others: Mutex<BTreeMap<Box<str>, Other>>,
    changed: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Other {
    /// How far its log has been applied here.
    applied: Option<Position>,
    /// How far it is being applied: what comes from it is here from some moment on, before `applied` can say so.
    coming: Option<Position>,
    /// Of the node's own log, how much has been given to it or came from it.
    given: u64,
    /// A position of its log at which it has all of `given`.
    holds: Option<Position>,
}

/// Whether a position has been reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Met {
    /// Everything up to it has been applied here.
    Yes,
    /// Not yet, but the log is followed.
    NotYet,
    /// It is of a log that is not known here, or of one that has been lost.
    Unknown,
}

impl Standing {
    /// That of a node with this log, which follows nobody yet.
    pub fn new(log: Arc<PurgeLog>) -> Self {
        Self { log, others: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// The log of `other` is about to be applied here up to this position. From now on it is not asked as of an earlier one.
    pub fn coming(&self, other: &str, position: Position) {
        self.others.lock().entry(other.into()).or_default().coming = Some(position);
    }

    /// The log of `other` has been applied here up to this position.
    pub fn followed(&self, other: &str, position: Position) {
        self.change(other, |other| other.applied = Some(position));
    }

    /// `other` has everything of the node's own log up to `given`, at the latest at position `holds` of its log.
    pub fn given(&self, other: &str, given: u64, holds: Position) {
        self.change(other, |other| {
            other.given = other.given.max(given);
            other.holds = match other.holds {
                Some(known) if known.log == holds.log && known.sequence > holds.sequence => Some(known),
                _ => Some(holds),
            };
        });
    }

    /// Of the node's own log up to `given`, `other` needs nothing more: it came from there, or concerns nobody else.
    pub fn given_nothing(&self, other: &str, given: u64) {
        self.change(other, |other| other.given = other.given.max(given));
    }

    /// What to ask of a parent: the position at which it has applied all that has been applied here. `None`: there is something
    /// it may not have heard of, so it must not be asked. Ask after the fetch has its epoch: a purge that this then does not know
    /// of is one that the fetch is older than.
    pub fn required(&self, parent: &str) -> Option<Position> {
        let announced = self.log.announced();
        let others = self.others.lock();
        let other = others.get(parent)?;
        if other.given < announced {
            return None;
        }
        let followed = other.applied.or(other.coming).or(other.holds)?;
        if other.coming.is_some_and(|coming| coming.log != followed.log) {
            // Another log is about to take its place, and what is stored here is about to be distrusted.
            return None;
        }
        let positions = [other.applied, other.coming, other.holds].into_iter().flatten();
        positions.filter(|position| position.log == followed.log).max_by_key(|position| position.sequence)
    }

    /// The position of `other`'s log at which it has everything of the node's own up to `sequence`; `None` while it has not.
    pub fn holds(&self, other: &str, sequence: u64) -> Option<Position> {
        let others = self.others.lock();
        others.get(other).filter(|other| other.given >= sequence)?.holds
    }

    /// How far the log of `other` has been applied here.
    pub fn position(&self, other: &str) -> Option<Position> {
        self.others.lock().get(other)?.applied
    }

    /// Whether everything up to a position has been applied here.
    pub fn meets(&self, wanted: Position) -> Met {
        let own = Position { log: self.log.identity(), sequence: self.log.sequence() };
        let others = self.others.lock();
        let applied = others.values().filter_map(|other| other.applied);
        let here = applied.chain([own]).find(|position| position.log == wanted.log);
        match here {
            Some(position) if position.sequence >= wanted.sequence => Met::Yes,
            Some(_) => Met::NotYet,
            None => Met::Unknown,
        }
    }

    /// Wakes whenever more has been applied of the logs it follows; the node's own says so itself.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn change(&self, other: &str, change: impl FnOnce(&mut Other)) {
        change(self.others.lock().entry(other.into()).or_default());
        self.changed.send_replace(());
    }
}

/// As children send it: the log in hexadecimal, a colon, the number.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}:{}", self.log, self.sequence)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (log, sequence) = text.split_once(':').ok_or(())?;
        if log.len() != 32 || sequence.len() > 20 || !sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        let log = u128::from_str_radix(log, 16).map_err(drop)?;
        Ok(Self { log, sequence: sequence.parse().map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use cache_store::purge::{Purge, Scope, new_id};
    use cache_store::store::{CacheStore, MemoryAdmission, Settings};
    use cache_store::timestamp::Timestamp;

    use super::*;

    const fn at(log: u128, sequence: u64) -> Position {
        Position { log, sequence }
    }

    fn purged(store: &CacheStore) {
        let id = new_id().expect("randomness");
        let purge = Purge { id, at: Timestamp::from_secs(1), soft: false, scopes: vec![Scope::Everything] };
        store.purge(purge).expect("memory refuses nothing");
    }

    fn node() -> Arc<CacheStore> {
        CacheStore::new(&Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 20,
            secret: [1; 32],
        })
    }

    #[test]
    fn a_parent_is_asked_only_when_it_has_what_was_applied_here() {
        let store = node();
        let standing = Standing::new(Arc::clone(store.purge_log()));
        assert_eq!(standing.required("p"), None, "nothing is known of it");
        standing.followed("p", at(2, 10));
        assert_eq!(standing.required("p"), Some(at(2, 10)));
        purged(&store);
        assert_eq!(standing.required("p"), None, "it has not heard of purge 1");
        standing.given("p", 1, at(2, 12));
        assert_eq!(standing.required("p"), Some(at(2, 12)), "as of the number under which it has it");
        standing.followed("p", at(2, 15));
        assert_eq!(standing.required("p"), Some(at(2, 15)));
        purged(&store);
        standing.given_nothing("p", 2);
        standing.followed("p", at(3, 1));
        assert_eq!(standing.required("p"), Some(at(3, 1)), "another log in its place is what counts");
    }

    #[test]
    fn a_parent_tells_what_it_has() {
        let store = node();
        let own = store.purge_log().identity();
        let standing = Standing::new(Arc::clone(store.purge_log()));
        purged(&store);
        standing.followed("stream", at(9, 40));
        for (wanted, met) in [
            (at(own, 1), Met::Yes),
            (at(own, 2), Met::NotYet),
            (at(9, 40), Met::Yes),
            (at(9, 41), Met::NotYet),
            (at(2, 0), Met::Unknown),
        ] {
            assert_eq!(standing.meets(wanted), met, "{wanted}");
        }
    }

    #[test]
    fn a_position_reads_the_same_again() {
        let position = at(u128::MAX / 3, u64::MAX);
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in [
            "",
            ":",
            "1:2",
            "0000000000000000000000000000000g:1",
            &format!("{:032x}:-1", 1),
            &format!("{:032x}:", 1),
        ] {
            assert_eq!(text.parse::<Position>(), Err(()), "{text}");
        }
    }
}
