//! `request_headers` and `response_headers`: which fields a route sets, adds and removes.
//!
//! Fields of one connection, framing, and what the node itself says or relies on are refused: a message with two
//! opinions about its length is a split one, and a condition of a client is not an operator's.

use http::HeaderName;

use super::super::file::{Item, Section};
use super::super::limits::{HEADER_RULE_BYTES_MAX, HEADER_RULES_MAX};
use super::super::mistake::Complaint;
use super::super::template::{Template, Variable};
use super::super::value;

/// Whose fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Requests to origins.
    Request,
    /// Answers to clients.
    Response,
}

/// What is written in one table, to be laid over what stands farther away.
pub(super) struct Written {
    pub(super) remove: Vec<HeaderName>,
    pub(super) set: Vec<(HeaderName, Template)>,
    pub(super) add: Vec<(HeaderName, Template)>,
}

/// The rules at `key`, if they are written.
pub(super) fn headers(section: &Section<'_>, key: &'static str, side: Side) -> Option<Written> {
    let item = section.item(key)?;
    let section = item.section(format!("`{key}`"))?;
    let remove = section.item("remove").and_then(|item| {
        let names = item.list(REMOVE_EXAMPLE)?;
        Some(names.iter().filter_map(|item| removable(item, side)).collect::<Vec<_>>())
    });
    let written = Written {
        remove: remove.unwrap_or_default(),
        set: fields(&section, "set", side),
        add: fields(&section, "add", side),
    };
    section.close();
    let count = written.remove.len() + written.set.len() + written.add.len();
    if count > HEADER_RULES_MAX {
        let message = format!("`{key}` names {count} fields");
        let help = format!("write at most {HEADER_RULES_MAX}");
        item.tell(Complaint::new("range", message, "too many", help));
    }
    Some(written)
}

fn removable(item: &Item<'_>, side: Side) -> Option<HeaderName> {
    let name = item.parsed(REMOVE_EXAMPLE, value::field_name)?;
    match refusal(&name, side, true) {
        None => Some(name),
        Some(complaint) => {
            item.tell(complaint);
            None
        }
    }
}

/// The fields in the table at `key`.
pub(super) fn fields(section: &Section<'_>, key: &'static str, side: Side) -> Vec<(HeaderName, Template)> {
    let Some(item) = section.item(key) else { return Vec::new() };
    let Some(section) = item.section(format!("`{key}`")) else { return Vec::new() };
    let mut fields = Vec::new();
    for (written, item) in section.named() {
        let refusal = |name: &HeaderName| match key {
            "headers" if *name == http::header::CONTENT_TYPE => Some(twice_told(name)),
            _ => refusal(name, side, false),
        };
        let name = value::field_name(written.get_ref()).and_then(|name| match refusal(&name) {
            None => Ok(name),
            Some(complaint) => Err(complaint),
        });
        let values = match key {
            "set" => item.parsed(FIELD_EXAMPLE, template).map(|value| vec![value]),
            "headers" => item.list_of(FIELD_EXAMPLE, constant),
            _ => item.list_of(FIELD_EXAMPLE, template),
        };
        match name {
            Ok(name) => fields.extend(values.into_iter().flatten().map(|value| (name.clone(), value))),
            Err(complaint) => item.found().tell(complaint.at(written.span())),
        }
    }
    fields
}

/// A field's value.
fn template(text: &str) -> Result<Template, Complaint> {
    filled(text, &VARIABLES)
}

/// One that is the same for every request.
fn constant(text: &str) -> Result<Template, Complaint> {
    filled(text, &[])
}

fn filled(text: &str, variables: &[Variable]) -> Result<Template, Complaint> {
    let complaint = |label: &str, help: String| {
        Complaint::new(
            "field-value",
            format!("`{}` is not a field's value", text.escape_debug()),
            label,
            help,
        )
    };
    if text.len() > HEADER_RULE_BYTES_MAX {
        return Err(complaint("too long", format!("write at most {HEADER_RULE_BYTES_MAX} bytes")));
    }
    let ends_bare = text.trim_matches([' ', '\t']) == text;
    if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) || !ends_bare {
        let help = "write printable ASCII without white space at its ends; anything else would end or split the line";
        return Err(complaint("not printable ASCII", help.to_owned()));
    }
    Template::parse(text, variables, &[])
}

fn twice_told(name: &HeaderName) -> Complaint {
    let message = format!("`{name}` cannot be written here");
    Complaint::new("field", message, "not for this table", "write `content_type` beside the body")
}

/// Why a field is not the operator's to write, or to remove.
fn refusal(name: &HeaderName, side: Side, removes: bool) -> Option<Complaint> {
    let one_of = |list: &[&str]| list.contains(&name.as_str());
    let why = if one_of(&FRAMING) {
        "it speaks of one connection or of where a message ends, which the node decides for each"
    } else if name.as_str().starts_with("tidegate-") {
        "it is between nodes of a tier"
    } else if side == Side::Request && name == http::header::HOST {
        "write `host` of the pool: what origins are asked as belongs to it"
    } else if side == Side::Request && one_of(&NODES_OWN) {
        "the node writes it itself, and loops are found by it"
    } else if side == Side::Request && one_of(&CONDITIONS) {
        "the cache asks by it on its own account; an answer to it may be no whole page"
    } else if side == Side::Request && !removes && name == http::header::ACCEPT_ENCODING {
        "clients would get encodings that they do not take; it can be removed"
    } else if side == Side::Response && one_of(&REPRESENTATION) {
        "it says what part of a page is sent, and how; clients could not read the answer"
    } else if side == Side::Response && one_of(&CACHES_OWN) {
        "the cache says by it how old an answer is and when it was made"
    } else {
        return None;
    };
    let message = format!("`{name}` cannot be {} here", if removes { "removed" } else { "written" });
    Some(Complaint::new("field", message, "not for settings", why))
}

/// Why a field of this name cannot be written, or removed; for who makes settings of something else.
pub(crate) fn refused_field(name: &str, side: Side, removes: bool) -> Option<String> {
    match value::field_name(name) {
        Ok(name) => refusal(&name, side, removes).map(|complaint| complaint.help),
        Err(complaint) => Some(complaint.message),
    }
}

/// RFC 9110 §7.6.1 and §6.4, RFC 9112 §6.
const FRAMING: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const NODES_OWN: [&str; 6] =
    ["cdn-loop", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
const CONDITIONS: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];
const REPRESENTATION: [&str; 3] = ["accept-ranges", "content-encoding", "content-range"];
const CACHES_OWN: [&str; 2] = ["age", "date"];
/// What can be filled into a value.
const VARIABLES: [Variable; 6] = [
    Variable::Host,
    Variable::Path,
    Variable::Uri,
    Variable::Scheme,
    Variable::ClientIp,
    Variable::RequestId,
];
const REMOVE_EXAMPLE: &str = "write a list of fields, like remove = [\"server\", \"x-powered-by\"]";
const FIELD_EXAMPLE: &str = "write a value, like set = { x-frame-options = \"DENY\" }";
