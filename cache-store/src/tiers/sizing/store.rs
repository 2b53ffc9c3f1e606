//! What the store tells of requests, for other sizes to be judged by.

use super::{Asked, BodyIn, Sizing};
use crate::coalesce::Fill;
use crate::entry::{Epoch, StoredResponse};
use crate::lookup::Why;
use crate::purge::Resource;
use crate::rules::{Freshness, Purged};
use crate::store::CacheStore;
use crate::tiers::disk::Disk;
use crate::tiers::objects::ENTRY_BYTES;
use crate::tiers::shelf::LARGE_BYTES_MIN;
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
            let regardless = is_regardless(fill);
            self.sized(&fill.resource(), stored, fill.class, stored.freshness.received(), regardless);
        }
    }

    /// The same for one that was fetched and is too long for the tiers as they are: larger ones might keep it.
    pub(crate) fn count_too_long(&self, fill: &Fill, long: &TooLong<'_>) {
        let bytes = long.body_bytes;
        if bytes > self.object_bytes_max || !self.sizing.samples(fill.primary, bytes) {
            return;
        }
        let weight = usize::try_from(bytes.saturating_add(long.beside_bytes)).unwrap_or(usize::MAX);
        let told = Told {
            weight,
            bytes,
            record_bytes: long.beside_bytes,
            body_in: BodyIn::Chunks,
            freshness: &long.freshness,
            epoch: fill.epoch(),
            tags: long.tags,
            now: long.freshness.received(),
            regardless: is_regardless(fill),
            again: true,
        };
        self.tell(&fill.resource(), fill.class, &told);
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
        let told = Told {
            weight: stored.weight().saturating_add(ENTRY_BYTES),
            bytes: stored.body_len(),
            record_bytes: Disk::record_bytes_beside(resource, stored),
            body_in: if stored.on_disk().is_some() || stored.body_len() >= LARGE_BYTES_MIN {
                BodyIn::Chunks
            } else {
                BodyIn::Record
            },
            freshness: &stored.freshness,
            epoch: stored.epoch(),
            tags: stored.tags(),
            now,
            regardless,
            again: self.is_asked_again(stored),
        };
        if let Some(round) = self.tell(resource, class, &told) {
            stored.settle(round);
        }
    }

    fn tell(&self, resource: &Resource<'_>, class: u16, told: &Told<'_>) -> Option<u32> {
        let window = told.freshness.windows().while_revalidate_secs;
        let asked = Asked {
            key: resource.key,
            weight: told.weight,
            bytes: told.bytes,
            record_bytes: told.record_bytes,
            body_in: told.body_in,
            class,
            until_millis: told.freshness.fresh_until().as_millis().saturating_add(u64::from(window) * 1000),
            epoch: told.epoch,
            now_millis: told.now.as_millis(),
            regardless: told.regardless,
            policy: self.objects().policy(),
            again: told.again,
            disk_takes_all: self.disk().is_some_and(|disk| disk.takes_all()),
        };
        self.sizing.asked(&asked, |epoch| {
            self.purges().since(resource.key, epoch) == Purged::Hard
                || self.purges().broad.since(resource, told.tags, epoch) == Purged::Hard
        })
    }
}

/// A response that is too long to be kept.
pub(crate) struct TooLong<'a> {
    pub(crate) body_bytes: u64,
    /// What its entry would weigh beside the body.
    pub(crate) beside_bytes: u64,
    pub(crate) freshness: Freshness,
    pub(crate) tags: &'a [Box<str>],
}

/// What a sampled request led to.
struct Told<'a> {
    weight: usize,
    bytes: u64,
    record_bytes: u64,
    body_in: BodyIn,
    freshness: &'a Freshness,
    epoch: Epoch,
    tags: &'a [Box<str>],
    now: Timestamp,
    regardless: bool,
    again: bool,
}

/// Whether the origin was asked for another reason than that the tiers are as small as they are.
fn is_regardless(fill: &Fill) -> bool {
    !matches!(fill.why, Why::UriMiss | Why::VaryMiss)
}
