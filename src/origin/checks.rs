//! Active health checks: what each origin of a pool answers when it is asked for that alone.
//!
//! One task a pool, on the runtime that no client waits for, goes over its origins every `every`, a tenth more or less, at most
//! [`HEALTH_CHECKS_MAX`] of them at once. A check makes a connection of its own by the same way as a request, so that one
//! that says "well" has gone through name, TCP, TLS and framing; it takes no slot, so that an origin that is busy is
//! not taken for one that is down. What it found is told to `choose/` (`health.rs` counts), and changes are told in the operator's log.
//!
//! Invariant: a round ends before the next begins, and each check by its `timeout`. Redirects are not followed.

use std::future::poll_fn;
use std::sync::{Arc, Weak};

use futures_util::future::join_all;
use http::Method;

use super::choose::mixed;
use super::error::OriginError;
use super::h2;
use super::line::Line;
use super::outgoing::without_port;
use super::pool::{Origin, Pool};
use super::response::Received;
use super::upload::Upload;
use super::{OriginPools, Surplus};
use crate::config::limits::{HEALTH_BODY_BYTES_MAX, HEALTH_CHECKS_MAX};
use crate::config::{self, Health, HealthKind};

/// Why a check failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// No answer.
    #[error("{0}")]
    NoAnswer(#[from] OriginError),
    /// None in time.
    #[error("it took longer than the check's `timeout`")]
    Late,
    /// An answer with another status.
    #[error("its answer is {0}")]
    Status(u16),
    /// An answer without the text.
    #[error("its answer does not hold the text of `body`")]
    Body,
}

impl OriginPools {
    /// Begins to check the origins of the pools that say so, on the tokio runtime that this is called on. Ends with the pools,
    /// and when they are retired.
    pub fn watch(&self) {
        for pool in self.pools.values().filter(|pool| pool.settings.health.is_some()) {
            tokio::spawn(watch(Arc::downgrade(pool)));
        }
    }
}

async fn watch(pool: Weak<Pool>) {
    loop {
        let (clock, pause) = {
            // A pool that was replaced lives on where a worker has had no request since.
            let Some(pool) = pool.upgrade().filter(|pool| !pool.is_retired()) else { return };
            let Some(health) = &pool.settings.health else { return };
            let began_at = pool.clock.now();
            pool.check_all(health).await;
            let took = pool.clock.now().since(began_at);
            // Not in step with other pools and nodes.
            let drawn = u32::try_from(mixed(pool.clock.micros() ^ Arc::as_ptr(&pool).addr() as u64) % 21);
            let pause = health.every.saturating_mul(90 + drawn.unwrap_or_default()) / 100;
            (pool.clock.clone(), pause.saturating_sub(took))
        };
        clock.sleep(pause).await;
    }
}

impl Pool {
    async fn check_all(&self, health: &Health) {
        let all: Vec<usize> = (0..self.settings.origins.len()).collect();
        for some in all.chunks(HEALTH_CHECKS_MAX) {
            join_all(some.iter().map(|index| self.check(*index, health))).await;
        }
    }

    async fn check(&self, index: usize, health: &Health) {
        let (Some(origin), Some(settings)) = (self.origin(index), self.settings.origins.get(index)) else {
            return;
        };
        let asked = self.clock.timeout(health.timeout, self.probe(origin, settings, health)).await;
        let outcome = asked.unwrap_or(Err(Unfit::Late));
        if outcome.is_err() {
            origin.counters.check_failed();
        }
        if !self.steering.checked(index, self.clock.now(), outcome.is_ok()) {
            return;
        }
        let pool = &self.settings.name;
        match outcome {
            Ok(()) => tracing::info!(%pool, origin = %origin.name, "origin is healthy again"),
            Err(why) => {
                tracing::warn!(%pool, origin = %origin.name, cause = %why, "origin is unhealthy: its checks fail");
            }
        }
    }

    async fn probe(&self, origin: &Origin, settings: &config::Origin, health: &Health) -> Result<(), Unfit> {
        // A socket in the file system has no name that could stand there.
        let own = origin.name.split_once("://").map_or("localhost", |(_, authority)| authority);
        let host = health.host.as_deref().or(self.settings.host.as_deref()).unwrap_or(own);
        if health.kind == HealthKind::Tcp {
            drop(self.connect(origin, None, None, true).await?);
            return Ok(());
        }
        let name = settings
            .tls
            .then(|| self.settings.server_name.clone().unwrap_or_else(|| Arc::from(without_port(host))));
        let mut line = match &origin.links {
            None => self.open(origin, name.as_ref(), None, true).await?,
            Some(links) => links.alone(self, origin, name.as_ref()).await?,
        };
        if health.kind == HealthKind::Tls {
            return Ok(());
        }
        let (mut received, mut none) = (Received::default(), Upload::default());
        match &mut line {
            Line::Whole(connection, _) => connection.begin(false, Surplus::Drop, |out| {
                let lines = [
                    "GET ",
                    &*health.path,
                    " HTTP/1.1\r\nhost: ",
                    host,
                    "\r\n",
                    OURSELVES,
                    "connection: close\r\n\r\n",
                ];
                for part in lines {
                    out.extend_from_slice(part.as_bytes());
                }
            }),
            Line::Stream(stream) => {
                let head = h2::Head {
                    method: &Method::GET,
                    tls: settings.tls,
                    authority: host.as_bytes(),
                    target: health.path.as_bytes(),
                    lines: [OURSELVES.as_bytes(), b""],
                    trailers: false,
                    length: None,
                };
                stream.begin(&head, false);
            }
        }
        let limit = (self.clock.now(), health.timeout);
        line.exchange(&mut none, &mut received, limit, &self.clock).await?;
        if !health.status.contains(received.status) {
            return Err(Unfit::Status(received.status.as_u16()));
        }
        let Some(wanted) = &health.body else { return Ok(()) };
        let mut body = Vec::new();
        loop {
            body.extend_from_slice(&received.take_data());
            body.truncate(HEALTH_BODY_BYTES_MAX);
            if memchr::memmem::find(&body, wanted.as_bytes()).is_some() {
                return Ok(());
            }
            let more = poll_fn(|cx| line.poll_data(cx, &mut none, &mut received)).await?;
            if !more || body.len() == HEALTH_BODY_BYTES_MAX {
                // What came with the end.
                body.extend_from_slice(&received.take_data());
                body.truncate(HEALTH_BODY_BYTES_MAX);
                let found = memchr::memmem::find(&body, wanted.as_bytes()).is_some();
                return if found { Ok(()) } else { Err(Unfit::Body) };
            }
        }
    }
}

/// Who asks.
const OURSELVES: &str = "user-agent: tidegate-health\r\n";
