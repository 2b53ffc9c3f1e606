//! `tidegate purge --manifest` and `--directory`: after a deploy, purge what the build changed.
//!
//! The build becomes a table of paths and hashes, which the node compares with the one before. A manifest is a JSON object of
//! them, or what Vite writes; a directory is hashed here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use purge_api::deploy::hash_of;
use purge_api::limits::DEPLOY_FILES_MAX;
use serde_json::{Value, json};

use super::Ended;
use super::client::Node;
use super::purge::Wait;
use super::receipt::{self, number, plural};
use super::talk::Talk;
use super::warm::Warm;
use crate::config::limits::DEPLOY_BODY_BYTES_MAX;

/// After a deploy.
#[derive(Args, Debug)]
#[command(next_help_heading = "After a deploy")]
pub(super) struct Deploy {
    /// Purge what differs from the deploy before: a JSON object of paths and hashes, or Vite's manifest.
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    manifest: Option<PathBuf>,
    /// The same, of the files in a directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Where the files lie.
    #[arg(long, value_name = "URL", help = "Where the files lie, like https://www.example.com")]
    site: Option<String>,
    /// Forget what changed; without it, it is made stale.
    #[arg(long)]
    hard: bool,
    #[command(flatten)]
    warm: Warm,
}

impl Deploy {
    pub(super) const fn is_asked(&self) -> bool {
        self.manifest.is_some() || self.directory.is_some()
    }

    /// A flag that means nothing without a manifest.
    pub(super) fn stray(&self) -> Option<&'static str> {
        let flags =
            [(self.site.is_some(), "--site"), (self.hard, "--hard"), (self.warm.is_asked(), "--warm")];
        flags.iter().find(|(given, _)| *given).map(|(_, flag)| *flag)
    }

    pub(super) fn carry_out(&self, talk: Talk, node: &Node, dry_run: bool, wait: Wait) -> Ended {
        let Some(site) = &self.site else {
            talk.complain("a deploy needs its site", "name it: --site https://www.example.com");
            return Ended::Usage;
        };
        let read = match (&self.manifest, &self.directory) {
            (Some(path), _) => read_manifest(path),
            (None, Some(path)) => read_directory(path),
            (None, None) => return Ended::Usage,
        };
        let files = match read {
            Ok(files) => files,
            Err(mistake) => {
                talk.complain(&mistake.what, mistake.help);
                return Ended::Usage;
            }
        };
        let body = json!({
            "site": site, "files": files, "soft": !self.hard, "dry_run": dry_run, "wait": wait.as_str(),
        });
        let told = match node.call(talk, "POST", "/v1/deploy", Some(&body)) {
            Ok(told) => told,
            Err(ended) => return ended,
        };
        let printed = if node.json { talk.json(&told) } else { talk.result(&text(&told)) };
        let ended = receipt::ended(talk, &told, printed);
        if ended == Ended::Done && self.warm.is_asked() && !dry_run {
            let fresh = ["added", "changed"].iter().flat_map(|list| paths(&told, list));
            return self.warm.carry_out(talk, site, fresh);
        }
        ended
    }
}

/// Why there is no build, and what to do about it.
#[derive(Debug)]
struct Mistake {
    what: String,
    help: &'static str,
}

type Files = BTreeMap<String, String>;

