//! `rate` and `concurrency` of `access`: how often, and how much at once.
//!
//! What is counted goes by a name. Without one it is that of the place where it is written, so that a route that inherits a site's
//! rate shares its budget, and so does the effective form, which writes every name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use super::super::access::{Concurrency, Rate, RateBy};
use super::super::file::{Item, Section};
use super::super::limits::{
    ACCESS_COUNT_NAME_BYTES_MAX, ACCESS_RATE_MEMORY_BYTES, ACCESS_RATE_MEMORY_RANGE, ACCESS_RATES_MAX,
};
use super::super::mistake::Complaint;
use super::super::value;

/// What has been named so far, with its place.
#[derive(Default)]
pub(super) struct Counted {
    rates: Named<Rate>,
    concurrency: Named<Concurrency>,
}

type Named<T> = RefCell<BTreeMap<Arc<str>, (Range<usize>, Arc<T>)>>;

/// One rate, or a list of them. `place` names those that have no name.
#[allow(clippy::option_option)] // not written or wrong, off, or rules
pub(super) fn rates(item: &Item<'_>, place: &str, counted: &Counted) -> Option<Option<Arc<Vec<Arc<Rate>>>>> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    if !item.is_list() {
        return Some(Some(Arc::new(vec![rate(item, place, counted)?])));
    }
    let list = item.list(RATE_EXAMPLE)?;
    if list.is_empty() {
        return Some(None);
    }
    if list.len() > ACCESS_RATES_MAX {
        let help = format!("write {ACCESS_RATES_MAX} at most");
        item.tell(Complaint::new("range", "there are too many rates", "too many", help));
    }
    let several = list.len() > 1;
    let rates = list.iter().enumerate().filter_map(|(at, item)| {
        let place = if several { format!("{place} {}", at.saturating_add(1)) } else { place.to_owned() };
        rate(item, &place, counted)
    });
    Some(Some(Arc::new(rates.collect())))
}

fn rate(item: &Item<'_>, place: &str, counted: &Counted) -> Option<Arc<Rate>> {
    let section = item.section("`rate`".to_owned())?;
    let requests = section.required("requests", RATE_EXAMPLE).and_then(|item| item.count(COUNT_RANGE));
    let per = section.required("per", RATE_EXAMPLE).and_then(|item| item.duration(PER_RANGE));
    let burst = section.item("burst").and_then(|item| item.count(COUNT_RANGE));
    let by = section.item("by");
    let by = by.map_or(Some(RateBy::Client), |item| self::by(&item));
    let name = name(&section, place);
    let flag = |key| section.item(key).and_then(|item| item.flag()).unwrap_or(false);
    let (dry_run, fields) = (flag("dry_run"), flag("fields"));
    let memory = section.item("memory").and_then(|item| item.size(ACCESS_RATE_MEMORY_RANGE));
    section.close();
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let requests = number(requests?);
    let rate = Rate {
        name,
        requests,
        per: per?,
        burst: burst.map_or(requests, number),
        by: by?,
        dry_run,
        fields,
        memory_bytes: memory.unwrap_or(ACCESS_RATE_MEMORY_BYTES),
    };
    Some(one_of(&counted.rates, Arc::clone(&rate.name), rate, item))
}

fn by(item: &Item<'_>) -> Option<RateBy> {
    if !item.is_table() {
        return item
            .word_or(&[("client", RateBy::Client), ("route", RateBy::Route)], "{ header = \"x-api-key\" }");
    }
    let section = item.section("`by`".to_owned())?;
    let help = "write by = { header = \"x-api-key\" }";
    let name = section.required("header", help).and_then(|item| item.parsed(help, value::field_name));
    section.close();
    Some(RateBy::Field(name?.as_str().into()))
}

/// A number, or a table with it.
#[allow(clippy::option_option)] // not written or wrong, off, or a rule
pub(super) fn concurrency(
    item: &Item<'_>,
    place: &str,
    counted: &Counted,
) -> Option<Option<Arc<Concurrency>>> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    let rule = if item.is_table() {
        let section = item.section("`concurrency`".to_owned())?;
        let requests =
            section.required("requests", CONCURRENCY_EXAMPLE).and_then(|item| item.count(COUNT_RANGE));
        let name = name(&section, place);
        let dry_run = section.item("dry_run").and_then(|item| item.flag()).unwrap_or(false);
        section.close();
        Concurrency { name, requests: u32::try_from(requests?).ok()?, dry_run }
    } else {
        let requests = u32::try_from(item.count(COUNT_RANGE)?).ok()?;
        Concurrency { name: plain(place), requests, dry_run: false }
    };
    Some(Some(one_of(&counted.concurrency, Arc::clone(&rule.name), rule, item)))
}

/// The rule, or the one of the same name that says the same.
fn one_of<T: PartialEq>(known: &Named<T>, name: Arc<str>, rule: T, item: &Item<'_>) -> Arc<T> {
    let mut known = known.borrow_mut();
    if let Some((place, first)) = known.get(&name) {
        if **first != rule {
            let message = format!("`{name}` is counted in two ways");
            let help = "what goes by one name is counted together: write the same, or give one of them a name of its own, name = \"…\"";
            item.tell_beside(
                Complaint::new("count-name", message, "otherwise", help),
                place.clone(),
                "so here",
            );
        }
        return Arc::clone(first);
    }
    let rule = Arc::new(rule);
    known.insert(name, (item.span.clone(), Arc::clone(&rule)));
    rule
}

fn name(section: &Section<'_>, place: &str) -> Arc<str> {
    let written =
        section.item("name").and_then(|item| item.parsed("write a short name, like \"login\"", written_name));
    written.unwrap_or_else(|| plain(place))
}

/// It stands in quotes in fields of answers.
fn written_name(text: &str) -> Result<Arc<str>, Complaint> {
    if *plain(text) == *text && !text.is_empty() {
        return Ok(text.into());
    }
    let message = format!("`{}` cannot name what is counted", text.escape_debug());
    let help = format!(
        "write up to {ACCESS_COUNT_NAME_BYTES_MAX} letters, digits and signs but quotes, like \"login\""
    );
    Err(Complaint::new("count-name", message, "not a plain name", help))
}

/// A place as a name.
fn plain(place: &str) -> Arc<str> {
    let fits = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    place
        .chars()
        .take(ACCESS_COUNT_NAME_BYTES_MAX)
        .map(|c| if fits(c) { c } else { '-' })
        .collect::<String>()
        .into()
}

const COUNT_RANGE: RangeInclusive<u64> = 1..=1_000_000;
/// A second window of a millisecond is a slip, one of more than a day would not outlive a restart.
const PER_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
const RATE_EXAMPLE: &str =
    "write rate = { requests = 100, per = \"1s\", burst = 200 }, a list of such, or \"off\"";
const CONCURRENCY_EXAMPLE: &str = "write concurrency = 20, or \"off\"";
