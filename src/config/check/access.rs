//! `access` of a site or route: each part laid over what was written further away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use geo::Code;

use super::super::access::{Access, Addresses, Basic, Countries, Referers, Signed, SignedQuery};
use super::super::file::{Item, Section};
use super::super::limits::{ACCESS_KEYS_MAX, ACCESS_REALM_BYTES_MAX};
use super::super::mistake::Complaint;
use super::super::{HostPattern, ModSecurity, Network, RoutePolicy, value};
use super::counts::{self, Counted};
use super::inspect::inspect;
use super::policy::Changes;
use super::{Listed, NETWORKS_EXAMPLE, Places, Surroundings, file};
use crate::route::access::signed;

/// What rules of all sites are checked against.
pub(super) struct Ground<'a> {
    /// This machine.
    pub(super) around: &'a Surroundings,
    /// Whether there is a `[geo]`.
    pub(super) has_geo: bool,
    /// `[modsecurity]`, if there is one.
    pub(super) modsecurity: Option<&'a Arc<ModSecurity>>,
    /// What has been named so far.
    pub(super) counted: Counted,
}

/// What a site or route writes of it; `place` is how it is called where it has no name.
pub(super) fn access(section: &Section<'_>, place: &str, ground: &Ground<'_>) -> Changes {
    let mut changes = Changes::default();
    let Some(item) = section.item("access") else { return changes };
    if !item.is_table() {
        let off = item.word_or(&[("off", ())], "access = { allow = [\"10.0.0.0/8\"] }");
        changes.note(off, |policy, ()| policy.access = None);
        return changes;
    }
    let Some(section) = item.section("`access`".to_owned()) else { return changes };
    part(&mut changes, addresses(&section, ground.around), |access, part| access.addresses = part);
    let written = section.item("rate").and_then(|item| counts::rates(&item, place, &ground.counted));
    part(&mut changes, written, |access, part| access.rates = part);
    let written =
        section.item("concurrency").and_then(|item| counts::concurrency(&item, place, &ground.counted));
    part(&mut changes, written, |access, part| access.concurrency = part);
    let written = section.item("countries").and_then(|item| countries(&item, ground));
    part(&mut changes, written, |access, part| access.countries = part);
    part(&mut changes, section.item("referers").and_then(|item| referers(&item)), |access, part| {
        access.referers = part;
    });
    let written = section.item("signed").and_then(|item| signed(&item, ground.around));
    part(&mut changes, written, |access, part| access.signed = part);
    let written = section.item("basic").and_then(|item| basic(&item, ground.around));
    part(&mut changes, written, |access, part| access.basic = part);
    let written = section.item("inspect").and_then(|item| inspect(&item, ground));
    part(&mut changes, written, |access, part| access.inspect = part);
    section.close();
    changes
}

/// A part that is written, or "off".
#[allow(clippy::option_option)] // not written or wrong, off, or a rule
pub(super) type Written<T> = Option<Option<Arc<T>>>;

fn part<T: 'static>(changes: &mut Changes, written: Written<T>, put: fn(&mut Access, Option<Arc<T>>)) {
    changes.note(written, move |policy: &mut RoutePolicy, part| {
        policy.access = Access::changed(policy.access.as_ref(), |access| put(access, part.clone()));
    });
}

/// `allow`, `deny` and their files are one rule: whoever writes one of them writes all.
fn addresses(section: &Section<'_>, around: &Surroundings) -> Written<Addresses> {
    let mut places = Places::new();
    let (allow, deny) = (section.item("allow"), section.item("deny"));
    let (allow_files, deny_files) = (section.item("allow_files"), section.item("deny_files"));
    if [&allow, &deny, &allow_files, &deny_files].iter().all(|item| item.is_none()) {
        return None;
    }
    let mut networks =
        |item: Option<Item<'_>>| item.map(|item| self::networks(&item, &mut places)).unwrap_or_default();
    let (allow, deny) = (networks(allow), networks(deny));
    let files = |item: Option<Item<'_>>| item.map(|item| files(&item, around)).unwrap_or_default();
    let rule = Addresses { allow, deny, allow_files: files(allow_files), deny_files: files(deny_files) };
    // Empty lists: whoever writes them takes back what stands further away.
    Some((rule != Addresses::default()).then(|| Arc::new(rule)))
}

fn networks(item: &Item<'_>, places: &mut Places) -> Vec<Network> {
    let list = item.list(NETWORKS_EXAMPLE).unwrap_or_default();
    let mut networks = Vec::new();
    for item in list {
        let Some(network) = item.parsed(NETWORKS_EXAMPLE, value::network) else { continue };
        let name = network.to_string();
        if let Some(first) = places.get(&name) {
            let message = format!("{name} is named twice");
            let help = "keep one of them; of networks that overlap the smaller decides";
            item.tell_beside(Complaint::new("twice", message, "again", help), first.clone(), "here already");
            continue;
        }
        places.insert(name, item.span.clone());
        networks.push(network);
    }
    networks
}

