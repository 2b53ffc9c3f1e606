//! What each `balance` promises: shares by weight, keys that stay, slow origins that are spared.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::*;
use crate::config::Balance;
use crate::origin::choose::{Key, Load, Steering, key_of_client, key_of_resource};

const REQUESTS: u32 = 100_000;
const NOW: Timestamp = Timestamp::from_secs(1_000);
const WEIGHTS: [u32; 3] = [5, 3, 2];

/// A pool under load: requests begin one after the other, and so many are under way at once.
struct Pool {
    steering: Steering,
    active: Vec<usize>,
    chosen: Vec<u32>,
}

fn steering(balance: Balance, origins: Vec<Origin>, slow_start: Duration) -> Steering {
    Steering::new(&PoolSettings { balance, slow_start, ..settings(origins) })
}

fn named(nth: usize, weight: u32) -> Origin {
    Origin { name: format!("http://10.0.0.{nth}:3000").into(), weight, ..at(1) }
}

impl Pool {
    fn new(balance: Balance, weights: &[u32]) -> Self {
        let origins = weights.iter().enumerate().map(|(nth, weight)| named(nth, *weight)).collect();
        let count = weights.len();
        Self {
            steering: steering(balance, origins, Duration::ZERO),
            active: vec![0; count],
            chosen: vec![0; count],
        }
    }

    fn begin(&mut self, now: Timestamp, key: Option<Key>) -> usize {
        let active = &self.active;
        let load = |index: usize| Load {
            active: *active.get(index).unwrap(),
            unheard: 0,
            room: true,
            heard_at: now,
        };
        let index = self.steering.choose(now, &[], key, load).unwrap();
        *self.active.get_mut(index).unwrap() += 1;
        *self.chosen.get_mut(index).unwrap() += 1;
        index
    }

    fn end(&mut self, index: usize, now: Timestamp, micros: u64) {
        *self.active.get_mut(index).unwrap() -= 1;
        self.steering.answered(index, now, micros);
        self.steering.succeeded(index, now);
    }
}

/// How far each share is from its due, in hundredths of the due.
fn errors_percent(chosen: &[u32], weights: &[u32]) -> Vec<f64> {
    let (all, total) = (f64::from(chosen.iter().sum::<u32>()), f64::from(weights.iter().sum::<u32>()));
    chosen
        .iter()
        .zip(weights)
        .map(|(count, weight)| {
            let due = all * f64::from(*weight) / total;
            100.0 * (f64::from(*count) - due).abs() / due
        })
        .collect()
}

#[test]
fn a_hundred_thousand_requests_are_within_a_percent_of_the_weights() {
    for balance in [Balance::Weighted, Balance::RoundRobin, Balance::LeastConnections, Balance::Ewma] {
        let due = if balance == Balance::RoundRobin { [1; 3] } else { WEIGHTS };
        for under_way in [1, 10, 100] {
            let mut pool = Pool::new(balance, &WEIGHTS);
            let mut open = VecDeque::new();
            for nth in 0..REQUESTS {
                if open.len() == under_way {
                    let index = open.pop_front().unwrap();
                    // All alike, but for the noise of a network.
                    pool.end(index, NOW, 20_000 + u64::from(nth * 7 % 11) * 100);
                }
                open.push_back(pool.begin(NOW, None));
            }
            let errors = errors_percent(&pool.chosen, &due);
            assert!(
                errors.iter().all(|error| *error <= 1.0),
                "{balance:?}, {under_way} under way: {:?} are off by {errors:?} %",
                pool.chosen
            );
        }
    }
}

/// Keys are drawn, so their shares are too: within a hundredth of all requests.
#[test]
fn a_hundred_thousand_keys_are_within_a_percent_of_the_weights() {
    for balance in [Balance::ClientHash, Balance::UriHash] {
        let mut pool = Pool::new(balance, &WEIGHTS);
        for nth in 0..REQUESTS {
            let index = pool.begin(NOW, Some(key(balance, nth)));
            pool.end(index, NOW, 20_000);
        }
        for (count, weight) in pool.chosen.iter().zip(WEIGHTS) {
            let off = f64::from(*count) / f64::from(REQUESTS) - f64::from(weight) / 10.0;
            assert!(off.abs() <= 0.01, "{balance:?}: {:?}", pool.chosen);
        }
    }
}

fn key(balance: Balance, nth: u32) -> Key {
    match balance {
        Balance::ClientHash => key_of_client(IpAddr::V4((0x0A00_0000 + nth).into())),
        _ => key_of_resource(b"www.example.com", format!("/article/{nth}").as_bytes()),
    }
}

/// FAULTS B32.
#[test]
fn where_an_origin_goes_only_its_keys_move() {
    for balance in [Balance::ClientHash, Balance::UriHash] {
        for count in 2..9_usize {
            let origins: Vec<_> = (0..count).map(|nth| named(nth, 1)).collect();
            let whole = steering(balance, origins, Duration::ZERO);
            let less = steering(balance, (1..count).map(|nth| named(nth, 1)).collect(), Duration::ZERO);
            let idle = |_| Load { room: true, ..Load::NONE };
            let mut moved = 0;
            for nth in 0..10_000 {
                let key = Some(key(balance, nth));
                let before = whole.choose(NOW, &[], key, idle).unwrap();
                let after = less.choose(NOW, &[], key, idle).unwrap() + 1;
                assert!(before == after || before == 0, "the key of an origin that stayed moved");
                moved += u32::from(before != after);
            }
            let share = f64::from(moved) / 10_000.0;
            assert!(share <= 1.0 / f64::from(u32::try_from(count).unwrap()) + 0.05, "{share} of {count}");
        }
    }
}

