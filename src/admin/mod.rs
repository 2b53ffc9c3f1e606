//! The second listener: the calls of operators, deploy scripts, orchestrators and scrapers.
//!
//! [`AdminService`] is a [`Service`] like the walk, served by the same HTTP/1 connections on a socket of its own, so none of
//! it can be reached through a client's listener, whatever the host or path. What it needs of the node is behind
//! [`Node`].
//!
//! Order of checks, each of which ends the call: is the caller's browser being used against it (`guard.rs`), is there such
//! a call (404 lists them all), is the method its own (405), may the caller do it (401, 403), is the body in bounds.
//! `/live`, `/ready` and the dashboard's files need no token: they tell nothing.
//!
//! Errors are RFC 9457 problem documents. Every answer is `no-store`.

pub(crate) mod body;
mod calls;
mod deploy;
mod guard;
mod history;
mod lines;
mod pools;
pub(crate) mod purge;
mod query;
mod settings;
mod steer;
mod stream;
pub(crate) mod tokens;
mod upgrade;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use calls::{Call, Route};
use http::{Method, StatusCode};
use purge::Asked;
use purge_api::auth::{Bearer, Caller, Denied, Door};
use purge_api::ledger::Ledger;
use purge_api::log::LogQuery;
use purge_api::{Problem, Purger, Reply};
use serde_json::{Value, json};
use stream::{Events, Wanted};
use tokio::sync::Semaphore;

pub use query::ExplainQuery;

use crate::clock::Clock;
use crate::config::limits::ADMIN_BODIES_MAX;
use crate::config::{self, Site};
use crate::handover::Upgrader;
use crate::listener::request::Request;
use crate::listener::service::{Finished, Served, Service};
use crate::observe::gauges::Gauges;
use crate::observe::id::{RequestId, RequestIds};
use crate::observe::{Observe, render};
use crate::reload::Reloader;
use crate::respond::response::{Body, Lines, Outcome, Response, Stream};

/// What the admin calls need of the node.
pub trait Node: Send + Sync + 'static {
    /// What applies purges.
    fn purger(&self) -> &dyn Purger;

    /// Who asked it to.
    fn ledger(&self) -> &Ledger;

    /// The numbers that other rooms keep.
    fn gauges(&self) -> Gauges;

    /// What would happen to this request and why; sends nothing to an origin.
    ///
    /// # Errors
    /// The problem to tell, where the question cannot be answered: no site serves the host.
    fn explain(&self, query: &ExplainQuery) -> Result<Value, Problem>;

    /// The tags of what memory holds for a URL; none where it holds nothing. Never blocks.
    fn tags_of(&self, url: &str) -> Vec<Box<str>>;

    /// Whether requests can be served now, or why not.
    ///
    /// # Errors
    /// The reason, for people.
    fn ready(&self) -> Result<(), String>;

    /// Takes an origin out by hand, or back in; its name, if there is one that is called so.
    fn drain(&self, pool: &str, origin: &str, drained: bool) -> Option<Arc<str>>;

    /// What ails a node that serves all the same, a line each; empty where nothing does.
    fn ailments(&self) -> Vec<String>;

    /// The sites of the settings.
    fn sites(&self) -> &[Site];

    /// Begins to drain and stop; returns at once.
    fn stop(&self);
}

/// Answers admin calls. Cheap to clone.
#[derive(Clone)]
pub struct AdminService(Arc<Inner>);

/// Names the node as it is now: a reload puts another in its place.
pub type NodeNow = Arc<dyn Fn() -> Arc<dyn Node> + Send + Sync>;

struct Inner {
    node: NodeNow,
    observe: Arc<Observe>,
    clock: Clock,
    door: AdminDoor,
    /// None where there is nothing to reload: in tests.
    operations: Option<Operations>,
    ids: RequestIds,
    /// Bounds what the bodies of callers can cost; they are read whole.
    bodies: Semaphore,
    deploys: deploy::Deploys,
    streams: stream::Streams,
}

/// What is done with the node as a whole.
#[derive(Clone)]
pub struct Operations {
    /// Takes up other settings.
    pub reloader: Arc<Reloader>,
    /// Puts another process in this one's place.
    pub upgrader: Arc<Upgrader>,
}

/// Who may call; a reload puts another in its place.
#[derive(Clone)]
pub struct AdminDoor(Arc<ArcSwap<Door>>);

impl AdminDoor {
    /// As these settings say; reads the token file if they name one.
    ///
    /// # Errors
    /// The token file cannot be read, or something is wrong in it: the message names file and place.
    pub fn open(settings: &config::Admin) -> io::Result<Self> {
        Ok(Self::of(read(settings)?))
    }

    fn of(door: Door) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(door)))
    }

    /// The door of other settings.
    ///
    /// # Errors
    /// As [`AdminDoor::open`].
    #[allow(clippy::unused_self)] // read for this one
    pub(crate) fn read(&self, settings: &config::Admin) -> io::Result<Door> {
        read(settings)
    }

    /// From now on that one.
    pub(crate) fn replace(&self, door: Door) {
        self.0.store(Arc::new(door));
    }
}

