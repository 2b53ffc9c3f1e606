//! What streams send and receive beyond their first turn: bodies in both directions, and how streams end.
//!
//! Bodies of answers take turns by frames, so a large one holds up no small one; windows of request bodies open as those
//! are pulled. RFC 9113 §5.1, §5.2, §6.1, §6.9, §8.1.

use super::body::{Pipe, Step};
use super::connection::Connection;
use super::frame::{self, Code, FrameHead};
use super::stream::{Exchange, Receiving, Sending, Stream};
use crate::config::limits::{GATHER_BYTES_MAX, H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES};
use crate::listener::service::{Finished, Service};
use crate::listener::stats::count;
use crate::listener::trailers::Trailers;

impl<S: Service> Connection<'_, S> {
    /// Goes on with the streams that were woken.
    pub(super) fn go_on(&mut self) {
        let mut woken = std::mem::take(&mut self.kit.woken);
        self.woken.take(&mut woken);
        for id in woken.drain(..) {
            self.open_windows(id);
            match self.streams.get_mut(id).map(|stream| &mut stream.sending) {
                Some(Sending::Awaiting(_)) => self.look_for_answer(id),
                Some(Sending::Body(body)) => {
                    body.waits = false;
                    if body.is_tunnel() {
                        self.carry(id);
                    }
                }
                Some(Sending::Tail(_)) => self.carry(id),
                None => {}
            }
        }
        self.kit.woken = woken;
    }

    /// Sends of bodies what is here and may be sent, while there is room in the output; true if it was room that ended it.
    pub(super) fn pump(&mut self) -> bool {
        let mut idle = 0;
        while idle < self.streams.len() {
            if self.unwritten() >= GATHER_BYTES_MAX {
                return true;
            }
            let Some((id, stream)) = self.streams.next() else { break };
            let Sending::Body(body) = &mut stream.sending else {
                idle += 1;
                continue;
            };
            if body.waits {
                idle += 1;
                continue;
            }
            let mut pipe =
                Pipe { out: &mut self.kit.out, window: &mut self.windows.send, budget: &mut self.budget };
            let step = body.step(id, &mut stream.window, Some(&stream.waker), &mut pipe);
            match step {
                Step::Sent(bytes) | Step::Ended(bytes) => {
                    stream.blocked_since = None;
                    if let Some(exchange) = &mut stream.exchange {
                        exchange.body_bytes += u64::from(bytes);
                    }
                    idle = 0;
                    if let Step::Ended(_) = step {
                        if let Some(carrier) = body.take_tail() {
                            stream.sending = Sending::Tail(carrier);
                        } else if let Some(stream) = self.streams.remove(id) {
                            self.over(id, stream.exchange, stream.receiving);
                        }
                    }
                }
                Step::Blocked => {
                    if stream.blocked_since.is_none() {
                        stream.blocked_since = Some(self.now);
                        // It may stand for long, and there may be many of it.
                        if let Some(exchange) = &mut stream.exchange {
                            let (index, less_bytes) = exchange.shed();
                            self.kit.keep_index(index);
                            self.held_bytes = self.held_bytes.saturating_sub(less_bytes);
                        }
                    }
                    idle += 1;
                }
                Step::Waits => {
                    stream.blocked_since = None;
                    idle += 1;
                }
                // Another stream stands in its place now.
                Step::Cut => {
                    idle = 0;
                    self.cut(id);
                }
                Step::Panicked => {
                    idle = 0;
                    count(&self.stats.panics);
                    self.cut(id);
                }
            }
        }
        false
    }

    /// An answer has been rendered to its end.
    #[inline]
    pub(super) fn over(&mut self, id: u32, exchange: Option<Exchange>, receiving: Option<Receiving>) {
        if let Some(receiving) = receiving {
            self.owe(receiving.unpulled);
            if !receiving.ended {
                // The rest of the body is not wanted. RFC 9113 §8.1.
                self.reset(id, Code::NoError);
            }
        }
        if let Some(mut exchange) = exchange {
            exchange.complete = true;
            exchange.ends_at = self.written.before + self.kit.out.len() as u64;
            self.kit.unfinished.push_back(exchange);
        }
    }

    /// A stream has ended before its answer did.
    pub(super) fn abandon(&mut self, stream: Stream) {
        if let Some(receiving) = &stream.receiving {
            self.owe(receiving.unpulled);
        }
        if let Some(exchange) = stream.exchange {
            self.report(exchange, false);
        }
    }

    /// Reports a request. `complete` if all of its answer was written, supposing that it was rendered whole.
    pub(super) fn report(&mut self, exchange: Exchange, complete: bool) {
        self.held_bytes = self.held_bytes.saturating_sub(exchange.held_bytes);
        let finished = Finished {
            status: exchange.status,
            body_bytes: exchange.body_bytes,
            duration_micros: self.now_micros.saturating_sub(exchange.request.received_micros),
            complete: complete && exchange.complete,
            outcome: &exchange.outcome,
        };
        self.service.finished(&exchange.request, &finished);
        self.kit.keep_index(exchange.request.fields.into_index());
    }

    /// Resets a stream for an error of the client's.
    pub(super) fn reset_for_error(&mut self, id: u32, code: Code) {
        self.budget.error_reset();
        self.reset(id, code);
    }

    /// Resets a stream; what the client has sent for it before it knows is ignored.
    pub(super) fn reset(&mut self, id: u32, code: Code) {
        frame::reset(&mut self.kit.out, id, code);
        self.streams.ignore(id);
        if let Some(stream) = self.streams.remove(id) {
            self.abandon(*stream);
        }
    }

    /// A DATA frame begins.
    pub(super) fn data(&mut self, head: FrameHead, padding: u32) -> Result<(), Code> {
        if self.is_idle_stream(head.stream) {
            return Err(Code::ProtocolError);
        }
        self.windows.receive -= i64::from(head.length);
        if self.windows.receive < 0 {
            return Err(Code::FlowControlError);
        }
        // Padding counts against the windows, and is nobody's to pull.
        self.owe(padding);
        let body = head.length - padding;
        if body == 0 && !head.ends_stream() {
            self.budget.idle_frame(head.length);
        }
        let Some(stream) = self.streams.get_mut(head.stream) else {
            let ignored = self.streams.is_ignored(head.stream);
            // A client is entitled to what is in flight when we reset its stream; a frame still costs what a frame costs.
            self.budget.idle_frame(if ignored { 0 } else { head.length });
            return if ignored { Ok(()) } else { Err(Code::StreamClosed) };
        };
        let Some(receiving) = stream.receiving.as_mut().filter(|receiving| !receiving.ended) else {
            self.budget.idle_frame(head.length);
            self.reset_for_error(head.stream, Code::StreamClosed);
            return Ok(());
        };
        receiving.bytes += u64::from(head.length);
        receiving.window -= i64::from(head.length);
        receiving.owed += padding;
        let fits = match &mut receiving.left {
            Some(left) => {
                let rest = left.checked_sub(u64::from(body));
                *left = rest.unwrap_or_default();
                rest.is_some()
            }
            None => true,
        };
        if receiving.window < 0 {
            self.reset_for_error(head.stream, Code::FlowControlError);
        } else if !fits {
            self.reset_for_error(head.stream, Code::ProtocolError);
        } else if padding > 0 {
            self.open_windows(head.stream);
        }
        Ok(())
    }

    /// Bytes of a DATA frame's body.
    pub(super) fn data_piece(&mut self, id: u32, bytes: &[u8]) {
        // No longer than a frame.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Some(receiving) = self.streams.get_mut(id).and_then(|stream| stream.receiving.as_mut())
            && receiving.inlet.push(bytes)
        {
            receiving.unpulled += length;
            return;
        }
        self.owe(length);
    }

    /// The client has sent all of a body. RFC 9113 §8.1.1: it must be as long as it said.
    pub(super) fn data_ends(&mut self, id: u32) {
        self.body_ends(id, None);
    }

    /// The same, with what follows it.
    pub(super) fn body_ends(&mut self, id: u32, trailers: Option<Box<Trailers>>) {
        let Some(receiving) = self.streams.get_mut(id).and_then(|stream| stream.receiving.as_mut()) else {
            return;
        };
        if receiving.left.is_some_and(|left| left > 0) {
            return self.reset_for_error(id, Code::ProtocolError);
        }
        receiving.ended = true;
        receiving.inlet.end(trailers);
    }

    /// Opens the windows by what was pulled of a stream's body.
    fn open_windows(&mut self, id: u32) {
        let Some(receiving) = self.streams.get_mut(id).and_then(|stream| stream.receiving.as_mut()) else {
            return;
        };
        let pulled = receiving.inlet.take_pulled();
        receiving.unpulled = receiving.unpulled.saturating_sub(pulled);
        receiving.owed = receiving.owed.saturating_add(pulled);
        if !receiving.ended && receiving.owed >= H2_STREAM_WINDOW_BYTES / 2 {
            if receiving.window <= 0 {
                // It could not send until now.
                receiving.since = self.now;
                receiving.bytes = 0;
            }
            receiving.window += i64::from(receiving.owed);
            let owed = std::mem::take(&mut receiving.owed);
            frame::window_update(&mut self.kit.out, id, owed);
        }
        self.owe(pulled);
    }

    /// So many bytes of the connection's window are free again.
    fn owe(&mut self, bytes: u32) {
        self.windows.owed = self.windows.owed.saturating_add(bytes);
        if self.windows.owed >= H2_CONNECTION_WINDOW_BYTES / 4 {
            self.windows.receive += i64::from(self.windows.owed);
            let owed = std::mem::take(&mut self.windows.owed);
            frame::window_update(&mut self.kit.out, 0, owed);
        }
    }
}

impl<S: Service> Drop for Connection<'_, S> {
    /// The connection is over: what was not reported is reported.
    fn drop(&mut self) {
        self.now_micros = self.context.clock.micros();
        for stream in self.streams.drain().collect::<Vec<_>>() {
            self.abandon(*stream);
        }
        while let Some(exchange) = self.kit.unfinished.pop_front() {
            self.report(exchange, false);
        }
    }
}
