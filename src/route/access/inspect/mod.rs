//! Whether a request is an attack on what stands behind: two engines behind one face.
//!
//! ```text
//! query ─► libinjection, at once ─┬─ nothing ─► look-up ─┬─ hit ──────────────────────────► answer
//!                                 └─ found ──┐           └─ to an origin ─► Inspector::rest ┬─ nothing ─► origin
//! query, and ModSecurity is on ──────────────┼─────────────────────────►        │           │
//!                                            └──────────────◄─ found ───────────┘           │
//!                         block: 403, and nobody is asked · detect: told of, and it goes on ┘
//! ```
//!
//! What is looked into is bounded: `body_max` bytes of a body, [`INSPECT_PARAMETERS_MAX`](crate::config::limits::INSPECT_PARAMETERS_MAX)
//! parameters, and of all bodies together [`INSPECT_HELD_BYTES_MAX`]. What takes longer than a worker may be held up is done in a
//! [`Lane`]. Where there is no room to look, `block` answers 503 and `detect` goes on without.
//!
//! Invariant: in `block` no byte of what was found reaches an origin, and no verdict depends on what lies in the cache. No input can
//! panic a worker. Deliberately absent: the path, fields and cookies, in which libinjection finds too much that is harmless;
//! `ModSecurity` reads them.

mod injection;
mod lane;
pub(super) mod modsecurity;
mod values;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::Method;

use super::{Denied, Made, SetupError};
use crate::config::ModSecurity;
use crate::config::inspect::{Inspect, InspectMode, InspectOver};
use crate::config::limits::{
    INSPECT_AT_ONCE_BYTES_MAX, INSPECT_HELD_BYTES_MAX, INSPECT_TOLD_BYTES_MAX, INSPECTIONS_MAX,
    INSPECTIONS_WAITING_MAX,
};
use crate::listener::fields::Fields;
use crate::listener::request::Protocol;
use injection::Value;
use lane::{Lane, NotDone};
use modsecurity::{Demanded, Engine, LoadError, Unasked};
use values::{Kind, Reader};

/// What a route has looked into.
#[derive(Debug)]
pub struct Inspector {
    rule: Arc<Inspect>,
    modsecurity: Option<Arc<Engine>>,
    shared: Arc<Inspections>,
}

/// A request, as far as engines read it.
#[derive(Debug)]
pub struct Subject {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: Bytes,
    /// Its protocol.
    pub protocol: Protocol,
    /// Host and port, where no field has them.
    pub authority: Option<Bytes>,
    /// Its fields.
    pub fields: Fields,
    /// Whose it is.
    pub client: Option<SocketAddr>,
    /// The beginning of its body.
    pub body: Vec<Bytes>,
    /// Whether there is no more of that.
    pub is_whole: bool,
}

/// An attack, or what counts as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it would be refused by.
    pub denied: Denied,
    /// For the access log: who found what, and where.
    pub told: Box<str>,
}

/// Which attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// SQL in a value.
    Sql,
    /// Markup that runs in a value.
    Script,
    /// What rules of `ModSecurity` say.
    Rules,
}

/// What was found in one request, for its line in the log: written where it is looked into, read at its end.
#[derive(Debug, Default)]
pub struct Noted(OnceLock<(Finding, bool)>);

impl Noted {
    /// A finding, if it is the first.
    pub(super) fn note(&self, finding: Finding, is_refused: bool) {
        // Later ones are counted.
        let _ = self.0.set((finding, is_refused));
    }

    /// What was found.
    pub fn told(&self) -> Option<&str> {
        self.0.get().map(|(finding, _)| &*finding.told)
    }

    /// What would have refused it, if it was answered.
    pub fn would(&self) -> Option<Denied> {
        self.0.get().filter(|(_, is_refused)| !is_refused).map(|(finding, _)| finding.denied)
    }
}

/// What all routes share, over reloads too: counters, and what bounds them together.
#[derive(Debug)]
pub struct Inspections {
    lane: Lane,
    waiting: Arc<AtomicUsize>,
    held_bytes: Arc<AtomicUsize>,
    counts: [[AtomicU64; Verdict::COUNT]; Name::COUNT],
}

impl Default for Inspections {
    fn default() -> Self {
        let waiting = Arc::default();
        Self {
            lane: Lane::new(INSPECTIONS_MAX, INSPECTIONS_WAITING_MAX, &waiting),
            waiting,
            held_bytes: Arc::default(),
            counts: Default::default(),
        }
    }
}

