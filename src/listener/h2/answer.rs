//! Requests -> answers: asks the service and renders what it says, at once where that goes.
//!
//! Head and body of a hit go straight into the connection's output; what must wait becomes a stream (`stream.rs`). Called by
//! `connection.rs` for each request, and by `send.rs`'s turn over the streams that were woken. RFC 9113 §8.1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, StatusCode};

use super::body::{Outgoing, Pipe, Step};
use super::connection::{Connection, Leaving, Table};
use super::frame::{self, Code};
use super::head::{Fault, Head, Terms};
use super::heads;
use super::stream::{Answering, Exchange, Receiving, Sending, Stream};
use super::tunnel::{self, Carrier};
use super::upload::{self, Upload};
use super::wake::StreamWaker;
use crate::config::limits::{H2_DATA_BYTES_MAX, H2_HELD_HEAD_BYTES_MAX, H2_STREAMS_MAX};
use crate::listener::h1::Refusal;
use crate::listener::request::{Interims, Protocol, Request, RequestBody, Upgrade};
use crate::listener::service::{Served, Service, refusal};
use crate::listener::stats::count;
use crate::respond::response::{Body, Lines, Response};

impl<S: Service> Connection<'_, S> {
    /// A new stream's header block.
    ///
    /// # Errors
    /// The connection must end.
    pub(super) fn request(&mut self, stream: u32, ends: bool, block: &[u8]) -> Result<(), Code> {
        self.requests += 1;
        if let Leaving::Told { requests_max } = self.leaving
            && self.requests > requests_max
        {
            self.last_call();
        }
        let index = self.kit.indices.pop().unwrap_or_default();
        let terms = Terms {
            scheme: self.context.scheme,
            limits: &self.context.limits,
            bodiless: ends,
            may_connect: !self.settings_open,
        };
        let head = match self.kit.reader.read(&mut self.decoder, block, index, terms) {
            Err(Fault::Connection(code)) => return Err(code),
            // RFC 9113 §5.1.2. Nothing was done about it, so the client may send it again (§8.7).
            _ if self.streams.len() >= H2_STREAMS_MAX as usize => {
                self.reset(stream, Code::RefusedStream);
                return Ok(());
            }
            Err(Fault::Malformed) => {
                count(&self.stats.malformed);
                self.reset_for_error(stream, Code::ProtocolError);
                return Ok(());
            }
            Err(Fault::Refused(refusal, to_head)) => {
                count(&self.stats.malformed);
                self.refuse(stream, ends, refusal, to_head);
                return Ok(());
            }
            Ok(head) => head,
        };
        let held_bytes = self.held_bytes.saturating_add(head.held_bytes);
        if held_bytes > H2_HELD_HEAD_BYTES_MAX {
            count(&self.stats.malformed);
            let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, "too many request heads held");
            self.service.refused(status, reason, &self.context.client);
            self.reset(stream, Code::RefusedStream);
            return Ok(());
        }
        self.held_bytes = held_bytes;
        self.ask(stream, ends, head);
        Ok(())
    }

    #[inline]
    fn ask(&mut self, stream: u32, ends: bool, head: Head) {
        let (body, receiving) = if ends {
            (RequestBody::Empty, None)
        } else if head.is_tunnel {
            // What comes behind it is no body, and nobody's before there is a tunnel.
            let (inlet, upload) = upload::upload(None, u64::MAX, self.woken.waker(stream));
            (RequestBody::Empty, Some(Receiving::of_tunnel(inlet, upload, self.now)))
        } else {
            let room = self.context.limits.request_body_bytes_max;
            let (inlet, upload) = upload::upload(head.length, room, self.woken.waker(stream));
            (RequestBody::H2(upload), Some(Receiving::new(inlet, head.length, self.now)))
        };
        let mut request = Request {
            method: head.method,
            scheme: self.context.scheme,
            authority: head.authority,
            target: head.target,
            fields: head.fields,
            body,
            protocol: Protocol::Http2,
            client: Arc::clone(&self.context.client),
            received_micros: self.now_micros,
            interims: Interims::None,
            upgrade: if head.is_tunnel { Upgrade::Stream } else { Upgrade::No },
            spare: std::mem::take(&mut self.kit.spare),
            held: std::sync::OnceLock::new(),
            id: std::cell::OnceCell::new(),
        };
        // A panic costs the request that caused it, not the others on the connection.
        let served =
            catch_unwind(AssertUnwindSafe(|| self.service.serve(&mut request))).unwrap_or_else(|_| {
                count(&self.stats.panics);
                Served::Now(refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
            });
        let exchange = Exchange::new(request, head.held_bytes);
        match served {
            Served::Now(response) => self.answer(stream, Some(exchange), receiving, response, false),
            Served::Later(future) => {
                let waker = self.woken.waker(stream);
                waker.note();
                self.open(stream, Some(exchange), receiving, Sending::Awaiting(future), None, waker);
            }
        }
    }

    /// Answers what never became a request.
    fn refuse(&mut self, stream: u32, ends: bool, refusal: Refusal, to_head: bool) {
        let response = self.service.refused(refusal.status(), refusal.reason(), &self.context.client);
        self.answer(stream, None, None, response, to_head);
        // Whether or not its text went out: what the client still sends on the stream is no error then.
        if !ends {
            self.reset(stream, Code::NoError);
        }
    }

    /// Answers a request that has no stream yet. One comes to be if the answer cannot be sent whole at once.
    #[inline]
    fn answer(
        &mut self,
        stream: u32,
        mut exchange: Option<Exchange>,
        mut receiving: Option<Receiving>,
        response: Response,
        to_head: bool,
    ) {
        let to_head = exchange.as_ref().map_or(to_head, |exchange| exchange.request.method == Method::HEAD);
        let response = as_asked(exchange.as_ref(), response);
        let mut window = self.windows.send_initial;
        let upload = receiving.as_mut().and_then(|receiving| receiving.upload.take());
        match self.render(stream, &mut window, to_head, response, exchange.as_mut(), upload) {
            None => self.over(stream, exchange, receiving),
            Some(body) => {
                let waker = self.woken.waker(stream);
                let is_tunnel = body.is_tunnel();
                self.open(stream, exchange, receiving, Sending::Body(body), Some(window), waker);
                if is_tunnel {
                    self.begin_tunnel(stream);
                }
            }
        }
    }

    fn open(
        &mut self,
        id: u32,
        exchange: Option<Exchange>,
        receiving: Option<Receiving>,
        sending: Sending,
        window: Option<i64>,
        waker: StreamWaker,
    ) {
        let window = window.unwrap_or(self.windows.send_initial);
        let stream =
            Stream { exchange, opened: self.now, sending, window, blocked_since: None, receiving, waker };
        self.streams.insert(id, Box::new(stream));
    }

    /// Renders the head of an answer, and its body if that is short and may be sent at once; else hands the body back.
    #[inline]
    fn render(
        &mut self,
        stream: u32,
        window: &mut i64,
        to_head: bool,
        response: Response,
        exchange: Option<&mut Exchange>,
        upload: Option<Upload>,
    ) -> Option<Outgoing> {
        let sends = !to_head && !matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ends = !sends
            || matches!(response.body, Body::None | Body::Omitted(_))
            || response.body.length() == Some(0);
        let tells = self.table == Table::ToBeTold;
        if tells {
            self.table = Table::Forgone;
        }
        let (heads, date) = (self.heads, (&self.context.clock, &*self.context.date));
        heads::frames(&mut self.kit.out, stream, ends, |out| {
            if tells {
                // A size of 0. RFC 7541 §6.3.
                out.push(0x20);
            }
            heads.append(out, &response, to_head, date);
        });
        let Response { status, extra, lines, mut body, outcome, .. } = response;
        self.kit.keep_spare(extra);
        let mut sent = 0;
        let left = if ends {
            self.budget.answered();
            None
        } else if let (Body::Tunnel(_), Some(upload)) = (&body, upload)
            && let Body::Tunnel(tunnel) = std::mem::replace(&mut body, Body::None)
        {
            Some(Outgoing::through(Carrier::new(*tunnel, upload)))
        } else {
            let room = (*window).min(self.windows.send).min(H2_DATA_BYTES_MAX);
            let mut pipe =
                Pipe { out: &mut self.kit.out, window: &mut self.windows.send, budget: &mut self.budget };
            match (&body, &lines) {
                // All of it lies behind the lines.
                (Body::Stored(stored), Lines::Stored(_))
                    if stored.is_inline() && fits(stored.body_len(), room) =>
                {
                    let behind = stored.lines().len() + 2;
                    let bytes = stored.lines_and_inline_body().get(behind..).unwrap_or_default();
                    sent = bytes.len() as u64;
                    pipe.frame(stream, window, bytes, true);
                    None
                }
                _ => {
                    let mut left = Outgoing::of(status, body, to_head);
                    if let Some(body) = &mut left
                        && body.is_here()
                        && body.length().is_some_and(|length| fits(length, room))
                    {
                        loop {
                            match body.step(stream, window, None, &mut pipe) {
                                Step::Sent(bytes) => sent += u64::from(bytes),
                                Step::Ended(bytes) => {
                                    sent += u64::from(bytes);
                                    left = None;
                                    break;
                                }
                                // What is wrong shows again in its turn.
                                _ => break,
                            }
                        }
                    }
                    left
                }
            }
        };
        if let Some(exchange) = exchange {
            exchange.status = status.as_u16();
            exchange.outcome = outcome;
            exchange.body_bytes = sent;
        }
        left
    }

    /// Looks whether a stream's answer has come, and begins to send it.
    pub(super) fn look_for_answer(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let Sending::Awaiting(future) = &mut stream.sending else { return };
        let polled = poll(future, &stream.waker);
        let response = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(response)) => response,
            Err(()) => {
                count(&self.stats.panics);
                return self.cut(id);
            }
        };
        // Out of the table while it is rendered: rendering needs the rest of the connection.
        let Some(mut stream) = self.streams.remove(id) else { return };
        let to_head =
            stream.exchange.as_ref().is_some_and(|exchange| exchange.request.method == Method::HEAD);
        let mut window = stream.window;
        let response = as_asked(stream.exchange.as_ref(), response);
        let upload = stream.receiving.as_mut().and_then(|receiving| receiving.upload.take());
        match self.render(id, &mut window, to_head, response, stream.exchange.as_mut(), upload) {
            None => self.over(id, stream.exchange, stream.receiving),
            Some(body) => {
                stream.window = window;
                let is_tunnel = body.is_tunnel();
                stream.sending = Sending::Body(body);
                self.streams.insert(id, stream);
                if is_tunnel {
                    self.begin_tunnel(id);
                }
            }
        }
    }

    /// Resets a stream that we cannot bring to its end.
    pub(super) fn cut(&mut self, id: u32) {
        let stream = self.streams.remove(id);
        // RFC 8441 §5: as a connection that is reset.
        let is_tunnel = stream.as_ref().is_some_and(|stream| stream.is_tunnel());
        frame::reset(&mut self.kit.out, id, if is_tunnel { Code::Cancel } else { Code::InternalError });
        self.streams.ignore(id);
        if let Some(stream) = stream {
            self.abandon(*stream);
        }
    }
}

/// An answer as its request can be given it.
fn as_asked(exchange: Option<&Exchange>, response: Response) -> Response {
    match exchange {
        Some(exchange) if exchange.request.upgrade == Upgrade::Stream => tunnel::answered(response),
        _ => response,
    }
}

/// An error if it panicked.
fn poll(future: &mut Answering, waker: &StreamWaker) -> Result<Poll<Response>, ()> {
    let mut cx = Context::from_waker(waker.arm());
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
    polled.map(|polled| polled.map(|response| *response)).map_err(drop)
}

fn fits(length: u64, room: i64) -> bool {
    u64::try_from(room).is_ok_and(|room| length <= room)
}
