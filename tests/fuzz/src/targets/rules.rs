//! Header values of clients and origins: `cache-store/src/rules/`.

use cache_store::rules::cache_control::{CacheControl, Directives, RequestControl, delta_seconds};
use cache_store::rules::date;
use cache_store::rules::invalidate::{invalidated, resolve};
use cache_store::rules::partial::{Answer, ContentRange, Held, Part, Requested, Resolved};
use cache_store::rules::policy::{Policy, ShortPart};
use cache_store::rules::reuse::by_time;
use cache_store::rules::targeted::Governing;
use cache_store::rules::update::{confirmed, head_effect, merged};
use cache_store::rules::validator::{Comparison, ETag, Validators, evaluate, if_range_holds};
use cache_store::rules::vary::Match;
use cache_store::rules::{Purged, RequestHead, ResponseHead, Reuse, Target, VarySpec, reuse, storable};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{field_lines, lines};
use crate::reached;

/// One value, read as each kind: readers do not contradict one another, nor the standards' other readers.
pub fn header_values(data: &[u8]) {
    let directives = Directives::new(data).count() + Directives::with_parameters(data).count();
    assert!(directives <= 2 * data.len(), "a directive costs a byte at least");
    let mut control = CacheControl::default();
    control.read(data);
    let flags: Vec<_> = (0..9).filter(|bit| control.has(1 << bit)).collect();
    let lifetimes =
        [&control.max_age, &control.s_maxage, &control.stale_while_revalidate, &control.stale_if_error];
    reached((flags, lifetimes.map(|lifetime| lifetime.seconds().map(|seconds| seconds.min(1)))));
    reached(delta_seconds(data).map(|seconds| seconds.min(2)));

    if let Some(moment) = date::parse(data) {
        let text = std::str::from_utf8(data).unwrap_or_else(|_| panic!("a date is ASCII"));
        reached("date");
        // httpdate takes the 31st of any month for a day of the next; ours refuses it.
        if let Ok(theirs) = httpdate::parse_http_date(text)
            && let Ok(since) = theirs.duration_since(std::time::UNIX_EPOCH)
        {
            assert_eq!(moment.as_secs(), since.as_secs(), "{text}");
        }
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(moment.as_secs());
        assert_eq!(date::parse(httpdate::fmt_http_date(at).as_bytes()), Some(moment), "{text}");
    }
    if let Some(tag) = ETag::parse(data) {
        reached(("etag", tag.weak));
        assert!(tag.matches(tag, Comparison::Weak), "a tag is weakly its own");
        assert_eq!(tag.matches(tag, Comparison::Strong), !tag.weak);
    }
    if let Some(range) = ContentRange::parse(data) {
        reached(("content-range", range.complete.is_some()));
        assert!(range.complete.is_none_or(|complete| range.span.end() <= complete));
        let written = match range.complete {
            Some(complete) => format!("bytes {}-{}/{complete}", range.span.first(), range.span.last()),
            None => format!("bytes {}-{}/*", range.span.first(), range.span.last()),
        };
        assert_eq!(ContentRange::parse(written.as_bytes()), Some(range), "{written}");
    }
    if let Some(requested) = Requested::parse(data) {
        for complete in [0, 1, 10, u64::MAX] {
            match requested.resolve(complete) {
                Resolved::Spans(spans) => {
                    reached(("spans", spans.len()));
                    assert!(!spans.is_empty() && spans.len() <= requested.ranges().len());
                    assert!(spans.iter().all(|span| span.end() <= complete));
                }
                Resolved::Unsatisfiable => reached("unsatisfiable"),
                Resolved::Ignore => reached("ignore"),
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(path) = resolve(&TARGET, text)
    {
        reached("resolved");
        assert!(path.starts_with('/') && !path.contains('#'), "{path}");
    }
}

/// A request, the response to it, and another response, through every rule under every policy.
///
/// First line: method, status, and four moments in milliseconds; then the fields of each, with empty lines between.
pub fn caching_rules(data: &[u8]) {
    let mut lines = lines(data);
    let start = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let mut words = start.split(' ');
    let method =
        words.next().and_then(|word| Method::from_bytes(word.as_bytes()).ok()).unwrap_or(Method::GET);
    let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(StatusCode::OK);
    let mut moment = || words.next().and_then(|word| word.parse().ok()).unwrap_or(1_700_000_000_000);
    let [requested, received, wall, now] = std::array::from_fn(|_| Timestamp::from_millis(moment()));
    let [request, response, news] = std::array::from_fn(|_| map(&field_lines(&mut lines)));
    let ask = RequestHead { method: &method, target: TARGET, fields: &request };
    let answer = ResponseHead { status, fields: &response };
    for policy in [Policy::default(), Policy::rfc(), Policy::static_site(), Policy::news()] {
        let control = RequestControl::of(&request, &policy);
        match storable(&ask, &answer, &policy, requested, received, wall) {
            Err(reason) => reached(reason),
            Ok(kept) => {
                let governing = Governing::of(&response, &policy).control;
                assert!(!governing.has(CacheControl::PRIVATE), "what is private is not stored");
                assert!(
                    !governing.has(CacheControl::NO_STORE) || governing.has(CacheControl::MUST_UNDERSTAND),
                    "nor what must not be"
                );
                assert!(method == Method::GET || method == Method::POST);
                assert!(!response.get_all("vary").iter().any(|value| value == "*"));
                assert_eq!(kept.vary.matches(&request), Match::Exact, "a response answers its own request");
                times(&kept.freshness, &control, received, now);
                let used = reuse(&kept.freshness, &kept.vary, &ask, &control, Purged::No, now);
                if method == Method::GET {
                    assert_eq!(used, by_time(&kept.freshness, &control, Purged::No, now));
                }
                reached(format!("{used:?}"));
                let gone = reuse(&kept.freshness, &kept.vary, &ask, &control, Purged::Hard, now);
                assert!(matches!(gone, Reuse::NoMatch(_)), "what was purged answers nothing");
            }
        }
        variants(&request, &response, &news, &policy);
    }
    evaluate(&ask, &answer, received);
    if_range_holds(&ask, &response);
    let head = merged(&response, &news);
    assert_eq!(
        head.get("content-length"),
        response.get("content-length"),
        "a 304 does not change the content"
    );
    head_effect(&answer, &ResponseHead { status: StatusCode::OK, fields: &news });
    confirmed(&news, &[Validators::of(&response), Validators::of(&request)]);
    for path in invalidated(&method, &TARGET, &answer) {
        assert!(path.starts_with('/'), "only this origin's are invalidated");
    }
}

fn times(
    freshness: &cache_store::rules::Freshness,
    control: &RequestControl,
    received: Timestamp,
    now: Timestamp,
) {
    assert_eq!(freshness.is_fresh(now), freshness.ttl(now) > 0);
    let later = now.plus(std::time::Duration::from_secs(7));
    assert!(freshness.age(later) >= freshness.age(now), "age never decreases");
    assert!(freshness.is_fresh(now) || !freshness.is_fresh(later), "what is stale stays stale");
    let used = by_time(freshness, control, Purged::No, now);
    assert!(used != Reuse::Fresh || (freshness.is_fresh(now) && !freshness.no_cache()));
    assert!(!matches!(used, Reuse::Stale(_)) || !(freshness.is_fresh(now) || freshness.must_revalidate()));
    assert!(by_time(freshness, control, Purged::Soft(received), now) != Reuse::Fresh, "soft is stale");
}

/// Two requests share a variant exactly when their keys are equal.
fn variants(request: &HeaderMap, response: &HeaderMap, other: &HeaderMap, policy: &Policy) {
    let Some(spec) = VarySpec::of(response, request, policy) else { return };
    let key = |request: &HeaderMap| {
        let mut key = Vec::new();
        spec.write_key(request, &mut |bytes: &[u8]| key.extend_from_slice(bytes));
        key
    };
    let mut own = Vec::new();
    spec.write_own_key(&mut |bytes: &[u8]| own.extend_from_slice(bytes));
    assert_eq!(own, key(request));
    assert_eq!(spec.matches(other) == Match::Exact, own == key(other));
    reached((spec.names().count().min(4), format!("{:?}", spec.matches(other))));
}

/// The pairs that can be fields, as a map.
pub fn map(pairs: &[(&[u8], &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// Parts as origins' 206s bring them, a line each (`Content-Range`, with the length of the content behind a space), then
/// an empty line and what a client asks for: what is held is what arrived, and an answer names nothing else.
pub fn ranges_held(data: &[u8]) {
    let mut held = Held::default();
    let mut arrived = [false; 128];
    let mut lines = lines(data);
    for line in lines.by_ref().take_while(|line| !line.is_empty()).take(32) {
        let at = line.iter().rposition(|byte| *byte == b' ').unwrap_or(line.len());
        let (range, length) = line.split_at(at);
        let length = std::str::from_utf8(length).ok().and_then(|text| text.trim().parse().ok());
        let Some(range) = ContentRange::parse(range) else { continue };
        let length = length.unwrap_or_else(|| range.span.length());
        for policy in [ShortPart::Refuse, ShortPart::TrustFraming] {
            let Some(part) = Part::of(range, length, policy) else { continue };
            assert_eq!(part.span.length(), length, "a part never claims a byte that did not arrive");
            if held.add(part) {
                for (at, byte) in (0_u64..).zip(arrived.iter_mut()) {
                    *byte |= part.span.first() <= at && at <= part.span.last();
                }
            }
        }
    }
    let is_held = |at: u64| held.spans().iter().any(|span| span.first() <= at && at <= span.last());
    for (at, arrived) in (0_u64..).zip(&arrived) {
        assert_eq!(is_held(at), *arrived, "byte {at} of {held:?}");
    }
    for pair in held.spans().windows(2) {
        assert!(
            matches!(pair, [one, next] if one.end() < next.first()),
            "spans are sorted and apart: {held:?}"
        );
    }
    let end = held.spans().last().map_or(0, |span| span.end());
    assert!(held.complete().is_none_or(|complete| end <= complete), "nothing lies past the end: {held:?}");
    let requested = lines.next().and_then(Requested::parse);
    let answer = held.answer(requested.as_ref());
    reached((
        held.spans().len().min(5),
        held.is_whole(),
        std::mem::discriminant(&answer),
        requested.is_some(),
    ));
    match answer {
        Answer::Spans(spans) => {
            assert!(
                spans.iter().all(|span| held.covers(*span)),
                "an answer comes from what is held: {held:?} {spans:?}"
            );
        }
        Answer::Whole => assert!(held.is_whole()),
        Answer::Missing(missing) => {
            let at = missing.iter().find(|span| held.covers(**span));
            assert!(at.is_none(), "what is missing is not held: {held:?} {at:?}");
            if let Some(range) = held.rest(&missing) {
                assert!(Requested::parse(range.as_bytes()).is_some(), "{range}");
            }
        }
        Answer::Unsatisfiable | Answer::Unknown => {}
    }
}

const TARGET: Target<'static> = Target { scheme: "https", authority: "example.org", path: "/a/b?c=d" };

/// Words of header fields.
pub const WORDS: &[&str] = &[
    "GET 200 ",
    "POST 201 ",
    "GET 206 ",
    "HEAD 304 ",
    "GET 404 ",
    "GET 503 ",
    "1700000000000 ",
    "\n\n",
    "Cache-Control: ",
    "CDN-Cache-Control: ",
    "Surrogate-Control: ",
    "Vary: ",
    "Vary: *\n",
    "Age: ",
    "Date: ",
    "Expires: ",
    "Last-Modified: ",
    "ETag: ",
    "Pragma: no-cache\n",
    "Authorization: x\n",
    "Set-Cookie: a=b\n",
    "Content-Range: ",
    "Content-Location: ",
    "Location: ",
    "If-None-Match: ",
    "If-Modified-Since: ",
    "If-Range: ",
    "Range: ",
    "Accept-Encoding: ",
    "Accept-Language: ",
    "x-a: ",
    "max-age=60",
    "s-maxage=60",
    "stale-while-revalidate=30",
    "stale-if-error=600",
    "no-store",
    "no-cache",
    "no-cache=\"set-cookie\"",
    "private",
    "private=\"x-a\"",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "max-stale",
    "min-fresh=10",
    "only-if-cached",
    "bytes=",
    "0-4",
    "-5",
    "5-",
    "bytes 0-4/10",
    "bytes 5-9/10 5",
    "bytes 5-9/* 3",
    "/*",
    "W/",
    "\"a\"",
    "*",
    "gzip;q=0.5, br",
    "en, de;q=0.5",
    "Tue, 14 Nov 2023 22:13:20 GMT",
    "Tuesday, 14-Nov-23 22:13:20 GMT",
    "Tue Nov 14 22:13:20 2023",
    "Sat, 01 Jan 2000 00:00:00 GMT",
    " GMT",
    "https://example.org/x",
    "//example.org:443/y",
    "../z?q#f",
];
