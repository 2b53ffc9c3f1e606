//! How often a client may ask, and how often all together may.
//!
//! A client is an IPv4 address or the 64 bits of an IPv6 address that one subscriber has (RFC 6177), or what a field says where the
//! rule goes by one. What each has used is kept in `clients.rs`; time is the node's own, that of the request.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use super::clients::{Clients, Pace, Said};
use super::{Asking, Denied};
use crate::config::access::{Rate, RateBy};
use crate::respond::headers::line;

/// One rate, for everyone it counts.
pub(super) struct Limiter {
    rule: Arc<Rate>,
    pace: Pace,
    clients: Clients,
    /// Nobody can choose addresses that share a place.
    hasher: RandomState,
}

impl Limiter {
    pub(super) fn of(rule: &Arc<Rate>) -> Self {
        let Rate { requests, per, burst, memory_bytes, by, .. } = &**rule;
        let per_nanos = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        // All together are one client.
        let bytes = if *by == RateBy::Route { 0 } else { usize::try_from(*memory_bytes).unwrap_or(0) };
        Self {
            pace: Pace::new((*requests).into(), per_nanos, (*burst).into()),
            clients: Clients::within(bytes),
            hasher: RandomState::new(),
            rule: Arc::clone(rule),
        }
    }

    /// Whether the request is one too many; what is told of the rate goes to `lines`.
    pub(super) fn ask(&self, asking: &Asking<'_>, lines: &mut Vec<u8>) -> Result<(), Denied> {
        let client = match &self.rule.by {
            RateBy::Route => 0,
            RateBy::Client => self.hasher.hash_one(subscriber(asking.client)),
            RateBy::Field(name) => match asking.fields.named(name).next() {
                Some(value) => self.hasher.hash_one((u8::MAX, value)),
                // Who leaves it out is not everybody else.
                None => self.hasher.hash_one(subscriber(asking.client)),
            },
        };
        let said = self.clients.ask(client, self.pace, asking.now_micros.saturating_mul(1000));
        if self.rule.fields {
            self.tell(said, lines);
        }
        match said {
            Said::Yes { .. } => Ok(()),
            Said::Wait(nanos) => Err(Denied::Rate { retry_after: seconds(nanos) }),
        }
    }

    /// Whether refusing is only counted.
    pub(super) fn is_dry(&self) -> bool {
        self.rule.dry_run
    }

    /// `RateLimit-Policy` and `RateLimit`, of draft-ietf-httpapi-ratelimit-headers.
    fn tell(&self, said: Said, lines: &mut Vec<u8>) {
        let Rate { name, requests, per, .. } = &*self.rule;
        let window = per.as_secs().max(1);
        let (left, reset) = match said {
            Said::Yes { left, whole_in } => (left, seconds(whole_in)),
            Said::Wait(nanos) => (0, seconds(nanos)),
        };
        line(lines, b"ratelimit-policy", format!("\"{name}\";q={requests};w={window}").as_bytes());
        line(lines, b"ratelimit", format!("\"{name}\";r={left};t={reset}").as_bytes());
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("rule", &self.rule)
            .field("bytes", &self.clients.held_bytes())
            .finish_non_exhaustive()
    }
}

/// What of an address one subscriber has: all of IPv4, the first 64 bits of IPv6.
pub(super) fn subscriber(address: IpAddr) -> (u8, u64) {
    match address.to_canonical() {
        IpAddr::V4(address) => (4, u64::from(address.to_bits())),
        IpAddr::V6(address) => (6, u64::try_from(address.to_bits() >> 64).unwrap_or(0)),
    }
}

/// Seconds to wait: rounded up, so that who waits so long is not refused again.
fn seconds(nanos: u64) -> u32 {
    u32::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_an_ipv4_address_or_sixty_four_bits_of_ipv6() {
        let of = |text: &str| subscriber(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("0.0.0.1"), of("::1"));
    }
}
