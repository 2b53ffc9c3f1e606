//! What the store predicts of other sizes of its tiers, beside what stores of those sizes hit.
//!
//! The whole trace is counted, from an empty cache, as in the other tables: so a prediction is the measured ratio and what the
//! store says that another size would have gained since the start.

use std::collections::HashMap;
use std::io;

use cache_store::tiers::sizing::{Advice, SizedTier};

use crate::lines::Ratio;
use crate::store::{self, Replayed};
use crate::trace::Trace;
use crate::{Arguments, percents, read};

/// Replays and prints; returns what is further off than it may be. With disks, each is told of with other sizes of its own, and of the
/// memory above it.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Vec<String>> {
    println!("Hits of requests/of bytes: predicted (measured); the whole trace from an empty cache.\n");
    println!("| Trace | Of | now | 0.5 × | 2 × | 4 × | sampled | off by, at most |");
    println!("|{}", "---|".repeat(8));
    let mut broken = Vec::new();
    let (memory, disks) = (percents(&arguments.memory)?, percents(&arguments.disk)?);
    for name in &arguments.trace {
        let trace = read(arguments, name)?;
        let mut replays = Replays { arguments, trace: &trace, known: HashMap::new() };
        let mut tell = |now: Sizes, tier: SizedTier| -> io::Result<()> {
            let Some(compared) = compare(&trace, now, tier, |sizes| replays.of(sizes))? else {
                return Ok(());
            };
            let of = now.told(tier);
            print!("| {} | {of} | {} |", trace.name, compared.now);
            for told in &compared.sizes {
                match told {
                    Some((predicted, there)) => {
                        print!(" {:.3}/{:.3} ({there}) |", predicted[0], predicted[1]);
                    }
                    None => print!(" |"),
                }
            }
            let worst = compared.off_by(trace.sized);
            println!(" {:.3} | {:.1} points |", compared.rate, worst * 100.0);
            if worst > POINTS_MAX {
                broken.push(format!("{}, {of}: off by {:.1} points", trace.name, worst * 100.0));
            }
            Ok(())
        };
        if disks.is_empty() {
            for percent in &memory {
                tell(Sizes { memory: *percent, disk: None }, SizedTier::Memory)?;
            }
        } else if trace.sized {
            for percent in &disks {
                let now = Sizes { memory: MEMORY_PERCENT, disk: Some(*percent) };
                tell(now, SizedTier::Disk)?;
                tell(now, SizedTier::Memory)?;
            }
        }
    }
    for line in &broken {
        println!("\n- {line}");
    }
    Ok(broken)
}

/// What the tiers have, in percent of the footprint.
#[derive(Clone, Copy)]
struct Sizes {
    memory: f64,
    disk: Option<f64>,
}

impl Sizes {
    /// With so many times the bytes of one tier.
    fn with(self, tier: SizedTier, factor: f64) -> Self {
        match tier {
            SizedTier::Memory => Self { memory: self.memory * factor, ..self },
            SizedTier::Disk => Self { disk: self.disk.map(|disk| disk * factor), ..self },
        }
    }

    /// In words; the tier comes first.
    fn told(self, tier: SizedTier) -> String {
        let memory = format!("memory {} %", self.memory);
        match (self.disk, tier) {
            (None, _) => memory,
            (Some(disk), SizedTier::Disk) => format!("disk {disk} %"),
            (Some(disk), SizedTier::Memory) => format!("{memory} beside disk {disk} %"),
        }
    }
}

/// What was predicted, of requests and of bytes, and what was measured.
type Told = ([f64; 2], Ratio);

/// What was predicted of other sizes, and measured there.
struct Compared {
    now: Ratio,
    /// By factor; nothing where a tier of that size cannot be.
    sizes: Vec<Option<Told>>,
    rate: f64,
}

impl Compared {
    /// The farthest that a prediction is off, of requests and, where there are sizes, of bytes.
    fn off_by(&self, sized: bool) -> f64 {
        let told = self.sizes.iter().flatten();
        let off = told.map(|([requests, bytes], there)| {
            let of_bytes = if sized { (bytes - there.of_bytes()).abs() } else { 0.0 };
            (requests - there.of_requests()).abs().max(of_bytes)
        });
        off.fold(0.0, f64::max)
    }
}

/// Compares what a store of these sizes tells of others of one tier with what those do; `replay` measures one.
fn compare(
    trace: &Trace,
    now: Sizes,
    tier: SizedTier,
    mut replay: impl FnMut(Sizes) -> io::Result<Option<Measured>>,
) -> io::Result<Option<Compared>> {
    let Some((ratio, advice, rate)) = replay(now)? else { return Ok(None) };
    let requested: u64 = trace.requests.iter().map(|id| u64::from(trace.size(*id))).sum();
    let bytes = requested as f64 * if trace.sized { 1.0 } else { store::BODY_BYTES as f64 };
    let mut sizes = Vec::new();
    for Advice { factor, gain, .. } in advice.iter().filter(|one| one.tier == tier) {
        let predicted = [
            ratio.of_requests() + gain.requests / trace.requests.len() as f64,
            ratio.of_bytes() + gain.bytes / bytes,
        ];
        let there = replay(now.with(tier, *factor))?;
        sizes.push(there.map(|(there, ..)| (predicted, there)));
    }
    Ok(Some(Compared { now: ratio, sizes, rate }))
}