/// Room for a body that is held; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How often an engine came to a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// `libinjection` or `modsecurity`.
    pub engine: &'static str,
    /// `clean`, `detected`, `blocked`, `limit`, `busy` or `failed`.
    pub verdict: &'static str,
    /// How often.
    pub count: u64,
}

/// An engine's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Libinjection,
    ModSecurity,
}

impl Name {
    const ALL: [Self; Self::COUNT] = [Self::Libinjection, Self::ModSecurity];
    const COUNT: usize = 2;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Libinjection => "libinjection",
            Self::ModSecurity => "modsecurity",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Clean,
    Detected,
    Blocked,
    /// There was more than is looked into, and it went on.
    Limit,
    /// There was no room to look.
    Busy,
    /// The engine broke.
    Failed,
}

impl Verdict {
    const ALL: [Self; Self::COUNT] =
        [Self::Clean, Self::Detected, Self::Blocked, Self::Limit, Self::Busy, Self::Failed];
    const COUNT: usize = 6;

    const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Detected => "detected",
            Self::Blocked => "blocked",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

impl Inspections {
    fn count(&self, engine: Name, verdict: Verdict) {
        if let Some(count) = self.counts.get(engine as usize).and_then(|row| row.get(verdict as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For metrics: what has occurred.
    pub fn figures(&self) -> Vec<Inspected> {
        let rows = Name::ALL.into_iter().zip(&self.counts);
        let all = rows.flat_map(|(engine, row)| {
            Verdict::ALL.into_iter().zip(row).map(move |(verdict, count)| Inspected {
                engine: engine.as_str(),
                verdict: verdict.as_str(),
                count: count.load(Ordering::Relaxed),
            })
        });
        all.filter(|one| one.count > 0).collect()
    }

    /// Bytes of bodies that are held now.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed) as u64
    }

    /// Requests that wait for a thread to be looked into on.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) as u64
    }

    /// An engine by these settings, whose requests wait with all others.
    pub(super) fn load(&self, settings: &ModSecurity) -> Result<Engine, LoadError> {
        Engine::load(settings, &self.waiting)
    }

    fn room(&self, bytes: usize) -> Option<Room> {
        let with = |held: usize| held.checked_add(bytes).filter(|held| *held <= INSPECT_HELD_BYTES_MAX);
        self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).ok()?;
        Some(Room { all: Arc::clone(&self.held_bytes), bytes })
    }
}

impl Inspector {
    /// By this rule; loads its engine where no other has.
    pub(super) fn of(rule: &Arc<Inspect>, made: &mut Made) -> Result<Arc<Self>, SetupError> {
        let modsecurity =
            rule.engines.modsecurity.as_ref().map(|settings| made.modsecurity(settings)).transpose()?;
        Ok(Arc::new(Self { rule: Arc::clone(rule), modsecurity, shared: Arc::clone(&made.inspections) }))
    }

    /// Whether there is something to look into before anything is looked up, which cannot be done at once.
    pub(super) fn asks_first(&self, query: Option<&[u8]>) -> bool {
        query.is_some_and(|query| self.modsecurity.is_some() || self.is_long(query))
    }

    /// Whether there is something to look into before an origin is asked.
    pub(crate) fn asks_behind(&self, query: Option<&[u8]>, has_body: bool) -> bool {
        self.modsecurity.is_some()
            || has_body && self.body_bytes_max() > 0
            || query.is_some_and(|query| self.is_long(query))
    }

    /// How much of a body is to be held.
    pub(crate) fn body_bytes_max(&self) -> usize {
        usize::try_from(self.rule.body_bytes_max).unwrap_or(usize::MAX)
    }

    /// A query, at once, if it is not too long for that; parameters called as in `own` are not looked into.
    ///
    /// # Errors
    /// What it is to be refused by.
    pub(super) fn query(&self, query: &[u8], own: &[&str]) -> Result<Option<Finding>, Finding> {
        if !self.rule.engines.libinjection || self.is_long(query) {
            return Ok(None);
        }
        let mut reader = Reader::default();
        let found = reader.form(query, own, &mut |name, value| found_in("query", name, value));
        self.judged(Name::Libinjection, found.or_else(|| self.over(reader.is_over)), reader.is_over)
    }

