//! The body of `POST /v1/purge`, as a type: what is left after every check has passed.
//!
//! All mistakes of a body are told at once, each with its place. Unknown members are refused, because a misspelt `soft`
//! would otherwise purge hard, and so is a member that comes twice, because readers disagree on which counts. URLs and
//! prefixes leave in their normal form ([`Normalise`]), so that what is checked against a token's scope is what is purged.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::error::{Mistake, Refusal, UrlError};
use crate::limits::{ENTRIES_MAX, MISTAKES_MAX};
use crate::order::{Order, Scope, Selector};
use crate::url::ResourceUrl;

/// A purge to carry out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PurgeRequest {
    /// What, and how.
    pub order: Order,
    /// Only count.
    pub dry_run: bool,
    /// How long the caller wants to wait.
    pub wait: Wait,
}

/// When a purge is done in the caller's eyes. A node without a fleet is its own fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// This node has applied it.
    #[default]
    Node,
    /// Every node has.
    Fleet,
}

/// The one spelling of a URL that keys are made of, by whoever makes them.
pub type Normalise<'a> = &'a dyn Fn(&ResourceUrl) -> Result<ResourceUrl, UrlError>;

/// The members of an object in the order written.
pub(crate) struct Members(pub(crate) Vec<(String, Value)>);

/// Selectors on their way, and what is wrong with others.
pub(crate) struct Selectors<'a> {
    normalise: Normalise<'a>,
    good: Vec<Selector>,
    bad: Vec<Mistake>,
    scope_of_first: Scope,
}

impl PurgeRequest {
    /// The request in this JSON text.
    ///
    /// # Errors
    /// Everything in [`Refusal`] but what comes of carrying it out; always the caller's fault.
    pub fn parse(body: &[u8], normalise: Normalise<'_>) -> Result<Self, Refusal> {
        let Members(members) =
            serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let mut lists: Vec<(Scope, &str, &[Value])> = Vec::new();
        let (mut everything, mut soft, mut dry_run, mut wait) = (false, false, false, Wait::Node);
        let mut mistakes = Vec::new();
        for (name, value) in &members {
            let known = match name.as_str() {
                "everything" => flag(value, &mut everything),
                "soft" => flag(value, &mut soft),
                "dry_run" => flag(value, &mut dry_run),
                "wait" => Wait::of(value).map(|meant| wait = meant).ok_or("not `\"node\"` or `\"fleet\"`"),
                name => match (LISTS.iter().find(|(known, _)| *known == name), value) {
                    (Some((name, scope)), Value::Array(list)) => {
                        lists.push((*scope, *name, list));
                        Ok(())
                    }
                    // As some languages write a list that is empty.
                    (Some(_), Value::Null) => Ok(()),
                    (Some((name, _)), _) => Err(no_list(name)),
                    (None, _) => Err(
                        "not known; known are urls, prefixes, hosts, tags, everything, soft, dry_run and wait",
                    ),
                },
            };
            if let Err(detail) = known
                && mistakes.len() < MISTAKES_MAX
            {
                mistakes.push(Mistake { pointer: pointer(&[name]), detail: detail.into() });
            }
        }
        if !mistakes.is_empty() {
            return Err(Refusal::Members(mistakes));
        }
        lists.sort_by_key(|(scope, ..)| *scope);
        let count: usize = lists.iter().map(|(.., list)| list.len()).sum();
        let named = lists.iter().find(|(.., list)| !list.is_empty()).map(|(_, name, _)| *name);
        match (everything, named) {
            (true, Some(name)) => return Err(Refusal::NotByItself(known_name(name))),
            (false, None) => return Err(Refusal::Empty),
            _ => {}
        }
        if count > ENTRIES_MAX {
            return Err(Refusal::TooMany { count, max: ENTRIES_MAX });
        }
        let mut selectors = Selectors::new(normalise);
        if everything {
            selectors.everything();
        }
        for (scope, name, list) in lists {
            for (at, value) in list.iter().enumerate() {
                selectors.take(scope, &[name, &at.to_string()], value);
            }
        }
        Ok(Self { order: Order { selectors: selectors.end()?, soft }, dry_run, wait })
    }
}

