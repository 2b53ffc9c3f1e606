use proptest::prelude::*;

use super::*;

/// Everything as it is written, but for what a test says has no normal form.
fn as_written(url: &ResourceUrl) -> Result<ResourceUrl, UrlError> {
    if url.target().contains("%zz") {
        Err(UrlError::Abnormal("a stray percent sign"))
    } else {
        Ok(url.clone())
    }
}

fn parse(body: &str) -> Result<PurgeRequest, Refusal> {
    PurgeRequest::parse(body.as_bytes(), &as_written)
}

/// A request in short: its selectors, and what is not as it is by default.
fn short(request: &PurgeRequest) -> String {
    let mut out = String::new();
    for selector in &request.order.selectors {
        out.extend([selector.scope().as_str(), ":", &selector.to_string(), " "]);
    }
    for (said, word) in
        [(request.order.soft, "soft "), (request.dry_run, "dry "), (request.wait == Wait::Fleet, "fleet ")]
    {
        out += if said { word } else { "" };
    }
    out.trim_end().to_owned()
}

#[test]
fn requests() {
    for (claim, body, expected) in [
        ("one URL is purged hard", r#"{"urls":["https://a/x"]}"#, "url:https://a/x"),
        ("soft is said", r#"{"urls":["https://a/x"],"soft":true}"#, "url:https://a/x soft"),
        ("a dry run is said", r#"{"urls":["http://a/"],"dry_run":true}"#, "url:http://a/ dry"),
        ("waiting may be named", r#"{"urls":["http://a/"],"wait":"fleet"}"#, "url:http://a/ fleet"),
        ("so may not waiting", r#"{"urls":["http://a/"],"wait":"node"}"#, "url:http://a/"),
        ("a prefix", r#"{"prefixes":["https://a/news/"]}"#, "prefix:https://a/news/"),
        ("a host", r#"{"hosts":["A.example"]}"#, "host:a.example"),
        ("a tag", r#"{"tags":["article:42"]}"#, "tag:article:42"),
        ("everything", r#"{"everything":true}"#, "everything:"),
        ("everything may be soft", r#"{"everything":true,"soft":true}"#, "everything: soft"),
        (
            "lists of all kinds are one order",
            r#"{"tags":["t"],"hosts":["h"],"prefixes":["http://p/"],"urls":["http://u/","http://v/"],"soft":true}"#,
            "url:http://u/ url:http://v/ prefix:http://p/ host:h tag:t soft",
        ),
        (
            "empty lists beside it do not matter",
            r#"{"urls":["http://a/"],"tags":[],"hosts":null,"everything":false}"#,
            "url:http://a/",
        ),
        ("everything with empty lists is everything", r#"{"everything":true,"urls":[]}"#, "everything:"),
    ] {
        let request = parse(body).unwrap_or_else(|refusal| panic!("{claim}: {refusal}"));
        assert_eq!(short(&request), expected, "{claim}");
    }
}

#[test]
fn what_is_no_request() {
    let many = |count| format!(r#"{{"tags":["t"],"urls":[{}]}}"#, vec![r#""https://a/""#; count].join(","));
    assert!(parse(&many(ENTRIES_MAX - 1)).is_ok());
    for (claim, body, told) in [
        ("nothing is not everything", "{}", "nothing is selected"),
        ("empty lists are not everything", r#"{"urls":[],"tags":[]}"#, "nothing is selected"),
        ("everything that is false is nothing", r#"{"everything":false}"#, "nothing is selected"),
        ("soft alone selects nothing", r#"{"soft":true}"#, "nothing is selected"),
        ("everything beside URLs", r#"{"everything":true,"urls":["http://a/"]}"#, "without urls"),
        ("everything beside tags", r#"{"everything":true,"tags":["t"]}"#, "without tags"),
        ("a misspelt member", r#"{"urls":["http://a/"],"sotf":true}"#, "#/sotf: not known"),
        ("a member in another case", r#"{"URLs":["http://a/"]}"#, "#/URLs: not known"),
        ("a member twice", r#"{"urls":["http://a/"],"urls":[]}"#, "`urls` twice"),
        ("a string for a list", r#"{"urls":"http://a/"}"#, "#/urls: not a list: write `[\"https://"),
        ("everything as a string", r#"{"everything":"true"}"#, "#/everything: not `true` or `false`"),
        ("everything as a number", r#"{"everything":1}"#, "#/everything: not `true` or `false`"),
        ("softness that is nothing", r#"{"urls":["http://a/"],"soft":null}"#, "#/soft: not `true`"),
        ("waiting for ever", r#"{"urls":["http://a/"],"wait":"ever"}"#, "#/wait: not `\"node\"`"),
        ("two such mistakes", r#"{"a":1,"b":2}"#, "2 members of the body cannot be understood"),
        ("no body", "", "the body is not a purge request"),
        ("a list", "[]", "expected an object"),
        ("a second value behind it", r#"{"urls":["http://a/"]} {}"#, "trailing characters"),
        (
            "too many entries over all lists",
            &many(ENTRIES_MAX),
            "10001 entries, but one call may carry 10000",
        ),
        (
            "a path",
            r#"{"urls":["http://a/","/b"]}"#,
            "one URL cannot be understood, #/urls/1: not an absolute",
        ),
        ("a number", r#"{"tags":["a",7]}"#, "one tag cannot be understood, #/tags/1: not a string"),
        ("an empty tag", r#"{"tags":[""]}"#, "#/tags/0: an empty tag"),
        ("a host with a port", r#"{"hosts":["a:80"]}"#, "a host is purged on all its ports: write `a`"),
        ("a prefix with a query", r#"{"prefixes":["http://a/?x"]}"#, "a prefix ends with its path"),
        ("a URL without normal form", r#"{"urls":["http://a/%zz"]}"#, "a stray percent sign"),
        ("a prefix without", r#"{"prefixes":["http://a/%zz"]}"#, "a stray percent sign"),
    ] {
        let told_instead = match parse(body) {
            Ok(request) => short(&request),
            Err(refusal) => refusal.to_string(),
        };
        assert!(told_instead.contains(told), "{claim}: {told_instead}");
    }
}

#[test]
fn all_mistakes_of_a_body_are_told_by_their_places() {
    let body = r#"{"tags":["ok","a b"],"urls":["/x","http://a/","ftp://a/"],"hosts":["http://a"]}"#;
    let Err(Refusal::Entries(mistakes, Scope::Url)) = parse(body) else { panic!("{:?}", parse(body)) };
    let places: Vec<_> = mistakes.iter().map(|mistake| mistake.pointer.as_str()).collect();
    assert_eq!(places, ["#/urls/0", "#/urls/2", "#/hosts/0", "#/tags/1"]);

    let body = format!(r#"{{"tags":[{}]}}"#, vec!["1"; 1_000].join(","));
    let Err(Refusal::Entries(mistakes, Scope::Tag)) = parse(&body) else { panic!("it is refused") };
    assert_eq!(mistakes.len(), MISTAKES_MAX, "as many as anybody reads");
}

#[test]
fn a_pointer_can_hold_any_name() {
    assert_eq!(pointer(&["a/b~c", "0"]), "#/a~1b~0c/0");
    assert_eq!(pointer(&["é\n"]), "#/%C3%A9%0A");
}

proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = PurgeRequest::parse(&body, &as_written);
    }

    /// However a body is put together: it selects what its lists hold, or it is refused.
    #[test]
    fn a_request_selects_what_it_names_and_nothing_else(
        urls in proptest::collection::vec("https?://[a-z]{1,3}/[a-z?#% ]{0,6}", 0..4),
        tags in proptest::collection::vec("[a-z ,]{0,4}", 0..4),
        everything in proptest::option::of(any::<bool>()),
    ) {
        let mut body = serde_json::json!({ "urls": urls, "tags": tags });
        if let Some(everything) = everything {
            body["everything"] = everything.into();
        }
        if let Ok(request) = parse(&body.to_string()) {
            let selectors = &request.order.selectors;
            if selectors.contains(&Selector::Everything) {
                prop_assert_eq!(selectors.len(), 1);
                prop_assert!(everything == Some(true) && urls.is_empty() && tags.is_empty());
            } else {
                prop_assert_eq!(selectors.len(), urls.len() + tags.len());
                prop_assert!(!selectors.is_empty());
            }
        }
    }
}
