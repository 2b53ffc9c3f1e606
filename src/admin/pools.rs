//! `GET /v1/pools`, and origins taken out and back in by hand.

use http::StatusCode;
use purge_api::{Problem, Reply};
use serde_json::{Value, json};

use super::Inner;
use crate::origin::{OriginStats, Stands};

impl Inner {
    /// Every pool with its origins, in the order written.
    pub(super) fn pools(&self) -> Reply {
        let origins = self.node().gauges().origins;
        let pools = origins.chunk_by(|one, next| one.pool == next.pool).filter_map(|origins| {
            let pool = &*origins.first()?.pool;
            let asked = origins.iter().any(|one| matches!(one.stands, Stands::Well | Stands::OnTrial));
            Some(json!({
                "pool": pool,
                "available": asked,
                "origins": origins.iter().map(told).collect::<Vec<_>>(),
            }))
        });
        Reply::json(StatusCode::OK, &json!({ "pools": pools.collect::<Vec<_>>() }))
    }

    /// `POST /v1/pools/{pool}/{origin}/drain` or `/resume`: drained, an origin gets no new request.
    ///
    /// # Errors
    /// 404 where there is no such origin, with those that there are.
    pub(super) fn drain(&self, path: &[u8], drained: bool) -> Result<Reply, Problem> {
        let mut segments = path.split(|byte| *byte == b'/').skip(3).map(decoded);
        let (pool, origin) = (segments.next().flatten(), segments.next().flatten());
        let found = pool
            .as_ref()
            .zip(origin.as_ref())
            .and_then(|(pool, origin)| self.node().drain(pool, origin, drained));
        let all = self.node().gauges().origins;
        if let Some(name) = found
            && let Some(one) =
                all.iter().find(|one| *one.origin == *name && pool.as_deref() == Some(&*one.pool))
        {
            tracing::info!(pool = %one.pool, origin = %one.origin, drained, "origin set by hand");
            return Ok(Reply::json(StatusCode::OK, &told(one)));
        }
        let known: Vec<_> =
            all.iter().map(|one| json!({ "pool": &*one.pool, "origin": &*one.origin })).collect();
        let detail =
            "there is no such origin in this pool: name it by host and port, or by its URL percent-encoded";
        Err(Problem::new(StatusCode::NOT_FOUND, "no-origin", detail).with("origins", json!(known)))
    }
}

fn told(one: &OriginStats) -> Value {
    let counts = &one.counts;
    json!({
        "pool": &*one.pool,
        "origin": &*one.origin,
        "state": one.stands.as_str(),
        "weight": one.weight,
        "backup": one.backup,
        "concurrency_max": one.concurrency_max,
        "connections_in_use": one.connections_in_use,
        "connections_idle": one.connections_idle,
        "waiting": one.waiting,
        "requests": counts.statuses.iter().sum::<u64>().saturating_add(counts.failures),
        "failed": counts.failures,
        "ejections": counts.ejections,
        "moved_on": counts.moved_on,
        "hedged": counts.hedged,
        "failed_checks": counts.failed_checks,
    })
}

/// A segment of a path without its percent-encoding; `None` where that is broken, or not text.
fn decoded(segment: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.iter().copied();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(hex(rest.next())? * 16 + hex(rest.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments() {
        for (claim, segment, expected) in [
            ("a name is itself", "10.0.0.1:3000", Some("10.0.0.1:3000")),
            ("a URL is encoded", "http%3A%2F%2F10.0.0.1%3a3000", Some("http://10.0.0.1:3000")),
            ("half an escape is none", "a%2", None),
            ("nor is what is not hexadecimal", "a%zz", None),
            ("nor what is not text", "%ff", None),
        ] {
            assert_eq!(decoded(segment.as_bytes()).as_deref(), expected, "{claim}");
        }
    }
}
