//! One origin of three fails while the site is under load: clients do not notice, and the others are not asked much more.
//! FAULTS F2, F3.
//!
//! Time goes on by the clock, a tenth of a second a round, whatever the machine takes: in each round clients ask for pages that
//! nobody has, and the next begins when all are answered that the failing origin does not hold up.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::stage::answer::Answer;
use crate::stage::client::Pending;
use crate::stage::gate::Gate;
use crate::stage::reply::{Reply, Trouble, reply};
use crate::stage::settings::pool;
use crate::stage::wire::End;
use crate::stage::{Stage, millis, secs};
use tidegate::config::limits::POOL_FIRST_BYTE_TIMEOUT;
use tidegate::config::{HedgeAfter, Pool, Statuses};

/// Rounds in a second.
const SECOND: usize = 10;

/// A site under load.
struct Load {
    stage: Stage,
    asked: usize,
    pending: Vec<(usize, String, Pending<Answer>)>,
    /// For each request that came to nothing, the round in which it was sent.
    errors: Vec<usize>,
    round: usize,
}

impl Load {
    async fn new(change: impl FnOnce(&mut Pool) + 'static) -> Self {
        let stage = Stage::build()
            .origins(&["a", "b", "c"])
            .config(|config, addresses| {
                // As in production, but for what the test changes.
                let mut main = Pool::of(&"main".into(), pool("main", addresses).origins);
                change(&mut main);
                config.pools.insert("main".into(), main);
            })
            .start()
            .await;
        for origin in ["a", "b", "c"] {
            stage.origin(origin).on("*", [page()]);
        }
        let mut load = Self { stage, asked: 0, pending: Vec::new(), errors: Vec::new(), round: 0 };
        load.rounds(3 * SECOND, 8).await;
        assert!(load.errors.is_empty(), "all are well");
        load.round = 0;
        load
    }

    /// So many rounds, with so many clients in each.
    async fn rounds(&mut self, rounds: usize, clients: usize) {
        for _ in 0..rounds {
            self.round(clients).await;
        }
    }

    async fn round(&mut self, clients: usize) {
        for _ in 0..clients {
            let target = format!("/{}", self.asked);
            self.asked += 1;
            let asked = self.stage.client().get(&target);
            self.pending.push((self.round, target, asked));
        }
        let (stage, pending) = (&self.stage, &self.pending);
        // Others have their turn, also where nobody has to be waited for.
        tokio::task::yield_now().await;
        stage
            .until(|_| {
                let held = stage.origin("c").seen();
                let is_held = |target: &str| held.iter().any(|seen| seen.target() == target);
                pending.iter().all(|(_, target, asked)| asked.is_over() || is_held(target))
            })
            .await;
        self.gather().await;
        self.stage.clock.advance(millis(100));
        self.round += 1;
    }

    async fn gather(&mut self) {
        for (round, target, asked) in std::mem::take(&mut self.pending) {
            if !asked.is_over() {
                self.pending.push((round, target, asked));
                continue;
            }
            let answer = asked.await;
            if answer.status != 200 || answer.end != End::Clean || answer.body != b"page" {
                eprintln!("in round {round}: {answer:?}");
                self.errors.push(round);
            }
        }
    }

    /// Waits for everything that nobody holds up.
    async fn settle(&mut self) {
        let pending = &self.pending;
        self.stage.until(|_| pending.iter().all(|(_, _, asked)| asked.is_over())).await;
        self.gather().await;
    }

    /// Lets everything come to its end: whoever is held up waits no longer than an origin has for its first byte. Time goes on only
    /// while all that are left are held up, so that nobody else runs out of it on a machine that is slow.
    async fn end(&mut self) {
        while !self.pending.is_empty() {
            let held = |stage: &Stage, target: &str| stage.origin("c").seen_for(target).len();
            let before: Vec<_> =
                self.pending.iter().map(|(_, target, _)| held(&self.stage, target)).collect();
            self.stage.clock.advance(POOL_FIRST_BYTE_TIMEOUT + secs(1));
            let (stage, pending) = (&self.stage, &self.pending);
            stage
                .until(|_| {
                    let mut all = pending.iter().zip(&before);
                    all.all(|((_, target, asked), before)| asked.is_over() || held(stage, target) > *before)
                })
                .await;
            self.gather().await;
        }
    }

