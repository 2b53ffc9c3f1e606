//! The log of purges as it is read over HTTP: one receipt, or what came after a number.
//!
//! An entry's `order` has the members of a purge call, so an entry can be sent again as one.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::order::{Order, Scope, Selector};
use crate::request::LISTS;
use crate::{Entry, Problem, PurgeError, Purger};

/// What `GET /v1/purges` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogQuery {
    /// Those after this number.
    pub since: u64,
    /// At most so many.
    pub max: usize,
    /// Seconds to wait for one where there is none.
    pub wait_secs: u64,
}

impl LogQuery {
    /// The query in `since=SEQ&max=N&wait=SECONDS`, each optional. More than [`PURGES_MAX`] and [`WAIT_SECS_MAX`] is taken as
    /// those.
    ///
    /// # Errors
    /// 400 with the parameter that is unknown, repeated or no number.
    pub fn parse(query: &[u8]) -> Result<Self, Problem> {
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "query", detail);
        let mut asked = [("since", None), ("max", None), ("wait", None)];
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let pair = String::from_utf8_lossy(pair);
            let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
            let Some((known, number)) = asked.iter_mut().find(|(known, _)| *known == name) else {
                let name = name.escape_debug();
                return Err(bad(format!("unknown parameter `{name}`; known are since, max and wait")));
            };
            if number.is_some() {
                return Err(bad(format!("`{known}` twice")));
            }
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = value.parse::<u64>().ok().filter(|_| digits);
            *number = Some(parsed.ok_or_else(|| bad(format!("`{known}` is not a number")))?);
        }
        let [(_, since), (_, max), (_, wait)] = asked;
        let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PURGES_MAX);
        Ok(Self {
            since: since.unwrap_or(0),
            max: max.clamp(1, PURGES_MAX),
            wait_secs: wait.unwrap_or(0).min(WAIT_SECS_MAX),
        })
    }
}

/// The answer to `GET /v1/purges`; `noted` adds what else is known of an entry.
///
/// # Errors
/// The log cannot be read.
pub fn purges(
    purger: &dyn Purger,
    query: LogQuery,
    noted: &dyn Fn(u64) -> Map<String, Value>,
) -> Result<Value, PurgeError> {
    // Read first: whoever asks again with this number as `since` misses nothing that came in between.
    let sequence = purger.sequence();
    let entries = purger.purges(query.since, query.max)?;
    let full = entries.len() >= query.max;
    let (mut told, mut bytes, mut cut) = (Vec::new(), 0, false);
    for entry in &entries {
        bytes += bytes_of(entry);
        if bytes > REPLY_BYTES_MAX && !told.is_empty() {
            cut = true;
            break;
        }
        told.push(entry_json(entry, noted(entry.sequence)));
    }
    Ok(json!({ "sequence": sequence, "more": full || cut, "purges": told }))
}

/// The entry of this number, or `None` where there is none (any more).
///
/// # Errors
/// The log cannot be read.
pub fn entry(purger: &dyn Purger, sequence: u64) -> Result<Option<Entry>, PurgeError> {
    let Some(before) = sequence.checked_sub(1) else { return Ok(None) };
    Ok(purger.purges(before, 1)?.pop().filter(|entry| entry.sequence == sequence))
}

/// An entry as JSON, with these members beside its own.
pub fn entry_json(entry: &Entry, noted: Map<String, Value>) -> Value {
    let mut members = Map::from_iter([
        ("sequence".to_owned(), json!(entry.sequence)),
        ("id".to_owned(), json!(entry.id)),
        ("at".to_owned(), json!(rfc3339(entry.at_millis))),
        ("scope".to_owned(), json!(entry.order.scope().map_or("mixed", Scope::as_str))),
        ("soft".to_owned(), json!(entry.order.soft)),
        ("order".to_owned(), order_json(&entry.order)),
    ]);
    for (name, value) in noted {
        members.entry(name).or_insert(value);
    }
    Value::Object(members)
}

/// An order as the body of a purge call.
pub fn order_json(order: &Order) -> Value {
    let mut members = Map::new();
    for (name, scope) in LISTS {
        let of_scope = order.selectors.iter().filter(|selector| selector.scope() == scope);
        let texts: Vec<Value> = of_scope.map(|selector| selector.to_string().into()).collect();
        if !texts.is_empty() {
            members.insert(name.to_owned(), texts.into());
        }
    }
    if order.selectors.contains(&Selector::Everything) {
        members.insert("everything".to_owned(), true.into());
    }
    members.insert("soft".to_owned(), order.soft.into());
    Value::Object(members)
}

fn bytes_of(entry: &Entry) -> usize {
    let texts = entry.order.selectors.iter().map(|selector| match selector {
        Selector::Url(url) | Selector::Prefix(url) => url.authority().len() + url.target().len(),
        Selector::Host(host) => host.as_str().len(),
        Selector::Tag(tag) => tag.as_str().len(),
        Selector::Everything => 0,
    });
    texts.map(|bytes| bytes + ENTRY_OVERHEAD_BYTES).sum::<usize>() + ENTRY_OVERHEAD_BYTES
}

