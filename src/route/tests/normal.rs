//! RFC 3986 §5.2.4, §6.2; FAULTS C3 to C5, S8, S9.

use super::super::{Malformed, Normal};
use crate::listener::request::Scheme;

fn normal(scheme: Scheme, authority: &[u8], target: &[u8]) -> Result<(String, String), Malformed> {
    let normal = Normal::of(scheme, authority, target)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok((text(normal.authority.as_bytes()), text(normal.target.as_bytes())))
}

#[test]
fn a_host_has_one_spelling() {
    use Scheme::{Http, Https};
    for (claim, scheme, received, expected) in [
        ("a normal host stays", Http, "www.example.com", "www.example.com"),
        ("capitals become small", Http, "WWW.Example.COM", "www.example.com"),
        ("the last dot goes", Http, "www.example.com.", "www.example.com"),
        ("the scheme's port goes", Http, "a.example:80", "a.example"),
        ("the scheme's port goes, over TLS", Https, "a.example:443", "a.example"),
        ("the other scheme's port stays", Https, "a.example:80", "a.example:80"),
        ("a port of its own stays", Http, "a.example:8080", "a.example:8080"),
        ("an empty port goes", Http, "a.example:", "a.example"),
        ("dot, capitals and port at once", Http, "A.Example.:80", "a.example"),
        ("a dot in front of a port that stays", Http, "a.example.:81", "a.example:81"),
        ("a name in ASCII form", Http, "XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("an underscore is a letter", Http, "a_b.example", "a_b.example"),
        ("an IPv4 address", Http, "192.0.2.1:80", "192.0.2.1"),
        ("IPv6 as RFC 5952 writes it", Http, "[2001:DB8:0:0:0:0:0:1]:80", "[2001:db8::1]"),
        ("IPv6 keeps a port of its own", Https, "[::1]:8443", "[::1]:8443"),
        ("the longest label", Http, &"a".repeat(63), &"a".repeat(63)),
    ] {
        let found = normal(scheme, received.as_bytes(), b"/").map(|(authority, _)| authority);
        assert_eq!(found.as_deref(), Ok(expected), "{claim}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    let long_name = [&"a".repeat(60); 5].map(String::as_str).join(".");
    for (claim, received, expected) in [
        ("none", &b""[..], Malformed::HostMissing),
        ("two", b"a.example,b.example", Malformed::Host),
        ("with a user", b"user@a.example", Malformed::Host),
        ("with a user and password", b"user:1@a.example", Malformed::Port),
        ("with a path", b"a.example/x", Malformed::Host),
        ("with a space", b"a.example b", Malformed::Host),
        ("with a tab behind", b"a.example\t", Malformed::Host),
        ("with an encoded byte", b"a%2eexample", Malformed::Host),
        ("in raw UTF-8", "b\u{fc}cher.example".as_bytes(), Malformed::Host),
        ("with a NUL", b"a\0.example", Malformed::Host),
        ("an empty label", b"a..example", Malformed::Host),
        ("an empty first label", b".example", Malformed::Host),
        ("two last dots", b"a.example..", Malformed::Host),
        ("a dot alone", b".", Malformed::Host),
        ("a port alone", b":80", Malformed::Host),
        ("a label too long", "a".repeat(64).as_bytes(), Malformed::Host),
        ("a name too long", long_name.as_bytes(), Malformed::Host),
        ("port 0", b"a.example:0", Malformed::Port),
        ("port 99999", b"a.example:99999", Malformed::Port),
        ("port with a leading zero", b"a.example:080", Malformed::Port),
        ("port with a sign", b"a.example:+80", Malformed::Port),
        ("two ports", b"a.example:80:80", Malformed::Port),
        ("IPv6 without its end", b"[::1", Malformed::Host),
        ("IPv6 with a zone", b"[fe80::1%25eth0]", Malformed::Host),
        ("IPv6 with something behind", b"[::1]x", Malformed::Host),
        ("an address of the future", b"[v1.x]", Malformed::Host),
        ("IPv6 without brackets", b"2001:db8::1", Malformed::Port),
    ] {
        assert_eq!(normal(Scheme::Http, received, b"/"), Err(expected), "{claim}");
    }
}

#[test]
fn a_target_has_one_spelling() {
    for (claim, received, expected) in [
        ("a normal path stays", "/a/b.html", "/a/b.html"),
        ("the star of OPTIONS stays", "*", "*"),
        ("hexadecimal digits become capitals", "/%c3%a4", "/%C3%A4"),
        ("encoded unreserved characters are decoded", "/%41%7e%5f%2D", "/A~_-"),
        ("an encoded slash is never decoded", "/a%2fb", "/a%2Fb"),
        ("an encoded backslash is never decoded", "/a%5cb", "/a%5Cb"),
        ("an encoded NUL is never decoded", "/a%00", "/a%00"),
        ("an encoded percent sign is never decoded", "/%252e%252e/", "/%252e%252e/"),
        ("an encoding is not made of decoded pieces", "/%25%32%65", "/%252e"),
        ("an overlong encoding stays what it is", "/%c0%ae%c0%ae/", "/%C0%AE%C0%AE/"),
        ("an encoded delimiter stays encoded", "/a%3bb%3fc%23d", "/a%3Bb%3Fc%23d"),
        ("a raw delimiter stays raw", "/a;b=c,d", "/a;b=c,d"),
        ("what a URI cannot hold is encoded", "/a|b{c}", "/a%7Cb%7Bc%7D"),
        ("brackets stay as they are", "/a[1]?b[]=%5b%5d", "/a[1]?b[]=%5B%5D"),
        ("a dot segment goes", "/a/./b", "/a/b"),
        ("a dot segment at the end leaves the slash", "/a/.", "/a/"),
        ("a parent segment takes one with it", "/a/b/../c", "/a/c"),
        ("a parent segment at the end leaves the slash", "/a/b/..", "/a/"),
        ("above the root is the root", "/../../a", "/a"),
        ("an encoded dot segment goes as well", "/a/%2e%2E/b", "/b"),
        ("half encoded too", "/a/.%2e/b", "/b"),
        ("three dots are a name", "/a/.../b", "/a/.../b"),
        ("a name may begin with dots", "/..a/.b", "/..a/.b"),
        ("an empty segment is a segment", "/a//b///c", "/a//b///c"),
        ("a parent of an empty segment", "/a//../b", "/a/b"),
        ("dots with a parameter are a name", "/a/..;/b", "/a/..;/b"),
        ("dots in a query are text", "/a?b=/../c", "/a?b=/../c"),
        ("no query is not an empty one", "/a", "/a"),
        ("an empty query stays", "/a?", "/a?"),
        ("the first question mark parts", "/a?b?c=?", "/a?b?c=?"),
        ("a query is decoded alike", "/a?%61=%2f%7e", "/a?a=%2F~"),
        ("a plus stays a plus", "/a?b=c+d%20e%2bf", "/a?b=c+d%20e%2Bf"),
        ("a percent sign alone in a query is one", "/a?b=100%", "/a?b=100%25"),
        ("a half encoding in a query is text", "/a?b=%4&c=%zz", "/a?b=%254&c=%25zz"),
        ("a backslash in a query is encoded", r"/a?b=c\d", "/a?b=c%5Cd"),
    ] {
        let found = normal(Scheme::Http, b"a.example", received.as_bytes()).map(|(_, target)| target);
        assert_eq!(found.as_deref(), Ok(expected), "{claim}");
    }
}

#[test]
fn a_target_that_origins_read_in_two_ways_is_refused() {
    for (claim, received, expected) in [
        ("empty", &b""[..], Malformed::Form),
        ("without a slash", b"a", Malformed::Form),
        ("a query alone", b"?a", Malformed::Form),
        ("a star with more", b"*/", Malformed::Form),
        ("a URL", b"http://a.example/", Malformed::Form),
        ("a fragment", b"/a#b", Malformed::Byte),
        ("a fragment in the query", b"/a?b#c", Malformed::Byte),
        ("a backslash", br"/a\..\b", Malformed::Byte),
        ("a space", b"/a b", Malformed::Byte),
        ("a tab", b"/a\tb", Malformed::Byte),
        ("a line feed", b"/a\nb", Malformed::Byte),
        ("a carriage return in the query", b"/a?b\rc", Malformed::Byte),
        ("a NUL", b"/a\0", Malformed::Byte),
        ("DEL", b"/a\x7f", Malformed::Byte),
        ("raw UTF-8", "/\u{e4}".as_bytes(), Malformed::Byte),
        ("a percent sign alone", b"/100%", Malformed::Percent),
        ("a half encoding", b"/a%4", Malformed::Percent),
        ("an encoding with letters beyond F", b"/%zz", Malformed::Percent),
        ("an encoding with a sign", b"/%+1", Malformed::Percent),
    ] {
        assert_eq!(normal(Scheme::Http, b"a.example", received), Err(expected), "{claim}");
    }
}

/// The hit path must not allocate for what nearly every request is.
#[test]
fn what_is_normal_is_borrowed() {
    for (authority, target) in [
        ("www.example.com", "/"),
        ("www.example.com:8080", "/a/b.c/d..e?f=g&h=%20"),
        ("www.example.com:80", "/%C3%A4//;x=y?"),
        ("www.example.com.", "/.well-known/x"),
    ] {
        let normal = Normal::of(Scheme::Http, authority.as_bytes(), target.as_bytes()).unwrap();
        assert!(matches!(normal.authority.into_bytes(), std::borrow::Cow::Borrowed(_)), "{authority}");
        assert!(matches!(normal.target.into_bytes(), std::borrow::Cow::Borrowed(_)), "{target}");
    }
}

#[test]
fn a_url_as_written_is_the_request_it_makes() {
    for (claim, url, scheme, authority, target) in [
        ("a whole URL", "https://A.example:443/x?y", Scheme::Https, "a.example", "/x?y"),
        ("without a path", "http://a.example", Scheme::Http, "a.example", "/"),
        ("a query without a path", "http://a.example?x", Scheme::Http, "a.example", "/?x"),
        ("the scheme in capitals", "HTTP://a.example/", Scheme::Http, "a.example", "/"),
        ("a fragment is the browser's", "http://a.example/x#y?z", Scheme::Http, "a.example", "/x"),
        (
            "letters of any language",
            "http://a.example/\u{e4}?\u{e4}",
            Scheme::Http,
            "a.example",
            "/%C3%A4?%C3%A4",
        ),
        ("space around it", " http://a.example/x\n", Scheme::Http, "a.example", "/x"),
    ] {
        let found = Normal::from_url(url).unwrap();
        assert_eq!(found.scheme, scheme, "{claim}");
        assert_eq!(found.authority.as_bytes(), authority.as_bytes(), "{claim}");
        assert_eq!(found.target.as_bytes(), target.as_bytes(), "{claim}");
    }
    for (claim, url, expected) in [
        ("without a scheme", "a.example/x", Malformed::Scheme),
        ("another scheme", "ftp://a.example/", Malformed::Scheme),
        ("without a host", "http:///x", Malformed::HostMissing),
        ("a host in raw UTF-8", "http://b\u{fc}cher.example/", Malformed::Host),
        ("a space within", "http://a.example/a b", Malformed::Byte),
    ] {
        assert_eq!(Normal::from_url(url), Err(expected), "{claim}");
    }
}
