//! Who gets an answer of a route at all: asked by `serve` once the route is known, before anything is looked up.
//!
//! ```text
//! route ─► addresses ─► countries ─► rates ─► concurrency ─► referers ─► signature ─► inspection ─► basic ─┬─► look-up
//!              │             │          │           │            │           │            │           │   └─► Verification ─► look-up, or Denied
//!              └─────────────┴──────────┴───────────┴────────────┴───────────┴────────────┴───────────┴──────► Denied: a page that says why
//! ```
//!
//! What of an inspection takes longer is left to `serve`, before anything is looked up or before an origin is asked (`inspect/`).
//!
//! A [`Guard`] is a route's rules, compiled when the node starts; routes that rule the same share one. What a client is refused
//! by, it is refused whatever lies in the cache: a hit, a stale answer, a part, a `304`, a fetch that is under way.
//!
//! A child node that has been proven to be one is not asked again: it asks its own rules of its own clients, and what it
//! fetches may be for many. `PURGE` is asked for the address alone; who may purge is `purge.method_from`'s to say.
//!
//! What is counted and who is known outlives a reload wherever the rule says the same after it, and its users are the same.
//!
//! Invariant: a route without rules has no guard, and costs one branch. A guard that cannot be built keeps the node from starting.

pub(crate) mod addresses;
mod basic;
mod clients;
mod concurrency;
mod countries;
mod denied;
pub(crate) mod inspect;
mod rate;
pub(super) mod readings;
mod referers;
pub mod signed;
mod users;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use geo::Code;
use parking_lot::Mutex;

pub use addresses::AddressTable;
pub use basic::Verification;
pub use concurrency::Permit;
pub use denied::Denied;
pub use inspect::{Attack, Finding, Inspected, Inspections, Inspector, Noted, Subject};

use crate::config::ModSecurity;
use crate::config::access::{Access, Basic, Concurrency, Rate};
use crate::config::check::Listed;
use crate::listener::fields::Fields;
use crate::respond::headers::line;
use basic::{BasicRule, Shown};
use concurrency::{Entered, UnderWay};
use countries::CountryRule;
use inspect::modsecurity::{Engine, LoadError};
use inspect::query_of;
use rate::Limiter;
use referers::RefererRule;
use signed::SignedRule;

/// The rules of a route.
#[derive(Debug)]
pub struct Guard {
    addresses: Option<AddressTable>,
    countries: Option<CountryRule>,
    rates: Box<[Arc<Limiter>]>,
    under_way: Option<Arc<UnderWay>>,
    referers: Option<RefererRule>,
    signed: Option<SignedRule>,
    basic: Option<Arc<BasicRule>>,
    inspector: Option<Arc<Inspector>>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'r> {
    /// Whose request it is.
    pub client: IpAddr,
    /// Host and port that it names, in normal form.
    pub authority: &'r [u8],
    /// Its fields.
    pub fields: &'r Fields,
    /// The country that it comes from, if that is known; not looked at unless [`Guard::asks_place`].
    pub country: Option<Code>,
    /// Path and query as received.
    pub target: &'r [u8],
    /// When it was complete: `Clock::micros`.
    pub now_micros: u64,
    /// The calendar, seconds; not looked at unless [`Guard::asks_calendar`].
    pub wall_secs: u64,
}

/// A request that is not refused.
#[derive(Default)]
pub struct Admission {
    /// What must be found out first.
    pub after: Option<Verification>,
    /// Whether it is to be looked into before anything is looked up; see [`Inspector::rest`].
    pub inspects_first: bool,
    /// What stays with it until its end.
    pub held: Option<Box<Held>>,
}

/// What a request carries from the rules to its end.
#[derive(Debug, Default)]
pub struct Held {
    /// Counts it among those under way.
    permit: Mutex<Option<Permit>>,
    /// Field lines of its answer.
    pub lines: Vec<u8>,
    /// What would have refused it, were that rule not only tried.
    would: Option<Denied>,
    /// What was found in it, once it is looked into.
    noted: OnceLock<Arc<Noted>>,
}

