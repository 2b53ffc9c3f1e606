//! The time between a request and its answer, when that must be awaited.
//!
//! All of it happens in one wait: the answer's future runs, the body is pumped to it, interim responses go out,
//! the client is watched (bytes it sends ahead are kept, its leaving ends the wait), and two deadlines
//! run: the request as a whole and the rate of the body. Called by `connection.rs` for `Served::Later`.
//!
//! Invariant: nothing is written once the answer is there, so `100 Continue` and interim responses come before it.
//! RFC 9110 §10.1.1, §15.2.

use std::future::poll_fn;
use std::task::{Context, Poll};

use cache_store::timestamp::Timestamp;
use http::StatusCode;

use super::answer::append_interim;
use super::body::Malformed;
use super::connection::{Connection, Stop, failed};
use super::pump::{Broken, Pump};
use super::refusal::Refusal;
use super::socket::{Socket, Tail};
use super::transport::Transport;
use super::{ConnectionContext, ConnectionEnd};
use crate::config::limits::{INTERIM_MAX, READ_BUFFER_BYTES};
use crate::listener::deadline::Phase;
use crate::listener::request::InterimSink;
use crate::listener::service::{Answering, Service};
use crate::respond::response::Response;

/// How the wait for an answer ended.
pub(super) enum Waited {
    Answer(Box<Response>),
    /// The body broke first, or was too slow.
    Broken(Refusal),
    /// The client left, or the time was up.
    Over(Stop),
}

/// Which deadline is set, so that it is set only when it moves.
#[derive(Default)]
pub(super) struct Due(Option<(Timestamp, Phase)>);

impl<IO, S> Connection<'_, IO, S>
where
    IO: Transport,
    S: Service,
{
    /// Waits for the answer. Everything gathered must have been written before.
    pub(super) async fn wait(
        &mut self,
        mut answer: Answering,
        mut pump: Option<&mut Pump>,
        interims: Option<InterimSink>,
    ) -> Waited {
        let total_due = self.total_due;
        let Self { socket, context, .. } = self;
        let mut due = Due::default();
        let mut room = INTERIM_MAX;
        poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            if let Some(interims) = &interims {
                for interim in interims.poll_take(cx) {
                    if room > 0 && is_passed_on(interim.status) {
                        room -= 1;
                        append_interim(&mut socket.out, &interim);
                    }
                }
            }
            if let Poll::Ready(response) = answered {
                return Poll::Ready(Waited::Answer(response));
            }
            if let Some(pump) = pump.as_deref_mut()
                && let Poll::Ready(broken) = pump.poll(cx, socket)
            {
                return Poll::Ready(match broken {
                    Broken::Gone => Waited::Over(ConnectionEnd::ClientGone),
                    Broken::Failed(error) => Waited::Over(failed(error)),
                    Broken::Malformed(Malformed::TooLong) => Waited::Broken(Refusal::BodyTooLong),
                    Broken::Malformed(_) => Waited::Broken(Refusal::BodyMalformed),
                });
            }
            if !socket.is_flushed()
                && let Poll::Ready(Err(error)) = socket.poll_write(cx, &mut Tail::default())
            {
                return Poll::Ready(Waited::Over(failed(error)));
            }
            if !pump.as_deref().is_some_and(Pump::is_reading)
                && let Poll::Ready(end) = poll_watch(cx, socket)
            {
                return Poll::Ready(Waited::Over(end));
            }
            due.poll(cx, context, total_due, pump.as_deref_mut()).map(|phase| match phase {
                Phase::BodyRate => Waited::Broken(Refusal::BodyTooSlow),
                phase => Waited::Over(ConnectionEnd::TimedOut(phase)),
            })
        })
        .await
    }
}

/// Notices that the client has left. What it sends ahead is kept, up to a read buffer's length; beyond that it waits in
/// the kernel. Not to be called while a pump reads: it would not learn of the bytes.
pub(super) fn poll_watch<IO: Transport>(
    cx: &mut Context<'_>,
    socket: &mut Socket<IO>,
) -> Poll<ConnectionEnd> {
    while socket.input.len() < READ_BUFFER_BYTES {
        match socket.poll_fill(cx, READ_BUFFER_BYTES) {
            Poll::Ready(Ok(0)) => return Poll::Ready(ConnectionEnd::ClientGone),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(failed(error)),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}

impl Due {
    /// Ready when the request as a whole or its body's rate is late.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        context: &ConnectionContext,
        total_due: Timestamp,
        pump: Option<&mut Pump>,
    ) -> Poll<Phase> {
        let mut pump = pump;
        loop {
            let rate_due = pump.as_deref().and_then(Pump::due).filter(|at| *at < total_due);
            let next = rate_due.map_or((total_due, Phase::Total), |at| (at, Phase::BodyRate));
            if self.0 != Some(next) {
                self.0 = Some(next);
                context.deadline.set(next.0, next.1);
            }
            let expired = context.deadline.poll_expired(cx);
            let goes_on = expired == Poll::Ready(Phase::BodyRate)
                && pump.as_deref_mut().is_some_and(|pump| pump.keeps_up(context.clock.now()));
            if !goes_on {
                return expired;
            }
            // A new window has begun.
            self.0 = None;
        }
    }
}

/// 100 is ours to send, 101 would give the connection away.
fn is_passed_on(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::CONTINUE && status != StatusCode::SWITCHING_PROTOCOLS
}
