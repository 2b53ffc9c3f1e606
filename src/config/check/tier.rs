//! `[tier]`: the nodes before this one, and what nodes of a tier know each other by.
//!
//! Whoever is taken for a child gets tags and lifetimes that are for nodes alone, and is waited for at the purge barrier: so
//! there is no tier without a key or networks.

use super::super::file::{Item, Section};
use super::super::limits::{TIER_KEY_BYTES, TIER_PARENTS_MAX};
use super::super::mistake::Complaint;
use super::super::{Parent, Tier, TierKey, value};
use super::{NETWORKS_EXAMPLE, Places, Surroundings, file};

/// The tier.
pub(super) fn tier(section: Section<'_>, around: &Surroundings) -> Tier {
    let own = key(&section, around);
    let listed = section.item("parents");
    let parents = listed.as_ref().and_then(|item| parents(item, around)).unwrap_or_default();
    let from = section.item("children_from");
    let ca = section.item("ca");
    let tier = Tier {
        children_from: from
            .as_ref()
            .and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network))
            .unwrap_or_default(),
        ca: ca.as_ref().and_then(|item| file(item, "write the path of a PEM file", around)),
        key: own.key,
        parents,
        by_hand: false,
    };
    if let Some(item) = &listed
        && !own.written
        && tier.parents.iter().any(|parent| parent.key.is_none())
    {
        item.tell(Complaint::new(
            "tier-key",
            "the parents have no key to know this node by",
            "no key",
            "write key = \"…\" or key_file = \"tier.key\", the same as on the parents; or key = \"none\" where they know this \
             node by its address (children_from)",
        ));
    }
    let keyed = own.written && tier.key != Some(TierKey::None);
    if listed.is_none() && !keyed && from.is_none() {
        section.tell(Complaint::new(
            "tier-empty",
            "[tier] names neither parents nor children",
            "nothing in it",
            "write parents = [\"https://shield-1.example.net\"] and key = \"…\"; on a parent key = \"…\" or children_from = \
             [\"10.0.0.0/8\"]",
        ));
    }
    if let Some(item) = ca
        && !tier.parents.is_empty()
        && !tier.parents.iter().any(|parent| parent.origin.tls)
    {
        let help = "write https:// in the parent's url, or remove the key";
        item.tell(Complaint::new("no-effect", "`ca` has no effect: no parent is https", "no effect", help));
    }
    section.close();
    tier
}

/// What `key` and `key_file` say.
struct Key {
    key: Option<TierKey>,
    /// One of them is there, right or wrong.
    written: bool,
}

fn key(section: &Section<'_>, around: &Surroundings) -> Key {
    let (text, path) = (section.item("key"), section.item("key_file"));
    if let (Some(text), Some(path)) = (&text, &path) {
        let complaint =
            Complaint::new("twice", "the key is given twice", "again", "keep one of `key` and `key_file`");
        path.tell_beside(complaint, text.span.clone(), "here already");
    }
    let written = text.is_some() || path.is_some();
    let in_file = path.and_then(|item| file(&item, KEY_FILE_EXAMPLE, around)).map(TierKey::File);
    let key = text.and_then(|item| match item.text(KEY_EXAMPLE)? {
        "none" => Some(TierKey::None),
        secret => usable(&item, secret).then(|| TierKey::Written(secret.into())),
    });
    Key { key: key.or(in_file), written }
}

fn usable(item: &Item<'_>, secret: &str) -> bool {
    if TIER_KEY_BYTES.contains(&secret.len()) {
        return true;
    }
    let label = if secret.len() < *TIER_KEY_BYTES.start() { "too short" } else { "too long" };
    let message = format!("the key takes from {} to {} bytes", TIER_KEY_BYTES.start(), TIER_KEY_BYTES.end());
    item.tell(Complaint::new("tier-key", message, label, KEY_EXAMPLE));
    false
}

fn parents(item: &Item<'_>, around: &Surroundings) -> Option<Vec<Parent>> {
    let list = item.list(PARENTS_EXAMPLE)?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "`parents` is empty", "empty", PARENTS_EXAMPLE));
    }
    if list.len() > TIER_PARENTS_MAX {
        let help = format!("name {TIER_PARENTS_MAX} at most");
        item.tell(Complaint::new("range", "there are too many parents", "too many", help));
    }
    let mut places = Places::new();
    let mut parents = Vec::new();
    for item in list {
        let Some(parent) = parent(&item, around) else { continue };
        // Its numbers go by this name.
        let name = parent.origin.name.split_once("://").map_or("", |(_, authority)| authority).to_owned();
        if let Some(first) = places.get(&name) {
            let complaint =
                Complaint::new("twice", format!("{name} is named twice"), "again", "keep one of them");
            item.tell_beside(complaint, first.clone(), "here already");
            continue;
        }
        places.insert(name, item.span.clone());
        parents.push(parent);
    }
    Some(parents)
}

/// A URL, or a table with one.
fn parent(item: &Item<'_>, around: &Surroundings) -> Option<Parent> {
    if !item.is_table() {
        return Some(Parent { origin: item.parsed(PARENTS_EXAMPLE, value::origin)?, key: None });
    }
    let section = item.section("this parent".to_owned())?;
    let url = section.required("url", PARENT_EXAMPLE);
    let origin = url.and_then(|item| item.parsed(PARENT_EXAMPLE, value::origin));
    let key = key(&section, around).key;
    section.close();
    Some(Parent { origin: origin?, key })
}

const PARENTS_EXAMPLE: &str =
    "write parents = [\"https://shield-1.example.net\", \"https://shield-2.example.net\"]";
const PARENT_EXAMPLE: &str = "write { url = \"https://shield-1.example.net\", key_file = \"shield-1.key\" }";
const KEY_EXAMPLE: &str = "write a key that nobody guesses, like what `openssl rand -hex 32` prints";
const KEY_FILE_EXAMPLE: &str = "write the path of a file that holds the key";
