//! Memory over disk: what memory cannot hold is a hit all the same, and trouble with the disk is nobody's trouble.

use tidegate::config::{DiskAdmission, DiskCache};

use crate::stage::directory::Directory;
use crate::stage::reply::reply;
use crate::stage::{Builder, Stage};

#[tokio::test]
async fn a_site_larger_than_memory_is_served_from_disk() {
    let directory = Directory::new();
    let stage = on_disk(&directory, 1 << 20).start().await;
    let body = |number: usize| format!("{number:05}").repeat(4000);
    for number in 0..200 {
        stage
            .origin("a")
            .on(&format!("/{number}"), [reply(200).cache_control("max-age=60").body(body(number))]);
        stage.client().get(&format!("/{number}")).await.expect(200, &body(number));
    }
    stage.until(|count| count.stored == 200).await;
    for number in 0..200 {
        let answer = stage.client().get(&format!("/{number}")).await;
        assert!(answer.expect(200, &body(number)).is_hit(), "{number}");
        stage.origin("a").saw(1, &format!("/{number}"));
    }
    assert!(stage.count().promoted >= 100, "{:?}", stage.count());
    assert!(stage.count().memory_bytes <= 1 << 20);
}

#[tokio::test]
async fn many_who_want_what_is_on_disk_wait_for_one_read() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory, 16 << 20).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.client().get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    stage.restart().await;
    stage.clients(32).get("/x").await.expect_all(200, "x");
    stage.origin("a").saw(1, "/x");
    assert_eq!(stage.count().promoted, 1);
}

#[tokio::test]
async fn explain_tells_which_tier_has_it() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory, 16 << 20).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.client().get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    let explain = "/v1/explain?url=http://www.example.test/x";
    assert!(stage.operator().get(explain).await.text().contains("\"tier\":\"memory\""));
    stage.restart().await;
    let told = stage.operator().get(explain).await;
    assert!(told.text().contains("\"tier\":\"disk\""), "{}", told.text());
}

fn on_disk(directory: &Directory, memory_bytes: u64) -> Builder {
    let disk = DiskCache {
        path: directory.path().to_owned(),
        bytes: 256 << 20,
        admission: DiskAdmission::default(),
    };
    Stage::build().config(move |config, _| {
        config.cache.memory_bytes = memory_bytes;
        config.cache.disk = Some(disk);
    })
}
