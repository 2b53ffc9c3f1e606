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

mod body;
mod guard;
mod query;
pub(crate) mod tokens;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use purge_api::auth::{Caller, Denied, Door, Permission};
use purge_api::{Call, Problem, Purger, Reply};
use serde_json::{Value, json};

pub use query::ExplainQuery;

use crate::clock::Clock;
use crate::config;
use crate::listener::request::{Request, RequestBody};
use crate::listener::service::{Finished, Served, Service};
use crate::observe::gauges::Gauges;
use crate::observe::id::{RequestId, RequestIds};
use crate::observe::{Observe, render};
use crate::respond::response::{Body, Lines, Outcome, Response};

/// What the admin calls need of the node.
pub trait Node: Send + Sync + 'static {
    /// What applies purges.
    fn purger(&self) -> &dyn Purger;

    /// The numbers that other rooms keep.
    fn gauges(&self) -> Gauges;

    /// What would happen to this request and why; sends nothing to an origin.
    ///
    /// # Errors
    /// The problem to tell, where the question cannot be answered: no site serves the host.
    fn explain(&self, query: &ExplainQuery) -> Result<Value, Problem>;

    /// Whether requests can be served now, or why not.
    ///
    /// # Errors
    /// The reason, for people.
    fn ready(&self) -> Result<(), String>;

    /// What ails a node that serves all the same, a line each; empty where nothing does.
    fn ailments(&self) -> Vec<String>;

    /// Begins to drain and stop; returns at once.
    fn stop(&self);
}

/// Answers admin calls. Cheap to clone.
#[derive(Clone)]
pub struct AdminService(Arc<Inner>);

struct Inner {
    node: Arc<dyn Node>,
    observe: Arc<Observe>,
    clock: Clock,
    door: Door,
    ids: RequestIds,
}

/// One of the calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Purge,
    Explain,
    Stat,
    Stop,
    Live,
    Ready,
    Metrics,
    Dashboard,
    DashboardStyle,
    DashboardScript,
}

impl AdminService {
    /// The service; reads the token file if the settings name one.
    ///
    /// # Errors
    /// The token file cannot be read, or something is wrong in it: the message names file and place.
    pub fn new(
        settings: &config::Admin,
        node: Arc<dyn Node>,
        observe: Arc<Observe>,
        clock: Clock,
    ) -> io::Result<Self> {
        let door = match &settings.tokens {
            Some(path) => Door::Tokens(tokens::read(path)?),
            None => Door::Loopback,
        };
        Ok(Self::with_door(door, node, observe, clock))
    }

    fn with_door(door: Door, node: Arc<dyn Node>, observe: Arc<Observe>, clock: Clock) -> Self {
        let ids = observe.admin_ids();
        Self(Arc::new(Inner { node, observe, clock, door, ids }))
    }
}

impl Service for AdminService {
    fn serve(&self, request: &mut Request) -> Served {
        let id = self.0.ids.draw();
        let head = request.method == Method::HEAD;
        let route = match self.0.admit(request) {
            Ok(route) => route,
            Err(problem) => return Served::Now(respond(problem.into(), head, id)),
        };
        if route == Route::Purge {
            let inner = Arc::clone(&self.0);
            let body = std::mem::take(&mut request.body);
            return Served::Later(Box::pin(async move { respond(inner.purge(body, id).await, head, id) }));
        }
        Served::Now(respond(self.0.answer(route, request), head, id))
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        // Calls that change something are worth a line in the operator's log; scrapes and polls are not.
        if request.method == Method::POST {
            tracing::info!(
                id = ?finished.outcome.id,
                client = %request.client.address,
                call = %String::from_utf8_lossy(path_of(request.target()).0),
                status = finished.status,
                "admin call"
            );
        }
    }
}