fn read(settings: &config::Admin) -> io::Result<Door> {
    Ok(match &settings.tokens {
        Some(path) => Door::Tokens(tokens::read(path)?),
        None => Door::Loopback,
    })
}

/// An answer, or the promise of one.
enum Answering {
    Now(Reply),
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
    /// Events without an end.
    Live(Box<Events>),
}

impl AdminService {
    /// The service behind a door.
    pub fn new(
        door: AdminDoor,
        node: NodeNow,
        operations: Option<Operations>,
        observe: Arc<Observe>,
        clock: Clock,
    ) -> Self {
        let ids = observe.admin_ids();
        let bodies = Semaphore::new(ADMIN_BODIES_MAX);
        let (deploys, streams) = (deploy::Deploys::default(), stream::Streams::default());
        Self(Arc::new(Inner { node, observe, clock, door, operations, ids, bodies, deploys, streams }))
    }
}

impl Service for AdminService {
    fn serve(&self, request: &mut Request) -> Served {
        let id = self.0.ids.draw();
        let head = request.method == Method::HEAD;
        match self.0.begin(request, id) {
            Ok(Answering::Now(reply)) => Served::Now(respond(reply, head, id)),
            Ok(Answering::Later(reply)) => Served::later(async move { respond(reply.await, head, id) }),
            Ok(Answering::Live(events)) => {
                let reply = Reply { content_type: "text/event-stream", ..text("", "") };
                let mut response = respond(reply, head, id);
                if !head {
                    response.body =
                        Body::Stream { length: None, source: Pin::from(events as Box<dyn Stream>) };
                }
                Served::Now(response)
            }
            Err(problem) => {
                let reply = calls::refused(path_of(request.target()).0, problem);
                Served::Now(respond(reply, head, id))
            }
        }
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        // Calls that change something are worth a line in the operator's log; scrapes and polls are not.
        if request.method == Method::POST {
            tracing::info!(
                id = finished.outcome.id.map(tracing::field::display),
                client = %request.client.address,
                call = %String::from_utf8_lossy(path_of(request.target()).0),
                status = finished.status,
                "admin call"
            );
        }
    }
}

impl Inner {
    fn node(&self) -> Arc<dyn Node> {
        (self.node)()
    }

    fn begin(self: &Arc<Self>, request: &mut Request, id: RequestId) -> Result<Answering, Problem> {
        let (call, varied, bearer) = self.admit(request)?;
        let inner = Arc::clone(self);
        let (path, query) = path_of(request.target());
        let later: Pin<Box<dyn Future<Output = Reply> + Send>> = match (call.route, bearer) {
            (Route::Receipt, Some(bearer)) => Box::pin(inner.receipt(history::sequence_of(varied)?, bearer)),
            (Route::Stream, _) => {
                let events = Events::begin(self, Wanted::parse(query)?)?;
                return Ok(Answering::Live(Box::new(events)));
            }
            (Route::Reload, _) => Box::pin(inner.reload()),
            (Route::Upgrade, _) => Box::pin(inner.upgrade(std::mem::take(&mut request.body))),
            (Route::Plan, _) => Box::pin(inner.plan(std::mem::take(&mut request.body))),
            (Route::Steer, Some(bearer)) => {
                let site = steer::site_of(varied)?;
                let body = std::mem::take(&mut request.body);
                Box::pin(inner.steer(site, bearer, body))
            }
            (Route::Purges, _) => Box::pin(inner.purges(LogQuery::parse(query)?)),
            (route, Some(bearer)) if call.needs == calls::PURGE => {
                let asked = Asked::new(call, route, varied, request, bearer, id);
                let body = std::mem::take(&mut request.body);
                if route == Route::Deploy {
                    Box::pin(inner.deploy(asked, body))
                } else {
                    Box::pin(inner.purge(asked, body))
                }
            }
            (Route::Drain, _) => return Ok(Answering::Now(self.drain(path, true)?)),
            (Route::Resume, _) => return Ok(Answering::Now(self.drain(path, false)?)),
            (route, _) => return Ok(Answering::Now(self.answer(route, query)?)),
        };
        Ok(Answering::Later(later))
    }

