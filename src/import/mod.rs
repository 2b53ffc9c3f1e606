//! Other servers' settings as ours: `tidegate import nginx FILE`, `tidegate import caddy FILE`.
//!
//! A reader (`nginx/`, `caddy/`) parses the file with what it includes and fills a [`draft::Draft`]; the draft writes a settings
//! file with comments that name where each part came from. What has no counterpart becomes a [`Note`] with file and line and
//! what to write instead: nothing is left out in silence but what needs nothing here.
//!
//! Invariant: what restricts access is never dropped quietly. Where it cannot be said, the draft refuses everybody at that
//! place (`respond` 403), or leaves the place out, and a note says so.
//!
//! Deliberately absent: serving files, scripts and gateways to them. Where the other server does that, it stays as an origin.

// Two outcomes of a reading stand side by side as arms; the shorter one is often the reason for the other.
#![allow(clippy::single_match_else)]

mod caddy;
pub(crate) mod draft;
mod nginx;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::rc::Rc;

pub use source::Files;

/// Where something stands in the other server's settings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file.
    pub file: Rc<str>,
    /// From 1.
    pub line: u32,
}

/// What could not be translated, or is not quite the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Where it stands.
    pub place: Place,
    /// What it is, and what becomes of it.
    pub what: String,
    /// What to write instead; empty: nothing.
    pub instead: String,
}

/// A file that cannot be read as what it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}:{}: {what}", place.file, place.line)]
pub struct Unread {
    /// Where.
    pub place: Place,
    /// Why.
    pub what: String,
}

/// A settings file of ours and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The settings, TOML with comments.
    pub settings: String,
    /// In the order of their places.
    pub notes: Vec<Note>,
}

/// Which server's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// `nginx.conf`, or a file of `sites-enabled`.
    Nginx,
    /// A Caddyfile.
    Caddy,
}

/// Translates the settings in `path` and what they include.
///
/// # Errors
/// A file is not what it should be: an open quote or block, or too much of anything (`config/limits.rs`).
pub fn import(dialect: Dialect, path: &Path, files: Files) -> Result<Imported, Unread> {
    let mut draft = draft::Draft::default();
    match dialect {
        Dialect::Nginx => nginx::read(path, files, &mut draft)?,
        Dialect::Caddy => caddy::read(path, files, &mut draft)?,
    }
    Ok(draft.finish(dialect, &path.display().to_string()))
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A file may have any name.
        write!(f, "{}:{}", draft::one_line(self.file.as_ref()), self.line)
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if !self.instead.is_empty() {
            write!(f, "; {}", self.instead)?;
        }
        Ok(())
    }
}
