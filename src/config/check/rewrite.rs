//! `rewrite` of a site or route: what origins are asked for instead of what clients ask.

use super::super::file::{Item, Section};
use super::super::limits::TARGET_TEMPLATE_BYTES_MAX;
use super::super::mistake::Complaint;
use super::super::template::{Piece, Template, Variable};
use super::super::{Rewrite, value};

/// `rewrite`; `Some` of nothing where it is off.
pub(super) fn rewrite(section: &Section<'_>, captures: &[Option<Box<str>>]) -> Option<Rewrite> {
    let item = section.item("rewrite")?;
    if item.as_text() == Some("off") {
        return Some(Rewrite::default());
    }
    if item.as_text().is_some() {
        let path = item.parsed(REWRITE_EXAMPLE, |text| path(text, captures))?;
        return Some(Rewrite { path: Some(path), ..Rewrite::default() });
    }
    let section = item.section("`rewrite`".to_owned())?;
    let (written, strip, add) =
        (section.item("path"), section.item("strip_prefix"), section.item("add_prefix"));
    if let (Some(path), Some(other)) = (&written, strip.as_ref().or(add.as_ref())) {
        let message = format!("both `path` and `{}` are written", other.key);
        let complaint = Complaint::new("both", message, "this one", "keep one of them");
        other.tell_beside(complaint, path.span.clone(), "and this one");
    }
    let prefix = |item: Option<Item<'_>>| item.and_then(|item| item.parsed(REWRITE_EXAMPLE, prefix));
    let query = section.item("query");
    let rewrite = Rewrite {
        strip_prefix: prefix(strip),
        add_prefix: prefix(add),
        path: written.and_then(|item| item.parsed(REWRITE_EXAMPLE, |text| path(text, captures))),
        query: query.and_then(|item| item.parsed(REWRITE_EXAMPLE, |text| self::query(text, captures))),
    };
    if section.is_empty() {
        item.tell(Complaint::new("empty", "`rewrite` changes nothing", "empty", REWRITE_EXAMPLE));
    }
    section.close();
    Some(rewrite)
}

fn complaint(text: &str, label: &str, help: &str) -> Complaint {
    Complaint::new(
        "rewrite",
        format!("`{}` is not what a request asks for", text.escape_debug()),
        label,
        help,
    )
}

/// A path, whole: it begins with `/`, and what is filled in cannot climb out of what is written.
fn path(text: &str, captures: &[Option<Box<str>>]) -> Result<Template, Complaint> {
    if text.len() > TARGET_TEMPLATE_BYTES_MAX {
        return Err(complaint(text, "too long", "write less"));
    }
    if text.contains(['?', '#']) {
        return Err(complaint(
            text,
            "with a query",
            "write the query apart: rewrite = { path = \"/x\", query = \"a=$1\" }",
        ));
    }
    let template = Template::parse(text, &PATH_VARIABLES, captures)?;
    let begins = match template.pieces().first() {
        Some(Piece::Text(text)) => text.starts_with('/'),
        Some(Piece::Variable(variable)) => *variable == Variable::Path,
        None => false,
    };
    if !begins {
        return Err(complaint(text, "does not begin with `/`", REWRITE_EXAMPLE));
    }
    literal(text, &template)?;
    Ok(template)
}

fn query(text: &str, captures: &[Option<Box<str>>]) -> Result<Template, Complaint> {
    if text.len() > TARGET_TEMPLATE_BYTES_MAX {
        return Err(complaint(text, "too long", "write less"));
    }
    let bare = text.strip_prefix('?');
    if bare.is_some() || text.contains('#') {
        return Err(complaint(
            text,
            "more than a query",
            "write what stands behind the question mark, like \"a=$1\"",
        ));
    }
    let template = Template::parse(text, &QUERY_VARIABLES, captures)?;
    literal(text, &template)?;
    Ok(template)
}

fn prefix(text: &str) -> Result<Box<str>, Complaint> {
    let whole = text.starts_with('/') && !text.ends_with('/') && !text.contains(['?', '#', '*', '$']);
    if !whole {
        let help = "write whole segments that begin with `/` and do not end with it, like \"/api/v1\"";
        return Err(complaint(text, "no prefix", help));
    }
    literal(text, &Template::parse(text, &[], &[])?)?;
    Ok(text.into())
}

/// What is written is what a request would have, encoded and without dot segments.
fn literal(text: &str, template: &Template) -> Result<(), Complaint> {
    let mut outline = String::new();
    for piece in template.pieces() {
        let Piece::Text(piece) = piece else {
            outline.push('x');
            continue;
        };
        if !value::is_target_text(piece) {
            let help = "write it percent-encoded, as it is on the wire";
            return Err(complaint(text, "a byte that no request has", help));
        }
        outline.push_str(piece);
    }
    if outline.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(complaint(text, "a dot segment", "write the path without `.` and `..`"));
    }
    Ok(())
}

const PATH_VARIABLES: [Variable; 2] = [Variable::Path, Variable::Host];
const QUERY_VARIABLES: [Variable; 4] = [Variable::Query, Variable::Path, Variable::Host, Variable::Scheme];
const REWRITE_EXAMPLE: &str = "write rewrite = { path = \"/new/$1\", query = \"$query\" } or { strip_prefix = \"/api\", add_prefix = \"/v1\" }, or \"off\"";
