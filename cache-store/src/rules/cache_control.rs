//! `Cache-Control`: what the two ends say about caching, as values.
//!
//! [`CacheControl`] is a response's, read once when it arrives; [`RequestControl`] is a request's, read at each lookup
//! without allocating. Both lean on [`Directives`], which walks field lines as RFC 9111 §5.2 writes them: names in any
//! case, arguments as tokens or quoted strings, commas inside quotes part of the argument. `Surrogate-Control` uses it
//! too; `CDN-Cache-Control` has its own grammar ([`targeted`](super::targeted)).
//!
//! Invariant: what cannot be read never makes a response more reusable. An unreadable or self-contradicting lifetime
//! counts as zero (RFC 9111 §4.2.1), a malformed qualified `private` as the unqualified one, and a quote that never
//! closes hides nothing.

use http::{HeaderName, header};

use super::Fields;
use super::policy::{Policy, RequestDirectives};

/// The largest number of seconds the rules count to; what is larger counts as this (RFC 9111 §1.2.2).
pub const DELTA_MAX: u32 = 1 << 31;

/// A number of seconds in a directive.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Delta {
    /// The directive is not there.
    #[default]
    Absent,
    /// It is there, and its argument is not a number, or two of them differ.
    Unreadable,
    /// It names this many seconds, at most [`DELTA_MAX`].
    Seconds(u32),
}

impl Delta {
    /// Reads 1*DIGIT; large numbers are clamped to [`DELTA_MAX`].
    pub fn parse(text: &[u8]) -> Self {
        delta_seconds(text).map_or(Self::Unreadable, Self::Seconds)
    }

    /// The seconds, zero when unreadable, `None` when absent.
    pub fn seconds(self) -> Option<u32> {
        match self {
            Self::Absent => None,
            Self::Unreadable => Some(0),
            Self::Seconds(seconds) => Some(seconds),
        }
    }

    /// This value, once `next` is seen too: equal repetitions count as one, differing ones are unreadable.
    #[must_use]
    pub fn and(self, next: Self) -> Self {
        if self == Self::Absent || self == next { next } else { Self::Unreadable }
    }
}

/// 1*DIGIT as a number of seconds, clamped to [`DELTA_MAX`]; `None` for anything else, the empty text included.
pub fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit).min(DELTA_MAX))
    })
}

/// What a response says about its caching (RFC 9111 §5.2.2, RFC 5861, RFC 8246), whichever field said it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CacheControl {
    flags: u16,
    /// `max-age`.
    pub max_age: Delta,
    /// `s-maxage`.
    pub s_maxage: Delta,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Delta,
    /// `stale-if-error`.
    pub stale_if_error: Delta,
    /// The fields of a qualified `no-cache` or `private`: not stored, the rest of the response may be.
    pub fields_withheld: Vec<HeaderName>,
}

impl CacheControl {
    /// `no-store`.
    pub const NO_STORE: u16 = 1;
    /// `no-cache` without field names.
    pub const NO_CACHE: u16 = 1 << 1;
    /// `private` without field names.
    pub const PRIVATE: u16 = 1 << 2;
    /// `public`.
    pub const PUBLIC: u16 = 1 << 3;
    /// `must-revalidate`.
    pub const MUST_REVALIDATE: u16 = 1 << 4;
    /// `proxy-revalidate`.
    pub const PROXY_REVALIDATE: u16 = 1 << 5;
    /// `must-understand`.
    pub const MUST_UNDERSTAND: u16 = 1 << 6;
    /// `immutable`.
    pub const IMMUTABLE: u16 = 1 << 7;
    /// `no-transform`.
    pub const NO_TRANSFORM: u16 = 1 << 8;

    /// Reads every `Cache-Control` line of a response.
    pub fn of<F: Fields>(fields: &F) -> Self {
        let mut control = Self::default();
        for line in fields.values(&header::CACHE_CONTROL) {
            control.read(line);
        }
        control
    }

    /// Whether this directive is there.
    pub const fn has(&self, directive: u16) -> bool {
        self.flags & directive != 0
    }

    /// Adds the directives of one field line.
    pub fn read(&mut self, line: &[u8]) {
        for directive in Directives::new(line) {
            self.add(directive.name, directive.argument);
        }
    }

    /// Adds one directive; unknown ones are ignored (RFC 9111 §5.2.3).
    pub fn add(&mut self, name: &[u8], argument: Argument<'_>) {
        let Some((known, _)) = NAMES.iter().find(|(_, text)| name.eq_ignore_ascii_case(text)) else { return };
        match *known {
            Known::Flag(flag) => self.flags |= flag,
            Known::Qualified(flag) => self.withhold(flag, argument),
            Known::MaxAge => self.max_age = self.max_age.and(argument.delta()),
            Known::SMaxAge => self.s_maxage = self.s_maxage.and(argument.delta()),
            Known::StaleWhileRevalidate => {
                self.stale_while_revalidate = self.stale_while_revalidate.and(argument.delta());
            }
            Known::StaleIfError => self.stale_if_error = self.stale_if_error.and(argument.delta()),
        }
    }

