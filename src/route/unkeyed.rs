//! Request fields that change what origins answer without being in the key: the ways a cache is poisoned (FAULTS C1).
//!
//! A name is compared as origins compare it: without case, and with everything that is neither letter nor digit counted as
//! `-`, since CGI, WSGI and PHP make `X_Forwarded_Host` and `X-Forwarded-Host` one variable. So a name that only looks
//! like a framing or hop-by-hop field is taken out too.
//!
//! Invariant: no field of this table reaches an origin on a route that may be cached, whatever its pass list says.

use super::policy::Purpose;
use crate::listener::fields::FieldId;

/// How far a field of the table is kept from the origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Barred {
    /// From every request: only an edge may say it, or it sends the request elsewhere than it was routed.
    Always,
    /// From requests whose answer may be stored; around the cache it is the origin's own business.
    FromFills,
}

/// Whether a field with this id may be kept from the origin. Nearly all that browsers send has a name that is well known, spelt as
/// it should be, and not in the table.
#[inline]
pub(super) const fn may_be_barred(id: FieldId) -> bool {
    use FieldId::{Forwarded, Other, XForwardedFor, XForwardedHost, XForwardedProto};
    matches!(id, Other | Forwarded | XForwardedFor | XForwardedHost | XForwardedProto)
}

