//! The settings as written: a TOML table whose every value knows its place.
//!
//! A [`Section`] remembers which keys it was asked for; what is left when it is closed is unknown and refused with the
//! nearest of the keys that it was asked for. So the walk in `check/` is the schema, and the two cannot drift apart. An
//! [`Item`] turns a value into a type, or tells what is wrong with it and goes on: nothing here stops at the first
//! mistake.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Complaint, Mistake};
use super::units;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Found(RefCell<Vec<Mistake>>);

/// A table and which of its keys were asked for.
#[derive(Debug)]
pub(super) struct Section<'t> {
    /// How a message calls it: `[pool.eu]`.
    pub(super) name: String,
    /// Its place.
    pub(super) span: Range<usize>,
    found: &'t Found,
    table: &'t DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
    /// Those of them that cannot be used yet: known, but nothing to suggest.
    not_yet: RefCell<Vec<&'static str>>,
    /// Keys are names that the writer chose.
    open: Cell<bool>,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Item<'t> {
    /// The key it stands at.
    pub(super) key: String,
    /// Its place.
    pub(super) span: Range<usize>,
    found: &'t Found,
    value: &'t DeValue<'t>,
}

impl Found {
    /// Notes a mistake.
    pub(super) fn tell(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// All of them, in the order found.
    pub(super) fn into_list(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

impl<'t> Section<'t> {
    /// The whole file.
    pub(super) fn whole(table: &'t DeTable<'t>, found: &'t Found) -> Self {
        Self::new("the file".to_owned(), 0..0, table, found)
    }

    fn new(name: String, span: Range<usize>, table: &'t DeTable<'t>, found: &'t Found) -> Self {
        Self {
            name,
            span,
            found,
            table,
            asked: RefCell::default(),
            not_yet: RefCell::default(),
            open: Cell::new(false),
        }
    }

    /// The value at `key`, if it is there.
    pub(super) fn item(&self, key: &'static str) -> Option<Item<'t>> {
        self.ask(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.item_of(key.to_owned(), value))
    }

    /// The value at `key`; that it is missing is a mistake, and `help` says what to write.
    pub(super) fn required(&self, key: &'static str, help: impl Into<String>) -> Option<Item<'t>> {
        let item = self.item(key);
        if item.is_none() {
            let message = format!("{} has no `{key}`", self.name);
            self.tell(Complaint::new("missing-key", message, format!("`{key}` is missing"), help));
        }
        item
    }

    /// All values, whose keys the writer chose.
    pub(super) fn named(&self) -> Vec<(Spanned<String>, Item<'t>)> {
        self.open.set(true);
        let named = self.table.iter().map(|(name, value)| {
            let key = name.get_ref().to_string();
            (Spanned::new(name.span(), key.clone()), self.item_of(key, value))
        });
        named.collect()
    }

    /// The table at `key`, if it is there.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'t>> {
        let item = self.item(key)?;
        item.section(format!("[{key}]"))
    }

    /// Refuses `key`, which we know and cannot do yet.
    #[allow(dead_code)] // no key is in that state now; the next one will be
    pub(super) fn not_yet(&self, key: &'static str, help: &str) {
        self.ask(key);
        self.not_yet.borrow_mut().push(key);
        if let Some((name, _)) = self.table.iter().find(|(name, _)| name.get_ref() == key) {
            let message = format!("`{key}` is not supported by this version yet");
            self.found
                .tell(Complaint::new("not-supported", message, "not supported yet", help).at(name.span()));
        }
    }

    /// Whether nothing is written in it.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Something is wrong with the section as a whole, because something is not there.
    pub(super) fn tell(&self, complaint: Complaint) {
        self.found.tell(complaint.at(self.span.clone()).absent());
    }

    /// Closes it: every key that nobody asked for is unknown.
    pub(super) fn close(self) {
        if self.open.get() {
            return;
        }
        let (asked, not_yet) = (self.asked.into_inner(), self.not_yet.into_inner());
        let usable: Vec<_> = asked.iter().copied().filter(|key| !not_yet.contains(key)).collect();
        for (name, _) in self.table {
            let key = name.get_ref().as_ref();
            if asked.contains(&key) {
                continue;
            }
            let help = nearest(key, asked.iter().copied()).map_or_else(
                || format!("{} knows {}", self.name, list(&usable)),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("unknown key `{}` in {}", key.escape_debug(), self.name);
            self.found.tell(Complaint::new("unknown-key", message, "unknown", help).at(name.span()));
        }
    }

    fn ask(&self, key: &'static str) {
        #[cfg(test)]
        RECORD.with_borrow_mut(|record| {
            if let Some(record) = record {
                record.insert((self.name.clone(), key));
            }
        });
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
    }

    fn item_of(&self, key: String, value: &'t Spanned<DeValue<'t>>) -> Item<'t> {
        Item { key, span: value.span(), found: self.found, value: value.get_ref() }
    }
}

impl<'t> Item<'t> {
    /// Where mistakes go.
    pub(super) fn found(&self) -> &'t Found {
        self.found
    }

    /// Something is wrong with it.
    pub(super) fn tell(&self, complaint: Complaint) {
        self.found.tell(complaint.at(self.span.clone()));
    }

    /// Something is wrong with it because of what stands at `other`.
    pub(super) fn tell_beside(&self, complaint: Complaint, other: Range<usize>, why: impl Into<String>) {
        self.found.tell(complaint.at(self.span.clone()).beside(other, why));
    }

    fn expected(&self, what: &str, help: impl Into<String>) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{}` takes {what}, not {found}", self.key);
        self.tell(Complaint::new("type", message, format!("{found}, not {what}"), help));
    }

    /// As a string.
    pub(super) fn text(&self, help: &str) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.expected("a string", help);
        }
        text
    }

    /// The string in it, if it is one; complains of nothing.
    pub(super) fn as_text(&self) -> Option<&'t str> {
        self.value.as_str()
    }

    /// The flag in it, if it is one; complains of nothing.
    pub(super) fn as_flag(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Whether it is a table; complains of nothing.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether it is a list; complains of nothing.
    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// As what `parse` makes of the string in it.
    pub(super) fn parsed<T>(
        &self,
        help: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        parse(self.text(help)?).map_err(|complaint| self.tell(complaint)).ok()
    }

    /// As one of these words.
    pub(super) fn word<T: Clone>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.word_or(words, "")
    }

    /// As one of these words, where `other` says what else could stand there.
    pub(super) fn word_or<T: Clone>(&self, words: &[(&'static str, T)], other: &str) -> Option<T> {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let or = if other.is_empty() { "" } else { ", or " };
        let choice = format!("write {}{or}{other}", choice(&known));
        let text = self.text(&choice)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
        if found.is_none() {
            let help = nearest(text, known.iter().copied())
                .map_or(choice, |near| format!("did you mean \"{near}\"? known are {}", list(&known)));
            let message = format!("`{}` cannot be `{}`", self.key, text.escape_debug());
            self.tell(Complaint::new("word", message, "unknown", help));
        }
        found
    }

    /// As true or false.
    pub(super) fn flag(&self) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            let help = match self.value.as_str() {
                Some("on" | "yes" | "true") => format!("write {} = true", self.key),
                Some("off" | "no" | "false") => format!("write {} = false", self.key),
                _ => "write true or false, without quotes".to_owned(),
            };
            self.expected("true or false", help);
        }
        flag
    }

    /// As a whole number in `range`.
    pub(super) fn count(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(written) = self.value else {
            let help = match self.value.as_str().and_then(|text| text.parse::<u64>().ok()) {
                Some(number) => format!("write {number} without quotes"),
                None => format!("write a whole number from {} to {}", range.start(), range.end()),
            };
            self.expected("a whole number", help);
            return None;
        };
        let digits = written.as_str().replace('_', "");
        let number = u64::from_str_radix(&digits, written.radix()).ok();
        self.in_range(number, &range, written, u64::to_string)
    }

    /// As a part of one, in millionths.
    pub(super) fn share(&self, help: &str) -> Option<u32> {
        let written = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.expected("a part of one", help);
                return None;
            }
        };
        let share = written.replace('_', "").parse::<f64>().ok();
        let share = self.in_range(share, &(0.0..=1.0), written, f64::to_string)?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to a million
        Some((share * 1e6).round() as u32)
    }

    /// As degrees, from `-limit` to `limit`.
    pub(super) fn degrees(&self, limit: i16, help: &str) -> Option<f64> {
        let written = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.expected("degrees", help);
                return None;
            }
        };
        let degrees = written.replace('_', "").parse::<f64>().ok();
        let limit = f64::from(limit);
        self.in_range(degrees, &(-limit..=limit), written, f64::to_string)
    }

    /// As a size in bytes, in `range`.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        if let DeValue::Integer(number) = self.value {
            self.expected(
                "a size",
                format!("write it with its unit and in quotes, like \"{number}MiB\" or \"{number}KiB\""),
            );
            return None;
        }
        if !self.value.is_str() {
            self.expected("a size", "write a size, like \"512MiB\"");
            return None;
        }
        let bytes = self.parsed("write a size, like \"512MiB\"", units::size)?;
        self.in_range(Some(bytes), &range, self.value.as_str().unwrap_or_default(), |bytes| {
            units::size_text(*bytes)
        })
    }

    /// As a duration in `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        if let DeValue::Integer(number) = self.value {
            self.expected("a duration", format!("write it with its unit and in quotes, like \"{number}s\""));
            return None;
        }
        if !self.value.is_str() {
            self.expected("a duration", "write a duration, like \"90s\" or \"10m\"");
            return None;
        }
        let duration = self.parsed("write a duration, like \"90s\" or \"10m\"", units::duration)?;
        let text = self.value.as_str().unwrap_or_default();
        self.in_range(Some(duration), &range, text, |duration| units::duration_text(*duration))
    }

    fn in_range<T: PartialOrd>(
        &self,
        value: Option<T>,
        range: &RangeInclusive<T>,
        written: impl Display,
        shown: impl Fn(&T) -> String,
    ) -> Option<T> {
        let inside = value.filter(|value| range.contains(value));
        if inside.is_none() {
            let message = format!("`{}` cannot be {written}", self.key);
            let help = format!("write something from {} to {}", shown(range.start()), shown(range.end()));
            self.tell(Complaint::new("range", message, "out of range", help));
        }
        inside
    }

    /// As a list; a single string stands for a list of one.
    pub(super) fn list(&self, help: &str) -> Option<Vec<Item<'t>>> {
        match self.value {
            DeValue::Array(list) => Some(
                list.iter()
                    .map(|value| Item {
                        key: self.key.clone(),
                        span: value.span(),
                        found: self.found,
                        value: value.get_ref(),
                    })
                    .collect(),
            ),
            DeValue::String(_) => Some(vec![self.clone()]),
            _ => {
                self.expected("a list", help);
                None
            }
        }
    }

    /// As a list of what `parse` makes of its strings; bad ones are told and left out.
    pub(super) fn list_of<T>(
        &self,
        help: &str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<Vec<T>> {
        Some(self.list(help)?.iter().filter_map(|item| item.parsed(help, &parse)).collect())
    }

    /// As a table called `name` in messages.
    pub(super) fn section(&self, name: String) -> Option<Section<'t>> {
        let DeValue::Table(table) = self.value else {
            let help = match name.strip_prefix('[') {
                Some(_) => format!("write it as a table: {name}"),
                None => format!("write {} = {{ … }}", self.key),
            };
            self.expected("a table", help);
            return None;
        };
        Some(Section::new(name, self.span.clone(), table, self.found))
    }
}

#[cfg(test)]
thread_local! {
    /// Tables and keys that were asked for, while somebody wants to know.
    static RECORD: RefCell<Option<std::collections::BTreeSet<(String, &'static str)>>> = const { RefCell::new(None) };
}

/// What is asked for while `reads` runs on this thread.
#[cfg(test)]
pub(super) fn record(reads: impl FnOnce()) -> std::collections::BTreeSet<(String, &'static str)> {
    RECORD.set(Some(std::collections::BTreeSet::new()));
    reads();
    RECORD.take().unwrap_or_default()
}

/// The one of `known` that `text` was most likely meant to be.
pub(super) fn nearest<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let text = text.to_lowercase().replace('-', "_");
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    known
        .map(|known| (strsim::damerau_levenshtein(&text, &known.replace('-', "_")), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// `a`, `b` and `c`.
pub(super) fn list(names: &[&str]) -> String {
    joined(names, '`', "and")
}

/// "a", "b" or "c".
pub(super) fn choice(names: &[&str]) -> String {
    joined(names, '"', "or")
}

fn joined(names: &[&str], quote: char, word: &str) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} {word} {last}", others.join(", ")),
    }
}
