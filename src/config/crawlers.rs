//! `[crawlers]`: who is taken for one, and what they may ask of origins.

use std::path::PathBuf;
use std::time::Duration;

use super::Network;

/// Crawlers, and their lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crawlers {
    /// Who says of itself that it is one: parts of `User-Agent`, compared without case.
    pub agents: Vec<Box<str>>,
    /// Where those of them come from who are what they say.
    pub verified: Vec<Network>,
    /// Files with more of these, one a line.
    pub verified_files: Vec<PathBuf>,
    /// Requests that a pool is sent at once for all who are verified.
    pub concurrency: u32,
    /// The same for all others.
    pub concurrency_others: u32,
    /// Requests of either that wait for their turn at a pool; further ones get 503.
    pub queue_max: u32,
    /// How long one waits, then it gets 503.
    pub queue_timeout: Duration,
    /// For how long after its end of life a stored response is good enough for a crawler, beside what holds for everybody.
    pub stale: Duration,
}

impl Default for Crawlers {
    fn default() -> Self {
        Self {
            agents: AGENTS.map(Box::from).to_vec(),
            verified: Vec::new(),
            verified_files: Vec::new(),
            concurrency: 8,
            concurrency_others: 2,
            queue_max: 64,
            queue_timeout: Duration::from_secs(10),
            stale: Duration::from_hours(24),
        }
    }
}

/// What crawlers that say who they are have in common: a name that ends in "bot", a URL to read about them, or these words.
const AGENTS: [&str; 8] =
    ["bot/", "bot;", "+http", "crawler", "spider", "slurp", "facebookexternalhit", "scrapy"];
