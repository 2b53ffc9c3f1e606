//! By whatever call a purge comes, it takes what it names and nothing else, and can be looked up afterwards.

use tidegate::config::{DiskAdmission, DiskCache};

use crate::stage::Stage;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::reply::{Reply, reply};
use crate::stage::settings::HOST;

/// Pages and their tags.
const PAGES: [(&str, &str); 5] = [
    ("/news/1", "article-1 front"),
    ("/news/2", "article-2"),
    ("/newsletter", "front"),
    ("/about", ""),
    ("/about?page=2", ""),
];

/// A node that holds all pages.
async fn filled(stage: Stage) -> Stage {
    for (target, tags) in PAGES {
        stage.origin("a").on(target, [page("old", tags), page("new", tags)]);
        let before = stage.count().stored;
        stage.client().get(target).await.expect(200, "old");
        stage.until(|count| count.stored > before).await;
    }
    stage
}

fn page(body: &str, tags: &str) -> Reply {
    let page = reply(200).cache_control("max-age=600, stale-while-revalidate=600").body(body);
    if tags.is_empty() { page } else { page.field("surrogate-key", tags) }
}

/// What is not answered from before any more, in the order of [`PAGES`].
async fn gone(stage: &Stage) -> Vec<&'static str> {
    let mut gone = Vec::new();
    for (target, _) in PAGES {
        let answer = stage.client().get(target).await;
        if answer.expect_status(200).text() == "new" {
            gone.push(target);
        } else {
            assert!(answer.is_hit(), "{target}");
        }
    }
    gone
}

