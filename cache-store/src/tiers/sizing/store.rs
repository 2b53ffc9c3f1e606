//! What the store tells of requests, for other sizes to be judged by.

use super::{Asked, Sizing};
use crate::coalesce::Fill;
use crate::entry::StoredResponse;
use crate::lookup::Why;
use crate::purge::Resource;
use crate::rules::Purged;
use crate::store::CacheStore;
use crate::timestamp::Timestamp;

impl CacheStore {
    /// What other sizes of its tiers would bring.
    pub const fn sizing(&self) -> &Sizing {
        &self.sizing
    }

    /// A request was answered with this response, `class` being whose it was: for [`CacheStore::sizing`] to learn from. Costs a few
    /// comparisons but for keys of a small sample, and for those once a round.
    #[inline]
    pub fn count_hit(&self, resource: &Resource<'_>, stored: &StoredResponse, class: u16, now: Timestamp) {
        if self.sizing.samples(resource.key, stored.body_len()) && stored.settled() != self.sizing.round() {
            self.sized(resource, stored, class, now, false);
        }
    }

    /// The same for one that was fetched and stored.
    pub(crate) fn count_fill(&self, fill: &Fill, stored: &StoredResponse) {
        if self.sizing.samples(fill.primary, stored.body_len()) {
            let regardless = !matches!(fill.why, Why::UriMiss | Why::VaryMiss);
            self.sized(&fill.resource(), stored, fill.class, stored.freshness.received(), regardless);
        }
    }

    #[cold]
    fn sized(
        &self,
        resource: &Resource<'_>,
        stored: &StoredResponse,
        class: u16,
        now: Timestamp,
        regardless: bool,
    ) {
        let freshness = &stored.freshness;
        let window = freshness.windows().while_revalidate_secs;
        let asked = Asked {
            key: resource.key,
            weight: stored.weight(),
            bytes: stored.body_len(),
            class,
            until_millis: freshness.fresh_until().as_millis().saturating_add(u64::from(window) * 1000),
            epoch: stored.epoch(),
            now_millis: now.as_millis(),
            regardless,
            policy: self.objects().policy(),
            again: self.is_asked_again(stored),
            disk_takes_all: self.disk().is_some_and(|disk| disk.takes_all()),
        };
        let settled = self.sizing.asked(&asked, |epoch| {
            self.purges().since(resource.key, epoch) == Purged::Hard
                || self.purges().broad.since(resource, stored.tags(), epoch) == Purged::Hard
        });
        if let Some(round) = settled {
            stored.settle(round);
        }
    }
}