/// A moment as RFC 3339 writes it, in UTC.
pub fn rfc3339(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day ends a year (Howard Hinnant, "chrono-compatible low-level date
    // algorithms").
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Purges in one answer.
pub const PURGES_MAX: usize = 1_000;
/// Seconds that one call may wait.
pub const WAIT_SECS_MAX: u64 = 60;
/// Bytes of an answer at which it ends after a whole entry; one entry alone is as long as it is.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;
const ENTRY_OVERHEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;
    use crate::request::PurgeRequest;

    fn order(selectors: &[(Scope, &str)]) -> Order {
        let selectors =
            selectors.iter().map(|(scope, text)| Selector::parse(*scope, text).unwrap()).collect();
        Order { selectors, soft: true }
    }

    #[test]
    fn queries() {
        for (claim, query, expected) in [
            ("nothing is from the beginning", "", Ok((0, PURGES_MAX, 0))),
            ("a number", "since=7", Ok((7, PURGES_MAX, 0))),
            ("all three", "since=7&max=2&wait=30", Ok((7, 2, 30))),
            (
                "no more than one call may have",
                "max=99999999999&wait=9999",
                Ok((0, PURGES_MAX, WAIT_SECS_MAX)),
            ),
            ("at least one", "max=0", Ok((0, 1, 0))),
            ("twice", "since=1&since=2", Err("`since` twice")),
            ("no number", "since=a", Err("`since` is not a number")),
            ("a sign", "since=+1", Err("`since` is not a number")),
            ("nothing for a number", "since=", Err("`since` is not a number")),
            ("a number beyond numbers", "since=18446744073709551616", Err("`since` is not a number")),
            ("a misspelt one", "sinse=1", Err("unknown parameter `sinse`")),
        ] {
            let query = LogQuery::parse(query.as_bytes());
            let got = query.as_ref().map(|query| (query.since, query.max, query.wait_secs));
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{claim}"),
                (Err(problem), Err(start)) => assert!(problem.detail.starts_with(start), "{claim}"),
                (got, _) => panic!("{claim}: {got:?}"),
            }
        }
    }

    #[test]
    fn an_entry_can_be_sent_again() {
        let mixed = order(&[
            (Scope::Tag, "t"),
            (Scope::Url, "http://a/?x=%22&y=1"),
            (Scope::Prefix, "http://a/n"),
            (Scope::Host, "a"),
        ]);
        for order in [mixed, order(&[(Scope::Everything, "")])] {
            let body = order_json(&order).to_string();
            let again = PurgeRequest::parse(body.as_bytes(), &|url| Ok(url.clone())).unwrap().order;
            assert_eq!(again.soft, order.soft);
            assert_eq!(again.selectors.len(), order.selectors.len());
            assert!(order.selectors.iter().all(|selector| again.selectors.contains(selector)), "{body}");
        }
    }

    #[test]
    fn the_log_is_read_in_pieces() {
        let purger = Fake::default();
        for at in 0..5 {
            purger.purge(&order(&[(Scope::Tag, &format!("t{at}"))])).unwrap();
        }
        let ask = |since, max| {
            let query = LogQuery { since, max, wait_secs: 0 };
            let told = purges(&purger, query, &|_| Map::new()).unwrap();
            let numbers: Vec<_> =
                told["purges"].as_array().unwrap().iter().map(|entry| entry["sequence"].as_u64()).collect();
            assert_eq!(told["sequence"], 5);
            (numbers.into_iter().flatten().collect::<Vec<_>>(), told["more"].as_bool().unwrap())
        };
        assert_eq!(ask(0, 2), (vec![1, 2], true));
        assert_eq!(ask(2, 9), (vec![3, 4, 5], false));
        assert_eq!(ask(5, 9), (vec![], false));
        assert_eq!(entry(&purger, 3).unwrap().map(|entry| entry.sequence), Some(3));
        assert_eq!(entry(&purger, 6), Ok(None));
        assert_eq!(entry(&purger, 0), Ok(None));
    }

    #[test]
    fn an_answer_ends_before_it_is_too_long_and_never_without_an_entry() {
        let purger = Fake::default();
        let long = format!("http://a/{}", "x".repeat(8_000));
        let large = order(&vec![(Scope::Url, long.as_str()); 700]);
        for _ in 0..3 {
            purger.purge(&large).unwrap();
        }
        let told = purges(&purger, LogQuery { since: 0, max: 3, wait_secs: 0 }, &|_| Map::new()).unwrap();
        assert_eq!((told["purges"].as_array().unwrap().len(), &told["more"]), (1, &json!(true)));
    }

    #[test]
    fn moments() {
        for (millis, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_793_611_200_123, "2026-11-02T09:20:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(millis), written);
        }
        let _ = rfc3339(u64::MAX);
    }
}
