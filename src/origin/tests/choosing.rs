//! Weights, backups, ejection, panic, and going elsewhere.

use super::*;
use crate::config::Steer;
use crate::listener::fields::Fields;
use crate::origin::choose::{Load, Steering};

/// Weighted origins; a weight of 0 stands for a backup.
fn steering(weights: &[u32]) -> Steering {
    let origins = weights
        .iter()
        .map(|weight| Origin { weight: (*weight).max(1), backup: *weight == 0, ..at(1) })
        .collect();
    Steering::new(&settings(origins))
}

/// An idle origin with room.
const IDLE: Load = Load { active: 0, unheard: 0, room: true, heard_at: Timestamp::from_secs(0) };

fn idle(_: usize) -> Load {
    IDLE
}

fn shares(steering: &Steering, now: Timestamp, picks: usize, origins: usize) -> Vec<usize> {
    let mut shares = vec![0; origins];
    for _ in 0..picks {
        let index = steering.choose(now, &[], None, idle).unwrap();
        *shares.get_mut(index).unwrap() += 1;
    }
    shares
}

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn after(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

#[test]
fn weights_are_honoured_exactly_over_one_round_and_spread_smoothly() {
    let five = steering(&[5, 1, 1]);
    let order: Vec<_> = (0..7).map(|_| five.choose(NOW, &[], None, idle).unwrap()).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(shares(&steering(&[3, 1]), NOW, 400, 2), [300, 100]);
}

#[test]
fn a_backup_is_chosen_only_while_no_other_is_available() {
    let one = steering(&[1, 0]);
    assert_eq!(shares(&one, NOW, 10, 2), [10, 0]);
    for _ in 0..3 {
        one.failed(0, NOW);
    }
    assert_eq!(shares(&one, after(9), 10, 2), [0, 10]);
    assert_eq!(one.choose(after(10), &[], None, idle), Some(0), "its trial");
    one.succeeded(0, NOW);
    assert_eq!(shares(&one, after(10), 10, 2), [10, 0]);
}

#[test]
fn an_ejection_lasts_twice_as_long_each_time_up_to_ten_times() {
    let two = steering(&[1, 1]);
    assert!(!two.failed(0, NOW));
    assert!(!two.failed(0, NOW));
    assert!(two.failed(0, NOW), "the third in a row");
    let mut now = NOW;
    for secs in [10, 20, 40, 80, 100, 100] {
        let just_before = now.plus(Duration::from_millis(secs * 1000 - 1));
        assert_eq!(shares(&two, just_before, 4, 2), [0, 4], "{secs}");
        now = now.plus(Duration::from_secs(secs));
        let chosen = shares(&two, now, 4, 2);
        assert_eq!(chosen, [1, 3], "one request on trial after {secs}");
        assert!(two.failed(0, now));
    }
    two.succeeded(0, now);
    assert_eq!(shares(&two, now, 4, 2), [2, 2]);
}

#[test]
fn a_success_in_between_starts_the_count_anew() {
    let one = steering(&[1, 1]);
    for _ in 0..10 {
        assert!(!one.failed(0, NOW));
        assert!(!one.failed(0, NOW));
        one.succeeded(0, NOW);
    }
    assert_eq!(shares(&one, NOW, 4, 2), [2, 2]);
}

#[test]
fn failures_while_ejected_do_not_lengthen_the_ejection() {
    let two = steering(&[1, 1]);
    for _ in 0..20 {
        two.failed(0, NOW);
    }
    assert_eq!(shares(&two, after(10), 4, 2), [1, 3]);
}

#[test]
fn when_all_are_ejected_all_are_tried_backups_last() {
    let all = steering(&[1, 1, 0]);
    for index in 0..3 {
        for _ in 0..3 {
            all.failed(index, NOW);
        }
    }
    assert_eq!(shares(&all, NOW, 4, 3), [2, 2, 0]);
    assert_eq!(all.choose(NOW, &[0, 1], None, idle), Some(2));
    assert_eq!(all.choose(NOW, &[0, 1, 2], None, idle), None);
    assert!(!all.available(NOW));
}

#[test]
fn an_origin_without_room_is_passed_over_while_another_has_some() {
    let two = steering(&[9, 1]);
    assert_eq!(two.choose(NOW, &[], None, |index| Load { room: index == 1, ..IDLE }), Some(1));
    assert_eq!(
        two.choose(NOW, &[], None, |_| Load { room: false, ..IDLE }),
        Some(0),
        "none has room: by weight"
    );
}

#[test]
fn a_drained_origin_is_never_chosen_not_even_in_panic() {
    let three = steering(&[1, 1, 0]);
    three.drain(0, true, NOW);
    assert_eq!(shares(&three, NOW, 4, 3), [0, 4, 0]);
    three.drain(1, true, NOW);
    assert_eq!(shares(&three, NOW, 4, 3), [0, 0, 4], "the backup");
    for _ in 0..3 {
        three.failed(2, NOW);
    }
    assert_eq!(shares(&three, NOW, 4, 3), [0, 0, 4], "panic");
    three.drain(2, true, NOW);
    assert_eq!(three.choose(NOW, &[], None, idle), None);
    assert!(!three.available(NOW));
    three.drain(0, false, NOW);
    assert_eq!(shares(&three, NOW, 4, 3), [4, 0, 0]);
}

#[tokio::test]
async fn draining_names_an_origin_of_a_pool() {
    let (one, two) = (Scripted::always(OK).await, Scripted::always(OK).await);
    let pools = pools(settings(vec![at(one.port), at(two.port)]), &Clock::system());
    assert_eq!(pools.drain("p", &at(one.port).name, true), Some(at(one.port).name));
    assert_eq!(pools.drain("p", &format!("127.0.0.1:{}", one.port), true), Some(at(one.port).name));
    assert_eq!(pools.drain("p", "http://elsewhere", true), None);
    assert_eq!(pools.drain("q", &at(one.port).name, true), None);
    for _ in 0..4 {
        fetch(&pools, get("/")).await.unwrap();
    }
    assert_eq!((one.seen().requests.len(), two.seen().requests.len()), (0, 4));
    let stands: Vec<_> = pools.stats().iter().map(|origin| origin.stands).collect();
    assert_eq!(stands, [Stands::Drained, Stands::Well]);
}

/// FAULTS F3: when all are down, connecting is not multiplied either.
#[tokio::test]
async fn a_pool_that_is_down_is_not_knocked_at_more_than_a_tenth_on_top() {
    const ASKS: u64 = 100;
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push(TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port());
    }
    let clock = manual();
    let mut settings = settings(ports.into_iter().map(at).collect());
    settings.eject_after = 1;
    let pools = pools(settings, &clock);
    for _ in 0..ASKS {
        assert_eq!(fetch(&pools, get("/")).await, Err(OriginError::Connect));
    }
    let knocks: u64 = pools.stats().iter().map(|origin| origin.counts.failures).sum();
    // Two until all are ejected, ten saved up, a tenth.
    assert!(knocks <= ASKS + 2 + 10 + ASKS / 10, "{knocks}");
}

