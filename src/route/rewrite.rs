//! What origins are asked for instead of what clients ask: path and query written anew.
//!
//! The key is of the URL that clients see, and so is everything that is purged; the forward is a function of it and of the
//! route, so equal keys have equal forwards (ARCHITECTURE.md, invariant 9). Two URLs may be written into one; they are
//! stored twice.
//!
//! Invariant: what is forwarded is a target in normal form. What is filled in continues the path that is written and does
//! not climb out of it: a dot segment that comes about is refused (`/files*` to `/data/$1` with `/files../x`), and captures in a
//! query are one parameter's.

use super::answer::as_parameter;
use super::matcher::{Captures, CompiledPath};
use super::normal::Target;
use crate::config::Rewrite;
use crate::config::limits::REWRITTEN_BYTES_MAX;
use crate::config::template::{Piece, Template, Values, Variable};

/// Why a request cannot be written anew: the client's path takes it where no path leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unwritable {
    /// It would be longer than is sent: 414.
    Long,
    /// It would not be a path, or climb: 400.
    Malformed,
}

/// The target that the origin is asked for. `values.target` is in normal form and treated as the route wants.
pub(super) fn rewritten(
    rewrite: &Rewrite,
    pattern: Option<&CompiledPath>,
    values: &Values<'_>,
) -> Result<Target<'static>, Unwritable> {
    let path = values.target.get(..values.path_len).unwrap_or_default();
    let captures = pattern.map(|pattern| pattern.captures(path)).unwrap_or_default();
    let mut out = Vec::with_capacity(values.target.len() + 64);
    if let Some(template) = &rewrite.path {
        render(template, values, &captures, false, &mut out)?;
    } else {
        let rest = rewrite.strip_prefix.as_deref().map_or(path, |prefix| stripped(path, prefix.as_bytes()));
        let added = rewrite.add_prefix.as_deref().unwrap_or_default();
        out.extend_from_slice(added.as_bytes());
        if rest.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(rest);
    }
    let path_len = out.len();
    if let Some(template) = &rewrite.query {
        out.push(b'?');
        render(template, values, &captures, true, &mut out)?;
        if out.len() == path_len + 1 {
            out.truncate(path_len);
        }
    } else {
        out.extend_from_slice(values.target.get(values.path_len..).unwrap_or_default());
    }
    if out.len() > REWRITTEN_BYTES_MAX {
        return Err(Unwritable::Long);
    }
    Target::composed(&out, path_len).ok_or(Unwritable::Malformed)
}

/// The path behind whole segments; itself where it does not begin with them.
fn stripped<'p>(path: &'p [u8], prefix: &[u8]) -> &'p [u8] {
    match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => path,
    }
}

fn render(
    template: &Template,
    values: &Values<'_>,
    captures: &Captures<'_>,
    in_query: bool,
    out: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    for piece in template.pieces() {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable(Variable::Query) => values.write(Variable::Query, out),
            Piece::Variable(variable) => {
                let mut value = Vec::new();
                match variable {
                    Variable::Capture(number) => value.extend_from_slice(captures.of(*number)),
                    variable => values.write(*variable, &mut value),
                }
                // Else one parameter would become two.
                out.extend_from_slice(&if in_query { as_parameter(&value) } else { value });
            }
        }
        if out.len() > REWRITTEN_BYTES_MAX {
            return Err(Unwritable::Long);
        }
    }
    Ok(())
}
