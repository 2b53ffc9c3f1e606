//! Finds and reads the settings file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Config;
use super::check::{Surroundings, check};
use super::limits::SETTINGS_BYTES_MAX;
use super::mistake::Mistakes;

/// Settings and where they came from.
#[derive(Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub config: Config,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No file was named, and none of the default ones is there.
    #[error("no settings file: tried {}", tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and "))]
    NoFile {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something is wrong in it.
    #[error("{0}")]
    Mistakes(Mistakes),
}

/// The settings in `named`, or in the first of [`DEFAULT_FILES`] that is there.
///
/// # Errors
/// [`LoadError`], with every mistake of the file.
pub fn load(named: Option<&Path>) -> Result<Loaded, LoadError> {
    let path =
        match named {
            Some(path) => path.to_owned(),
            None => DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
                LoadError::NoFile { tried: DEFAULT_FILES.iter().map(PathBuf::from).collect() }
            })?,
        };
    let text = read(&path).map_err(|source| LoadError::Unreadable { path: path.clone(), source })?;
    // Whole, or a plan and a reload, whose file is named whole, would find other paths in the same settings.
    let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let base = whole.parent().unwrap_or(Path::new(""));
    let config =
        check(&path.display().to_string(), &text, &Surroundings::here(base)).map_err(LoadError::Mistakes)?;
    Ok(Loaded { path, config })
}

/// What a settings file says.
///
/// # Errors
/// It cannot be read, is too long, or is no text.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SETTINGS_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SETTINGS_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {SETTINGS_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Tried in this order when no file is named.
pub const DEFAULT_FILES: [&str; 2] = ["tidegate.toml", "/etc/tidegate/tidegate.toml"];
