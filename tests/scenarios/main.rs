//! Scenarios: a whole node, real sockets on port 0, scripted origins and clients, our clock.
//!
//! A file a promise; each test's name is a sentence that can be false. Nothing here sleeps: a test waits on a
//! [`stage::gate::Gate`] or a counter, and moves time with the stage's clock.

#![allow(clippy::large_futures)] // buffers on the stack of a test that has it to itself

mod access;
#[path = "../framing/cases.rs"]
mod cases;
mod coalescing;
mod crawlers;
mod deception;
mod encoding;
mod failing;
mod freshness;
mod headers;
mod hostile;
mod http2;
mod inspecting;
mod large;
mod lending;
mod limits;
mod logging;
mod metrics;
mod mirroring;
mod modsecurity;
mod origins_h2;
mod places;
mod pools;
mod proxy_protocol;
mod purge_calls;
mod purging;
mod ranges;
mod refreshing;
mod reloading;
mod restart;
mod routes;
mod shutdown;
mod slices;
mod stage;
mod staleness;
mod steering;
mod storing;
mod streaming;
mod tier;
mod tier_barrier;
mod tier_log;
mod tier_loss;
mod tier_stale;
mod tiers;
mod time;
mod truncation;
mod unstored;
mod upgrades;
mod validation;
mod variants;
mod websockets;
