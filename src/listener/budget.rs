//! What an HTTP/2 connection may cost, kept as a ledger of the frames that pass.
//!
//! h2 answers PING, SETTINGS, PRIORITY, window updates and unknown frames for as long as they come, and waits for windows
//! for as long as a client likes (FAULTS §1.2). So the bytes of both directions are followed here, sans I/O:
//!
//! - **Credit.** Frames that bring nothing forward cost credit; answers that end, body bytes sent and passing
//!   time give some back. A connection without credit is closed with `ENHANCE_YOUR_CALM`. Honest clients
//!   pay a few frames an answer and earn more than that.
//! - **Windows.** Send windows are followed by stream, so a client that takes no bytes is told from an origin that
//!   brings none, and a slow upload from an origin that reads slowly.
//!
//! Called by `h2/pipe.rs` with every piece read or written; `h2/mod.rs` asks [`Budget::is_overspent`] after each turn
//! and [`Budget::late`] when a deadline passed. Invariant: nothing here grows beyond the frames of one read.
//! RFC 9113 §5.2, §6.9, §10.5; CVE-2019-9511 … 9518, CVE-2023-44487, CVE-2024-27316.

use cache_store::timestamp::Timestamp;

use super::deadline::Phase;
use super::h2::frames::{
    CONTINUATION, DATA, FrameHead, FrameScanner, HEADERS, PADDED, RST_STREAM, Seen, goaway,
};
use crate::config::limits::{
    H2_ANSWER_CREDIT, H2_COST_BYTES, H2_CREDIT, H2_CREDIT_PER_SECOND, H2_SENT_BYTES_PER_CREDIT, Limits,
};

/// The ledger of one connection.
#[derive(Debug)]
pub(crate) struct Budget {
    inbound: FrameScanner,
    outbound: FrameScanner,
    ledger: Ledger,
}

#[derive(Debug)]
struct Ledger {
    credit: u32,
    overspent: bool,
    /// Our last frame has been made.
    over: bool,
    refilled_at: Timestamp,
    /// Body bytes sent that have not yet made a whole credit.
    sent_bytes: u32,
    /// Streams that have begun and whose answer has not ended, in the order in which they began.
    streams: Vec<Stream>,
    last_stream: u32,
    /// When the header block began that is being received.
    head_since: Option<Timestamp>,
    /// Windows of the connection as a whole.
    send: Window,
    receive_window: i64,
    /// Windows that a new stream starts with.
    send_window_initial: i64,
    receive_window_initial: i64,
}

/// A window that the client opens for us.
#[derive(Clone, Copy, Debug)]
struct Window {
    left: i64,
    /// Since when it is shut while we had something to send.
    shut_since: Option<Timestamp>,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    opened: Timestamp,
    answering: bool,
    send: Window,
    /// Whether request body bytes are still to come.
    receiving: bool,
    receive_window: i64,
    received_bytes: u64,
    received_since: Timestamp,
}

