//! How a pool's connections are made, written back.

use super::super::check::PROXY_PROTOCOL;
use super::super::{Certificate, OriginProtocol, Transport};
use super::{Page, named, quoted, time};

impl Page {
    pub(super) fn transport(&mut self, transport: &Transport) {
        self.line("protocol", &named(&OriginProtocol::WORDS, &transport.protocol));
        if transport.protocol == OriginProtocol::H2 {
            self.line("streams_max", &transport.streams_max.to_string());
        }
        self.line("tunnels_max", &transport.tunnels_max.to_string());
        self.line("tunnel_timeout", &time(transport.tunnel_timeout));
        if let Some(Certificate { cert, key }) = &transport.client_cert {
            let (cert, key) = (quoted(&cert.display().to_string()), quoted(&key.display().to_string()));
            self.line("client_cert", &format!("{{ cert = {cert}, key = {key} }}"));
        }
        self.line("proxy_protocol", &named(&PROXY_PROTOCOL, &transport.proxy_protocol));
    }
}
