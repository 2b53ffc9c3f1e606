//! What plugins send, as tables.

use super::*;
use crate::fake::Fake;
use crate::{Purger, call};

fn ask(method: &str, url: &str, fields: &[(&str, &str)]) -> Result<PurgeRequest, Refusal> {
    let url = ResourceUrl::parse(url).unwrap();
    let field = |name: &str| {
        let values: Vec<_> =
            fields.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    understood(Asked { method, url: &url, field: &field }, &|url| Ok(url.clone()))
}

fn short(request: &PurgeRequest) -> String {
    let each = request.order.selectors.iter().map(|one| format!("{}:{one}", one.scope().as_str()));
    each.chain(request.order.soft.then(|| "soft".to_owned())).collect::<Vec<_>>().join(" ")
}

#[test]
#[allow(clippy::too_many_lines)] // one table
fn what_others_send() {
    for (who, method, url, fields, expected) in [
        ("curl -X PURGE", "PURGE", "http://a/x?y=1", &[][..], "url:http://a/x?y=1"),
        ("curl, softly", "PURGE", "http://a/x", &[("soft-purge", "1")], "url:http://a/x soft"),
        (
            "Fastly's soft purge",
            "PURGE",
            "https://a/x",
            &[("fastly-soft-purge", "1")],
            "url:https://a/x soft",
        ),
        ("not soft", "PURGE", "https://a/x", &[("fastly-soft-purge", "0")], "url:https://a/x"),
        ("not understood as soft", "PURGE", "https://a/x", &[("soft-purge", "true")], "url:https://a/x"),
        ("nginx Plus: a wildcard", "PURGE", "http://a/news/*", &[], "prefix:http://a/news/"),
        ("a wildcard within a name", "PURGE", "http://a:81/img_*", &[], "prefix:http://a:81/img_"),
        ("a wildcard for all", "PURGE", "http://a:81/*", &[], "host:a"),
        ("W3 Total Cache: all", "PURGE", "http://a/.*", &[], "host:a"),
        ("a star elsewhere is a star", "PURGE", "http://a/*/b", &[], "url:http://a/*/b"),
        (
            "WordPress Proxy Cache Purge: one page",
            "PURGE",
            "http://a/post/",
            &[("x-purge-method", "default")],
            "url:http://a/post/",
        ),
        (
            "WordPress Proxy Cache Purge: all",
            "PURGE",
            "http://a/.*",
            &[("x-purge-method", "regex")],
            "host:a",
        ),
        (
            "WordPress Proxy Cache Purge: below a page",
            "PURGE",
            "http://a/feed/.*",
            &[("x-purge-method", "regex")],
            "prefix:http://a/feed/",
        ),
        (
            "WordPress Proxy Cache Purge: tags",
            "PURGE",
            "http://a/",
            &[("x-purge-method", "tags"), ("x-cache-tags-pattern", "p-42|t-category-7|home")],
            "tag:p-42 tag:t-category-7 tag:home",
        ),
        ("vmod xkey", "PURGE", "http://a/", &[("xkey", "front article-42")], "tag:front tag:article-42"),
        ("xkey, soft", "PURGE", "http://a/", &[("xkey-softpurge", "front")], "tag:front soft"),
        ("FOSHttpCache xkey", "PURGEKEYS", "http://a/", &[("xkey-purge", "a b")], "tag:a tag:b"),
        (
            "FOSHttpCache xkey, soft",
            "PURGEKEYS",
            "http://a/",
            &[("xkey-softpurge", "a b")],
            "tag:a tag:b soft",
        ),
        ("Fastly's keys", "PURGE", "http://a/", &[("surrogate-key", "a b")], "tag:a tag:b"),
        (
            "Cloudflare's tags",
            "PURGE",
            "http://a/",
            &[("cache-tag", "a,b"), ("cache-tag", "c")],
            "tag:a tag:b tag:c",
        ),
        (
            "Drupal varnish_purge",
            "BAN",
            "http://a/",
            &[("cache-tags", "node:1|node_list")],
            "tag:node:1 tag:node_list",
        ),
        ("Drupal, one", "BAN", "http://a/", &[("cache-tags", "node:1")], "tag:node:1"),
        ("Drupal purge by URL", "PURGE", "http://a/node/1", &[], "url:http://a/node/1"),
        (
            "FOSHttpCache tags by ban",
            "BAN",
            "http://a/",
            &[
                ("x-host", ".*"),
                ("x-url", ".*"),
                ("x-content-type", ".*"),
                ("x-cache-tags", "(^|,)(post\\-1|posts)(,|$)"),
            ],
            "tag:post-1 tag:posts",
        ),
        (
            "FOSHttpCache ban of a path",
            "BAN",
            "http://a/",
            &[("x-host", "^(a|b.example)$"), ("x-url", "^/news/.*"), ("x-content-type", ".*")],
            "prefix:http://a/news/ prefix:http://b.example/news/",
        ),
        (
            "FOSHttpCache: clear",
            "BAN",
            "http://a/",
            &[("x-host", ".*"), ("x-url", ".*"), ("x-content-type", ".*")],
            "everything:",
        ),
        ("a ban of all on this host", "BAN", "http://a:81/", &[("x-ban-url", ".*")], "host:a"),
        ("a ban of a host", "BAN", "http://a/", &[("x-host", "b.example")], "host:b.example"),
        ("a ban of a prefix", "BAN", "http://a:81/", &[("x-ban-url", "^/n/")], "prefix:http://a:81/n/"),
        ("a ban of a page", "BAN", "http://a/", &[("x-ban-url", "^/a\\.html$")], "url:http://a/a.html"),
        ("a ban in the request line", "BAN", "http://a/news/.*", &[], "prefix:http://a/news/"),
        ("a ban of all in it", "BAN", "http://a/.*", &[], "host:a"),
        (
            "Magento 2: products",
            "PURGE",
            "http://a/",
            &[("x-magento-tags-pattern", "((^|,)cat_p_1(,|$))|((^|,)cat_p(,|$))")],
            "tag:cat_p_1 tag:cat_p",
        ),
        ("Magento 2: flush", "PURGE", "http://a/", &[("x-magento-tags-pattern", ".*")], "host:a"),
    ] {
        let request = ask(method, url, fields).unwrap_or_else(|refusal| panic!("{who}: {refusal}"));
        assert_eq!(short(&request), expected, "{who}");
    }
}

#[test]
fn what_cannot_be_purged_exactly_is_told_what_to_write() {
    for (claim, method, url, fields, told) in [
        (
            "tags without tags",
            "PURGE",
            "http://a/",
            &[("x-purge-method", "tags")][..],
            "`X-Cache-Tags-Pattern: article",
        ),
        (
            "words in tags",
            "PURGE",
            "http://a/",
            &[("x-purge-method", "tags"), ("x-cache-tags-pattern", "\\bp-42\\b")],
            "name tags whole",
        ),
        ("keys without keys", "PURGEKEYS", "http://a/", &[][..], "xkey-purge: article-42"),
        ("a field without tags", "PURGE", "http://a/", &[("xkey", " ")], "nothing is selected"),
        ("a ban of nothing", "BAN", "http://a/", &[], "write `PURGE` for this URL"),
        ("a ban of a page in the request line", "BAN", "http://a/x", &[], "write `PURGE` for this URL"),
        ("found anywhere", "BAN", "http://a/", &[("x-ban-url", "/news/.*")], "write `^/news/.*`"),
        ("by ending", "BAN", "http://a/", &[("x-ban-url", "\\.jpg$")], "names no host, prefix, URL or tags"),
        (
            "by media type",
            "BAN",
            "http://a/",
            &[("x-content-type", "text/html")],
            "media types are not purged by",
        ),
        (
            "a path on every host",
            "BAN",
            "http://a/",
            &[("x-host", ".*"), ("x-url", "^/news/")],
            "name the host, `X-Host: ^www",
        ),
        ("some hosts", "BAN", "http://a/", &[("x-host", "^.*\\.example$")], "write `^www"),
        ("some tags", "BAN", "http://a/", &[("cache-tags", "node:.*")], "name tags whole"),
        (
            "a tag on one host",
            "BAN",
            "http://a/",
            &[("x-host", "^a$"), ("cache-tags", "node:1")],
            "a tag is purged wherever it stands",
        ),
        (
            "a pattern that is no prefix",
            "PURGE",
            "http://a/(a|b)/.*",
            &[("x-purge-method", "regex")],
            "is no prefix",
        ),
        ("a tag that is none", "PURGE", "http://a/", &[("xkey", "é")], "one tag cannot be understood"),
        ("a prefix with a query", "PURGE", "http://a/x?y=*", &[], "a prefix ends with its path"),
    ] {
        match ask(method, url, fields) {
            Ok(request) => panic!("{claim}: {}", short(&request)),
            Err(refusal) => assert!(refusal.to_string().contains(told), "{claim}: {refusal}"),
        }
    }
}

#[test]
fn the_answer_tells_what_was_touched_also_when_that_was_nothing() {
    let purger = Fake::holding(&["http://a/x"]);
    for (url, body) in [
        ("http://a/x", "{\"id\":\"e1\",\"matched\":1,\"sequence\":1}\n"),
        ("http://a/y", "{\"id\":\"e2\",\"matched\":0,\"sequence\":2}\n"),
    ] {
        let call = crate::Call { node: "n1", id: "x", bearer: &crate::auth::Bearer::Network, millis: &|| 0 };
        let receipt = call::carry_out(&purger, call, &ask("PURGE", url, &[]).unwrap()).unwrap();
        let reply = answer(&receipt);
        assert_eq!((reply.status, String::from_utf8(reply.body).unwrap().as_str()), (StatusCode::OK, body));
    }
    assert_eq!(purger.sequence(), 2);
}

#[test]
fn methods() {
    for (method, purges) in
        [("PURGE", true), ("PURGEKEYS", true), ("BAN", true), ("purge", false), ("GET", false)]
    {
        assert_eq!(is_purge(method), purges, "{method}");
    }
}
