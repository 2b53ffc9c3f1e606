//! What a purge costs, and what it costs the hits after it: the same whatever is stored.
//!
//!     cargo bench -p cache-store --bench purging [-- OBJECTS…]
//!
//! For each number of objects (1,000 and 1,000,000 of 200 bytes, in memory): the time of a purge of each scope that takes none of
//! them and of one that takes all, in the node's log in memory and in one on the disk under the working directory; then the time
//! of a hit before, of the first after a purge that does not take it, and of the next.

#![allow(clippy::print_stdout, clippy::disallowed_methods)] // a program that prints what it measured

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_store::coalesce::FillHead;
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::purge::{Purge, Resource, Scope, new_id};
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::disk::Disk;
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, Method, StatusCode};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const ROUNDS: usize = 200;

/// A page of one of a hundred hosts, with two tags.
struct Page {
    authority: String,
    target: String,
    key: CacheKey,
}

impl Page {
    fn new(store: &CacheStore, number: usize) -> Self {
        let authority = format!("host-{}.example", number % 100);
        let target = format!("/section-{}/{number}", number % 10);
        let key = store.keyer().primary("http", authority.as_bytes(), target.as_bytes(), None);
        Self { authority, target, key }
    }

    fn look(&self, store: &Arc<CacheStore>) -> Lookup {
        let target = Target { scheme: "http", authority: "", path: "" };
        let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
        let (authority, target) = (self.authority.as_bytes(), self.target.as_bytes());
        store.lookup(Resource { key: self.key, authority, target }, &request, &Policy::default(), NOW)
    }
}

fn store(disk: bool, pool: &tokio::runtime::Runtime, objects: usize) -> (Arc<CacheStore>, Vec<Page>) {
    let disk = disk.then(|| {
        Disk::open("target/bench-purging".as_ref(), 256 << 20, pool.handle().clone(), NOW)
            .expect("a place on the disk")
    });
    let settings = Settings {
        memory_bytes: 4 << 30,
        memory_admission: MemoryAdmission::default(),
        object_bytes_max: 1 << 20,
        secret: [7; 32],
    };
    let store = CacheStore::over(&settings, disk);
    let pages: Vec<_> = (0..objects).map(|number| Page::new(&store, number)).collect();
    for (number, page) in pages.iter().enumerate() {
        let Lookup::Miss(fill) = page.look(&store) else { panic!("nothing is there yet") };
        let head = FillHead {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            lines: Bytes::new(),
            freshness: Freshness::new(NOW, Duration::ZERO, 600, Windows::default(), Freshness::EXPLICIT),
            vary: VarySpec::default(),
        };
        let tags = ["all".to_owned(), format!("tag-{}", number % 1000)].map(String::into_boxed_str);
        let mut writing = fill.stream(head, None, Box::new(tags), None, 1 << 20);
        writing.write(&Bytes::from_static(&[b'x'; 200]));
        writing.finish();
    }
    (store, pages)
}

fn micros(run: impl FnOnce()) -> f64 {
    let began = std::time::Instant::now();
    run();
    began.elapsed().as_secs_f64() * 1e6
}

fn purge(store: &CacheStore, scope: Scope) -> f64 {
    let purge = Purge { id: new_id().expect("randomness"), at: NOW, soft: false, scopes: vec![scope] };
    micros(|| {
        black_box(store.purge(purge)).expect("the log can be written");
    })
}

fn quantile(times: &mut [f64], of: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() - 1) * of / 100]
}

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 1_000_000] } else { asked };
    let pool = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    println!("purge, microseconds: median (p99) of {ROUNDS}");
    for disk in [false, true] {
        for objects in &sizes {
            drop(std::fs::remove_dir_all("target/bench-purging"));
            let (store, pages) = store(disk, &pool, *objects);
            let place = if disk { "log on disk  " } else { "log in memory" };
            print!("{place} {objects:>9} objects:");
            let scopes: [(&str, fn(usize) -> Scope); 6] = [
                ("url", |at| Scope::Url {
                    url: format!("http://nobody.example/{at}").into(),
                    keys: [CacheKey::from_bits(at as u128)].into(),
                }),
                ("prefix", |at| Scope::Prefix {
                    authority: "host-1.example".into(),
                    path: format!("/nothing/{at}").into(),
                }),
                ("host", |at| Scope::Host(format!("nobody-{at}.example").into())),
                ("tag", |at| Scope::Tag(format!("nothing-{at}").into())),
                ("tag of all", |_| Scope::Tag("all".into())),
                ("everything", |_| Scope::Everything),
            ];
            for (name, scope) in scopes {
                let mut times: Vec<_> = (0..ROUNDS).map(|at| purge(&store, scope(at))).collect();
                print!("  {name} {:.0} ({:.0})", quantile(&mut times, 50), quantile(&mut times, 99));
            }
            println!();
            drop((store, pages));
        }
    }
    println!("hit, nanoseconds each, over 100,000 objects");
    for (claim, scopes) in [
        ("a tag nobody has", vec![Scope::Tag("nothing".into())]),
        (
            "a prefix of one host",
            vec![Scope::Prefix { authority: "host-1.example".into(), path: "/nothing".into() }],
        ),
        ("a host nobody has", vec![Scope::Host("nobody.example".into())]),
        (
            "all three",
            vec![
                Scope::Tag("nothing-2".into()),
                Scope::Prefix { authority: "host-1.example".into(), path: "/nothing-2".into() },
                Scope::Host("nobody-2.example".into()),
            ],
        ),
    ] {
        let (store, pages) = store(false, &pool, 100_000);
        let sweep = || {
            micros(|| {
                for page in &pages {
                    assert!(matches!(black_box(page.look(&store)), Lookup::Fresh(_)), "it stays");
                }
            }) * 1e3
                / pages.len() as f64
        };
        let (mut before, mut first, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..15 {
            before.push(sweep());
            for scope in &scopes {
                purge(&store, scope.clone());
            }
            first.push(sweep());
            next.push(sweep());
        }
        let [before, first, next] = [before, first, next].map(|mut times| quantile(&mut times, 50));
        println!(
            "  {claim:<22} before {before:.0}, first after {first:.0} (+{:.0}), next {next:.0}",
            first - before
        );
    }
    drop(std::fs::remove_dir_all("target/bench-purging"));
}
