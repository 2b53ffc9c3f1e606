//! A parent's own log over HTTP: what children follow where there is no broker.
//!
//! Three calls between nodes, on the listener on which a child asks its parent for pages: `GET` reads a piece of the log and
//! waits where there is nothing new, or asks who has a record and waits until all have, `POST` adds records. All are JSON. Who may call, and how a call reaches a parent, is the
//! root's ([`Calls`]); the body of a `POST` is named in its target by its digest, so that a proof that covers the target covers
//! the body.
//!
//! ```text
//! GET  PATH?since=7&max=256&wait=5&node=NAME     {"log":"00…","first":1,"last":9,"records":[[8,{…}],[9,{…}]]}
//! GET  PATH?receipt=9&wait=4000&hops=3&node=NAME {"nodes":[{"node":"a","sequence":9,"ms":1}],"late":[],"not_waited_for":[]}
//! POST PATH?sha256=HEX    [{…},{…}]              {"log":"00…","sequence":11}
//! ```

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use cache_store::purge::{Applied, PurgeLog};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Batch, BusError, Pending, Position, PurgeBus, Record, record_of};
use crate::FleetReceipt;

/// How a call reaches a parent.
pub trait Calls: Send + Sync {
    /// The body of its answer of status 200.
    ///
    /// # Errors
    /// [`BusError`]: there is none.
    fn call<'a>(&'a self, method: &'static str, target: String, body: Vec<u8>) -> Pending<'a, Vec<u8>>;
}

/// A number of nodes now.
pub type Below = dyn Fn() -> usize + Send + Sync;

/// A parent's log.
pub struct ParentLog {
    name: Box<str>,
    node: Box<str>,
    calls: Arc<dyn Calls>,
    /// How many nodes follow this one's log in turn.
    below: Box<Below>,
    wait: Duration,
    /// The last number that was told: behind it there was nothing, and may be waited for.
    last: AtomicU64,
}

/// What a child asks of a parent's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullQuery {
    /// Records behind this number.
    pub since: u64,
    /// At most so many.
    pub max: usize,
    /// How long to wait for one.
    pub wait: Duration,
    /// Who asks: it has applied everything up to `since`.
    pub node: Box<str>,
    /// How many nodes follow its own log.
    pub below: usize,
}

/// What a child asks about a record of a parent's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiptQuery {
    /// The record.
    pub sequence: u64,
    /// How long to wait for those who do not have it.
    pub wait: Duration,
    /// So many more nodes may ask on.
    pub hops: u8,
    /// Who asks: it has it itself.
    pub node: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct WrittenBatch {
    log: String,
    first: u64,
    last: u64,
    records: Vec<(u64, Box<RawValue>)>,
}

#[derive(Serialize, Deserialize)]
struct WrittenPosition {
    log: String,
    sequence: u64,
}

impl ParentLog {
    /// The log of the parent that is called `name` here, for this node, through `calls`. A pull waits there for `wait`.
    pub fn new(name: &str, node: &str, calls: Arc<dyn Calls>, below: Box<Below>, wait: Duration) -> Self {
        Self { name: name.into(), node: node.into(), calls, below, wait, last: AtomicU64::new(u64::MAX) }
    }
}

impl PurgeBus for ParentLog {
    fn name(&self) -> &str {
        &self.name
    }

