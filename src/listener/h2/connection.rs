//! The state of one connection, and what each frame of the client's does to it.
//!
//! Sans I/O: [`Connection::receive`] takes frames from the input, answers what can be answered at once and appends frames to the
//! output; `answer.rs` turns requests into answers, `send.rs` sends bodies and ends streams, `turn.rs` reads and writes.
//!
//! Invariant: what is appended to the output is whole frames in an order that the standard allows, so a GOAWAY may follow at any
//! moment. An error of the client's becomes an error of its stream where the connection's state is still known, else of
//! the connection. RFC 9113 §3.4, §5, §6.

use std::rc::Rc;
use std::sync::Arc;

use cache_store::timestamp::Timestamp;

use super::frame::{
    self, ACK, CONTINUATION, Code, FrameHead, GOAWAY, HEADERS, PING, PRIORITISED, RST_STREAM, SETTINGS,
    SETTINGS_ENABLE_CONNECT_PROTOCOL, SETTINGS_ENABLE_PUSH, SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE, SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_MAX_FRAME_SIZE,
    SETTINGS_MAX_HEADER_LIST_SIZE, STREAM_MAX, WINDOW_UPDATE,
};
use super::head;
use super::heads::Heads;
use super::hpack::Decoder;
use super::inbound::{Event, Inbound};
use super::kit::{Kit, Kits};
use super::stream::{Sending, Streams};
use super::wake::Woken;
use crate::config::limits::{
    GATHER_BYTES_MAX, H2_BLOCK_BYTES_MAX, H2_CONNECTION_WINDOW_BYTES, H2_HEADER_LIST_BYTES_MAX,
    H2_LAST_REQUESTS, H2_STREAM_WINDOW_BYTES, H2_STREAMS_MAX, H2_TABLE_BYTES,
};
use crate::listener::budget::Budget;
use crate::listener::h1::ConnectionContext;
use crate::listener::service::Service;
use crate::listener::stats::ListenerStats;
use crate::listener::trailers::Trailers;

/// A connection.
pub(super) struct Connection<'s, S: Service> {
    pub(super) service: &'s S,
    pub(super) context: ConnectionContext,
    pub(super) stats: &'s Arc<ListenerStats>,
    pub(super) heads: &'s Heads,
    pub(super) kits: &'s Rc<Kits>,
    pub(super) kit: Kit,
    /// The kit is one; else it was given back.
    pub(super) has_kit: bool,
    pub(super) inbound: Inbound,
    pub(super) decoder: Decoder,
    /// A header block whose end has not come.
    pub(super) block: Option<Block>,
    pub(super) budget: Budget,
    pub(super) streams: Streams,
    pub(super) woken: Woken,
    /// The highest stream of the client's so far.
    pub(super) last_stream: u32,
    /// Requests begun.
    pub(super) requests: u64,
    /// Bytes of heads held by requests under way.
    pub(super) held_bytes: usize,
    pub(super) windows: Windows,
    /// Our SETTINGS have not been acknowledged.
    pub(super) settings_open: bool,
    /// The client's decoder may have a smaller table than we are taken to use: to be told with the next block.
    pub(super) table: Table,
    pub(super) leaving: Leaving,
    /// The client has said GOAWAY.
    pub(super) client_leaves: bool,
    /// The time of this turn.
    pub(super) now: Timestamp,
    pub(super) now_micros: u64,
    /// Since when a header block is incomplete.
    pub(super) head_since: Option<Timestamp>,
    pub(super) written: Written,
    /// Tunnels are ended then.
    pub(super) tunnels_until: Option<Timestamp>,
}

/// How far the output is written.
#[derive(Default)]
pub(super) struct Written {
    /// Bytes of it.
    pub(super) bytes: usize,
    /// Bytes of all output before it.
    pub(super) before: u64,
    /// Written, but perhaps kept back by TLS.
    pub(super) unflushed: bool,
    /// Since when the socket has not taken a byte.
    pub(super) stuck_since: Option<Timestamp>,
}

/// A header block that comes in several frames.
pub(super) struct Block {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
}

/// Flow control of the connection as a whole. RFC 9113 §5.2.
pub(super) struct Windows {
    /// What the client lets us send.
    pub(super) send: i64,
    /// What it lets a new stream send.
    pub(super) send_initial: i64,
    /// What it may send.
    pub(super) receive: i64,
    /// Taken from `receive`, and free again without its knowledge.
    pub(super) owed: u32,
}