    /// `private="a, b"` withholds these fields; every form that is not such a list is about the whole response.
    fn withhold(&mut self, flag: u16, argument: Argument<'_>) {
        let Argument::Quoted(list) = argument else {
            self.flags |= flag;
            return;
        };
        let names: Option<Vec<HeaderName>> = list
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        match names {
            Some(names) if !names.is_empty() => self.fields_withheld.extend(names),
            _ => self.flags |= flag,
        }
    }
}

/// What a directive name does.
#[derive(Clone, Copy)]
enum Known {
    Flag(u16),
    Qualified(u16),
    MaxAge,
    SMaxAge,
    StaleWhileRevalidate,
    StaleIfError,
}

const NAMES: [(Known, &[u8]); 13] = [
    (Known::MaxAge, b"max-age"),
    (Known::SMaxAge, b"s-maxage"),
    (Known::Flag(CacheControl::NO_STORE), b"no-store"),
    (Known::Qualified(CacheControl::NO_CACHE), b"no-cache"),
    (Known::Qualified(CacheControl::PRIVATE), b"private"),
    (Known::Flag(CacheControl::PUBLIC), b"public"),
    (Known::Flag(CacheControl::MUST_REVALIDATE), b"must-revalidate"),
    (Known::Flag(CacheControl::PROXY_REVALIDATE), b"proxy-revalidate"),
    (Known::Flag(CacheControl::MUST_UNDERSTAND), b"must-understand"),
    (Known::Flag(CacheControl::IMMUTABLE), b"immutable"),
    (Known::Flag(CacheControl::NO_TRANSFORM), b"no-transform"),
    (Known::StaleWhileRevalidate, b"stale-while-revalidate"),
    (Known::StaleIfError, b"stale-if-error"),
];

/// What a request asks of caches (RFC 9111 §5.2.1), as far as the policy hears it. Read without allocating.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RequestControl {
    /// `no-cache`, or `Pragma: no-cache` without any `Cache-Control`.
    pub no_cache: bool,
    /// `no-store`: the response must not be stored.
    pub no_store: bool,
    /// `only-if-cached`: answer from the store or with 504.
    pub only_if_cached: bool,
    /// The oldest acceptable age, in seconds.
    pub max_age: Option<u32>,
    /// The shortest acceptable remaining lifetime, in seconds.
    pub min_fresh: Option<u32>,
    /// How many seconds past its lifetime a response may be; [`u32::MAX`] for any number.
    pub max_stale: Option<u32>,
    /// How many seconds past its lifetime a response may be when the origin fails.
    pub stale_if_error: Option<u32>,
}

impl RequestControl {
    /// The same for another cache, which takes nothing stale in the name of a client: what this cache may serve stale, that one
    /// decides for itself.
    #[must_use]
    pub fn for_cache(self) -> Self {
        Self { min_fresh: Some(self.min_fresh.unwrap_or(0)), max_stale: None, ..self }
    }

    /// Reads a request's `Cache-Control` and `Pragma`, keeping what `policy` honours.
    pub fn of<F: Fields>(fields: &F, policy: &Policy) -> Self {
        let mut control = Self::default();
        let honour = policy.honour;
        if honour == RequestDirectives::NONE || !fields.has_directives() {
            return control;
        }
        let mut present = false;
        for line in fields.values(&header::CACHE_CONTROL) {
            present = true;
            for directive in Directives::new(line) {
                control.add(&directive, honour);
            }
        }
        if !present && honour.contains(RequestDirectives::NO_CACHE) {
            control.no_cache = fields
                .values(&header::PRAGMA)
                .flat_map(Directives::new)
                .any(|directive| directive.name.eq_ignore_ascii_case(b"no-cache"));
        }
        control
    }

    fn add(&mut self, directive: &Directive<'_>, honour: RequestDirectives) {
        let is = |name: &[u8], wanted| directive.name.eq_ignore_ascii_case(name) && honour.contains(wanted);
        let delta = directive.argument.delta();
        if is(b"no-cache", RequestDirectives::NO_CACHE) {
            self.no_cache = true;
        } else if is(b"no-store", RequestDirectives::NO_STORE) {
            self.no_store = true;
        } else if is(b"only-if-cached", RequestDirectives::ONLY_IF_CACHED) {
            self.only_if_cached = true;
        } else if is(b"max-age", RequestDirectives::MAX_AGE) {
            // Unreadable: the client wanted something fresher than what it would get, so it gets the freshest.
            self.max_age = Some(self.max_age.unwrap_or(u32::MAX).min(delta.seconds().unwrap_or(0)));
        } else if is(b"min-fresh", RequestDirectives::MIN_FRESH) {
            if let Delta::Seconds(seconds) = delta {
                self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds));
            }
        } else if is(b"max-stale", RequestDirectives::MAX_STALE) {
            let seconds = match directive.argument {
                Argument::None => u32::MAX,
                _ => delta.seconds().unwrap_or(0),
            };
            self.max_stale = Some(self.max_stale.unwrap_or(u32::MAX).min(seconds));
        } else if is(b"stale-if-error", RequestDirectives::STALE_IF_ERROR) {
            self.stale_if_error = delta.seconds();
        }
    }
}

