//! One pool: its origins, and a request's way through them.
//!
//! `choose/` names an origin, `connections.rs` lends a connection to it or `connect.rs` opens one, the request goes out
//! (`connection.rs`), and `retry.rs` says whether a failure may be tried again. What an origin did is told to `choose/` (health) and
//! counted here. Redirects are answers: never followed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_store::timestamp::Timestamp;
use http::Method;

use super::body::{Open, OriginBody};
use super::choose::{Key, Load, Steering};
use super::connect::{self, Names, Resolve, Tls, TlsSetupError, Way};
use super::connection::Connection;
use super::connections::Connections;
use super::error::{Fault, OriginError};
use super::h2;
use super::hedge::{Heard, Slow};
use super::limiter::Limiter;
use super::line::Line;
use super::outgoing::Outgoing;
use super::pulse::Pulse;
use super::response::Received;
use super::retry::{Attempt, Budget, Tried, idempotent, may_ask_again, may_fall_over};
use super::stats::{Counters, OriginStats};
use super::sticky::Sticky;
use super::tunnel::Tunnels;
use super::wire::Socket;
use super::{Answer, Answering, Ask, Failed};
use crate::clock::Clock;
use crate::config::limits::HELD_BYTES_MAX;
use crate::config::{self, Concurrency, HedgeAfter, OriginProtocol};
use crate::listener::fields::Fields;

/// A pool at work.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(super) settings: config::Pool,
    pub(super) steering: Steering,
    pub(super) budget: Budget,
    sticky: Option<Sticky>,
    /// How long a slow answer takes, where that is asked.
    pub(super) slow: Slow,
    origins: Vec<Origin>,
    tls: Option<Tls>,
    /// The same with HTTP/2 on offer.
    tls_h2: Option<Tls>,
    /// Of what that was set up from.
    files: [u8; 32],
    pub(crate) tunnels: Arc<Tunnels>,
    /// No new request comes: other settings have taken its place.
    retired: AtomicBool,
    pub(super) clock: Clock,
}

