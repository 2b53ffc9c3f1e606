//! Receipts of purges and deploys, for people: one sentence, then a line for each node.

use std::fmt::Write as _;

use serde_json::Value;

use super::Ended;
use super::talk::Talk;

/// The receipt of a purge of `what`.
pub(super) fn purged(receipt: &Value, what: &str) -> String {
    let matched = match (number(receipt, "matched"), number(receipt, "margin")) {
        (Some(matched), None) => plural(matched, "stored response"),
        (Some(matched), Some(margin)) => {
            format!("about {}, give or take {margin},", plural(matched, "stored response"))
        }
        (None, _) => "what is stored".to_owned(),
    };
    let size = number(receipt, "bytes").map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
    let mut text = format!("{} {matched}{size} under {what}", done(receipt));
    if let Some(sequence) = number(receipt, "sequence") {
        let _ = write!(text, "; purge {sequence}");
    }
    text.push('\n');
    if receipt.get("partial").and_then(Value::as_bool).unwrap_or_default() {
        text.push_str(
            "  there may be more: the node has just started, and is still reading what its disk has\n",
        );
    }
    text + &nodes(receipt)
}

/// A line for each node, its columns under one another.
pub(super) fn nodes(receipt: &Value) -> String {
    let list = |name: &str| receipt.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut rows = Vec::new();
    for node in list("nodes") {
        let name = node.get("node").and_then(Value::as_str).unwrap_or("?");
        let ms = number(node, "ms").unwrap_or_default();
        rows.push((name, format!("applied after {ms} ms")));
    }
    rows.extend(late(receipt).map(|name| (name, "late".to_owned())));
    rows.extend(
        list("not_waited_for").filter_map(Value::as_str).map(|who| (who, "not waited for".to_owned())),
    );
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, told) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:width$}  {told}");
    }
    text
}

/// How a command ends that has printed this receipt: nodes that were waited for and are late are a failure.
pub(super) fn ended(talk: Talk, receipt: &Value, printed: Ended) -> Ended {
    let late: Vec<_> = late(receipt).collect();
    if late.is_empty() || printed != Ended::Done {
        return printed;
    }
    let sequence = number(receipt, "sequence").unwrap_or_default();
    talk.complain(
        &format!("not applied in time by {}", late.join(", ")),
        &format!(
            "a node that cannot be reached applies it before it serves again from what it holds\n\
             how it stands: GET /v1/purge/{sequence}"
        ),
    );
    Ended::Failed
}

/// What was done, as a verb.
pub(super) fn done(receipt: &Value) -> &'static str {
    let is = |name: &str| receipt.get(name).and_then(Value::as_bool).unwrap_or_default();
    match (is("dry_run"), is("soft")) {
        (true, true) => "would make stale",
        (true, false) => "would forget",
        (false, true) => "made stale",
        (false, false) => "forgot",
    }
}

/// A number and its noun.
pub(super) fn plural(count: u64, one: &str) -> String {
    let ending = match (count, one.strip_suffix('x')) {
        (1, _) => "",
        (_, Some(_)) => "es",
        _ => "s",
    };
    format!("{count} {one}{ending}")
}

pub(super) fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

fn late(receipt: &Value) -> impl Iterator<Item = &str> {
    receipt.get("late").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let tenths = (u128::from(bytes) * 10) >> shift;
        if tenths >= 10 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn receipts() {
        let nodes = json!([{ "node": "fra-1", "sequence": 7, "ms": 2 }, { "node": "lon-12", "sequence": 7, "ms": 41 }]);
        for (claim, receipt, expected) in [
            (
                "a purge tells what it did, its number and who applied it",
                json!({ "sequence": 7, "matched": 1, "soft": false, "nodes": nodes }),
                "forgot 1 stored response under 2 URLs; purge 7\n  fra-1   applied after 2 ms\n  lon-12  applied after 41 ms\n",
            ),
            (
                "soft is not hard",
                json!({ "sequence": 7, "matched": 3, "soft": true, "nodes": [] }),
                "made stale 3 stored responses under 2 URLs; purge 7\n",
            ),
            (
                "a dry run says that nothing happened, and what it would cost",
                json!({ "matched": 3, "bytes": 1_600_000, "dry_run": true, "nodes": [] }),
                "would forget 3 stored responses (1.5 MiB) under 2 URLs\n",
            ),
            (
                "an estimate is told to be one",
                json!({ "matched": 12_800, "bytes": 1_600_000, "margin": 950, "dry_run": true, "nodes": [] }),
                "would forget about 12800 stored responses, give or take 950, (1.5 MiB) under 2 URLs\n",
            ),
            (
                "a node that has just started says that it may not know all",
                json!({ "matched": 1, "bytes": 5, "partial": true, "dry_run": true, "nodes": [] }),
                "would forget 1 stored response (5 B) under 2 URLs\n  there may be more: the node has just started, and is still reading what its disk has\n",
            ),
            (
                "what cannot be counted is not told to be nothing",
                json!({ "sequence": 7, "matched": null, "nodes": [] }),
                "forgot what is stored under 2 URLs; purge 7\n",
            ),
            (
                "who was not waited for is told",
                json!({ "sequence": 7, "matched": 0, "nodes": [], "not_waited_for": ["other nodes below lon-1 and above it"] }),
                "forgot 0 stored responses under 2 URLs; purge 7\n  other nodes below lon-1 and above it  not waited for\n",
            ),
            (
                "who is late is told",
                json!({ "sequence": 7, "matched": 0, "nodes": [], "late": ["nyc-1"] }),
                "forgot 0 stored responses under 2 URLs; purge 7\n  nyc-1  late\n",
            ),
        ] {
            assert_eq!(purged(&receipt, "2 URLs"), expected, "{claim}");
        }
    }

    #[test]
    fn sizes_and_counts() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (u64::MAX, "17179869183.9 GiB")]
        {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(
            (plural(1, "prefix"), plural(2, "prefix"), plural(0, "tag")),
            ("1 prefix".into(), "2 prefixes".into(), "0 tags".into())
        );
    }
}
