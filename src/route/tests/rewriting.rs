//! What origins are asked for where a route writes path and query anew: always a target, never out of what is written, and
//! the same for equal keys.

use std::collections::HashMap;

use cache_store::key::Keyer;
use http::Method;

use super::super::{Bypass, RouteRefusal};
use super::property::{Random, Sample, number, respelled, sample};
use super::{CLIENT, RouteTable, fields, routed, settings};
use crate::listener::request::Scheme;

fn rewriting(path: &str, rewrite: &str) -> RouteTable {
    settings(&format!(
        "[[site]]\nhosts = \"*\"\npool = \"main\"\nquery = {{ remove = [\"utm_*\"] }}\n\
         [[site.route]]\npath = '{path}'\nrewrite = {rewrite}\n"
    ))
}

fn forward(table: &RouteTable, target: &str) -> String {
    match routed(table, "GET", b"h.test", target.as_bytes(), &[]) {
        Ok(route) => String::from_utf8(route.forward_target().to_vec()).unwrap(),
        Err(refusal) => refusal.as_str().to_owned(),
    }
}

#[test]
fn path_and_query_are_written_anew() {
    for (claim, path, rewrite, target, expected) in [
        ("a path", "/a", "'/b'", "/a", "/b"),
        ("the query stays", "/a", "'/b'", "/a?x=1", "/b?x=1"),
        ("but for what is removed", "/a", "'/b'", "/a?utm_x=1&y", "/b?y"),
        ("another path stays", "/a", "'/b'", "/c?x", "/c?x"),
        ("what a star took", "/a/*", "'/b/$1/c'", "/a/x/y", "/b/x/y/c"),
        ("two stars", "/a/*/b/*", "'/$2-$1'", "/a/1/b/2", "/2-1"),
        ("a group", "~ ^/v[0-9]+(/.*)$", "'/api$1'", "/v12/x?y", "/api/x?y"),
        ("the host", "/*", "'/sites/$host$path'", "/x", "/sites/h.test/x"),
        ("a prefix goes", "/api/*", "{ strip_prefix = '/api' }", "/api/x?y", "/x?y"),
        ("all of the path goes", "/api*", "{ strip_prefix = '/api' }", "/api", "/"),
        ("no prefix of a segment goes", "/api*", "{ strip_prefix = '/api' }", "/apix", "/apix"),
        ("a prefix comes", "/*", "{ add_prefix = '/v1' }", "/x", "/v1/x"),
        ("one for another", "/a/*", "{ strip_prefix = '/a', add_prefix = '/b' }", "/a/x", "/b/x"),
        ("the query anew", "/i/*", "{ path = '/item', query = 'id=$1' }", "/i/7?x", "/item?id=7"),
        ("beside its own", "/i/*", "{ path = '/item', query = '$query&id=$1' }", "/i/7?x", "/item?x&id=7"),
        ("no query", "/i/*", "{ path = '/item', query = '' }", "/i/7?x", "/item"),
        (
            "one parameter stays one",
            "/i/*",
            "{ path = '/item', query = 'id=$1' }",
            "/i/7&admin=1;x+y",
            "/item?id=7%26admin%3D1%3Bx%2By",
        ),
        (
            "what is encoded stays so",
            "/i/*",
            "{ path = '/item', query = 'id=$1' }",
            "/i/7%26admin%3d1%0d%0a",
            "/item?id=7%26admin%3D1%0D%0A",
        ),
        ("an encoded slash stays one", "/a/*", "'/b/$1'", "/a/x%2F..%2Fy", "/b/x%2F..%2Fy"),
        ("no climbing", "/files*", "'/data/$1'", "/files../secret", "rewrite-path"),
        ("no climbing by a group", "~ ^/f(.*)$", "'/data/$1'", "/f.%2e/secret", "rewrite-path"),
        ("no climbing where two come together", "~ ^/f(\\.)(.*)$", "'/data/$1.$2'", "/f.y", "/data/..y"),
        (
            "no climbing where two come together",
            "~ ^/f(\\.)/(.*)$",
            "'/data/$1./$2'",
            "/f./y",
            "rewrite-path",
        ),
        ("halves of an encoding", "~ ^/f(%)(2F|41)$", "'/data/${1}41'", "/f%2F", "/data/A"),
        ("a half of an encoding", "~ ^/f(%2)F$", "'/data/$1'", "/f%2F", "rewrite-path"),
        ("a dot of two halves", "~ ^/f(%2)F$", "'/data/${1}e${1}E'", "/f%2F", "rewrite-path"),
    ] {
        assert_eq!(forward(&rewriting(path, rewrite), target), expected, "{claim}");
    }
}

#[test]
fn what_is_written_anew_has_a_bound() {
    let table = rewriting("/a/*", "'/$1$1$1$1$1$1$1$1'");
    let target = format!("/a/{}", "x".repeat(4000));
    let found = routed(&table, "GET", b"h.test", target.as_bytes(), &[]);
    assert_eq!(found.err(), Some(RouteRefusal::Long));
}