impl Budget {
    /// For a connection that begins now.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            inbound: FrameScanner::at_preface(),
            outbound: FrameScanner::new(),
            ledger: Ledger {
                credit: H2_CREDIT,
                overspent: false,
                over: false,
                refilled_at: now,
                sent_bytes: 0,
                streams: Vec::new(),
                last_stream: 0,
                head_since: None,
                send: Window { left: WINDOW_DEFAULT, shut_since: None },
                receive_window: WINDOW_DEFAULT,
                send_window_initial: WINDOW_DEFAULT,
                receive_window_initial: WINDOW_DEFAULT,
            },
        }
    }

    /// The client sent this.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Timestamp) {
        let Self { inbound, ledger, .. } = self;
        ledger.refill(now);
        inbound.feed(bytes, |seen| ledger.received(seen, now));
    }

    /// We sent this.
    pub(crate) fn sent(&mut self, bytes: &[u8], now: Timestamp) {
        let Self { outbound, ledger, .. } = self;
        outbound.feed(bytes, |seen| ledger.sent(seen, now));
    }

    /// Whether the connection has cost more than it earned; then nothing more of it should be read.
    pub(crate) fn is_overspent(&self) -> bool {
        self.ledger.overspent
    }

    /// Streams under way.
    pub(crate) fn streams(&self) -> usize {
        self.ledger.streams.len()
    }

    /// Whether a header block has begun and not ended.
    pub(crate) fn is_within_head(&self) -> bool {
        self.ledger.head_since.is_some()
    }

    /// The frame that ends the connection with `code`, once, if what was sent so far ends with a whole frame.
    pub(crate) fn take_goaway(&mut self, code: u32) -> Option<[u8; 17]> {
        let possible = self.outbound.is_between_frames() && !self.ledger.over;
        self.ledger.over = true;
        possible.then(|| goaway(self.ledger.last_stream, code))
    }

    /// What the client is too slow with at `now`, if anything. `sources_waiting` answers wait for an origin and
    /// excuse as many shut windows.
    pub(crate) fn late(&mut self, now: Timestamp, limits: &Limits, sources_waiting: usize) -> Option<Phase> {
        let passed =
            |since: Timestamp, limit: std::time::Duration| now.since(since) >= limit && !limit.is_zero();
        let ledger = &mut self.ledger;
        if ledger.head_since.is_some_and(|since| passed(since, limits.head_timeout)) {
            return Some(Phase::Head);
        }
        if ledger.streams.iter().any(|stream| passed(stream.opened, limits.total_timeout)) {
            return Some(Phase::Total);
        }
        let all_shut = ledger.send.shut_since.is_some_and(|since| passed(since, limits.send_stall_timeout));
        let stalled = ledger
            .streams
            .iter()
            .filter(|stream| stream.answering)
            .filter(|stream| {
                all_shut
                    || stream.send.shut_since.is_some_and(|since| passed(since, limits.send_stall_timeout))
            })
            .count();
        if stalled > sources_waiting {
            return Some(Phase::SendStall);
        }
        let open_for_all = ledger.receive_window > 0;
        for stream in &mut ledger.streams {
            if !stream.receiving || !passed(stream.received_since, limits.body_rate_window) {
                continue;
            }
            if open_for_all && stream.receive_window > 0 && stream.received_bytes < limits.body_rate_bytes_min
            {
                return Some(Phase::BodyRate);
            }
            stream.received_bytes = 0;
            stream.received_since = now;
        }
        None
    }
}

impl Ledger {
    fn received(&mut self, seen: Seen, now: Timestamp) {
        match seen {
            Seen::Begin(head) => self.frame_received(head, now),
            Seen::Unpadded(head, 0) if !head.ends_stream() => self.charge(cost(head)),
            Seen::Increment { stream: 0, by } => self.send.open(i64::from(by)),
            Seen::Increment { stream, by } => {
                if let Some(stream) = self.stream(stream) {
                    stream.send.open(i64::from(by));
                }
            }
            Seen::Setting { id: SETTINGS_INITIAL_WINDOW_SIZE, value } => {
                let change = i64::from(value) - self.send_window_initial;
                self.send_window_initial = i64::from(value);
                for stream in &mut self.streams {
                    stream.send.open(change);
                    if stream.answering {
                        stream.send.note_shut(now);
                    }
                }
            }
            Seen::End(head) if matches!(head.kind, HEADERS | CONTINUATION) && head.ends_headers() => {
                self.head_since = None;
            }
            _ => {}
        }
    }

    fn frame_received(&mut self, head: FrameHead, now: Timestamp) {
        match head.kind {
            HEADERS => {
                self.charge(1);
                self.head_since = self.head_since.or(Some(now));
                if head.stream > self.last_stream {
                    self.begin(head, now);
                } else if head.ends_stream()
                    && let Some(stream) = self.stream(head.stream)
                {
                    stream.receiving = false;
                }
            }
            DATA => self.data_received(head),
            RST_STREAM => {
                self.charge(1);
                self.end(head.stream);
            }
            CONTINUATION => self.charge(1),
            // SETTINGS, PING, PRIORITY, WINDOW_UPDATE, GOAWAY and what no one knows.
            _ => self.charge(cost(head)),
        }
    }

    fn data_received(&mut self, head: FrameHead) {
        let length = i64::from(head.length);
        self.receive_window -= length;
        let Some(stream) = self.stream(head.stream) else {
            // Behind the end of its stream.
            return self.charge(cost(head));
        };
        stream.receive_window -= length;
        stream.received_bytes += u64::from(head.length);
        if head.ends_stream() {
            stream.receiving = false;
        } else if head.length == 0 && head.flags & PADDED == 0 {
            self.charge(1);
        }
    }

