//! Which origin a client has been given to, by a cookie of the node's own (`sticky`).
//!
//! The cookie names an origin by a digest of its pool's and its own name: all nodes with the same settings agree on it, also after
//! a restart, and it tells a client nothing. What it names is asked as long as it may be asked at all; else another is
//! chosen, and the client is given to that one. Only `serve/pass.rs` sets it: never on what is stored.

use std::sync::Arc;

use aws_lc_rs::digest;

use crate::config;
use crate::listener::fields::{FieldId, Fields};

/// The cookie of a pool, and what it says for each origin.
#[derive(Debug)]
pub(crate) struct Sticky {
    name: Arc<str>,
    /// `NAME=MARK`, by origin.
    cookies: Vec<Arc<str>>,
}

impl Sticky {
    /// Of a pool, if it has one.
    pub(crate) fn of(pool: &config::Pool) -> Option<Self> {
        let name = Arc::clone(pool.sticky.as_ref()?);
        let cookie = |origin: &config::Origin| {
            let mut context = digest::Context::new(&digest::SHA256);
            for part in ["sticky\n", &*pool.name, "\n", &*origin.name] {
                context.update(part.as_bytes());
            }
            let mark = context.finish().as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
            Arc::from(format!("{name}={mark:016x}"))
        };
        let cookies = pool.origins.iter().map(cookie).collect();
        Some(Self { name, cookies })
    }

    /// The origin that a request's cookie names.
    pub(crate) fn named_by(&self, fields: &Fields) -> Option<usize> {
        let pairs = fields.all(FieldId::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
        let ours = |pair: &&[u8]| {
            pair.strip_prefix(self.name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
        };
        let mark = pairs.map(<[u8]>::trim_ascii).find(ours)?;
        self.cookies.iter().position(|cookie| cookie.as_bytes() == mark)
    }

    /// What a client that was answered by the origin at `index` is to be told, unless it has that already.
    pub(crate) fn news(&self, index: usize, named: Option<usize>) -> Option<Arc<str>> {
        if named == Some(index) { None } else { self.cookies.get(index).cloned() }
    }
}
