//! Calls that purge, in whatever shape, from a body read whole to an answer: understood, carried out where waiting for the disk is
//! allowed, and where the caller wants it, held until the fleet has it.
//!
//! [`carry_out`] is the one way to a purge, also for the PURGE method on client listeners: it checks what the caller may purge
//! and leaves a line in the operator's log (`audit: …`) and one in the node's ledger.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use purge_api::auth::Bearer;
use purge_api::compat::{service, zones};
use purge_api::error::UrlError;
use purge_api::ledger::Noted;
use purge_api::log::rfc3339;
use purge_api::{Order, Problem, PurgeRequest, Receipt, Refusal, Reply, ResourceUrl, Selector, call};
use tokio::sync::oneshot;

use super::calls::{self, Call, Route};
use super::{Inner, Node, body};
use crate::clock::Clock;
use crate::config::limits::{AUDIT_SELECTORS_MAX, PURGE_BODY_BYTES_MAX};
use crate::listener::request::{Request, RequestBody};
use crate::observe::id::RequestId;
use crate::route::Normal;

/// A call that purges, but for its body.
pub(super) struct Asked {
    call: &'static Call,
    route: Route,
    bearer: Bearer,
    client: SocketAddr,
    id: RequestId,
    /// Other people's calls say in fields what ours says in its body.
    soft: bool,
    keys: Option<String>,
    varied: String,
}

/// Who purges, and how.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) bearer: &'a Bearer,
    pub(crate) client: SocketAddr,
    /// The call, for the log.
    pub(crate) via: &'static str,
    /// The call's id.
    pub(crate) id: &'a str,
}

impl Asked {
    pub(super) fn new(
        call: &'static Call,
        route: Route,
        varied: &[u8],
        request: &Request,
        bearer: Bearer,
        id: RequestId,
    ) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            call,
            route,
            bearer,
            client: request.client.address,
            id,
            soft: request.fields.named("fastly-soft-purge").any(|value| value == b"1"),
            keys: request.fields.named("surrogate-key").next().map(text),
            varied: text(varied),
        }
    }

    pub(super) const fn id(&self) -> RequestId {
        self.id
    }

    /// Who calls; the id's text is the caller's to keep.
    pub(super) fn by(&self) -> By<'_> {
        By { bearer: &self.bearer, client: self.client, via: self.call.path, id: "" }
    }

    fn understood(&self, body: &[u8]) -> Result<PurgeRequest, Refusal> {
        match self.route {
            Route::ZonePurge => zones::parse(body, &normal),
            Route::KeyPurge => service::key(&self.varied, self.soft),
            Route::KeysPurge => service::keys(self.keys.as_deref(), body, self.soft),
            Route::ServicePurge => Ok(service::all(self.soft)),
            _ => PurgeRequest::parse(body, &normal),
        }
    }

    fn answer(&self, order: &Order, receipt: &Receipt) -> Reply {
        match self.route {
            Route::ZonePurge => zones::answer(Ok(receipt)),
            Route::KeysPurge => service::answer_keys(order, receipt),
            Route::KeyPurge | Route::ServicePurge => service::answer(receipt),
            _ => Reply::json(call::status_of(receipt), receipt),
        }
    }
}

impl Inner {
    pub(super) async fn purge(self: Arc<Self>, asked: Asked, body: RequestBody) -> Reply {
        let path = asked.call.path.as_bytes();
        match self.try_purge(asked, body).await {
            Ok(reply) => reply,
            Err(problem) => calls::refused(path, problem),
        }
    }

    async fn try_purge(self: Arc<Self>, asked: Asked, body: RequestBody) -> Result<Reply, Problem> {
        let understood = {
            // Never closed.
            let _held = self.bodies.acquire().await;
            asked.understood(&body::read(body, PURGE_BODY_BYTES_MAX, &self.clock).await?)
        };
        let wait = understood.as_ref().map(|request| request.wait).unwrap_or_default();
        let (inner, call) = (Arc::clone(&self), Arc::new((asked, understood)));
        let (tell, told) = oneshot::channel();
        // A purge is durable before it is acknowledged: it waits for the disk, so not on this thread.
        let asking = Arc::clone(&call);
        drop(tokio::task::spawn_blocking(move || {
            let (asked, understood) = &*asking;
            let id = asked.id.to_string();
            let by = By { id: &id, ..asked.by() };
            let node = inner.node();
            let told = apply(&*node, inner.observe.node(), &inner.clock, by, understood);
            drop(tell.send(told.clone()));
            // Who waits for the answer goes first: where the operator's log is a file, a line in it may have to wait, too.
            std::thread::yield_now();
            audit_line(
                &inner.clock,
                by,
                understood.as_ref().ok().map(|request| &request.order),
                told.as_ref(),
            );
        }));
        let receipt = told.await.map_err(|_| lost())??;
        let receipt = call::with_fleet(self.node().purger(), wait, receipt).await;
        match &*call {
            (asked, Ok(request)) => Ok(asked.answer(&request.order, &receipt)),
            (_, Err(refusal)) => Err(refusal.clone().into()),
        }
    }
}