    fn sent(&mut self, seen: Seen, now: Timestamp) {
        match seen {
            Seen::Begin(head) => match head.kind {
                HEADERS if head.ends_stream() => self.answered(head.stream),
                HEADERS => {
                    if let Some(stream) = self.stream(head.stream) {
                        stream.answering = true;
                        stream.send.note_shut(now);
                    }
                }
                DATA => self.data_sent(head, now),
                RST_STREAM => self.end(head.stream),
                _ => {}
            },
            Seen::Increment { stream: 0, by } => self.receive_window += i64::from(by),
            Seen::Increment { stream, by } => {
                if let Some(stream) = self.stream(stream) {
                    if stream.receive_window <= 0 {
                        // It could not send until now.
                        stream.received_since = now;
                        stream.received_bytes = 0;
                    }
                    stream.receive_window += i64::from(by);
                }
            }
            Seen::Setting { id: SETTINGS_INITIAL_WINDOW_SIZE, value } => {
                self.receive_window_initial = i64::from(value);
            }
            _ => {}
        }
    }

    fn data_sent(&mut self, head: FrameHead, now: Timestamp) {
        self.sent_bytes = self.sent_bytes.saturating_add(head.length);
        self.earn(self.sent_bytes / H2_SENT_BYTES_PER_CREDIT);
        self.sent_bytes %= H2_SENT_BYTES_PER_CREDIT;
        self.send.left -= i64::from(head.length);
        if head.ends_stream() {
            return self.answered(head.stream);
        }
        self.send.note_shut(now);
        if let Some(stream) = self.stream(head.stream) {
            stream.send.left -= i64::from(head.length);
            stream.send.note_shut(now);
        }
    }

    fn begin(&mut self, head: FrameHead, now: Timestamp) {
        self.last_stream = head.stream;
        self.streams.push(Stream {
            id: head.stream,
            opened: now,
            answering: false,
            send: Window { left: self.send_window_initial, shut_since: None },
            receiving: !head.ends_stream(),
            receive_window: self.receive_window_initial,
            received_bytes: 0,
            received_since: now,
        });
    }

    fn answered(&mut self, stream: u32) {
        self.end(stream);
        self.earn(H2_ANSWER_CREDIT);
    }

    fn end(&mut self, stream: u32) {
        if let Some(at) = self.streams.iter().position(|known| known.id == stream) {
            self.streams.swap_remove(at);
        }
        if self.streams.is_empty() {
            // Nobody waits for the connection's window any more.
            self.send.shut_since = None;
        }
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    fn charge(&mut self, cost: u32) {
        match self.credit.checked_sub(cost) {
            Some(left) => self.credit = left,
            None => self.overspent = true,
        }
    }

    fn earn(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(H2_CREDIT);
    }

    fn refill(&mut self, now: Timestamp) {
        let seconds = now.since(self.refilled_at).as_secs();
        if seconds > 0 {
            self.refilled_at = now;
            self.earn(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(H2_CREDIT_PER_SECOND));
        }
    }
}

impl Window {
    fn open(&mut self, by: i64) {
        self.left = self.left.saturating_add(by);
        if self.left > 0 {
            self.shut_since = None;
        }
    }

