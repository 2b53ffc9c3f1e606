//! `tidegate stat`: a node's counters, once.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::Node;
use super::talk::Talk;
use crate::config::units::{duration_text, size_text};

/// Print a running node's counters.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate stat\n  tidegate stat --watch\n  tidegate stat --admin 10.0.0.5:9180 --token-file token\n  tidegate stat --json | jq .hit_ratio"
)]
pub(crate) struct Stat {
    /// A line a second: what happened in it.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    node: Node,
}

impl Stat {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        if self.watch {
            return watch(&self.node, talk);
        }
        match self.node.call(talk, "GET", "/v1/stat", None) {
            Ok(stat) if self.node.json => talk.json(&stat),
            Ok(stat) => talk.result(&text(&stat)),
            Err(ended) => ended,
        }
    }
}

/// A line a second until the node ends, or whoever reads.
fn watch(node: &Node, talk: Talk) -> Ended {
    let events = match node.events(talk, "/v1/stream?only=stat") {
        Ok(events) => events,
        Err(ended) => return ended,
    };
    let mut before: Option<Value> = None;
    let mut shown = 0_u32;
    for (_, data) in events {
        if node.json {
            if talk.result(&data) != Ended::Done {
                return Ended::Failed;
            }
            continue;
        }
        let Ok(now) = serde_json::from_str::<Value>(&data) else { continue };
        if let Some(before) = before.replace(now.clone()) {
            if shown.is_multiple_of(HEADED_EVERY) && talk.result(HEADING) != Ended::Done {
                return Ended::Failed;
            }
            shown = shown.wrapping_add(1);
            if talk.result(&second(&before, &now)) != Ended::Done {
                return Ended::Failed;
            }
        }
    }
    talk.say("the node has ended");
    Ended::Done
}

/// What happened between two answers a second apart.
fn second(before: &Value, now: &Value) -> String {
    let of = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let rise = |path: &str| of(now, path).saturating_sub(of(before, path));
    let requests = rise("/requests");
    let from_cache = ["hit", "stale", "collapsed", "revalidated"]
        .iter()
        .map(|name| rise(&format!("/cache/{name}")))
        .sum::<u64>();
    let ratio = (from_cache * 1000).checked_div(requests);
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{}.{}%", ratio / 10, ratio % 10));
    let memory = list(now, "tiers").next().and_then(|tier| number(tier, "bytes")).unwrap_or_default();
    format!(
        "{requests:>10} {ratio:>8} {:>10} {:>8} {:>8} {:>8} {:>10} {:>9}",
        bytes(rise("/bytes")),
        rise("/origin_requests"),
        rise("/status/5xx"),
        rise("/purges/count"),
        bytes(memory),
        of(now, "/duration_us/p99"),
    )
}

/// Over what [`second`] tells; the last column is of all requests since the start.
const HEADING: &str = "requests/s     hits     sent/s origin/s    5xx/s purges/s     memory    p99 µs";
/// Lines between two headings.
const HEADED_EVERY: u32 = 20;

