//! How the files of other servers are read: bounded, and through two functions that a test or a fuzzer can replace.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Place, Unread};
use crate::config::limits::{IMPORT_BYTES_MAX, IMPORT_FILES_MAX};

/// How to get at files.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// The text of a file, up to so many bytes and one more.
    pub read: fn(&Path, u64) -> io::Result<String>,
    /// The names in a directory, sorted.
    pub list: fn(&Path) -> io::Result<Vec<String>>,
}

impl Files {
    /// Those of this machine.
    pub fn here() -> Self {
        Self {
            read: |path, bytes_max| {
                let mut text = Vec::new();
                std::fs::File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut text)?;
                // A comment in another encoding is no reason to refuse a file.
                Ok(String::from_utf8_lossy(&text).into_owned())
            },
            list: |path| {
                let mut names: Vec<String> = std::fs::read_dir(path)?
                    .take(IMPORT_FILES_MAX)
                    .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                    .collect();
                names.sort();
                Ok(names)
            },
        }
    }
}

/// What has been read so far, against its bounds.
#[derive(Debug)]
pub(super) struct Reading {
    files: Files,
    count: usize,
    bytes: u64,
}

impl Reading {
    pub(super) fn new(files: Files) -> Self {
        Self { files, count: 0, bytes: 0 }
    }

    /// The text of `path`; `Ok(Err)` where it cannot be read.
    ///
    /// # Errors
    /// It is one file, or one byte, too many.
    pub(super) fn text(
        &mut self,
        path: &Path,
        from: &Place,
    ) -> Result<io::Result<(Rc<str>, String)>, Unread> {
        let too_much = |what: String| Unread { place: from.clone(), what };
        self.count = self.count.saturating_add(1);
        if self.count > IMPORT_FILES_MAX {
            return Err(too_much(format!("more than {IMPORT_FILES_MAX} files are included")));
        }
        let left = IMPORT_BYTES_MAX.saturating_sub(self.bytes);
        let text = match (self.files.read)(path, left) {
            Ok(text) => text,
            Err(error) => return Ok(Err(error)),
        };
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        if self.bytes > IMPORT_BYTES_MAX {
            return Err(too_much(format!("the settings are longer than {IMPORT_BYTES_MAX} bytes")));
        }
        Ok(Ok((path.display().to_string().into(), text)))
    }

    /// The files that a pattern with `*` and `?` in any part names, in order; the path itself where it has neither.
    pub(super) fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let text = part.as_os_str().to_string_lossy();
            if !text.contains(['*', '?', '[']) {
                for path in &mut found {
                    path.push(part);
                }
                continue;
            }
            let mut next = Vec::new();
            for path in found {
                let here = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
                for name in (self.files.list)(here).unwrap_or_default() {
                    if !name.starts_with('.') && is_like(text.as_bytes(), name.as_bytes()) {
                        next.push(path.join(&name));
                    }
                }
                if next.len() > IMPORT_FILES_MAX {
                    break;
                }
            }
            found = next;
        }
        found
    }
}

/// Whether a name is like a pattern in which `*` stands for any run of characters and `?` for one; a set in brackets counts as one
/// of any.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0_usize, 0_usize);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), name.get(in_name)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                back = Some((at.saturating_add(1), in_name));
                at = at.saturating_add(1);
                continue;
            }
            (Some(b'?'), Some(_)) => {}
            (Some(b'['), Some(_)) => {
                let rest = pattern.get(at..).unwrap_or_default();
                at = at.saturating_add(rest.iter().position(|byte| *byte == b']').unwrap_or(0));
            }
            (Some(one), Some(other)) if one == other => {}
            _ => {
                let Some((pattern_at, name_at)) = back else { return false };
                if name_at >= name.len() {
                    return false;
                }
                back = Some((pattern_at, name_at.saturating_add(1)));
                at = pattern_at;
                in_name = name_at.saturating_add(1);
                continue;
            }
        }
        at = at.saturating_add(1);
        in_name = in_name.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_file_names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[0-9]*.conf", "10.conf", true),
            ("**", "x", true),
        ] {
            assert_eq!(is_like(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
