//! What `[cache]`, a site and a route may each decide, and how they are laid over each other.
//!
//! The preset is the ground: the route's, else the site's. Over it go the keys written in `[cache]`, then the site's, then the
//! route's; the nearest that is written decides. So a key is read once, into a [`Changes`], and applied as often as
//! needed.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cache_store::rules::policy::{Heuristic, RequestDirectives, SetCookie, ShortPart};
use http::HeaderName;

use super::super::file::{Item, Section};
use super::super::limits::KEY_PARTS_MAX;
use super::super::mistake::Complaint;
use super::super::{Cookies, Forward, KeyParts, RoutePolicy, value};
use super::answers::{self, WrittenPages};
use super::headers::{Side, Written, headers};
use super::rewrite::rewrite;
use super::{Surroundings, conditions, encode};
use crate::listener::fields;

/// Keys that were written, as what they do to a policy.
#[derive(Clone, Default)]
pub(super) struct Changes(Vec<Change>);

type Change = Arc<dyn Fn(&mut RoutePolicy)>;

impl Changes {
    /// Lays `nearer` over these.
    pub(super) fn extend(&mut self, nearer: Self) {
        self.0.extend(nearer.0);
    }

    /// `ground` with them laid over it.
    pub(super) fn over(&self, mut ground: RoutePolicy) -> RoutePolicy {
        for change in &self.0 {
            change(&mut ground);
        }
        ground
    }

    /// Notes what to do with a value, if there is one.
    pub(super) fn note<T: 'static>(
        &mut self,
        value: Option<T>,
        change: impl Fn(&mut RoutePolicy, &T) + 'static,
    ) {
        if let Some(value) = value {
            self.0.push(Arc::new(move |policy| change(policy, &value)));
        }
    }
}

/// Keys of the caching rules: in `[cache]`, a site or a route.
pub(super) fn rules(section: &Section<'_>) -> Changes {
    let mut changes = Changes::default();
    lifetimes(section, &mut changes);
    let window = |key| section.item(key).and_then(|item| or_off(&item)).map(Option::unwrap_or_default);
    changes
        .note(window("stale_while_revalidate"), |policy, time| policy.rules.stale_while_revalidate = *time);
    changes.note(window("stale_if_error"), |policy, time| policy.rules.stale_if_error = *time);
    let flag = |key| section.item(key).and_then(|item| item.flag());
    changes.note(flag("s_maxage_forbids_stale"), |policy, flag| policy.rules.s_maxage_forbids_stale = *flag);
    changes.note(flag("select_by_language"), |policy, flag| policy.rules.select_by_language = *flag);
    changes.note(section.item("set_cookie").and_then(|item| item.word(&SET_COOKIE)), |policy, choice| {
        policy.rules.set_cookie = *choice;
    });
    changes.note(section.item("short_part").and_then(|item| item.word(&SHORT_PART)), |policy, choice| {
        policy.rules.short_part = *choice;
    });
    changes.note(
        section.item("honour_request_cache_control").and_then(|item| honour(&item)),
        |policy, directives| policy.rules.honour = *directives,
    );
    let encode = section.item("encode").and_then(|item| encode::encode(&item));
    changes.note(encode.map(|encode| encode.map(Arc::new)), |policy, encode| {
        policy.encode.clone_from(encode);
    });
    let fields = |key, help| section.item(key).and_then(|item| item.list_of(help, value::field_name));
    changes.note(
        fields("targeted_fields", "write a list of fields, like [\"cdn-cache-control\"]"),
        |policy, fields| policy.rules.targets.clone_from(fields),
    );
    changes.note(fields("vary_ignore", "write a list of fields, like [\"user-agent\"]"), |policy, fields| {
        policy.rules.vary_ignored.clone_from(fields);
    });
    changes
}

