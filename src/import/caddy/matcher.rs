//! Which requests a directive is for: a path, `*`, or a named matcher; as path, methods and `match` of a route.

use std::collections::BTreeMap;

use super::super::draft::{self, Draft, Keys};
use super::syntax::Line;
use crate::config::value;

/// Requests that a directive is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Matcher {
    /// As TOML, one a route.
    pub(super) paths: Vec<String>,
    /// How much a path says, for the order of routes.
    pub(super) weight: usize,
    /// `methods` and `match`.
    pub(super) keys: Keys,
    /// A prefix that a `handle_path` takes off.
    pub(super) prefix: Option<String>,
}

/// Named matchers of a site.
pub(super) type Named<'l> = BTreeMap<&'l str, Vec<&'l Line>>;

/// All that a block defines.
pub(super) fn named(lines: &[Line]) -> Named<'_> {
    let mut named = Named::new();
    for line in lines.iter().filter(|line| line.name().starts_with('@')) {
        named.entry(line.name()).or_default().push(line);
    }
    named
}

/// Whether a word is a matcher where one may stand.
pub(super) fn is_one(word: &str) -> bool {
    word == "*" || word.starts_with('/') || word.starts_with('@')
}

/// The matcher that a word names; `None` for all requests. `Err` where it cannot be said, which has been noted.
pub(super) fn read(
    word: &str,
    named: &Named<'_>,
    line: &Line,
    draft: &mut Draft,
) -> Result<Option<Matcher>, ()> {
    if word == "*" || word.is_empty() {
        return Ok(None);
    }
    if word.starts_with('/') {
        let mut matcher = Matcher { paths: Vec::new(), weight: 0, keys: Keys::default(), prefix: None };
        path(word, &mut matcher, line, draft)?;
        return Ok(Some(matcher));
    }
    let Some(lines) = named.get(word) else {
        draft.note(&line.place, format!("`{word}` is defined nowhere"), "");
        return Err(());
    };
    let mut matcher = Matcher { paths: Vec::new(), weight: 0, keys: Keys::default(), prefix: None };
    let mut conditions = Conditions::default();
    for line in lines {
        // `@name path /x`, or a block with a condition a line.
        if line.words.len() > 1 {
            let one = Line { words: line.rest().to_vec(), ..(*line).clone() };
            condition(&one, &mut matcher, &mut conditions, draft)?;
        }
        for one in line.inside() {
            condition(one, &mut matcher, &mut conditions, draft)?;
        }
    }
    if let Some(value) = conditions.inline() {
        matcher.keys.set("match", value);
    }
    if matcher.paths.is_empty() {
        matcher.paths.push(draft::text("/*"));
    }
    Ok(Some(matcher))
}

fn path(word: &str, matcher: &mut Matcher, line: &Line, draft: &mut Draft) -> Result<(), ()> {
    match value::path_pattern(word) {
        Ok(_) => {
            matcher.paths.push(draft::text(word));
            matcher.weight = matcher.weight.max(word.len());
            Ok(())
        }
        Err(complaint) => {
            draft.note(&line.place, complaint.message, complaint.help);
            Err(())
        }
    }
}

#[derive(Default)]
struct Conditions {
    header: Vec<(String, String)>,
    query: Vec<(String, String)>,
    client: Vec<String>,
}

impl Conditions {
    fn inline(&self) -> Option<String> {
        let mut parts = Vec::new();
        for (key, list) in [("header", &self.header), ("query", &self.query)] {
            if !list.is_empty() {
                let list: Vec<_> =
                    list.iter().map(|(name, value)| format!("{} = {value}", draft::text(name))).collect();
                parts.push(format!("{key} = {{ {} }}", list.join(", ")));
            }
        }
        if !self.client.is_empty() {
            parts.push(format!("client = {}", draft::texts(&self.client)));
        }
        (!parts.is_empty()).then(|| format!("{{ {} }}", parts.join(", ")))
    }
}

fn condition(
    line: &Line,
    matcher: &mut Matcher,
    conditions: &mut Conditions,
    draft: &mut Draft,
) -> Result<(), ()> {
    let cannot = |draft: &mut Draft| {
        draft.note(
            &line.place,
            format!("the condition `{}` cannot be said here", line.shown()),
            "write routes with path, methods and match = { header = { … }, query = { … }, cookie = { … }, client = [ … ] }; what it decided is missing",
        );
        Err(())
    };
    match line.name() {
        "path" => line.rest().iter().try_for_each(|word| path(word, matcher, line, draft)),
        "path_regexp" => {
            let expression = line.words.last().map(String::as_str).unwrap_or_default();
            if let Err(complaint) = value::path_regex(expression) {
                draft.note(&line.place, complaint.message, complaint.help);
                return Err(());
            }
            matcher.paths.push(format!("{{ regex = {} }}", draft::text(expression)));
            Ok(())
        }
        "method" => {
            matcher.keys.set("methods", draft::texts(line.rest()));
            Ok(())
        }
        "header" => {
            let (name, pattern) = (line.word(1).to_ascii_lowercase(), line.word(2));
            let (name, value) = match (name.strip_prefix('!'), pattern) {
                (Some(name), _) => (name.to_owned(), "false".to_owned()),
                (None, "" | "*") => (name, "true".to_owned()),
                (None, pattern) => (name, draft::text(pattern)),
            };
            if value::field_name(&name).is_err() {
                return cannot(draft);
            }
            conditions.header.push((name, value));
            Ok(())
        }
        "query" => {
            for pair in line.rest() {
                let (name, pattern) = pair.split_once('=').unwrap_or((pair, "*"));
                if value::exact_name(name).is_err() {
                    return cannot(draft);
                }
                conditions.query.push((
                    name.to_owned(),
                    if pattern == "*" { "true".to_owned() } else { draft::text(pattern) },
                ));
            }
            Ok(())
        }
        "remote_ip" | "client_ip" => {
            for network in line.rest() {
                match network.as_str() {
                    "forwarded" => {}
                    "private_ranges" => {
                        conditions.client.extend(super::PRIVATE.iter().map(|one| (*one).to_owned()));
                    }
                    network if value::network(network).is_ok() => conditions.client.push(network.to_owned()),
                    _ => return cannot(draft),
                }
            }
            Ok(())
        }
        "not" => match line.word(1) {
            "header" if line.words.len() == 3 => {
                conditions.header.push((line.word(2).to_ascii_lowercase(), "false".to_owned()));
                Ok(())
            }
            _ => cannot(draft),
        },
        _ => cannot(draft),
    }
}
