//! One pool: its origins, and a request's way through them.
//!
//! `choose.rs` names an origin, `connection.rs` lends a connection to it or `connect.rs` opens one, the request goes out,
//! and `retry.rs` says whether a failure may be tried again. What an origin did is told to `choose.rs` (health) and
//! counted here. Redirects are answers: never followed.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::Surplus;
use super::body::{LentBody, OriginBody};
use super::choose::Steering;
use super::connect::{self, Names, Resolve, Tls, TlsSetupError};
use super::connection::{Connection, Connections, Lease, Slot};
use super::error::{Fault, OriginError};
use super::retry::{Attempt, Budget, idempotent};
use super::stats::{Counters, OriginStats};
use super::{Answer, Ask, Failed, response};
use crate::clock::Clock;
use crate::config;
use crate::listener::request::{InterimSink, RequestBody};

/// A pool at work.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: config::Pool,
    steering: Steering,
    budget: Budget,
    origins: Vec<Origin>,
    tls: Option<Tls>,
    clock: Clock,
}

/// One origin of a pool.
#[derive(Debug)]
pub(crate) struct Origin {
    name: Arc<str>,
    port: u16,
    tls: bool,
    names: Names,
    pub(crate) connections: Connections,
    counters: Counters,
}

/// A request ready to be sent, as often as it takes.
struct Outgoing {
    method: Method,
    target: Uri,
    fields: HeaderMap,
    body: LentBody,
    interim: Option<InterimSink>,
    surplus: Surplus,
    /// For SNI and the certificate check.
    server_name: Arc<str>,
}

impl Pool {
    /// Nothing connected yet.
    ///
    /// # Errors
    /// TLS is needed and cannot be set up.
    pub(crate) fn new(
        settings: config::Pool,
        resolver: &Arc<dyn Resolve>,
        clock: Clock,
    ) -> Result<Self, TlsSetupError> {
        let encrypted = settings.origins.iter().any(|origin| origin.tls);
        let roots =
            (encrypted && settings.verify).then(|| connect::roots(settings.ca.as_deref())).transpose()?;
        let tls = encrypted.then(|| Tls::new(roots)).transpose()?;
        let origins = settings
            .origins
            .iter()
            .map(|origin| Origin {
                name: Arc::clone(&origin.name),
                port: origin.port,
                tls: origin.tls,
                names: Names::new(&origin.host, Arc::clone(resolver)),
                connections: Connections::new(&settings),
                counters: Counters::default(),
            })
            .collect();
        let steering = Steering::new(&settings);
        Ok(Self { settings, steering, budget: Budget::default(), origins, tls, clock })
    }

    /// Sends the request to one origin after the other until one answers or none may.
    pub(crate) async fn ask(self: &Arc<Self>, ask: Ask) -> Result<Answer, Failed> {
        let outgoing = Outgoing::new(ask, &self.settings)?;
        self.budget.deposit();
        let mut tried = Vec::new();
        let mut last: Option<Failed> = None;
        loop {
            let has_room = |index| self.origin(index).is_some_and(|origin| origin.connections.has_room());
            let Some(index) = self.steering.choose(self.clock.now(), &tried, has_room) else {
                return Err(last.unwrap_or(Failed::from(OriginError::NoOrigin)));
            };
            tried.push(index);
            let Some(origin) = self.origin(index) else {
                return Err(Failed::from(OriginError::NoOrigin));
            };
            let began_micros = self.clock.micros();
            let (error, attempt) = match self.ask_origin(index, origin, &outgoing).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            self.failed(index, error);
            let failed = Failed {
                cause: error,
                pool: Some(Arc::clone(&self.settings.name)),
                origin: Some(Arc::clone(&origin.name)),
                origin_micros: self.clock.micros().saturating_sub(began_micros),
            };
            let left = self.steering.left(self.clock.now(), &tried);
            if !attempt.may_go_elsewhere(error, tried.len(), left, &self.budget) {
                return Err(failed);
            }
            origin.counters.moved_on();
            last = Some(failed);
        }
    }

