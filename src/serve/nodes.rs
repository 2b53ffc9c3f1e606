//! What a child asks of its parent beside pages: the log of purges, which children follow where there is no broker.
//!
//! On the listener that clients use, for those alone who have proven to be nodes (`child.rs`); for anyone else the path is a
//! page like others.

use std::sync::Arc;

use bytes::Bytes;
use cache_store::purge::Purge;
use cache_store::timestamp::Timestamp;
use http::{Method, StatusCode};
use purge_api::bus::pull::{self, PullQuery, ReceiptQuery};
use purge_api::bus::{Position, Status};

use super::Edge;
use crate::admin::body;
use crate::config::limits::{FLEET_RECEIPT_HOPS, FLEET_RECEIPT_WAIT};
use crate::listener::request::{Request, RequestBody};
use crate::listener::service::Served;
use crate::origin::parent::proof::{TIER, Word};
use crate::respond::failure::Failure;
use crate::respond::headers::line;
use crate::respond::response::{Body, Lines, Outcome, Response};

impl Edge {
    /// The answer, where that is what a child asks.
    pub(super) fn serve_log(self: &Arc<Self>, request: &mut Request) -> Option<Served> {
        let target = std::str::from_utf8(request.target()).ok()?;
        let query = target.strip_prefix(pull::PATH)?.strip_prefix('?')?.to_owned();
        let edge = Arc::clone(self);
        let failed = self.failed(request, Failure::new(StatusCode::BAD_REQUEST, "tier-call"));
        let (method, body) = (request.method.clone(), std::mem::take(&mut request.body));
        Some(Served::later(async move {
            let answer = if method == Method::POST {
                edge.take_records(&query, body).await
            } else if let Some(asked) = ReceiptQuery::parse(&query) {
                edge.read_receipt(asked).await
            } else {
                edge.read_log(&query).await
            };
            answer.map_or(failed, told)
        }))
    }

    async fn read_log(self: &Arc<Self>, query: &str) -> Option<Vec<u8>> {
        let query = PullQuery::parse(query)?;
        let log = self.store.purge_log();
        // It has applied all that it does not ask for.
        let position = Position { log: log.identity(), sequence: query.since };
        let status = Status { node: query.node.clone(), position, sequence: query.since, below: query.below };
        self.fleet.hear(status);
        if !query.wait.is_zero() && log.sequence() <= query.since {
            // Refused it comes again later, as after any failure; answered at once it would ask at once.
            let _waits = self.fleet.wait_for_child(&query.node)?;
            let mut passed = log.watch();
            // That nothing came is an answer, too.
            let _ = self.clock.timeout(query.wait, passed.wait_for(|passed| *passed > query.since)).await;
        }
        let log = Arc::clone(log);
        tokio::task::spawn_blocking(move || pull::batch_to_json(&log, &query)).await.ok()?.ok()
    }

    /// Who has a record of the log beside the child that asks.
    async fn read_receipt(&self, asked: ReceiptQuery) -> Option<Vec<u8>> {
        // Refused, the child says that it did not wait for them.
        let _waits = self.fleet.wait_for_child(&asked.node)?;
        let hops = asked.hops.min(FLEET_RECEIPT_HOPS);
        let receipt =
            self.fleet.receipt_for(asked.sequence, asked.wait.min(FLEET_RECEIPT_WAIT), hops, &asked.node);
        Some(pull::receipt_to_json(&receipt.await))
    }

    async fn take_records(self: &Arc<Self>, query: &str, body: RequestBody) -> Option<Vec<u8>> {
        let body = body::read(body, pull::BODY_BYTES_MAX, &self.clock).await.ok()?;
        let records = pull::records_from(query, &body).ok()?;
        let edge = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || {
            let purges = records.iter().map(|record| Purge {
                id: record.id,
                at: Timestamp::from_millis(record.at_millis),
                soft: record.order.soft,
                scopes: record.order.selectors.iter().map(|selector| edge.scope_of_any(selector)).collect(),
            });
            let applied = edge.store.accept(purges.collect(), CHILD).ok()?;
            Some(pull::position_to_json(edge.store.purge_log(), &applied))
        });
        taken.await.ok()?
    }
}

fn told(json: Vec<u8>) -> Response {
    let mut lines = Vec::new();
    line(&mut lines, b"content-type", b"application/json");
    line(&mut lines, b"cache-control", b"no-store");
    line(&mut lines, TIER.as_str().as_bytes(), Word::Answer.as_str().as_bytes());
    Response {
        status: StatusCode::OK,
        extra: Vec::new(),
        lines: Lines::Own(lines.into()),
        body: Body::Bytes(Bytes::from(json)),
        outcome: Outcome::default(),
        close: false,
    }
}

/// By which way a child's purges come.
const CHILD: &str = "child";
