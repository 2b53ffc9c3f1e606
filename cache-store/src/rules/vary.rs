//! Which requests a stored response answers: `Vary`, and what the request said in the fields it names.
//!
//! [`VarySpec`] keeps the names and the normalised values of the request that fetched the response. Matching and key
//! writing stream the normal form of the presented request against it and allocate nothing.
//!
//! The normal form (RFC 9111 §4.1 allows what keeps the meaning): field lines joined by `,` (`Cookie` by `; `),
//! whitespace around commas gone outside quotes; `Accept-Language` and `Accept-Encoding` lower case, ordered by weight
//! and then name. A field that is not there is not the same as an empty one.
//!
//! Where the policy says that codings are negotiated here, `Accept-Encoding` is not compared: a response in no coding is what
//! every encoded answer is made from, and one in a coding answers whoever takes that.
//!
//! Where the policy allows, a response with one `Content-Language` also answers a request whose one best-liked language
//! that is, whatever else its `Accept-Language` lists.

use http::{HeaderName, header};

use super::Fields;
use super::coding::{Accepted, Coding, Codings, coding_of};
use super::policy::Policy;
use super::preference::Ranges;
use crate::timestamp::Timestamp;

/// What a stored response varies on, and with which values it was asked for. Empty: it answers all requests.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct VarySpec {
    entries: Box<[Entry]>,
    language: Option<Box<[u8]>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    name: HeaderName,
    /// The normal form; `None` when the request had no such field. Of `Accept-Encoding`, behind [`BY_CODING`], the coding of the
    /// response, where that is what counts.
    value: Option<Box<[u8]>>,
}

/// How well a stored response matches; greater is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Match {
    /// Not at all.
    No,
    /// By its language alone.
    ByLanguage,
    /// In every named field.
    Exact,
}

impl VarySpec {
    /// Reads a response's `Vary` and, from the request that fetched it, the fields it names and those that the policy adds. `None`: it has a `*`, or
    /// names something that is no field, or more than [`NAMES_MAX`]; it answers no other request.
    pub fn of<F: Fields>(response: &impl Fields, request: &F, policy: &Policy) -> Option<Self> {
        let mut names = Vec::new();
        for line in response.values(&header::VARY) {
            for name in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if name.is_empty() {
                    continue;
                }
                if name == b"*" {
                    return None;
                }
                let name = HeaderName::from_bytes(name).ok()?;
                if !policy.vary_ignored.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.extend(policy.vary_always.iter().cloned());
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let coding = match coding_of(response) {
            _ if policy.codings.is_empty() => None,
            None => {
                names.retain(|name| *name != header::ACCEPT_ENCODING);
                None
            }
            // An origin that encodes whatever it is asked for goes by its own word.
            Some(coding) => {
                coding.filter(|coding| policy.codings.contains(*coding) && takes(request, *coding))
            }
        };
        if coding.is_some()
            && let Err(at) =
                names.binary_search_by(|name| name.as_str().cmp(header::ACCEPT_ENCODING.as_str()))
        {
            // Left out by the origin, as servers do by default that compress what they proxy.
            names.insert(at, header::ACCEPT_ENCODING);
        }
        if names.len() > NAMES_MAX {
            return None;
        }
        let language = if policy.select_by_language && names.contains(&header::ACCEPT_LANGUAGE) {
            only_language(response)
        } else {
            None
        };
        let value = |name: &HeaderName| match coding {
            Some(coding) if *name == header::ACCEPT_ENCODING => {
                Some([BY_CODING, coding.as_str().as_bytes()].concat().into())
            }
            _ => normal_form(request, name),
        };
        let entries = names.into_iter().map(|name| Entry { value: value(&name), name }).collect();
        Some(Self { entries, language })
    }

    /// Whether it answers every request.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names it varies on, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.entries.iter().map(|entry| &entry.name)
    }

    /// The names with the normalised values it was asked for, for whoever writes an object down.
    pub fn entries(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.entries.iter().map(|entry| (&entry.name, entry.value.as_deref()))
    }

