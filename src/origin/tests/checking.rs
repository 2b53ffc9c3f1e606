//! Active checks, and what follows from health: who is left out, how many, and what a new pool takes over.

use super::*;
use crate::config::{Health, HealthKind, Statuses};
use crate::origin::choose::{Load, Steering};

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn after(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

fn idle(_: usize) -> Load {
    Load { room: true, ..Load::NONE }
}

fn three(change: impl FnOnce(&mut PoolSettings)) -> Steering {
    let mut settings = settings(vec![at(1), at(2), at(3)]);
    change(&mut settings);
    Steering::new(&settings)
}

fn fail(steering: &Steering, index: usize, times: usize) {
    for _ in 0..times {
        steering.failed(index, NOW);
    }
}

/// Lets time go on until `reached`.
async fn until(clock: &Clock, reached: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if reached() {
            return;
        }
        clock.advance(Duration::from_millis(500));
        let turn = std::future::pending::<()>();
        let _ = tokio::time::timeout(Duration::from_millis(1), turn).await;
    }
    panic!("waited in vain");
}

fn stands(pools: &OriginPools) -> Vec<Stands> {
    pools.stats().iter().map(|origin| origin.stands).collect()
}

const UP: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok\n";

/// An origin that answers each check with the next of these, on a connection of its own.
async fn answering(answers: &[&str]) -> Scripted {
    Scripted::new(answers.iter().map(|answer| vec![Play::Read, write(answer)]).collect()).await
}

fn checked(origin: &Scripted, health: Health) -> (Arc<OriginPools>, Clock) {
    let clock = manual();
    let pools = pools(PoolSettings { health: Some(health), ..settings(vec![at(origin.port)]) }, &clock);
    pools.watch();
    (pools, clock)
}

