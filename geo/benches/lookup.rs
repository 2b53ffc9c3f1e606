//! What a look-up costs.
//!
//!     cargo bench -p geo [-- DATABASE.mmdb]
//!
//! Of a million addresses, IPv4 and IPv6, drawn evenly: nanoseconds each, and how many are somewhere; and where valgrind is,
//! instructions, which a busy machine does not move. Without a file, in a database of 50,000 networks that is made for it. At most
//! 200 ns a look-up.

#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program that prints what it measured

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use geo::{Geo, Layout};
use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};

const ADDRESSES: u32 = 1_000_000;
const RUNS: usize = 5;
/// Under valgrind.
const COUNTED: u32 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Called by itself, under valgrind.
    if let [flag, path, six, count] = &arguments[..]
        && flag == "--counted"
    {
        let geo = opened(Path::new(path));
        let count = count.parse().expect("a number");
        for address in &addresses(six == "true", count) {
            black_box(geo.locate(black_box(*address)));
        }
        return;
    }
    let given = arguments.into_iter().find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let path = given.clone().unwrap_or_else(made);
    let began = Instant::now();
    let geo = opened(&path);
    let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
    println!("{}: {bytes} bytes, read and verified in {} ms", geo.kind(), began.elapsed().as_millis());
    for (family, six) in [("IPv4", false), ("IPv6", true)] {
        let addresses = addresses(six, ADDRESSES);
        let found = addresses.iter().filter(|address| geo.locate(**address).is_some()).count();
        let run = || {
            let began = Instant::now();
            for address in &addresses {
                black_box(geo.locate(black_box(*address)));
            }
            began.elapsed().as_nanos() / u128::from(ADDRESSES)
        };
        let each = (0..RUNS).map(|_| run()).min().unwrap_or_default();
        let count = counted(&path, six).map_or_else(|| "?".to_owned(), |count| count.to_string());
        println!(
            "{family}: {each} ns a look-up, {count} instructions, {found} of {ADDRESSES} addresses are somewhere"
        );
    }
    if given.is_none() {
        let _ = std::fs::remove_file(path);
    }
}

fn opened(path: &Path) -> Geo {
    let opened = Geo::open_any(path, vec![Layout::maxmind(), Layout::flat()]);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// User instructions a look-up, by callgrind: the difference of two runs, without what drawing the addresses takes. None without
/// valgrind.
fn counted(path: &Path, six: bool) -> Option<u64> {
    let run = |count: u32| -> Option<u64> {
        let out = std::env::temp_dir().join(format!("geo-bench-{}.callgrind", std::process::id()));
        let status = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", "--toggle-collect=*Geo*locate*"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(std::env::current_exe().ok()?)
            .args(["--counted", path.to_str()?, &six.to_string(), &count.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.ok().filter(std::process::ExitStatus::success)?;
        let text = std::fs::read_to_string(&out).ok()?;
        let _ = std::fs::remove_file(out);
        let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
        totals.filter_map(|count| count.trim().parse().ok()).next_back()
    };
    Some(run(2 * COUNTED)?.saturating_sub(run(COUNTED)?) / u64::from(COUNTED))
}

/// Evenly drawn; of IPv6 within what is given out.
fn addresses(six: bool, count: u32) -> Vec<IpAddr> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut one = || {
        let (high, low) = (next(), next());
        if six {
            let high = 0x2000_0000_0000_0000 | (high >> 3);
            IpAddr::from(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
        } else {
            IpAddr::from(u32::try_from(high >> 32).unwrap_or_default().to_be_bytes())
        }
    };
    (0..count).map(|_| one()).collect()
}

fn made() -> PathBuf {
    let mut writer = Writer::builder("Made").description(&[("en", "made for a bench")]).build();
    for nth in 0..50_000_u32 {
        let country =
            [b'A' + u8::try_from(nth % 26).unwrap_or(0), b'A' + u8::try_from(nth / 26 % 26).unwrap_or(0)];
        let record = BTreeMap::from([(
            "country_code".to_owned(),
            Value::String(String::from_utf8_lossy(&country).into_owned()),
        )]);
        let network = if nth % 2 == 0 {
            format!("{}.{}.0.0/16", 1 + nth / 256 % 220, nth % 256)
        } else {
            format!("2{:03x}:{:x}::/32", nth % 4096, nth)
        };
        // Two that fall on each other: the later counts.
        drop(writer.insert_value(network.parse::<IpNet>().expect("a network"), Value::Map(record)));
    }
    let path = std::env::temp_dir().join(format!("geo-bench-{}.mmdb", std::process::id()));
    std::fs::write(&path, writer.to_bytes().expect("it is written")).expect("a file for a bench");
    path
}
