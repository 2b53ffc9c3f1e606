//! A purger for tests: holds URLs, remembers orders, and is alone or has a fleet that is late.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use crate::limits::{NOTE_BYTES_MAX, NOTES_MAX};
use crate::{
    Applied, Entry, FleetReceipt, Matched, NodeReceipt, Order, PurgeError, Purger, ResourceUrl, Selector,
};

/// Serves the hosts of what it holds; a purge counts what it holds and takes nothing.
#[derive(Debug, Default)]
pub struct Fake {
    held: Vec<ResourceUrl>,
    late: Vec<Box<str>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    notes: BTreeMap<String, Vec<u8>>,
    waiting: Vec<Waker>,
    failing: bool,
    elsewhere: bool,
    hurried: bool,
}

impl Fake {
    /// One that holds these URLs, each a kibibyte.
    pub fn holding(urls: &[&str]) -> Self {
        let held = urls.iter().filter_map(|url| ResourceUrl::parse(url).ok()).collect();
        Self { held, ..Self::default() }
    }

    /// With nodes that never apply anything.
    #[must_use]
    pub fn late(mut self, nodes: &[&str]) -> Self {
        self.late = nodes.iter().map(|node| (*node).into()).collect();
        self
    }

    /// From now on nothing can be recorded, or again everything.
    pub fn fail(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// From now on it has no time to count what a purge takes, or again has.
    pub fn hurry(&self, hurried: bool) {
        self.state().hurried = hurried;
    }

    /// From now on another node orders what is ordered, or again this one.
    pub fn elsewhere(&self, elsewhere: bool) {
        self.state().elsewhere = elsewhere;
    }

    /// What was ordered.
    pub fn orders(&self) -> Vec<Order> {
        self.state().entries.iter().map(|entry| entry.order.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn takes(selector: &Selector, url: &ResourceUrl) -> bool {
        match selector {
            Selector::Url(one) => one == url,
            Selector::Prefix(prefix) => {
                prefix.host() == url.host() && url.target().starts_with(&prefix.target())
            }
            Selector::Host(host) => host.as_str() == url.host(),
            Selector::Tag(_) => false,
            Selector::Everything => true,
        }
    }
}

impl Purger for Fake {
    fn purge(&self, order: &Order) -> Result<Applied, PurgeError> {
        let matched = self.matched(order)?.objects;
        let mut state = self.state();
        if state.failing {
            return Err(PurgeError::Unavailable("the disk is full".into()));
        }
        let sequence = state.entries.len() as u64 + 1;
        let id = format!("e{sequence}");
        let elsewhere = state.elsewhere;
        let entry = Entry { sequence, id, order: order.clone(), at_millis: 1_000, elsewhere };
        state.entries.push(entry);
        state.waiting.drain(..).for_each(Waker::wake);
        Ok(Applied { sequence, matched })
    }

    fn beforehand(&self, order: &Order) -> Option<Matched> {
        if self.state().hurried { None } else { self.matched(order).ok() }
    }

    fn matched(&self, order: &Order) -> Result<Matched, PurgeError> {
        let served = |host: &str| self.held.is_empty() || self.held.iter().any(|url| url.host() == host);
        for selector in &order.selectors {
            match selector {
                Selector::Url(url) | Selector::Prefix(url) if !served(url.host()) => {
                    return Err(PurgeError::NoSite(url.host().into()));
                }
                _ => {}
            }
        }
        let taken = |url: &&ResourceUrl| order.selectors.iter().any(|selector| Self::takes(selector, url));
        let objects = self.held.iter().filter(taken).count() as u64;
        Ok(Matched { objects, bytes: objects * 1024, ..Matched::default() })
    }

    fn purges(&self, since: u64, max: usize) -> Result<Vec<Entry>, PurgeError> {
        let state = self.state();
        Ok(state.entries.iter().filter(|entry| entry.sequence > since).take(max).cloned().collect())
    }

    fn sequence(&self) -> u64 {
        self.state().entries.len() as u64
    }

    fn refetched(&self, sequence: u64) -> Option<u64> {
        (sequence <= self.sequence()).then_some(0)
    }

    fn passed(&self, since: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(poll_fn(move |cx| {
            let mut state = self.state();
            if state.entries.len() as u64 > since {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        }))
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, PurgeError> {
        Ok(self.state().notes.get(name).cloned())
    }

    fn write_note(&self, name: &str, value: &[u8]) -> Result<(), PurgeError> {
        let mut state = self.state();
        if value.len() > NOTE_BYTES_MAX {
            return Err(PurgeError::NoteTooLong(NOTE_BYTES_MAX));
        }
        if !state.notes.contains_key(name) && state.notes.len() >= NOTES_MAX {
            return Err(PurgeError::TooManyNotes(NOTES_MAX));
        }
        state.notes.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn fleet_applied<'a>(&'a self, sequence: u64) -> Pin<Box<dyn Future<Output = FleetReceipt> + Send + 'a>> {
        let nodes = vec![NodeReceipt { node: "n1".into(), sequence: self.sequence().min(sequence), ms: 0 }];
        Box::pin(async move { FleetReceipt { nodes, late: self.late.clone(), ..FleetReceipt::default() } })
    }
}