fn lifetimes(section: &Section<'_>, changes: &mut Changes) {
    let time = |key| section.item(key).and_then(|item| or_off(&item));
    changes.note(time("default_ttl"), |policy, time| policy.rules.default_ttl = *time);
    changes.note(time("ttl"), |policy, time| policy.rules.ttl_override = *time);
    let longest = section.item("ttl_max").and_then(|item| item.duration(LIFETIME_RANGE));
    changes.note(longest, |policy, time| policy.rules.lifetime_max = *time);
    let guess = section.item("heuristic").and_then(|item| heuristic(&item));
    changes.note(guess, |policy, heuristic| policy.rules.heuristic = *heuristic);
    let by_origin = section.item("errors_by_origin").and_then(|item| item.flag());
    changes.note(by_origin, |policy, flag| policy.rules.errors.by_origin = *flag);
    let Some(item) = section.item("negative_ttl") else { return };
    if !item.is_table() {
        return changes.note(or_off(&item), |policy, time| policy.rules.errors.gone_ttl = *time);
    }
    let Some(section) = item.section("`negative_ttl`".to_owned()) else { return };
    let time = |key| section.item(key).and_then(|item| or_off(&item));
    changes.note(time("gone"), |policy, time| policy.rules.errors.gone_ttl = *time);
    changes.note(time("client"), |policy, time| policy.rules.errors.client_ttl = *time);
    changes.note(time("server"), |policy, time| policy.rules.errors.server_ttl = *time);
    section.close();
}

/// Keys of what happens to a request: in a site or a route.
pub(super) fn handling(
    section: &Section<'_>,
    captures: &[Option<Box<str>>],
    around: &Surroundings,
) -> Changes {
    let mut changes = Changes::default();
    let cache = section.item("cache").and_then(|item| item.word(&[("on", true), ("off", false)]));
    changes.note(cache, |policy, cache| policy.cache = *cache);
    let x_cache = section.item("x_cache").and_then(|item| item.flag());
    changes.note(x_cache, |policy, flag| policy.x_cache = *flag);
    let vary_by = section.item("vary_by").and_then(|item| item.word(&VARY_BY));
    changes.note(vary_by, |policy, by_country| policy.vary_by_country = *by_country);
    changes.note(section.item("upgrade").and_then(|item| upgrade(&item)), |policy, names| {
        policy.upgrade = Arc::clone(names);
    });
    if let Some(section) = section.item("query").and_then(|item| item.section("`query`".to_owned())) {
        query(section, &mut changes);
    }
    changes.note(section.item("cookies").and_then(|item| cookies(&item)), |policy, cookies| {
        policy.cookies.clone_from(cookies);
    });
    changes.note(section.item("forward").and_then(|item| forward(&item)), |policy, forward| {
        policy.forward.clone_from(forward);
    });
    changes.note(
        headers(section, "request_headers", Side::Request),
        |policy, Written { remove, set, add }| {
            policy.request_headers = std::mem::take(&mut policy.request_headers).overlaid(remove, set, add);
        },
    );
    changes.note(
        headers(section, "response_headers", Side::Response),
        |policy, Written { remove, set, add }| {
            policy.response_headers = std::mem::take(&mut policy.response_headers).overlaid(remove, set, add);
        },
    );
    changes.note(rewrite(section, captures), |policy, rewrite| policy.rewrite.clone_from(rewrite));
    changes.note(conditions::bypass(section), |policy, bypass| policy.bypass.clone_from(bypass));
    changes.note(key(section), |policy, key| {
        policy.key.clone_from(key);
        policy.rules.vary_always.clone_from(&key.headers);
        policy.rules.vary_always.extend(key.cookies.iter().filter_map(|name| fields::of_cookie(name)));
    });
    changes.note(key_query(section), |policy, names| policy.query.keep.clone_from(names));
    let https_only = section.item("https_only").and_then(|item| item.flag());
    changes.note(https_only, |policy, flag| policy.https_only = *flag);
    let methods = section.item("allow_methods");
    let methods =
        methods.and_then(|item| item.list_of("write allow_methods = [\"GET\", \"HEAD\"]", value::method));
    changes.note(methods, |policy, methods| policy.allow_methods.clone_from(methods));
    let answer = answers::answer(section, captures, around).map(|answer| answer.map(Arc::new));
    changes.note(answer, |policy, answer| policy.answer.clone_from(answer));
    let maintenance = answers::maintenance(section, around).map(|closed| closed.map(Arc::new));
    changes.note(maintenance, |policy, maintenance| policy.maintenance.clone_from(maintenance));
    changes.note(answers::error_pages(section, around), |policy, WrittenPages { pages, intercept }| {
        policy.error_pages = std::mem::take(&mut policy.error_pages).overlaid(pages, *intercept);
    });
    changes
}

