//! A restart begins with what was stored, as fresh as it was and as purged as it was.

use tidegate::config::{DiskAdmission, DiskCache};

use crate::stage::directory::Directory;
use crate::stage::origin::Seen;
use crate::stage::reply::{Reply, reply};
use crate::stage::settings::HOST;
use crate::stage::{Builder, Stage, secs};

#[tokio::test]
async fn what_was_stored_is_a_hit_after_a_restart() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    for number in 0..50 {
        stage.origin("a").on(&format!("/{number}"), [page(&format!("page {number}"))]);
        stage.client().get(&format!("/{number}")).await.expect(200, &format!("page {number}"));
    }
    stage.until(|count| count.stored == 50).await;
    stage.restart().await;
    for number in 0..50 {
        let answer = stage.client().get(&format!("/{number}")).await;
        assert!(answer.expect(200, &format!("page {number}")).is_hit(), "{number}");
        stage.origin("a").saw(1, &format!("/{number}"));
    }
    assert_eq!(stage.count().promoted, 50);
}

/// RFC 9111 §4.2.3: the time between two runs counts.
#[tokio::test]
async fn a_response_ages_while_the_node_is_down() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    stage.origin("a").on("/x", [page("old"), page("new")]);
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(20));
    stage.restart().await;
    stage.client().get("/x").await.expect(200, "old").has("age", "20");
    stage.clock.advance(secs(41));
    stage.restart().await;
    stage.client().get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn variants_come_back_each_to_its_own_request() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        page(&seen.field("accept-language").unwrap_or_default()).vary("Accept-Language")
    });
    for language in ["de", "fr"] {
        stage.client().header("accept-language", language).get("/x").await.expect(200, language);
    }
    stage.until(|count| count.stored == 2).await;
    stage.restart().await;
    for language in ["fr", "de"] {
        let answer = stage.client().header("accept-language", language).get("/x").await;
        assert!(answer.expect(200, language).is_hit(), "{language}");
    }
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn what_was_purged_stays_purged_over_a_restart() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    for target in ["/x", "/y"] {
        stage.origin("a").on(target, [page("old"), page("new")]);
        stage.client().get(target).await.expect(200, "old");
    }
    stage.until(|count| count.stored == 2).await;
    // Once it lies in memory, once on disk only.
    stage.purge(&["/x"], false).await;
    stage.restart().await;
    let receipt = stage.purge(&["/y"], false).await;
    assert!(receipt.text().contains("\"matched\":1"), "{}", receipt.text());
    stage.restart().await;
    for target in ["/x", "/y"] {
        stage.client().get(target).await.expect(200, "new");
    }
}

/// RFC 5861 §3: a soft purge of what lies on disk only is served stale once, and refreshed.
#[tokio::test]
async fn a_soft_purge_outlasts_a_restart() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    for target in ["/x", "/y"] {
        let lasting =
            |body: &str| reply(200).cache_control("max-age=60, stale-while-revalidate=600").body(body);
        stage.origin("a").on(target, [lasting("old"), lasting("new")]);
        stage.client().get(target).await.expect(200, "old");
    }
    stage.until(|count| count.stored == 2).await;
    stage.purge(&["/x"], true).await;
    stage.restart().await;
    stage.purge(&["/y"], true).await;
    stage.restart().await;
    for (nth, target) in ["/x", "/y"].into_iter().enumerate() {
        stage.client().get(target).await.expect(200, "old").cache_status_has("detail=stale-while-revalidate");
        stage.until(|count| count.stored == nth as u64 + 1).await;
        stage.client().get(target).await.expect(200, "new");
    }
}

/// What a dry run counts by URL is known after a restart, before anybody has asked for it.
#[tokio::test]
async fn what_lies_under_a_prefix_is_counted_after_a_restart() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    for target in ["/news/1", "/news/2", "/other"] {
        stage.origin("a").on(target, [page("body")]);
        stage.client().get(target).await.expect(200, "body");
    }
    stage.until(|count| count.stored == 3).await;
    stage.restart().await;
    let dry = format!(r#"{{"prefixes":["http://{HOST}/news/"],"dry_run":true}}"#);
    loop {
        let told = stage.operator().post("/v1/purge", &dry).await;
        if told.text().contains("\"partial\":true") {
            tokio::task::yield_now().await;
            continue;
        }
        assert!(told.text().contains("\"matched\":2,"), "{}", told.text());
        return;
    }
}

/// An unsafe request that succeeds outdates what is stored (RFC 9111 §4.4), and a restart does not bring it back.
#[tokio::test]
async fn what_a_post_outdated_does_not_come_back() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    stage.origin("a").on("/x", [page("old"), reply(200).body("changed"), page("new")]);
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.client().post("/x", "change").await.expect(200, "changed");
    stage.restart().await;
    stage.client().get("/x").await.expect(200, "new");
}

/// A full disk takes what is asked for later once more; what memory alone has until then is not lost by a stop in order.
#[tokio::test]
async fn what_memory_alone_has_is_a_hit_after_a_restart() {
    let directory = Directory::new();
    let disk =
        DiskCache { path: directory.path().to_owned(), bytes: 64 << 20, admission: DiskAdmission::default() };
    let builder = Stage::build().config(move |config, _| {
        config.cache.disk = Some(disk);
        config.cache.memory_bytes = 16 << 20;
    });
    let mut stage = builder.start().await;
    let body = "x".repeat(200 << 10);
    for number in 0..300 {
        let target = format!("/other/{number}");
        stage.origin("a").on(&target, [page(&body)]);
        stage.client().get(&target).await.expect(200, &body);
        if number % 10 == 0 {
            // What was taken is written, and counts.
            let edge = stage.edge();
            let settled = move || edge.store.disk().expect("it has one").settle();
            tokio::task::spawn_blocking(settled).await.expect("it does not panic").expect("the disk is well");
        }
    }
    stage.origin("a").answers("/varied", |seen: &Seen| {
        page(&seen.field("accept-language").unwrap_or_default()).vary("Accept-Language")
    });
    for language in ["de", "fr"] {
        stage.client().header("accept-language", language).get("/varied").await.expect(200, language);
    }
    for number in 0..10 {
        let (target, text) = (format!("/{number}"), format!("page {number}"));
        stage.origin("a").on(&target, [page(&text), page("purged")]);
        stage.client().get(&target).await.expect(200, &text);
        assert!(stage.client().get(&target).await.expect(200, &text).is_hit(), "{number}");
    }
    stage.until(|count| count.stored == 312).await;
    stage.purge(&["/7"], false).await;
    stage.restart().await;
    for number in 0..10 {
        let text = if number == 7 { "purged".to_owned() } else { format!("page {number}") };
        let answer = stage.client().get(&format!("/{number}")).await;
        assert_eq!(answer.expect(200, &text).is_hit(), number != 7, "{number}");
    }
    for language in ["fr", "de"] {
        let answer = stage.client().header("accept-language", language).get("/varied").await;
        assert!(answer.expect(200, language).is_hit(), "{language}");
    }
}

fn on_disk(directory: &Directory) -> Builder {
    let disk =
        DiskCache { path: directory.path().to_owned(), bytes: 64 << 20, admission: DiskAdmission::default() };
    Stage::build().config(move |config, _| config.cache.disk = Some(disk))
}

fn page(body: &str) -> Reply {
    reply(200).cache_control("max-age=60").body(body)
}
