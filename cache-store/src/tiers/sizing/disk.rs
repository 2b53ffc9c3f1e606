//! A disk of names and lengths, of another size than the real one: first in first out with a second chance for what is read a while
//! after it came, as segments go; full, it takes what is asked for a second time (`admit.rs`).

use std::collections::{HashMap, HashSet, VecDeque};

use crate::key::CacheKey;

/// The disk.
pub(super) struct ScaledDisk {
    held: HashMap<CacheKey, Held>,
    order: VecDeque<CacheKey>,
    used: u64,
    /// Bytes of all that ever came.
    entered: u64,
    capacity: u64,
    /// Asked for once, lately: two generations.
    young: HashSet<CacheKey>,
    old: HashSet<CacheKey>,
}

struct Held {
    bytes: u64,
    until_millis: u64,
    epoch: u64,
    read: bool,
    /// [`ScaledDisk::entered`] when it came.
    came: u64,
}

impl ScaledDisk {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            held: HashMap::new(),
            order: VecDeque::new(),
            used: 0,
            entered: 0,
            capacity,
            young: HashSet::new(),
            old: HashSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn filled(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a ratio for eyes
        let filled = self.used as f64 / self.capacity.max(1) as f64;
        filled
    }

    /// Until when, and as of which purge, it has the key; it is spared once for that, unless it came just now.
    pub(super) fn use_of(&mut self, key: CacheKey) -> Option<(u64, u64)> {
        let held = self.held.get_mut(&key)?;
        held.read |= self.entered.saturating_sub(held.came) >= self.capacity / RECENT_SHARE;
        Some((held.until_millis, held.epoch))
    }

    /// A response was stored, or asked for while memory had it: it is written if there is room, or if it was asked for before.
    pub(super) fn offer(
        &mut self,
        key: CacheKey,
        bytes: u64,
        room_of: impl Fn(u64) -> u64,
        kept: (u64, u64),
        again: bool,
        takes_all: bool,
    ) {
        let occupies = room_of(bytes);
        if self.held.contains_key(&key) {
            self.forget(key, &room_of);
        } else if self.used.saturating_add(occupies) > self.capacity - self.capacity / FULL_SHARE
            && !takes_all
            && !again
            && !self.seen(key)
        {
            return;
        }
        if occupies > self.capacity {
            return;
        }
        while self.used.saturating_add(occupies) > self.capacity {
            let Some(oldest) = self.order.pop_front() else { break };
            match self.held.get_mut(&oldest) {
                Some(held) if held.read => {
                    held.read = false;
                    held.came = self.entered;
                    self.order.push_back(oldest);
                }
                Some(held) => {
                    self.used = self.used.saturating_sub(room_of(held.bytes));
                    self.held.remove(&oldest);
                }
                None => {}
            }
        }
        let (until_millis, epoch) = kept;
        self.entered = self.entered.saturating_add(occupies);
        self.held.insert(key, Held { bytes, until_millis, epoch, read: false, came: self.entered });
        self.order.push_back(key);
        self.used = self.used.saturating_add(occupies);
        // Names of what was replaced.
        if self.order.len() > 2 * self.held.len() + 16 {
            let held = &self.held;
            let mut known = HashSet::with_capacity(held.len());
            self.order = self
                .order
                .iter()
                .rev()
                .copied()
                .filter(|key| held.contains_key(key) && known.insert(*key))
                .collect();
            self.order.make_contiguous().reverse();
        }
    }

    fn forget(&mut self, key: CacheKey, room_of: &impl Fn(u64) -> u64) {
        if let Some(held) = self.held.remove(&key) {
            self.used = self.used.saturating_sub(room_of(held.bytes));
        }
    }

    /// Whether it was asked for before; it has been from now on.
    fn seen(&mut self, key: CacheKey) -> bool {
        let known = self.old.contains(&key) || !self.young.insert(key);
        if self.young.len() > self.held.len().max(SEEN_MIN) {
            self.old = std::mem::take(&mut self.young);
        }
        known
    }

    pub(super) fn thin(&mut self, keep: impl Fn(CacheKey, u64) -> bool, room_of: impl Fn(u64) -> u64) {
        self.held.retain(|key, held| keep(*key, held.bytes));
        let held = &self.held;
        self.order.retain(|key| held.contains_key(key));
        self.used = held.values().map(|held| room_of(held.bytes)).sum();
        self.young.clear();
        self.old.clear();
    }
}

/// Requests within which this part of the disk came belong together.
const RECENT_SHARE: u64 = 10;
/// It is full when less than this part of it is free: what is left over when a long one goes for a short one is no room.
const FULL_SHARE: u64 = 16;
const SEEN_MIN: usize = 64;
