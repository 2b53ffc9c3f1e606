//! Lines that belong to one answer: `Age`, `Cache-Status`, `X-Cache`.
//!
//! Written straight into the answer's buffer: no formatting machinery on the hit path.
//!
//! RFC 9111 §5.1 (`Age`), RFC 9211 (`Cache-Status`).

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::response::CacheOutcome;

/// What this node's member of `Cache-Status` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheStatus<'a> {
    /// `hit; ttl=41`, with a detail when something allowed a stale answer.
    Hit {
        /// Seconds of freshness left.
        ttl: i64,
        /// Why it may be stale.
        detail: Option<&'static str>,
    },
    /// `fwd=uri-miss; collapsed`: from another request's fetch.
    Collapsed {
        /// Seconds of freshness left, if known.
        ttl: Option<i64>,
    },
    /// `fwd=stale; fwd-status=304; stored`: the origin confirmed it.
    Revalidated {
        /// Seconds of freshness left.
        ttl: i64,
    },
    /// `fwd=uri-miss; fwd-status=200; stored; ttl=60`: from the origin.
    Forwarded {
        /// RFC 9211 §2.2.
        fwd: &'static str,
        /// The origin's status, where it differs from the one sent or there was one.
        fwd_status: Option<u16>,
        /// Whether it is being stored.
        stored: bool,
        /// Seconds of freshness.
        ttl: Option<i64>,
        /// Why not stored, or another reason.
        detail: Option<&'a str>,
    },
    /// Generated here, with a reason.
    Detail(&'a str),
}

impl CacheStatus<'_> {
    /// Writes the whole line.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>, node: &str) {
        self.write_behind(out, None, node);
    }

    /// Writes the whole line, this node's member behind those of the caches before it: the first is the nearest to the origin.
    #[inline]
    pub fn write_behind(self, out: &mut Vec<u8>, upstream: Option<&[u8]>, node: &str) {
        out.extend_from_slice(b"cache-status: ");
        if let Some(upstream) = upstream {
            out.extend_from_slice(upstream);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(node.as_bytes());
        match self {
            Self::Hit { ttl, detail } => {
                out.extend_from_slice(b"; hit; ttl=");
                number(out, ttl);
                self::detail(out, detail);
            }
            Self::Collapsed { ttl } => {
                out.extend_from_slice(b"; fwd=uri-miss; collapsed");
                if let Some(ttl) = ttl {
                    out.extend_from_slice(b"; ttl=");
                    number(out, ttl);
                }
            }
            Self::Revalidated { ttl } => {
                out.extend_from_slice(b"; fwd=stale; fwd-status=304; stored; ttl=");
                number(out, ttl);
            }
            Self::Forwarded { fwd, fwd_status, stored, ttl, detail } => {
                out.extend_from_slice(b"; fwd=");
                out.extend_from_slice(fwd.as_bytes());
                if let Some(status) = fwd_status {
                    out.extend_from_slice(b"; fwd-status=");
                    number(out, i64::from(status));
                }
                if stored {
                    out.extend_from_slice(b"; stored");
                }
                if let Some(ttl) = ttl {
                    out.extend_from_slice(b"; ttl=");
                    number(out, ttl);
                }
                self::detail(out, detail);
            }
            Self::Detail(reason) => self::detail(out, Some(reason)),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// `age: N`.
#[inline]
pub fn age(out: &mut Vec<u8>, secs: u64) {
    out.extend_from_slice(b"age: ");
    out.extend_from_slice(itoa::Buffer::new().format(secs).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `x-cache: HIT`, in nginx's words.
pub fn x_cache(out: &mut Vec<u8>, cache: CacheOutcome) {
    out.extend_from_slice(b"x-cache: ");
    out.extend_from_slice(match cache {
        CacheOutcome::Hit => b"HIT",
        CacheOutcome::Stale => b"STALE".as_slice(),
        CacheOutcome::Miss | CacheOutcome::Collapsed => b"MISS",
        CacheOutcome::Revalidated => b"REVALIDATED",
        CacheOutcome::Pass | CacheOutcome::Generated => b"BYPASS",
    });
    out.extend_from_slice(b"\r\n");
}

/// Fields as lines.
pub fn lines<'a>(fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> Bytes {
    let mut out = Vec::with_capacity(512);
    for (name, value) in fields {
        line(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    Bytes::from(out)
}

/// One line.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn detail(out: &mut Vec<u8>, detail: Option<&str>) {
    if let Some(detail) = detail {
        out.extend_from_slice(b"; detail=");
        out.extend_from_slice(detail.as_bytes());
    }
}

fn number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_status_says_what_happened_in_the_terms_of_rfc_9211() {
        let forwarded = |fwd_status, stored, ttl, detail| CacheStatus::Forwarded {
            fwd: "uri-miss",
            fwd_status,
            stored,
            ttl,
            detail,
        };
        let claims = [
            (CacheStatus::Hit { ttl: 41, detail: None }, "n; hit; ttl=41"),
            (CacheStatus::Hit { ttl: -3, detail: Some("max-stale") }, "n; hit; ttl=-3; detail=max-stale"),
            (CacheStatus::Collapsed { ttl: Some(9) }, "n; fwd=uri-miss; collapsed; ttl=9"),
            (CacheStatus::Revalidated { ttl: 5 }, "n; fwd=stale; fwd-status=304; stored; ttl=5"),
            (forwarded(Some(200), true, Some(60), None), "n; fwd=uri-miss; fwd-status=200; stored; ttl=60"),
            (forwarded(None, false, None, Some("no-store")), "n; fwd=uri-miss; detail=no-store"),
            (CacheStatus::Detail("no-site"), "n; detail=no-site"),
        ];
        for (status, text) in claims {
            let mut out = Vec::new();
            status.write(&mut out, "n");
            assert_eq!(String::from_utf8_lossy(&out), format!("cache-status: {text}\r\n"));
        }
    }
}