#[test]
fn a_hot_url_does_not_take_more_than_a_share_and_a_quarter_and_a_few() {
    let mut pool = Pool::new(Balance::UriHash, &[1, 1, 1, 1]);
    let hot = Some(key_of_resource(b"www.example.com", b"/hot"));
    for _ in 0..400 {
        pool.begin(NOW, hot);
    }
    let most = pool.chosen.iter().max().unwrap();
    assert!((100..=100 + 25 + 5).contains(most), "{:?}", pool.chosen);
    let mut sticks = Pool::new(Balance::ClientHash, &[1, 1, 1, 1]);
    for _ in 0..400 {
        sticks.begin(NOW, hot);
    }
    assert_eq!(sticks.chosen.iter().max(), Some(&400), "a client stays where it is");
}

#[test]
fn a_client_is_known_by_its_network() {
    let key = |text: &str| key_of_client(text.parse().unwrap());
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn an_origin_that_is_ten_times_slower_gets_less_than_a_fifth_of_its_share() {
    // Each origin takes what it takes; 30 clients ask again as soon as they have their answer.
    const TOOK_MILLIS: [u64; 3] = [20, 20, 200];
    let mut pool = Pool::new(Balance::Ewma, &[1, 1, 1]);
    let mut ends = std::collections::BinaryHeap::new();
    let mut now = NOW;
    for _ in 0..30 {
        let index = pool.begin(now, None);
        ends.push(std::cmp::Reverse((now.as_millis() + TOOK_MILLIS[index], index)));
    }
    for _ in 0..REQUESTS {
        let std::cmp::Reverse((at, index)) = ends.pop().unwrap();
        now = Timestamp::from_millis(at);
        pool.end(index, now, TOOK_MILLIS[index] * 1000);
        let index = pool.begin(now, None);
        ends.push(std::cmp::Reverse((at + TOOK_MILLIS[index], index)));
    }
    let slow = f64::from(pool.chosen[2]) / (f64::from(REQUESTS) / 3.0);
    assert!(slow < 0.2, "{slow} of a fair share, {:?}", pool.chosen);
    assert!(pool.chosen[2] > 10, "nobody would see it recover: {:?}", pool.chosen);
}

#[test]
fn the_least_busy_is_asked() {
    let two = steering(Balance::LeastConnections, vec![named(0, 1), named(1, 4)], Duration::ZERO);
    let choose = |first, second| {
        two.choose(NOW, &[], None, |index| Load {
            active: if index == 0 { first } else { second },
            room: true,
            ..Load::NONE
        })
    };
    assert_eq!(choose(1, 2), Some(1), "two of four are less than one of one");
    assert_eq!(choose(1, 5), Some(0));
    assert_eq!(choose(0, 1), Some(0));
}

#[test]
fn an_origin_that_is_back_gets_its_share_little_by_little() {
    let pool = settings(vec![named(0, 1), named(1, 1)]);
    let slow_start = Duration::from_secs(100);
    let two = Steering::new(&PoolSettings { slow_start, ..pool });
    two.drain(0, true, NOW);
    two.drain(0, false, NOW);
    let mut last = 0;
    for (secs, least, most) in [(0, 8, 10), (50, 31, 35), (99, 48, 50), (100, 50, 50), (1000, 50, 50)] {
        let now = NOW.plus(Duration::from_secs(secs));
        let chosen = (0..100)
            .filter(|_| two.choose(now, &[], None, |_| Load { room: true, ..Load::NONE }) == Some(0))
            .count();
        assert!((least..=most).contains(&chosen), "{chosen} of 100 after {secs} s");
        assert!(chosen >= last);
        last = chosen;
    }
}

#[test]
fn an_origin_that_says_nothing_is_passed_over_while_another_talks() {
    let two = steering(Balance::Weighted, vec![named(0, 1), named(1, 1)], Duration::ZERO);
    let choose = |now: Timestamp, silent: usize| {
        two.choose(now, &[], None, |index| Load {
            active: 1,
            unheard: 1,
            room: true,
            heard_at: if index < silent { Timestamp::from_secs(0) } else { now },
        })
    };
    let at = |millis| NOW.plus(Duration::from_millis(millis));
    assert_eq!((choose(at(0), 1), choose(at(0), 1)), (Some(0), Some(1)));
    assert_eq!((choose(at(999), 1), choose(at(999), 1)), (Some(0), Some(1)), "it may only be slow");
    assert!((0..10).all(|_| choose(at(1000), 1) == Some(1)));
    assert!((0..10).any(|_| choose(at(2000), 2) == Some(0)), "all are silent: all are asked");
    assert!((0..10).any(|_| choose(at(3000), 0) == Some(0)), "it spoke");
}
