//! How many requests of one client may be under way at once, from the head of each to the last byte of its answer.
//!
//! Invariant: a client is in the table while it has a request under way and no longer, so the table is no larger than what the
//! listeners let in.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::rate::subscriber;
use crate::config::access::Concurrency;

/// The clients that have requests under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    rule: Arc<Concurrency>,
    shards: [Mutex<HashMap<(u8, u64), u32>>; SHARDS],
    hasher: RandomState,
}

/// One request under way, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    of: Arc<UnderWay>,
    client: (u8, u64),
}

impl UnderWay {
    pub(super) fn of(rule: &Arc<Concurrency>) -> Self {
        Self { rule: Arc::clone(rule), shards: Default::default(), hasher: RandomState::new() }
    }

    /// Counts one more; `None` where it is one too many and that is refused.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Entered {
        let client = subscriber(client);
        let mut shard = self.shard(client).lock();
        let count = shard.entry(client).or_insert(0);
        let is_full = *count >= self.rule.requests;
        if is_full && !self.rule.dry_run {
            // It was there before: a limit is at least one.
            return Entered::Refused;
        }
        *count = count.saturating_add(1);
        drop(shard);
        let permit = Permit { of: Arc::clone(self), client };
        if is_full { Entered::Beyond(permit) } else { Entered::Within(permit) }
    }

    fn shard(&self, client: (u8, u64)) -> &Mutex<HashMap<(u8, u64), u32>> {
        let at = usize::try_from(self.hasher.hash_one(client) % SHARDS as u64).unwrap_or(0);
        // `at` is below their number.
        self.shards.get(at).unwrap_or(&self.shards[0])
    }
}

/// What came of asking for one more.
pub(super) enum Entered {
    Within(Permit),
    /// Too many, which is only told.
    Beyond(Permit),
    Refused,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut shard = self.of.shard(self.client).lock();
        if let Some(count) = shard.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shard.remove(&self.client);
                if shard.capacity() > SPARE_MAX && shard.len() < SPARE_MAX / 4 {
                    shard.shrink_to(SPARE_MAX);
                }
            }
        }
    }
}

const SHARDS: usize = 16;
/// Places of a shard that are kept when nobody needs them.
const SPARE_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_under_way_and_leaves_nothing_behind() {
        for dry_run in [false, true] {
            let rule = Concurrency { name: "x".into(), requests: 2, dry_run };
            let under_way = Arc::new(UnderWay::of(&Arc::new(rule)));
            let enter = |text: &str| under_way.enter(text.parse().expect("an address"));
            let (Entered::Within(one), Entered::Within(two)) = (enter("192.0.2.1"), enter("192.0.2.1"))
            else {
                panic!("two may")
            };
            assert!(matches!(
                (enter("192.0.2.1"), dry_run),
                (Entered::Refused, false) | (Entered::Beyond(_), true)
            ));
            assert!(matches!(enter("192.0.2.2"), Entered::Within(_)), "another client");
            drop(one);
            assert!(matches!(enter("::ffff:192.0.2.1"), Entered::Within(_)), "one has ended");
            drop(two);
            assert!(under_way.shards.iter().all(|shard| shard.lock().is_empty()));
        }
    }
}