pub(super) fn files(item: &Item<'_>, around: &Surroundings) -> Vec<PathBuf> {
    let list = item.list(FILES_EXAMPLE).unwrap_or_default();
    list.iter().filter_map(|item| listed(item, FILES_EXAMPLE, around, Listed::Networks)).collect()
}

/// A file that must be readable and hold what it is named for.
fn listed(item: &Item<'_>, help: &str, around: &Surroundings, what: Listed) -> Option<PathBuf> {
    let path = file(item, help, around)?;
    // A file that is not there has been told of already.
    if (around.unreadable)(&path).is_none()
        && let Some(why) = (around.no_list)(&path, what)
    {
        item.tell(Complaint::new("access-file", why, "has a mistake", "correct the line that is named"));
    }
    Some(path)
}

fn countries(item: &Item<'_>, ground: &Ground<'_>) -> Written<Countries> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    let section = item.section("`countries`".to_owned())?;
    let mut places = Places::new();
    let (allow, deny) = (section.item("allow"), section.item("deny"));
    let (none, empty) = (allow.is_none() && deny.is_none(), |codes: &[Code]| codes.is_empty());
    let mut codes =
        |item: Option<Item<'_>>| item.map(|item| self::codes(&item, &mut places)).unwrap_or_default();
    let (allow, deny) = (codes(allow), codes(deny));
    let unknown = section.item("unknown").and_then(|item| item.word(&[("allow", true), ("deny", false)]));
    section.close();
    if none {
        item.tell(Complaint::new(
            "empty",
            "`countries` names no country",
            "nothing in it",
            COUNTRIES_EXAMPLE,
        ));
        return None;
    }
    if !ground.has_geo {
        let help = "write [geo] and below it database = \"/var/lib/tidegate/country.mmdb\"";
        let message = "`countries` needs a database that says where addresses are";
        item.tell(Complaint::new("geo-missing", message, "there is no [geo]", help));
    }
    let unknown = unknown.unwrap_or(empty(&allow));
    Some(Some(Arc::new(Countries { allow, deny, unknown })))
}

fn codes(item: &Item<'_>, places: &mut Places) -> Vec<Code> {
    let mut codes = Vec::new();
    for item in item.list(COUNTRIES_EXAMPLE).unwrap_or_default() {
        let Some(code) = item.parsed(COUNTRIES_EXAMPLE, country) else { continue };
        if let Some(first) = places.get(code.as_str()) {
            let complaint =
                Complaint::new("twice", format!("{code} is named twice"), "again", "keep one of them");
            item.tell_beside(complaint, first.clone(), "here already");
            continue;
        }
        places.insert(code.to_string(), item.span.clone());
        codes.push(code);
    }
    codes
}

/// Two letters, as ISO 3166-1 has them.
fn country(text: &str) -> Result<Code, Complaint> {
    let code =
        Code::new(text).filter(|_| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()));
    code.ok_or_else(|| {
        let message = format!("`{}` is not the code of a country", text.escape_debug());
        Complaint::new(
            "country",
            message,
            "no country",
            "write the two letters of ISO 3166-1, like \"DE\" or \"US\"",
        )
    })
}

fn signed(item: &Item<'_>, around: &Surroundings) -> Written<Signed> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    let section = item.section("`signed`".to_owned())?;
    let keys = section.required("keys", SIGNED_EXAMPLE).and_then(|item| keys(&item, around));
    let query = section.item("query");
    let query = query.map_or(Some(SignedQuery::All), |item| covered(&item));
    let skew = section.item("skew").and_then(|item| item.duration(Duration::ZERO..=Duration::from_hours(1)));
    section.close();
    Some(Some(Arc::new(Signed { keys: keys?, query: query?, skew: skew.unwrap_or_default() })))
}

fn keys(item: &Item<'_>, around: &Surroundings) -> Option<Vec<(Box<str>, PathBuf)>> {
    let list = item.list(SIGNED_EXAMPLE)?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "`keys` is empty", "empty", SIGNED_EXAMPLE));
    }
    if list.len() > ACCESS_KEYS_MAX {
        let help = format!("name {ACCESS_KEYS_MAX} at most");
        item.tell(Complaint::new("range", "there are too many keys", "too many", help));
    }
    let mut places = Places::new();
    let mut keys = Vec::new();
    for item in list {
        let Some(section) = item.section("this key".to_owned()) else { continue };
        let id = section.required("id", SIGNED_EXAMPLE).and_then(|item| {
            let id = item.parsed(SIGNED_EXAMPLE, key_id)?;
            if let Some(first) = places.get(&*id) {
                let complaint =
                    Complaint::new("twice", format!("`{id}` is named twice"), "again", "keep one of them");
                item.tell_beside(complaint, first.clone(), "here already");
                return None;
            }
            places.insert(id.to_string(), item.span.clone());
            Some(id)
        });
        let file = section
            .required("file", SIGNED_EXAMPLE)
            .and_then(|item| listed(&item, SIGNED_EXAMPLE, around, Listed::Key));
        section.close();
        keys.extend(id.zip(file));
    }
    Some(keys)
}

