//! Refreshes after a soft purge: hottest first, and no more a second than the origins are to bear.
//!
//! A soft purge of a host or of everything makes thousands of pages stale in one call; each is served stale at once, and without a
//! budget each would be fetched at its next request. Requests for stale pages wait here, one a page, with how often it was asked
//! for since; whenever the budget allows a fetch the page that was asked for most goes. A refresh that nobody's purge caused is
//! not held back.
//!
//! ```text
//! stale hit ── purged softly? ─┬─ no ──► fetch
//!                              └─ yes ─► waiting, counted ── one a token, hottest first ──► look up again ── fetch
//! ```
//!
//! Invariant: of refreshes caused by soft purges no more begin in a second than the settings say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cache_store::coalesce::Fill;
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;

use super::walk::Walk;
use super::{fetch, leading};
use crate::config::limits::REFRESHES_WAITING_MAX;

/// What waits for a refresh.
pub struct Refreshes {
    /// Fetches a second.
    per_second: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<CacheKey, Waiting>,
    /// When all fetches that have begun would have, one after another; microseconds.
    spent_until: u64,
    /// Whether somebody sees to it that what waits is fetched.
    is_drained: bool,
}

struct Waiting {
    /// Requests since it began to wait.
    asked: u32,
    walk: Walk,
}

impl Refreshes {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: AtomicU32::new(per_second.max(1)), state: Mutex::default() }
    }

    /// So many fetches a second from now on.
    pub(crate) fn limit(&self, per_second: u32) {
        self.per_second.store(per_second.max(1), Ordering::Relaxed);
    }

    /// Pages that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Counts a request for a page that waits already; `false` if it does not.
    pub(super) fn count(&self, key: CacheKey) -> bool {
        let mut state = self.state.lock();
        let Some(waiting) = state.waiting.get_mut(&key) else { return false };
        waiting.asked = waiting.asked.saturating_add(1);
        true
    }

    /// Lets it wait; `true` where whoever calls is to drain. What does not fit is left to its next request.
    fn wait(&self, walk: Walk) -> bool {
        let mut state = self.state.lock();
        if state.waiting.len() >= REFRESHES_WAITING_MAX {
            return false;
        }
        state.waiting.entry(walk.key).or_insert(Waiting { asked: 1, walk });
        !std::mem::replace(&mut state.is_drained, true)
    }

    /// The page to fetch now, or how long to wait for the budget; `None` where nothing waits any more.
    fn next(&self, now: Timestamp) -> Option<Result<Walk, Duration>> {
        let mut state = self.state.lock();
        let hottest = state.waiting.iter().max_by_key(|(_, waiting)| waiting.asked).map(|(key, _)| *key);
        let Some(hottest) = hottest else {
            state.is_drained = false;
            return None;
        };
        // A tenth of the budget may go at once, and the rest evenly: in no second more than all of it.
        let per_second = u64::from(self.per_second.load(Ordering::Relaxed));
        let at_once = per_second / 10;
        let apart = SECOND_MICROS / (per_second - at_once).max(1);
        let now = now.as_millis().saturating_mul(1000);
        let from = state.spent_until.saturating_sub(apart * at_once.saturating_sub(1));
        if now < from {
            return Some(Err(Duration::from_micros(from - now)));
        }
        state.spent_until = state.spent_until.max(now) + apart;
        state.waiting.remove(&hottest).map(|waiting| Ok(waiting.walk))
    }
}

/// Fetches what a stale hit asks to be fetched: at once, or, where a soft purge made it stale, when its turn comes.
pub(super) fn begin(mut walk: Walk, fill: Fill, is_purged: bool) {
    // A crawler waits for its turn with what it causes to be fetched; where it need not be fetched now, it does not.
    if walk.crawler.is_some() && (is_purged || walk.is_uninspected() || !walk.may_fetch()) {
        return;
    }
    if !is_purged {
        if walk.is_uninspected() {
            tokio::spawn(inspected(walk, fill));
        } else {
            tokio::spawn(leading::alone(Box::pin(fetch::lead(walk, fill))));
        }
        return;
    }
    // The permit goes back: whoever must have it sooner may fetch it.
    drop(fill);
    let edge = Arc::clone(&walk.edge);
    if edge.refreshes.wait(walk) {
        tokio::spawn(async move {
            while let Some(next) = edge.refreshes.next(edge.clock.now()) {
                match next {
                    Err(wait) => edge.clock.sleep(wait).await,
                    Ok(mut walk) => {
                        // Who asked for it is refused, if so: the next one who does lets it wait again.
                        if walk.inspect().await.is_err() {
                            continue;
                        }
                        // By now somebody else may have fetched it.
                        if let Lookup::Stale(_, Some(fill)) = walk.look_up() {
                            tokio::spawn(leading::alone(Box::pin(fetch::lead(walk, fill))));
                        }
                    }
                }
            }
        });
    }
}

/// Fetches, unless what asks for it is an attack: then the permit goes to the next. Meanwhile everybody is served the stale one.
async fn inspected(mut walk: Walk, fill: Fill) {
    if walk.inspect().await.is_ok() {
        leading::alone(Box::pin(fetch::lead(walk, fill))).await;
    }
}

const SECOND_MICROS: u64 = 1_000_000;