impl<'a> Selectors<'a> {
    pub(crate) fn new(normalise: Normalise<'a>) -> Self {
        Self { normalise, good: Vec::new(), bad: Vec::new(), scope_of_first: Scope::Url }
    }

    /// Takes an entry of a list.
    pub(crate) fn take(&mut self, scope: Scope, at: &[&str], value: &Value) {
        match value.as_str() {
            Some(text) => self.take_text(scope, at, text),
            None => self.mistake(scope, at, "not a string"),
        }
    }

    /// Takes an entry that is text.
    pub(crate) fn take_text(&mut self, scope: Scope, at: &[&str], text: &str) {
        let parsed = Selector::parse(scope, text).map_err(|error| error.to_string());
        match parsed.and_then(|selector| self.normal(selector).map_err(|error| error.to_string())) {
            Ok(selector) => self.good.push(selector),
            Err(detail) => self.mistake(scope, at, &detail),
        }
    }

    /// Takes everything.
    pub(crate) fn everything(&mut self) {
        self.good.push(Selector::Everything);
    }

    /// Takes what is wrong with an entry.
    pub(crate) fn mistake(&mut self, scope: Scope, at: &[&str], detail: &str) {
        if self.bad.is_empty() {
            self.scope_of_first = scope;
        }
        if self.bad.len() < MISTAKES_MAX {
            self.bad.push(Mistake { pointer: pointer(at), detail: detail.to_owned() });
        }
    }

    /// All of them, or all that is wrong.
    pub(crate) fn end(self) -> Result<Vec<Selector>, Refusal> {
        if !self.bad.is_empty() {
            return Err(Refusal::Entries(self.bad, self.scope_of_first));
        }
        if self.good.is_empty() {
            return Err(Refusal::Empty);
        }
        if self.good.len() > ENTRIES_MAX {
            return Err(Refusal::TooMany { count: self.good.len(), max: ENTRIES_MAX });
        }
        Ok(self.good)
    }

    fn normal(&self, selector: Selector) -> Result<Selector, UrlError> {
        Ok(match selector {
            Selector::Url(url) => Selector::Url((self.normalise)(&url)?),
            Selector::Prefix(url) => Selector::Prefix((self.normalise)(&url)?),
            other => other,
        })
    }
}

impl Wait {
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "node" => Some(Self::Node),
            "fleet" => Some(Self::Fleet),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.len() >= MEMBERS_MAX {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom(format!("`{}` twice", name.escape_debug())));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// `#/urls/3`; `~` and `/` in a member's name are escaped, and so is what cannot stand in a fragment.
pub(crate) fn pointer(parts: &[&str]) -> String {
    let mut out = String::from("#");
    for part in parts {
        out.push('/');
        for byte in part.bytes().take(POINTER_PART_BYTES_MAX) {
            match byte {
                b'~' => out.push_str("~0"),
                b'/' => out.push_str("~1"),
                _ if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) => out.push(char::from(byte)),
                // Writing to a string cannot fail.
                _ => drop(write!(out, "%{byte:02X}")),
            }
        }
    }
    out
}

/// `null` is refused where `true` or `false` is meant.
pub(crate) fn flag(value: &Value, into: &mut bool) -> Result<(), &'static str> {
    value.as_bool().map(|meant| *into = meant).ok_or("not `true` or `false`")
}

fn no_list(name: &str) -> &'static str {
    match name {
        "urls" => "not a list: write `[\"https://www.example.com/news\"]`",
        "prefixes" => "not a list: write `[\"https://www.example.com/news/\"]`",
        "hosts" => "not a list: write `[\"www.example.com\"]`",
        _ => "not a list: write `[\"article-42\"]`",
    }
}

fn known_name(name: &str) -> &'static str {
    LISTS.iter().find(|(known, _)| *known == name).map_or("", |(known, _)| known)
}

/// The lists of a body.
pub(crate) const LISTS: [(&str, Scope); 4] =
    [("urls", Scope::Url), ("prefixes", Scope::Prefix), ("hosts", Scope::Host), ("tags", Scope::Tag)];
/// Members of one object that are looked at; no call has as many.
const MEMBERS_MAX: usize = 100;
/// Bytes of a member's name in a pointer.
const POINTER_PART_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests;
