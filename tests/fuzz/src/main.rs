//! The driver: `fuzz smoke [TARGET…]`, `fuzz long [TARGET…] [SECONDS]`, `fuzz replay TARGET FILE…`, `fuzz list`.
//!
//! A smoke run makes a fixed number of inputs from a fixed seed, so that it comes to the same every time; a long one
//! runs for a time, from a seed that it tells. A failure writes the input to `tests/fuzz/findings/`, says how to replay
//! it, and ends the target, not the run. Once understood, the file moves to `tests/fuzz/seeds/TARGET/`.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use fuzz::mutate::{Mutator, Random};
use fuzz::targets::{TARGETS, Target};
use fuzz::{forget_outcomes, outcomes};

/// How long a target is run.
#[derive(Clone, Copy)]
enum Until {
    /// As many inputs as the target names.
    Made,
    /// A time.
    Passed(Duration),
}

fn main() -> ExitCode {
    let mut arguments: VecDeque<String> = std::env::args().skip(1).collect();
    let command = arguments.pop_front().unwrap_or_default();
    let outcome =
        match command.as_str() {
            "smoke" => chosen(&arguments).and_then(|targets| run(&targets, Until::Made, SEED)),
            "long" => {
                let seconds = match arguments.back().and_then(|text| text.parse().ok()) {
                    Some(seconds) => arguments.pop_back().map_or(LONG_SECONDS, |_| seconds),
                    None => LONG_SECONDS,
                };
                let until = Until::Passed(Duration::from_secs(seconds));
                chosen(&arguments).and_then(|targets| run(&targets, until, seed()))
            }
            "replay" => replay(&arguments),
            "list" => TARGETS
                .iter()
                .try_for_each(|target| say(target.name))
                .map_err(|error| error.to_string())
                .map(|()| true),
            _ => Err("fuzz smoke [TARGET...] | long [TARGET...] [SECONDS] | replay TARGET FILE... | list"
                .to_owned()),
        };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            // Nowhere is left to complain to.
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::from(2)
        }
    }
}

/// The targets of these names, all for none.
fn chosen(names: &VecDeque<String>) -> Result<Vec<&'static Target>, String> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    names.iter().map(|name| find(name)).collect()
}

fn find(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| format!("no target is called `{name}`"))
}

/// Runs targets on as many threads as there are cores; whether all stood.
fn run(targets: &[&'static Target], until: Until, seed: u64) -> Result<bool, String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let queue = Mutex::new(targets.iter().copied().collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    say(&format!("{} targets, seed {seed}", targets.len())).map_err(|error| error.to_string())?;
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let Some(target) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) else { return };
                if let Err(message) = run_one(target, until, seed) {
                    let _ = say(&format!("{:<18} FAILED: {message}", target.name));
                    if let Ok(mut failed) = failed.lock() {
                        failed.push(target.name);
                    }
                }
            }
        };
        let threads: Vec<_> = (0..cores)
            .filter_map(|_| {
                std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, worker).ok()
            })
            .collect();
        if threads.is_empty() {
            worker();
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    let summary =
        format!("{} stood, {} failed {}", targets.len() - failed.len(), failed.len(), failed.join(" "));
    say(summary.trim_end()).map_err(|error| error.to_string())?;
    Ok(failed.is_empty())
}

fn run_one(target: &Target, until: Until, seed: u64) -> Result<(), String> {
    forget_outcomes();
    let pool = seeds(target)?;
    let given = pool.len();
    let mut mutator = Mutator { pool: Vec::new(), words: target.words, bytes_max: target.bytes_max };
    for input in &pool {
        try_one(target, input)?;
    }
    mutator.pool = pool;
    // Another target's seed would be another run's: each has its own, so that one alone does as among others.
    let mut random =
        Random(seed ^ target.name.bytes().fold(0_u64, |sum, byte| sum.rotate_left(7) ^ u64::from(byte)));
    let ends_at = match until {
        Until::Made => None,
        Until::Passed(time) => Some(now() + time),
    };
    let mut made = 0_u64;
    while ends_at.map_or(made < target.smoke_inputs, |at| now() < at) {
        let before = outcomes();
        let input = mutator.make(&mut random);
        try_one(target, &input)?;
        if outcomes() > before {
            mutator.keep(input, &mut random);
        }
        made += 1;
    }
    let known = outcomes();
    let _ = say(&format!("{:<18} {made:>9} inputs from {given:>3} seeds, {known:>4} outcomes", target.name));
    if known < target.outcomes_min {
        return Err(format!(
            "only {known} outcomes, {} expected: the target no longer reaches what it tests",
            target.outcomes_min
        ));
    }
    Ok(())
}

/// Gives one input to the target; a failure is written down.
fn try_one(target: &Target, input: &[u8]) -> Result<(), String> {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok() {
        return Ok(());
    }
    let file = Path::new(ROOM).join("findings").join(format!("{}-{:016x}", target.name, name_of(input)));
    let kept =
        std::fs::create_dir_all(Path::new(ROOM).join("findings")).and_then(|()| std::fs::write(&file, input));
    Err(match kept {
        Ok(()) => format!("replay with: tests/fuzz/run replay {} {}", target.name, file.display()),
        Err(error) => format!("the input could not be written ({error}): {}", input.escape_ascii()),
    })
}

fn replay(arguments: &VecDeque<String>) -> Result<bool, String> {
    let mut arguments = arguments.iter();
    let target = find(arguments.next().map_or("", String::as_str))?;
    for file in arguments {
        let input = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        // Not caught: a replay is for looking at the failure.
        (target.run)(&input);
        say(&format!("{file}: stood")).map_err(|error| error.to_string())?;
    }
    Ok(true)
}

/// What the target begins with: its seeds, and the files it shares with other tests.
fn seeds(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let mut files = Vec::new();
    for folder in std::iter::once(PathBuf::from("seeds").join(target.name))
        .chain(target.shared.iter().map(PathBuf::from))
    {
        let folder = Path::new(ROOM).join(folder);
        // Some targets have made seeds only.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()));
    }
    files.sort();
    let mut pool: Vec<Vec<u8>> = (target.made)();
    for file in files {
        pool.push(std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    if pool.is_empty() { Err("there are no seeds".to_owned()) } else { Ok(pool) }
}

/// FNV-1a, for file names.
fn name_of(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The seed of a long run: `TIDEGATE_FUZZ_SEED`, else one of its own.
fn seed() -> u64 {
    use std::hash::BuildHasher as _;
    std::env::var("TIDEGATE_FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| std::hash::RandomState::new().hash_one("seed"))
}

/// The time, for long runs, which are told in seconds. Nothing that is tested sees it.
#[allow(clippy::disallowed_methods)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// This directory.
const ROOM: &str = env!("CARGO_MANIFEST_DIR");
/// Every smoke run's.
const SEED: u64 = 20_261_121;
const LONG_SECONDS: u64 = 60;
/// As much as a worker of the node has, so that a deep recursion shows here too.
const STACK_BYTES: usize = 2 << 20;
