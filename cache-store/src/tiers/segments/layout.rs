//! Whose directory it is: a small text file that names the layout, and the log's salt.
//!
//! ```text
//! tidegate segments 1
//! salt 0123456789abcdef
//! sum 0123456789abcdef
//! ```
//!
//! A salt that was read wrong would make every record look like damage, so the sum stands behind it.
//!
//! Invariant: a directory that is not ours, or of a later layout, is left exactly as it is.

use std::hash::{BuildHasher, RandomState};
use std::io;

use super::OpenError;
use crate::tiers::files::Files;

/// The file's name.
pub(super) const LAYOUT: &str = "layout";
/// The file that is locked.
pub(super) const LOCK: &str = "lock";
const LAYOUT_NEW: &str = "layout.new";
const TITLE: &str = "tidegate segments ";
const VERSION: u32 = 1;
const BYTES_MAX: u64 = 256;

/// The salt of the log in the directory, or `None` if it is empty.
pub(super) fn inspect(files: &dyn Files) -> Result<Option<u64>, OpenError> {
    let listed = files.list("")?;
    let Some(layout) = listed.iter().find(|file| file.name == LAYOUT) else {
        return match listed.iter().find(|file| file.name != LOCK && file.name != LAYOUT_NEW) {
            Some(other) => Err(OpenError::Foreign { found: other.name.clone() }),
            None => Ok(None),
        };
    };
    let foreign = || OpenError::Foreign { found: LAYOUT.to_owned() };
    if layout.bytes > BYTES_MAX {
        return Err(foreign());
    }
    let mut bytes = vec![0; usize::try_from(layout.bytes).map_err(|_| foreign())?];
    files.open(LAYOUT)?.read_at(&mut bytes, 0)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| foreign())?;
    let (title, rest) = text.split_once('\n').ok_or_else(foreign)?;
    let version: u32 =
        title.strip_prefix(TITLE).and_then(|version| version.parse().ok()).ok_or_else(foreign)?;
    if version > VERSION {
        return Err(OpenError::Newer { found: version, known: VERSION });
    }
    let salt = rest.get(5..21).and_then(|salt| u64::from_str_radix(salt, 16).ok());
    salt.filter(|salt| text == self::text(*salt)).map(Some).ok_or_else(foreign)
}

/// Makes the directory ours.
pub(super) fn write(files: &dyn Files, salt: u64) -> io::Result<()> {
    let file = files.create(LAYOUT_NEW)?;
    file.write_at(text(salt).as_bytes(), 0)?;
    file.sync()?;
    files.rename(LAYOUT_NEW, LAYOUT)?;
    files.sync_directory("")
}

fn text(salt: u64) -> String {
    let text = format!("{TITLE}{VERSION}\nsalt {salt:016x}\n");
    let sum = super::record::sum(text.as_bytes());
    format!("{text}sum {sum:016x}\n")
}

/// A salt that nobody knows: std seeds its hashers from the system's random source.
pub(super) fn salt() -> u64 {
    RandomState::new().hash_one("segments")
}
