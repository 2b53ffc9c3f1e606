//! URLs to keys: `route/normal.rs`, `route/authority.rs`, `route/query.rs`, and the keys of `cache-store`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use cache_store::key::Keyer;
use http::Method;
use tidegate::config::check::{Surroundings, check};
use tidegate::listener::fields::Fields;
use tidegate::listener::request::Scheme;
use tidegate::route::{Normal, RouteTable};

use super::{field_lines, lines};
use crate::reached;

/// Of two requests: equal keys have equal forwards and the other way round, a normal form is its own, and a purge of
/// what was asked for, or of what was forwarded, or of the URL as text, finds the key.
///
/// Lines: authority and target of the one, of the other, then fields of both.
pub fn url_and_key(data: &[u8]) {
    let mut lines = lines(data);
    let mut next = || Bytes::copy_from_slice(lines.next().unwrap_or_default());
    let one = (Scheme::Http, next(), next());
    let other = (Scheme::Http, next(), next());
    let pairs = field_lines(&mut lines);
    let fields = Fields::pack(pairs.iter().copied());
    let secure = (Scheme::Https, one.1.clone(), one.2.clone());
    for table in TABLES.iter() {
        let [found, found_other, found_secure] = [&one, &other, &secure]
            .map(|(scheme, authority, target)| keyed(table, *scheme, authority, target, &fields));
        if let (Some(one), Some(other)) = (&found, &found_other) {
            assert_eq!(one.0 == other.0, one.1 == other.1, "{one:?} {other:?}");
            reached(one.0 == other.0);
        }
        if let (Some(one), Some(secure)) = (&found, &found_secure) {
            assert_ne!(one.0, secure.0, "a scheme is part of a key");
        }
    }
    let text = format!("http://{}{}", String::from_utf8_lossy(&one.1), String::from_utf8_lossy(&one.2));
    if let Ok(normal) = Normal::from_url(&text) {
        assert_eq!(
            Normal::of(normal.scheme, normal.authority.as_bytes(), normal.target.as_bytes()),
            Ok(normal.clone())
        );
    }
}

type Forward = (Scheme, Vec<u8>, Vec<u8>);

/// Key and forward of a request, unless it is refused or passes.
fn keyed(
    table: &RouteTable,
    scheme: Scheme,
    authority: &Bytes,
    target: &Bytes,
    fields: &Fields,
) -> Option<(u128, Forward)> {
    let route = match table.route_parts(&Method::GET, scheme, authority, target, fields, CLIENT) {
        Ok(route) => route,
        Err(refusal) => {
            reached(refusal.as_str());
            return None;
        }
    };
    let key = route.key(&KEYER);
    let forward = route.forward_target();
    assert!(
        forward
            .iter()
            .chain(route.authority())
            .all(|byte| byte.is_ascii_graphic() && !b"#<>\"".contains(byte))
    );
    assert!(
        table.keys_of(&KEYER, scheme, authority, target).contains(&key),
        "a purge of the request finds it"
    );
    let url = format!("{}://{}{}", scheme.as_str(), route.authority_str(), route.path_str());
    let by_url = table.keys_of_url(&KEYER, &url);
    if forward.starts_with(b"/") && route.bypass.is_none() {
        assert!(by_url.is_ok_and(|keys| keys.contains(&key)), "a purge of {url} finds it");
    }
    reached((route.bypass.map(|bypass| format!("{bypass:?}")), route.path().len().min(3), forward == target));
    if route.bypass.is_some() {
        return None;
    }
    let normal_authority = Bytes::copy_from_slice(route.authority());
    let again = table
        .route_parts(&Method::GET, scheme, &normal_authority, &forward, fields, CLIENT)
        .unwrap_or_else(|refusal| panic!("{} is refused a second time: {refusal}", forward.escape_ascii()));
    assert_eq!(again.key(&KEYER), key, "a normal form is its own");
    assert_eq!((again.authority(), again.forward_target()), (route.authority(), forward.clone()));
    Some((key.bits(), (scheme, route.authority().to_vec(), forward.to_vec())))
}

/// Who asks.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Queries kept, sorted, and with parameters removed.
static TABLES: LazyLock<Vec<RouteTable>> = LazyLock::new(|| {
    ["", "query = { sort = true }\n", "query = { sort = true, remove = [\"utm_*\", \"fbclid\"] }\n"]
        .iter()
        .map(|query| {
            let text = format!(
                "[[listener]]\naddress = \":80\"\n[pool.main]\norigins = \"http://a\"\n[[site]]\nhosts = \"*\"\n{query}"
            );
            let around = Surroundings {
            unfit: |_, _| None,
                host_name: "n1".to_owned(),
                cores: 1,
                base: PathBuf::new(),
                no_list: |_, _| None,
                unreadable: |_| None,
                page: |_| Ok(Vec::new()),
        no_database: |_| None,
        no_modsecurity: |_| None,
            };
            let config = check("fuzz", &text, &around).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            RouteTable::new(&config.sites).expect("no files to read")
        })
        .collect()
});

const KEYER: Keyer = Keyer::new([3; 32]);

/// Words of URLs.
pub const WORDS: &[&str] = &[
    "a.example",
    "A.EXAMPLE",
    "a.example.",
    ":80",
    ":443",
    ":8080",
    "[::1]",
    "[0::1]",
    "xn--",
    "/",
    "/.",
    "/..",
    "/../",
    "/./",
    "//",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "%00",
    "%25",
    "%",
    "%6",
    "%zz",
    "%61",
    "%C3%A4",
    "\u{e4}",
    ";x=y",
    "?",
    "&",
    "=",
    "a=1",
    "utm_source=x",
    "utm%5fa",
    "fbclid",
    "+",
    "#",
    "*",
    "\n",
    "Authorization: x\n",
    "Cache-Control: no-store\n",
    "Connection: cookie\n",
    "Accept-Encoding: gzip\n",
    "Range: bytes=0-1\n",
];
