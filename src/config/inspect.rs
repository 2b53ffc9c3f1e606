//! `inspect` of `access`, and `[modsecurity]`, as meant: what of requests is looked into for attacks, and by what.

use std::path::PathBuf;
use std::sync::Arc;

use super::limits::{INSPECT_BODY_BYTES, MODSECURITY_CONCURRENCY, MODSECURITY_QUEUE_MAX};

/// What of a request is looked into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspect {
    /// What becomes of a request in which an attack is found: `"detect"` answers it and tells of it (`would_refuse` and `inspection` in
    /// the access log, `tidegate_inspections_total`), `"block"` answers it with 403.
    pub mode: InspectMode,
    /// By what. `"libinjection"` is built in: it looks for SQL injection and cross-site scripting in the values of queries and bodies, and
    /// never at a request that has neither. `"modsecurity"` runs the rules of `[modsecurity]` over the whole request, about a millisecond of a
    /// core: over whatever is to go to an origin, and over requests with a query whatever they find. Default: `"libinjection"`.
    pub engines: Engines,
    /// How much of a body is held back until it has been looked into, bytes; the rest streams behind it, and `"0B"` looks into no body.
    /// Default: 64 KiB.
    pub body_bytes_max: u64,
    /// What becomes of a request that has more than is looked into: a longer body, more than 512 parameters, a body in a content coding.
    /// `"pass"` looks into its beginning, `"refuse"` treats it as an attack and answers with 413. Default: `"pass"`.
    pub over: InspectOver,
}

/// What becomes of an attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InspectMode {
    /// It is told of.
    Detect,
    /// It is refused.
    Block,
}

/// What becomes of what is too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InspectOver {
    /// It goes on without being looked into.
    #[default]
    Pass,
    /// It counts as an attack.
    Refuse,
}

/// Who looks; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Engines {
    /// The one that is built in.
    pub libinjection: bool,
    /// The one that is loaded, by these settings.
    pub modsecurity: Option<Arc<ModSecurity>>,
}

/// `ModSecurity` (libmodsecurity 3), loaded where a route names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModSecurity {
    /// Files of rules in this order, read at start and at a reload; a `*` in a file's name stands for all that fit, in alphabetical order.
    /// `SecRuleEngine` is always on, whatever they say: `mode` decides. Default: the OWASP Core Rule Set where Debian's package
    /// modsecurity-crs puts it.
    pub rules: Vec<PathBuf>,
    /// The library: a name that the system finds, or a path. Default: `libmodsecurity.so.3`, of Debian's package libmodsecurity3.
    pub library: String,
    /// Requests that are looked into at once, each on a thread of its own. Default: 4.
    pub concurrency: u32,
    /// Requests that wait for that. Further ones get 503 where the route says `mode = "block"`, and are answered without having been looked
    /// into where it says `"detect"`. Default: 256.
    pub queue_max: u32,
}

impl Default for ModSecurity {
    fn default() -> Self {
        Self {
            rules: CORE_RULE_SET.map(PathBuf::from).to_vec(),
            library: LIBRARY.to_owned(),
            concurrency: MODSECURITY_CONCURRENCY,
            queue_max: MODSECURITY_QUEUE_MAX,
        }
    }
}

impl Inspect {
    /// In this mode, by the engine that is built in.
    pub fn by_libinjection(mode: InspectMode) -> Self {
        Self {
            mode,
            engines: Engines { libinjection: true, modsecurity: None },
            body_bytes_max: INSPECT_BODY_BYTES,
            over: InspectOver::default(),
        }
    }
}

/// Where Debian's package modsecurity-crs has the rules, with what its operator leaves out before and behind them.
const CORE_RULE_SET: [&str; 4] = [
    "/etc/modsecurity/crs/crs-setup.conf",
    "/etc/modsecurity/crs/REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf",
    "/usr/share/modsecurity-crs/rules/*.conf",
    "/etc/modsecurity/crs/RESPONSE-999-EXCLUSION-RULES-AFTER-CRS.conf",
];
/// By the name under which Debian and its relatives install it.
const LIBRARY: &str = "libmodsecurity.so.3";