/// Carries out what was understood, and tells who did what. May wait for the disk.
pub(crate) fn carry_out(
    node: &dyn Node,
    name: &str,
    clock: &Clock,
    by: By<'_>,
    understood: &Result<PurgeRequest, Refusal>,
) -> Result<Receipt, Refusal> {
    let told = apply(node, name, clock, by, understood);
    audit_line(clock, by, understood.as_ref().ok().map(|request| &request.order), told.as_ref());
    told
}

/// Carries out what was understood; the ledger knows of it when this returns.
fn apply(
    node: &dyn Node,
    name: &str,
    clock: &Clock,
    by: By<'_>,
    understood: &Result<PurgeRequest, Refusal>,
) -> Result<Receipt, Refusal> {
    let millis = || clock.micros() / 1000;
    let call = purge_api::Call { node: name, id: by.id, bearer: by.bearer, millis: &millis };
    let told = call::carry_out(node.purger(), call, understood.as_ref().map_err(Clone::clone)?)?;
    note(node, by, &told);
    Ok(told)
}

/// Tells the ledger who ordered a purge.
fn note(node: &dyn Node, by: By<'_>, receipt: &Receipt) {
    if let Some(sequence) = receipt.sequence {
        let client = by.client.ip().to_string().into();
        let (by, via, matched) = (by.bearer.name().into(), by.via, receipt.matched);
        node.ledger().note(Noted { sequence, by, client, via, matched });
    }
}

/// Tells the operator and the ledger who did what.
pub(super) fn audit(
    node: &dyn Node,
    clock: &Clock,
    by: By<'_>,
    order: Option<&Order>,
    told: Result<&Receipt, &Refusal>,
) {
    if let Ok(receipt) = told {
        note(node, by, receipt);
    }
    audit_line(clock, by, order, told);
}

/// Tells the operator who did what.
fn audit_line(clock: &Clock, by: By<'_>, order: Option<&Order>, told: Result<&Receipt, &Refusal>) {
    // The operator's log has no time of its own where a journal keeps it.
    let at = rfc3339(clock.wall().as_millis());
    let (who, client) = (by.bearer.name(), by.client);
    let what = order.map_or_else(|| "nothing".to_owned(), told_order);
    match told {
        Ok(receipt) => {
            tracing::info!(
                target: "audit",
                at, by = who, %client, via = by.via, call = by.id, purge = receipt.id, sequence = receipt.sequence,
                soft = receipt.soft, dry_run = receipt.dry_run, matched = receipt.matched, margin = receipt.margin, what, "audit: purged"
            );
        }
        Err(refusal) => {
            let why = refusal.to_string();
            tracing::info!(target: "audit", at, by = who, %client, via = by.via, call = by.id, what, why, "audit: refused to purge");
        }
    }
}

/// What an order takes, in a line of the log: the first few, and how many there are.
fn told_order(order: &Order) -> String {
    let mut first: Vec<_> = order.selectors.iter().take(AUDIT_SELECTORS_MAX).map(Selector::told).collect();
    let more = order.selectors.len().saturating_sub(first.len());
    if more > 0 {
        first.push(format!("{more} more"));
    }
    first.join(", ")
}

/// A URL in the one spelling that keys are made of.
pub(crate) fn normal(url: &ResourceUrl) -> Result<ResourceUrl, UrlError> {
    let normal =
        Normal::from_url(&url.to_string()).map_err(|malformed| UrlError::Abnormal(malformed.as_str()))?;
    let (authority, target) = (normal.authority.as_bytes(), normal.target.as_bytes());
    let text = [normal.scheme.as_str().as_bytes(), b"://", authority, target].concat();
    std::str::from_utf8(&text).map_err(|_| UrlError::Character).and_then(ResourceUrl::parse)
}

pub(super) fn lost() -> Problem {
    let detail = "the purge was lost on the way; send it again";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "purge-lost", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_one_spelling() {
        for (claim, text, expected) in [
            ("a normal one stays", "https://a.example/x?y=1", Ok("https://a.example/x?y=1")),
            ("a host has no case and its port goes", "https://A.Example:443/", Ok("https://a.example/")),
            ("dots lead where they lead", "https://a/b/../c", Ok("https://a/c")),
            ("however they are written", "https://a/b/%2e%2E/c", Ok("https://a/c")),
            ("letters need no encoding", "https://a/%6Eews", Ok("https://a/news")),
            ("what means something else stays", "https://a/b%2fc", Ok("https://a/b%2Fc")),
            ("a stray percent sign is told", "https://a/100%", Err(UrlError::Abnormal("target-percent"))),
        ] {
            let url = ResourceUrl::parse(text).unwrap();
            let got = normal(&url).map(|url| url.to_string());
            assert_eq!(got.as_deref().map_err(|error| *error), expected, "{claim}");
        }
    }
}