/// The paths and hashes in a manifest.
fn read_manifest(path: &Path) -> Result<Files, Mistake> {
    let cannot = |error: &dyn std::fmt::Display, help| Mistake {
        what: format!("cannot read the manifest {}: {error}", path.display()),
        help,
    };
    let length = fs::metadata(path).map_err(|error| cannot(&error, "check the path"))?.len();
    if length > DEPLOY_BODY_BYTES_MAX as u64 {
        return Err(cannot(&"longer than a deploy may be", "purge by prefix or host instead"));
    }
    let bytes = fs::read(path).map_err(|error| cannot(&error, "check the path"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| cannot(&error, MANIFEST_HELP))?;
    manifest_of(&value).ok_or_else(|| cannot(&"no object of paths and hashes", MANIFEST_HELP))
}

/// `{"path": "hash"}`, or `{"source": {"file": "assets/a-1f3c.js", "css": […], "assets": […]}}`, whose names hold the hashes.
fn manifest_of(value: &Value) -> Option<Files> {
    let mut files = Files::new();
    for (path, entry) in value.as_object()? {
        match entry {
            Value::String(hash) => drop(files.insert(path.clone(), hash.clone())),
            Value::Object(chunk) => {
                let lists =
                    ["css", "assets"].iter().filter_map(|name| chunk.get(*name)?.as_array()).flatten();
                for file in lists.chain(chunk.get("file")) {
                    let file = file.as_str()?;
                    files.insert(file.to_owned(), file.to_owned());
                }
            }
            _ => return None,
        }
    }
    (!files.is_empty()).then_some(files)
}

/// The files below a directory by their paths, each with the SHA-256 of its bytes. Links are followed; version control's own
/// directories are not published and left out.
fn read_directory(root: &Path) -> Result<Files, Mistake> {
    let mut files = Files::new();
    let mut waiting = vec![(root.to_owned(), String::new())];
    while let Some((directory, prefix)) = waiting.pop() {
        let help = "name the directory that was published";
        let cannot = |path: &Path, error: &io::Error| Mistake {
            what: format!("cannot read {}: {error}", path.display()),
            help,
        };
        let entries = fs::read_dir(&directory).map_err(|error| cannot(&directory, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| cannot(&directory, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| Mistake {
                what: format!("{} has a name that no URL could mean", path.display()),
                help: "names of published files are UTF-8",
            })?;
            if [".git", ".hg", ".svn", ".DS_Store"].contains(&name) {
                continue;
            }
            let below = format!("{prefix}{name}");
            if path.is_dir() {
                if below.matches('/').count() >= DEPTH_MAX {
                    return Err(Mistake {
                        what: format!("{} lies too deep", path.display()),
                        help: "is it a loop of links?",
                    });
                }
                waiting.push((path, below + "/"));
                continue;
            }
            if files.len() >= DEPLOY_FILES_MAX {
                let what = format!("{} holds more than {DEPLOY_FILES_MAX} files", root.display());
                return Err(Mistake { what, help: "purge by prefix or host instead" });
            }
            let hash = File::open(&path).and_then(hash_of).map_err(|error| cannot(&path, &error))?;
            files.insert(below, hash);
        }
    }
    if files.is_empty() {
        return Err(Mistake {
            what: format!("there is no file in {}", root.display()),
            help: "did the build fail? name the directory that was published",
        });
    }
    Ok(files)
}

/// The answer for people.
fn text(told: &Value) -> String {
    let count = |name: &str| told.get("counts").and_then(|counts| number(counts, name)).unwrap_or_default();
    let is = |name: &str| told.get(name).and_then(Value::as_bool).unwrap_or_default();
    let [added, changed, removed, unchanged] = ["added", "changed", "removed", "unchanged"].map(count);
    let elsewhere = count("elsewhere");
    if added + changed + removed + elsewhere == 0 && !is("elsewhere") {
        return format!("nothing to purge: {} unchanged\n", plural(unchanged, "file"));
    }
    let mut out = format!("{added} new, {changed} changed, {removed} gone, {unchanged} unchanged\n");
    let site = told.get("site").and_then(Value::as_str).unwrap_or("the site");
    let what = if is("first") {
        format!("all of {site}: the first deploy that this node has seen of it")
    } else if is("elsewhere") {
        format!("all of {site}: it was purged by way of another node since the last deploy here")
    } else if is("whole_site") {
        format!("all of {site}: more files changed than one purge may name")
    } else {
        format!("{}'s files", site.trim_end_matches('/'))
    };
    out += &receipt::purged(told, &what);
    if elsewhere > 0 {
        let urls = receipt::plural(elsewhere, "URL");
        let _ = writeln!(
            out,
            "  {urls} that were purged by way of another node since the last deploy here among them"
        );
    }
    if !is("first") {
        for (mark, list) in [('+', "added"), ('~', "changed"), ('-', "removed")] {
            for path in paths(told, list).take(PATHS_SHOWN_MAX) {
                let _ = writeln!(out, "  {mark} {path}");
            }
            let more = count(list).saturating_sub(PATHS_SHOWN_MAX as u64);
            if more > 0 {
                let _ = writeln!(out, "  {mark} {more} more");
            }
        }
    }
    out
}

fn paths<'v>(told: &'v Value, list: &str) -> impl Iterator<Item = &'v str> + use<'v> {
    told.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

const MANIFEST_HELP: &str = "a manifest is {\"index.html\": \"9f86d0…\", …}; --directory makes one of files";
/// Paths of each kind shown to people; `--json` has more.
const PATHS_SHOWN_MAX: usize = 10;
/// Directories within directories.
const DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests() {
        let vite = json!({
            "src/main.ts": { "file": "assets/main-4f1c.js", "isEntry": true, "css": ["assets/main-9a.css"], "imports": ["_v.js"] },
            "_v.js": { "file": "assets/v-77.js", "assets": ["assets/logo-1.svg"] },
        });
        for (claim, value, expected) in [
            (
                "paths and hashes",
                json!({ "index.html": "1", "a/b.css": "2" }),
                Some("a/b.css=2 index.html=1"),
            ),
            (
                "Vite's names hold their hashes",
                vite,
                Some("assets/logo-1.svg assets/main-4f1c.js assets/main-9a.css assets/v-77.js"),
            ),
            ("a list is none", json!(["index.html"]), None),
            ("an empty object is a failed build", json!({}), None),
            ("numbers are no hashes", json!({ "index.html": 1 }), None),
        ] {
            let files = manifest_of(&value).map(|files| {
                let each = files
                    .iter()
                    .map(|(path, hash)| if path == hash { path.clone() } else { format!("{path}={hash}") });
                each.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(files.as_deref(), expected, "{claim}");
        }
    }

    #[test]
    fn answers() {
        let counts = |added: u64, changed: u64, removed: u64| json!({ "added": added, "changed": changed, "removed": removed, "unchanged": 9 });
        for (claim, told, expected) in [
            (
                "nothing to do is said",
                json!({ "counts": counts(0, 0, 0), "soft": true }),
                "nothing to purge: 9 files unchanged\n",
            ),
            (
                "the first takes the site and says why",
                json!({ "counts": counts(2, 0, 0), "first": true, "whole_site": true, "soft": true, "matched": 7,
                    "sequence": 3, "site": "https://a/", "added": ["x", "y"] }),
                "2 new, 0 changed, 0 gone, 9 unchanged\n\
                 made stale 7 stored responses under all of https://a/: the first deploy that this node has seen of it; purge 3\n",
            ),
            (
                "what another node was told is told",
                json!({ "counts": { "added": 0, "changed": 0, "removed": 0, "unchanged": 9, "elsewhere": 2 }, "soft": true,
                    "matched": 2, "sequence": 5, "site": "https://a/" }),
                "0 new, 0 changed, 0 gone, 9 unchanged\nmade stale 2 stored responses under https://a's files; purge 5\n\
                 \x20 2 URLs that were purged by way of another node since the last deploy here among them\n",
            ),
            (
                "the next takes what differs, and shows it",
                json!({ "counts": counts(0, 1, 12), "soft": false, "matched": 2, "sequence": 4, "site": "https://a/",
                    "changed": ["x.css"], "removed": (0..12).map(|at| format!("{at}")).collect::<Vec<_>>() }),
                "0 new, 1 changed, 12 gone, 9 unchanged\nforgot 2 stored responses under https://a's files; purge 4\n\
                 \x20 ~ x.css\n  - 0\n  - 1\n  - 2\n  - 3\n  - 4\n  - 5\n  - 6\n  - 7\n  - 8\n  - 9\n  - 2 more\n",
            ),
        ] {
            assert_eq!(text(&told), expected, "{claim}");
        }
    }
}