    /// At most one of a thousand in the first three seconds, nobody after, and a tenth more than what was asked for.
    #[track_caller]
    fn expect_unnoticed(&self, in_first_seconds: usize) {
        let early = self.errors.iter().filter(|round| **round < 3 * SECOND).count();
        assert!(early * 1000 <= in_first_seconds, "{early} of {in_first_seconds} in the first seconds");
        let late = self.errors.len() - early;
        assert_eq!(late, 0, "errors after three seconds, in rounds {:?}", self.errors);
        let requests = self.stage.count().requests;
        assert!(requests * 10 <= self.asked * 11, "{requests} requests for {} misses", self.asked);
    }
}

fn page() -> Reply {
    reply(200).cache_control("max-age=600").body("page")
}

/// Ten seconds of it.
async fn under(trouble: Reply, change: impl FnOnce(&mut Pool) + 'static) -> Load {
    let mut load = Load::new(change).await;
    load.stage.origin("c").on("*", [trouble]);
    load.rounds(10 * SECOND, 8).await;
    load.end().await;
    load
}

#[tokio::test]
async fn nobody_notices_an_origin_that_is_killed() {
    let mut load = Load::new(|_| {}).await;
    load.stage.origin("c").refuses().await;
    load.rounds(10 * SECOND, 8).await;
    load.expect_unnoticed(240);
}

#[tokio::test]
async fn nobody_notices_an_origin_that_resets() {
    under(page().but(Trouble::Resets), |_| {}).await.expect_unnoticed(240);
}