    fn pull(&self, since: u64, max: usize) -> Pending<'_, Batch> {
        Box::pin(async move {
            // Whoever does not know yet that there is nothing wants to hear that at once.
            let last = self.last.swap(u64::MAX, Ordering::AcqRel);
            let wait = if since == last { self.wait.as_millis() } else { 0 };
            let (node, below) = (&self.node, (self.below)());
            let target = format!("{PATH}?since={since}&max={max}&wait={wait}&node={node}&below={below}");
            let batch = batch_from(&self.calls.call("GET", target, Vec::new()).await?)?;
            self.last.store(batch.last, Ordering::Release);
            Ok(batch)
        })
    }

    fn give<'a>(&'a self, records: &'a [Record]) -> Pending<'a, Position> {
        Box::pin(async move {
            let mut body = vec![b'['];
            for record in records {
                if body.len() > 1 {
                    body.push(b',');
                }
                body.extend_from_slice(&record.to_json());
            }
            body.push(b']');
            let target = format!("{PATH}?{DIGEST}={}", hex(digest(&SHA256, &body).as_ref()));
            let answer = self.calls.call("POST", target, body).await?;
            let WrittenPosition { log, sequence } = serde_json::from_slice(&answer).map_err(not_ours)?;
            Ok(Position { log: identity(&log)?, sequence })
        })
    }

    fn receipt(&self, sequence: u64, wait: Duration, hops: u8) -> Pending<'_, Option<FleetReceipt>> {
        Box::pin(async move {
            let (wait, node) = (wait.as_millis(), &self.node);
            let target = format!("{PATH}?receipt={sequence}&wait={wait}&hops={hops}&node={node}");
            let answer = self.calls.call("GET", target, Vec::new()).await?;
            serde_json::from_slice(&answer).map(Some).map_err(not_ours)
        })
    }
}

impl ReceiptQuery {
    /// What the part of a target behind `?` asks; `None` where it is not this.
    pub fn parse(query: &str) -> Option<Self> {
        let named = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            sequence: named("receipt")?.parse().ok()?,
            wait: Duration::from_millis(named("wait")?.parse().ok()?).min(WAIT_MAX),
            hops: named("hops")?.parse().ok()?,
            node: named("node").filter(|node| super::status::is_name(node))?.into(),
        })
    }
}

/// A receipt as JSON.
pub fn receipt_to_json(receipt: &FleetReceipt) -> Vec<u8> {
    // Strings and numbers only.
    serde_json::to_vec(receipt).unwrap_or_default()
}

impl PullQuery {
    /// What the part of a target behind `?` asks; `None` where it asks nothing that is known here.
    pub fn parse(query: &str) -> Option<Self> {
        let (mut since, mut max, mut wait, mut node, mut below) = (None, None, None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            match name {
                "since" => since = Some(value.parse().ok()?),
                "max" => max = Some(value.parse::<usize>().ok()?),
                "wait" => wait = Some(value.parse().ok()?),
                "node" => node = Some(value),
                "below" => below = Some(value.parse().ok()?),
                // Of a later version: it has its reasons, and is answered as far as it is understood.
                _ => {}
            }
        }
        let wait = Duration::from_millis(wait.unwrap_or(0)).min(WAIT_MAX);
        let max = max.unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX);
        let node = node.filter(|node| super::status::is_name(node))?;
        Some(Self { since: since?, max, wait, node: node.into(), below: below.unwrap_or(0) })
    }
}

/// The piece of a log that is asked for, as JSON. Blocks.
///
/// # Errors
/// The log cannot be read.
pub fn batch_to_json(log: &PurgeLog, query: &PullQuery) -> std::io::Result<Vec<u8>> {
    // Read before the records: one that comes in between makes it too low, and is fetched by the next call.
    let (mut first, last) = (log.first()?, log.sequence());
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut next = query.since.saturating_add(1);
    for logged in log.since(query.since, query.max)? {
        // One that is missing or no longer reads as an order is a hole: a child that has come to it is told that the log begins
        // behind it.
        let record = match record_of(&logged) {
            Some(record) if logged.sequence == next => record,
            other => {
                next = logged.sequence.saturating_add(u64::from(other.is_none()));
                break;
            }
        };
        next = logged.sequence.saturating_add(1);
        let text = String::from_utf8(record.to_json()).unwrap_or_default();
        bytes += text.len();
        if bytes > BATCH_BYTES_MAX && !records.is_empty() {
            break;
        }
        records.extend(RawValue::from_string(text).ok().map(|text| (logged.sequence, text)));
    }
    if records.is_empty() && query.since < last {
        // Nothing at all: then all that was looked at is such a hole.
        let looked_at = query.since.saturating_add(query.max as u64).min(last);
        let behind = if next > query.since.saturating_add(1) { next } else { looked_at.saturating_add(1) };
        first = first.max(behind);
    }
    let written = WrittenBatch { log: format!("{:032x}", log.identity()), first, last, records };
    Ok(serde_json::to_vec(&written).unwrap_or_default())
}