#[tokio::test]
async fn each_kind_of_selector_takes_what_it_names_and_nothing_else() {
    let url = |path: &str| format!("http://{HOST}{path}");
    for (body, expected) in [
        (format!(r#"{{"urls":["{}"]}}"#, url("/about")), &["/about"][..]),
        (format!(r#"{{"urls":["{}"]}}"#, url("/a/../about?page=2")), &["/about?page=2"]),
        (format!(r#"{{"prefixes":["{}"]}}"#, url("/news/")), &["/news/1", "/news/2"]),
        (format!(r#"{{"prefixes":["https://{HOST}/news"]}}"#), &["/news/1", "/news/2", "/newsletter"]),
        (format!(r#"{{"prefixes":["{}"]}}"#, url("/about")), &["/about", "/about?page=2"]),
        (r#"{"tags":["front"]}"#.to_owned(), &["/news/1", "/newsletter"]),
        (r#"{"tags":["article-1","article"]}"#.to_owned(), &["/news/1"]),
        (
            format!(r#"{{"tags":["article-2"],"urls":["{}"]}}"#, url("/newsletter")),
            &["/news/2", "/newsletter"],
        ),
        (
            format!(r#"{{"hosts":["{HOST}"]}}"#),
            &["/news/1", "/news/2", "/newsletter", "/about", "/about?page=2"],
        ),
        (
            r#"{"everything":true}"#.to_owned(),
            &["/news/1", "/news/2", "/newsletter", "/about", "/about?page=2"],
        ),
    ] {
        let stage = filled(Stage::new().await).await;
        let dry = body.replacen('{', "{\"dry_run\":true,", 1);
        let told = stage.operator().post("/v1/purge", &dry).await;
        let matched = format!("\"matched\":{},\"bytes\":", expected.len());
        assert!(told.text().contains(&matched), "{body}: {}", told.text());
        assert!(!told.text().contains("margin"), "few are counted: {}", told.text());
        assert_eq!(stage.count().purge_sequence, 0, "a dry run takes nothing");
        stage.operator().post("/v1/purge", &body).await.expect_status(200);
        assert_eq!(stage.count().purge_sequence, 1, "one call, one number");
        assert_eq!(gone(&stage).await, expected, "{body}");
    }
}

#[tokio::test]
async fn a_host_or_prefix_that_no_site_serves_is_refused_and_the_rest_of_its_call_with_it() {
    let stage = filled(Stage::new().await).await;
    for body in [
        format!(r#"{{"hosts":["{HOST}","elsewhere.example"]}}"#),
        format!(r#"{{"urls":["http://{HOST}/about"],"prefixes":["http://elsewhere.example/"]}}"#),
    ] {
        let answer = stage.operator().post("/v1/purge", &body).await;
        answer.expect_status(422);
        assert!(answer.text().contains("elsewhere.example"), "{}", answer.text());
    }
    assert!(gone(&stage).await.is_empty());
}

#[tokio::test]
async fn a_soft_purge_of_a_tag_serves_stale_while_one_request_fetches() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on("/x", [page("old", "t"), page("new", "t").head_after(&gate)]);
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.operator().post("/v1/purge", r#"{"tags":["t"],"soft":true}"#).await.expect_status(200);
    stage.clients(8).get("/x").await.expect_all(200, "old");
    stage.until(|count| count.requests == 2).await;
    gate.open();
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, "new");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn methods_of_other_caches_purge_on_the_clients_listener() {
    for (method, target, fields, expected) in [
        ("PURGE", "/about", &[][..], &["/about"][..]),
        ("PURGE", "/news/*", &[], &["/news/1", "/news/2"]),
        (
            "PURGE",
            "/.*",
            &[("X-Purge-Method", "regex")],
            &["/news/1", "/news/2", "/newsletter", "/about", "/about?page=2"],
        ),
        ("PURGE", "/", &[("xkey", "front article-2")], &["/news/1", "/news/2", "/newsletter"]),
        ("PURGE", "/", &[("Surrogate-Key", "article-1")], &["/news/1"]),
        ("PURGEKEYS", "/", &[("xkey-purge", "article-1")], &["/news/1"]),
        ("BAN", "/", &[("X-Url", "^/news/.*"), ("X-Host", HOST)], &["/news/1", "/news/2"]),
        ("BAN", "/", &[("Cache-Tags", "article-1|article-2")], &["/news/1", "/news/2"]),
    ] {
        let stage = filled(Stage::new().await).await;
        let client = fields.iter().fold(stage.client(), |client, (name, value)| client.header(name, value));
        let answer = client.request(method, target, b"").await;
        answer.expect_status(200);
        assert!(answer.text().contains("\"sequence\":1"), "{}", answer.text());
        assert_eq!(gone(&stage).await, expected, "{method} {target} {fields:?}");
    }
}

/// What the plugin "Proxy Cache Purge" 5.x puts on the wire when a post is saved, a button pressed, or with tags switched on.
#[tokio::test]
async fn a_wordpress_plugin_purges_as_it_is() {
    for (purges, expected) in [
        (&[("/news/1", "default", ""), ("/about", "default", "")][..], &["/news/1", "/about"][..]),
        (&[("/.*", "regex", "")], &["/news/1", "/news/2", "/newsletter", "/about", "/about?page=2"]),
        (&[("/news/.*", "regex", "")], &["/news/1", "/news/2"]),
        (&[("/", "tags", "article-2|front")], &["/news/1", "/news/2", "/newsletter"]),
    ] {
        let stage = filled(Stage::new().await).await;
        for (target, by, tags) in purges {
            let mut client = stage
                .client()
                .header("user-agent", "WordPress/6.8; http://www.example.test")
                .header("accept", "*/*")
                .header("accept-encoding", "deflate, gzip, br")
                .header("x-purge-method", by);
            if !tags.is_empty() {
                client = client.header("x-cache-tags-pattern", tags);
            }
            client.header("connection", "close").request("PURGE", target, b"").await.expect_status(200);
        }
        assert_eq!(gone(&stage).await, expected, "{purges:?}");
    }
}

#[tokio::test]
async fn what_a_method_can_not_say_exactly_is_told_and_takes_nothing() {
    let stage = filled(Stage::new().await).await;
    for (method, fields) in [("BAN", &[("X-Url", "\\.jpg$")][..]), ("BAN", &[]), ("PURGEKEYS", &[])] {
        let client = fields.iter().fold(stage.client(), |client, (name, value)| client.header(name, value));
        let answer = client.request(method, "/news/1", b"").await;
        answer.expect_status(501).has("content-type", "application/problem+json");
    }
    assert_eq!(stage.count().purge_sequence, 0);
    assert!(gone(&stage).await.is_empty());

    let closed = Stage::build().config(|config, _| config.purge.method_from.clear()).start().await;
    let closed = filled(closed).await;
    for (method, target) in [("PURGE", "/*"), ("BAN", "/.*"), ("PURGEKEYS", "/")] {
        closed.client().header("xkey", "front").request(method, target, b"").await.expect_status(403);
    }
    assert!(gone(&closed).await.is_empty());
}

#[tokio::test]
async fn other_peoples_calls_purge_on_the_admin_listener_and_on_no_other() {
    for (target, body, expected) in [
        ("/client/v4/zones/z/purge_cache", r#"{"tags":["article-1"]}"#, &["/news/1"][..]),
        ("/zones/z/purge_cache", r#"{"prefixes":["www.example.test/news/"]}"#, &["/news/1", "/news/2"]),
        ("/service/s/purge/front", "", &["/news/1", "/newsletter"]),
        ("/service/s/purge", r#"{"surrogate_keys":["article-2"]}"#, &["/news/2"]),
    ] {
        let stage = filled(Stage::new().await).await;
        let answer = stage.client().post(target, body).await;
        assert!(answer.status >= 400, "{target} through a client's listener: {}", answer.status);
        assert_eq!(stage.count().purge_sequence, 0, "{target}");
        stage.operator().post(target, body).await.expect_status(200);
        assert_eq!(gone(&stage).await, expected, "{target}");
    }
}

#[tokio::test]
async fn a_deploy_takes_what_the_build_changed_and_the_rest_stays_a_hit() {
    let directory = Directory::new();
    let mut stage = filled(on_disk(&directory).await).await;
    let deploy = |news: &str, rest: &str| {
        format!(r#"{{"site":"http://{HOST}","files":{{"news/1.html":"{news}","about.html":"1"}}{rest}}}"#)
    };
    let first = stage.operator().post("/v1/deploy", &deploy("1", r#","soft":false"#)).await;
    assert!(first.expect_status(200).text().contains("\"first\":true"), "{}", first.text());
    assert_eq!(gone(&stage).await.len(), PAGES.len(), "of what was there before nothing is known");

    // What was deployed outlasts the node.
    stage.restart().await;
    for (target, tags) in PAGES {
        stage.origin("a").on(target, [page("new", tags), page("newer", tags)]);
    }
    let second = stage.operator().post("/v1/deploy", &deploy("2", r#","soft":false"#)).await;
    assert!(second.expect_status(200).text().contains("\"first\":false"), "{}", second.text());
    let (changed, same) = (stage.client().get("/news/1").await, stage.client().get("/about").await);
    assert!(!changed.expect_status(200).is_hit(), "its page is changed");
    assert!(same.expect(200, "new").is_hit(), "its page is not");
    let third = stage.operator().post("/v1/deploy", &deploy("2", "")).await;
    assert!(third.expect_status(200).text().contains("\"unchanged\":2"), "{}", third.text());
    assert_eq!(stage.count().purge_sequence, 2, "nothing to do is no purge");
}

#[tokio::test]
async fn the_log_tells_what_was_purged_also_after_a_restart() {
    let directory = Directory::new();
    let mut stage = filled(on_disk(&directory).await).await;
    let body = format!(r#"{{"tags":["front"],"hosts":["{HOST}"],"soft":true}}"#);
    let receipt = stage.operator().post("/v1/purge", &body).await.text();
    let id =
        receipt.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id").to_owned();
    for restarted in [false, true] {
        if restarted {
            stage.restart().await;
        }
        for target in ["/v1/purge/1", "/v1/purges?since=0", "/v1/purges?since=0&wait=60"] {
            let told = stage.operator().get(target).await;
            let text = told.expect_status(200).text();
            for part in
                [format!("\"id\":\"{id}\""), format!("\"hosts\":[\"{HOST}\"]"), "\"tags\":[\"front\"]".into()]
            {
                assert!(text.contains(&part), "{target} has no {part}: {text}");
            }
        }
        stage.operator().get("/v1/purge/2").await.expect_status(404);
    }
}

async fn on_disk(directory: &Directory) -> Stage {
    let (path, admission) = (directory.path().to_owned(), DiskAdmission::default());
    let disk = DiskCache { path, bytes: 64 << 20, admission };
    Stage::build().config(move |config, _| config.cache.disk = Some(disk)).start().await
}