/// The key and whatever is purged are of the URL that clients see.
#[test]
fn a_purge_of_the_url_that_clients_see_finds_what_is_written_anew() {
    let keyer = Keyer::new([5; 32]);
    let table = rewriting("/a/*", "'/internal/$1'");
    let route = routed(&table, "GET", b"h.test", b"/a/x?q", &[]).unwrap();
    assert_eq!(route.forward_target(), "/internal/x?q");
    assert_eq!(route.public_target(), b"/a/x?q");
    assert_eq!(table.keys_of_url(&keyer, "http://h.test/a/x?q"), Ok(vec![route.key(&keyer)]));
    assert_ne!(table.keys_of_url(&keyer, "http://h.test/internal/x?q"), Ok(vec![route.key(&keyer)]));
    assert_eq!(route.resource(route.key(&keyer)).target, b"/a/x?q");
    let post = routed(&table, "POST", b"h.test", b"/a/x?q", &[]).unwrap();
    assert_eq!((post.bypass, post.forward_target()), (Some(Bypass::Method), "/internal/x?q".into()));
    assert_eq!(post.key(&keyer), route.key(&keyer));
}

fn tables() -> Vec<RouteTable> {
    [
        ("/a*", "'/b/$1'"),
        ("/*", "{ path = '/x$path', query = '$query&from=$1' }"),
        ("*b*", "'/$2/$1'"),
        ("~ ^/(a*)([^/]*)(.*)$", "{ path = '/$2/$1$3', query = 'a=$1&b=$3' }"),
        ("/a/*", "{ strip_prefix = '/a', add_prefix = '/c' }"),
        ("/*", "{ query = 'p=$path' }"),
    ]
    .map(|(path, rewrite)| rewriting(path, rewrite))
    .into()
}

/// FAULTS B7, for what is written anew: one key has one forward, and the forward is clean.
#[test]
fn equal_keys_have_equal_forwards_and_forwards_are_targets() {
    let seed = number("TIDEGATE_PROPERTY_SEED", 20_261_121);
    let mut random = Random::new(seed);
    let keyer = Keyer::new([3; 32]);
    let tables = tables();
    let mut forwards: Vec<HashMap<u128, Vec<u8>>> = tables.iter().map(|_| HashMap::new()).collect();
    let (mut written, mut met) = (0_u32, 0_u32);
    for _ in 0..number("TIDEGATE_PROPERTY_PAIRS", 100_000) / 2 {
        let one = sample(&mut random);
        for Sample { scheme, authority, target } in [respelled(&one, &mut random), one] {
            for (table, forwards) in tables.iter().zip(&mut forwards) {
                let nothing = fields(&[]);
                let found = table.route_parts(&Method::GET, scheme, &authority, &target, &nothing, CLIENT);
                let Ok(route) = found else { continue };
                let forward = route.forward_target().to_vec();
                let is_clean = |byte: &u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(byte);
                assert!(
                    matches!(forward.first(), Some(b'/' | b'*')) && forward.iter().all(is_clean),
                    "{}",
                    forward.escape_ascii()
                );
                let path = forward.split(|byte| *byte == b'?').next().unwrap_or_default();
                let climbs = path.split(|byte| *byte == b'/').any(|one| one == b"." || one == b"..");
                assert!(!climbs, "{} of {} climbs", forward.escape_ascii(), target.escape_ascii());
                let key = route.key(&keyer);
                assert!(
                    table.keys_of(&keyer, scheme, &authority, &target).contains(&key),
                    "a purge finds it"
                );
                if route.bypass.is_some() {
                    continue;
                }
                written += u32::from(forward != route.public_target());
                let first = forwards.entry(key.bits()).or_insert_with(|| forward.clone());
                met += u32::from(*first == forward);
                assert_eq!(*first, forward, "one key for two forwards (seed {seed})");
            }
        }
    }
    assert!(written > 50_000 && met > 50_000, "only {written} were written anew, {met} met");
}

#[test]
fn no_byte_of_a_path_leaves_the_path_or_the_request() {
    let tables =
        [rewriting("/a*", "'/b/$1'"), rewriting("~ ^/a(.*)$", "{ path = '/b', query = 'x=$1&y=1' }")];
    let mut forwarded = 0;
    for byte in 0..=255_u8 {
        for spelling in
            [vec![byte], format!("%{byte:02x}").into_bytes(), format!("%25{byte:02x}").into_bytes()]
        {
            for behind in ["", "/..", "x HTTP/1.1", "&z=1"] {
                let target = [b"/a", spelling.as_slice(), behind.as_bytes()].concat();
                for (at, table) in tables.iter().enumerate() {
                    let nothing = fields(&[]);
                    let found =
                        table.route_parts(&Method::GET, Scheme::Http, b"h.test", &target, &nothing, CLIENT);
                    let Ok(route) = found else { continue };
                    let forward = route.forward_target();
                    // Another path may have come out of the dots.
                    if !route.public_target().starts_with(b"/a") {
                        continue;
                    }
                    forwarded += 1;
                    assert!(forward.iter().all(u8::is_ascii_graphic), "{}", forward.escape_ascii());
                    let query = forward.split(|byte| *byte == b'?').nth(1).unwrap_or_default();
                    let parameters = memchr::memchr_iter(b'&', query).count();
                    assert!(at == 0 || parameters == 1, "{}", forward.escape_ascii());
                    assert!(forward.starts_with(b"/b"), "{}", forward.escape_ascii());
                }
            }
        }
    }
    assert!(forwarded > 2000, "only {forwarded} were forwarded");
}
