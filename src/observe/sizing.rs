//! What other sizes of memory and disk would bring: what was measured, and what the store says that another size would add to it.
//!
//! Both are counted since the start. The measured ratio is the one of `stat`: what was answered without a request of its own to an
//! origin, of all that the cache had a say in.

use std::sync::Arc;

use cache_store::tiers::sizing::{Advice, Gain};

use super::metrics::SiteTotals;
use crate::respond::response::CacheOutcome;

/// What one size of one tier would bring to a site, or to all.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Prediction {
    /// Its name; [`ALL_SITES`] for all together.
    pub(super) site: Arc<str>,
    /// `memory` or `disk`.
    pub(super) tier: &'static str,
    /// As a part of what there is.
    pub(super) factor: f64,
    /// Of requests, from 0 to 1.
    pub(super) hit_ratio: f64,
    /// Of bytes.
    pub(super) byte_hit_ratio: f64,
    /// The part of a tier of that size that would be in use by now.
    pub(super) filled: f64,
}

/// Where a site's name would stand: one that no site can have, whose name may well be `*`.
pub(super) const ALL_SITES: &str = "(all)";

/// What there is to divide.
#[derive(Clone, Copy, Default)]
struct Measured {
    saved: u64,
    requests: u64,
    saved_bytes: u64,
    bytes: u64,
}

/// Predictions for all together, then by site; none for who had no request.
pub(super) fn predictions(sites: &[SiteTotals], advice: &[(u16, Vec<Advice>)]) -> Vec<Prediction> {
    let mut all: Vec<Advice> = Vec::new();
    for one in advice.iter().flat_map(|(_, advice)| advice) {
        let same =
            |known: &&mut Advice| known.tier == one.tier && known.factor.total_cmp(&one.factor).is_eq();
        match all.iter_mut().find(same) {
            Some(known) => {
                known.gain.requests += one.gain.requests;
                known.gain.bytes += one.gain.bytes;
            }
            None => all.push(*one),
        }
    }
    let everywhere = sites.iter().map(Measured::of).fold(Measured::default(), Measured::and);
    let mut told = everywhere.with(&ALL_SITES.into(), &all);
    for (class, advice) in advice {
        if let Some(site) = sites.get(usize::from(*class)) {
            told.extend(Measured::of(site).with(&site.site, advice));
        }
    }
    told
}

impl Measured {
    fn of(site: &SiteTotals) -> Self {
        let saved = [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Collapsed];
        let bytes = |outcome: CacheOutcome| site.bytes.get(outcome.index()).copied().unwrap_or_default();
        Self {
            saved: saved.iter().map(|outcome| site.of(*outcome)).sum(),
            requests: site.all() - site.of(CacheOutcome::Generated),
            saved_bytes: saved.iter().map(|outcome| bytes(*outcome)).sum(),
            bytes: site.bytes.iter().sum::<u64>() - bytes(CacheOutcome::Generated),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            saved: self.saved + other.saved,
            requests: self.requests + other.requests,
            saved_bytes: self.saved_bytes + other.saved_bytes,
            bytes: self.bytes + other.bytes,
        }
    }

    #[allow(clippy::cast_precision_loss)] // ratios for eyes
    fn with(self, site: &Arc<str>, advice: &[Advice]) -> Vec<Prediction> {
        let Self { saved, requests, saved_bytes, bytes } = self;
        let ratio =
            |saved: u64, gain: f64, all: u64| ((saved as f64 + gain) / all.max(1) as f64).clamp(0.0, 1.0);
        let one =
            |Advice { tier, factor, gain: Gain { requests: more, bytes: more_bytes }, filled }: &Advice| {
                Prediction {
                    site: Arc::clone(site),
                    tier: tier.as_str(),
                    factor: *factor,
                    hit_ratio: ratio(saved, *more, requests),
                    byte_hit_ratio: ratio(saved_bytes, *more_bytes, bytes),
                    filled: *filled,
                }
            };
        if requests == 0 { Vec::new() } else { advice.iter().map(one).collect() }
    }
}

#[cfg(test)]
mod tests {
    use cache_store::tiers::sizing::SizedTier;

    use super::*;

    #[test]
    #[allow(clippy::float_cmp)] // small whole numbers are exact
    fn a_prediction_is_what_was_measured_and_what_would_come_on_top() {
        // The shipped settings have one site of this name, which must not be taken for all of them.
        let mut site = SiteTotals::new(&"*".into());
        site.requests[CacheOutcome::Hit.index()][2] = 50;
        site.requests[CacheOutcome::Miss.index()][2] = 50;
        site.requests[CacheOutcome::Generated.index()][4] = 7;
        site.bytes[CacheOutcome::Hit.index()] = 2000;
        site.bytes[CacheOutcome::Miss.index()] = 6000;
        let gain = |requests, bytes| Gain { requests, bytes };
        let advice = |factor, gain| Advice { tier: SizedTier::Memory, factor, gain, filled: 1.0 };
        let advice = vec![(0, vec![advice(0.5, gain(-25.0, -2400.0)), advice(2.0, gain(25.0, 2000.0))])];
        let told = predictions(&[site, SiteTotals::new(&"b".into())], &advice);
        let ratios: Vec<_> =
            told.iter().map(|one| (&*one.site, one.factor, one.hit_ratio, one.byte_hit_ratio)).collect();
        assert_eq!(
            ratios,
            [
                ("(all)", 0.5, 0.25, 0.0),
                ("(all)", 2.0, 0.75, 0.5),
                ("*", 0.5, 0.25, 0.0),
                ("*", 2.0, 0.75, 0.5)
            ]
        );
        assert_eq!(predictions(&[SiteTotals::new(&"b".into())], &[(0, advice[0].1.clone())]), []);
    }
}