/// What stands in a URL as it is.
fn key_id(text: &str) -> Result<Box<str>, Complaint> {
    if signed::is_key_id(text) {
        return Ok(text.into());
    }
    let message = format!("`{}` cannot name a key", text.escape_debug());
    Err(Complaint::new(
        "key-id",
        message,
        "not plain",
        "write up to 64 letters, digits, `-`, `.`, `_` and `~`, like \"2026\"",
    ))
}

fn covered(item: &Item<'_>) -> Option<SignedQuery> {
    if !item.is_list() {
        let words = [("all", SignedQuery::All), ("none", SignedQuery::Only(Vec::new()))];
        return item.word_or(&words, "a list of names, like [\"id\"]");
    }
    let names = item.list_of("write \"all\", \"none\" or a list of names, like [\"id\"]", |text| {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#*".contains(&byte));
        if fits && !signed::PARAMETERS.contains(&text) {
            return Ok(text.into());
        }
        let message = format!("`{}` cannot be signed", text.escape_debug());
        let help = "write names of parameters as they stand in a URL, but those of the signature itself, like [\"id\"]";
        Err(Complaint::new("parameter", message, "no parameter of the page", help))
    })?;
    Some(SignedQuery::Only(names))
}

fn basic(item: &Item<'_>, around: &Surroundings) -> Written<Basic> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    if !item.is_table() {
        let users = listed(item, BASIC_EXAMPLE, around, Listed::Users)?;
        return Some(Some(Arc::new(Basic { users, realm: REALM.into(), forward: false })));
    }
    let section = item.section("`basic`".to_owned())?;
    let users = section
        .required("users", BASIC_EXAMPLE)
        .and_then(|item| listed(&item, BASIC_EXAMPLE, around, Listed::Users));
    let realm = section.item("realm").and_then(|item| item.parsed("write a few words", realm));
    let forward = section.item("forward").and_then(|item| item.flag()).unwrap_or(false);
    section.close();
    Some(Some(Arc::new(Basic { users: users?, realm: realm.unwrap_or_else(|| REALM.into()), forward })))
}

/// What stands in a quoted string of a field, and is shown by browsers.
fn realm(text: &str) -> Result<Box<str>, Complaint> {
    let fits = !text.is_empty()
        && text.len() <= ACCESS_REALM_BYTES_MAX
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\'));
    if fits {
        return Ok(text.into());
    }
    let message = format!("`{}` cannot be a realm", text.escape_debug());
    let help = format!(
        "write up to {ACCESS_REALM_BYTES_MAX} letters, digits, spaces and signs but quotes, like \"staging\""
    );
    Err(Complaint::new("realm", message, "not plain text", help))
}

fn referers(item: &Item<'_>) -> Written<Referers> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    if !item.is_table() {
        return Some(Some(Arc::new(Referers { hosts: hosts(item)?, none: true })));
    }
    let section = item.section("`referers`".to_owned())?;
    let hosts = section.required("hosts", REFERERS_EXAMPLE).and_then(|item| hosts(&item));
    let none = section.item("none").and_then(|item| item.flag()).unwrap_or(true);
    section.close();
    Some(Some(Arc::new(Referers { hosts: hosts?, none })))
}

fn hosts(item: &Item<'_>) -> Option<Vec<HostPattern>> {
    let mut hosts = Vec::new();
    for item in item.list(REFERERS_EXAMPLE)? {
        match item.parsed(REFERERS_EXAMPLE, value::host_pattern) {
            Some(HostPattern::Any) => item.tell(Complaint::new(
                "no-effect",
                "`referers` with \"*\" refuses nobody",
                "every page",
                "name the hosts of pages, like \"www.example.com\", or write referers = \"off\"",
            )),
            Some(host) => hosts.push(host),
            None => {}
        }
    }
    Some(hosts)
}

const FILES_EXAMPLE: &str = "write a list of files with one network a line, like [\"office.txt\"]";
const COUNTRIES_EXAMPLE: &str =
    "write countries = { allow = [\"DE\", \"AT\"] } or { deny = [\"KP\"] }, or \"off\"";
const SIGNED_EXAMPLE: &str = "write signed = { keys = [{ id = \"2026\", file = \"2026.key\" }] }, or \"off\"";
const BASIC_EXAMPLE: &str = "write basic = { users = \"users.htpasswd\", realm = \"staging\" }, or \"off\"";
/// Where none is written.
const REALM: &str = "restricted";
const REFERERS_EXAMPLE: &str = "write referers = [\"www.example.com\", \"*.example.org\"], or \"off\"";
