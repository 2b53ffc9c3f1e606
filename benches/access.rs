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

use bytes::Bytes;
use geo::Code;
use http::Method;
use tidegate::config::ModSecurity;
use tidegate::config::access::SignedQuery;
use tidegate::config::check::{Surroundings, check};
use tidegate::listener::fields::Fields;
use tidegate::listener::request::{Protocol, Scheme};
use tidegate::route::RouteTable;
use tidegate::route::access::{Asking, Noted, Subject, no_modsecurity, signed};

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
    if let [flag, directory, access, target, rounds] = &arguments[..]
        && flag == "--counted"
    {
        rounds_of(Path::new(directory), access, target, rounds.parse().expect("a number"));
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
    for (name, access) in RULES {
        let (best, count) = measured(&directory, access, &target);
        if name == NONE {
            (none_nanos, none_count) = (best, count);
            println!("{NONE:<32} {best:>8.1} ns       {:>8} instructions", shown(count));
            continue;
        }
        let (nanos, more) = (best - none_nanos, count.zip(none_count).map(|(count, none)| count - none));
        let verdict = if nanos > NANOS_MAX { "  TOO MUCH" } else { "" };
        println!("{name:<32} {nanos:>8.1} ns more  {:>8} instructions more{verdict}", shown(more));
    }
    // Measured and told; what is looked into depends on what is sent.
    for (name, target) in queries() {
        let (none, none_count) = measured(&directory, "", &target);
        let (best, count) = measured(&directory, INSPECT, &target);
        let more = count.zip(none_count).map(|(count, none)| count - none);
        println!("inspect: {name:<23} {:>8.1} ns more  {:>8} instructions more", best - none, shown(more));
    }
    bodies(&directory);
    modsecurity(&directory);
    let _ = std::fs::remove_dir_all(directory);
}

