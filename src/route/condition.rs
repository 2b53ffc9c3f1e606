//! Whether a request is like the conditions of a route: fields, query parameters, cookies, the client's address and
//! country.
//!
//! Asked by `matcher.rs` for routes that have conditions, after path and method. What is looked at here is not in the URL, so
//! a route that is chosen by it has keys of its own (`matcher.rs`, *lane*).

use std::net::IpAddr;

use geo::Code;

use super::query;
use crate::config::{Conditions, Wanted};
use crate::listener::fields::{FieldId, Fields};
use crate::listener::request::Client;
use crate::places::Places;

/// What a route may be chosen by beside path and method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) fields: &'a Fields,
    /// In normal form.
    pub(super) query: Option<&'a [u8]>,
    /// Who asks.
    pub(super) client: Caller<'a>,
}

/// Who asks, as far as a route may be chosen by it.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its address, or the one that a trusted proxy named.
    pub(super) address: IpAddr,
    places: Option<(&'a Client, &'a Places)>,
}

impl<'a> Caller<'a> {
    /// A client, which is looked up in the database of places if a condition asks for its country.
    pub fn new(client: &'a Client, places: Option<&'a Places>) -> Self {
        Self { address: client.address.ip(), places: places.map(|places| (client, places)) }
    }

    fn country(&self) -> Option<Code> {
        let (client, places) = self.places?;
        places.locate_client(client)?.country
    }
}

/// One that is nowhere.
impl From<IpAddr> for Caller<'_> {
    fn from(address: IpAddr) -> Self {
        Self { address, places: None }
    }
}

/// Whether all of the conditions hold.
pub(super) fn all_hold(conditions: &Conditions, facts: &Facts<'_>) -> bool {
    let Conditions { header, query, cookie, client, country } = conditions;
    (client.is_empty() || client.iter().any(|network| network.contains(facts.client.address)))
        && (country.is_empty() || is_in(country, facts))
        && header.iter().all(|(name, wanted)| holds(wanted, facts.fields.named(name.as_str())))
        && query.iter().all(|(name, wanted)| holds(wanted, facts.parameters(name)))
        && cookie.iter().all(|(name, wanted)| holds(wanted, cookies(facts.fields, name)))
}

/// Whether one of the conditions holds.
pub(super) fn one_holds(conditions: &Conditions, facts: &Facts<'_>) -> bool {
    let Conditions { header, query, cookie, client, country } = conditions;
    client.iter().any(|network| network.contains(facts.client.address))
        || (!country.is_empty() && is_in(country, facts))
        || header.iter().any(|(name, wanted)| holds(wanted, facts.fields.named(name.as_str())))
        || query.iter().any(|(name, wanted)| holds(wanted, facts.parameters(name)))
        || cookie.iter().any(|(name, wanted)| holds(wanted, cookies(facts.fields, name)))
}

/// Whether the client is in one of these countries.
fn is_in(countries: &[Code], facts: &Facts<'_>) -> bool {
    facts.client.country().is_some_and(|country| countries.contains(&country))
}

/// Whether what is asked of a part holds of its values.
fn holds<'v>(wanted: &Wanted, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
    match wanted {
        Wanted::Present => values.next().is_some(),
        Wanted::Absent => values.next().is_none(),
        Wanted::Like(globs) => values.any(|value| globs.iter().any(|glob| glob.matches(value))),
    }
}

impl<'a> Facts<'a> {
    /// The values of a query parameter; without `=` it is empty.
    fn parameters<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let parameters = self.query.into_iter().flat_map(query::parameters);
        parameters.filter(move |one| is_called(query::name(one), name)).map(value)
    }
}

/// The values of a request's cookies of this name, in order.
pub(super) fn cookies<'f>(fields: &'f Fields, name: &str) -> impl Iterator<Item = &'f [u8]> {
    let pairs = fields.all(FieldId::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(move |pair| is_called(query::name(pair), name)).map(value)
}

/// Whether a name is this one, or begins like it where it ends in `*`.
fn is_called(name: &[u8], wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == wanted.as_bytes(),
    }
}

/// What stands behind the first `=`.
fn value(pair: &[u8]) -> &[u8] {
    pair.iter().position(|byte| *byte == b'=').and_then(|at| pair.get(at + 1..)).unwrap_or_default()
}
