use proptest::prelude::*;

use super::*;
use crate::auth::{Bearer, Token};
use crate::fake::Fake;
use crate::grant::{Allowed, Grant};

fn parse(body: &Value) -> Result<DeployRequest, Refusal> {
    DeployRequest::parse(body.to_string().as_bytes(), &|url| Ok(url.clone()))
}

fn deploy(site: &str, files: &[(&str, &str)]) -> DeployRequest {
    let files: Map<_, _> = files.iter().map(|(path, hash)| ((*path).to_owned(), json!(hash))).collect();
    parse(&json!({ "site": site, "files": files })).unwrap()
}

fn by(bearer: &Bearer) -> Call<'_> {
    Call { node: "n1", id: "call", bearer, millis: &|| 0 }
}

fn told(deployed: &Deployed) -> Vec<String> {
    let selectors = deployed.order.iter().flat_map(|order| &order.selectors);
    selectors.map(|one| format!("{}:{one}", one.scope().as_str())).collect()
}

#[test]
fn a_deploy_purges_what_is_new_changed_or_gone_and_nothing_else() {
    let purger = Fake::default();
    let run = |files: &[(&str, &str)]| {
        carry_out(&purger, by(&Bearer::Loopback), &deploy("https://a", files)).unwrap()
    };
    let first = run(&[("index.html", "1"), ("about.html", "1"), ("app.js", "1"), ("news/index.html", "1")]);
    assert_eq!(told(&first), ["host:a"], "of what was there before nothing is known");
    assert!(first.difference.first && first.order.unwrap().soft);

    let same = run(&[("index.html", "1"), ("about.html", "1"), ("app.js", "1"), ("news/index.html", "1")]);
    assert_eq!((told(&same), same.receipt.sequence, same.difference.unchanged), (vec![], None, 4));

    let second =
        run(&[("index.html", "2"), ("about.html", "1"), ("/news/index.html", "2"), ("a b.html", "1")]);
    assert_eq!(
        told(&second),
        [
            "url:https://a/a%20b.html",
            "url:https://a/a%20b",
            "url:https://a/index.html",
            "url:https://a/",
            "url:https://a/news/index.html",
            "url:https://a/news/",
            "url:https://a/news",
            "url:https://a/app.js",
        ]
    );
    assert_eq!(second.receipt.sequence, Some(2), "one purge");
    let difference = second.difference;
    assert_eq!((difference.added.len(), difference.changed.len(), difference.removed.len()), (1, 2, 1));
    assert_eq!(difference.unchanged, 1);
}

#[test]
fn a_dry_run_changes_nothing_and_a_failed_purge_is_made_up_for_by_the_next_deploy() {
    let purger = Fake::default();
    let run = |hash| carry_out(&purger, by(&Bearer::Loopback), &deploy("https://a", &[("x.css", hash)]));
    run("1").unwrap();
    let dry = DeployRequest { dry_run: true, ..deploy("https://a", &[("x.css", "2")]) };
    let deployed = carry_out(&purger, by(&Bearer::Loopback), &dry).unwrap();
    assert_eq!((told(&deployed), purger.sequence()), (vec!["url:https://a/x.css".to_owned()], 1));
    purger.fail(true);
    assert!(matches!(run("2"), Err(Refusal::Failed(_))));
    purger.fail(false);
    assert_eq!(told(&run("2").unwrap()), ["url:https://a/x.css"]);
    assert!(told(&run("2").unwrap()).is_empty());
}

#[test]
fn sites_are_kept_apart_and_may_lie_below_a_path() {
    let purger = Fake::default();
    let run = |site: &str| {
        told(&carry_out(&purger, by(&Bearer::Loopback), &deploy(site, &[("index.html", "1")])).unwrap())
    };
    assert_eq!(run("https://a/docs"), ["prefix:https://a/docs/"]);
    assert_eq!(run("https://a"), ["host:a"]);
    assert_eq!(run("https://b/"), ["host:b"]);
    assert!(run("https://a/docs/").is_empty() && run("https://a/").is_empty());
}

#[test]
fn more_than_one_call_may_name_takes_the_whole_site() {
    let purger = Fake::default();
    let files = |hash: &str| DeployRequest {
        files: (0..=ENTRIES_MAX).map(|at| (format!("{at}.css"), hash.to_owned())).collect(),
        ..deploy("https://a", &[("x", "1")])
    };
    carry_out(&purger, by(&Bearer::Loopback), &files("1")).unwrap();
    let deployed = carry_out(&purger, by(&Bearer::Loopback), &files("2")).unwrap();
    assert_eq!(told(&deployed), ["host:a"]);
    let answer = deployed.answer(&files("2"));
    assert_eq!((&answer["whole_site"], &answer["first"]), (&json!(true), &json!(false)));
    assert_eq!(answer["counts"]["changed"], ENTRIES_MAX + 1);
    assert!(answer["changed"].as_array().unwrap().len() <= DEPLOY_PATHS_TOLD_MAX);
}

#[test]
fn who_may_not_purge_a_site_may_not_deploy_to_it_even_without_a_change() {
    let purger = Fake::default();
    let limited = |lines: &[Allowed]| {
        let grant = Grant::Limited(lines.into());
        let token = Token { name: "ci".into(), digest: [0; 32], may: Box::default(), grant, bucket: None };
        Bearer::Token(token.into())
    };
    let docs = [Allowed::prefix("https://a/docs/", &|url| Ok(url.clone())).unwrap()];
    for (site, lines, may) in [
        ("https://a", &[Allowed::host("a").unwrap()][..], true),
        ("https://b", &[Allowed::host("a").unwrap()], false),
        ("https://a/docs", &docs, true),
        ("https://a", &docs, false),
    ] {
        let deploy = deploy(site, &[("index.html", "1")]);
        for _ in 0..2 {
            let told = carry_out(&purger, by(&limited(lines)), &deploy);
            assert_eq!(told.is_ok(), may, "{site}: {told:?}");
        }
    }
}