/// The records in the body of a `POST` whose target has this query.
///
/// # Errors
/// The body is not what the target names, or no list of records.
pub fn records_from(query: &str, body: &[u8]) -> Result<Vec<Record>, BusError> {
    let named = query.split('&').find_map(|pair| pair.strip_prefix(DIGEST)?.strip_prefix('='));
    if named != Some(&*hex(digest(&SHA256, body).as_ref())) {
        return Err(BusError("the body is not the one that the target names".to_owned()));
    }
    let texts: Vec<Box<RawValue>> = serde_json::from_slice(body).map_err(not_ours)?;
    if texts.len() > BATCH_MAX {
        return Err(BusError(format!("{} records; one call may carry {BATCH_MAX}", texts.len())));
    }
    texts.iter().map(|text| Record::from_json(text.get().as_bytes())).collect()
}

/// The answer to a `POST` whose records have been applied so.
pub fn position_to_json(log: &PurgeLog, applied: &[Applied]) -> Vec<u8> {
    let sequence = applied.iter().map(|applied| applied.sequence).max().unwrap_or_else(|| log.sequence());
    let written = WrittenPosition { log: format!("{:032x}", log.identity()), sequence };
    serde_json::to_vec(&written).unwrap_or_default()
}

fn batch_from(text: &[u8]) -> Result<Batch, BusError> {
    let WrittenBatch { log, first, last, records } = serde_json::from_slice(text).map_err(not_ours)?;
    let records = records.into_iter().map(|(number, text)| {
        let record = Record::from_json(text.get().as_bytes())?;
        Ok((number, record))
    });
    Ok(Batch { log: identity(&log)?, first, last, records: records.collect::<Result<_, BusError>>()? })
}

