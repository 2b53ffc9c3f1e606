//! By weight: smooth weighted round robin, alone or among those with the least under way.
//!
//! Each choice adds every weight to its origin's credit; the richest is chosen and pays the sum. So turns come evenly, not
//! in runs, and over a round each has exactly its share.

use super::{Standing, of_grade};

/// The one with the most credit.
pub(super) fn richest(standings: &mut [Standing], grade: u8) -> Option<usize> {
    richest_of(standings, |origin| origin.view.grade == Some(grade))
}

/// The one with the least under way for its weight; by credit among equals, so that an idle pool follows its weights.
pub(super) fn least_busy(standings: &mut [Standing], grade: u8) -> Option<usize> {
    let least = of_grade(standings, grade)
        .map(|(_, origin)| (origin.view.active, origin.view.weight))
        .reduce(|least, one| if is_busier(least, one) { one } else { least })?;
    richest_of(standings, |origin| {
        let one = (origin.view.active, origin.view.weight);
        origin.view.grade == Some(grade) && !is_busier(one, least)
    })
}

/// Whether one of so much under way and such a weight has more to do for it than another.
fn is_busier(one: (u64, u64), other: (u64, u64)) -> bool {
    u128::from(one.0) * u128::from(other.1) > u128::from(other.0) * u128::from(one.1)
}

fn richest_of(standings: &mut [Standing], among: impl Fn(&Standing) -> bool) -> Option<usize> {
    let (index, total) = earn(standings, among)?;
    pay(standings, index, total);
    Some(index)
}

/// All of them earn their weight; the richest, and what the one that is chosen has to pay.
pub(super) fn earn(standings: &mut [Standing], among: impl Fn(&Standing) -> bool) -> Option<(usize, i64)> {
    let mut total = 0_i64;
    let mut best: Option<(usize, i64)> = None;
    for (index, origin) in standings.iter_mut().enumerate() {
        if !among(origin) {
            continue;
        }
        let weight = i64::try_from(origin.view.weight).unwrap_or(i64::MAX);
        origin.credit = origin.credit.saturating_add(weight);
        total = total.saturating_add(weight);
        if best.is_none_or(|(_, credit)| origin.credit > credit) {
            best = Some((index, origin.credit));
        }
    }
    best.map(|(index, _)| (index, total))
}

pub(super) fn pay(standings: &mut [Standing], index: usize, total: i64) {
    if let Some(origin) = standings.get_mut(index) {
        origin.credit = origin.credit.saturating_sub(total);
    }
}
