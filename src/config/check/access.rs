//! `access` of a site or route: each part laid over what was written further away.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::access::{Access, Addresses, Referers};
use super::super::file::{Item, Section};
use super::super::mistake::Complaint;
use super::super::{HostPattern, Network, RoutePolicy, value};
use super::policy::Changes;
use super::{NETWORKS_EXAMPLE, Places, Surroundings, file};

/// What a site or route writes of it.
pub(super) fn access(section: &Section<'_>, around: &Surroundings) -> Changes {
    let mut changes = Changes::default();
    let Some(item) = section.item("access") else { return changes };
    if !item.is_table() {
        let off = item.word_or(&[("off", ())], "access = { allow = [\"10.0.0.0/8\"] }");
        changes.note(off, |policy, ()| policy.access = None);
        return changes;
    }
    let Some(section) = item.section("`access`".to_owned()) else { return changes };
    part(&mut changes, addresses(&section, around), |access, part| access.addresses = part);
    part(&mut changes, section.item("referers").and_then(|item| referers(&item)), |access, part| {
        access.referers = part;
    });
    section.close();
    changes
}

/// A part that is written, or "off".
#[allow(clippy::option_option)] // not written or wrong, off, or a rule
type Written<T> = Option<Option<Arc<T>>>;

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

fn files(item: &Item<'_>, around: &Surroundings) -> Vec<PathBuf> {
    let list = item.list(FILES_EXAMPLE).unwrap_or_default();
    list.iter().filter_map(|item| file(item, FILES_EXAMPLE, around)).collect()
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
const REFERERS_EXAMPLE: &str = "write referers = [\"www.example.com\", \"*.example.org\"], or \"off\"";