/// `sort` and `remove` are laid over what the preset has one by one.
fn query(section: Section<'_>, changes: &mut Changes) {
    let sort = section.item("sort").and_then(|item| item.flag());
    changes.note(sort, |policy, sort| policy.query.sort = *sort);
    let help = "write a list of names, like [\"utm_*\", \"fbclid\"]";
    let remove = section.item("remove").and_then(|item| item.list_of(help, value::name_pattern));
    changes.note(remove, |policy, names| policy.query.remove.clone_from(names));
    let keep = section.item("keep").and_then(|item| match item.as_text() {
        Some("all") => Some(None),
        _ => item.list_of(help, value::name_pattern).map(Some),
    });
    changes.note(keep, |policy, names| policy.query.keep.clone_from(names));
    section.close();
}

/// `key`: what the key has beside the URL.
fn key(section: &Section<'_>) -> Option<KeyParts> {
    let item = section.item("key")?;
    let section = item.section("`key`".to_owned())?;
    let headers = section.item("headers").and_then(|item| item.list_of(KEY_EXAMPLE, key_field));
    let cookies = section.item("cookies").and_then(|item| item.list_of(KEY_EXAMPLE, value::exact_name));
    // The site's: read in `site.rs`.
    section.item("host");
    // The query's: read by `key_query`.
    section.item("query");
    section.close();
    let mut key = KeyParts { headers: headers.unwrap_or_default(), cookies: cookies.unwrap_or_default() };
    key.headers.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    key.headers.dedup();
    key.cookies.sort();
    key.cookies.dedup();
    let count = key.headers.len() + key.cookies.len();
    if count > KEY_PARTS_MAX {
        let message = format!("`key` has {count} parts");
        item.tell(Complaint::new("range", message, "too many", format!("write at most {KEY_PARTS_MAX}")));
    }
    Some(key)
}

/// `query` of `key`: the parameters that tell answers apart. What is not in the key is not forwarded either, so this is what
/// `keep` of `query` says.
#[allow(clippy::option_option)] // not written, all of them, or these
fn key_query(section: &Section<'_>) -> Option<Option<Vec<Box<str>>>> {
    let key = section.item("key").filter(Item::is_table)?.section("`key`".to_owned())?;
    let item = key.item("query")?;
    let query =
        section.item("query").filter(Item::is_table).and_then(|item| item.section("`query`".to_owned()));
    if let Some(keep) = query.and_then(|section| section.item("keep")) {
        let help = "keep one of the two: what is not in the key is not forwarded";
        let complaint = Complaint::new("twice", "the parameters that count are named twice", "again", help);
        item.tell_beside(complaint, keep.span, "here already");
    }
    match item.as_text() {
        Some("all") => Some(None),
        _ => item.list_of(KEY_QUERY_EXAMPLE, value::name_pattern).map(Some),
    }
}

/// A field that tells answers apart. One that says who a client is, or differs with every request, is none.
fn key_field(text: &str) -> Result<HeaderName, Complaint> {
    let name = value::field_name(text)?;
    let why = match name.as_str() {
        "cookie" => "name the cookies: key = { cookies = [\"lang\"] }",
        "authorization" | "proxy-authorization" => {
            "answers to who is logged in are not shared; write bypass or cache = \"off\""
        }
        other
            if conditions::UNSEEN.contains(&other)
                || crate::route::is_alike(other.as_bytes(), "x-forwarded-for")
                || other.starts_with("x-forwarded-")
                || other == "forwarded"
                || other.starts_with("tidegate-") =>
        {
            "origins never see it as the client sent it; choose another field"
        }
        _ => return Ok(name),
    };
    let message = format!("`{name}` cannot be a part of the key");
    Err(Complaint::new("field", message, "not a part of keys", why))
}

fn cookies(item: &Item<'_>) -> Option<Cookies> {
    if !item.is_table() {
        return item.word_or(&[("forward", Cookies::Forward)], "{ pass_on = [\"session*\"] }");
    }
    let section = item.section("`cookies`".to_owned())?;
    let help = "write cookies = { pass_on = [\"session*\"] }: requests with one of these pass, others lose their cookies";
    let names = section.required("pass_on", help).and_then(|item| item.list_of(help, value::name_pattern));
    section.close();
    names.map(Cookies::PassOn)
}

