//! `pool` and `steer` of a site or route: which pool is asked.

use std::sync::Arc;

use super::super::Steer;
use super::super::file::{Item, Section, list, nearest};
use super::super::mistake::Complaint;

/// `pool` or `steer`, if one is written.
pub(super) fn steer(section: &Section<'_>, pools: &[Arc<str>]) -> Option<Steer> {
    let pool = section.item("pool");
    let steer = section.item("steer");
    if let (Some(pool), Some(steer)) = (&pool, &steer) {
        let complaint =
            Complaint::new("both", "both `pool` and `steer` are written", "this one", "keep one of them");
        steer.tell_beside(complaint, pool.span.clone(), "and this one");
    }
    if let Some(item) = pool {
        let Some(name) = item.text("write the name of a pool, like pool = \"main\"") else {
            return nowhere();
        };
        return known(name, pools)
            .map_err(|complaint| item.tell(complaint))
            .ok()
            .map(Steer::Pool)
            .or_else(nowhere);
    }
    let item = steer?;
    let Some(section) = item.section("`steer`".to_owned()) else { return nowhere() };
    let by = section.required("by", STEER_EXAMPLE);
    if let Some(by) = by.as_ref().filter(|by| by.as_text() == Some("geo")) {
        let message = "steering by geo is not supported by this version yet";
        by.tell(Complaint::new("not-supported", message, "not supported yet", STEER_EXAMPLE));
        return nowhere();
    }
    by.and_then(|by| by.word(&[("weight", ())]));
    let weights = section.required("pools", STEER_EXAMPLE).and_then(|item| weights(&item, pools));
    section.close();
    weights.map(Steer::Weight).or_else(nowhere)
}

fn weights(item: &Item<'_>, pools: &[Arc<str>]) -> Option<Vec<(Arc<str>, u32)>> {
    let section = item.section("pools = { eu = 9, us = 1 }".to_owned())?;
    let named = section.named();
    if named.is_empty() {
        item.tell(Complaint::new("empty", "`pools` is empty", "empty", STEER_EXAMPLE));
    }
    let mut weights = Vec::new();
    for (key, item) in named {
        let weight = item.count(1..=1_000_000).and_then(|weight| u32::try_from(weight).ok());
        match known(key.get_ref(), pools) {
            Ok(pool) => weights.push((pool, weight.unwrap_or(1))),
            Err(complaint) => item.found().tell(complaint.at(key.span())),
        }
    }
    Some(weights)
}

/// The pool of this name.
fn known(name: &str, pools: &[Arc<str>]) -> Result<Arc<str>, Complaint> {
    pools.iter().find(|pool| ***pool == *name).cloned().ok_or_else(|| {
        let names: Vec<_> = pools.iter().map(|pool| &**pool).collect();
        let help = nearest(name, names.iter().copied()).map_or_else(
            || format!("write one of {}, or add [pool.{name}]", list(&names)),
            |near| format!("did you mean \"{near}\"? pools are {}", list(&names)),
        );
        Complaint::new("unknown-pool", format!("there is no pool `{}`", name.escape_debug()), "unknown", help)
    })
}

/// Where there is one pool, nobody needs to say which.
pub(super) fn only_pool(section: &Section<'_>, pools: &[Arc<str>]) -> Option<Steer> {
    match pools {
        [only] => Some(Steer::Pool(Arc::clone(only))),
        [] => None,
        several => {
            let names: Vec<_> = several.iter().map(|pool| &**pool).collect();
            let message = format!("{} does not say which pool it uses", section.name);
            let help = format!("write pool = \"…\" with one of {}", list(&names));
            section.tell(Complaint::new("missing-key", message, "`pool` is missing", help));
            None
        }
    }
}

/// Stands in for a pool that a mistake was told about.
#[allow(clippy::unnecessary_wraps)] // read as "not missing, only wrong"
fn nowhere() -> Option<Steer> {
    Some(Steer::Pool("".into()))
}

const STEER_EXAMPLE: &str = "write steer = { by = \"weight\", pools = { eu = 9, us = 1 } }, or pool = \"eu\"";
