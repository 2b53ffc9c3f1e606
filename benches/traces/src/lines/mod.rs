//! The lines a hit ratio is read against, computed here: simple, exact, on the same trace with the same bytes.
//!
//! None of them counts overhead or refuses by size (but for what is larger than the cache), which favours them: the
//! store pays for heads and records out of the same budget.

mod belady;
mod gdsf;
mod lru;
mod s3fifo;

use crate::trace::Trace;

/// Hits of requests and of bytes.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct Ratio {
    hits: u64,
    requests: u64,
    hit_bytes: u64,
    bytes: u64,
}

impl Ratio {
    /// Counts a request for `size` bytes of which so many were there.
    pub(crate) fn count(&mut self, hit_bytes: u64, size: u32) {
        self.requests += 1;
        self.bytes += u64::from(size);
        self.hits += u64::from(hit_bytes == u64::from(size));
        self.hit_bytes += hit_bytes;
    }

    pub(crate) fn of_requests(self) -> f64 {
        self.hits as f64 / self.requests.max(1) as f64
    }

    pub(crate) fn of_bytes(self) -> f64 {
        self.hit_bytes as f64 / self.bytes.max(1) as f64
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |ratio: f64| format!("{ratio:.3}").trim_start_matches('0').to_owned();
        write!(f, "{}/{}", told(self.of_requests()), told(self.of_bytes()))
    }
}

/// A policy to compare with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Lru,
    S3Fifo,
    Gdsf,
    Belady,
}

impl Line {
    pub(crate) const ALL: [Self; 4] = [Self::Lru, Self::S3Fifo, Self::Gdsf, Self::Belady];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lru => "LRU",
            Self::S3Fifo => "S3-FIFO",
            Self::Gdsf => "GDSF",
            Self::Belady => "Belady",
        }
    }

    /// Replays the trace against a cache of `capacity` bytes, from empty.
    pub(crate) fn replay(self, trace: &Trace, capacity: u64) -> Ratio {
        match self {
            Self::Lru => replay(trace, lru::Lru::new(&trace.sizes, capacity)),
            Self::S3Fifo => replay(trace, s3fifo::S3Fifo::new(&trace.sizes, capacity)),
            Self::Gdsf => replay(trace, gdsf::Gdsf::new(&trace.sizes, capacity)),
            Self::Belady => replay(trace, belady::Belady::new(trace, capacity)),
        }
    }
}

/// A cache of objects whose sizes are known.
pub(crate) trait Cache {
    /// A request for `id`; whether it is a hit. On a miss the object is fetched and offered to the cache.
    fn request(&mut self, id: u32) -> bool;
}

pub(crate) fn replay(trace: &Trace, mut cache: impl Cache) -> Ratio {
    let mut ratio = Ratio::default();
    for id in &trace.requests {
        let size = trace.size(*id);
        ratio.count(if cache.request(*id) { size.into() } else { 0 }, size);
    }
    ratio
}

#[cfg(test)]
pub(crate) fn hits(mut cache: impl Cache, requests: &[u32]) -> Vec<bool> {
    requests.iter().map(|id| cache.request(*id)).collect()
}
