//! What each access rule costs a request, beside the route that is looked up anyway.
//!
//!     cargo bench -p tidegate --bench access
//!
//! For each rule: nanoseconds from a routed request to the rule's word, of a client that is admitted, over the same of a route without
//! rules; and where valgrind is, instructions, which a busy machine does not move. What is on costs a hit at most a microsecond; what
//! is off costs nothing.

#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::cast_precision_loss)] // a program that prints what it measured

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use geo::Code;
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
/// Under valgrind, where each takes fifty times as long.
const COUNTED: u32 = 10_000;
const NOW_SECS: u64 = 1_793_611_200;

/// Each rule, and how it is written.
const RULES: [(&str, &str); 11] = [
    (NONE, ""),
    ("all of them off", "access = \"off\"\n"),
    ("addresses: 2 networks", "access = { allow = [\"192.0.2.0/24\"], deny = [\"192.0.2.128/25\"] }\n"),
    ("addresses: 50,000 networks", "access = { deny_files = \"networks\" }\n"),
    ("countries", "access = { countries = { deny = [\"KP\", \"XK\"] } }\n"),
    ("referers", "access = { referers = [\"www.example.com\", \"*.example.org\"] }\n"),
    ("rate", "access = { rate = { requests = 1_000_000, per = \"1ms\" } }\n"),
    ("rate with fields", "access = { rate = { requests = 1_000_000, per = \"1ms\", fields = true } }\n"),
    ("concurrency", "access = { concurrency = 20 }\n"),
    ("signed", "access = { signed = { keys = [{ id = \"k\", file = \"key\" }] } }\n"),
    ("basic, known", "access = { basic = \"users\" }\n"),
];
const NONE: &str = "route without rules";
const NANOS_MAX: f64 = 1000.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Called by itself, under valgrind.
    if let [flag, directory, rule, rounds] = &arguments[..]
        && flag == "--counted"
    {
        let rule = rule.parse().ok().and_then(|rule: usize| RULES.get(rule)).expect("a rule's place");
        let directory = Path::new(directory);
        rounds_of(directory, *rule, &target(directory), rounds.parse().expect("a number"));
        return;
    }
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
    write("places.mmdb", "");
    let target = target(&directory);
    let (mut none_nanos, mut none_count) = (0.0, None);
    for (at, rule) in RULES.into_iter().enumerate() {
        let best = (0..5).map(|_| rounds_of(&directory, rule, &target, ROUNDS)).fold(f64::INFINITY, f64::min);
        let count = counted(&directory, at);
        if rule.0 == NONE {
            (none_nanos, none_count) = (best, count);
            println!("{NONE:<32} {best:>8.1} ns       {:>8} instructions", shown(count));
            continue;
        }
        let (nanos, more) = (best - none_nanos, count.zip(none_count).map(|(count, none)| count - none));
        let verdict = if nanos > NANOS_MAX { "  TOO MUCH" } else { "" };
        println!("{:<32} {nanos:>8.1} ns more  {:>8} instructions more{verdict}", rule.0, shown(more));
    }
    let _ = std::fs::remove_dir_all(directory);
}

fn target(directory: &Path) -> String {
    let key = signed::key(&directory.join("key")).expect("a key");
    let url =
        signed::sign("http://www.example.com/video.mp4?id=7", &key, None, &SignedQuery::All, NOW_SECS + 60);
    url.expect("a URL").strip_prefix("http://www.example.com").expect("its host").to_owned()
}

fn shown(count: Option<f64>) -> String {
    count.map_or_else(|| "?".to_owned(), |count| format!("{count:.0}"))
}

/// User instructions a round, by callgrind: the difference of two runs. None without valgrind.
fn counted(directory: &Path, rule: usize) -> Option<f64> {
    let run = |rounds: u32| -> Option<f64> {
        let out = directory.join("callgrind");
        let status = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
            .arg(std::env::current_exe().ok()?)
            .args(["--counted", directory.to_str()?, &rule.to_string(), &rounds.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.ok().filter(std::process::ExitStatus::success)?;
        let text = std::fs::read_to_string(out).ok()?;
        let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
        totals.filter_map(|count| count.trim().parse().ok()).next_back()
    };
    Some((run(2 * COUNTED)? - run(COUNTED)?) / f64::from(COUNTED))
}

/// Nanoseconds for routing a request and asking the rules of its route.
fn rounds_of(directory: &Path, (_, access): (&str, &str), target: &str, rounds: u32) -> f64 {
    let text = format!(
        "[[listener]]\naddress = \":80\"\n[pool.main]\norigins = \"http://a\"\n[geo]\ndatabase = \"places.mmdb\"\n[[site]]\nhosts = \"*\"\n{access}"
    );
    // Where the client is has been looked up: once a connection.
    let around = Surroundings { no_database: |_| None, ..Surroundings::here(directory) };
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
    let country = Code::new("DE");
    let began = Instant::now();
    for nth in 0..rounds {
        // Clients that come again: within 192.0.2.0/25.
        let client = IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + nth % 128));
        let target = black_box(target.as_bytes());
        let route =
            table.route_parts(&Method::GET, Scheme::Http, b"www.example.com", target, &fields, client);
        let route = route.expect("a route");
        if let Some(guard) = route.guard {
            let asking = Asking {
                client,
                authority: route.authority(),
                fields: &fields,
                country,
                target,
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
    began.elapsed().as_nanos() as f64 / f64::from(rounds)
}
