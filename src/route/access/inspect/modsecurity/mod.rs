//! `ModSecurity` with the rules of the settings: an engine of its own, loaded where a route names it.
//!
//! ```text
//! start, reload ─► library ─► our base ─► files of rules ─► our last word ─► a rehearsal ─► Engine
//! request ─► lane ─► a thread of its own ─► line, fields, body ─► a demand, or none
//! ```
//!
//! The base says what the engine must do whatever the files say, and the last word says it again: a set of rules that are only to be tried
//! brings `SecRuleEngine DetectionOnly`, and here it is the route's `mode` that decides. Rules about answers are loaded and never
//! asked.
//!
//! Invariant: an engine that stands has refused a rehearsed request; the library goes on silently without blocking where its rules
//! could not be read. `ffi.rs` has all that is unsafe.

mod ffi;

use std::ffi::CStr;
use std::fmt::{self, Debug, Formatter};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;

use super::Subject;
use super::lane::Lane;
use crate::config::limits::{INSPECT_RULES_TOLD_MAX, MODSECURITY_FILES_MAX};
use crate::config::{Glob, ModSecurity};
use crate::listener::fields::FieldLine;
use crate::listener::request::Protocol;

/// The engine and its rules.
pub(crate) struct Engine {
    rules: ffi::Rules,
    /// How many of them.
    count: usize,
    pub(super) lane: Lane,
}

/// What rules demand: that the request is not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Demanded {
    /// Which of them said something, by their ids.
    pub(super) rules: Vec<u32>,
}

/// The library could not be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unasked;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The library.
    #[error(
        "cannot load `{name}`: {why}; install the Debian package libmodsecurity3 (libmodsecurity3t64 from Debian 13 on), or name the library"
    )]
    Library {
        /// As in the settings.
        name: String,
        /// What the system says.
        why: String,
    },
    /// A file of rules.
    #[error("`{}` {why}{hint}", path.display())]
    File {
        /// Which, or which pattern.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to install, where that is known.
        hint: &'static str,
    },
    /// A rule.
    #[error("a rule in `{}` is not understood: {why}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// What the library says.
        why: String,
    },
    /// What every set of rules stands on.
    #[error("the library does not take what all rules stand on: {why}")]
    Base {
        /// What it says.
        why: String,
    },
    /// The rehearsal.
    #[error(
        "with these rules the library lets through what it must refuse; look for `SecRuleRemoveById` and `ctl:ruleEngine` in them"
    )]
    Idle,
}

impl Engine {
    /// Loads the library and reads the rules. Blocks: some 60 ms for the Core Rule Set.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(crate) fn load(settings: &ModSecurity, waiting: &Arc<AtomicUsize>) -> Result<Self, LoadError> {
        // Named before the library: without both, both are to be installed.
        let files = settings.rules.iter().map(|pattern| files_of(pattern)).collect::<Result<Vec<_>, _>>();
        let mut rules = ffi::Rules::load(&settings.library)
            .map_err(|error| LoadError::Library { name: settings.library.clone(), why: error.to_string() })?;
        let base = |why| LoadError::Base { why };
        let mut count = rules.add(BASE).map_err(base)?;
        for file in files?.into_iter().flatten() {
            let Some(path) = ffi::text(file.as_os_str().as_encoded_bytes()) else { continue };
            let added = rules.add_file(&path).map_err(|why| LoadError::Rule { path: file, why })?;
            count = count.saturating_add(added);
        }
        rules.add(LAST).map_err(base)?;
        let lane = Lane::new(settings.concurrency as usize, settings.queue_max as usize, waiting);
        let engine = Self { rules, count, lane };
        match engine.look(&Subject::rehearsed()) {
            Ok(Some(_)) => Ok(engine),
            Ok(None) | Err(Unasked) => Err(LoadError::Idle),
        }
    }

    /// How many rules it has.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// What the rules demand of a request. Burns about a millisecond: not for a worker.
    ///
    /// # Errors
    /// [`Unasked`]
    pub(super) fn look(&self, subject: &Subject) -> Result<Option<Demanded>, Unasked> {
        let mut matched = Vec::new();
        let demand = self.asked(subject, &mut matched).ok_or(Unasked)?;
        Ok(demand.then_some(Demanded { rules: matched }))
    }

    fn asked(&self, subject: &Subject, matched: &mut Vec<u32>) -> Option<bool> {
        let (client, port) = address(subject.client);
        let client = ffi::text(client.as_bytes())?;
        let method = ffi::text(subject.method.as_str().as_bytes())?;
        let target = ffi::text(&subject.target)?;
        let mut transaction = self.rules.transaction(&client, port, |message| {
            tracing::debug!(said = message, "ModSecurity");
            if let Some(rule) = rule_of(message)
                && matched.len() < INSPECT_RULES_TOLD_MAX
                && !matched.contains(&rule)
            {
                matched.push(rule);
            }
        })?;
        transaction.request_line(&method, &target, version(subject.protocol));
        if let Some(authority) = &subject.authority {
            transaction.field(b"host", authority);
        }
        for FieldLine { name, value, .. } in subject.fields.lines() {
            transaction.field(name, value);
        }
        transaction.fields_end();
        let mut demand = transaction.demand();
        if demand.is_none() {
            for piece in &subject.body {
                transaction.body(piece);
            }
            // Also without a body: the rules that add up what others found belong to it.
            transaction.body_ends();
            demand = transaction.demand();
        }
        if let Some(demand) = &demand {
            tracing::debug!(status = demand.status, "ModSecurity demands another answer");
        }
        Some(demand.is_some())
    }
}

