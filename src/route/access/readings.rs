//! Other ways to read a path, for a site whose routes are not equally open.
//!
//! Which rules hold is decided by the path as we read it; an origin may read it otherwise, and serve under a name that no rule is for
//! what a rule keeps shut: `/x/..%2Fadmin`, `//admin`, `/admin;x`, `/%2561dmin`, `/admin%00.css`. So every reading that is known of
//! origins is looked at: decoded again and again, with slashes merged, backslashes as slashes, dot segments resolved, and what servers cut
//! off cut off, and left. Where one of them has rules that the path itself has not, the request is refused.
//!
//! Deliberately absent: case. An origin that takes `/Admin` for `/admin` needs a rule for both.

use std::borrow::Cow;

use crate::route::normal::spelled;
use crate::route::policy::{READINGS_MAX, decoded};

/// Whether `holds` of every reading of a path in normal form, and the query that it ends in, if it does.
pub(in crate::route) fn all(path: &[u8], holds: impl Fn(&[u8], Option<&[u8]>) -> bool) -> bool {
    let reads_one_way =
        memchr::memchr2(b'%', b';', path).is_none() && memchr::memmem::find(path, b"//").is_none();
    if reads_one_way {
        return true;
    }
    let mut reading = Cow::Borrowed(path);
    for _ in 0..=READINGS_MAX {
        let (cut, rest) = cut(&reading);
        if !holds(&plain(cut, true), rest.strip_prefix(b"?")) || !holds(&plain(&reading, false), None) {
            return false;
        }
        match decoded(&reading) {
            Some(next) => reading = Cow::Owned(next),
            None => return true,
        }
    }
    // Encoded more deeply than anyone has reason to.
    false
}

/// A path up to where some servers see its end, and what stands behind.
fn cut(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().position(|byte| matches!(byte, 0 | b'?' | b'#')).unwrap_or(path.len());
    path.split_at_checked(end).unwrap_or((path, b""))
}

/// A path with merged slashes, without dot segments, and where `cuts` without the parameters of its segments.
fn plain(path: &[u8], cuts: bool) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut is_directory = true;
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = segment.split(|byte| cuts && *byte == b';').next().unwrap_or_default();
        is_directory = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut plain = Vec::with_capacity(path.len().saturating_add(1));
    for segment in &segments {
        plain.push(b'/');
        plain.extend_from_slice(segment);
    }
    if is_directory || segments.is_empty() {
        plain.push(b'/');
    }
    spelled(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_of_a_path_is_looked_at() {
        for (path, reading) in [
            ("//admin/x", "/admin/x"),
            ("/a//admin", "/a/admin"),
            ("/admin;v=1/x", "/admin/x"),
            ("/;/admin", "/admin"),
            ("/x/..;/admin/", "/admin/"),
            ("/x/..%2Fadmin", "/admin"),
            ("/x%2F..%2Fadmin", "/admin"),
            ("/x%5C..%5Cadmin", "/admin"),
            ("/%2561dmin", "/admin"),
            ("/x/%252e%252e/admin", "/admin"),
            ("/admin%00.css", "/admin"),
            ("/admin%3F.css", "/admin"),
            ("/admin%252Fx", "/admin/x"),
            ("/..%2F..%2F", "/"),
            ("/a/%2e", "/a/"),
            ("/x/..%2Fgr%C3%B6%C3%9Fe", "/gr%C3%B6%C3%9Fe"),
            ("/gr%25C3%25B6%C3%9Fe", "/gr%C3%B6%C3%9Fe"),
            ("/x/..%2F100%25", "/100%25"),
            ("/x;y.%2570hp", "/x;y.php"),
        ] {
            let found = std::cell::Cell::new(false);
            all(path.as_bytes(), |plain, _| {
                found.set(found.get() || plain == reading.as_bytes());
                true
            });
            assert!(found.get(), "{path} is not read as {reading}");
        }
        assert!(all(b"/plain/path.css", |_, _| false), "one that reads one way only");
        assert!(!all(b"/%252525252525", |_, _| true), "encoded without end");
        assert!(!all(b"/x%3Fa=1", |path, query| path != b"/x" || query != Some(b"a=1")), "with a query");
    }
}
