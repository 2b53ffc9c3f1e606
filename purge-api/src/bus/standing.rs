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
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Known {
    /// The node's own log.
    own: Position,
    /// By name: what it follows and gives to.
    others: BTreeMap<Box<str>, Other>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Other {
    /// How far its log has been applied here.
    applied: Option<Position>,
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
    /// That of a node whose own log is at `own`.
    pub fn new(own: Position) -> Self {
        let known = Known { own, others: BTreeMap::new() };
        Self { known: Mutex::new(known), changed: watch::Sender::new(()) }
    }

    /// The node's own log has come to this number.
    pub fn applied_here(&self, sequence: u64) {
        self.change(|known| known.own.sequence = known.own.sequence.max(sequence));
    }

    /// The log of `other` has been applied here up to this position.
    pub fn followed(&self, other: &str, position: Position) {
        self.change(|known| known.of(other).applied = Some(position));
    }

    /// `other` has everything of the node's own log up to `given`, at the latest at position `holds` of its log.
    pub fn given(&self, other: &str, given: u64, holds: Position) {
        self.change(|known| {
            let other = known.of(other);
            other.given = other.given.max(given);
            other.holds = match other.holds {
                Some(known) if known.log == holds.log && known.sequence > holds.sequence => Some(known),
                _ => Some(holds),
            };
        });
    }

    /// What to ask of a parent: the position at which it has applied all that has been applied here. `None`: there is something
    /// it may not have heard of, so it must not be asked.
    pub fn required(&self, parent: &str) -> Option<Position> {
        self.required_as_of(parent, 0)
    }

    /// The same, where the node's own log has come to `own` at least: whoever is about to fetch knows better than what has been
    /// told here so far.
    pub fn required_as_of(&self, parent: &str, own: u64) -> Option<Position> {
        let known = self.known.lock();
        let other = known.others.get(parent)?;
        if other.given < known.own.sequence.max(own) {
            return None;
        }
        match (other.holds, other.applied) {
            (Some(holds), Some(applied)) if holds.log == applied.log => {
                Some(if holds.sequence > applied.sequence { holds } else { applied })
            }
            (_, Some(applied)) => Some(applied),
            (holds, None) => holds,
        }
    }

    /// Whether everything up to a position has been applied here.
    pub fn meets(&self, wanted: Position) -> Met {
        let known = self.known.lock();
        let applied = known.others.values().filter_map(|other| other.applied);
        let here = applied.chain([known.own]).find(|position| position.log == wanted.log);
        match here {
            Some(position) if position.sequence >= wanted.sequence => Met::Yes,
            Some(_) => Met::NotYet,
            None => Met::Unknown,
        }
    }

    /// Wakes whenever any of it changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock());
        self.changed.send_replace(());
    }
}

impl Known {
    fn of(&mut self, name: &str) -> &mut Other {
        self.others.entry(name.into()).or_default()
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
    use super::*;

    const fn at(log: u128, sequence: u64) -> Position {
        Position { log, sequence }
    }

    #[test]
    fn a_parent_is_asked_only_when_it_has_what_was_applied_here() {
        let standing = Standing::new(at(1, 0));
        assert_eq!(standing.required("p"), None, "nothing is known of it");
        standing.followed("p", at(2, 10));
        assert_eq!(standing.required("p"), Some(at(2, 10)));
        standing.applied_here(1);
        assert_eq!(standing.required("p"), None, "it has not heard of purge 1");
        standing.given("p", 1, at(2, 12));
        assert_eq!(standing.required("p"), Some(at(2, 12)), "as of the number under which it has it");
        standing.followed("p", at(2, 15));
        assert_eq!(standing.required("p"), Some(at(2, 15)));
        standing.followed("p", at(3, 1));
        assert_eq!(standing.required("p"), Some(at(3, 1)), "another log in its place is what counts");
    }

    #[test]
    fn a_parent_tells_what_it_has() {
        let standing = Standing::new(at(1, 5));
        standing.followed("stream", at(9, 40));
        for (wanted, met) in [
            (at(1, 5), Met::Yes),
            (at(1, 6), Met::NotYet),
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