    /// The language it may be selected by.
    pub fn language(&self) -> Option<&[u8]> {
        self.language.as_deref()
    }

    /// The counterpart of [`entries`](Self::entries) and [`language`](Self::language): a spec read back.
    pub fn from_entries(
        entries: impl IntoIterator<Item = (HeaderName, Option<Box<[u8]>>)>,
        language: Option<Box<[u8]>>,
    ) -> Self {
        let mut entries: Vec<Entry> =
            entries.into_iter().map(|(name, value)| Entry { name, value }).collect();
        entries.sort_unstable_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Self { entries: entries.into(), language }
    }

    /// Whether, and how well, `request` is one it answers (RFC 9111 §4.1).
    pub fn matches<F: Fields>(&self, request: &F) -> Match {
        let mut best = Match::Exact;
        for entry in &self.entries {
            if let Some(coding) = entry.coding() {
                if takes(request, coding) {
                    continue;
                }
                return Match::No;
            }
            if same(request, &entry.name, entry.value.as_deref()) {
                continue;
            }
            let by_language = entry.name == header::ACCEPT_LANGUAGE
                && self.language.as_deref().is_some_and(|language| likes_best(request, language));
            if !by_language {
                return Match::No;
            }
            best = Match::ByLanguage;
        }
        best
    }

    /// Writes what tells `request` apart by this spec's names: bytes to feed to a hash. Equal bytes, equal variant;
    /// of the spec's own values only that counts whether it goes by coding.
    pub fn write_key<F: Fields>(&self, request: &F, write: &mut impl FnMut(&[u8])) {
        for entry in &self.entries {
            if entry.coding().is_some() {
                let accepted = Accepted::of(request.values(&entry.name));
                let asked = accepted.among(Coding::ALL.into_iter().collect::<Codings>());
                write_value(&entry.name, true, write, |write| write(asked.asking().as_bytes()));
            } else {
                write_key([&entry.name].into_iter(), request, write);
            }
        }
    }

    /// The coding that a response is in which answers whoever takes that.
    pub fn coding(&self) -> Option<Coding> {
        self.entries.iter().find_map(Entry::coding)
    }

    /// Writes the key of the request that fetched the response: what [`write_key`](Self::write_key) writes for it.
    pub fn write_own_key(&self, write: &mut impl FnMut(&[u8])) {
        for entry in &self.entries {
            write_value(&entry.name, entry.value.is_some(), write, |write| {
                write(entry.value.as_deref().unwrap_or_default());
            });
        }
    }
}

impl Entry {
    #[inline]
    fn coding(&self) -> Option<Coding> {
        Coding::named(self.value.as_deref()?.strip_prefix(BY_CODING)?)
    }
}

fn takes<F: Fields>(request: &F, coding: Coding) -> bool {
    Accepted::of(request.values(&header::ACCEPT_ENCODING)).takes(coding)
}

/// Writes what tells `request` apart by `names`, which are sorted: bytes to feed to a hash.
fn write_key<'n, F: Fields>(
    names: impl Iterator<Item = &'n HeaderName>,
    request: &F,
    write: &mut impl FnMut(&[u8]),
) {
    for name in names {
        let present = request.values(name).next().is_some();
        write_value(name, present, write, |write| normalise(request, name, write));
    }
}

/// Field values hold neither NUL nor LF, so the seams cannot be forged.
fn write_value<W: FnMut(&[u8])>(name: &HeaderName, present: bool, write: &mut W, value: impl FnOnce(&mut W)) {
    write(name.as_str().as_bytes());
    if present {
        write(b"\0");
        value(write);
    }
    write(b"\n");
}

/// Of several stored responses, the one to answer `request` with: the best match, and of equals the latest received
/// (RFC 9111 §4.1). Each comes with its spec and the moment it was received.
pub fn select<'s, T, F: Fields>(
    candidates: impl IntoIterator<Item = (T, &'s VarySpec, Timestamp)>,
    request: &F,
) -> Option<T> {
    let mut best: Option<(T, Match, Timestamp)> = None;
    for (candidate, spec, received) in candidates {
        let quality = spec.matches(request);
        let better = best.as_ref().is_none_or(|(_, so_far, at)| (quality, received) > (*so_far, *at));
        if quality != Match::No && better {
            best = Some((candidate, quality, received));
        }
    }
    best.map(|(candidate, ..)| candidate)
}

