//! Who purged: what a call said of itself, beside what the log says of its purge.
//!
//! The log is the fleet's and knows orders; who called, from where and what was touched is known to the node that was called,
//! and to it alone, since its start. Bounded: the oldest are forgotten first. The operator's log has a line for each.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde_json::{Map, Value};

/// The last purges that were asked of this node.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<VecDeque<Noted>>);

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noted {
    /// Its number.
    pub sequence: u64,
    /// The token's name, or how else the caller was let in.
    pub by: Box<str>,
    /// The caller's address.
    pub client: Box<str>,
    /// The call: `POST /v1/purge`, `PURGE`.
    pub via: &'static str,
    /// Stored responses it touched, where they could be counted.
    pub matched: Option<u64>,
}

impl Ledger {
    /// Remembers one.
    pub fn note(&self, noted: Noted) {
        let mut lines = self.0.lock();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        // Two calls may take their numbers in one order and come here in the other.
        let at = lines.partition_point(|known| known.sequence < noted.sequence);
        lines.insert(at, noted);
    }

    /// What is known of the purge of this number, as members of a JSON object.
    pub fn of(&self, sequence: u64) -> Map<String, Value> {
        let lines = self.0.lock();
        let found = lines.binary_search_by_key(&sequence, |noted| noted.sequence);
        let Some(noted) = found.ok().and_then(|at| lines.get(at)) else { return Map::new() };
        Map::from_iter([
            ("by".to_owned(), noted.by.to_string().into()),
            ("client".to_owned(), noted.client.to_string().into()),
            ("via".to_owned(), noted.via.into()),
            ("matched".to_owned(), noted.matched.into()),
        ])
    }
}

/// Purges remembered, a few hundred bytes each.
const LINES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(sequence: u64) -> Noted {
        Noted {
            sequence,
            by: "ci".into(),
            client: "192.0.2.1".into(),
            via: "PURGE",
            matched: Some(sequence * 2),
        }
    }

    #[test]
    fn the_last_are_known_in_whatever_order_they_came() {
        let ledger = Ledger::default();
        for sequence in [2, 1, 4, 3] {
            ledger.note(noted(sequence));
        }
        assert_eq!(ledger.of(3)["matched"], 6);
        assert_eq!(ledger.of(1)["by"], "ci");
        assert!(ledger.of(5).is_empty());
        for sequence in 5..5 + LINES_MAX as u64 {
            ledger.note(noted(sequence));
        }
        assert!(ledger.of(4).is_empty(), "the oldest are forgotten");
        assert_eq!(ledger.of(5)["matched"], 10);
    }
}
