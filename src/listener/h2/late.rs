//! What a client is too slow with.
//!
//! A client that takes no bytes is told from an origin that brings none (a stream is blocked only while something is ready to be
//! sent), a client that never opens a stream's window from one that pauses, and a slow upload from an origin that reads slowly
//! (only while its windows are open). Asked when the connection's deadline passed, a few times within the shortest of the timeouts.
//! FAULTS R1, B16; RFC 9113 §10.5.

use std::time::Duration;

use cache_store::timestamp::Timestamp;

use super::connection::Connection;
use crate::listener::deadline::Phase;
use crate::listener::service::Service;

impl<S: Service> Connection<'_, S> {
    /// What is late at `now`, if anything.
    pub(super) fn late(&mut self, now: Timestamp) -> Option<Phase> {
        let passed = |since: Timestamp, limit: Duration| now.since(since) >= limit && !limit.is_zero();
        let since = |since: Option<Timestamp>, limit| since.is_some_and(|since| passed(since, limit));
        let limits = &self.context.limits;
        if since(self.written.stuck_since, limits.send_stall_timeout) {
            return Some(Phase::SendStall);
        }
        if since(self.head_since, limits.head_timeout) {
            return Some(Phase::Head);
        }
        let open_for_all = self.windows.receive > 0;
        for stream in self.streams.iter_mut() {
            // They have their own time (`tunnel.rs`).
            if stream.is_tunnel() {
                continue;
            }
            if passed(stream.opened, limits.total_timeout) {
                return Some(Phase::Total);
            }
            // Who has shut a stream from the start has had the time until there was an answer, too.
            let never_open =
                stream.window <= 0 && stream.exchange.as_ref().is_some_and(|it| it.body_bytes == 0);
            let patience = limits.send_stall_timeout / if never_open { 2 } else { 1 };
            if since(stream.blocked_since, patience) {
                return Some(Phase::SendStall);
            }
            let Some(receiving) = stream.receiving.as_mut().filter(|receiving| {
                !receiving.ended && !receiving.is_tunnel && passed(receiving.since, limits.body_rate_window)
            }) else {
                continue;
            };
            let open = open_for_all && receiving.window > 0;
            if open && receiving.bytes < limits.body_rate_bytes_min {
                return Some(Phase::BodyRate);
            }
            receiving.bytes = 0;
            receiving.since = now;
        }
        None
    }
}