/// Whether a field is kept from the origin.
pub(super) fn is_barred(name: &[u8], purpose: Purpose) -> bool {
    if may_be_one_of(name, &TABLE_LENGTHS)
        && let Some((_, barred, _)) = TABLE.iter().find(|(known, ..)| is_alike(name, known))
    {
        return match barred {
            Barred::Always => true,
            Barred::FromFills => purpose == Purpose::Fill,
        };
    }
    may_be_one_of(name, &DISGUISED_LENGTHS)
        && name.iter().any(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
        && DISGUISED.iter().any(|known| is_alike(name, known) && !name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether an origin may take `name` for `known`, which is lower case.
pub(crate) fn is_alike(name: &[u8], known: &str) -> bool {
    name.len() == known.len()
        && name.iter().zip(known.as_bytes()).all(|(byte, known)| folded(*byte) == *known)
}

/// A byte of a name as origins compare it.
const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Whether a name of a table begins so and is as long: most of what clients send is not worth a search.
fn may_be_one_of(name: &[u8], lengths: &Lengths) -> bool {
    let Some(first) = name.first() else { return false };
    let lengths = lengths.get(usize::from(folded(*first))).copied().unwrap_or(0);
    u32::try_from(name.len()).is_ok_and(|length| lengths.checked_shr(length).unwrap_or(0) & 1 == 1)
}

/// By the first byte of the names of a table: a bit for each length that such a name has.
type Lengths = [u64; 256];

static TABLE_LENGTHS: Lengths = {
    let mut lengths = [0; 256];
    let mut at = 0;
    while at < TABLE.len() {
        let name = TABLE[at].0.as_bytes();
        lengths[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    lengths
};

static DISGUISED_LENGTHS: Lengths = {
    let mut lengths = [0; 256];
    let mut at = 0;
    while at < DISGUISED.len() {
        let name = DISGUISED[at].as_bytes();
        lengths[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    lengths
};

/// Name, how far it is barred, and what it does to whom.
#[rustfmt::skip]
const TABLE: &[(&str, Barred, &str)] = &[
    // The host the origin builds links, redirects and canonical URLs from.
    ("x-forwarded-host", Barred::Always, "host in links; ours is set behind this table"),
    ("x-forwarded-server", Barred::Always, "host in links: Apache, Java frameworks"),
    ("x-forwarded-hostname", Barred::Always, "host in links: load balancer dialect"),
    ("x-host", Barred::Always, "host in links: PHP frameworks"),
    ("x-original-host", Barred::Always, "host in links: Azure gateways and what stands behind them"),
    ("x-backend-host", Barred::Always, "host of an inner proxy"),
    ("x-http-host-override", Barred::Always, "host in links: ASP and PHP"),
    ("x-http-host", Barred::Always, "host in links: CGI dialect"),
    ("x-host-override", Barred::Always, "host in links"),
    ("x-forwarded-domain", Barred::Always, "tenant of multi-tenant applications"),
    ("x-real-host", Barred::Always, "host in links"),
    ("proxy-host", Barred::Always, "host of an inner proxy"),
    ("forwarded", Barred::Always, "RFC 7239; ours is set behind this table"),
    ("x-forwarded", Barred::Always, "forerunner of Forwarded"),
    ("forwarded-for", Barred::Always, "forerunner of Forwarded"),
    ("forwarded-host", Barred::Always, "forerunner of Forwarded"),
    ("forwarded-proto", Barred::Always, "forerunner of Forwarded"),
    // Scheme and port: redirect loops that get stored.
    ("x-forwarded-proto", Barred::Always, "redirect loops; ours is set behind this table"),
    ("x-forwarded-protocol", Barred::Always, "scheme: Rails and Django dialect"),
    ("x-forwarded-scheme", Barred::Always, "scheme: Rack, redirect loops"),
    ("x-forwarded-ssl", Barred::Always, "scheme: Rack, Django"),
    ("x-forwarded-port", Barred::Always, "port in links and redirects"),
    ("x-url-scheme", Barred::Always, "scheme: WSGI dialect"),
    ("x-scheme", Barred::Always, "scheme: ingress controllers"),
    ("front-end-https", Barred::Always, "scheme: IIS, Exchange"),
    ("x-arr-ssl", Barred::Always, "scheme: IIS request routing"),
    ("cloudfront-forwarded-proto", Barred::Always, "scheme: a bought CDN's word"),
    ("cf-visitor", Barred::Always, "scheme: a bought CDN's word"),
    // The path: answers of another page stored under this one, and lists of who may see what passed by.
    ("x-original-url", Barred::Always, "path: Symfony, IIS, Drupal answer another page"),
    ("x-rewrite-url", Barred::Always, "path: Symfony, IIS, Zend answer another page"),
    ("x-original-uri", Barred::Always, "path: ingress controllers"),
    ("x-forwarded-prefix", Barred::Always, "path: Spring puts it in front of links"),
    ("x-forwarded-path", Barred::Always, "path: gateways"),
    ("x-forwarded-uri", Barred::Always, "path: Traefik's authorization dialect"),
    ("x-script-name", Barred::Always, "path: WSGI mounts"),
    ("script-name", Barred::Always, "path: CGI variable as a field"),
    ("path-info", Barred::Always, "path: CGI variable as a field"),
    ("request-uri", Barred::Always, "path: CGI variable as a field"),
    ("x-request-uri", Barred::Always, "path"),
    ("x-proxy-url", Barred::Always, "path of an inner proxy"),
    ("proxy", Barred::Always, "HTTP_PROXY in CGI: the origin's own requests go to the attacker"),
    // The method: the answer to another method, or an error, stored for GET.
    ("x-http-method-override", Barred::FromFills, "method: Rails, Symfony, Express"),
    ("x-http-method", Barred::FromFills, "method: OData"),
    ("x-method-override", Barred::FromFills, "method: IBM dialect"),
    ("x-method", Barred::FromFills, "method"),
    // The client: what is said to one address stored for all.
    ("x-forwarded-for", Barred::Always, "address; ours is set behind this table"),
    ("x-original-forwarded-for", Barred::Always, "address: ingress controllers"),
    ("x-real-ip", Barred::Always, "address: nginx dialect"),
    ("x-client-ip", Barred::Always, "address: bans by address stored for all"),
    ("client-ip", Barred::Always, "address: PHP libraries read it first"),
    ("x-cluster-client-ip", Barred::Always, "address: load balancer dialect"),
    ("x-remote-ip", Barred::Always, "address"),
    ("x-remote-addr", Barred::Always, "address"),
    ("x-originating-ip", Barred::Always, "address: mail gateways"),
    ("x-custom-ip-authorization", Barred::Always, "address: passes lists of who may"),
    ("x-envoy-external-address", Barred::Always, "address: Envoy"),
    ("true-client-ip", Barred::Always, "address: a bought CDN's word"),
    ("fastly-client-ip", Barred::Always, "address: a bought CDN's word"),
    ("cf-connecting-ip", Barred::Always, "address: a bought CDN's word"),
    ("cf-ipcountry", Barred::Always, "country: a bought CDN's word"),
    ("x-country-code", Barred::FromFills, "country: pages by country stored for all"),
    ("x-user-agent", Barred::FromFills, "device: pages by device stored for all"),
    ("x-device", Barred::FromFills, "device: pages by device stored for all"),
    // What makes an application answer something else than the page.
    ("x-middleware-subrequest", Barred::Always, "Next.js: passes by its authorization"),
    ("x-middleware-prefetch", Barred::FromFills, "Next.js: an empty object for a page"),
    ("x-nextjs-data", Barred::FromFills, "Next.js: data in place of a page"),
    ("x-invoke-path", Barred::Always, "Next.js: renders another page"),
    ("x-invoke-status", Barred::Always, "Next.js: renders an error page as the answer"),
    ("x-invoke-query", Barred::Always, "Next.js: renders with another query"),
    ("x-now-route-matches", Barred::Always, "Next.js: renders with another route"),
    ("x-matched-path", Barred::Always, "Next.js: renders another page"),
    ("x-amz-website-redirect-location", Barred::FromFills, "object stores: an error in place of the object"),
    ("x-amz-server-side-encryption", Barred::FromFills, "object stores: an error in place of the object"),
    ("max-forwards", Barred::FromFills, "RFC 9110 §7.6.2: an inner proxy answers in the origin's place"),
    ("surrogate-capability", Barred::FromFills, "edge includes in place of a page"),
    ("x-debug", Barred::FromFills, "diagnostics in the page"),
    ("x-accel-buffering", Barred::FromFills, "an inner nginx obeys it"),
    ("x-accel-redirect", Barred::Always, "an inner nginx obeys it"),
    ("x-sendfile", Barred::Always, "an inner server obeys it"),
    ("soapaction", Barred::FromFills, "method of a service: a fault stored for all"),
];

/// Fields that count only under their own spelling: with an underscore they are a smuggler's.
const DISGUISED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "connection",
    "cookie",
    "authorization",
    "proxy-authorization",
    "cdn-loop",
    "via",
    "user-agent",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "proxy-connection",
    "keep-alive",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_of_the_table_reaches_the_origin_of_a_fill_in_any_spelling() {
        assert!(TABLE.len() >= 40, "FAULTS B6 asks for 40, there are {}", TABLE.len());
        for (name, ..) in TABLE {
            for spelling in
                [(*name).to_owned(), name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")]
            {
                assert!(is_barred(spelling.as_bytes(), Purpose::Fill), "{spelling}");
                assert!(may_be_barred(FieldId::of(spelling.as_bytes())), "{spelling}");
            }
        }
    }

    #[test]
    fn around_the_cache_only_what_an_edge_may_say_is_barred() {
        for (name, passes) in [
            ("x-http-method-override", true),
            ("soapaction", true),
            ("x-original-url", false),
            ("x_original_url", false),
            ("x-forwarded-host", false),
            ("content_length", false),
            ("content-type", true),
            ("x-requested-with", true),
        ] {
            assert_eq!(!is_barred(name.as_bytes(), Purpose::Pass), passes, "{name}");
        }
    }

    #[test]
    fn every_name_is_there_once_in_lower_case_with_a_reason() {
        for (at, (name, _, reason)) in TABLE.iter().enumerate() {
            assert_eq!(*name, name.to_lowercase(), "{name}");
            assert!(!reason.is_empty(), "{name}");
            assert!(TABLE.iter().skip(at + 1).all(|(other, ..)| other != name), "{name} is there twice");
        }
    }
}