/// One origin of a pool.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(super) name: Arc<str>,
    port: u16,
    tls: bool,
    names: Names,
    /// Where it listens in the file system, if it does.
    socket: Option<Arc<Path>>,
    pub(crate) connections: Connections,
    /// Where it is asked over HTTP/2.
    pub(super) links: Option<h2::Links>,
    pub(super) pulse: Pulse,
    /// Where what it is given is not a fixed number.
    limiter: Option<Limiter>,
    /// The last that was heard of it is a failure.
    doubted: AtomicBool,
    pub(super) counters: Counters,
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
        // Before they are read: what changes meanwhile has changed.
        let files = connect::mark_of_files(files(&settings));
        let encrypted = settings.origins.iter().any(|origin| origin.tls);
        let roots =
            (encrypted && settings.verify).then(|| connect::roots(settings.ca.as_deref())).transpose()?;
        let identity = settings.transport.client_cert.as_ref();
        let speaks_h2 = settings.transport.protocol == OriginProtocol::H2;
        let offering = |is_h2| Tls::new(roots.clone(), identity, is_h2);
        let tls = encrypted.then(|| offering(false)).transpose()?;
        let tls_h2 = (encrypted && speaks_h2).then(|| offering(true)).transpose()?;
        let origins = settings
            .origins
            .iter()
            .map(|origin| Origin {
                name: Arc::clone(&origin.name),
                port: origin.port,
                tls: origin.tls,
                names: Names::new(&origin.host, Arc::clone(resolver)),
                socket: origin.socket().map(Arc::from),
                connections: Connections::new(&settings),
                links: speaks_h2.then(|| h2::Links::new(&settings)),
                pulse: Pulse::default(),
                limiter: (settings.concurrency == Concurrency::Adaptive)
                    .then(|| Limiter::new(settings.connections_max)),
                doubted: AtomicBool::new(false),
                counters: Counters::default(),
            })
            .collect();
        let steering = Steering::new(&settings);
        let sticky = Sticky::of(&settings);
        let tunnels = Tunnels::new(settings.transport.tunnels_max);
        let (budget, slow) = (Budget::default(), Slow::default());
        let retired = AtomicBool::new(false);
        Ok(Self {
            settings,
            steering,
            budget,
            sticky,
            slow,
            origins,
            tls,
            tls_h2,
            files,
            tunnels,
            retired,
            clock,
        })
    }

    /// Sends the request to one origin after the other until one answers or none may.
    pub(super) fn ask(self: &Arc<Self>, ask: Ask) -> Answering<'_> {
        // Not `async`: a future holds what it was given twice.
        let outgoing = Outgoing::new(ask, &self.settings);
        Box::pin(async move {
            let mut outgoing = outgoing?;
            self.budget.deposit();
            if outgoing.fields.upgrade().is_some() {
                outgoing.place = Some(self.tunnels.place().ok_or(OriginError::QueueFull)?);
            }
            let mut tried = Tried::default();
            let mut last: Option<Failed> = None;
            let mut failing: Option<Box<Answer>> = None;
            loop {
                // Read once for all that happens in this moment.
                let began_micros = self.clock.micros();
                let Some(index) = self.choose(at(began_micros), tried.all(), outgoing.key) else {
                    return failing.ok_or_else(|| last.unwrap_or(Failed::from(OriginError::NoOrigin)));
                };
                tried.push(index);
                let Some(origin) = self.origin(index) else {
                    return Err(Failed::from(OriginError::NoOrigin));
                };
                let asking = self.ask_origin(index, origin, began_micros, &mut outgoing, &mut tried);
                let (error, attempt) = match asking.await {
                    Ok(mut answer) if self.settings.fail_status.contains(answer.status) => {
                        let left = self.steering.left(self.clock.now(), tried.all());
                        if !may_ask_again(outgoing.attempt(), &tried, left, &self.budget) {
                            return Ok(answer);
                        }
                        origin.counters.moved_on();
                        // Should the others do no better, it is the origin's word and not ours. What has come of it gives back its
                        // connection: while others are asked nobody reads it.
                        answer.body.take_what_is_here(HELD_BYTES_MAX).await;
                        failing = Some(answer);
                        continue;
                    }
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
                let left = self.steering.left(self.clock.now(), tried.all());
                if !attempt.may_go_elsewhere(error, &tried, left, &self.budget) {
                    return failing.ok_or(failed);
                }
                origin.counters.moved_on();
                last = Some(failed);
            }
        })
    }

    pub(super) fn choose(&self, now: Timestamp, tried: &[usize], key: Option<Key>) -> Option<usize> {
        self.steering.choose(now, tried, key, self.loads())
    }

    /// What each origin is doing.
    pub(super) fn loads(&self) -> impl Fn(usize) -> Load {
        |index| self.origin(index).map_or(Load::NONE, Origin::load)
    }

    /// One origin; a kept connection that turns out to be dead is replaced once.
    #[allow(clippy::too_many_lines)] // one request, from its slot to its answer
    pub(super) async fn ask_origin(
        self: &Arc<Self>,
        index: usize,
        origin: &Origin,
        mut began_micros: u64,
        outgoing: &mut Outgoing,
        tried: &mut Tried,
    ) -> Result<Box<Answer>, (OriginError, Attempt)> {
        let unsent = outgoing.attempt();
        if !origin.has_capacity() {
            return Err((OriginError::Overload, unsent));
        }
        let slot = if let Some(slot) = origin.connections.slot_now() {
            slot
        } else {
            // Boxed: most never wait.
            let waiting = Box::pin(origin.connections.slot_in_line(&self.clock)).await;
            began_micros = self.clock.micros();
            waiting.map_err(|error| (error, unsent))?
        };
        let listening = origin.pulse.listen();
        let name = origin.tls.then(|| outgoing.server_name()).transpose().map_err(|error| (error, unsent))?;
        let client = outgoing.introduced(self.settings.transport.proxy_protocol);
        let only_http1 = outgoing.fields.upgrade().is_some();
        let kept = match &origin.links {
            None => origin.connections.take_idle(name.as_deref(), client, at(began_micros)),
            Some(_) => None,
        };
        let mut line = if let Some(connection) = kept {
            Line::Whole(connection, None)
        } else {
            let fresh = self.open(origin, name.as_ref(), client, only_http1).await;
            began_micros = self.clock.micros();
            fresh.map_err(|error| (error, unsent))?
        };
        let mut is_first = true;
        loop {
            let requested_at = at(began_micros);
            let mut received = Received::new(outgoing.interim.clone());
            received.trailers = outgoing.fields.asks_for_trailers().then(Box::default);
            outgoing.begin(&mut line, origin.tls, &mut received);
            let exchange = self.exchange(index, requested_at, &mut line, outgoing, &mut received, tried);
            let error = match exchange.await {
                Ok(Heard::Elsewhere(answer)) => return Ok(answer),
                Ok(Heard::Here) => {
                    let switched = if line.has_switched() {
                        let switched = outgoing.switched(&mut received);
                        Some(switched.map_err(|error| {
                            (error, Attempt { unsent: false, answered: true, ..outgoing.attempt() })
                        })?)
                    } else {
                        None
                    };
                    let now_micros = self.clock.micros();
                    let micros = now_micros.saturating_sub(began_micros);
                    let received_at = at(now_micros);
                    origin.pulse.beat(received_at);
                    if let Some(limiter) = &origin.limiter {
                        limiter.answered(micros, origin.connections.active());
                    }
                    drop(listening);
                    self.steering.answered(index, received_at, micros);
                    if self.settings.hedge_after == HedgeAfter::P95 {
                        self.slow.observe(micros);
                    }
                    // Before what it says now.
                    let in_doubt = origin.doubted.load(Ordering::Relaxed);
                    let has_failed = self.settings.fail_status.contains(received.status);
                    if has_failed {
                        self.failed(index, OriginError::Status);
                    }
                    origin.counters.answered(received.status, micros);
                    if in_doubt && switched.is_none() && outgoing.may_be_held() {
                        let held = Attempt { answered: true, held: true, ..outgoing.attempt() };
                        let holding = self.hold(&mut line, outgoing, &mut received);
                        holding.await.map_err(|error| (error, held))?;
                    }
                    let (framing, length) = line.framing();
                    let here = received.take_data();
                    let open = Open {
                        line,
                        upload: outgoing.take_upload(),
                        pool: Arc::clone(self),
                        index,
                        has_failed,
                        limit: self.settings.between_bytes_timeout,
                        due: None,
                        trailers: received.trailers,
                        switched,
                        slot,
                    };
                    return Ok(Box::new(Answer {
                        status: received.status,
                        fields: received.fields,
                        body: OriginBody::new(here, open, received_at),
                        framing,
                        length,
                        pool: Arc::clone(&self.settings.name),
                        origin: Arc::clone(&origin.name),
                        stick: self.sticky.as_ref().and_then(|sticky| sticky.news(index, outgoing.stuck)),
                        requested_at,
                        received_at,
                        origin_micros: micros,
                    }));
                }
                Err(error) => error,
            };
            let attempt = Attempt {
                // A second one that fails is not for want of a fresh connection.
                kept: line.kept() && is_first,
                unsent: line.unsent(),
                answered: line.answered(),
                ..outgoing.attempt()
            };
            if !attempt.may_be_refreshed(error) {
                return Err((error, attempt));
            }
            drop(line);
            is_first = false;
            let opening = self.open(origin, name.as_ref(), client, only_http1);
            line = opening.await.map_err(|error| (error, attempt))?;
            began_micros = self.clock.micros();
        }
    }

    pub(super) async fn open(
        &self,
        origin: &Origin,
        name: Option<&Arc<str>>,
        client: Option<SocketAddr>,
        only_http1: bool,
    ) -> Result<Line, OriginError> {
        if let Some(links) = &origin.links {
            // Boxed: the usual way does not make room for it.
            return Box::pin(links.line(self, origin, name, client, only_http1)).await;
        }
        origin.connections.make_room();
        let socket = self.connect(origin, name, client, true).await?;
        Ok(Line::Whole(Box::new(Connection::new(socket, name.cloned(), client)), None))
    }

    pub(super) async fn connect(
        &self,
        origin: &Origin,
        name: Option<&Arc<str>>,
        client: Option<SocketAddr>,
        only_http1: bool,
    ) -> Result<Socket, OriginError> {
        let offering = if only_http1 { &self.tls } else { &self.tls_h2 };
        let tls = match name {
            Some(name) => Some((offering.as_ref().ok_or(OriginError::Tls)?, &**name)),
            None => None,
        };
        let limit = self.settings.connect_timeout;
        // Boxed: names, addresses and handshakes weigh more than all the rest, and are seldom needed.
        let way = Way {
            names: &origin.names,
            port: origin.port,
            socket: origin.socket.as_deref(),
            tls,
            preface: self.settings.transport.proxy_protocol.map(|version| (version, client)),
        };
        let connecting = Box::pin(connect::connect(way, limit, &self.clock));
        let socket = connecting.await?;
        origin.counters.connected();
        Ok(socket)
    }

    /// Whether it is what it would be by these settings: they are the same, and so are the files that they name.
    pub(super) fn is_set_to(&self, settings: &config::Pool) -> bool {
        self.settings == *settings && self.files == connect::mark_of_files(files(settings))
    }

    /// Whether a request without a body that failed here may go to another pool.
    pub(crate) fn may_fall_over(&self, error: OriginError, method: &Method) -> bool {
        may_fall_over(error, idempotent(method), &self.budget)
    }

    /// The origin that the client of a request was given to.
    pub(crate) fn stuck(&self, fields: &Fields) -> Option<usize> {
        self.sticky.as_ref()?.named_by(fields)
    }

    /// Whether one of its origins is not ejected.
    pub(crate) fn available(&self) -> bool {
        self.steering.available(self.clock.now())
    }

    /// The origin at `index`.
    pub(crate) fn origin(&self, index: usize) -> Option<&Origin> {
        self.origins.get(index)
    }

    /// Takes the origin that is called so out, or back in; its name, if there is one.
    pub(crate) fn drain(&self, called: &str, drained: bool) -> Option<Arc<str>> {
        let index = self.settings.origins.iter().position(|origin| {
            let authority = origin.name.split_once("://").map(|(_, authority)| authority);
            *origin.name == *called
                || authority == Some(called)
                || format!("{}:{}", origin.host, origin.port) == called
        })?;
        self.steering.drain(index, drained, self.clock.now());
        Some(Arc::clone(&self.origin(index)?.name))
    }

    /// Takes over what a pool that was before this one knows of the same origins.
    pub(crate) fn adopt(&self, old: &Self) {
        let theirs = |index| {
            let name = &self.origin(index)?.name;
            old.origins.iter().position(|origin| origin.name == *name)
        };
        self.tunnels.go_on_from(&old.tunnels);
        self.steering.adopt(&old.steering, theirs, self.settings.health.is_some());
        for (index, origin) in self.origins.iter().enumerate() {
            if let Some(theirs) = theirs(index).and_then(|index| old.origins.get(index)) {
                origin.counters.go_on_from(&theirs.counters.read());
            }
        }
    }

    /// It ends with what is under way.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether it was told so.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// A tunnel is ended when nothing moves in it for so long.
    pub(crate) fn tunnel_timeout(&self) -> Duration {
        self.settings.transport.tunnel_timeout
    }

    /// The clock it goes by.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// An origin answered to the end.
    pub(crate) fn succeeded(&self, index: usize, now: Timestamp) {
        self.steering.succeeded(index, now);
        if let Some(origin) = self.origin(index)
            && origin.doubted.load(Ordering::Relaxed)
        {
            origin.doubted.store(false, Ordering::Relaxed);
        }
    }

    /// A request to an origin failed; health moves only where that was the origin's fault.
    pub(crate) fn failed(&self, index: usize, error: OriginError) {
        if error.fault() != Fault::Origin {
            return;
        }
        let ejected = self.steering.failed(index, self.clock.now());
        if let Some(origin) = self.origin(index) {
            origin.doubted.store(true, Ordering::Relaxed);
            if let Some(limiter) = &origin.limiter {
                limiter.failed();
            }
            origin.counters.failed(ejected);
            if ejected {
                tracing::warn!(pool = %self.settings.name, origin = %origin.name, cause = error.as_str(), "origin ejected");
            }
        }
    }

    /// Closes idle connections that are too old.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        for origin in &self.origins {
            origin.connections.sweep(now);
            if let Some(links) = &origin.links {
                links.sweep(now, &self.settings);
            }
        }
    }

    /// Requests to its origins that are under way or wait for a connection.
    pub(crate) fn active(&self) -> u64 {
        self.origins.iter().map(|origin| origin.connections.active() as u64).sum()
    }

    /// What its origins did so far.
    pub(crate) fn stats(&self) -> impl Iterator<Item = OriginStats> {
        let now = self.clock.now();
        self.origins.iter().enumerate().map(move |(index, origin)| {
            let (in_use, idle) = origin.count();
            OriginStats {
                pool: Arc::clone(&self.settings.name),
                origin: Arc::clone(&origin.name),
                stands: self.steering.standing(index, now),
                weight: self.settings.origins.get(index).map_or(1, |origin| origin.weight),
                backup: self.settings.origins.get(index).is_some_and(|origin| origin.backup),
                concurrency_max: origin.limiter.as_ref().map(Limiter::allowed),
                connections_in_use: in_use,
                connections_idle: idle,
                waiting: origin.connections.waiting(),
                counts: origin.counters.read(),
            }
        })
    }
}

impl Origin {
    /// Whether one more would not be more than it is to have.
    fn has_capacity(&self) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| self.connections.active() < limiter.allowed())
    }

    /// Connections in use, and idle ones. Those of a pool that speaks HTTP/2, and some origin's HTTP/1.1 beside it.
    fn count(&self) -> (usize, usize) {
        let (slots, idle) = self.connections.count();
        match &self.links {
            None => (slots, idle),
            Some(links) => {
                let (in_use, idle_links) = links.count();
                (in_use, idle.saturating_add(idle_links))
            }
        }
    }

    fn load(&self) -> Load {
        Load {
            active: self.connections.active(),
            unheard: self.pulse.waiting(),
            room: self.connections.has_room() && self.has_capacity(),
            heard_at: self.pulse.heard_at(),
        }
    }
}

/// The time of a reading.
const fn at(micros: u64) -> Timestamp {
    Timestamp::from_millis(micros / 1000)
}

/// What TLS to a pool's origins is set up from.
fn files(pool: &config::Pool) -> impl Iterator<Item = &Path> {
    let identity = pool.transport.client_cert.iter().flat_map(|pair| [&*pair.cert, &*pair.key]);
    pool.ca.as_deref().into_iter().chain(identity)
}
