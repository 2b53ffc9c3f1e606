//! HTTP in, purge out: what a purge call says, who may make it, and what it is told.
//!
//! Knows HTTP's words (status, method, JSON) but no server: the root crate hands over bodies and field values and writes
//! the [`Reply`]. What a purge *does* is behind [`Purger`], which the root implements over its store; this crate
//! decides only whether a call is one, and never lets half of one through: a request is applied whole or refused whole.
//!
//! ```text
//! body ─ request::PurgeRequest::parse ─ Purger ─ receipt::Receipt ─ Reply
//!             └ error::Refusal ──────────────── reply::Problem ─┘   (RFC 9457)
//! ```

pub mod auth;
pub mod compat;
pub mod error;
pub mod receipt;
pub mod reply;
pub mod request;

pub use error::{PurgeError, Refusal};
pub use receipt::Receipt;
pub use reply::{Problem, Reply};
pub use request::{PurgeRequest, ResourceUrl};

use receipt::NodeReceipt;

/// What applies purges. Implemented by the node over its store.
pub trait Purger: Send + Sync {
    /// Purges every stored response, variants included, of each of these URLs; all of them or, on an error, none. When it
    /// returns no request is answered with what was stored or fetched before.
    ///
    /// # Errors
    /// [`PurgeError`]: a host that no site serves, or a purge that cannot be recorded.
    fn purge_urls(&self, urls: &[ResourceUrl], soft: bool) -> Result<Applied, PurgeError>;

    /// How many stored responses such a purge would touch now; changes nothing.
    ///
    /// # Errors
    /// As [`Purger::purge_urls`].
    fn matched_urls(&self, urls: &[ResourceUrl]) -> Result<u64, PurgeError>;
}

/// A purge that has been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number in the node's log; a request of several URLs has that of the last.
    pub sequence: u64,
    /// Stored responses it touched.
    pub matched: u64,
}

/// The circumstances of a call.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The node that was called.
    pub node: &'a str,
    /// The call's id, which becomes the receipt's.
    pub id: &'a str,
    /// Milliseconds on any steady time line; read twice.
    pub millis: &'a dyn Fn() -> u64,
}

/// Answers `POST /v1/purge` with this body.
pub fn purge(purger: &dyn Purger, call: Call<'_>, body: &[u8]) -> Reply {
    match try_purge(purger, call, body) {
        Ok(receipt) => Reply::json(http::StatusCode::OK, &receipt),
        Err(refusal) => Problem::from(refusal).into(),
    }
}

fn try_purge(purger: &dyn Purger, call: Call<'_>, body: &[u8]) -> Result<Receipt, Refusal> {
    let PurgeRequest { urls, soft, dry_run, .. } = PurgeRequest::parse(body)?;
    let started = (call.millis)();
    let receipt = Receipt { id: call.id.into(), scope: "url", soft, ..Receipt::default() };
    if dry_run {
        let matched = purger.matched_urls(&urls)?;
        return Ok(Receipt { matched, dry_run, ..receipt });
    }
    let Applied { sequence, matched } = purger.purge_urls(&urls, soft)?;
    let ms = (call.millis)().saturating_sub(started);
    let nodes = vec![NodeReceipt { node: call.node.into(), sequence, ms }];
    Ok(Receipt { sequence: Some(sequence), matched, nodes, ..receipt })
}