impl Held {
    /// What would have refused it, were that rule not only tried, or what is found not only told of.
    pub fn would(&self) -> Option<Denied> {
        self.would.or_else(|| self.noted.get()?.would())
    }

    /// Where what is found in it is noted.
    pub(crate) fn noted(&self) -> &Arc<Noted> {
        self.noted.get_or_init(Arc::default)
    }

    /// What was found in it, for the log.
    pub fn found(&self) -> Option<&str> {
        self.noted.get()?.told()
    }

    /// It is no longer under way.
    pub fn release(&self) {
        drop(self.permit.lock().take());
    }
}

/// A request that is refused.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub denied: Denied,
    /// Field lines of its page.
    pub lines: Vec<u8>,
    /// What it carries to its end, if anything.
    pub held: Option<Box<Held>>,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self { denied, lines: Vec::new(), held: None }
    }
}

/// Why the rules cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read.
    #[error("cannot read `{}`, which a route's access rules name", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of one is not what it must be.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and what to write.
        what: String,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// `ModSecurity`.
    #[error("ModSecurity cannot be used")]
    ModSecurity(#[from] LoadError),
}

/// Builds guards, and gives the same to whoever rules the same.
#[derive(Debug, Default)]
pub(super) struct Guards {
    built: Vec<(Arc<Access>, Arc<Guard>)>,
    made: Made,
    /// Of the settings before.
    before: Made,
}

/// What several guards share, and what outlives them: counts, and who is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    basic: Vec<(Arc<Basic>, Arc<BasicRule>)>,
    rates: Vec<(Arc<Rate>, Arc<Limiter>)>,
    under_way: Vec<(Arc<Concurrency>, Arc<UnderWay>)>,
    /// Of these settings alone: rules are read again at each reload.
    engines: Vec<(Arc<ModSecurity>, Arc<Engine>)>,
    inspections: Arc<Inspections>,
}

impl Guards {
    /// Guards that go on with what was made for the settings before.
    pub(super) fn after(before: Made) -> Self {
        let made = Made { inspections: Arc::clone(&before.inspections), ..Made::default() };
        Self { made, before, ..Self::default() }
    }

    /// What was made for them.
    pub(super) fn made(self) -> Made {
        self.made
    }

    /// The guard of these rules.
    ///
    /// # Errors
    /// [`SetupError`]
    pub(super) fn of(&mut self, access: Option<&Arc<Access>>) -> Result<Option<Arc<Guard>>, SetupError> {
        let Some(access) = access else { return Ok(None) };
        shared(&mut self.built, access, |access| Guard::new(access, &mut self.made, &self.before)).map(Some)
    }
}

impl Made {
    /// The users of a rule: who is known at one route is known at another, and after a reload. Who is no longer in the file, or has
    /// another password, is not: it is read each time, and one that says something else begins anew.
    fn basic(&mut self, rule: &Arc<Basic>, before: &Self) -> Result<Arc<BasicRule>, SetupError> {
        shared(&mut self.basic, rule, |rule| {
            let new = BasicRule::of(rule)?;
            let old = known(&before.basic, rule).filter(|old| old.has_users_of(&new));
            Ok(old.unwrap_or_else(|| Arc::new(new)))
        })
    }

    /// What a rate has counted: of one name, what is counted is counted together.
    fn rate(&mut self, rule: &Arc<Rate>, before: &Self) -> Result<Arc<Limiter>, SetupError> {
        shared(&mut self.rates, rule, |rule| {
            Ok(known(&before.rates, rule).unwrap_or_else(|| Arc::new(Limiter::of(rule))))
        })
    }

