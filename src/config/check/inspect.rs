//! `inspect` of `access`, and `[modsecurity]`. The engine is loaded here once, so that `check` finds what a start would.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::file::{Item, Section};
use super::super::inspect::{Engines, Inspect, InspectMode, InspectOver, ModSecurity};
use super::super::limits::{INSPECT_BODY_RANGE, MODSECURITY_FILES_MAX};
use super::super::mistake::Complaint;
use super::Surroundings;
use super::access::{Ground, Written};

/// A mode, or a table with it.
pub(super) fn inspect(item: &Item<'_>, ground: &Ground<'_>) -> Written<Inspect> {
    if item.as_text() == Some("off") {
        return Some(None);
    }
    if !item.is_table() {
        let mode = item.word_or(&MODES, "\"off\", or { mode = \"block\", body_max = \"64KiB\" }")?;
        return Some(Some(Arc::new(Inspect::by_libinjection(mode))));
    }
    let section = item.section("`inspect`".to_owned())?;
    let mode = section.required("mode", INSPECT_EXAMPLE).and_then(|item| item.word(&MODES));
    let engines = section.item("engines").map(|item| engines(&item, ground));
    let body_bytes_max = section.item("body_max").and_then(|item| item.size(INSPECT_BODY_RANGE));
    let over = section.item("over").and_then(|item| item.word(&OVER));
    section.close();
    let default = Inspect::by_libinjection(mode?);
    Some(Some(Arc::new(Inspect {
        engines: engines.unwrap_or(Some(default.engines))?,
        body_bytes_max: body_bytes_max.unwrap_or(default.body_bytes_max),
        over: over.unwrap_or_default(),
        ..default
    })))
}

fn engines(item: &Item<'_>, ground: &Ground<'_>) -> Option<Engines> {
    let mut engines = Engines { libinjection: false, modsecurity: None };
    let list = item.list(ENGINES_EXAMPLE)?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "`engines` is empty", "empty", ENGINES_EXAMPLE));
        return None;
    }
    for item in list {
        if item.word(&[("libinjection", true), ("modsecurity", false)])? {
            engines.libinjection = true;
            continue;
        }
        let Some(settings) = ground.modsecurity else {
            let message = "`engines` names ModSecurity, and there is no [modsecurity]";
            let help = "write [modsecurity]; with nothing in it it takes the rules of the Debian package modsecurity-crs";
            item.tell(Complaint::new("modsecurity-missing", message, "not set up", help));
            return None;
        };
        engines.modsecurity = Some(Arc::clone(settings));
    }
    Some(engines)
}

pub(super) fn modsecurity(section: Section<'_>, around: &Surroundings) -> Arc<ModSecurity> {
    let mut settings = ModSecurity::default();
    if let Some(item) = section.item("rules") {
        let rules = item.list_of(RULES_EXAMPLE, rule_file).unwrap_or_default();
        if rules.len() > MODSECURITY_FILES_MAX {
            let help = format!("name {MODSECURITY_FILES_MAX} at most; a `*` stands for many");
            item.tell(Complaint::new("range", "there are too many files of rules", "too many", help));
        }
        if item.is_list() && item.list(RULES_EXAMPLE).is_some_and(|list| list.is_empty()) {
            item.tell(Complaint::new("empty", "`rules` is empty", "empty", RULES_EXAMPLE));
        }
        settings.rules = rules.into_iter().map(|file| around.base.join(file)).collect();
    }
    if let Some(library) = section.item("library").and_then(|item| item.parsed(LIBRARY_EXAMPLE, library)) {
        // A name is the system's to find, a path begins where all others do.
        let is_path = library.contains('/');
        settings.library = if is_path { around.base.join(&library).display().to_string() } else { library };
    }
    let count = |key, range| section.item(key).and_then(|item| item.count(range));
    for (key, range, place) in [
        ("concurrency", CONCURRENCY_RANGE, &mut settings.concurrency),
        ("queue_max", QUEUE_RANGE, &mut settings.queue_max),
    ] {
        if let Some(count) = count(key, range).and_then(|count| u32::try_from(count).ok()) {
            *place = count;
        }
    }
    if let Some(why) = (around.no_modsecurity)(&settings) {
        let help = "install what is missing (apt-get install libmodsecurity3 modsecurity-crs), correct the line that is named, or remove [modsecurity]";
        section.tell(Complaint::new(
            "modsecurity",
            format!("ModSecurity cannot be used: {why}"),
            "cannot be used",
            help,
        ));
    }
    section.close();
    Arc::new(settings)
}

/// A path whose last part may have stars.
fn rule_file(text: &str) -> Result<PathBuf, Complaint> {
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", text));
    if !name.is_empty() && !directory.contains('*') && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    let message = format!("`{}` is not a file of rules", text.escape_debug());
    Err(Complaint::new("rules", message, "no file", RULES_EXAMPLE))
}

fn library(text: &str) -> Result<String, Complaint> {
    if !text.is_empty() && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    Err(Complaint::new("library", "`library` is empty", "empty", LIBRARY_EXAMPLE))
}

/// Names of the modes.
pub(in super::super) const MODES: [(&str, InspectMode); 2] =
    [("detect", InspectMode::Detect), ("block", InspectMode::Block)];
/// Names of what becomes of what is too much.
pub(in super::super) const OVER: [(&str, InspectOver); 2] =
    [("pass", InspectOver::Pass), ("refuse", InspectOver::Refuse)];
const INSPECT_EXAMPLE: &str = "write inspect = { mode = \"block\", body_max = \"64KiB\" }, or \"off\"";
const ENGINES_EXAMPLE: &str = "write engines = [\"libinjection\", \"modsecurity\"]";
const RULES_EXAMPLE: &str = "write a list of files, of whose names only the last part may have a `*`, like [\"/etc/tidegate/rules/*.conf\"]";
const LIBRARY_EXAMPLE: &str = "write a name, like \"libmodsecurity.so.3\", or a path";
const CONCURRENCY_RANGE: RangeInclusive<u64> = 1..=1024;
const QUEUE_RANGE: RangeInclusive<u64> = 0..=100_000;