/// What the client knows of the table that we never use. RFC 7541 §4.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    /// It is as large as any.
    Default,
    /// The next block must begin with its new size.
    ToBeTold,
    /// It is empty.
    Forgone,
}

/// How far our leaving is. RFC 9113 §6.8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaving {
    No,
    /// The client was told to open no more streams, and asked to say when it has heard; requests beyond this number are
    /// not waited for.
    Told {
        requests_max: u64,
    },
    /// Later streams are ignored.
    Last,
}

impl<'s, S: Service> Connection<'s, S> {
    /// A connection that begins now, with what we say first in its output.
    pub(super) fn new(
        service: &'s S,
        context: ConnectionContext,
        stats: &'s Arc<ListenerStats>,
        (heads, kits): (&'s Heads, &'s Rc<Kits>),
    ) -> Self {
        let now = context.clock.now();
        let mut kit = kits.take();
        frame::settings(
            &mut kit.out,
            &[
                (SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX),
                (SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW_BYTES),
                (SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADER_LIST_BYTES_MAX),
                (SETTINGS_ENABLE_CONNECT_PROTOCOL, 1),
            ],
        );
        frame::window_update(&mut kit.out, 0, H2_CONNECTION_WINDOW_BYTES.saturating_sub(WINDOW_DEFAULT));
        Self {
            service,
            stats,
            heads,
            kits,
            kit,
            has_kit: true,
            inbound: Inbound::Preface,
            decoder: Decoder::default(),
            block: None,
            budget: Budget::new(now),
            streams: Streams::default(),
            woken: Woken::default(),
            last_stream: 0,
            requests: 0,
            held_bytes: 0,
            windows: Windows {
                send: i64::from(WINDOW_DEFAULT),
                send_initial: i64::from(WINDOW_DEFAULT),
                receive: i64::from(H2_CONNECTION_WINDOW_BYTES),
                owed: 0,
            },
            settings_open: true,
            table: Table::Default,
            leaving: Leaving::No,
            client_leaves: false,
            now,
            now_micros: context.clock.micros(),
            head_since: None,
            written: Written::default(),
            tunnels_until: None,
            context,
        }
    }

    /// Takes frames from the input while there is room for what they cause.
    ///
    /// # Errors
    /// The connection must end with this code.
    pub(super) fn receive(&mut self) -> Result<(), Code> {
        let mut input = std::mem::take(&mut self.kit.input);
        let mut rest = input.unread();
        let received = rest.len();
        let outcome = loop {
            if self.unwritten() >= GATHER_BYTES_MAX || self.budget.is_overspent() {
                break Ok(());
            }
            match self.inbound.next(&mut rest) {
                Ok(Some(event)) => {
                    if let Err(code) = self.event(event) {
                        break Err(code);
                    }
                }
                Ok(None) => break Ok(()),
                Err(code) => break Err(code),
            }
        };
        let (begun, whole) = self.inbound.waits_for(rest);
        // One that is all here waits for us, not for the client.
        let begun = begun && rest.len() < whole;
        let taken = received - rest.len();
        input.take(taken);
        self.kit.input = input;
        if begun || self.block.is_some() {
            self.head_since = self.head_since.or(Some(self.now));
        } else {
            self.head_since = None;
        }
        outcome
    }

    /// Bytes that are to be written.
    #[inline]
    pub(super) fn unwritten(&self) -> usize {
        self.kit.out.len() - self.written.bytes
    }

    #[inline]
    fn event(&mut self, event: Event<'_>) -> Result<(), Code> {
        if let Some(block) = &self.block {
            // RFC 9113 §6.10: a header block is not interrupted.
            match event {
                Event::Frame(head, _) if head.kind == CONTINUATION && head.stream == block.stream => {}
                _ => return Err(Code::ProtocolError),
            }
        }
        match event {
            Event::Frame(head, payload) => self.frame(head, payload),
            Event::Data(head, padding) => self.data(head, padding),
            Event::Piece(stream, bytes) => {
                self.data_piece(stream, bytes);
                Ok(())
            }
            Event::DataEnds(stream) => {
                self.data_ends(stream);
                Ok(())
            }
            Event::Skipped(head) => {
                self.budget.idle_frame(head.length);
                self.client_leaves |= head.kind == GOAWAY;
                Ok(())
            }
        }
    }