#[test]
fn bodies() {
    let files = json!({ "index.html": "1" });
    for (claim, body, told) in [
        ("no site", json!({ "files": files }), "#/site: missing"),
        ("no files", json!({ "site": "https://a" }), "#/files: missing"),
        ("a build without a file", json!({ "site": "https://a", "files": {} }), "nothing is selected"),
        ("a host for a site", json!({ "site": "a", "files": files }), "#/site: not an absolute URL"),
        ("a query", json!({ "site": "https://a/?x", "files": files }), "#/site: a prefix ends with its path"),
        ("a list of files", json!({ "site": "https://a", "files": ["x"] }), "#/files: not an object"),
        (
            "a hash that is none",
            json!({ "site": "https://a", "files": { "x": 1 } }),
            "#/files/x: not a string",
        ),
        ("an empty hash", json!({ "site": "https://a", "files": { "x": "" } }), "a hash without"),
        ("an empty path", json!({ "site": "https://a", "files": { "/": "1" } }), "a path without"),
        ("a way out", json!({ "site": "https://a", "files": { "a/../b": "1" } }), "leads elsewhere"),
        (
            "a misspelt member",
            json!({ "site": "https://a", "files": files, "hard": true }),
            "#/hard: not known",
        ),
    ] {
        let refusal = parse(&body).expect_err(claim).to_string();
        assert!(refusal.contains(told), "{claim}: {refusal}");
    }
    let hard =
        parse(&json!({ "site": "https://a", "files": files, "soft": false, "wait": "fleet" })).unwrap();
    assert_eq!((hard.soft, hard.wait), (false, Wait::Fleet));
}

#[test]
fn files_are_hashed_as_sha256sum_does() {
    let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hash_of(&b"abc"[..]).unwrap(), of_abc);
}

proptest! {
    /// Whatever two builds hold: what differs is purged under every name it has, and what is the same is left alone.
    #[test]
    fn what_differs_is_purged_and_what_does_not_stays(
        before in proptest::collection::btree_map("[a-c]{1,2}(/[ab])?(\\.html|\\.css)", "[12]", 1..12),
        now in proptest::collection::btree_map("[a-c]{1,2}(/[ab])?(\\.html|\\.css)", "[12]", 1..12),
    ) {
        let purger = Fake::default();
        let at = |files: &Manifest| DeployRequest { files: files.clone(), ..deploy("https://h", &[("x", "1")]) };
        carry_out(&purger, by(&Bearer::Loopback), &at(&before)).unwrap();
        let purged = told(&carry_out(&purger, by(&Bearer::Loopback), &at(&now)).unwrap());
        for path in before.keys().chain(now.keys()) {
            let differs = before.get(path) != now.get(path);
            prop_assert_eq!(purged.contains(&format!("url:https://h/{path}")), differs, "{}", path);
        }
    }

    #[test]
    fn every_path_has_a_url(path in "\\PC{1,40}") {
        let url = ResourceUrl::parse(&format!("https://a/{}", encoded(&path)));
        prop_assert!(url.is_ok(), "{path}");
    }

    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = DeployRequest::parse(&body, &|url| Ok(url.clone()));
    }
}

/// Changed there, changed back here: nothing differs, and what is stored is the other build's.
#[test]
fn what_another_node_has_purged_of_the_site_since_is_purged_again() {
    let purger = Fake::default();
    let run =
        |hash| carry_out(&purger, by(&Bearer::Loopback), &deploy("https://a/w", &[("x.css", hash)])).unwrap();
    let there = |selectors: &[(Scope, &str)]| {
        let selectors =
            selectors.iter().map(|(scope, text)| Selector::parse(*scope, text).unwrap()).collect();
        purger.elsewhere(true);
        purger.purge(&Order { selectors, soft: true }).unwrap();
        purger.elsewhere(false);
    };
    run("1");
    there(&[(Scope::Url, "https://a/w/x.css"), (Scope::Url, "https://a/other"), (Scope::Tag, "t")]);
    assert_eq!(told(&run("1")), ["url:https://a/w/x.css"], "and not what lies outside");
    assert_eq!(told(&run("1")), Vec::<String>::new(), "once");
    there(&[(Scope::Host, "b"), (Scope::Prefix, "https://a/x")]);
    assert_eq!(told(&run("1")), Vec::<String>::new(), "another site is no reason");
    for whole in [(Scope::Host, "a"), (Scope::Prefix, "https://a/w/y/"), (Scope::Everything, "")] {
        there(&[whole]);
        let deployed = run("1");
        assert_eq!(told(&deployed), ["prefix:https://a/w/"], "{whole:?}");
        assert_eq!(deployed.difference.others, Others::Site);
    }
    purger.purge(&Order { selectors: vec![Selector::Everything], soft: true }).unwrap();
    assert_eq!(told(&run("1")), Vec::<String>::new(), "what was ordered here is known here");
}

#[test]
fn a_manifest_as_it_was_written_before_is_read() {
    let note = Note::read(br#"{"index.html":"1"}"#).unwrap();
    assert_eq!((note.sequence, note.files.len()), (0, 1));
    let written = serde_json::to_vec(&Note { sequence: 7, files: note.files }).unwrap();
    assert_eq!(Note::read(&written).unwrap().sequence, 7);
    assert!(Note::read(b"[]").is_none());
}
