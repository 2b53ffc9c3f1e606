//! A soft purge of everything never takes an origin down: stale is served at once, and refreshed within a budget.

use purge_api::{Order, Purger as _, Scope, Selector};

use crate::stage::reply::reply;
use crate::stage::settings::HOST;
use crate::stage::{Stage, millis, secs};

const STALE_TOO: &str = "max-age=600, stale-while-revalidate=600";

/// A stage whose soft purges may cause two fetches a second.
async fn stage(pages: usize) -> Stage {
    let stage = Stage::build().config(|config, _| config.purge.refresh_per_second = 2).start().await;
    for page in 0..pages {
        let target = format!("/{page}");
        let replies = ["old", "new"].map(|body| reply(200).cache_control(STALE_TOO).body(body));
        stage.origin("a").on(&target, replies);
        stage.client().get(&target).await.expect(200, "old");
    }
    stage
}

fn purge_host(stage: &Stage) {
    let host = Selector::parse(Scope::Host, HOST).expect("a host");
    stage.edge().purge(&Order { selectors: vec![host], soft: true }).expect("it is served here");
}

#[tokio::test]
async fn after_a_soft_purge_of_a_host_refreshes_keep_to_their_budget_and_the_hottest_go_first() {
    let stage = stage(6).await;
    stage.until(|count| count.stored == 6).await;
    stage.clock.advance(secs(10));
    purge_host(&stage);
    // Page 0 is fetched at once; of the others the last was asked for most.
    for page in 0..6 {
        for _ in 0..=page {
            stage.client().get(&format!("/{page}")).await.expect(200, "old").cache_status_has("hit");
        }
    }
    stage.until(|count| count.stored == 7).await;
    stage.client().get("/0").await.expect(200, "new");
    for (turn, page) in [5, 4, 3, 2, 1].into_iter().enumerate() {
        stage.clock.advance(millis(499));
        stage.client().get(&format!("/{page}")).await.expect(200, "old");
        assert_eq!(stage.count().requests, 7 + turn, "no fetch before its time");
        stage.clock.advance(millis(1));
        stage.until(|count| count.stored == 8 + turn as u64).await;
        stage.client().get(&format!("/{page}")).await.expect(200, "new");
    }
}

#[tokio::test]
async fn a_refresh_that_no_purge_caused_is_not_held_back() {
    let stage = stage(6).await;
    stage.until(|count| count.stored == 6).await;
    stage.clock.advance(secs(700));
    for page in 0..6 {
        stage.client().get(&format!("/{page}")).await.expect(200, "old");
    }
    stage.until(|count| count.stored == 12).await;
}