/// The counters for people. Whatever a node of another version does not tell is left out.
fn text(stat: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{name:<12}  {value}");
        }
    };
    let word = |name: &str| stat.get(name).and_then(Value::as_str).map(str::to_owned);
    line(
        "node",
        word("node").map(|node| match word("version") {
            Some(version) => format!("{node}, version {version}"),
            None => node,
        }),
    );
    let up = number(stat, "uptime_seconds").map(std::time::Duration::from_secs);
    line("up", up.map(rounded));
    line("requests", number(stat, "requests").map(|count| count.to_string()));
    line(
        "hit ratio",
        stat.get("hit_ratio").and_then(Value::as_f64).map(|ratio| format!("{:.1} %", ratio * 100.0)),
    );
    line("sent", number(stat, "bytes").map(bytes));
    line("outcomes", stat.get("cache").and_then(counted));
    line("statuses", stat.get("status").and_then(counted));
    line("duration", stat.get("duration_us").and_then(quantiles));
    line("  of hits", stat.get("hit_duration_us").and_then(quantiles));
    line("reasons", stat.get("reasons").and_then(counted));
    for tier in list(stat, "tiers") {
        let used = number(tier, "bytes").zip(number(tier, "bytes_max"));
        let name = tier.get("tier").and_then(Value::as_str).unwrap_or("tier");
        let objects = number(tier, "objects").unwrap_or_default();
        let evicted = number(tier, "evictions").unwrap_or_default();
        line(
            name,
            used.map(|(used, max)| {
                format!(
                    "{} of {}, {objects} {}, {evicted} evicted",
                    bytes(used),
                    bytes(max),
                    if objects == 1 { "object" } else { "objects" }
                )
            }),
        );
    }
    for tier in list(stat, "tiers").filter_map(|tier| tier.get("tier").and_then(Value::as_str)) {
        let sizes: Vec<_> = list(stat, "sizing")
            .filter(|one| one.get("tier").and_then(Value::as_str) == Some(tier))
            .collect();
        // What is not full would hit as often with more: nothing to choose between.
        if !sizes.is_empty() && sizes.iter().all(|one| !fills(one)) {
            line("sizing", Some(format!("{tier}: half of it would hold all that was asked for so far")));
        } else {
            for one in sizes {
                line("sizing", sized(one));
            }
        }
    }
    // With one site it is the same.
    let sites: Vec<_> = list(stat, "sites").filter(|site| list(site, "sizing").next().is_some()).collect();
    for site in sites.iter().filter(|_| sites.len() > 1) {
        for tier in list(stat, "tiers").filter_map(|tier| tier.get("tier").and_then(Value::as_str)) {
            line("sizing", sized_site(site, tier));
        }
    }
    for origin in list(stat, "origins") {
        let word = |name: &str| origin.get(name).and_then(Value::as_str).unwrap_or("?");
        let state =
            if origin.get("healthy").and_then(Value::as_bool).unwrap_or(true) { "up" } else { "left out" };
        let requests = number(origin, "requests").unwrap_or_default();
        let failed = number(origin, "failed").unwrap_or_default();
        line(
            "origin",
            Some(format!(
                "{} {} {state}, {requests} requests, {failed} failed",
                word("pool"),
                word("origin")
            )),
        );
    }
    for one in list(stat, "connections") {
        let word = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or("?");
        let open = number(one, "open").unwrap_or_default();
        let accepted = number(one, "accepted").unwrap_or_default();
        line(
            "connections",
            Some(format!("{} {} {open} open, {accepted} accepted", word("listener"), word("protocol"))),
        );
    }
    line(
        "purges",
        stat.get("purges").and_then(|purges| number(purges, "count")).map(|count| count.to_string()),
    );
    text
}

/// What another size would bring: `2 × memory (512MiB): 71.3 % of requests, 55.0 % of bytes`.
fn sized(one: &Value) -> Option<String> {
    let share = |name: &str| one.get(name).and_then(Value::as_f64).map(|share| share * 100.0);
    let (requests, of_bytes) = (share("hit_ratio")?, share("byte_hit_ratio")?);
    let size = one.get("size").and_then(Value::as_f64)?;
    let tier = one.get("tier").and_then(Value::as_str)?;
    let max = bytes(number(one, "bytes_max")?);
    // What is not full yet would hit as often if it were smaller.
    let note = if fills(one) { "" } else { ", not full so far" };
    Some(format!("{size} × {tier} ({max}): {requests:.1} % of requests, {of_bytes:.1} % of bytes{note}"))
}

/// What other sizes of a tier would bring to a site: `a.example, memory: 61.0 % of requests with 0.5 ×, 75.2 % with 2 ×`. Nothing
/// where all of them would be the same to it.
fn sized_site(site: &Value, tier: &str) -> Option<String> {
    let name = site.get("site").and_then(Value::as_str)?;
    let sizes: Vec<_> = list(site, "sizing")
        .filter(|one| one.get("tier").and_then(Value::as_str) == Some(tier) && fills(one))
        .filter_map(|one| {
            let factor = one.get("size").and_then(Value::as_f64)?;
            Some((one.get("hit_ratio").and_then(Value::as_f64)? * 100.0, factor))
        })
        .collect();
    let (first, more) = sizes.split_first()?;
    let mut text = format!("{name}, {tier}: {:.1} % of requests with {} ×", first.0, first.1);
    for (requests, factor) in more {
        let _ = write!(text, ", {requests:.1} % with {factor} ×");
    }
    Some(text)
}