    /// The same without being counted: what would be said.
    pub(super) fn imagined(&self, query: &[u8], own: &[&str]) -> Option<Finding> {
        let found = || Reader::default().form(query, own, &mut |name, value| found_in("query", name, value));
        self.rule.engines.libinjection.then(found).flatten()
    }

    /// Whether what is found is refused.
    pub(super) fn blocks(&self) -> bool {
        self.rule.mode == InspectMode::Block
    }

    /// Room to hold so much of a body, if it is to be held at all.
    ///
    /// # Errors
    /// There is none, and it must not go on without having been looked into.
    pub(crate) fn room(&self, bytes: usize) -> Result<Option<Room>, Denied> {
        match self.shared.room(bytes) {
            Some(room) => Ok(Some(room)),
            None => self.not_done(Name::Libinjection, NotDone::Busy).map(|()| None),
        }
    }

    /// Looks into all that is left: the body and a long query, and what `ModSecurity` has to say. What is found is noted.
    ///
    /// # Errors
    /// What it is to be refused by.
    pub async fn rest(
        &self,
        subject: Subject,
        own: &'static [&'static str],
        noted: &Noted,
    ) -> Result<(), Denied> {
        let subject = Arc::new(subject);
        if self.rule.engines.libinjection {
            let long = query_of(&subject.target).filter(|query| self.is_long(query)).map(<[u8]>::len);
            let body: usize = subject.body.iter().map(Bytes::len).sum();
            if long.is_some() || body > 0 {
                let is_quick = body <= INSPECT_AT_ONCE_BYTES_MAX && long.is_none();
                let looked = if is_quick {
                    Ok(look(&subject, false, own))
                } else {
                    let subject = Arc::clone(&subject);
                    self.shared.lane.run(move || look(&subject, long.is_some(), own)).await
                };
                match looked {
                    Ok((found, is_over)) => {
                        let found = found.or_else(|| self.over(is_over));
                        self.noted(Name::Libinjection, found, is_over, noted)?;
                    }
                    Err(why) => self.not_done(Name::Libinjection, why)?,
                }
            }
        }
        let Some(engine) = &self.modsecurity else { return Ok(()) };
        let looking = Arc::clone(engine);
        let is_over = !subject.is_whole;
        let looked = engine.lane.run(move || looking.look(&subject)).await;
        match looked.and_then(|looked| looked.map_err(|Unasked| NotDone::Lost)) {
            Ok(demanded) => {
                let found = demanded.map(Finding::from);
                self.noted(Name::ModSecurity, found.or_else(|| self.over(is_over)), is_over, noted)
            }
            Err(why) => self.not_done(Name::ModSecurity, why),
        }
    }

    /// What `ModSecurity` would say, without being counted. Blocks for about a millisecond.
    pub(super) fn imagined_by_rules(&self, subject: &Subject) -> Option<Result<(), Finding>> {
        let demanded = self.modsecurity.as_ref()?.look(subject).ok().flatten();
        Some(demanded.map_or(Ok(()), |demanded| Err(demanded.into())))
    }

    fn is_long(&self, query: &[u8]) -> bool {
        self.rule.engines.libinjection && query.len() > INSPECT_AT_ONCE_BYTES_MAX
    }

    /// What is too much, where that counts as an attack.
    fn over(&self, is_over: bool) -> Option<Finding> {
        let counts = is_over && self.rule.over == InspectOver::Refuse;
        counts.then(|| Finding { denied: Denied::InspectionLimit, told: "more than is looked into".into() })
    }

    /// Counts what was found, and says what becomes of it.
    fn judged(
        &self,
        engine: Name,
        found: Option<Finding>,
        is_over: bool,
    ) -> Result<Option<Finding>, Finding> {
        let verdict = match &found {
            None if is_over => Verdict::Limit,
            None => Verdict::Clean,
            Some(finding) if finding.denied == Denied::InspectionFailed => Verdict::Failed,
            Some(_) if self.blocks() => Verdict::Blocked,
            Some(_) => Verdict::Detected,
        };
        self.shared.count(engine, verdict);
        match found {
            Some(finding) if self.blocks() => Err(finding),
            found => Ok(found),
        }
    }

    fn noted(
        &self,
        engine: Name,
        found: Option<Finding>,
        is_over: bool,
        noted: &Noted,
    ) -> Result<(), Denied> {
        match self.judged(engine, found, is_over) {
            Ok(None) => Ok(()),
            Ok(Some(finding)) => {
                noted.note(finding, false);
                Ok(())
            }
            Err(finding) => {
                let denied = finding.denied;
                noted.note(finding, true);
                Err(denied)
            }
        }
    }