/// One directive of a field line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Directive<'a> {
    /// The name as written, never empty; compare without regard to case.
    pub name: &'a [u8],
    /// What follows the `=`.
    pub argument: Argument<'a>,
    /// What follows a `;`, where [`Directives::with_parameters`] was asked for them.
    pub parameters: &'a [u8],
}

/// The argument of a directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument<'a> {
    /// No `=`.
    None,
    /// A token.
    Token(&'a [u8]),
    /// The inside of a quoted string, backslashes as written.
    Quoted(&'a [u8]),
    /// Something is there, and it is neither.
    Malformed,
}

impl Argument<'_> {
    /// The argument as delta-seconds; both written forms are accepted (RFC 9111 §5.2).
    pub fn delta(self) -> Delta {
        match self {
            Self::Token(text) | Self::Quoted(text) => Delta::parse(text),
            Self::None | Self::Malformed => Delta::Unreadable,
        }
    }
}

/// Walks the directives of one field line; linear, without allocating, and it never gives up half way.
///
/// Where a comma was forgotten (`public no-store`, `public; no-store`) the next word is a directive of its own, and
/// the argument in front of it is malformed: nothing that forbids can hide behind a slip.
#[derive(Clone, Debug)]
pub struct Directives<'a> {
    rest: &'a [u8],
    parameters: bool,
}

impl<'a> Directives<'a> {
    /// The directives of `line`.
    pub const fn new(line: &'a [u8]) -> Self {
        Self { rest: line, parameters: false }
    }

    /// The directives of `line`, each with the parameters after its `;`: the grammar of `Surrogate-Control`.
    pub const fn with_parameters(line: &'a [u8]) -> Self {
        Self { rest: line, parameters: true }
    }

    /// Takes what is in front of the first byte that `stop` holds for.
    fn take_until(&mut self, stop: impl Fn(u8) -> bool) -> &'a [u8] {
        let at = self.rest.iter().position(|byte| stop(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(at);
        self.rest = rest;
        taken
    }

    /// Takes a quoted string whose opening quote is gone; `None`, and nothing taken, when it never closes.
    fn take_quoted(&mut self) -> Option<&'a [u8]> {
        let mut escaped = false;
        let end = self.rest.iter().position(|byte| {
            let closes = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        })?;
        let (inside, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Some(inside)
    }

    fn argument(&mut self) -> Argument<'a> {
        let Some(rest) = self.rest.strip_prefix(b"=") else { return Argument::None };
        self.rest = rest;
        if let Some(rest) = self.rest.strip_prefix(b"\"") {
            self.rest = rest;
            return self.take_quoted().map_or(Argument::Malformed, Argument::Quoted);
        }
        match self.take_until(|byte| !is_token(byte)) {
            [] => Argument::Malformed,
            token => Argument::Token(token),
        }
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        self.take_until(is_token);
        if self.rest.is_empty() {
            return None;
        }
        let name = self.take_until(|byte| !is_token(byte));
        let mut argument = self.argument();
        self.take_until(|byte| !matches!(byte, b' ' | b'\t'));
        let mut parameters: &[u8] = &[];
        match self.rest.first() {
            Some(b';') if self.parameters => {
                let tail = self.take_until(|byte| byte == b',');
                parameters = tail.get(1..).unwrap_or_default().trim_ascii();
            }
            None | Some(b',' | b';') => {}
            // `max-age =60`, `max-age=60 0`: the directive is meant, its argument is not known.
            Some(_) => argument = Argument::Malformed,
        }
        Some(Directive { name, argument, parameters })
    }
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2): looked up, since every byte of every directive is.
pub(super) fn is_token(byte: u8) -> bool {
    TOKENS.get(usize::from(byte)).is_some_and(|is| *is)
}

#[allow(clippy::cast_possible_truncation)] // below 256
static TOKENS: [bool; 256] = {
    let mut tokens = [false; 256];
    let mut byte = 0;
    while byte < tokens.len() {
        tokens[byte] = stands_in_token(byte as u8);
        byte += 1;
    }
    tokens
};

const fn stands_in_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}