impl Debug for Engine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Subject {
    /// The request that [`BASE`] refuses. No client has its address, which is none.
    fn rehearsed() -> Self {
        Self {
            method: http::Method::GET,
            target: Bytes::from_static(b"/"),
            protocol: Protocol::Http11,
            authority: None,
            fields: crate::listener::fields::Fields::default(),
            client: None,
            body: Vec::new(),
            is_whole: true,
        }
    }
}

/// Address and port as rules see them; of a rehearsal what no socket has.
fn address(client: Option<SocketAddr>) -> (String, u16) {
    client.map_or_else(
        || (NOBODY.to_owned(), 0),
        |client| (client.ip().to_canonical().to_string(), client.port()),
    )
}

const fn version(protocol: Protocol) -> &'static CStr {
    match protocol {
        Protocol::Http10 => c"1.0",
        Protocol::Http11 => c"1.1",
        Protocol::Http2 => c"2.0",
    }
}

/// The id in a message of the library: `[id "942100"]`.
fn rule_of(message: &str) -> Option<u32> {
    let (_, behind) = message.split_once("[id \"")?;
    behind.split('"').next()?.parse().ok()
}

/// The files that a pattern stands for, in alphabetical order.
fn files_of(pattern: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let refused = |path: &Path, why: String| {
        let hint = if OF_THE_CORE_RULE_SET.iter().any(|known| path.starts_with(known)) {
            CORE_RULE_SET_HINT
        } else {
            ""
        };
        LoadError::File { path: path.to_owned(), why, hint }
    };
    let cannot = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains('*') {
        return match fs::File::open(pattern) {
            Ok(_) => Ok(vec![pattern.to_owned()]),
            Err(error) => Err(refused(pattern, cannot(&error))),
        };
    }
    let directory = pattern.parent().unwrap_or(Path::new("."));
    let entries = fs::read_dir(directory).map_err(|error| refused(directory, cannot(&error)))?;
    let glob = Glob::new(&name);
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| refused(directory, cannot(&error)))?;
        if glob.matches(entry.file_name().as_encoded_bytes()) {
            files.push(entry.path());
        }
        if files.len() > MODSECURITY_FILES_MAX {
            return Err(refused(pattern, format!("stands for more than {MODSECURITY_FILES_MAX} files")));
        }
    }
    if files.is_empty() {
        return Err(refused(pattern, "stands for no file".to_owned()));
    }
    files.sort();
    Ok(files)
}

/// What holds for every set of rules. JSON and XML are read as what they are, as the project's own example of settings has it; the
/// limits are above what `body_max` lets come here.
const BASE: &CStr = c"SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecRequestBodyLimit 4194304
SecRequestBodyNoFilesLimit 4194304
SecRequestBodyLimitAction ProcessPartial
SecAuditEngine Off
SecRule REQUEST_HEADERS:Content-Type \"@rx ^(?:application(?:/soap\\+|/)|text/)xml\" \"id:99701,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML\"
SecRule REQUEST_HEADERS:Content-Type \"@rx ^application/(?:[a-z0-9.-]+\\+)?json\" \"id:99702,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON\"
SecRule REMOTE_ADDR \"@streq rehearsal\" \"id:99703,phase:1,t:none,deny,status:403,nolog\"
";
/// Said behind all rules.
const LAST: &CStr = c"SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
";
/// As in [`BASE`].
const NOBODY: &str = "rehearsal";
/// Where Debian's package has them.
const OF_THE_CORE_RULE_SET: [&str; 2] = ["/usr/share/modsecurity-crs", "/etc/modsecurity/crs"];
const CORE_RULE_SET_HINT: &str = "; install the Debian package modsecurity-crs, or name other `rules`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_rule_is_read_from_what_the_library_says_of_it() {
        let said = "ModSecurity: Warning. detected SQLi using libinjection. [file \"/r/REQUEST-942.conf\"] [line \"46\"] [id \"942100\"] [msg \"x\"]";
        assert_eq!(rule_of(said), Some(942_100));
        for said in ["", "[id \"", "[id \"x\"]", "[id \"99999999999\"]"] {
            assert_eq!(rule_of(said), None, "{said}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let told = |settings: ModSecurity| {
            Engine::load(&settings, &Arc::default()).expect_err("it cannot be loaded").to_string()
        };
        let library = "libmodsecurity-of-nobody.so.3".to_owned();
        let said =
            told(ModSecurity { library: library.clone(), rules: Vec::new(), ..ModSecurity::default() });
        assert!(said.contains("libmodsecurity3") && said.contains(&library), "{said}");
        let missing = files_of(Path::new("/usr/share/modsecurity-crs/of-nobody/*.conf"));
        let said = missing.expect_err("there is no such folder").to_string();
        assert!(said.contains("does not exist") && said.contains("modsecurity-crs, or name"), "{said}");
        let missing =
            files_of(Path::new("/no/such/rules.conf")).expect_err("there is no such file").to_string();
        assert_eq!(missing, "`/no/such/rules.conf` does not exist");
    }

    #[test]
    fn a_star_stands_for_all_files_that_fit_in_alphabetical_order() {
        let directory = std::env::temp_dir().join(format!("tidegate-rules-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a folder");
        for name in ["b.conf", "a.conf", "a.conf.bak", "c.data"] {
            fs::write(directory.join(name), "").expect("it is written");
        }
        let files = files_of(&directory.join("*.conf")).expect("there are some");
        let names: Vec<_> = files.iter().filter_map(|file| file.file_name()).collect();
        assert_eq!(names, ["a.conf", "b.conf"]);
        let none = files_of(&directory.join("*.rules")).expect_err("there is none").to_string();
        assert!(none.contains("stands for no file"), "{none}");
        fs::remove_dir_all(directory).expect("it is removed");
    }
}