/// What was hit, what the store says of other sizes, and of how many keys.
type Measured = (Ratio, Vec<Advice>, f64);

/// What stores of many sizes hit; each is replayed once.
struct Replays<'a> {
    arguments: &'a Arguments,
    trace: &'a Trace,
    known: HashMap<(u64, u64), Measured>,
}

impl Replays<'_> {
    /// Nothing where a disk would be too small to be one.
    fn of(&mut self, Sizes { memory, disk }: Sizes) -> io::Result<Option<Measured>> {
        let key = (memory.to_bits(), disk.map_or(0, f64::to_bits));
        if let Some(measured) = self.known.get(&key) {
            return Ok(Some(measured.clone()));
        }
        let Replayed { ratio, advice, rate, .. } = if let Some(disk) = disk {
            let bytes = |percent: f64| (self.trace.footprint() as f64 * percent / 100.0) as u64;
            if bytes(disk) < store::DISK_BYTES_MIN {
                return Ok(None);
            }
            store::replay_tiers(self.trace, bytes(memory), bytes(disk), &self.arguments.folder)?
        } else {
            let mut secret = [0; 32];
            secret[..8].copy_from_slice(&self.arguments.seed.to_le_bytes());
            store::replay(self.trace, memory, secret)
        };
        self.known.insert(key, (ratio, advice.clone(), rate));
        Ok(Some((ratio, advice, rate)))
    }
}

/// What a prediction may be off by.
const POINTS_MAX: f64 = 0.02;
/// Memory beside a disk, of the footprint.
const MEMORY_PERCENT: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as the command does, with a trace that needs no file.
    #[test]
    fn what_is_predicted_of_other_sizes_is_what_they_do() {
        let trace = Trace::zipf(4000, 30_000, 0.9, 42);
        let replay = |sizes: Sizes| {
            let Replayed { ratio, advice, rate, .. } = store::replay(&trace, sizes.memory, [7; 32]);
            Ok(Some((ratio, advice, rate)))
        };
        let now = Sizes { memory: 10.0, disk: None };
        let compared = compare(&trace, now, SizedTier::Memory, replay);
        let compared = compared.expect("nothing is read").expect("it is replayed");
        let (off_by, now) = (compared.off_by(trace.sized), compared.now.of_requests());
        assert_eq!(compared.sizes.len(), 3);
        assert!(off_by <= POINTS_MAX && (0.3..0.9).contains(&now), "{off_by} at {now}");
    }

    /// Over a disk, which is kept for the test.
    fn compare_over_a_disk(trace: &Trace, now: Sizes, tier: SizedTier) -> Compared {
        let folder =
            std::env::temp_dir().join(format!("tidegate-advice-{}-{}", tier.as_str(), std::process::id()));
        let bytes = |percent: f64| (trace.footprint() as f64 * percent / 100.0) as u64;
        let replay = |Sizes { memory, disk }: Sizes| {
            let disk = bytes(disk.expect("there is one"));
            if disk < store::DISK_BYTES_MIN {
                return Ok(None);
            }
            let Replayed { ratio, advice, rate, .. } =
                store::replay_tiers(trace, bytes(memory), disk, &folder)?;
            Ok(Some((ratio, advice, rate)))
        };
        compare(trace, now, tier, replay).expect("the folder can be written to").expect("it is replayed")
    }

    fn files(requests: usize) -> Trace {
        let mut trace = Trace::zipf(8000, requests, 0.7, 42);
        trace.sizes = (0..8000_u32).map(|id| 8192 + id.wrapping_mul(2_654_435_769) % 65_536).collect();
        trace.sized = true;
        trace
    }

    #[test]
    fn what_is_predicted_of_other_disks_is_what_they_do() {
        let trace = files(50_000);
        let now = Sizes { memory: 2.0, disk: Some(22.0) };
        let compared = compare_over_a_disk(&trace, now, SizedTier::Disk);
        let off_by = compared.off_by(trace.sized);
        let ratios: Vec<_> = compared.sizes.iter().flatten().map(|(_, there)| there.of_requests()).collect();
        assert_eq!(compared.sizes.iter().flatten().count(), 2, "half of it is too small to be one");
        // All keys are in the sample, so that nothing is off but by a rule that the disk does not follow.
        assert!(compared.rate > 0.999 && off_by <= POINTS_MAX / 4.0, "{off_by} of {}", compared.rate);
        assert!(ratios[1] > compared.now.of_requests() + 0.2, "{ratios:?}");
    }

    /// Half a megabyte takes one of 64 KiB, and half of that does not: then the disk has it in chunks. It is told of each by the other.
    #[test]
    fn what_is_predicted_of_other_memories_over_a_disk_is_what_they_do() {
        let trace = files(8000);
        for (memory, other) in [(0.3, 0), (0.15, 1)] {
            let now = Sizes { memory, disk: Some(50.0) };
            let compared = compare_over_a_disk(&trace, now, SizedTier::Memory);
            let other = compared.sizes[other].expect("there is no least memory");
            assert!((other.1.of_requests() - compared.now.of_requests()).abs() > 0.04, "{other:?}");
            let off_by = Compared { sizes: vec![Some(other)], ..compared }.off_by(trace.sized);
            assert!(compared.rate > 0.999 && off_by <= POINTS_MAX / 2.0, "{off_by} of {}", compared.rate);
        }
    }
}