impl Inner {
    /// Every check that does not need the body.
    fn admit(&self, request: &Request) -> Result<Route, Problem> {
        if matches!(self.door, Door::Loopback) {
            guard::local_name(request.authority())?;
            guard::not_through_a_proxy(&request.fields)?;
        }
        let (path, _) = path_of(request.target());
        let Some((_, method, route, needs)) = CALLS.iter().find(|(known, ..)| known.as_bytes() == path)
        else {
            let calls: Vec<_> = CALLS.iter().map(|(path, method, ..)| format!("{method} {path}")).collect();
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-call", "there is no such call")
                .with("calls", json!(calls)));
        };
        if request.method.as_str() != *method && !(request.method == Method::HEAD && *method == "GET") {
            let allow = if *method == "GET" { "GET, HEAD" } else { method };
            let detail = format!("this call is a {method}");
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail).field("allow", allow));
        }
        if *method == "POST" {
            guard::same_origin(request.authority(), &request.fields)?;
        }
        if let Some(needs) = needs {
            let caller = Caller {
                loopback: is_loopback(request.client.address),
                authorization: request.fields.named("authorization").next(),
            };
            self.door.admit(caller, *needs).map_err(denied)?;
        } else if matches!(self.door, Door::Loopback) && !is_loopback(request.client.address) {
            return Err(denied(Denied::NotLoopback));
        }
        Ok(*route)
    }

    fn answer(&self, route: Route, request: &Request) -> Reply {
        match route {
            Route::Explain => match ExplainQuery::parse(path_of(request.target()).1) {
                Ok(query) => match self.node.explain(&query) {
                    Ok(answer) => Reply::json(StatusCode::OK, &answer),
                    Err(problem) => problem.into(),
                },
                Err(problem) => problem.into(),
            },
            Route::Stat => {
                let mut stat = self.observe.stat(&self.node.gauges(), &self.clock);
                if let Value::Object(members) = &mut stat {
                    members.insert("ready".into(), self.node.ready().is_ok().into());
                }
                Reply::json(StatusCode::OK, &stat)
            }
            Route::Stop => {
                self.node.stop();
                Reply::json(StatusCode::OK, &json!({"stopping": true}))
            }
            Route::Live => text("text/plain; charset=utf-8", "ok\n"),
            Route::Ready => match self.node.ready() {
                Ok(()) => {
                    let mut lines = vec!["ok".to_owned()];
                    lines.extend(self.node.ailments());
                    text("text/plain; charset=utf-8", lines.join("\n") + "\n")
                }
                Err(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why).into(),
            },
            Route::Metrics => {
                text(render::CONTENT_TYPE, self.observe.render(&self.node.gauges(), &self.clock))
            }
            Route::Dashboard => {
                let mut reply = text("text/html; charset=utf-8", include_str!("dashboard/index.html"));
                reply.fields.push(("content-security-policy", DASHBOARD_POLICY));
                reply
            }
            Route::DashboardStyle => text("text/css; charset=utf-8", include_str!("dashboard/style.css")),
            Route::DashboardScript => {
                text("text/javascript; charset=utf-8", include_str!("dashboard/script.js"))
            }
            // Answered where its body can be awaited; without one it selects nothing.
            Route::Purge => Problem::from(purge_api::Refusal::Empty).into(),
        }
    }

    async fn purge(self: Arc<Self>, body: RequestBody, id: RequestId) -> Reply {
        let body = match body::read(body, &self.clock).await {
            Ok(body) => body,
            Err(problem) => return problem.into(),
        };
        // A purge is durable before it is acknowledged: it waits for the disk, so not on this thread.
        let purging = tokio::task::spawn_blocking(move || {
            let millis = || self.clock.micros() / 1000;
            let id = id.to_string();
            let call = Call { node: self.observe.node(), id: &id, millis: &millis };
            purge_api::purge(self.node.purger(), call, &body)
        });
        purging.await.unwrap_or_else(|_| {
            let detail = "the purge was lost on the way; send it again";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "purge-lost", detail).into()
        })
    }
}

fn denied(denied: Denied) -> Problem {
    let detail = denied.to_string();
    match denied {
        Denied::NotLoopback => Problem::new(StatusCode::FORBIDDEN, "not-loopback", detail),
        Denied::Missing | Denied::Unknown => Problem::new(StatusCode::UNAUTHORIZED, "token", detail)
            .field("www-authenticate", "Bearer realm=\"tidegate\""),
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

/// Path, method, call, and what a caller needs; `None`: nothing is told that needs a token.
#[rustfmt::skip]
const CALLS: &[(&str, &str, Route, Option<Permission>)] = &[
    ("/v1/purge", "POST", Route::Purge, Some(Permission::Purge)),
    ("/v1/explain", "GET", Route::Explain, Some(Permission::Read)),
    ("/v1/stat", "GET", Route::Stat, Some(Permission::Read)),
    ("/v1/stop", "POST", Route::Stop, Some(Permission::Control)),
    ("/live", "GET", Route::Live, None),
    ("/ready", "GET", Route::Ready, None),
    ("/metrics", "GET", Route::Metrics, Some(Permission::Read)),
    ("/", "GET", Route::Dashboard, None),
    ("/dashboard.css", "GET", Route::DashboardStyle, None),
    ("/dashboard.js", "GET", Route::DashboardScript, None),
];

/// The dashboard loads its own files and calls its own listener, nothing else.
const DASHBOARD_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
