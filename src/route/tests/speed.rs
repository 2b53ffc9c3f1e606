//! What routing a request in normal form costs; printed, not judged: machines differ.

use std::hint::black_box;

use bytes::Bytes;
use http::Method;

use super::super::RouteTable;
use super::{CLIENT, HostPattern, fields, policy, site};
use crate::clock::Clock;
use crate::listener::request::Scheme;

#[test]
fn a_request_in_normal_form_is_routed_and_its_cost_is_printed() {
    const ROUNDS: u32 = 100_000;
    let sites: Vec<_> = (0..100)
        .map(|n| site(&[HostPattern::Exact(format!("www{n}.example.com").into())], policy(), vec![]))
        .collect();
    let table = RouteTable::new(&sites).expect("no files to read");
    // Shared already, as a listener's buffer is.
    let (authority, target) = (
        Bytes::from_static(b"www42.example.com"),
        Bytes::from_static(b"/news/2026/11/a-long-title.html?page=2"),
    );
    let fields = fields(&[("host", "www42.example.com"), ("connection", "keep-alive"), ("accept", "*/*")]);
    let clock = Clock::system();
    let started = clock.micros();
    let mut routed = 0_u32;
    for _ in 0..ROUNDS {
        let route = table.route_parts(
            &Method::GET,
            Scheme::Http,
            black_box(&authority),
            black_box(&target),
            &fields,
            CLIENT,
        );
        routed += u32::from(black_box(route).is_ok_and(|route| route.site == 42));
    }
    let micros = clock.micros() - started;
    println!("route: {} ns a request", micros * 1000 / u64::from(ROUNDS));
    assert_eq!(routed, ROUNDS);
}