    /// An engine and its rules.
    fn modsecurity(&mut self, settings: &Arc<ModSecurity>) -> Result<Arc<Engine>, SetupError> {
        let inspections = Arc::clone(&self.inspections);
        shared(&mut self.engines, settings, |settings| {
            let engine = inspections.load(settings)?;
            tracing::info!(rules = engine.count(), library = settings.library, "ModSecurity is loaded");
            Ok(Arc::new(engine))
        })
    }

    /// What all that is looked into has in common.
    pub(super) fn inspections(&self) -> &Arc<Inspections> {
        &self.inspections
    }

    /// Who has how much under way, in the same way.
    fn under_way(&mut self, rule: &Arc<Concurrency>, before: &Self) -> Result<Arc<UnderWay>, SetupError> {
        shared(&mut self.under_way, rule, |rule| {
            Ok(known(&before.under_way, rule).unwrap_or_else(|| Arc::new(UnderWay::of(rule))))
        })
    }
}

/// What was made of a rule that says the same, or what is made of it now.
fn shared<R: PartialEq, T>(
    made: &mut Vec<(Arc<R>, Arc<T>)>,
    rule: &Arc<R>,
    make: impl FnOnce(&Arc<R>) -> Result<Arc<T>, SetupError>,
) -> Result<Arc<T>, SetupError> {
    if let Some(known) = known(made, rule) {
        return Ok(known);
    }
    let new = make(rule)?;
    made.push((Arc::clone(rule), Arc::clone(&new)));
    Ok(new)
}

/// What was made of a rule that says the same.
fn known<R: PartialEq, T>(made: &[(Arc<R>, Arc<T>)], rule: &Arc<R>) -> Option<Arc<T>> {
    let known = made.iter().find(|(known, _)| Arc::ptr_eq(known, rule) || known == rule);
    known.map(|(_, known)| Arc::clone(known))
}

impl Guard {
    fn new(access: &Access, made: &mut Made, before: &Made) -> Result<Arc<Self>, SetupError> {
        let Access { addresses, countries, rates, concurrency, referers, signed, basic, inspect } = access;
        let rates = rates.iter().flat_map(|rates| rates.iter());
        let rates = rates.map(|rule| made.rate(rule, before)).collect::<Result<_, _>>()?;
        let under_way = concurrency.as_ref().map(|rule| made.under_way(rule, before)).transpose()?;
        Ok(Arc::new(Self {
            rates,
            under_way,
            addresses: addresses.as_deref().map(AddressTable::of).transpose()?,
            countries: countries.as_deref().map(CountryRule::of),
            referers: referers.as_deref().map(RefererRule::of),
            signed: signed.as_deref().map(SignedRule::of).transpose()?,
            basic: basic.as_ref().map(|basic| made.basic(basic, before)).transpose()?,
            inspector: inspect.as_ref().map(|rule| Inspector::of(rule, made)).transpose()?,
        }))
    }

    /// Whether the request may be answered, as far as that is known at once.
    ///
    /// # Errors
    /// [`Refusal`]: it may not.
    #[inline]
    pub fn ask(&self, asking: &Asking<'_>) -> Result<Admission, Refusal> {
        self.ask_place(asking)?;
        let mut admission = Admission::default();
        if !self.rates.is_empty() || self.under_way.is_some() {
            admission.held = self.ask_counts(asking)?;
        }
        if let Some(rule) = &self.referers
            && !rule.admits(asking.fields, asking.authority)
        {
            return Err(Denied::Referer.into());
        }
        if let Some(rule) = &self.signed {
            rule.ask(asking.authority, asking.target, asking.wall_secs)?;
        }
        if let Some(inspector) = &self.inspector
            && let Some(query) = query_of(asking.target)
        {
            self.ask_inspector(inspector, query, &mut admission)?;
        }
        match self.basic.as_ref().map(|rule| rule.look(asking.fields)) {
            None | Some(Shown::Known(Ok(()))) => {}
            Some(Shown::Known(Err(denied))) => return Err(denied.into()),
            Some(Shown::Unknown(verification)) => admission.after = Some(verification),
        }
        Ok(admission)
    }

