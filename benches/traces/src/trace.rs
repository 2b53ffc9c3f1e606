//! A trace: which object each request is for, and how long objects are.
//!
//! `NAME.req.zst` holds an object id a request, `NAME.obj.zst` a size an object, both `u32` little-endian; a CSV has
//! `time,id,size,status`. Traces without sizes count every object as 1. The Akamai models are far larger than a
//! cache under test may be: their sizes are divided by 16, as in `mix`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::random::Random;

/// Requests in order, and what they are for.
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Object of each request.
    pub(crate) requests: Vec<u32>,
    /// Size of each object, at least 1.
    pub(crate) sizes: Vec<u32>,
    /// Whether sizes are bytes; otherwise every object counts 1.
    pub(crate) sized: bool,
}

/// Where the requests come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Recorded.
    Real,
    /// Drawn from a distribution that was measured somewhere: no recorded traffic.
    Model,
    /// Drawn from a formula.
    Generated,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Model => "model",
            Self::Generated => "generated",
        }
    }
}

/// Name, files' stem, divisor of sizes, kind.
const FILES: [(&str, &str, u32, Kind); 7] = [
    ("mix", "mix", 1, Kind::Model),
    ("meta", "meta-cdn-irm", 1, Kind::Model),
    ("eu2", "akamai-eu2-social", 16, Kind::Model),
    ("tc0", "akamai-tc0-download", 16, Kind::Model),
    ("nasa", "nasa-19950801", 1, Kind::Real),
    ("web12", "cache2k-web12", 1, Kind::Real),
    ("web07", "cache2k-web07", 1, Kind::Real),
];

/// Names that [`Trace::read`] knows.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, ..)| *name)
}

impl Trace {
    /// Reads the trace called `name` from the directory of traces.
    pub(crate) fn read(directory: &Path, name: &str) -> io::Result<Self> {
        let unknown = || {
            let known = names().collect::<Vec<_>>().join(", ");
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no trace is called {name}; there are {known}, zipf"),
            )
        };
        let (_, stem, divisor, kind) = FILES.iter().find(|file| file.0 == name).ok_or_else(unknown)?;
        let file = |suffix: &str| unpacked(&directory.join(format!("{stem}.{suffix}.zst")));
        let (requests, sizes, sized) = if *stem == "nasa-19950801" {
            let (requests, sizes) = from_csv(&file("csv")?)?;
            (requests, sizes, true)
        } else {
            let requests = numbers(&file("req")?);
            let sized = directory.join(format!("{stem}.obj.zst")).exists();
            let sizes = if sized {
                numbers(&file("obj")?)
            } else {
                vec![1; requests.iter().max().map_or(0, |last| *last as usize + 1)]
            };
            (requests, sizes, sized)
        };
        let sizes: Vec<u32> = sizes.iter().map(|size| (size / divisor).max(1)).collect();
        if requests.iter().any(|id| *id as usize >= sizes.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request for an object without a size"));
        }
        Ok(Self { name: name.into(), kind: *kind, requests, sizes, sized })
    }

    /// `requests` independent requests for `objects` objects: the popularity of the n-th is n^−`exponent`, sizes are
    /// log-normal about 12 KB with a long tail, as CDN objects are.
    pub(crate) fn zipf(objects: usize, requests: usize, exponent: f64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut sums = Vec::with_capacity(objects);
        let mut sum = 0.0;
        for rank in 1..=objects {
            sum += (rank as f64).powf(-exponent);
            sums.push(sum);
        }
        let requests = (0..requests)
            .map(|_| {
                let at = random.unit() * sum;
                sums.partition_point(|sum| *sum < at).min(objects - 1) as u32
            })
            .collect();
        let sizes = (0..objects)
            .map(|_| (12_000.0 * (1.4 * random.normal()).exp()).clamp(64.0, 64e6) as u32)
            .collect();
        Self { name: format!("zipf {exponent}"), kind: Kind::Generated, requests, sizes, sized: true }
    }

    /// Sum of the sizes of what is asked for.
    pub(crate) fn footprint(&self) -> u64 {
        let asked: HashSet<u32> = self.requests.iter().copied().collect();
        asked.iter().map(|id| u64::from(self.size(*id))).sum()
    }

    pub(crate) fn size(&self, id: u32) -> u32 {
        self.sizes.get(id as usize).copied().unwrap_or(1)
    }
}

fn unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let told = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| told(&error))?;
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(file).map_err(|error| told(&error))?;
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes).map_err(|error| told(&error))?;
    Ok(bytes)
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
}

/// Sizes are those of an object's first appearance.
fn from_csv(bytes: &[u8]) -> io::Result<(Vec<u32>, Vec<u32>)> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a line is not time,id,size,status");
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
    let (mut requests, mut sizes) = (Vec::new(), Vec::<u32>::new());
    for line in text.lines().skip(1) {
        let mut cells = line.split(',').skip(1).map(str::parse::<u32>);
        let (Some(Ok(id)), Some(Ok(size))) = (cells.next(), cells.next()) else { return Err(bad()) };
        if id as usize == sizes.len() {
            sizes.push(size.max(1));
        }
        requests.push(id);
    }
    Ok((requests, sizes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_numbers_objects_by_first_appearance() {
        let (requests, sizes) =
            from_csv(b"time,id,size,status\n1,0,10,200\n2,1,0,200\n3,0,99,304\n").unwrap();
        assert_eq!((requests, sizes), (vec![0, 1, 0], vec![10, 1]));
        assert!(from_csv(b"time,id,size,status\n1,x,10,200\n").is_err());
    }

    #[test]
    fn the_same_seed_draws_the_same_trace_and_the_first_rank_is_the_most_asked_for() {
        let (one, other) = (Trace::zipf(1000, 50_000, 0.9, 7), Trace::zipf(1000, 50_000, 0.9, 7));
        assert_eq!((&one.requests, &one.sizes), (&other.requests, &other.sizes));
        assert_ne!(one.requests, Trace::zipf(1000, 50_000, 0.9, 8).requests);
        let count = |rank: u32| one.requests.iter().filter(|id| **id == rank).count();
        assert!(count(0) > count(9) && count(9) > count(99), "{} {} {}", count(0), count(9), count(99));
    }
}