#[tokio::test]
async fn nobody_notices_an_origin_that_talks_nonsense() {
    under(page().but(Trouble::Garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\npage")), |_| {})
        .await
        .expect_unnoticed(240);
}

#[tokio::test]
async fn nobody_notices_an_origin_that_takes_requests_and_says_nothing() {
    let load = under(page().but(Trouble::Stalls), |_| {}).await;
    load.expect_unnoticed(240);
    let held = load.stage.origin("c").seen().len();
    // What came in the second in which it was not known, and what it was tried with.
    assert!(held <= 80 + 8 * SECOND, "{held} requests were sent there");
}

#[tokio::test]
async fn nobody_notices_an_origin_that_answers_with_errors_where_they_count_as_failures() {
    under(reply(503).body("busy"), |pool| pool.fail_status = Statuses(vec![500..=599]))
        .await
        .expect_unnoticed(240);
}

#[tokio::test]
async fn nobody_notices_an_origin_that_comes_and_goes() {
    let mut load = Load::new(|_| {}).await;
    for _ in 0..10 {
        load.stage.origin("c").refuses().await;
        load.rounds(SECOND / 2, 8).await;
        load.stage.origin("c").listens().await;
        load.rounds(SECOND / 2, 8).await;
    }
    load.expect_unnoticed(240);
}

/// It answers half a second late.
#[tokio::test]
async fn nobody_notices_an_origin_that_is_slow() {
    let mut load = Load::new(|_| {}).await;
    let gates: Arc<Mutex<Vec<Gate>>> = Arc::new(Mutex::new(vec![Gate::shut()]));
    load.stage.origin("c").answers("*", {
        let gates = Arc::clone(&gates);
        move |_| page().head_after(gates.lock().last().expect("one is shut"))
    });
    for _ in 0..10 * SECOND {
        load.round(8).await;
        let mut gates = gates.lock();
        gates.push(Gate::shut());
        if let Some(due) = gates.len().checked_sub(6) {
            gates[due].open();
        }
    }
    gates.lock().iter().for_each(Gate::open);
    load.settle().await;
    load.expect_unnoticed(240);
}

/// What has been passed on cannot be taken back: one client finds out, the next have their answers checked to the end first.
#[tokio::test]
async fn one_client_notices_an_origin_that_lies_about_its_length() {
    let mut load = Load::new(|_| {}).await;
    load.stage.origin("c").on("*", [page().but(Trouble::LiesAboutLength(3))]);
    load.rounds(100 * SECOND, 1).await;
    load.end().await;
    assert_eq!(load.errors.len(), 1, "in rounds {:?}", load.errors);
    let requests = load.stage.count().requests;
    assert!(requests * 10 <= load.asked * 11, "{requests} requests for {} misses", load.asked);
}

#[tokio::test]
async fn a_slow_first_byte_is_hedged_where_the_pool_says_so() {
    let load = Load::new(|pool| pool.hedge_after = HedgeAfter::Time(millis(200))).await;
    let before = load.stage.count().requests;
    let gate = Gate::shut();
    load.stage.origin("c").on("*", [page().head_after(&gate)]);
    // Three turns: one of them begins at the slow one, and the answer comes all the same.
    for nth in 0..3 {
        let answer = load.stage.client().get(&format!("/new/{nth}"));
        load.stage.in_time(millis(200), answer).await.expect(200, "page");
    }
    // The clock runs ahead of the node here: one that answers may be asked for on top as well.
    let asked = load.stage.count().requests - before;
    assert!((4..=6).contains(&asked), "three, and at least one on top: {asked}");
    gate.open();
}

#[tokio::test]
async fn a_page_that_takes_long_is_made_once_while_its_origin_talks() {
    let stage = Stage::build().origins(&["a", "b"]).start().await;
    let gate = Gate::shut();
    for origin in ["a", "b"] {
        stage.origin(origin).on("/slow", [page().head_after(&gate)]);
        stage.origin(origin).on("*", [reply(200).cache_control("no-store").body("x")]);
    }
    let slow = stage.client().get("/slow");
    stage.until(|count| count.requests == 1).await;
    for _ in 0..20 {
        stage.clock.advance(millis(500));
        for nth in 0..4 {
            stage.client().get(&format!("/{nth}")).await.expect(200, "x");
        }
    }
    gate.open();
    slow.await.expect(200, "page");
    assert_eq!(stage.origin("a").seen_for("/slow").len() + stage.origin("b").seen_for("/slow").len(), 1);
}

/// Once it is known that nobody answers, one request now and then finds out whether that still holds.
#[tokio::test]
async fn while_every_origin_is_left_out_nobody_waits_for_what_is_there_stale() {
    let stage = Stage::build()
        .config(|config, addresses| {
            let main = Pool { eject_after: 1, ..Pool::of(&"main".into(), pool("main", addresses).origins) };
            config.pools.insert("main".into(), main);
        })
        .start()
        .await;
    stage.origin("a").on("*", [reply(200).cache_control("max-age=1, stale-if-error=86400").body("old")]);
    for page in 0..5 {
        stage.client().get(&format!("/{page}")).await.expect(200, "old");
    }
    stage.until(|count| count.stored == 5).await;
    stage.clock.advance(secs(3));
    stage.origin("a").on("*", [reply(200).but(Trouble::Stalls)]);
    stage.in_time(secs(30), stage.client().get("/0")).await.expect(200, "old");
    assert_eq!(stage.count().requests, 6, "the one that found out");
    for page in 0..5 {
        stage.client().get(&format!("/{page}")).await.expect(200, "old");
    }
    assert_eq!(stage.count().requests, 6, "nobody else asked");
    let posted = stage.client().post("/0", "x");
    stage.until(|count| count.requests == 7).await;
    posted.leave();
    stage.origin("a").on("*", [reply(200).cache_control("max-age=60").body("new")]);
    stage.clock.advance(secs(3600));
    stage.client().get("/1").await.expect(200, "new");
}

/// RFC 5861 §4; FAULTS F3.
#[tokio::test]
async fn while_all_origins_fail_everything_is_served_stale_within_its_window_and_nothing_after() {
    const PAGES: usize = 30;
    let troubles = [
        reply(200).but(Trouble::Resets),
        reply(200).but(Trouble::Garbage(b"nonsense\r\n\r\n")),
        reply(200).but(Trouble::Stalls),
        reply(503).body("busy"),
    ];
    for trouble in troubles {
        let told = format!("{trouble:?}");
        let stage = Stage::build()
            .origins(&["a", "b", "c"])
            .config(|config, addresses| {
                let main = Pool::of(&"main".into(), pool("main", addresses).origins);
                config.pools.insert("main".into(), main);
            })
            .start()
            .await;
        for origin in ["a", "b", "c"] {
            stage
                .origin(origin)
                .on("*", [reply(200).cache_control("max-age=1, stale-if-error=86400").body("old")]);
        }
        for page in 0..PAGES {
            stage.client().get(&format!("/{page}")).await.expect(200, "old");
        }
        stage.until(|count| count.stored >= PAGES as u64).await;
        for origin in ["a", "b", "c"] {
            stage.origin(origin).on("*", [trouble.clone()]);
        }
        for _ in 0..3 {
            stage.clock.advance(secs(60));
            for page in 0..PAGES {
                let asked = stage.client().get(&format!("/{page}"));
                let answer = stage.in_time(millis(1), asked).await;
                assert_eq!((answer.status, answer.text()), (200, "old".into()), "{told}");
            }
        }
        stage.clock.advance(secs(2 * 86_400));
        for page in 0..5 {
            let answer = stage.in_time(millis(1), stage.client().get(&format!("/{page}"))).await;
            assert!(answer.status >= 500, "{told}: {answer:?}");
        }
    }
}
