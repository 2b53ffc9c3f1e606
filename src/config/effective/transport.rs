//! How a pool's connections are made, written back.

use super::super::Transport;
use super::{Page, time};

impl Page {
    pub(super) fn transport(&mut self, transport: &Transport) {
        self.line("tunnels_max", &transport.tunnels_max.to_string());
        self.line("tunnel_timeout", &time(transport.tunnel_timeout));
    }
}