    /// Every check that does not need the body: the call, what varies in its path, and who calls where that is asked.
    fn admit<'r>(&self, request: &'r Request) -> Result<(&'static Call, &'r [u8], Option<Bearer>), Problem> {
        let door = self.door.0.load();
        if matches!(**door, Door::Loopback) {
            guard::local_name(request.authority())?;
            guard::not_through_a_proxy(&request.fields)?;
        }
        let (call, varied) = calls::find(&request.method, path_of(request.target()).0)?;
        if call.method == "POST" {
            guard::same_origin(request.authority(), &request.fields)?;
        }
        let loopback = is_loopback(request.client.address);
        if call.needs.is_empty() {
            return match **door {
                Door::Loopback if !loopback => Err(denied(Denied::NotLoopback)),
                _ => Ok((call, varied, None)),
            };
        }
        let authorization = request.fields.named("authorization").next();
        let key = call.keys.iter().find_map(|name| request.fields.named(name).next());
        let caller = Caller { loopback, authorization, key };
        let bearer = door.admit(caller, call.needs, self.clock.micros()).map_err(denied)?;
        Ok((call, varied, Some(bearer)))
    }

    /// All counters.
    fn stat(&self) -> Value {
        let node = self.node();
        let mut stat = self.observe.stat(&node.gauges(), &self.clock);
        if let Value::Object(members) = &mut stat {
            members.insert("ready".into(), node.ready().is_ok().into());
        }
        stat
    }

    fn answer(&self, route: Route, query: &[u8]) -> Result<Reply, Problem> {
        Ok(match route {
            Route::Explain => {
                Reply::json(StatusCode::OK, &self.node().explain(&ExplainQuery::parse(query)?)?)
            }
            Route::Stat => Reply::json(StatusCode::OK, &self.stat()),
            Route::Pools => self.pools(),
            Route::Steerings => self.steerings(),
            Route::Stop => {
                self.node().stop();
                Reply::json(StatusCode::OK, &json!({"stopping": true}))
            }
            Route::OpenApi => text("application/json", include_str!("openapi.json")),
            Route::Live => text("text/plain; charset=utf-8", "ok\n"),
            Route::Ready => match self.node().ready() {
                Ok(()) => {
                    let mut lines = vec!["ok".to_owned()];
                    lines.extend(self.node().ailments());
                    text("text/plain; charset=utf-8", lines.join("\n") + "\n")
                }
                Err(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why).into(),
            },
            Route::Metrics => {
                text(render::CONTENT_TYPE, self.observe.render(&self.node().gauges(), &self.clock))
            }
            Route::Dashboard => {
                let mut reply = text("text/html; charset=utf-8", include_str!("dashboard/index.html"));
                reply.fields.push(("content-security-policy", DASHBOARD_POLICY.into()));
                reply
            }
            Route::DashboardStyle => text("text/css; charset=utf-8", include_str!("dashboard/style.css")),
            Route::DashboardScript => text("text/javascript; charset=utf-8", DASHBOARD_SCRIPT),
            // Answered by `begin`, where they can wait; without a body a purge selects nothing.
            Route::Upgrade
            | Route::Drain
            | Route::Resume
            | Route::Purge
            | Route::Deploy
            | Route::Reload
            | Route::Plan
            | Route::Stream
            | Route::ZonePurge
            | Route::KeyPurge
            | Route::KeysPurge
            | Route::ServicePurge
            | Route::Receipt
            | Route::Steer
            | Route::Purges => Problem::from(purge_api::Refusal::Empty).into(),
        })
    }
}

fn denied(denied: Denied) -> Problem {
    let detail = denied.to_string();
    match denied {
        Denied::NotLoopback => Problem::new(StatusCode::FORBIDDEN, "not-loopback", detail),
        Denied::Missing | Denied::Unknown => Problem::new(StatusCode::UNAUTHORIZED, "token", detail)
            .field("www-authenticate", "Bearer realm=\"tidegate\""),
        Denied::TooOften(seconds) => Problem::new(StatusCode::TOO_MANY_REQUESTS, "token-rate", detail)
            .field("retry-after", seconds.to_string()),
        Denied::NotAllowed => Problem::new(StatusCode::FORBIDDEN, "token-scope", detail),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Path and query of a target.
fn path_of(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target).and_then(|at| target.split_at_checked(at)) {
        Some((path, query)) => (path, query.get(1..).unwrap_or_default()),
        None => (target, &[]),
    }
}

fn text(content_type: &'static str, body: impl Into<String>) -> Reply {
    Reply { status: StatusCode::OK, content_type, fields: Vec::new(), body: body.into().into_bytes() }
}

/// The reply as the listener writes it.
fn respond(reply: Reply, head: bool, id: RequestId) -> Response {
    let mut lines = String::with_capacity(256);
    // Writing to a string cannot fail.
    let _ = write!(
        lines,
        "content-type: {}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\nx-request-id: {id}\r\n",
        reply.content_type
    );
    for (name, value) in reply.fields {
        let _ = write!(lines, "{name}: {value}\r\n");
    }
    let body = Bytes::from(reply.body);
    Response {
        status: reply.status,
        extra: Vec::new(),
        lines: Lines::Own(lines.into()),
        body: if head { Body::Omitted(Some(body.len() as u64)) } else { Body::Bytes(body) },
        outcome: Outcome { id: Some(id), ..Outcome::default() },
        close: false,
    }
}

/// One script, a file a matter.
const DASHBOARD_SCRIPT: &str = concat!(
    include_str!("dashboard/format.js"),
    include_str!("dashboard/chart.js"),
    include_str!("dashboard/panels.js"),
    include_str!("dashboard/actions.js"),
    include_str!("dashboard/live.js"),
);

/// The dashboard loads its own files and calls its own listener, nothing else.
const DASHBOARD_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