fn forward(item: &Item<'_>) -> Option<Forward> {
    if !item.is_list() {
        return item
            .word_or(&[("safe", Forward::Safe)], "a list of fields, like [\"accept\", \"accept-language\"]");
    }
    let help = "write \"safe\" or a list of fields, like [\"accept\", \"accept-language\"]";
    let names = item.list_of(help, value::field_name)?;
    Some(Forward::Only(names.iter().map(|name| name.as_str().into()).collect()))
}

/// "off", or names of protocols.
fn upgrade(item: &Item<'_>) -> Option<Arc<[Box<str>]>> {
    if item.as_text() == Some("off") {
        return Some(Arc::default());
    }
    Some(item.list_of("write \"off\" or a list of protocols, like [\"websocket\"]", value::upgrade)?.into())
}

#[allow(clippy::option_option)] // wrong, off, or a share
fn heuristic(item: &Item<'_>) -> Option<Option<Heuristic>> {
    if !item.is_table() {
        return item.word_or(&[("off", None)], "{ percent = 10, max = \"1d\" }");
    }
    let section = item.section("`heuristic`".to_owned())?;
    let percent = section.required("percent", HEURISTIC_EXAMPLE).and_then(|item| item.count(1..=100));
    let cap = section.required("max", HEURISTIC_EXAMPLE).and_then(|item| item.duration(LIFETIME_RANGE));
    section.close();
    Some(Some(Heuristic { percent: u8::try_from(percent?).ok()?, cap: cap? }))
}

/// `true` for all directives, `false` for none, or a list.
fn honour(item: &Item<'_>) -> Option<RequestDirectives> {
    if !item.is_list() {
        return item.flag().map(|all| if all { RequestDirectives::ALL } else { RequestDirectives::NONE });
    }
    let list = item.list("write a list of directives, like [\"no-store\"]")?;
    let directives = list.iter().filter_map(|item| item.word(&DIRECTIVES));
    Some(directives.fold(RequestDirectives::NONE, RequestDirectives::and))
}

/// A duration, or `None` for "off".
#[allow(clippy::option_option)] // wrong, off, or a time
fn or_off(item: &Item<'_>) -> Option<Option<Duration>> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    item.duration(LIFETIME_RANGE).map(Some)
}

/// Names of the choices for `set_cookie`.
pub(in super::super) const SET_COOKIE: [(&str, SetCookie); 3] =
    [("refuse", SetCookie::Refuse), ("strip", SetCookie::Strip), ("store", SetCookie::Store)];
/// Names of the choices for `short_part`.
pub(in super::super) const SHORT_PART: [(&str, ShortPart); 2] =
    [("refuse", ShortPart::Refuse), ("trust-framing", ShortPart::TrustFraming)];
/// Names of the choices for `vary_by`.
pub(in super::super) const VARY_BY: [(&str, bool); 2] = [("off", false), ("country", true)];
/// Names of the directives a client's `Cache-Control` may have.
pub(in super::super) const DIRECTIVES: [(&str, RequestDirectives); 7] = [
    ("no-cache", RequestDirectives::NO_CACHE),
    ("max-age", RequestDirectives::MAX_AGE),
    ("min-fresh", RequestDirectives::MIN_FRESH),
    ("max-stale", RequestDirectives::MAX_STALE),
    ("only-if-cached", RequestDirectives::ONLY_IF_CACHED),
    ("no-store", RequestDirectives::NO_STORE),
    ("stale-if-error", RequestDirectives::STALE_IF_ERROR),
];

const KEY_QUERY_EXAMPLE: &str = "write key = { query = [\"page\", \"lang\"] }, or \"all\"";
const KEY_EXAMPLE: &str = "write key = { headers = [\"x-device\"], cookies = [\"lang\"] }";
const HEURISTIC_EXAMPLE: &str = "write heuristic = { percent = 10, max = \"1d\" }, or \"off\"";
/// Up to ten years, beyond which nobody means what they write.
const LIFETIME_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 3653);
