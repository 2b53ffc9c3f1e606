//! HTTP caching rules: may this response be stored, may it be used, for whom, for how long?
//!
//! Pure functions over message heads; `now` is an argument, nothing here reads a clock, waits, or touches a socket
//! or a file. The store calls [`storable`](storable::storable) when a response (or its validation) arrives and keeps
//! the numbers it froze ([`Freshness`]) with the object; a hit calls [`reuse`](reuse::reuse), which compares numbers
//! and, only where the request carries directives, reads those. Everything refused is refused with a reason, an enum
//! with a stable short name, which feeds `Cache-Status`, the access log and the metrics.
//!
//! Two time lines meet here. `requested_at`, `received_at` and `now` are moments of the steady line the cache ages
//! its objects on; `wall_now` is the calendar moment of reception, which alone is compared with what an origin wrote
//! (`Date`, `Expires`, `Last-Modified`).
//!
//! Invariant: no bytes a client or an origin can send make any function here panic or overflow, and what a lookup
//! reads costs time linear in its length.
//!
//! RFC 9111 with RFC 5861, RFC 8246, RFC 9213; RFC 9110 §8.8, §13 and §14.

pub mod cache_control;
pub mod coding;
pub mod date;
pub mod freshness;
pub mod invalidate;
pub mod partial;
pub mod policy;
mod preference;
pub mod retained;
pub mod reuse;
pub mod stale;
pub mod storable;
pub mod targeted;
pub mod update;
pub mod validator;
pub mod vary;

#[cfg(test)]
mod tests;

pub use cache_control::{CacheControl, RequestControl};
pub use coding::{Accepted, Coding, Codings};
pub use freshness::Freshness;
pub use policy::Policy;
pub use reuse::{Purged, Reuse, reuse};
pub use storable::{NotStored, Storable, storable};
pub use vary::VarySpec;

use http::{HeaderMap, HeaderName, Method, StatusCode};

/// The field lines of a message, as the rules read them.
///
/// Implemented for [`HeaderMap`] here, and by whoever keeps a head in another form.
pub trait Fields {
    /// The values of every field line called `name`, in the order received; each without surrounding whitespace.
    fn values<'s>(&'s self, name: &'s HeaderName) -> impl Iterator<Item = &'s [u8]>;

    /// Whether there is at least one field line called `name`.
    fn has(&self, name: &HeaderName) -> bool {
        self.values(name).next().is_some()
    }

    /// Whether there may be a `Cache-Control` or a `Pragma`: most requests have neither, and who knows at once need not search.
    fn has_directives(&self) -> bool {
        true
    }
}

impl Fields for HeaderMap {
    fn values<'s>(&'s self, name: &'s HeaderName) -> impl Iterator<Item = &'s [u8]> {
        self.get_all(name).iter().map(http::HeaderValue::as_bytes)
    }
}

/// What a request is about: its target URI in the parts the rules compare (RFC 9110 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and, where it is not the scheme's default, port.
    pub authority: &'a str,
    /// Path with query, as in the request line: begins with `/`.
    pub path: &'a str,
}

/// A request head, as the rules read it.
#[derive(Debug)]
pub struct RequestHead<'a, F: Fields> {
    /// The method as the client named it.
    pub method: &'a Method,
    /// The target URI; only storing the answer to a `POST` and invalidation look at it.
    pub target: Target<'a>,
    /// The field lines.
    pub fields: &'a F,
}

impl<F: Fields> RequestHead<'_, F> {
    /// Whether there is at least one field line called `name`.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.fields.has(name)
    }
}

impl<F: Fields> Clone for RequestHead<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fields> Copy for RequestHead<'_, F> {}

/// A response head, as the rules read it.
#[derive(Debug)]
pub struct ResponseHead<'a, F: Fields = HeaderMap> {
    /// The status code.
    pub status: StatusCode,
    /// The field lines, as received.
    pub fields: &'a F,
}

impl<F: Fields> Clone for ResponseHead<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fields> Copy for ResponseHead<'_, F> {}