#[tokio::test]
async fn a_refused_connection_goes_to_the_next_origin_whatever_the_method() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let well = Scripted::always(OK).await;
    let pools = pools(settings(vec![at(closed), at(well.port)]), &Clock::system());
    for _ in 0..3 {
        let post = Ask { body: body_of(&["a"]), ..ask(Method::POST, "/") };
        assert_eq!(fetch(&pools, post).await, Ok((200, "ok".to_owned())));
    }
    assert_eq!(well.seen().requests.len(), 3);
    let stats = pools.stats();
    assert!(stats.first().unwrap().counts.failures > 0);
    assert_eq!(stats.first().unwrap().counts.failures, stats.first().unwrap().counts.moved_on);
}

#[tokio::test]
async fn a_get_that_met_garbage_goes_to_the_next_origin_a_post_does_not() {
    let garbage = Scripted::always("garbage\r\n\r\n").await;
    let well = Scripted::always(OK).await;
    for (method, expected) in [
        (Method::GET, Ok((200, "ok".to_owned()))),
        (Method::POST, Err(OriginError::Framing(Finding::StatusLine))),
    ] {
        let pools = pools(settings(vec![at(garbage.port), at(well.port)]), &Clock::system());
        assert_eq!(fetch(&pools, ask(method, "/")).await, expected);
    }
}

#[tokio::test]
async fn a_5xx_is_an_answer_and_a_redirect_is_not_followed() {
    for response in [
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ] {
        let origin = Scripted::always(response).await;
        let other = Scripted::always(OK).await;
        let mut spare = at(other.port);
        spare.backup = true;
        let pools = pools(settings(vec![at(origin.port), spare]), &Clock::system());
        for _ in 0..5 {
            assert_ne!(fetch(&pools, get("/")).await.unwrap().0, 200);
        }
        assert_eq!(origin.seen().requests.len(), 5);
        assert_eq!(other.seen().requests.len(), 0);
    }
}

