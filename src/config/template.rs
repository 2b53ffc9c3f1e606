//! Text with variables: what a field's value, a rewritten path or a redirect's target is made of.
//!
//! `$host`, `${host}` and, where a path pattern has captures, `$1` to `$9` and `${name}`; `$$` is a dollar. Parsed once by
//! `check/`, which says which variables a place takes; rendered by whoever has the [`Values`] of a request.
//!
//! Invariant: what is rendered holds no control and no byte above ASCII that the settings did not write: every variable
//! is of a request in normal form, or the node's own.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::IpAddr;

use super::limits::VARIABLES_MAX;
use super::mistake::Complaint;
use crate::listener::request::Scheme;

/// A text with places to fill in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Stands as it is.
    Text(Box<str>),
    /// Is filled in.
    Variable(Variable),
}

/// What can be filled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variable {
    /// The request's host without its port, in normal form.
    Host,
    /// The path, in normal form.
    Path,
    /// The query without its question mark; nothing where there is none.
    Query,
    /// Path, and query behind a question mark where there is one.
    Uri,
    /// `http` or `https`.
    Scheme,
    /// The client's address.
    ClientIp,
    /// The request's name in log and error pages.
    RequestId,
    /// What a star or a group of the path's pattern took, from 1.
    Capture(u8),
}

/// What a request fills in.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Host without port.
    pub host: &'a [u8],
    /// Path and query in normal form.
    pub target: &'a [u8],
    /// How long the path is.
    pub path_len: usize,
    /// By which scheme it was asked for.
    pub scheme: Scheme,
    /// Who asks.
    pub client: IpAddr,
    /// Its name, where one was drawn.
    pub id: Option<&'a [u8]>,
}

impl Template {
    /// The template in `text`, whose variables are among `known`; `captures` are the names of groups in order, the first
    /// of which is `$1`.
    ///
    /// # Errors
    /// A variable is unknown here or not closed; the text has a control in it.
    pub fn parse(text: &str, known: &[Variable], captures: &[Option<Box<str>>]) -> Result<Self, Complaint> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, behind) = rest.split_at(at);
            plain.push_str(before);
            let behind = behind.get(1..).unwrap_or_default();
            if let Some(behind) = behind.strip_prefix('$') {
                plain.push('$');
                rest = behind;
                continue;
            }
            let (name, behind) = name(behind).ok_or_else(|| {
                let message = format!("`{}` has a `$` that begins no variable", text.escape_debug());
                Complaint::new("variable", message, "no variable", help(known, captures))
            })?;
            let variable = variable(name, known, captures).ok_or_else(|| {
                let message = format!("`${}` is no variable here", name.escape_debug());
                Complaint::new("variable", message, "unknown", help(known, captures))
            })?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Variable(variable));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        let variables = pieces.iter().filter(|piece| matches!(piece, Piece::Variable(_))).count();
        if variables > VARIABLES_MAX {
            let message = format!("a text has {variables} variables");
            let help = format!("write at most {VARIABLES_MAX}");
            return Err(Complaint::new("variable", message, "too many", help));
        }
        Ok(Self { pieces })
    }

    /// Its parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The whole of it, where nothing is to be filled in.
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether `variable` is filled in somewhere.
    pub fn has(&self, variable: Variable) -> bool {
        self.pieces.contains(&Piece::Variable(variable))
    }

    /// Appends it, filled in; captures are the business of who knows the pattern.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => values.write(*variable, out),
            }
        }
    }
}

