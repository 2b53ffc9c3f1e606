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
        let requested: u64 = trace.requests.iter().map(|id| u64::from(trace.size(*id))).sum();
        for percent in &budgets {
            let Some((ratio, advice, rate)) = measured(arguments, &trace, *percent, on_disk, &mut known)?
            else {
                continue;
            };
            print!("| {} | {percent} % | {ratio} |", trace.name);
            let mut worst = 0.0_f64;
            let tier = if on_disk { SizedTier::Disk } else { SizedTier::Memory };
            for Advice { factor, gain, .. } in advice.iter().filter(|one| one.tier == tier) {
                let bytes =
                    if trace.sized { requested as f64 } else { requested as f64 * store::BODY_BYTES as f64 };
                let predicted = [
                    ratio.of_requests() + gain.requests / trace.requests.len() as f64,
                    ratio.of_bytes() + gain.bytes / bytes,
                ];
                let Some((there, ..)) = measured(arguments, &trace, percent * factor, on_disk, &mut known)?
                else {
                    print!(" |");
                    continue;
                };
                print!(" {:.3}/{:.3} ({there}) |", predicted[0], predicted[1]);
                worst = worst.max((predicted[0] - there.of_requests()).abs());
                if trace.sized {
                    worst = worst.max((predicted[1] - there.of_bytes()).abs());
                }
            }
            println!(" {:.3} | {:.1} points |", rate, worst * 100.0);
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
