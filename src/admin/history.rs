//! What has been purged: one receipt, or the log from a number on, held open until something comes.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use purge_api::auth::{Bearer, Permission};
use purge_api::log::{self, LogQuery};
use purge_api::{Entry, Problem, PurgeError, Reply};
use serde_json::{Map, Value, json};

use super::Inner;

impl Inner {
    /// `GET /v1/purges`. With `wait`, it answers once there is something after `since`, or with nothing when the time is
    /// over.
    pub(super) async fn purges(self: Arc<Self>, query: LogQuery) -> Reply {
        if query.wait_secs > 0 {
            let node = self.node();
            let passed = node.purger().passed(query.since);
            // That nothing came is told by an empty list.
            let _ = self.clock.timeout(Duration::from_secs(query.wait_secs), passed).await;
        }
        let reading = tokio::task::spawn_blocking(move || {
            log::purges(self.node().purger(), query, &|sequence| self.noted(sequence))
        });
        answered(reading.await.unwrap_or_else(|_| Err(PurgeError::Unavailable("reading was lost".into()))))
    }

    /// What this node knows of a purge beside its record: who ordered it, and what it has cost so far.
    fn noted(&self, sequence: u64) -> Map<String, Value> {
        let node = self.node();
        let mut noted = node.ledger().of(sequence);
        noted.extend(
            node.purger().refetched(sequence).map(|fetches| ("refetched".to_owned(), fetches.into())),
        );
        noted
    }

    /// `GET /v1/purge/{sequence}`: the entry, and who of the fleet has it by now. Who may only purge sees what they may purge.
    pub(super) async fn receipt(self: Arc<Self>, sequence: u64, bearer: Bearer) -> Reply {
        let inner = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || log::entry(inner.node().purger(), sequence));
        let theirs = |entry: &Entry| {
            bearer.may(Permission::Read) || bearer.grant().first_outside(&entry.order).is_none()
        };
        let entry = match reading.await {
            Ok(Ok(Some(entry))) if theirs(&entry) => entry,
            Ok(Ok(_)) => {
                let last = self.node().purger().sequence();
                let detail = if sequence > last {
                    format!("there is no purge {sequence} yet; the last one is {last}")
                } else {
                    format!(
                        "purge {sequence} is not in the log: it is older than anything stored, or the node's own"
                    )
                };
                return Problem::new(StatusCode::NOT_FOUND, "no-purge", detail).into();
            }
            Ok(Err(error)) => return Problem::from(error).into(),
            Err(_) => return Problem::from(PurgeError::Unavailable("reading was lost".into())).into(),
        };
        // Where nodes are late this waits for them, within the fleet's own bounds.
        let fleet = self.node().purger().fleet_applied(sequence).await;
        let mut noted = self.noted(sequence);
        noted.insert("nodes".into(), json!(fleet.nodes));
        noted.insert("late".into(), json!(fleet.late));
        answered(Ok(log::entry_json(&entry, noted)))
    }
}

/// The number in a path.
pub(super) fn sequence_of(text: &[u8]) -> Result<u64, Problem> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|_| digits);
    number.ok_or_else(|| {
        let detail = "a purge is named by its number: GET /v1/purge/7";
        Problem::new(StatusCode::BAD_REQUEST, "sequence", detail)
    })
}

fn answered(told: Result<Value, PurgeError>) -> Reply {
    match told {
        Ok(value) => Reply::json(StatusCode::OK, &value),
        Err(error) => Problem::from(error).into(),
    }
}