    #[inline]
    fn frame(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Code> {
        match head.kind {
            HEADERS => {
                self.budget.frame();
                let fragment = fragment(head, payload)?;
                if head.ends_headers() {
                    return self.block(head.stream, head.ends_stream(), fragment);
                }
                let block =
                    Block { stream: head.stream, ends_stream: head.ends_stream(), bytes: fragment.to_vec() };
                self.block = Some(block);
                Ok(())
            }
            CONTINUATION => self.continuation(head, payload),
            RST_STREAM => self.client_reset(head.stream),
            WINDOW_UPDATE => self.window_update(head.stream, word(payload) & STREAM_MAX),
            SETTINGS => self.settings(head, payload),
            PING => {
                self.ping(head, payload);
                Ok(())
            }
            // PRIORITY, which RFC 9113 §5.3.2 has put out of use.
            _ => {
                self.budget.idle_frame(head.length);
                Ok(())
            }
        }
    }

    fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Code> {
        self.budget.frame();
        let mut block = self.block.take().ok_or(Code::ProtocolError)?;
        if block.bytes.len() + payload.len() > H2_BLOCK_BYTES_MAX {
            return Err(Code::EnhanceYourCalm);
        }
        block.bytes.extend_from_slice(payload);
        if head.ends_headers() {
            return self.block(block.stream, block.ends_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A header block is whole: a request, or the trailers of one. RFC 9113 §5.1.1, §8.1.
    #[inline]
    fn block(&mut self, stream: u32, ends: bool, block: &[u8]) -> Result<(), Code> {
        // The next one has its own time.
        self.head_since = None;
        if stream.is_multiple_of(2) {
            return Err(Code::ProtocolError);
        }
        if stream > self.last_stream {
            if self.leaving == Leaving::Last {
                // RFC 9113 §6.8: ignored, and all that follows on it, but for what it does to the table.
                self.streams.ignore(stream);
                return head::trailers(&mut self.decoder, block, None).map(drop);
            }
            self.last_stream = stream;
            return self.request(stream, ends, block);
        }
        let Some(known) = self.streams.get_mut(stream) else {
            if !self.streams.is_ignored(stream) {
                let closed = stream == self.last_stream;
                return Err(if closed { Code::StreamClosed } else { Code::ProtocolError });
            }
            return head::trailers(&mut self.decoder, block, None).map(drop);
        };
        let receiving = known.receiving.as_ref().is_some_and(|receiving| !receiving.ended);
        // RFC 9113 §8.5: nothing but DATA.
        let is_tunnel = known.receiving.as_ref().is_some_and(|receiving| receiving.is_tunnel);
        let asked = known.exchange.as_ref().filter(|_| receiving).map(|exchange| &exchange.request.fields);
        let mut kept = asked.is_some_and(Trailers::wanted).then(Box::<Trailers>::default);
        let good = head::trailers(&mut self.decoder, block, kept.as_deref_mut())?;
        if !receiving {
            self.reset_for_error(stream, Code::StreamClosed);
        } else if !ends || !good || is_tunnel {
            self.reset_for_error(stream, Code::ProtocolError);
        } else {
            self.body_ends(stream, kept.filter(|trailers| !trailers.is_empty()));
        }
        Ok(())
    }

    /// RFC 9113 §6.4.
    fn client_reset(&mut self, stream: u32) -> Result<(), Code> {
        self.budget.frame();
        if self.is_idle_stream(stream) {
            return Err(Code::ProtocolError);
        }
        match self.streams.remove(stream) {
            Some(stream) => {
                if matches!(stream.sending, Sending::Awaiting(_)) {
                    self.budget.wait_thrown_away();
                }
                self.abandon(*stream);
            }
            None if self.streams.is_ignored(stream) => {}
            None => self.budget.answer_thrown_away(),
        }
        Ok(())
    }

    /// RFC 9113 §6.9.
    fn window_update(&mut self, stream: u32, by: u32) -> Result<(), Code> {
        self.budget.idle_frame(0);
        if by == 0 {
            return Err(Code::ProtocolError);
        }
        if stream == 0 {
            self.windows.send += i64::from(by);
            let fits = self.windows.send <= i64::from(STREAM_MAX);
            return if fits { Ok(()) } else { Err(Code::FlowControlError) };
        }
        if self.is_idle_stream(stream) {
            return Err(Code::ProtocolError);
        }
        if let Some(known) = self.streams.get_mut(stream) {
            known.window += i64::from(by);
            if known.window > i64::from(STREAM_MAX) {
                self.reset_for_error(stream, Code::FlowControlError);
            }
        }
        Ok(())
    }

    /// RFC 9113 §6.5, §6.9.2.
    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Code> {
        self.budget.idle_frame(head.length);
        if head.is_ack() {
            let expected = std::mem::replace(&mut self.settings_open, false);
            return if expected { Ok(()) } else { Err(Code::ProtocolError) };
        }
        for setting in payload.chunks_exact(6) {
            let (id, value) = setting.split_at(2);
            let id = id.iter().fold(0, |id, byte| id << 8 | u16::from(*byte));
            let value = word(value);
            match id {
                SETTINGS_HEADER_TABLE_SIZE
                    if (value as usize) < H2_TABLE_BYTES && self.table == Table::Default =>
                {
                    self.table = Table::ToBeTold;
                }
                SETTINGS_ENABLE_PUSH if value > 1 => return Err(Code::ProtocolError),
                SETTINGS_INITIAL_WINDOW_SIZE if value > STREAM_MAX => return Err(Code::FlowControlError),
                SETTINGS_INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.windows.send_initial;
                    self.windows.send_initial = i64::from(value);
                    for stream in self.streams.iter_mut() {
                        stream.window += change;
                        if stream.window > i64::from(STREAM_MAX) {
                            return Err(Code::FlowControlError);
                        }
                    }
                }
                SETTINGS_MAX_FRAME_SIZE if !(frame::PAYLOAD_BYTES_MAX..1 << 24).contains(&value) => {
                    return Err(Code::ProtocolError);
                }
                // We push nothing, send the shortest frames that all must take, and heads as they are.
                _ => {}
            }
        }
        frame::append(&mut self.kit.out, SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    /// RFC 9113 §6.7.
    fn ping(&mut self, head: FrameHead, payload: &[u8]) {
        self.budget.idle_frame(head.length);
        if !head.is_ack() {
            frame::append(&mut self.kit.out, PING, ACK, 0, payload);
        } else if payload == LAST_CALL && matches!(self.leaving, Leaving::Told { .. }) {
            self.last_call();
        }
    }

    /// Tells the client to open no more streams, and lets those that it has opened end. RFC 9113 §6.8.
    pub(super) fn leave(&mut self) {
        frame::goaway(&mut self.kit.out, STREAM_MAX, Code::NoError);
        frame::append(&mut self.kit.out, PING, 0, 0, LAST_CALL);
        self.leaving = Leaving::Told { requests_max: self.requests + H2_LAST_REQUESTS };
    }

    /// The client has heard it: whatever it opens from here on is ignored.
    pub(super) fn last_call(&mut self) {
        frame::goaway(&mut self.kit.out, self.last_stream, Code::NoError);
        self.leaving = Leaving::Last;
    }

    /// Whether the client has never opened it.
    pub(super) fn is_idle_stream(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || (stream > self.last_stream && !self.streams.is_ignored(stream))
    }
}

/// The part of a HEADERS frame that is of the header block. RFC 9113 §6.2.
fn fragment(head: FrameHead, payload: &[u8]) -> Result<&[u8], Code> {
    let mut fragment = payload;
    if head.is_padded() {
        let (padding, rest) = fragment.split_first().ok_or(Code::FrameSizeError)?;
        let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Code::ProtocolError)?;
        fragment = rest.get(..length).unwrap_or_default();
    }
    if head.flags & PRIORITISED != 0 {
        fragment = fragment.get(PRIORITY_BYTES..).ok_or(Code::FrameSizeError)?;
    }
    Ok(fragment)
}

/// The first four bytes as a number.
fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Windows before anyone said anything. RFC 9113 §6.9.2.
const WINDOW_DEFAULT: u32 = 65_535;
/// What HEADERS may say about priority.
const PRIORITY_BYTES: usize = 5;
/// Asks a client whether it has heard our GOAWAY.
const LAST_CALL: &[u8; 8] = b"lastcall";
