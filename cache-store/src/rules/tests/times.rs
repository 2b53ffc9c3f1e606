//! Lifetime, age and the windows after it.

use std::time::Duration;

use super::super::freshness::{Freshness, Lifetime, Windows};
use super::super::policy::{Heuristic, Policy};
use super::{Exchange, Lines, NOW, Ttl, date, fields, later};

#[test]
fn a_lifetime_is_the_first_that_is_named() {
    let (past, soon, late) = (date(-7200), date(300), date(3600));
    let rows: &[(&str, Lines<'_>, Ttl)] = &[
        ("max-age", &[("cache-control", "max-age=60")], Ok(60)),
        ("s-maxage beats a longer max-age", &[("cache-control", "max-age=60, s-maxage=5")], Ok(5)),
        ("s-maxage beats a shorter max-age", &[("cache-control", "s-maxage=60, max-age=0")], Ok(60)),
        ("max-age beats a past Expires", &[("cache-control", "max-age=60"), ("expires", &past)], Ok(60)),
        ("max-age beats an unreadable Expires", &[("cache-control", "max-age=60"), ("expires", "0")], Ok(60)),
        ("Expires counts from Date", &[("expires", &late), ("date", &soon)], Ok(3300)),
        ("Expires counts from now without Date", &[("expires", &late)], Ok(3600)),
        ("Expires counts from now with an unreadable Date", &[("expires", &late), ("date", "foo")], Ok(3600)),
        ("Expires before Date, both ahead", &[("expires", &soon), ("date", &late), ("etag", "x")], Ok(0)),
        ("Expires now", &[("expires", &date(0)), ("date", &date(0)), ("etag", "x")], Ok(0)),
        ("Expires unreadable", &[("expires", "0"), ("etag", "x")], Ok(0)),
        ("Expires twice, differing", &[("expires", &late), ("expires", &soon), ("etag", "x")], Ok(0)),
        ("Expires twice alike", &[("expires", &late), ("expires", &late)], Ok(3600)),
        (
            "a contradiction is no lifetime",
            &[("cache-control", "max-age=60, max-age=61"), ("etag", "x")],
            Ok(0),
        ),
        ("a longer one than is kept", &[("cache-control", "max-age=2147483649")], Ok(30 * 86_400)),
        (
            "a targeted field silences Expires",
            &[("expires", &late), ("cdn-cache-control", "foo"), ("etag", "x")],
            Ok(0),
        ),
        ("nothing named, nothing to confirm it by", &[], Err("no-freshness")),
        (
            "stale on arrival, nothing to confirm it by",
            &[("cache-control", "max-age=0")],
            Err("stale-on-arrival"),
        ),
    ];
    for (claim, lines, ttl) in rows {
        assert_eq!(Exchange::new(lines).ttl(), *ttl, "{claim}");
    }
}

#[test]
fn a_response_is_as_old_as_its_oldest_witness_says() {
    let (past, ahead) = (date(-50), date(50));
    let rows: &[(&str, Lines<'_>, u64, u32)] = &[
        ("no witness", &[], 0, 0),
        ("Age", &[("age", "30")], 0, 30),
        ("Age and the time it took", &[("age", "30")], 2500, 32),
        ("the time it took", &[], 2500, 2),
        ("Date", &[("date", &past)], 0, 50),
        ("Date and a smaller Age", &[("date", &past), ("age", "30")], 0, 50),
        ("Date and a larger Age", &[("date", &past), ("age", "70")], 0, 70),
        ("a Date ahead of us", &[("date", &ahead)], 0, 0),
        ("an unreadable Date", &[("date", "foo")], 0, 0),
        ("the first of a list", &[("age", "0,7200")], 0, 0),
        ("a letter", &[("age", "abc")], 0, 1 << 31),
        ("a minus", &[("age", "-7200")], 0, 1 << 31),
        ("a point", &[("age", "7200.0")], 0, 1 << 31),
        ("a parameter", &[("age", "7200;foo=111")], 0, 1 << 31),
        ("two lines", &[("age", "0"), ("age", "7200")], 0, 1 << 31),
        ("two lines alike", &[("age", "0"), ("age", "0")], 0, 1 << 31),
        ("two lines that someone joined", &[("age", "0, 0")], 0, 1 << 31),
        ("more than any integer", &[("age", "18446744073709551616")], 1000, 1 << 31),
    ];
    for (claim, lines, took, age) in rows {
        let mut lines = lines.to_vec();
        lines.extend([("cache-control", "max-age=10"), ("etag", "\"x\"")]);
        let freshness = Exchange::new(&lines).took_millis(*took).freshness();
        assert_eq!(freshness.age(NOW), *age, "{claim}");
    }
}

#[test]
fn a_lifetime_is_guessed_from_the_last_change_within_a_cap() {
    let heuristic = Heuristic { percent: 10, cap: Duration::from_hours(24) };
    let rows: &[(&str, i64, Lifetime)] = &[
        ("a tenth of an hour", -3600, Lifetime::Guessed(360)),
        ("a tenth of a year is a day", -365 * 86_400, Lifetime::Guessed(86_400)),
        ("a change just now tells nothing", -9, Lifetime::Unknown),
        ("a change to come tells nothing", 3600, Lifetime::Unknown),
    ];
    for (claim, modified, expected) in rows {
        let head = fields(&[("last-modified", &date(*modified)), ("date", &date(0))]);
        assert_eq!(Lifetime::guessed(&head, heuristic, NOW), *expected, "{claim}");
    }
    assert_eq!(Lifetime::guessed(&fields(&[]), heuristic, NOW), Lifetime::Unknown);
    let over = Heuristic { percent: 255, ..heuristic };
    let head = fields(&[("last-modified", &date(-3600))]);
    assert_eq!(Lifetime::guessed(&head, over, NOW), Lifetime::Guessed(3600), "more than all is all");
}

#[test]
fn a_response_is_fresh_to_the_last_millisecond_of_its_lifetime() {
    let freshness = Exchange::new(&[("cache-control", "max-age=60"), ("age", "20")]).freshness();
    let end = later(40);
    assert_eq!(freshness.fresh_until(), end);
    assert!(freshness.is_fresh(end.minus(Duration::from_millis(1))));
    assert!(!freshness.is_fresh(end));
    assert_eq!((freshness.ttl(NOW), freshness.ttl(end), freshness.ttl(later(100))), (40, 0, -60));
    assert_eq!((freshness.age(later(1)), freshness.age(NOW.minus(Duration::from_secs(9)))), (21, 20));
    let stale = Exchange::new(&[("cache-control", "max-age=60"), ("age", "80"), ("etag", "x")]).freshness();
    assert_eq!(stale.fresh_until(), NOW.minus(Duration::from_secs(20)));
}

#[test]
fn nothing_overflows_at_the_ends_of_time() {
    use crate::timestamp::Timestamp;
    let ends = [Timestamp::from_millis(0), NOW, Timestamp::from_millis(u64::MAX)];
    for received in ends {
        for now in ends {
            let windows = Windows { while_revalidate_secs: u32::MAX, if_error_secs: u32::MAX };
            let freshness = Freshness::new(received, Duration::MAX, u32::MAX, windows, 0);
            assert_eq!(freshness.age(now), 1 << 31);
            assert!(!freshness.is_fresh(now) && freshness.ttl(now) == 0);
        }
    }
}

#[test]
fn a_freshness_is_read_back_as_written() {
    let lines = [("cache-control", "s-maxage=60, stale-while-revalidate=5, stale-if-error=7"), ("age", "3")];
    let freshness = Exchange::new(&lines).took_millis(1234).freshness();
    let (received, initial_age) = (freshness.received(), freshness.initial_age());
    let lifetime = freshness.lifetime_secs();
    assert_eq!(initial_age, Duration::from_millis(4234));
    assert!(freshness.explicit() && freshness.must_revalidate() && !freshness.immutable());
    assert_eq!(
        Freshness::new(received, initial_age, lifetime, freshness.windows(), freshness.flags()),
        freshness
    );
}

#[test]
fn the_numbers_kept_beside_an_object_are_few() {
    assert!(std::mem::size_of::<Freshness>() <= 32);
}

#[test]
fn a_policy_sets_lifetimes_where_the_origin_is_silent_or_overruled() {
    let silent: Lines<'_> = &[];
    let said: Lines<'_> = &[("cache-control", "max-age=5")];
    let default = Policy { default_ttl: Some(Duration::from_secs(70)), ..Policy::default() };
    let override_ttl = Policy { ttl_override: Some(Duration::from_secs(80)), ..Policy::default() };
    let rows: &[(&str, Lines<'_>, &Policy, u16, Ttl)] = &[
        ("a default for the silent", silent, &default, 200, Ok(70)),
        ("no default for one who speaks", said, &default, 200, Ok(5)),
        ("no default for what is not cacheable by itself", silent, &default, 201, Err("no-freshness")),
        ("no default for errors", silent, &default, 404, Err("no-freshness")),
        (
            "no default against Pragma: no-cache",
            &[("pragma", "no-cache")],
            &default,
            200,
            Err("no-freshness"),
        ),
        ("an override beats what is said", said, &override_ttl, 200, Ok(80)),
        ("an override is no licence", &[("cache-control", "private")], &override_ttl, 200, Err("private")),
        (
            "an override is not for errors",
            &[("cache-control", "max-age=5")],
            &override_ttl,
            500,
            Err("error"),
        ),
    ];
    for (claim, lines, policy, status, ttl) in rows {
        let exchange = Exchange::new(lines).status(*status).policy((*policy).clone());
        assert_eq!(exchange.ttl(), *ttl, "{claim}");
    }
}