fn identity(text: &str) -> Result<u128, BusError> {
    u128::from_str_radix(text, 16).map_err(|error| BusError(format!("not the name of a log: {error}")))
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn not_ours(error: serde_json::Error) -> BusError {
    BusError(format!("not what a node says: {error}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Where the log is, on the listener of a node; for other nodes alone.
pub const PATH: &str = "/.well-known/tidegate/purges";
const DIGEST: &str = "sha256";
/// Records in one answer or call.
const BATCH_MAX: usize = 256;
/// Bytes of an answer at which it ends after a whole record.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long a call may wait.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of a call's body.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use cache_store::purge::{GAP, Purge, Scope, new_id};
    use cache_store::store::{CacheStore, MemoryAdmission, Settings};
    use cache_store::timestamp::Timestamp;
    use proptest::prelude::*;

    use super::super::{Exchange, Pulled, Standing};
    use super::*;

    /// A parent's store behind the two calls.
    struct Direct(Arc<CacheStore>);

    impl Calls for Direct {
        fn call<'a>(&'a self, method: &'static str, target: String, body: Vec<u8>) -> Pending<'a, Vec<u8>> {
            Box::pin(async move {
                let query =
                    target.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('?')).expect("the path");
                if method == "GET" {
                    let query = PullQuery::parse(query).expect("it asks");
                    return batch_to_json(self.0.purge_log(), &query)
                        .map_err(|error| BusError(error.to_string()));
                }
                let purges = records_from(query, &body)?.into_iter().map(|record| Purge {
                    id: record.id,
                    at: Timestamp::from_millis(record.at_millis),
                    soft: record.order.soft,
                    scopes: vec![Scope::Everything],
                });
                let applied = self.0.accept(purges.collect(), "child").expect("memory refuses nothing");
                Ok(position_to_json(self.0.purge_log(), &applied))
            })
        }
    }

    #[tokio::test]
    async fn a_log_is_read_and_added_to() {
        let store = CacheStore::new(&Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 20,
            secret: [1; 32],
        });
        let log = ParentLog::new(
            "p",
            "child-1",
            Arc::new(Direct(Arc::clone(&store))),
            Box::new(|| 0),
            Duration::from_secs(1),
        );
        for tag in ["a", "b", "c"] {
            let scopes = vec![Scope::Tag(tag.into())];
            let id = new_id().expect("randomness");
            store.purge(Purge { id, at: Timestamp::from_secs(1), soft: true, scopes }).expect("memory");
        }
        let batch = log.pull(1, 1).await.expect("it answers");
        assert_eq!((batch.first, batch.last, batch.log), (1, 3, store.purge_log().identity()));
        let [(2, record)] = &batch.records[..] else { panic!("{batch:?}") };
        assert_eq!(record.order.selectors[0].to_string(), "b");
        let again = log.give(std::slice::from_ref(record)).await.expect("it takes it");
        assert_eq!(again, Position { log: batch.log, sequence: 2 }, "it has it already");
        let new = Record { id: 77, ..record.clone() };
        assert_eq!(log.give(&[new]).await.expect("it takes it").sequence, 4);
    }

    /// A child must neither wait for it for ever nor go on as if there had been nothing.
    #[tokio::test]
    async fn a_record_that_no_longer_reads_as_an_order_is_a_gap() {
        let node = || {
            CacheStore::new(&Settings {
                memory_bytes: 1 << 20,
                memory_admission: MemoryAdmission::default(),
                object_bytes_max: 1 << 20,
                secret: [1; 32],
            })
        };
        let (parent, child) = (node(), node());
        let no_host = Scope::Host("".into());
        for scope in [Scope::Tag("a".into()), no_host.clone(), Scope::Tag("c".into()), no_host] {
            let id = new_id().expect("randomness");
            let purge = Purge { id, at: Timestamp::from_secs(1), soft: false, scopes: vec![scope] };
            parent.purge(purge).expect("memory refuses nothing");
        }
        let log =
            ParentLog::new("p", "child-1", Arc::new(Direct(parent)), Box::new(|| 0), Duration::from_secs(1));
        let standing = Arc::new(Standing::new(Arc::clone(child.purge_log())));
        let exchange =
            Exchange::new(Arc::clone(&child), Arc::new(log), standing, Arc::new(|_| Scope::Everything));
        let mut steps = 0;
        while exchange.pull(Timestamp::from_secs(2)).await.expect("it answers") == Pulled::More {
            steps += 1;
            assert!(steps < 10, "it gets nowhere");
        }
        let vias: Vec<_> =
            child.purge_log().since(0, 9).expect("memory").into_iter().map(|logged| logged.via).collect();
        assert_eq!(vias, ["p", GAP, "p", GAP].map(Box::from));
    }

    #[test]
    fn a_receipt_is_asked_for_in_bounds() {
        let asked = ReceiptQuery::parse("receipt=9&wait=4000&hops=3&node=a").expect("as it is asked");
        assert_eq!(
            (asked.sequence, asked.wait, asked.hops, &*asked.node),
            (9, Duration::from_secs(4), 3, "a")
        );
        let long = ReceiptQuery::parse("receipt=9&wait=999999999&hops=3&node=a").expect("as it is asked");
        assert_eq!(long.wait, WAIT_MAX);
        for query in
            ["", "since=7&node=a", "receipt=9&wait=1&hops=256&node=a", "receipt=9&wait=1&hops=1&node="]
        {
            assert_eq!(ReceiptQuery::parse(query), None, "{query}");
        }
    }

    #[test]
    fn a_body_is_the_one_that_the_target_names() {
        let named = format!("sha256={}", hex(digest(&SHA256, b"[]").as_ref()));
        assert_eq!(records_from(&named, b"[]"), Ok(Vec::new()));
        for (query, body) in [(&*named, &b"[ ]"[..]), ("", b"[]"), ("sha256=", b"[]"), ("sha256=00", b"[]")] {
            assert!(records_from(query, body).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), query in "[ -~]{0,60}") {
            let _ = (batch_from(&bytes), PullQuery::parse(&query), records_from(&query, &bytes));
            let _ = ReceiptQuery::parse(&query);
        }
    }
}