    fn ask_inspector(
        &self,
        inspector: &Inspector,
        query: &[u8],
        admission: &mut Admission,
    ) -> Result<(), Refusal> {
        admission.inspects_first = inspector.asks_first(Some(query));
        let (finding, is_refused) = match inspector.query(query, self.own_parameters()) {
            Ok(None) => return Ok(()),
            Ok(Some(finding)) => (finding, false),
            Err(finding) => (finding, true),
        };
        let denied = finding.denied;
        let held = admission.held.get_or_insert_default();
        held.noted().note(finding, is_refused);
        if !is_refused {
            return Ok(());
        }
        // No longer under way, and its lines go with the page.
        held.release();
        let lines = std::mem::take(&mut held.lines);
        Err(Refusal { denied, lines, held: admission.held.take() })
    }

    /// What looks into its requests.
    #[inline]
    pub fn inspector(&self) -> Option<&Arc<Inspector>> {
        self.inspector.as_ref()
    }

    fn ask_counts(&self, asking: &Asking<'_>) -> Result<Option<Box<Held>>, Refusal> {
        let mut held = Held::default();
        for limiter in &self.rates {
            match limiter.ask(asking, &mut held.lines) {
                Err(denied) if limiter.is_dry() => held.would = Some(denied),
                Err(denied) => return Err(Refusal { denied, lines: held.lines, held: None }),
                Ok(()) => {}
            }
        }
        if let Some(under_way) = &self.under_way {
            let permit = match under_way.enter(asking.client) {
                Entered::Refused => return Err(Denied::Concurrency.into()),
                Entered::Within(permit) => permit,
                Entered::Beyond(permit) => {
                    held.would = Some(Denied::Concurrency);
                    permit
                }
            };
            held.permit = Mutex::new(Some(permit));
        }
        let is_needed = self.under_way.is_some() || !held.lines.is_empty() || held.would.is_some();
        Ok(is_needed.then(|| Box::new(held)))
    }

    /// Whether one who purges may ask.
    ///
    /// # Errors
    /// [`Denied`]: it may not.
    pub fn ask_purger(&self, client: IpAddr) -> Result<(), Denied> {
        match &self.addresses {
            Some(table) if !table.admits(client) => Err(Denied::Address),
            _ => Ok(()),
        }
    }

    fn ask_place(&self, asking: &Asking<'_>) -> Result<(), Denied> {
        self.ask_purger(asking.client)?;
        match &self.countries {
            Some(rule) if !rule.admits(asking.country) => Err(Denied::Country),
            _ => Ok(()),
        }
    }

    /// Whether it looks at where a client is.
    #[inline]
    pub const fn asks_place(&self) -> bool {
        self.countries.is_some()
    }

    /// Whether it looks at the calendar.
    #[inline]
    pub const fn asks_calendar(&self) -> bool {
        self.signed.is_some()
    }

