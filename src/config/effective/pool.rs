//! `[pool.NAME]`, written back.

use std::fmt::Write as _;

use super::super::Pool;
use super::{Page, quoted, time};

impl Page {
    pub(super) fn pool(&mut self, pool: &Pool) {
        self.table(&format!("[pool.{}]", quoted(&pool.name)));
        self.line("origins", "[");
        for origin in &pool.origins {
            let (url, weight, backup) = (quoted(&origin.name), origin.weight, origin.backup);
            let _ = writeln!(self.0, "  {{ url = {url}, weight = {weight}, backup = {backup} }},");
        }
        self.0.push_str("]\n");
        self.line("balance", &quoted(pool.balance.as_str()));
        if let Some(at) = &pool.location {
            self.line("location", &format!("[{:?}, {:?}]", at.latitude(), at.longitude()));
        }
        if let Some(host) = &pool.host {
            self.line("host", &quoted(host));
        }
        if let Some(name) = &pool.server_name {
            self.line("server_name", &quoted(name));
        }
        self.line("verify", &pool.verify.to_string());
        if let Some(ca) = &pool.ca {
            self.line("ca", &quoted(&ca.display().to_string()));
        }
        self.line("connections_max", &pool.connections_max.to_string());
        self.line("queue_max", &pool.queue_max.to_string());
        self.line("queue_timeout", &time(pool.queue_timeout));
        self.line("connect_timeout", &time(pool.connect_timeout));
        self.line("first_byte_timeout", &time(pool.first_byte_timeout));
        self.line("between_bytes_timeout", &time(pool.between_bytes_timeout));
        self.line("idle_timeout", &time(pool.idle_timeout));
        self.line("eject_after", &pool.eject_after.to_string());
        self.line("eject_for", &time(pool.eject_for));
        self.line("slow_start", &time(pool.slow_start));
    }
}