/// How the name of a field begins that no request has, and whose values are those of one of its cookies.
pub const OF_COOKIE: &str = "tidegate-cookie-";
/// Stands before a coding in place of a normal form; no field value holds a NUL.
const BY_CODING: &[u8] = b"\0";
/// The most names a `Vary` may have.
pub const NAMES_MAX: usize = 32;

/// The normal form of a request's field, `None` when it is not there.
fn normal_form<F: Fields>(request: &F, name: &HeaderName) -> Option<Box<[u8]>> {
    request.values(name).next()?;
    let mut value = Vec::new();
    normalise(request, name, &mut |bytes: &[u8]| value.extend_from_slice(bytes));
    Some(value.into())
}

/// Whether the request's field has this normal form; without allocating.
fn same<F: Fields>(request: &F, name: &HeaderName, stored: Option<&[u8]>) -> bool {
    let Some(stored) = stored else { return request.values(name).next().is_none() };
    if request.values(name).next().is_none() {
        return false;
    }
    let mut rest = Some(stored);
    normalise(request, name, &mut |bytes: &[u8]| rest = rest.and_then(|rest| rest.strip_prefix(bytes)));
    rest.is_some_and(<[u8]>::is_empty)
}

/// Streams the normal form of the field called `name`.
fn normalise<F: Fields>(request: &F, name: &HeaderName, write: &mut impl FnMut(&[u8])) {
    if *name == header::ACCEPT_LANGUAGE || *name == header::ACCEPT_ENCODING {
        let ranges = Ranges::of(request, name);
        if let Some(ranges) = ranges {
            ranges.write(write);
            return;
        }
    }
    // A cookie's value is no list: a comma is one of its bytes, as a space is, and a semicolon is not.
    if name.as_str().starts_with(OF_COOKIE) {
        for (index, value) in request.values(name).enumerate() {
            if index > 0 {
                write(b"; ");
            }
            write(value);
        }
        return;
    }
    let seam: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
    for (index, line) in request.values(name).enumerate() {
        if index > 0 {
            write(seam);
        }
        without_space_at_commas(line, write);
    }
}

/// Streams `line` without the whitespace around its commas and at its ends; what is quoted stays as it is.
fn without_space_at_commas(line: &[u8], write: &mut impl FnMut(&[u8])) {
    let mut rest = line.trim_ascii();
    loop {
        let comma = unquoted_comma(rest);
        let (member, tail) = rest.split_at(comma.unwrap_or(rest.len()));
        write(member.trim_ascii());
        match tail.split_first() {
            Some((_, next)) => {
                write(b",");
                rest = next;
            }
            None => return,
        }
    }
}

/// The first comma outside quotes; a quote that never closes quotes nothing.
fn unquoted_comma(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let mut first_quoted = None;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' if !escaped => quoted = !quoted,
            b',' if !quoted => return Some(at),
            b',' => {
                first_quoted.get_or_insert(at);
            }
            _ => {}
        }
        escaped = quoted && *byte == b'\\' && !escaped;
    }
    if quoted { first_quoted } else { None }
}

/// Whether the request likes `language` better than any other.
fn likes_best<F: Fields>(request: &F, language: &[u8]) -> bool {
    Ranges::of(request, &header::ACCEPT_LANGUAGE)
        .and_then(|ranges| ranges.best())
        .is_some_and(|best| best.eq_ignore_ascii_case(language))
}

/// The language of a response in exactly one, lower case.
fn only_language<F: Fields>(response: &F) -> Option<Box<[u8]>> {
    let mut lines = response.values(&header::CONTENT_LANGUAGE);
    let language = lines.next()?.trim_ascii();
    let single = lines.next().is_none() && !language.is_empty() && !language.contains(&b',');
    single.then(|| language.to_ascii_lowercase().into())
}