    /// Parameters of the query that end here.
    #[inline]
    pub fn own_parameters(&self) -> &'static [&'static str] {
        if self.signed.is_some() { &signed::PARAMETERS } else { &[] }
    }

    /// Whether `Authorization` ends here.
    #[inline]
    pub fn consumes_authorization(&self) -> bool {
        self.basic.as_ref().is_some_and(|rule| rule.consumes())
    }

    /// What the answer to one who is refused says beside its page.
    pub fn tell(&self, denied: Denied, lines: &mut Vec<u8>) {
        if let (Denied::CredentialsMissing | Denied::CredentialsWrong, Some(rule)) = (denied, &self.basic) {
            line(lines, b"www-authenticate", rule.challenge().as_bytes());
        }
    }

    /// What each rule would say, by its name and in the order asked. Where `client` is not told, or a password would have to be
    /// verified, nothing.
    pub fn explain(&self, asking: &Asking<'_>, client: Option<IpAddr>) -> Vec<Said> {
        let mut told: Vec<Said> = Vec::new();
        if self.addresses.is_some() {
            told.push(("addresses", client.map(|client| self.ask_purger(client))));
        }
        if let Some(rule) = &self.countries {
            let said = if rule.admits(asking.country) { Ok(()) } else { Err(Denied::Country) };
            told.push(("countries", client.map(|_| said)));
        }
        if !self.rates.is_empty() {
            told.push(("rates", None));
        }
        if self.under_way.is_some() {
            told.push(("concurrency", None));
        }
        if let Some(rule) = &self.referers {
            let admits = rule.admits(asking.fields, asking.authority);
            told.push(("referers", Some(if admits { Ok(()) } else { Err(Denied::Referer) })));
        }
        if let Some(rule) = &self.signed {
            told.push(("signed", Some(rule.ask(asking.authority, asking.target, asking.wall_secs))));
        }
        if let Some(rule) = &self.basic {
            told.push((
                "basic",
                match rule.look(asking.fields) {
                    Shown::Known(said) => Some(said),
                    Shown::Unknown(_) => None,
                },
            ));
        }
        if let Some(inspector) = &self.inspector {
            let query = query_of(asking.target).unwrap_or_default();
            let found = inspector.imagined(query, self.own_parameters());
            told.push(("inspect", Some(found.map_or(Ok(()), |finding| Err(finding.denied)))));
        }
        told
    }

    /// Whether what is found in a request is refused; where nothing is looked into, it does not matter.
    pub fn refuses_attacks(&self) -> bool {
        self.inspector.as_ref().is_some_and(|inspector| inspector.blocks())
    }

    /// What `ModSecurity` would say, if it is asked. Blocks for about a millisecond.
    pub fn explain_rules(&self, subject: &Subject) -> Option<Result<(), Finding>> {
        self.inspector.as_ref()?.imagined_by_rules(subject)
    }
}

/// A rule's name, and what it says where that is known.
pub type Said = (&'static str, Option<Result<(), Denied>>);

/// What is wrong with a file that rules name, if something is.
pub fn mistake_in(path: &Path, what: Listed) -> Option<String> {
    let read = match what {
        Listed::Networks => addresses::read(path, |_| ()),
        Listed::Users => basic::users(path).map(drop),
        Listed::Key => signed::key(path).map(drop),
    };
    read.err().map(|error| error.to_string())
}

/// Why `ModSecurity` cannot be used by these settings, if it cannot.
pub fn no_modsecurity(settings: &ModSecurity) -> Option<String> {
    Inspections::default().load(settings).err().map(|error| error.to_string())
}

/// What `tests/fuzz` asks of the parsers here.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzed {
    use super::{addresses, basic, referers, signed, users};
    use crate::config::access::{Referers, SignedQuery};
    use crate::config::{HostPattern, Network};
    use crate::listener::fields::Fields;

    pub(crate) fn network(line: &str) -> Result<Option<Network>, String> {
        addresses::of_line(line)
    }

    pub(crate) fn users(text: &str) -> Result<(), (usize, String)> {
        users::Users::parse(text).map(drop)
    }

    pub(crate) fn credentials(value: &[u8]) -> Option<crate::fuzzing::Credentials> {
        basic::credentials(value)
    }

    pub(crate) fn admits_page(value: &[u8]) -> bool {
        let hosts =
            vec![HostPattern::Exact("friend.test".into()), HostPattern::Wildcard("family.test".into())];
        let rule = referers::RefererRule::of(&Referers { hosts, none: false });
        rule.admits(&Fields::pack([(&b"referer"[..], value)].into_iter()), b"own.test")
    }

    pub(crate) use super::inspect::fuzzed::{values, word};

    pub(crate) fn signature(target: &[u8]) -> &'static str {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a key that nobody has");
        let rule = signed::SignedRule::of_key(key, SignedQuery::All);
        rule.ask(b"www.example.com", target, 0).map_or_else(super::Denied::as_str, |()| "good")
    }
}
