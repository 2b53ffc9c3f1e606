//! What a look-up costs.
//!
//!     cargo bench -p geo [-- DATABASE.mmdb]
//!
//! Of a million addresses, IPv4 and IPv6, drawn evenly: nanoseconds each, and how many are somewhere. Without a file, in a database of
//! 50,000 networks that is made for it.

#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program that prints what it measured

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use geo::{Geo, Layout};
use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};

const ADDRESSES: u32 = 1_000_000;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let path = given.clone().unwrap_or_else(made);
    let began = Instant::now();
    let opened = Geo::open_any(&path, vec![Layout::maxmind(), Layout::flat()]);
    let geo = opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
    println!("{}: {bytes} bytes, read and verified in {} ms", geo.kind(), began.elapsed().as_millis());
    for (family, addresses) in [("IPv4", addresses(false)), ("IPv6", addresses(true))] {
        let found = addresses.iter().filter(|address| geo.locate(**address).is_some()).count();
        let began = Instant::now();
        for address in &addresses {
            black_box(geo.locate(black_box(*address)));
        }
        let each = began.elapsed().as_nanos() / u128::from(ADDRESSES);
        println!("{family}: {each} ns a look-up, {found} of {ADDRESSES} addresses are somewhere");
    }
    if given.is_none() {
        let _ = std::fs::remove_file(path);
    }
}

/// Evenly drawn; of IPv6 within what is given out.
fn addresses(six: bool) -> Vec<IpAddr> {
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
    (0..ADDRESSES).map(|_| one()).collect()
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
