//! `GET /v1/steer` and `POST /v1/steer/{site}`: shares of pools, looked at and moved while the node runs.
//!
//! A move is from the next request on, all shares at once, and until the node is started anew or its settings are reloaded: they say what
//! it begins with. Invariant: a call that is refused moved nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use purge_api::auth::Bearer;
use purge_api::{Problem, Reply};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::query::decode;
use super::{Inner, body};
use crate::config::limits::STEER_BODY_BYTES_MAX;
use crate::config::steer::SHARE_MAX;
use crate::config::{By, RoutePolicy, Shares, Site};
use crate::listener::request::RequestBody;

/// The body of a move.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    /// Of the pools that are named; others keep theirs.
    shares: BTreeMap<Box<str>, u32>,
    /// The path of the route, as written in the settings; none: wherever the site steers among these pools.
    route: Option<Box<str>>,
}

/// Shares that one or several routes of a site steer by.
struct Steered<'s> {
    /// The first that does, as its path; none: the site itself.
    route: Option<String>,
    policy: &'s RoutePolicy,
    shares: &'s Arc<Shares>,
}

impl Move {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let asked: Self =
            serde_json::from_slice(body).map_err(|error| bad(format!("the body is not a move: {error}")))?;
        if asked.shares.is_empty() {
            return Err(bad("`shares` is empty; write {\"shares\": {\"canary\": 5}}"));
        }
        if let Some((pool, _)) = asked.shares.iter().find(|(_, share)| **share > SHARE_MAX) {
            return Err(bad(format!("the share of `{pool}` is above {SHARE_MAX}")));
        }
        Ok(asked)
    }
}

impl Inner {
    /// All shares that can be moved.
    pub(super) fn steerings(&self) -> Reply {
        let node = self.node();
        let sites =
            node.sites().iter().flat_map(|site| steered(site).into_iter().map(|one| told(site, &one)));
        Reply::json(StatusCode::OK, &json!({ "steer": sites.collect::<Vec<_>>() }))
    }

    pub(super) async fn steer(self: Arc<Self>, site: String, bearer: Bearer, body: RequestBody) -> Reply {
        let asked = {
            // Never closed.
            let _held = self.bodies.acquire().await;
            body::read(body, STEER_BODY_BYTES_MAX, &self.clock).await
        };
        let moved = asked.and_then(|body| self.moved(&site, &bearer, &Move::parse(&body)?));
        moved.unwrap_or_else(Into::into)
    }

    fn moved(&self, site: &str, bearer: &Bearer, asked: &Move) -> Result<Reply, Problem> {
        let node = self.node();
        let sites = node.sites();
        let is_it = |one: &&Site| *one.name == *site || one.hosts.iter().any(|host| host.to_string() == site);
        let site = sites.iter().find(is_it).ok_or_else(|| {
            let known: Vec<_> = sites.iter().map(|site| json!(&*site.name)).collect();
            Problem::new(StatusCode::NOT_FOUND, "no-site", format!("there is no site `{site}`"))
                .with("sites", json!(known))
        })?;
        let all = steered(site);
        let wanted: Vec<_> = all
            .iter()
            .filter(|one| {
                let here = asked.route.as_deref().is_none_or(|path| one.route.as_deref() == Some(path));
                here && asked
                    .shares
                    .keys()
                    .all(|pool| one.shares.written().any(|(known, _)| **known == **pool))
            })
            .collect();
        if wanted.is_empty() {
            let known: Vec<_> = all.iter().map(|one| told(site, one)).collect();
            let detail = "nothing of this site is steered by weight among these pools";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-steered", detail)
                .with("steer", json!(known)));
        }
        // Looked at before anything is moved.
        for one in &wanted {
            one.shares.with(&asked.shares).map_err(|error| {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "shares", error.to_string())
            })?;
        }
        let mut moved = Vec::new();
        for one in &wanted {
            let before = shares_of(one.shares.now().into_iter());
            if one.shares.set(&asked.shares).is_ok() {
                let mut entry = told(site, one);
                entry["before"] = before;
                moved.push(entry);
            }
        }
        tracing::info!(site = %site.name, by = bearer.name(), shares = ?asked.shares, "audit: shares of pools moved");
        Ok(Reply::json(StatusCode::OK, &json!({ "moved": moved, "until": "restart or reload" })))
    }
}

/// What a site steers by weight, each once: a route that says nothing has its site's.
fn steered(site: &Site) -> Vec<Steered<'_>> {
    let routes = site.routes.iter().map(|route| (Some(route.path.to_string()), &*route.policy));
    let mut all: Vec<Steered<'_>> = Vec::new();
    for (route, policy) in [(None, &*site.defaults)].into_iter().chain(routes) {
        if let Some(By::Weight { shares, .. }) = policy.steer.steering().map(|steering| &steering.by)
            && !all.iter().any(|one| Arc::ptr_eq(one.shares, shares))
        {
            all.push(Steered { route, policy, shares });
        }
    }
    all
}

fn told(site: &Site, one: &Steered<'_>) -> Value {
    let steering = one.policy.steer.steering();
    json!({
        "site": &*site.name,
        "route": one.route,
        "shares": shares_of(one.shares.now().into_iter()),
        "written": shares_of(one.shares.written()),
        "sticky": steering.is_some_and(|steering| matches!(&steering.by, By::Weight { sticky: Some(_), .. })),
        "split": steering.is_some_and(|steering| steering.split),
    })
}

fn shares_of<'s>(shares: impl Iterator<Item = (&'s Arc<str>, u32)>) -> Value {
    shares.map(|(pool, share)| (pool.to_string(), json!(share))).collect::<Map<_, _>>().into()
}

/// The site in a path.
pub(super) fn site_of(varied: &[u8]) -> Result<String, Problem> {
    // A `+` in a path is itself; no host has one.
    decode(varied).ok_or_else(|| bad("the site is not percent-encoded UTF-8"))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "steer", detail)
}
