//! What a pool's connections carry beside requests and answers.

use super::super::limits::{count, timeout};
use crate::config::Transport;
use crate::config::file::Section;

/// The keys of `[pool.NAME]` that make a [`Transport`].
pub(super) fn transport(section: &Section<'_>, transport: &mut Transport) {
    count(section, "tunnels_max", &mut transport.tunnels_max, 0..=1_000_000);
    timeout(section, "tunnel_timeout", &mut transport.tunnel_timeout);
}