    /// One origin; a kept connection that turns out to be dead is replaced once.
    async fn ask_origin(
        self: &Arc<Self>,
        index: usize,
        origin: &Origin,
        outgoing: &Outgoing,
    ) -> Result<Answer, (OriginError, Attempt)> {
        let unsent = outgoing.attempt();
        let slot = origin.connections.slot(&self.clock).await.map_err(|error| (error, unsent))?;
        let name = origin.tls.then_some(&outgoing.server_name);
        let limit = self.settings.connect_timeout;
        let kept = origin.connections.take_idle(name.map(|name| &**name), limit, &self.clock).await;
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(origin, name).await.map_err(|error| (error, unsent))?,
        };
        loop {
            let requested_at = self.clock.now();
            let began_micros = self.clock.micros();
            let request = outgoing.request();
            let sent = connection.exchange(request, self.settings.first_byte_timeout, &self.clock).await;
            let error = match sent {
                Ok(received) => {
                    let micros = self.clock.micros().saturating_sub(began_micros);
                    origin.counters.answered(received.status(), micros);
                    let (framing, length) = connection.watch().framing();
                    let (status, fields, incoming) = response::split(received);
                    let body = self.lend(incoming, connection, index, outgoing, slot);
                    return Ok(Answer {
                        status,
                        fields,
                        body,
                        framing,
                        length,
                        pool: Arc::clone(&self.settings.name),
                        origin: Arc::clone(&origin.name),
                        requested_at,
                        received_at: self.clock.now(),
                        origin_micros: micros,
                    });
                }
                Err(error) => error,
            };
            let attempt = Attempt {
                kept: connection.kept(),
                unsent: connection.watch().unsent(),
                answered: connection.watch().answered(),
                ..outgoing.attempt()
            };
            if !attempt.may_be_refreshed(error) {
                return Err((error, attempt));
            }
            drop(connection);
            connection = self.open(origin, name).await.map_err(|error| (error, attempt))?;
        }
    }

    async fn open(&self, origin: &Origin, name: Option<&Arc<str>>) -> Result<Connection, OriginError> {
        origin.connections.make_room();
        let tls = match name {
            Some(name) => Some((self.tls.as_ref().ok_or(OriginError::Tls)?, &**name)),
            None => None,
        };
        let limit = self.settings.connect_timeout;
        let socket = connect::connect(&origin.names, origin.port, tls, limit, &self.clock).await?;
        origin.counters.connected();
        Connection::open(socket, name.cloned()).await
    }

    fn lend(
        self: &Arc<Self>,
        incoming: hyper::body::Incoming,
        connection: Connection,
        index: usize,
        outgoing: &Outgoing,
        slot: Slot,
    ) -> OriginBody {
        let lease = Lease::new(connection, outgoing.body.clone(), Arc::clone(self), index, slot);
        OriginBody::new(incoming, lease, self.settings.between_bytes_timeout, self.clock.clone())
    }

    /// Whether one of its origins is not ejected.
    pub(crate) fn available(&self) -> bool {
        self.steering.available(self.clock.now())
    }

    /// The origin at `index`.
    pub(crate) fn origin(&self, index: usize) -> Option<&Origin> {
        self.origins.get(index)
    }

    /// Takes the origin of this name out, or back in; returns whether there is one.
    pub(crate) fn drain(&self, name: &str, drained: bool) -> bool {
        let found = self.origins.iter().position(|origin| &*origin.name == name);
        if let Some(index) = found {
            self.steering.drain(index, drained);
        }
        found.is_some()
    }

    /// The clock it goes by.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// An origin answered to the end.
    pub(crate) fn succeeded(&self, index: usize) {
        self.steering.succeeded(index);
    }

    /// A request to an origin failed; health moves only where that was the origin's fault.
    pub(crate) fn failed(&self, index: usize, error: OriginError) {
        if error.fault() != Fault::Origin {
            return;
        }
        let ejected = self.steering.failed(index, self.clock.now());
        if let Some(origin) = self.origin(index) {
            origin.counters.failed(ejected);
            if ejected {
                tracing::warn!(pool = %self.settings.name, origin = %origin.name, cause = error.as_str(), "origin ejected");
            }
        }
    }

    /// Closes idle connections that are too old.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.origins.iter().for_each(|origin| origin.connections.sweep(now));
    }

    /// What its origins did so far.
    pub(crate) fn stats(&self) -> impl Iterator<Item = OriginStats> {
        self.origins.iter().enumerate().map(|(index, origin)| {
            let (in_use, idle) = origin.connections.count();
            OriginStats {
                pool: Arc::clone(&self.settings.name),
                origin: Arc::clone(&origin.name),
                ejected: self.steering.ejected(index),
                drained: self.steering.drained(index),
                connections_in_use: in_use,
                connections_idle: idle,
                waiting: origin.connections.waiting(),
                counts: origin.counters.read(),
            }
        })
    }
}

impl Outgoing {
    fn new(ask: Ask, settings: &config::Pool) -> Result<Self, OriginError> {
        if ask.method == Method::CONNECT {
            // It asks for a tunnel, which no origin is to open through us.
            return Err(OriginError::Target);
        }
        let mut fields = ask.fields;
        let host = match &settings.host {
            Some(host) => HeaderValue::from_str(host),
            None => HeaderValue::from_maybe_shared(ask.authority.clone()),
        };
        let host = host.map_err(|_| OriginError::Target)?;
        let host_text = host.to_str().map_err(|_| OriginError::Target)?;
        let server_name = settings.server_name.clone().unwrap_or_else(|| without_port(host_text).into());
        fields.insert(HOST, host);
        fields.remove(CONTENT_LENGTH);
        fields.remove(TRANSFER_ENCODING);
        let expects_body = !matches!(
            ask.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::TRACE
        );
        if matches!(ask.body, RequestBody::Empty) && expects_body {
            // RFC 9110 §8.6: a method that anticipates content says when there is none.
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let target =
            http::uri::PathAndQuery::from_maybe_shared(ask.target).map_err(|_| OriginError::Target)?;
        Ok(Self {
            method: ask.method,
            target: Uri::from(target),
            fields,
            body: LentBody::new(ask.body),
            interim: ask.interim,
            surplus: ask.surplus,
            server_name,
        })
    }

    fn request(&self) -> Request<LentBody> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().clone_from(&self.fields);
        request.extensions_mut().insert(self.surplus);
        if let Some(sink) = &self.interim {
            response::pass_interim_on(&mut request, sink.clone());
        }
        request
    }

    /// What is known before anything is sent.
    fn attempt(&self) -> Attempt {
        Attempt {
            idempotent: idempotent(&self.method),
            body_whole: self.body.whole(),
            kept: false,
            unsent: true,
            answered: false,
        }
    }
}

/// `www.example.com:8443` → `www.example.com`; `[::1]:80` → `::1`.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}
