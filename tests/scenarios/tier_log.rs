//! Without a broker purges go between child and parent by themselves: down, because the child follows its parent's log, and up,
//! because it gives what was ordered at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use purge_api::bus::pull::PATH;

use crate::stage::millis;
use crate::stage::region::Region;
use crate::stage::reply::reply;
use crate::stage::settings::HOST;

/// Two children of one parent; the origin counts its answers.
async fn region() -> Region {
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .node("d", &["p"])
        .config(|_, config| config.tier.by_hand = false)
        .start()
        .await;
    let answers = Arc::new(AtomicU64::new(0));
    region.origin("a").answers("/x", move |_| {
        let nth = answers.fetch_add(1, Ordering::SeqCst);
        reply(200).cache_control("max-age=600, stale-while-revalidate=600").body(nth.to_string())
    });
    let known = |node: &str| region.edge(node).standing.required(&region.url("p")).is_some();
    region.until(|| known("c") && known("d")).await;
    region
}

async fn page(region: &Region, node: &str) -> u64 {
    region.client(node).get("/x").await.text().parse().expect("a number")
}

#[tokio::test]
async fn a_purge_at_the_parent_takes_what_its_children_have_and_the_receipt_names_them() {
    let region = region().await;
    for node in ["c", "d", "p"] {
        assert_eq!(page(&region, node).await, 0, "{node} has what the region fetched once");
    }
    let order = format!("{{\"hosts\": [\"{HOST}\"], \"wait\": \"fleet\"}}");
    let receipt = region.operator("p").post("/v1/purge", &order).await;
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    for node in ["c", "d", "p"] {
        assert!(receipt.text().contains(&format!("\"node\":\"{node}\"")), "{node} is in {}", receipt.text());
        assert_eq!(page(&region, node).await, 1, "{node} has the next one");
    }
}

/// The child asks its parent, who asks its own. Who is below another of its children is known to that one.
#[tokio::test]
async fn the_receipt_of_a_child_names_who_is_above_and_beside_it_and_says_who_is_not_waited_for() {
    let region = Region::build()
        .node("g", &[])
        .node("p", &["g"])
        .node("q", &["g"])
        .node("c", &["p"])
        .node("d", &["q"])
        .config(|_, config| config.tier.by_hand = false)
        .start()
        .await;
    let known = |node: &str, parent: &str| region.edge(node).standing.required(&region.url(parent)).is_some();
    region.until(|| known("p", "g") && known("q", "g") && known("c", "p") && known("d", "q")).await;
    // At its next look the parent tells its own that it has a child.
    region.purge("d", "url /y", false).await;
    let heard = |node: &str| region.edge(node).store.purge_log().sequence() == 1;
    region.until(|| ["g", "p", "q", "c", "d"].into_iter().all(heard)).await;
    let order = format!("{{\"hosts\": [\"{HOST}\"], \"wait\": \"fleet\"}}");
    let receipt = region.operator("c").post("/v1/purge", &order).await;
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    for node in ["g", "p", "q", "c"] {
        assert!(receipt.text().contains(&format!("\"node\":\"{node}\"")), "{node} is in {}", receipt.text());
        assert_eq!(region.edge(node).store.purge_log().sequence(), 2, "{node} has it");
    }
    assert!(receipt.text().contains("\"not_waited_for\":[\"nodes below q (1)\"]"), "{}", receipt.text());
    region.until(|| region.edge("d").store.purge_log().sequence() == 2).await;
}

#[tokio::test]
async fn a_purge_at_a_child_goes_up_and_from_there_to_the_others() {
    let region = region().await;
    for node in ["c", "d"] {
        assert_eq!(page(&region, node).await, 0);
    }
    let order = format!("{{\"urls\": [\"http://{HOST}/x\"], \"wait\": \"fleet\"}}");
    let receipt = region.operator("c").post("/v1/purge", &order).await;
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    for node in ["c", "d", "p"] {
        assert!(receipt.text().contains(&format!("\"node\":\"{node}\"")), "{node} is in {}", receipt.text());
        assert_eq!(region.edge(node).store.purge_log().sequence(), 1, "{node} has it");
    }
    assert!(!receipt.text().contains("not_waited_for"), "{}", receipt.text());
    assert_eq!(page(&region, "c").await, 1);
    let asks = || region.edge("d").standing.required(&region.url("p")).is_some();
    region.until(asks).await;
    assert_eq!(page(&region, "d").await, 1, "from the parent, which fetched it for the first");
}

/// The refill race: nothing that is older than a purge comes back from above, however soon it is asked for.
#[tokio::test]
async fn what_is_asked_for_at_once_after_a_purge_is_never_of_before_it() {
    let region = region().await;
    let mut newest = page(&region, "c").await;
    for round in 0..60 {
        let node = ["c", "d", "p"][round % 3];
        page(&region, "c").await;
        page(&region, "d").await;
        region.purge(node, "url /x", false).await;
        let next = page(&region, node).await;
        assert!(next > newest, "round {round}: {node} has answer {next}, purged after {newest}");
        // By now another may have fetched, too.
        newest = next.max(page(&region, "p").await);
        let sequence = round as u64 + 1;
        region
            .until(|| {
                ["c", "d", "p"].iter().all(|node| region.edge(node).store.purge_log().sequence() == sequence)
            })
            .await;
        newest = newest.max(page(&region, "c").await).max(page(&region, "d").await);
    }
}

#[tokio::test]
async fn a_parent_that_was_away_is_given_what_it_missed() {
    let mut region = region().await;
    assert_eq!(page(&region, "c").await, 0);
    region.kill("p").await;
    region.purge("c", "url /x", false).await;
    assert_eq!(page(&region, "c").await, 1, "from the origin");
    region.revive("p").await;
    // A parent without a disk begins another log: it holds nothing, and is followed from its beginning.
    region
        .until(|| {
            region.clock.advance(millis(50));
            region.edge("c").standing.required(&region.url("p")).is_some()
        })
        .await;
    region.purge("c", "url /x", false).await;
    assert_eq!(page(&region, "c").await, 2);
}

/// FAULTS R10: the log is for nodes; for anyone else the path is a page.
#[tokio::test]
async fn a_client_asks_for_the_log_in_vain() {
    let region = region().await;
    let target = format!("{PATH}?since=0&max=10&wait=0&node=me");
    region.origin("a").on(&target, [reply(200).body("a page")]);
    region.client("p").get(&target).await.expect(200, "a page");
    for (name, value) in [("tidegate-child", "http 0 -"), ("tidegate-purged", "around")] {
        let answer = region.client("p").header(name, value).get(&target).await;
        answer.expect(200, "a page");
    }
    region.client("p").post(PATH, "[]").await.expect(404, "not in the script");
}