#[tokio::test]
async fn an_origin_whose_checks_fail_in_a_row_is_left_out_until_they_succeed_in_a_row() {
    const BAD: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
    let origin = answering(&[BAD, BAD, UP, BAD, BAD, BAD, UP, BAD, UP, UP, UP]).await;
    let (pools, clock) = checked(&origin, Health { path: "/healthz?a".into(), ..Health::default() });
    until(&clock, || origin.seen().requests.len() >= 5).await;
    assert_eq!(stands(&pools), [Stands::Well], "two, and two, are not three");
    until(&clock, || stands(&pools) == [Stands::Down]).await;
    assert!(origin.seen().requests.len() >= 6);
    assert_eq!(pools.stats().first().unwrap().counts.failures, 0, "no request failed");
    until(&clock, || stands(&pools) == [Stands::Well]).await;
    assert!(origin.seen().requests.len() >= 10);
    let request = origin.seen().requests.first().unwrap().clone();
    assert!(request.starts_with("GET /healthz?a HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
}

#[tokio::test]
async fn a_check_looks_at_status_and_body_and_takes_no_longer_than_it_may() {
    let once = Health { unhealthy_after: 1, healthy_after: 1, ..Health::default() };
    let with_body = |body: &str| Health { body: Some(body.into()), ..once.clone() };
    for (claim, answer, health, expected) in [
        (
            "a redirect is not what was asked for",
            "HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n",
            once.clone(),
            false,
        ),
        (
            "unless it is",
            "HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n",
            Health { status: Statuses(vec![200..=299, 302..=302]), ..once.clone() },
            true,
        ),
        ("the text may stand anywhere", UP, with_body("ok"), true),
        ("and must", UP, with_body("fine"), false),
        (
            "also in chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            with_body("ok"),
            true,
        ),
        ("and up to the end of the connection", "HTTP/1.1 200 OK\r\n\r\nok", with_body("no"), false),
        ("nonsense is no answer", "200 OK\r\n\r\n", once.clone(), false),
    ] {
        let plays = vec![vec![Play::Read, write(answer), Play::Close]; 50];
        let origin = Scripted::new(plays).await;
        let (pools, clock) = checked(&origin, health);
        // At the next one, what the last said is known.
        until(&clock, || origin.seen().connections >= 3).await;
        assert_eq!(stands(&pools), [if expected { Stands::Well } else { Stands::Down }], "{claim}");
    }
    let silent = Scripted::new(vec![vec![Play::Read, Play::Wait(Arc::default())]; 50]).await;
    let (pools, clock) = checked(&silent, once);
    until(&clock, || stands(&pools) == [Stands::Down]).await;
}

#[tokio::test]
async fn a_check_may_only_connect() {
    let origin = Scripted::new(vec![vec![Play::Close]; 50]).await;
    let tcp = Health { kind: HealthKind::Tcp, unhealthy_after: 1, healthy_after: 1, ..Health::default() };
    let (pools, clock) = checked(&origin, tcp.clone());
    until(&clock, || origin.seen().connections >= 3).await;
    assert_eq!((stands(&pools), origin.seen().requests.len()), (vec![Stands::Well], 0));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let clock = manual();
    let pools = pools_of(closed, tcp, &clock);
    pools.watch();
    until(&clock, || stands(&pools) == [Stands::Down]).await;
}

fn pools_of(port: u16, health: Health, clock: &Clock) -> Arc<OriginPools> {
    pools(PoolSettings { health: Some(health), ..settings(vec![at(port)]) }, clock)
}

#[tokio::test]
async fn checks_end_with_their_pools() {
    let origin = Scripted::new(vec![vec![Play::Read, write(UP)]; 50]).await;
    let (pools, clock) = checked(&origin, Health::default());
    until(&clock, || origin.seen().requests.len() >= 2).await;
    drop(pools);
    // One that is under way ends; after it none begins.
    for _ in 0..40 {
        clock.advance(Duration::from_secs(1));
        let turn = std::future::pending::<()>();
        let _ = tokio::time::timeout(Duration::from_millis(1), turn).await;
    }
    assert!(origin.seen().requests.len() <= 3, "{}", origin.seen().requests.len());
}

/// A worker that has had no request since a reload still holds the pools from before.
#[tokio::test]
async fn checks_end_with_the_settings_of_their_pools() {
    let origin = Scripted::new(vec![vec![Play::Read, write(UP)]; 50]).await;
    let (old, clock) = checked(&origin, Health::default());
    until(&clock, || origin.seen().requests.len() >= 2).await;
    let same = BTreeMap::from([("p".into(), old.pools.get("p").unwrap().settings.clone())]);
    let renewed = old.renewed(&same, &clock).unwrap();
    old.retire(&renewed.pools);
    let seen = origin.seen().requests.len();
    until(&clock, || origin.seen().requests.len() >= seen + 2).await;
    old.retire(&old.renewed(&BTreeMap::new(), &clock).unwrap().pools);
    let seen = origin.seen().requests.len();
    for _ in 0..40 {
        clock.advance(Duration::from_secs(1));
        let turn = std::future::pending::<()>();
        let _ = tokio::time::timeout(Duration::from_millis(1), turn).await;
    }
    assert!(origin.seen().requests.len() <= seen + 1, "{} after {seen}", origin.seen().requests.len());
}

#[test]
fn an_origin_whose_checks_fail_is_asked_only_when_all_are_down() {
    let three = three(|pool| pool.health = Some(Health { unhealthy_after: 1, ..Health::default() }));
    assert!(three.checked(0, NOW, false));
    assert!(!three.checked(0, NOW, false), "it is known");
    assert!((0..6).all(|_| three.choose(NOW, &[], None, idle) != Some(0)));
    three.checked(1, NOW, false);
    three.checked(2, NOW, false);
    assert!(!three.available(NOW));
    assert!((0..6).any(|_| three.choose(NOW, &[], None, idle) == Some(0)), "panic");
    assert!(!three.checked(0, NOW, true), "one of two");
    assert!(three.checked(0, NOW, true));
    assert!((0..6).all(|_| three.choose(NOW, &[], None, idle) == Some(0)));
}

#[test]
fn checks_that_succeed_bring_the_trial_forward_and_no_more() {
    let two = three(|pool| pool.health = Some(Health::default()));
    fail(&two, 0, 3);
    assert_eq!(two.standing(0, NOW), Stands::Ejected);
    two.checked(0, after(1), true);
    assert_eq!(two.standing(0, after(1)), Stands::Ejected);
    two.checked(0, after(2), true);
    assert_eq!(two.standing(0, after(2)), Stands::OnTrial);
    let asked = (0..9).filter(|_| two.choose(after(2), &[], None, idle) == Some(0)).count();
    assert_eq!(asked, 1, "one request finds out");
    assert!(two.failed(0, after(2)));
    assert_eq!(two.standing(0, after(2)), Stands::Ejected);
}

#[test]
fn no_more_of_a_pool_is_left_out_for_failures_than_may_be() {
    for (percent, expected) in [(0, 0), (10, 1), (34, 1), (67, 2), (100, 3)] {
        let three = three(|pool| pool.eject_max_percent = percent);
        for index in 0..3 {
            fail(&three, index, 20);
        }
        let out = (0..3).filter(|index| three.standing(*index, NOW) == Stands::Ejected).count();
        assert_eq!(out, expected, "{percent} %");
    }
}

#[test]
fn an_origin_that_fails_every_other_request_is_left_out_and_one_that_seldom_fails_is_not() {
    for (every, expected) in [(2, true), (3, false), (10, false)] {
        let three = three(|pool| (pool.eject_after, pool.eject_failure_percent) = (u32::MAX, 50));
        for nth in 0..100 {
            if nth % every == 0 {
                three.failed(0, NOW);
            } else {
                three.succeeded(0, NOW);
            }
        }
        assert_eq!(three.standing(0, NOW) == Stands::Ejected, expected, "one of {every}");
    }
    let three = three(|pool| (pool.eject_after, pool.eject_failure_percent) = (u32::MAX, 50));
    fail(&three, 0, 20);
    three.succeeded(0, after(1));
    assert_eq!(three.standing(0, after(1)), Stands::Ejected, "what was under way says little");
    while three.choose(after(11), &[], None, idle) != Some(0) {}
    three.succeeded(0, after(11));
    assert_eq!(three.standing(0, after(11)), Stands::Well, "its trial does");
}

#[test]
fn failures_long_ago_do_not_count() {
    let three = three(|pool| (pool.eject_after, pool.eject_failure_percent) = (u32::MAX, 50));
    for nth in 0..100 {
        three.failed(0, after(nth * 5));
    }
    assert_eq!(three.standing(0, after(500)), Stands::Well, "never twenty in ten seconds");
}

#[tokio::test]
async fn a_new_pool_takes_over_what_was_known_of_the_same_origins() {
    let clock = manual();
    let old = pools(settings(vec![at(1), at(2), at(3)]), &clock);
    let failing = old.pools.get("p").unwrap();
    (0..3).for_each(|_| failing.failed(0, OriginError::Reset));
    assert!(old.drain("p", "127.0.0.1:3", true).is_some());
    let new = pools(settings(vec![at(3), at(4), at(1)]), &clock);
    new.adopt(&old);
    assert_eq!(stands(&new), [Stands::Drained, Stands::Well, Stands::Ejected]);
}
