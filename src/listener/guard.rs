//! What is asked of a request of any protocol before the walk sees it: who sent it, and did it come to the right
//! connection?
//!
//! Behind a trusted proxy the client is whom the proxy names (`proxied.rs`).
//!
//! A browser may send requests for every host that a connection's certificate covers (RFC 9113 §9.1.1); one that comes
//! for a host which only *another* of our certificates covers is answered 421, and the browser opens a
//! connection of its own (RFC 9110 §15.5.20). Stands between the protocols and the service; a hit whose host is the
//! connection's server name costs one comparison.

use std::sync::Arc;

use http::StatusCode;

use super::proxied;
use super::request::{Client, Request};
use super::service::{Finished, Served, Service, refusal};
use super::tls::Certificates;
use crate::config::Network;
use crate::respond::response::Response;

/// A service behind that question.
pub(super) struct Guard<S> {
    service: S,
    certificates: Option<Arc<Certificates>>,
    trusted_proxies: Arc<[Network]>,
}

impl<S> Guard<S> {
    pub(super) fn new(
        service: S,
        certificates: Option<Arc<Certificates>>,
        trusted_proxies: Arc<[Network]>,
    ) -> Self {
        Self { service, certificates, trusted_proxies }
    }

    /// The client that a trusted proxy names, in place of the peer; and what it calls the request counts.
    fn name_client(&self, request: &mut Request) {
        let peer = request.client.address;
        if proxied::is_trusted(peer, &self.trusted_proxies) {
            let client = proxied::client(peer, &request.fields, &self.trusted_proxies).unwrap_or(peer);
            request.client = Arc::new(Client::new(client, request.client.tls.clone()).vouched());
        }
    }

    fn is_misdirected(&self, request: &Request) -> bool {
        let (Some(certificates), Some(tls)) = (&self.certificates, &request.client.tls) else { return false };
        let Ok(authority) = std::str::from_utf8(request.authority()) else { return false };
        certificates.misdirected(tls.server_name.as_deref(), host_of(authority))
    }
}

impl<S: Service> Service for Guard<S> {
    fn serve(&self, request: &mut Request) -> Served {
        if !self.trusted_proxies.is_empty() {
            self.name_client(request);
        }
        if self.is_misdirected(request) {
            return Served::Now(misdirected());
        }
        self.service.serve(request)
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        self.service.finished(request, finished);
    }

    fn refused(&self, status: StatusCode, reason: &'static str, client: &Arc<Client>) -> Response {
        self.service.refused(status, reason, client)
    }
}

/// Only the request was wrong here, so the connection goes on.
fn misdirected() -> Response {
    let refusal = refusal(StatusCode::MISDIRECTED_REQUEST, "another certificate covers this host");
    Response { close: false, ..refusal }
}

/// Authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // A colon within brackets belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_authority_without_its_port() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("example.com:8443", "example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:443", "[::1]"),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