    fn note_shut(&mut self, now: Timestamp) {
        if self.left <= 0 {
            self.shut_since = self.shut_since.or(Some(now));
        }
    }
}

/// One for the frame, and more for a long payload.
const fn cost(head: FrameHead) -> u32 {
    1 + head.length / H2_COST_BYTES
}

/// `ENHANCE_YOUR_CALM`, RFC 9113 §7.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;
/// `NO_ERROR`.
pub(crate) const NO_ERROR: u32 = 0;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
const WINDOW_DEFAULT: i64 = 65_535;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::h2::frames::{END_HEADERS, END_STREAM, SETTINGS, WINDOW_UPDATE, frame};
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1000);

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn connection() -> Budget {
        let mut budget = Budget::new(START);
        budget.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", START);
        budget
    }

    fn request(stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, b"x")
    }

    fn upload(stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, stream, b"x")
    }

    fn head(stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, stream, b"x")
    }

    fn update(stream: u32, by: u32) -> Vec<u8> {
        frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
    }

    /// FAULTS B15: closed within 10 000 frames or 1 MB.
    #[test]
    fn every_kind_of_flood_ends_within_its_bound() {
        let padded = |length: usize| {
            let mut payload = vec![0; length];
            payload[0] = u8::try_from(length - 1).expect("short");
            frame(DATA, PADDED, 1, &payload)
        };
        let kinds: Vec<(&str, Vec<u8>)> = vec![
            ("PING", frame(6, 0, 0, &[0; 8])),
            ("PING acknowledged", frame(6, 1, 0, &[0; 8])),
            ("empty SETTINGS", frame(SETTINGS, 0, 0, &[])),
            ("long SETTINGS", frame(SETTINGS, 0, 0, &[0; 16_380])),
            ("SETTINGS acknowledged", frame(SETTINGS, 1, 0, &[])),
            ("PRIORITY", frame(2, 0, 1, &[0; 5])),
            ("WINDOW_UPDATE of the connection", update(0, 1)),
            ("WINDOW_UPDATE of a stream", update(1, 1)),
            ("WINDOW_UPDATE of a stream that is gone", update(99, 1)),
            ("WINDOW_UPDATE by nothing", update(1, 0)),
            ("unknown", frame(0xbe, 0, 0, &[])),
            ("long unknown", frame(0xbe, 0, 0, &[0; 16_384])),
            ("RST_STREAM of a stream that is gone", frame(RST_STREAM, 0, 99, &[0; 4])),
            ("CONTINUATION", frame(CONTINUATION, 0, 1, &[])),
            ("empty DATA", frame(DATA, 0, 1, &[])),
            ("padding only", padded(1)),
            ("long padding only", padded(200)),
            ("DATA behind the end of its stream", frame(DATA, 0, 99, b"x")),
            ("GOAWAY", frame(7, 0, 0, &[0; 8])),
        ];
        for (kind, bytes) in kinds {
            let mut budget = connection();
            budget.received(&upload(1), START);
            let mut frames = 0;
            while !budget.is_overspent() {
                budget.received(&bytes, START);
                frames += 1;
                assert!(frames <= 10_000 && frames * bytes.len() <= 1 << 20, "{kind}: {frames} frames");
            }
        }
    }

    #[test]
    fn streams_that_are_opened_and_reset_end_within_the_bound() {
        let mut budget = connection();
        let mut stream = 1;
        while !budget.is_overspent() {
            budget.received(&request(stream), START);
            budget.received(&frame(RST_STREAM, 0, stream, &[0; 4]), START);
            stream += 2;
            assert!(stream < 10_000);
        }
        assert_eq!(budget.streams(), 0, "nothing is kept of streams that are gone");
    }

    #[test]
    fn honest_clients_never_run_out() {
        // A browser: for each answer a priority, a reset now and then, a window update, a ping.
        let mut browser = connection();
        for stream in (1..200_000).step_by(2) {
            browser.received(&request(stream), START);
            browser.received(&frame(2, 0, stream, &[0; 5]), START);
            browser.received(&update(stream, 100), START);
            browser.received(&frame(6, 0, 0, &[0; 8]), START);
            browser.sent(&head(stream), START);
            browser.sent(&frame(DATA, END_STREAM, stream, b"body"), START);
        }
        assert!(!browser.is_overspent(), "a browser");
        // A download: two window updates for each 16 KiB.
        let mut download = connection();
        download.received(&request(1), START);
        download.sent(&head(1), START);
        for _ in 0..10_000 {
            download.sent(&frame(DATA, 0, 1, &[0; 16_384]), START);
            download.received(&update(0, 16_384), START);
            download.received(&update(1, 16_384), START);
        }
        assert!(!download.is_overspent(), "a download");
        // An upload in small frames.
        let mut uploading = connection();
        uploading.received(&upload(1), START);
        for _ in 0..100_000 {
            uploading.received(&frame(DATA, 0, 1, b"x"), START);
        }
        assert!(!uploading.is_overspent(), "an upload");
        // A ping a second for three hours, on a stream that waits.
        let mut pinging = connection();
        pinging.received(&request(1), START);
        for second in 0..10_800 {
            pinging.received(&frame(6, 0, 0, &[0; 8]), after(second));
        }
        assert!(!pinging.is_overspent(), "pings");
    }

    #[test]
    fn a_shut_window_is_late_and_an_open_one_is_not() {
        let limits = Limits::default();
        let shut = |budget: &mut Budget| {
            budget.received(&request(1), START);
            budget.sent(&head(1), START);
            for _ in 0..4 {
                budget.sent(&frame(DATA, 0, 1, &[0; 16_383]), START);
            }
            budget.sent(&frame(DATA, 0, 1, &[0; 3]), START);
        };
        let mut both = connection();
        shut(&mut both);
        assert_eq!(both.late(after(29), &limits, 0), None);
        assert_eq!(both.late(after(30), &limits, 0), Some(Phase::SendStall));
        assert_eq!(both.late(after(30), &limits, 1), None, "excused by a source that waits");

        let mut stream_only = connection();
        stream_only.received(&update(0, 1), START);
        shut(&mut stream_only);
        assert_eq!(stream_only.late(after(30), &limits, 0), Some(Phase::SendStall), "the stream's window");

        let mut connection_only = connection();
        connection_only.received(&request(1), START);
        connection_only.received(&update(1, 1), START);
        shut(&mut connection_only);
        assert_eq!(
            connection_only.late(after(30), &limits, 0),
            Some(Phase::SendStall),
            "the connection's window"
        );

        let mut opened = connection();
        shut(&mut opened);
        opened.received(&update(0, 10), after(20));
        opened.received(&update(1, 10), after(20));
        assert_eq!(opened.late(after(60), &limits, 0), None, "it is our turn to send");

        let mut by_settings = connection();
        by_settings.received(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), START);
        by_settings.received(&request(1), START);
        by_settings.sent(&head(1), START);
        assert_eq!(by_settings.late(after(30), &limits, 0), Some(Phase::SendStall), "an initial window of 0");
    }

    #[test]
    fn an_answer_that_ended_is_late_with_nothing() {
        let limits = Limits::default();
        let mut budget = connection();
        budget.received(&upload(1), START);
        budget.sent(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"x"), START);
        assert_eq!(budget.late(after(100_000), &limits, 0), None);
        assert_eq!(budget.streams(), 0);
    }

    #[test]
    fn a_request_that_outlasts_the_total_timeout_is_late() {
        let limits = Limits::default();
        let mut budget = connection();
        budget.received(&request(1), START);
        assert_eq!(budget.late(after(3599), &limits, 0), None);
        assert_eq!(budget.late(after(3600), &limits, 0), Some(Phase::Total));
    }

    #[test]
    fn an_upload_is_late_only_while_its_window_is_open() {
        let limits = Limits::default();
        let mut slow = connection();
        slow.received(&upload(1), START);
        assert_eq!(slow.late(after(10), &limits, 0), Some(Phase::BodyRate));

        let mut held_back = connection();
        held_back.received(&upload(1), START);
        for _ in 0..5 {
            held_back.received(&frame(DATA, 0, 1, &[0; 13_107]), START);
        }
        assert_eq!(held_back.late(after(10), &limits, 0), None, "fast enough so far");
        assert_eq!(held_back.late(after(20), &limits, 0), None, "we have opened no window");
        for stream in [0, 1] {
            held_back.sent(&update(stream, 65_535), after(25));
        }
        assert_eq!(held_back.late(after(34), &limits, 0), None, "counted from the opening");
        assert_eq!(held_back.late(after(35), &limits, 0), Some(Phase::BodyRate));
    }

    #[test]
    fn the_last_frame_is_made_once_and_only_between_frames() {
        let mut budget = connection();
        budget.received(&request(7), START);
        assert_eq!(budget.take_goaway(ENHANCE_YOUR_CALM), Some(goaway(7, ENHANCE_YOUR_CALM)));
        assert_eq!(budget.take_goaway(ENHANCE_YOUR_CALM), None);
        let mut within = connection();
        within.sent(&frame(DATA, 0, 1, b"body")[..10], START);
        assert_eq!(within.take_goaway(ENHANCE_YOUR_CALM), None);
    }
}
