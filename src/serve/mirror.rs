//! Requests that are copied to another pool (`mirror`), so that what stands there is tried with what readers ask for.
//!
//! A copy is a request of its own, sent beside the first one and forgotten: its answer is read so far that the pool has had the
//! work of giving it, and dropped. Nothing waits for it, nothing of it is stored, and what becomes of it is counted and told by
//! the pool's own figures alone. Only safe requests without a body are copied (RFC 9110 §9.2.1): whatever the other pool does with
//! them, it does not do twice what was meant once.
//!
//! Invariant: of copies no more than [`MIRRORED_MAX`] are under way, and none for longer than [`MIRROR_PATIENCE`]; what finds no
//! room is not copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cache_store::rules::invalidate::is_safe;

use super::Edge;
use super::walk::Walk;
use crate::config::limits::{MIRROR_BODY_BYTES_MAX, MIRROR_PATIENCE, MIRRORED_MAX};
use crate::config::mirror::{Mirror, MirrorOf};
use crate::listener::request::Request;
use crate::observe::gauges::Other;
use crate::origin::Answer;
use crate::origin::forward::Sent;
use crate::route::Route;

/// What has been copied.
#[derive(Debug, Default)]
pub struct Mirrors {
    turn: AtomicU64,
    under_way: AtomicUsize,
    copied: AtomicU64,
    left_out: AtomicU64,
    failed: AtomicU64,
}

/// A copy under way.
struct Place(Arc<Mirrors>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mirrors {
    /// A place for a copy of the request whose turn it is, if it is one of those to be copied.
    fn place(self: &Arc<Self>, mirror: &Mirror) -> Option<Place> {
        // Multiples of the golden ratio are spread evenly, whichever of them a route sees.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN);
        if ((turn >> 32) * 100) >> 32 >= u64::from(mirror.percent) {
            return None;
        }
        let with = |count: usize| (count < MIRRORED_MAX).then_some(count + 1);
        if self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.copied.fetch_add(1, Ordering::Relaxed);
        Some(Place(Arc::clone(self)))
    }

    /// For metrics.
    pub(super) fn figures(&self) -> [Other; 4] {
        let counter = |name, help, value: u64| Other { name, help, counter: true, value };
        [
            counter("tidegate_mirrored_total", "Requests copied to another pool.", load(&self.copied)),
            counter(
                "tidegate_mirrored_left_out_total",
                "Requests not copied because too many copies were under way.",
                load(&self.left_out),
            ),
            counter("tidegate_mirrored_failed_total", "Copies that got no whole answer.", load(&self.failed)),
            Other {
                name: "tidegate_mirrored_under_way",
                help: "Copies under way.",
                counter: false,
                value: self.under_way.load(Ordering::Relaxed) as u64,
            },
        ]
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Edge {
    /// Copies a client's request, where its route has all of them copied and its turn has come.
    pub(super) fn mirror_request(self: &Arc<Self>, request: &Request, route: &Route<'_, '_>) {
        let Some(mirror) = route.policy.mirror.as_ref().filter(|mirror| mirror.of == MirrorOf::Requests)
        else {
            return;
        };
        if !request.body.is_empty() || !is_safe(&request.method) {
            return;
        }
        let Some(place) = self.mirrors.place(mirror) else { return };
        // One that runs in a loop is told so by itself.
        if let Ok(walk) = Walk::copy(self, request, route) {
            let fields = walk.dressed_for_origin(Sent::with_conditions(Arc::clone(&walk.forward)));
            walk.send_copy(mirror, fields, place);
        }
    }
}

impl Walk {
    /// The same of one that had to wait for its route's rules.
    pub(super) fn mirror_request(&self) {
        if let Some(mirror) = self.policy.mirror.as_ref().filter(|mirror| mirror.of == MirrorOf::Requests)
            && self.has_no_body()
            && is_safe(&self.method)
            && let Some(place) = self.edge.mirrors.place(mirror)
        {
            let fields = self.dressed_for_origin(Sent::with_conditions(Arc::clone(&self.forward)));
            self.send_copy(mirror, fields, place);
        }
    }

    /// Copies a request that is about to be sent to an origin, where its turn has come; `fields` are as the origin gets them.
    pub(super) fn mirror_miss(&self, fields: &Sent) {
        if let Some(mirror) = self.policy.mirror.as_ref().filter(|mirror| mirror.of == MirrorOf::Misses)
            && self.has_no_body()
            && is_safe(&self.method)
            && let Some(place) = self.edge.mirrors.place(mirror)
        {
            self.send_copy(mirror, fields.clone(), place);
        }
    }

    fn send_copy(&self, mirror: &Mirror, fields: Sent, place: Place) {
        let asking = self.copy_for(Arc::clone(&mirror.pool), fields);
        let edge = Arc::clone(&self.edge);
        tokio::spawn(async move {
            let answering = async { had(edge.origins.ask(asking).await.ok()?).await };
            let had = edge.clock.timeout(MIRROR_PATIENCE, answering).await;
            if !matches!(had, Ok(Some(()))) {
                place.0.failed.fetch_add(1, Ordering::Relaxed);
            }
            drop(place);
        });
    }
}

/// Reads an answer for its own sake; of a long one the beginning.
async fn had(mut answer: Box<Answer>) -> Option<()> {
    let mut bytes = 0;
    while let Some(piece) = answer.body.next().await {
        bytes += piece.ok()?.len();
        if bytes > MIRROR_BODY_BYTES_MAX {
            break;
        }
    }
    Some(())
}

/// 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_the_one_of_the_settings_and_copies_are_bounded() {
        for percent in [1, 5, 50, 99, 100] {
            let mirrors = Arc::new(Mirrors::default());
            let mirror = Mirror { pool: "next".into(), percent, of: MirrorOf::Misses };
            let copied = (0..10_000).filter(|_| mirrors.place(&mirror).is_some()).count();
            let wanted = percent as usize * 100;
            assert!(copied.abs_diff(wanted) <= 20, "{copied} of 10,000 at {percent} %");
        }
        let mirrors = Arc::new(Mirrors::default());
        let mirror = Mirror { pool: "next".into(), percent: 100, of: MirrorOf::Misses };
        let places: Vec<_> = (0..MIRRORED_MAX + 5).filter_map(|_| mirrors.place(&mirror)).collect();
        assert_eq!((places.len(), load(&mirrors.left_out)), (MIRRORED_MAX, 5));
        drop(places);
        assert!(mirrors.place(&mirror).is_some());
    }
}
