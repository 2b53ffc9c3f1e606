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

/// Replays and prints; returns what is further off than it may be.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Vec<String>> {
    let on_disk = !arguments.disk.is_empty();
    println!("Hits of requests/of bytes: predicted (measured); the whole trace from an empty cache.\n");
    println!(
        "| Trace | {} | now | 0.5 × | 2 × | 4 × | sampled | off by, at most |",
        if on_disk { "Disk" } else { "Memory" }
    );
    println!("|{}", "---|".repeat(8));
    let mut broken = Vec::new();
    let budgets = percents(if on_disk { &arguments.disk } else { &arguments.memory })?;
    for name in &arguments.trace {
        let trace = read(arguments, name)?;
        if on_disk && !trace.sized {
            continue;
        }
        let mut known = HashMap::new();
        for percent in &budgets {
            let replay = |percent| measured(arguments, &trace, percent, on_disk, &mut known);
            let Some(compared) = compare(&trace, *percent, on_disk, replay)? else { continue };
            print!("| {} | {percent} % | {} |", trace.name, compared.now);
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
                broken.push(format!("{} at {percent} %: off by {:.1} points", trace.name, worst * 100.0));
            }
        }
    }
    for line in &broken {
        println!("\n- {line}");
    }
    Ok(broken)
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

/// Compares what a store of this size tells of others with what those do; `replay` measures one size.
fn compare(
    trace: &Trace,
    percent: f64,
    on_disk: bool,
    mut replay: impl FnMut(f64) -> io::Result<Option<Measured>>,
) -> io::Result<Option<Compared>> {
    let Some((now, advice, rate)) = replay(percent)? else { return Ok(None) };
    let requested: u64 = trace.requests.iter().map(|id| u64::from(trace.size(*id))).sum();
    let bytes = requested as f64 * if trace.sized { 1.0 } else { store::BODY_BYTES as f64 };
    let tier = if on_disk { SizedTier::Disk } else { SizedTier::Memory };
    let mut sizes = Vec::new();
    for Advice { factor, gain, .. } in advice.iter().filter(|one| one.tier == tier) {
        let predicted = [
            now.of_requests() + gain.requests / trace.requests.len() as f64,
            now.of_bytes() + gain.bytes / bytes,
        ];
        let there = replay(percent * factor)?;
        sizes.push(there.map(|(there, ..)| (predicted, there)));
    }
    Ok(Some(Compared { now, sizes, rate }))
}

type Measured = (Ratio, Vec<Advice>, f64);

/// What a store of this size hits; each size is replayed once.
fn measured(
    arguments: &Arguments,
    trace: &Trace,
    percent: f64,
    on_disk: bool,
    known: &mut HashMap<u64, Measured>,
) -> io::Result<Option<Measured>> {
    let key = percent.to_bits();
    if let Some(measured) = known.get(&key) {
        return Ok(Some(measured.clone()));
    }
    let replayed = if on_disk {
        let bytes = |percent: f64| (trace.footprint() as f64 * percent / 100.0) as u64;
        if bytes(percent) < store::DISK_BYTES_MIN {
            return Ok(None);
        }
        // Memory is the same beside disks of every size.
        let memory = bytes(MEMORY_PERCENT);
        store::replay_tiers(trace, memory, bytes(percent), &arguments.folder)?
    } else {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&arguments.seed.to_le_bytes());
        store::replay(trace, percent, secret)
    };
    let Replayed { ratio, advice, rate, .. } = replayed;
    known.insert(key, (ratio, advice.clone(), rate));
    Ok(Some((ratio, advice, rate)))
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
        let replay = |percent| {
            let Replayed { ratio, advice, rate, .. } = store::replay(&trace, percent, [7; 32]);
            Ok(Some((ratio, advice, rate)))
        };
        let compared =
            compare(&trace, 10.0, false, replay).expect("nothing is read").expect("it is replayed");
        let (off_by, now) = (compared.off_by(trace.sized), compared.now.of_requests());
        assert_eq!(compared.sizes.len(), 3);
        assert!(off_by <= POINTS_MAX && (0.3..0.9).contains(&now), "{off_by} at {now}");
    }
}