/// As settings write it.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    for c in text.chars() {
                        if c == '$' {
                            f.write_char('$')?;
                        }
                        f.write_char(c)?;
                    }
                }
                Piece::Variable(Variable::Capture(at)) => write!(f, "${{{at}}}")?,
                Piece::Variable(variable) => {
                    let name = NAMES.iter().find(|(_, known)| known == variable).map_or("", |(name, _)| name);
                    write!(f, "${{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

impl Values<'_> {
    /// Appends what stands for a variable; nothing for a capture.
    pub fn write(&self, variable: Variable, out: &mut Vec<u8>) {
        match variable {
            Variable::Host => out.extend_from_slice(self.host),
            Variable::Path => out.extend_from_slice(self.target.get(..self.path_len).unwrap_or_default()),
            Variable::Query => {
                let at = self.path_len.saturating_add(1);
                out.extend_from_slice(self.target.get(at..).unwrap_or_default());
            }
            Variable::Uri => out.extend_from_slice(self.target),
            Variable::Scheme => out.extend_from_slice(self.scheme.as_str().as_bytes()),
            // Writing to a vector does not fail.
            Variable::ClientIp => drop(write!(out, "{}", self.client.to_canonical())),
            Variable::RequestId => {
                out.extend_from_slice(self.id.unwrap_or_default());
            }
            Variable::Capture(_) => {}
        }
    }
}

/// The name behind a dollar, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}');
    }
    let end = if text.starts_with(|c: char| c.is_ascii_digit()) {
        1
    } else {
        text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
    };
    (end > 0).then(|| text.split_at(end))
}

fn variable(name: &str, known: &[Variable], captures: &[Option<Box<str>>]) -> Option<Variable> {
    let named = NAMES.iter().find(|(one, variable)| *one == name && known.contains(variable));
    if let Some((_, variable)) = named {
        return Some(*variable);
    }
    let at = match name.parse::<usize>() {
        Ok(number) => number.checked_sub(1)?,
        Err(_) => captures.iter().position(|capture| capture.as_deref() == Some(name))?,
    };
    captures.get(at)?;
    u8::try_from(at + 1).ok().filter(|number| *number <= CAPTURES_MAX).map(Variable::Capture)
}

fn help(known: &[Variable], captures: &[Option<Box<str>>]) -> String {
    let names = NAMES.iter().filter(|(_, variable)| known.contains(variable));
    let mut all: Vec<String> = names.map(|(name, _)| format!("${name}")).collect();
    match captures.len() {
        0 => {}
        1 => all.push("$1".to_owned()),
        count => all.push(format!("$1 to ${}", count.min(usize::from(CAPTURES_MAX)))),
    }
    if all.is_empty() {
        return "write `$$` for a dollar; no variable stands here".to_owned();
    }
    format!("write `$$` for a dollar; variables are {}", all.join(", "))
}

const NAMES: [(&str, Variable); 7] = [
    ("host", Variable::Host),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("uri", Variable::Uri),
    ("scheme", Variable::Scheme),
    ("client_ip", Variable::ClientIp),
    ("request_id", Variable::RequestId),
];
/// `$1` to `$9`, as everywhere.
const CAPTURES_MAX: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Variable; 3] = [Variable::Host, Variable::Path, Variable::Uri];

    #[test]
    fn variables_are_found_where_they_stand() {
        let groups = [None, Some("page".into())];
        for (claim, text, written) in [
            ("nothing to fill in", "a b", Some("a b")),
            ("a dollar", "a$$b", Some("a$$b")),
            ("one with a brace", "${host}x", Some("${host}x")),
            ("one that ends by itself", "$host/x", Some("${host}/x")),
            ("a group by number, and a digit behind it", "$12", Some("${1}2")),
            ("a group by name", "$page", Some("${2}")),
            ("a group that is not there", "$3", None),
            ("no group at all", "$0", None),
            ("a variable of another place", "$query", None),
            ("a lone dollar", "a$", None),
            ("an open brace", "${host", None),
            ("an empty brace", "${}", None),
        ] {
            let parsed = Template::parse(text, &ALL, &groups).map(|template| template.to_string());
            assert_eq!(parsed.ok().as_deref(), written, "{claim}");
        }
    }

    #[test]
    fn what_is_written_means_the_same() {
        for text in ["$$$$", "a$${host}", "${host}${1}$$1", "$uri"] {
            let groups = [None];
            let once = Template::parse(text, &ALL, &groups).unwrap();
            assert_eq!(Template::parse(&once.to_string(), &ALL, &groups), Ok(once), "{text}");
        }
    }
}