/// Whether a tier of this size would be full by now.
fn fills(one: &Value) -> bool {
    one.get("filled").and_then(Value::as_f64).is_none_or(|filled| filled > 0.95)
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// What was counted at all: `hit 12, miss 3`.
fn counted(counts: &Value) -> Option<String> {
    let mut counts: Vec<_> = counts
        .as_object()?
        .iter()
        .filter_map(|(name, count)| Some((name, count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn quantiles(micros: &Value) -> Option<String> {
    let one = |name: &str| {
        number(micros, name).filter(|micros| *micros > 0).map(|micros| format!("{name} {micros} µs"))
    };
    let words: Vec<_> = ["p50", "p90", "p99"].into_iter().filter_map(one).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Bytes to three digits or so.
fn bytes(bytes: u64) -> String {
    let shift = match bytes {
        0..0x2800 => 0,
        0x2800..0xA0_0000 => 10,
        0xA0_0000..0x2_8000_0000 => 20,
        _ => 30,
    };
    size_text((bytes >> shift) << shift)
}

/// The two largest units.
fn rounded(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let (large, small) = match seconds {
        0..120 => return duration_text(duration),
        120..7200 => (60, 1),
        7200..172_800 => (3600, 60),
        _ => (86_400, 3600),
    };
    let part = |seconds: u64| duration_text(std::time::Duration::from_secs(seconds));
    let (whole, rest) = (seconds / large * large, seconds % large / small * small);
    if rest == 0 { part(whole) } else { format!("{} {}", part(whole), part(rest)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_are_told_and_zeros_are_not() {
        let stat = json!({
            "node": "fra-1", "version": "0.1.0", "uptime_seconds": 90, "requests": 4, "hit_ratio": 0.75, "bytes": 2048,
            "cache": { "hit": 3, "miss": 1, "stale": 0 },
            "tiers": [{ "tier": "memory", "bytes": 1024, "bytes_max": 1_073_741_824, "objects": 1, "evictions": 0 },
                      { "tier": "disk", "bytes": 0, "bytes_max": 2048, "objects": 0, "evictions": 0 }],
            "sizing": [
                { "tier": "memory", "size": 0.5, "bytes_max": 536_870_912, "hit_ratio": 0.7, "byte_hit_ratio": 0.4, "filled": 1.0 },
                { "tier": "memory", "size": 2.0, "bytes_max": 2_147_483_648_u64, "hit_ratio": 0.8, "byte_hit_ratio": 0.5, "filled": 0.2 },
                { "tier": "disk", "size": 0.5, "bytes_max": 1024, "hit_ratio": 0.8, "byte_hit_ratio": 0.5, "filled": 0.2 },
            ],
            "sites": [
                { "site": "a.example", "sizing": [
                    { "tier": "memory", "size": 0.5, "hit_ratio": 0.61, "byte_hit_ratio": 0.4, "filled": 1.0 },
                    { "tier": "memory", "size": 2.0, "hit_ratio": 0.752, "byte_hit_ratio": 0.5, "filled": 1.0 },
                    { "tier": "disk", "size": 0.5, "hit_ratio": 0.8, "byte_hit_ratio": 0.5, "filled": 0.2 },
                ] },
                { "site": "b.example", "sizing": [
                    { "tier": "memory", "size": 0.5, "hit_ratio": 0.9, "byte_hit_ratio": 0.9, "filled": 1.0 },
                ] },
                { "site": "c.example", "sizing": [] },
            ],
            "origins": [{ "pool": "main", "origin": "http://a", "healthy": false, "requests": 1, "failed": 1 }],
        });
        assert_eq!(
            text(&stat),
            "node          fra-1, version 0.1.0\n\
             up            90s\n\
             requests      4\n\
             hit ratio     75.0 %\n\
             sent          2KiB\n\
             outcomes      hit 3, miss 1\n\
             memory        1KiB of 1GiB, 1 object, 0 evicted\n\
             disk          0B of 2KiB, 0 objects, 0 evicted\n\
             sizing        0.5 × memory (512MiB): 70.0 % of requests, 40.0 % of bytes\n\
             sizing        2 × memory (2GiB): 80.0 % of requests, 50.0 % of bytes, not full so far\n\
             sizing        disk: half of it would hold all that was asked for so far\n\
             sizing        a.example, memory: 61.0 % of requests with 0.5 ×, 75.2 % with 2 ×\n\
             sizing        b.example, memory: 90.0 % of requests with 0.5 ×\n\
             origin        main http://a left out, 1 requests, 1 failed\n"
        );
    }

    #[test]
    fn times_up() {
        for (seconds, expected) in
            [(0, "0s"), (90, "90s"), (3700, "61m 40s"), (7200, "2h"), (93_784, "26h 3m"), (200_000, "2d 7h")]
        {
            let text = rounded(std::time::Duration::from_secs(seconds));
            assert_eq!(text, expected, "{seconds} s");
        }
    }
}