/// The body went to the origin that failed: what another would get is a request without one.
#[tokio::test]
async fn a_status_that_counts_as_a_failure_sends_nobody_elsewhere_whose_body_has_gone() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    for (body, expected, asked) in [
        (body_of(&["ab", "c"]), (503, "busy".to_owned()), 0),
        (RequestBody::Empty, (200, "ok".to_owned()), 1),
    ] {
        let (busy, well) = (Scripted::always(BUSY).await, Scripted::always(OK).await);
        let mut settings = settings(vec![at(busy.port), at(well.port)]);
        settings.fail_status = crate::config::Statuses(vec![500..=599]);
        let pools = pools(settings, &Clock::system());
        let put = Ask { body, ..ask(Method::PUT, "/") };
        assert_eq!(fetch(&pools, put).await, Ok(expected));
        assert_eq!(well.seen().requests.len(), asked, "{:?}", well.seen().requests);
    }
}

/// FAULTS F3: a pool whose origins read and die is not asked more than a tenth on top, once its savings are spent.
#[tokio::test]
async fn requests_that_reached_an_origin_are_repeated_within_a_budget() {
    const ASKS: usize = 100;
    let dying = vec![vec![Play::Read, Play::Close]; 2 * ASKS];
    let (one, two) = (Scripted::new(dying.clone()).await, Scripted::new(dying).await);
    let mut settings = settings(vec![at(one.port), at(two.port)]);
    settings.eject_after = u32::MAX;
    let pools = pools(settings, &Clock::system());
    for _ in 0..ASKS {
        assert_eq!(fetch(&pools, get("/")).await, Err(OriginError::Reset));
    }
    let sent = one.seen().requests.len() + two.seen().requests.len();
    let moved: u64 = pools.stats().iter().map(|origin| origin.counts.moved_on).sum();
    assert_eq!(sent as u64, ASKS as u64 + moved);
    assert_eq!(sent, ASKS + 10 + ASKS / 10, "10 to begin with, and a tenth");
}

#[tokio::test]
async fn no_more_origins_are_asked_than_attempts_are_allowed() {
    let mut ports = Vec::new();
    for _ in 0..5 {
        ports.push(TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port());
    }
    let pools = pools(settings(ports.into_iter().map(at).collect()), &Clock::system());
    let failed = pools.ask(get("/")).await.unwrap_err();
    assert_eq!(failed.cause, OriginError::Connect);
    assert_eq!(pools.stats().iter().map(|origin| origin.counts.failures).sum::<u64>(), 3);
    assert!(failed.origin.is_some());
}

#[tokio::test]
async fn a_route_spreads_over_its_pools_by_weight_and_passes_over_dead_ones() {
    let names: [Arc<str>; 2] = ["a".into(), "b".into()];
    let map = names
        .iter()
        .map(|name| (Arc::clone(name), PoolSettings { name: Arc::clone(name), ..settings(vec![at(1)]) }))
        .collect();
    let clock = manual();
    let pools = OriginPools::new(&map, &clock).unwrap();
    let steer = Steer::weight(vec![("a".into(), 9), ("b".into(), 1)]);
    let other = Steer::weight(vec![("a".into(), 1), ("b".into(), 1)]);
    let (mut nine, mut half) = (0_u32, 0_u32);
    for _ in 0..1000 {
        nine += u32::from(&*sent(&pools, &steer) == "a");
        half += u32::from(&*sent(&pools, &other) == "a");
    }
    assert!(nine.abs_diff(900) <= 10, "{nine}");
    assert!(half.abs_diff(500) <= 10, "{half}");
    for _ in 0..3 {
        pools.pools.get("a").unwrap().failed(0, OriginError::Reset);
    }
    assert!((0..50).all(|_| &*sent(&pools, &steer) == "b"));
    assert_eq!(
        pools.ask(Ask { pool: "none".into(), ..get("/") }).await.unwrap_err().cause,
        OriginError::NoOrigin
    );
}

/// The pool that the next request of somebody goes to.
fn sent(pools: &OriginPools, steer: &Steer) -> Arc<str> {
    let fields = Fields::pack(std::iter::empty());
    let visitor = Visitor { address: [192, 0, 2, 1].into(), place: None, fields: &fields, mark: None };
    pools.itinerary(steer, &visitor).unwrap().first
}