    /// It could not be looked into.
    fn not_done(&self, engine: Name, why: NotDone) -> Result<(), Denied> {
        let (verdict, denied) = match why {
            NotDone::Busy => (Verdict::Busy, Denied::InspectionBusy),
            NotDone::Lost => (Verdict::Failed, Denied::InspectionFailed),
        };
        self.shared.count(engine, verdict);
        if self.blocks() { Err(denied) } else { Ok(()) }
    }
}

impl Attack {
    /// A stable word for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sql => "sql-injection",
            Self::Script => "cross-site-scripting",
            Self::Rules => "modsecurity",
        }
    }

    /// The same of one that is only detected.
    pub const fn as_detected(self) -> &'static str {
        match self {
            Self::Sql => "sql-injection-detected",
            Self::Script => "cross-site-scripting-detected",
            Self::Rules => "modsecurity-detected",
        }
    }
}

impl From<Demanded> for Finding {
    fn from(demanded: Demanded) -> Self {
        let mut told = "modsecurity".to_owned();
        for rule in demanded.rules {
            // Writing to a string does not fail.
            let _ = write!(told, " {rule}");
        }
        Self { denied: Denied::Attack(Attack::Rules), told: told.into() }
    }
}

/// What stands behind the question mark; `None` where nothing does.
pub(crate) fn query_of(target: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr(b'?', target)?;
    target.get(at + 1..).filter(|query| !query.is_empty())
}

/// What the built-in engine finds in a body, and in the query where that was too long at once; and whether there was more than it
/// looked into.
fn look(subject: &Subject, has_query: bool, own: &[&str]) -> (Option<Finding>, bool) {
    let mut reader = Reader::default();
    let mut found = None;
    if let Some(query) = query_of(&subject.target).filter(|_| has_query) {
        found = reader.form(query, own, &mut |name, value| found_in("query", name, value));
    }
    let mut is_over = reader.is_over || !subject.is_whole;
    if found.is_none() && !subject.body.is_empty() {
        let codings = subject.fields.named("content-encoding");
        if codings.into_iter().any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return (None, true);
        }
        let body = joined(&subject.body);
        let kind = Kind::of(subject.fields.named("content-type").next());
        let mut reader = Reader::default();
        found = reader.body(kind, &body, &mut |name, value| found_in("body", name, value));
        is_over |= reader.is_over;
    }
    (found, is_over)
}

fn joined(pieces: &[Bytes]) -> Bytes {
    if let [piece] = pieces {
        return piece.clone();
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}

fn found_in(place: &str, name: &[u8], value: &[u8]) -> Option<Finding> {
    let (denied, what) = match injection::what_is(value) {
        Value::Harmless => return None,
        Value::Sql(fingerprint) => {
            let fingerprint: String =
                fingerprint.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
            (Denied::Attack(Attack::Sql), format!("sql {fingerprint}"))
        }
        Value::Script => (Denied::Attack(Attack::Script), "script".to_owned()),
        Value::Unreadable => (Denied::InspectionFailed, "failed".to_owned()),
    };
    let mut told = format!("libinjection {what} in {place} {}", String::from_utf8_lossy(name));
    let end = (0..=INSPECT_TOLD_BYTES_MAX).rev().find(|at| told.is_char_boundary(*at)).unwrap_or(0);
    told.truncate(end);
    Some(Finding { denied, told: told.trim_end().into() })
}

#[cfg(test)]
mod tests;

/// What `tests/fuzz` asks of the readers here.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzed {
    use super::injection::{Value, what_is};
    use super::values::{Kind, Reader};

    /// Every value of a body, and whether there were more.
    pub(crate) fn values(content_type: Option<&[u8]>, body: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let (mut reader, mut values) = (Reader::default(), Vec::new());
        let all: Option<()> = reader.body(Kind::of(content_type), body, &mut |_, value| {
            values.push(value.to_vec());
            None
        });
        debug_assert!(all.is_none());
        (values, reader.is_over)
    }

    /// What a value is, in a word.
    pub(crate) fn word(value: &[u8]) -> &'static str {
        match what_is(value) {
            Value::Harmless => "harmless",
            Value::Sql(_) => "sql",
            Value::Script => "script",
            Value::Unreadable => "unreadable",
        }
    }
}
