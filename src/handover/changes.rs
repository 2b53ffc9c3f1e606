//! What requests change while two processes serve: told to the other one without anybody waiting for it.

use std::io;
use std::sync::Arc;

use cache_store::key::CacheKey;
use cache_store::store::CacheStore;
use parking_lot::{Condvar, Mutex};

use super::wire::{Channel, Word};
use crate::clock::Clock;
use crate::config::limits::HANDOVER_CHANGES_MAX;

/// Keys on their way to the other process. What does not fit counts as everything.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    come: Condvar,
}

#[derive(Default)]
struct Waiting {
    keys: Vec<CacheKey>,
    everything: bool,
    ended: bool,
}

impl Changes {
    /// Tells what was added and is yet to be, until it is said to be enough or the other process has gone.
    pub(super) fn tell(&self, channel: &Arc<Channel>) -> io::Result<()> {
        let (told, channel) = (Arc::clone(&self.0), Arc::clone(channel));
        std::thread::Builder::new().name("changes".into()).spawn(move || {
            while let Some(word) = told.next() {
                if channel.send(&word).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }

    /// Tells nothing any more.
    pub(super) fn end(&self) {
        self.0.waiting.lock().ended = true;
        self.0.come.notify_one();
    }

    /// Never waits for the other process.
    pub(super) fn add(&self, keys: &[CacheKey]) {
        let mut waiting = self.0.waiting.lock();
        if waiting.keys.len().saturating_add(keys.len()) > HANDOVER_CHANGES_MAX {
            waiting.keys.clear();
            waiting.everything = true;
        } else if !waiting.everything {
            waiting.keys.extend_from_slice(keys);
        }
        self.0.come.notify_one();
    }
}

impl Shared {
    /// What waits, once something does; `None` at the end.
    fn next(&self) -> Option<Word> {
        let mut waiting = self.waiting.lock();
        self.come.wait_while(&mut waiting, |waiting| {
            waiting.keys.is_empty() && !waiting.everything && !waiting.ended
        });
        if waiting.ended {
            return None;
        }
        let keys = std::mem::take(&mut waiting.keys);
        let everything = std::mem::take(&mut waiting.everything);
        Some(Word::Changed {
            keys: keys.iter().map(|key| format!("{:032x}", key.bits())).collect(),
            everything,
        })
    }
}

/// The other process says what was changed there.
pub(super) fn hear_changes(store: &CacheStore, keys: &[String], everything: bool, clock: &Clock) {
    if everything {
        store.forget_everything_here();
    }
    let keys = keys.iter().filter_map(|key| u128::from_str_radix(key, 16).ok()).map(CacheKey::from_bits);
    store.invalidate_here(&keys.collect::<Vec<_>>(), clock.now());
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn too_much_that_waits_counts_as_everything() {
        let shared = Arc::new(Shared::default());
        let changes = Changes(Arc::clone(&shared));
        let keys = |count: usize| vec![CacheKey::from_bits(7); count];
        changes.add(&keys(2));
        let Some(Word::Changed { keys: told, everything }) = shared.next() else { panic!("nothing is told") };
        assert_eq!(
            (told.len(), told[0].as_str(), everything),
            (2, "00000000000000000000000000000007", false)
        );
        changes.add(&keys(HANDOVER_CHANGES_MAX));
        changes.add(&keys(1));
        changes.add(&keys(1));
        let Some(Word::Changed { keys: told, everything }) = shared.next() else { panic!("nothing is told") };
        assert_eq!((told.len(), everything), (0, true));
        changes.end();
        assert!(shared.next().is_none());
    }

    #[test]
    fn what_is_added_arrives() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let (one, other) = (Arc::new(Channel::new(one).expect("one")), Channel::new(other).expect("other"));
        let changes = Changes::default();
        changes.add(&[CacheKey::from_bits(1)]);
        changes.tell(&one).expect("a thread");
        assert!(matches!(other.wait(&Clock::system()), Ok(Word::Changed { keys, .. }) if keys.len() == 1));
    }
}
