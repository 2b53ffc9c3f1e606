//! What each access rule costs a request, beside the route that is looked up anyway.
//!
//!     cargo bench -p tidegate --bench access
//!
//! For each rule: nanoseconds from a routed request to the rule's word, of a client that is admitted, over the same of a route without
//! rules. What is on costs a hit at most a microsecond; what is off, one branch.

#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::cast_precision_loss)] // a program that prints what it measured

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use http::Method;
use tidegate::config::access::SignedQuery;
use tidegate::config::check::{Surroundings, check};
use tidegate::listener::fields::Fields;
use tidegate::listener::request::Scheme;
use tidegate::route::RouteTable;
use tidegate::route::access::{Asking, signed};

/// `ann:swordfish`, and its hash.
const AUTHORIZATION: &str = "Basic YW5uOnN3b3JkZmlzaA==";
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuugIEnm3ZbWF6xb2GcoE3L1CoGJFMKtu.";
const ROUNDS: u32 = 200_000;
const NOW_SECS: u64 = 1_793_611_200;

fn main() {
    let directory = std::env::temp_dir().join(format!("tidegate-access-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("it is written");
    let networks = (0..50_000_u32).fold(String::new(), |mut text, nth| {
        // Every fourth /24 of a part of the addresses.
        let _ = writeln!(text, "{}/24", Ipv4Addr::from_bits(0x1000_0000 + nth * 1024));
        text
    });
    write("networks", &networks);
    write("users", &format!("ann:{HASH}\n"));
    write("key", "0123456789abcdef0123456789abcdef\n");
    let key = signed::key(&directory.join("key")).expect("a key");
    let url =
        signed::sign("http://www.example.com/video.mp4?id=7", &key, None, &SignedQuery::All, NOW_SECS + 60);
    let url = url.expect("a URL");
    let target = url.strip_prefix("http://www.example.com").expect("its host");
    let none = measured(&directory, "", target);
    println!("{:<44} {none:>7.1} ns", "route without rules");
    for (name, rule) in [
        ("addresses: 2 networks", "allow = [\"192.0.2.0/24\"], deny = [\"192.0.2.128/25\"]"),
        ("addresses: 50,000 networks", "deny_files = \"networks\""),
        ("referers", "referers = [\"www.example.com\", \"*.example.org\"]"),
        ("rate", "rate = { requests = 1_000_000, per = \"1ms\" }"),
        ("rate with fields", "rate = { requests = 1_000_000, per = \"1ms\", fields = true }"),
        ("concurrency", "concurrency = 20"),
        ("signed", "signed = { keys = [{ id = \"k\", file = \"key\" }] }"),
        ("basic, known", "basic = \"users\""),
    ] {
        let nanos = measured(&directory, rule, target) - none;
        println!("{name:<44} {nanos:>7.1} ns more{}", if nanos > 1000.0 { "  TOO MUCH" } else { "" });
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// Nanoseconds for routing a request and asking the rules of its route; the best of several runs.
fn measured(directory: &Path, rule: &str, target: &str) -> f64 {
    let access = if rule.is_empty() { String::new() } else { format!("access = {{ {rule} }}\n") };
    let text = format!(
        "[[listener]]\naddress = \":80\"\n[pool.main]\norigins = \"http://a\"\n[[site]]\nhosts = \"*\"\n{access}"
    );
    let around = Surroundings { base: PathBuf::from(directory), ..Surroundings::here(directory) };
    let config = check("bench", &text, &around).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let table = RouteTable::new(&config.sites).expect("the files are there");
    let fields = Fields::pack(
        [
            (&b"host"[..], &b"www.example.com"[..]),
            (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            (b"accept-language", b"en-GB,en;q=0.5"),
            (b"accept-encoding", b"gzip, deflate, br, zstd"),
            (b"referer", b"https://www.example.com/page"),
            (b"authorization", AUTHORIZATION.as_bytes()),
        ]
        .into_iter(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        for nth in 0..ROUNDS {
            let route = table
                .route_parts(
                    &Method::GET,
                    Scheme::Http,
                    b"www.example.com",
                    black_box(target.as_bytes()),
                    &fields,
                )
                .expect("a route");
            if let Some(guard) = route.guard {
                let asking = Asking {
                    // Clients that come again: within 192.0.2.0/25.
                    client: IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + nth % 128)),
                    authority: route.authority(),
                    fields: &fields,
                    country: None,
                    target: target.as_bytes(),
                    now_micros: u64::from(nth) + 1_000_000,
                    wall_secs: NOW_SECS,
                };
                let admission = guard.ask(&asking).unwrap_or_else(|refusal| panic!("{:?}", refusal.denied));
                if let Some(verification) = admission.after {
                    runtime.block_on(verification.run()).expect("the password is right");
                }
                black_box(admission.held);
            }
            black_box(&route);
        }
        best = best.min(began.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    best
}
