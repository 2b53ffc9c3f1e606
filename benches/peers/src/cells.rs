//! The cells: each a workload with a name, `--cells` picks them by name or by the part before a dash.

use std::io;

use crate::load::h2load;
use crate::load::wrk;
use crate::servers::{Server, Stage};

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hit,
    Tls,
    H2,
    Handshake,
    Miss,
    Pass,
    Latency,
    Cold,
    Slow,
    SlowTls,
    Memory,
    Churn,
    Flood,
    Bomb,
    /// Hits that memory does not hold.
    Disk,
    /// Hits on a page that clients take in gzip.
    Encoded,
    /// Starts over a full disk.
    Restart,
}

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) connections: u32,
    pub(crate) streams: u32,
    pub(crate) rate: u32,
    /// The number of the floor that stands beside it, where there is one.
    pub(crate) floor: Option<u16>,
}

impl Cell {
    /// All there are.
    pub(crate) fn all() -> Vec<Self> {
        use Kind::{
            Bomb, Churn, Cold, Disk, Encoded, Flood, H2, Handshake, Hit, Latency, Memory, Miss, Pass,
            Restart, Slow, SlowTls, Tls,
        };
        [
            ("hit-1k", Hit, 1_024, 64, 1, 0),
            ("hit-10k", Hit, 10_240, 64, 1, 0),
            ("hit-100k", Hit, 102_400, 64, 1, 0),
            ("hit-1m", Hit, 1_048_576, 8, 1, 0),
            ("tls-1k", Tls, 1_024, 64, 1, 0),
            ("tls-10k", Tls, 10_240, 64, 1, 0),
            ("tls-100k", Tls, 102_400, 64, 1, 0),
            ("tls-1m", Tls, 1_048_576, 8, 1, 0),
            ("h2-8x32", H2, 1_024, 8, 32, 0),
            ("h2-64x1", H2, 1_024, 64, 1, 0),
            ("handshake", Handshake, 1_024, 16, 1, 0),
            ("miss", Miss, 1_024, 32, 1, 0),
            ("miss-nostore", Pass, 1_024, 32, 1, 0),
            ("latency-20k", Latency, 1_024, 128, 1, 20_000),
            ("latency-40k", Latency, 1_024, 128, 1, 40_000),
            ("latency-60k", Latency, 1_024, 128, 1, 60_000),
            ("cold", Cold, 1_000_000, 1_000, 1, 0),
            ("slow", Slow, 1_024, 64, 1, 0),
            ("slow-tls", SlowTls, 1_024, 64, 1, 0),
            ("memory", Memory, 1_024, 64, 1, 0),
            ("churn", Churn, 0, 128, 1, 0),
            ("flood", Flood, 0, 4, 1, 0),
            ("bomb", Bomb, 0, 100, 1, 0),
            ("disk-10k", Disk, 10_240, 64, 1, 0),
            ("disk-1m", Disk, 1_048_576, 8, 1, 0),
            ("encoded-1k", Encoded, 1_024, 64, 1, 0),
            ("encoded-10k", Encoded, 10_240, 64, 1, 0),
            ("encoded-100k", Encoded, 102_400, 64, 1, 0),
            ("restart-1k", Restart, 1_024, 64, 1, 0),
            ("restart-16k", Restart, 16_384, 64, 1, 0),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, (name, kind, size, connections, streams, rate))| {
            let floor = matches!(kind, Hit | Latency).then_some(number as u16);
            Self { name, kind, size, connections, streams, rate, floor }
        })
        .collect()
    }

    /// The cells that `word` means: `hit-1k`, or `hit` for all that begin so.
    pub(crate) fn matching(word: &str) -> Vec<Self> {
        let exact: Vec<_> = Self::all().into_iter().filter(|cell| cell.name == word).collect();
        if !exact.is_empty() && !FAMILIES.contains(&word) {
            return exact;
        }
        Self::all().into_iter().filter(|cell| cell.name.split('-').next() == Some(word)).collect()
    }

    /// A cell this program itself names.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::matching(name).into_iter().next().expect("the name stands in the list above")
    }

    pub(crate) fn tls(&self) -> bool {
        matches!(self.kind, Kind::Tls | Kind::H2 | Kind::Handshake | Kind::SlowTls)
    }

    pub(crate) fn warm(&self) -> bool {
        !matches!(self.kind, Kind::Miss | Kind::Pass)
    }

    pub(crate) fn path(&self, id: &str) -> String {
        let switch = if self.kind == Kind::Pass { "&nostore" } else { "" };
        format!("/o/{id}?s={}{switch}", self.size)
    }

    /// The key may hold the scheme and the port, so TLS is warmed by itself; a second of it, since a cache
    /// may need several requests to call an object hot.
    pub(crate) fn warm_tls(&self, stage: &Stage, server: &Server) -> io::Result<()> {
        let Some(tls) = server.tls.filter(|_| self.tls()) else { return Ok(()) };
        let url = format!("https://{tls}{}", self.path("warm"));
        if self.kind == Kind::H2 {
            h2load(&url, 1, 1, 1)?
        } else {
            wrk(stage, &url, 1, 1, false, None)?
        };
        Ok(())
    }

    pub(crate) fn title(&self, secs: u32) -> String {
        let Self { name, size, connections, streams, rate, .. } = self;
        let how = match self.kind {
            Kind::H2 => format!("HTTP/2 over TLS 1.3, {connections} connections × {streams} streams"),
            Kind::Handshake => format!("a full TLS 1.3 handshake a request, {connections} connections"),
            Kind::Tls => format!("HTTP/1.1 over TLS 1.3, {connections} connections"),
            Kind::Miss => format!("unique URLs, stored, {connections} connections"),
            Kind::Pass => format!("unique URLs, no-store, {connections} connections"),
            Kind::Latency => format!("open loop, Poisson, {rate} requests/s, {connections} connections"),
            _ => format!("HTTP/1.1, {connections} connections"),
        };
        format!("{name}: {size} bytes, {how}, {secs} s a round")
    }
}

/// Cells that have the name of their whole family.
const FAMILIES: [&str; 2] = ["miss", "slow"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_picks_its_cells() {
        for (word, wanted) in [
            ("hit-1k", vec!["hit-1k"]),
            ("h2", vec!["h2-8x32", "h2-64x1"]),
            ("miss", vec!["miss", "miss-nostore"]),
            ("slow", vec!["slow", "slow-tls"]),
            ("cold", vec!["cold"]),
            ("hit-1", vec![]),
        ] {
            let got: Vec<_> = Cell::matching(word).iter().map(|cell| cell.name).collect();
            assert_eq!(got, wanted, "{word}");
        }
    }
}
