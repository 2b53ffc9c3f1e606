//! `mirror`: which share of a site's or route's requests is copied to another pool.

use std::sync::Arc;

use super::policy::Changes;
use super::pool::Pools;
use super::steer::known;
use crate::config::file::Section;
use crate::config::mirror::{Mirror, MirrorOf};

/// What `mirror` of a site or a route says.
pub(super) fn mirror(section: &Section<'_>, pools: &Pools) -> Changes {
    let mut changes = Changes::default();
    let Some(item) = section.item("mirror") else { return changes };
    if !item.is_table() {
        changes.note(item.word_or(&[("off", ())], EXAMPLE), |policy, ()| policy.mirror = None);
        return changes;
    }
    let Some(section) = item.section("`mirror`".to_owned()) else { return changes };
    let pool = section.required("pool", format!("write mirror = {EXAMPLE}"));
    let pool = pool.and_then(|item| known(&item, pools));
    let percent = section.item("percent").map_or(Some(100), |item| item.count(1..=100));
    let of = section.item("of").map_or(Some(MirrorOf::Misses), |item| item.word(&OF));
    section.close();
    if let (Some(pool), Some(percent), Some(of)) = (pool, percent, of) {
        let mirror = Arc::new(Mirror { pool, percent: u32::try_from(percent).unwrap_or(100), of });
        changes.note(Some(mirror), |policy, mirror| policy.mirror = Some(Arc::clone(mirror)));
    }
    changes
}

/// What `of` may be.
pub(in crate::config) const OF: [(&str, MirrorOf); 2] =
    [("misses", MirrorOf::Misses), ("requests", MirrorOf::Requests)];
const EXAMPLE: &str = "{ pool = \"next\", percent = 10 }";