/// What is asked for with `inspect`.
fn queries() -> [(&'static str, String); 6] {
    let filled = |with: &str| format!("/search?q={}", with.repeat(2040 / with.len()));
    [
        ("no query", "/index.html".to_owned()),
        ("1 word", "/index.html?v=20261126".to_owned()),
        ("3 parameters", "/search?q=high+tide&page=2&sort=date%20desc".to_owned()),
        ("2 KiB of a text", filled("the+tide+comes+in+twice,+and+asks;+")),
        ("2 KiB, worst for SQL", filled("'%2b''")),
        ("2 KiB, worst for markup", filled("<a+onx1+")),
    ]
}

/// Bodies, as they are looked into before an origin is asked; beyond 2 KiB the way to another thread and back is in it.
fn bodies(directory: &Path) {
    let table = table(directory, INSPECT);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let form =
        |bytes: usize| format!("comment={}", "the+tide+comes+in+twice,+and+asks;+".repeat(bytes / 35 + 1));
    let json = |bytes: usize| {
        let one = r#"{"name":"Ann","text":"the tide comes in twice, and asks","at":1793611200},"#;
        format!("[{}{{}}]", one.repeat(bytes / one.len() + 1))
    };
    for (name, kind, body) in [
        ("a form of 200 bytes", FORM, form(200)),
        ("a form of 2 KiB", FORM, form(2000)),
        ("a form of 64 KiB", FORM, form(65_500)),
        ("JSON of 1 KiB", "application/json", json(900)),
        ("JSON of 64 KiB", "application/json", json(65_400)),
        ("64 KiB, worst for markup", "text/plain", "<a onx1 ".repeat(8192)),
    ] {
        let nanos = rest(&table, &runtime, &asked("POST", "/form", Some(kind), &body), 2_000);
        println!("inspect: {name:<23} {:>8.1} µs more", nanos / 1000.0);
    }
}

/// The same by `ModSecurity`, where it and its rules are installed.
fn modsecurity(directory: &Path) {
    if let Some(why) = no_modsecurity(&ModSecurity::default()) {
        println!("modsecurity: not measured: {why}");
        return;
    }
    let began = Instant::now();
    let access = "access = { inspect = { mode = \"detect\", engines = [\"modsecurity\"] } }\n";
    let table = table_of(directory, access, "[modsecurity]\n");
    println!("modsecurity: loaded in {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let form = "name=Ann&comment=the+tide+comes+in+twice&page=2";
    for (name, subject) in [
        ("a plain GET", asked("GET", "/index.html", None, "")),
        (
            "a GET with 6 arguments",
            asked("GET", "/search?q=high+tide&page=2&sort=date&lang=en&from=a&to=b", None, ""),
        ),
        ("a form", asked("POST", "/form", Some(FORM), form)),
    ] {
        let nanos = rest(&table, &runtime, &subject, 300);
        println!("modsecurity: {name:<23} {:>8.1} µs", nanos / 1000.0);
    }
}

/// Nanoseconds to look into a request before an origin is asked.
fn rest(
    table: &RouteTable,
    runtime: &tokio::runtime::Runtime,
    subject: &dyn Fn() -> Subject,
    rounds: u32,
) -> f64 {
    let fields = Fields::default();
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let route = table.route_parts(&Method::GET, Scheme::Http, b"www.example.com", b"/", &fields, client);
    let inspector =
        route.expect("a route").guard.and_then(|guard| guard.inspector()).expect("it inspects").clone();
    let once = || {
        let subjects: Vec<_> = (0..rounds).map(|_| subject()).collect();
        let began = Instant::now();
        for subject in subjects {
            let noted = Noted::default();
            black_box(runtime.block_on(inspector.rest(subject, &[], &noted))).expect("it is only detected");
        }
        began.elapsed().as_nanos() as f64 / f64::from(rounds)
    };
    (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Makes such a request.
fn asked(
    method: &'static str,
    target: &'static str,
    kind: Option<&'static str>,
    body: &str,
) -> Box<dyn Fn() -> Subject> {
    let body = Bytes::from(body.to_owned());
    Box::new(move || Subject {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        target: Bytes::from_static(target.as_bytes()),
        protocol: Protocol::Http11,
        authority: None,
        fields: fields(kind),
        client: Some(([192, 0, 2, 7], 4711).into()),
        body: if body.is_empty() { Vec::new() } else { vec![body.clone()] },
        is_whole: true,
    })
}

const INSPECT: &str = "access = { inspect = \"detect\" }\n";
const FORM: &str = "application/x-www-form-urlencoded";
const HEAD: &str = "[[listener]]\naddress = \":80\"\n[pool.main]\norigins = \"http://a\"\n[geo]\ndatabase = \"places.mmdb\"\n";

/// Nanoseconds, the best of five, and instructions.
fn measured(directory: &Path, access: &str, target: &str) -> (f64, Option<f64>) {
    let best = (0..5).map(|_| rounds_of(directory, access, target, ROUNDS)).fold(f64::INFINITY, f64::min);
    (best, counted(directory, access, target))
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
fn counted(directory: &Path, access: &str, target: &str) -> Option<f64> {
    let run = |rounds: u32| -> Option<f64> {
        let out = directory.join("callgrind");
        let status = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
            .arg(std::env::current_exe().ok()?)
            .args(["--counted", directory.to_str()?, access, target, &rounds.to_string()])
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

fn table(directory: &Path, access: &str) -> RouteTable {
    table_of(directory, access, "")
}

fn table_of(directory: &Path, access: &str, more: &str) -> RouteTable {
    let text = format!("{HEAD}{more}[[site]]\nhosts = \"*\"\n{access}");
    // Where the client is has been looked up: once a connection.
    let around =
        Surroundings { no_database: |_| None, no_modsecurity: |_| None, ..Surroundings::here(directory) };
    let config = check("bench", &text, &around).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    RouteTable::new(&config.sites).expect("the files are there")
}

fn fields(kind: Option<&str>) -> Fields {
    let lines = [
        ("host", "www.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://www.example.com/page"),
        ("authorization", AUTHORIZATION),
    ];
    let lines = lines.into_iter().chain(kind.map(|kind| ("content-type", kind)));
    Fields::pack(lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

/// Nanoseconds for routing a request and asking the rules of its route.
fn rounds_of(directory: &Path, access: &str, target: &str, rounds: u32) -> f64 {
    let (table, fields) = (table(directory, access), fields(None));
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
