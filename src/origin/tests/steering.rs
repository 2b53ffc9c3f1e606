//! The choice among pools, as a function of who asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{By, Shares, Steer, Steering, Sticky};
use crate::listener::fields::Fields;
use crate::origin::steer::{Itinerary, Visitor, Why, itinerary, known_by};

fn weighted(shares: &[(&str, u32)], sticky: Option<Sticky>) -> (Arc<Shares>, Steer) {
    let shares = shares.iter().map(|(pool, share)| (Arc::from(*pool), *share)).collect();
    let shares = Arc::new(Shares::new(shares));
    let by = By::Weight { shares: Arc::clone(&shares), sticky };
    (shares, Steer::By(Arc::new(Steering { by, fallback: vec!["last".into()], split: false })))
}

fn route(steer: &Steer, address: IpAddr, turn: u64, away: &[&str]) -> Itinerary {
    let fields = Fields::pack(std::iter::empty());
    let visitor = Visitor { address, place: None, fields: &fields, mark: None };
    itinerary(steer, &visitor, turn, &|pool| !away.contains(&pool)).unwrap()
}

fn client(nth: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + nth * 7919).to_be_bytes())
}

fn names(itinerary: &Itinerary) -> Vec<&str> {
    [&itinerary.first].into_iter().chain(&itinerary.others).map(|pool| &**pool).collect()
}

#[test]
fn clients_are_shared_out_by_weight_and_a_pool_that_goes_gives_only_its_own_to_others() {
    let (_, steer) = weighted(&[("a", 60), ("b", 30), ("c", 10)], Some(Sticky::Client));
    let all: Vec<_> = (0..4000).map(|nth| route(&steer, client(nth), 0, &[])).collect();
    for (pool, due) in [("a", 2400_usize), ("b", 1200), ("c", 400)] {
        let got = all.iter().filter(|one| &*one.first == pool).count();
        assert!(got.abs_diff(due) < 120, "{pool}: {got} where {due} were due");
    }
    for (nth, before) in (0..4000).zip(&all) {
        let after = route(&steer, client(nth), 99, &["b"]);
        assert_ne!(&*after.first, "b");
        assert!(before.first == after.first || &*before.first == "b", "only who was there moves");
    }
}

#[test]
fn a_share_that_grows_moves_clients_only_to_it() {
    let (shares, steer) = weighted(&[("a", 60), ("b", 35), ("c", 5)], Some(Sticky::Client));
    let now = || -> Vec<Arc<str>> { (0..2000).map(|nth| route(&steer, client(nth), 0, &[]).first).collect() };
    let mut before = now();
    for share in [10, 40, 300, 100_000] {
        shares.set(&BTreeMap::from([("c".into(), share)])).unwrap();
        let after = now();
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || &**after == "c"));
        before = after;
    }
}

#[test]
fn a_network_of_ipv6_is_one_client_and_ipv4_is_itself_in_ipv6() {
    let (_, steer) = weighted(&[("a", 1), ("b", 1)], Some(Sticky::Client));
    let of = |address: &str| route(&steer, address.parse().unwrap(), 0, &[]).first;
    for nth in 0..64 {
        assert_eq!(of(&format!("2001:db8:0:{nth:x}::1")), of(&format!("2001:db8:0:{nth:x}:ffff::2")));
        assert_eq!(of(&format!("192.0.2.{nth}")), of(&format!("::ffff:192.0.2.{nth}")));
    }
}

#[test]
fn who_comes_next_is_told_and_nobody_twice() {
    let (shares, steer) = weighted(&[("a", 5), ("b", 90), ("c", 0), ("last", 5)], None);
    for turn in 0..200 {
        let one = route(&steer, client(1), turn, &[]);
        let mut all = names(&one);
        assert!(!all.contains(&"c"), "what has no share is not asked");
        all.sort_unstable();
        assert_eq!(all, ["a", "b", "last"]);
    }
    let one = route(&steer, client(1), 0, &["a", "b", "last"]);
    assert_eq!(one.others.len(), 2, "where nobody is well, all are tried");
    assert!(shares.set(&BTreeMap::from([("a".into(), 0), ("b".into(), 0), ("last".into(), 0)])).is_err());
    shares
        .set(&BTreeMap::from([("c".into(), 1), ("a".into(), 0), ("b".into(), 0), ("last".into(), 0)]))
        .unwrap();
    let one = route(&steer, client(1), 7, &[]);
    assert_eq!((names(&one), &one.why), (vec!["c", "last"], &Why::Share(1, 1)));
    // It is away: the fallback is asked, and it is told why.
    let one = route(&steer, client(1), 7, &["c"]);
    assert_eq!((names(&one), &one.passed_over), (vec!["last"], &vec![Arc::from("c")]));
}

#[test]
fn a_client_is_known_by_its_cookie_and_not_by_what_looks_like_it() {
    let long = format!("arm={}", "x".repeat(129));
    for (claim, line, expected) in [
        ("it is found among others", "a=b; arm=7; c=d", Some("7")),
        ("the first counts", "arm=7; arm=8", Some("7")),
        ("not within another's name", "xarm=7; armx=8", None),
        ("not within a value", "a=arm=7", None),
        ("an empty one is none", "arm=", None),
        ("one that was not given here is none", long.as_str(), None),
        ("names have case", "ARM=7", None),
        ("spaces do not count", "  arm = 7 ", Some("7")),
    ] {
        let fields = Fields::pack([(&b"cookie"[..], line.as_bytes())].into_iter());
        assert_eq!(known_by(&fields, "arm"), expected.map(str::as_bytes), "{claim}");
    }
}
