//! The access log: one line a request, formatted where the request ended and written by one thread.
//!
//! Each worker owns a [`LogBuffer`] and appends finished text to its block; full blocks (64 KiB, or what a second
//! brought) go through a bounded queue to the writer. The line is formatted on the worker because that is the cheapest in
//! total CPU: a record for the writer to format would copy the same client bytes once more and hand over as much
//! memory as the text. Nothing is allocated for a request, and no clock is read: its end is known from the listener's
//! two readings, and the step from steady to wall time is taken once a second.
//!
//! ```text
//! worker: append … append → block full → try_send ─┬→ writer: write_all → block goes back to be filled
//!                                                  └ queue full: block dropped, its lines counted
//! ```
//!
//! What lines are written to is a [`Receiver`] (`receiver/`): a file, a stream, a syslog or journal socket.
//!
//! Invariant: a slow disk, receiver or reader of standard output never holds a worker; it costs lines, and they are counted.

mod receiver;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use self::receiver::Receiver;
use super::calendar::SecondText;
use super::errors::RecentErrors;
use super::id::{RequestId, Run};
use super::line::Line;
use super::tap::{Tap, Taps};
use super::watched::Watched;
use crate::clock::Clock;
use crate::config::limits::{LOG_BLOCK_BYTES, LOG_OPEN_TIMEOUT, LOG_QUEUE_BLOCKS};
use crate::config::log::Sample;
use crate::config::{Log, LogFormat, LogTarget};
use crate::listener::request::Request;
use crate::listener::service::Finished;

/// The process's access log. Cheap to clone; all clones are one log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What the numbers of traces begun here come from.
    run: Run,
    manner: Mutex<Manner>,
    /// How often that has changed: what workers look at when they hand lines over.
    version: AtomicU64,
    /// What the writer takes up before the next block, in place of what it writes to.
    next: Mutex<Option<Box<dyn Receiver>>>,
    taps: Taps,
    errors: RecentErrors,
    /// Buffers in use.
    buffers: AtomicU32,
    dropped_lines: AtomicU64,
    written_bytes: AtomicU64,
    reopen: AtomicBool,
    #[cfg(feature = "otlp")]
    exporter: Mutex<Option<super::otlp::Exporter>>,
    /// Spans that no receiver took.
    #[cfg(feature = "otlp")]
    lost_spans: Arc<AtomicU64>,
    /// Written blocks, empty again: so that memory is not allocated and faulted in anew for each.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// How lines are written, and where they go.
#[derive(Clone, Debug)]
struct Manner {
    log: Log,
    /// `None` when the log is off and nobody watches.
    queue: Option<SyncSender<Message>>,
    /// The log is not off.
    writes: bool,
    /// Somebody watches.
    watched: bool,
}

enum Message {
    Block {
        text: Vec<u8>,
        lines: u64,
        /// When the last of them ended.
        wall_millis: u64,
    },
    /// For who watches only.
    Watched { text: Vec<u8>, requests: u64 },
    /// Look at `reopen` and `next`.
    Look,
    /// Everything before this has been written when the sender of `done` is dropped.
    Finish { done: SyncSender<()> },
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub fn start(log: &Log, run: Run) -> io::Result<Self> {
        let writes = log.target != LogTarget::Off;
        let manner = Manner { log: log.clone(), queue: None, writes, watched: false };
        let shared = Arc::new(Shared {
            run,
            manner: Mutex::new(manner),
            version: AtomicU64::new(0),
            next: Mutex::default(),
            taps: Taps::default(),
            errors: RecentErrors::default(),
            buffers: AtomicU32::new(0),
            dropped_lines: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            #[cfg(feature = "otlp")]
            exporter: Mutex::default(),
            #[cfg(feature = "otlp")]
            lost_spans: Arc::default(),
            spare: Mutex::new(Vec::new()),
        });
        if let Some(sink) = open_within(log, LOG_OPEN_TIMEOUT)? {
            shared.manner.lock().queue = Some(start_writer(Arc::clone(&shared), sink)?);
        }
        let this = Self { shared };
        #[cfg(feature = "otlp")]
        this.export(None, log)?;
        Ok(this)
    }

    /// Sends spans to where the settings say from now on.
    #[cfg(feature = "otlp")]
    fn export(&self, before: Option<&str>, log: &Log) -> io::Result<()> {
        let to = log.trace.export.as_deref().filter(|_| log.trace.on);
        if to == before {
            return Ok(());
        }
        let exporter = match to.map(|at| Ok::<_, io::Error>((at, self.watch()?))).transpose()? {
            Some((at, Some(tap))) => {
                Some(super::otlp::Exporter::start(tap, at, Arc::clone(&self.shared.lost_spans))?)
            }
            // As many watch as may: nothing is sent.
            Some((_, None)) | None => None,
        };
        *self.shared.exporter.lock() = exporter;
        Ok(())
    }

    /// Spans lost because no receiver took them.
    #[cfg(feature = "otlp")]
    pub fn lost_spans(&self) -> u64 {
        self.shared.lost_spans.load(Ordering::Relaxed)
    }

    /// Goes on as these settings say; workers follow when they hand over what they have, so within `LOG_FLUSH_EVERY`.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started; then it goes on as before.
    pub fn change(&self, log: &Log) -> io::Result<()> {
        // Without the lock: it may take its time.
        let is_other = {
            let manner = self.shared.manner.lock();
            manner.log.target != log.target || manner.log.rotation != log.rotation
        };
        let opened = if is_other { open_within(log, LOG_OPEN_TIMEOUT)? } else { None };
        let mut manner = self.shared.manner.lock();
        if is_other {
            match (opened, &manner.queue) {
                // The writer ends with its last sender.
                (None, _) => manner.queue = None,
                (Some(sink), None) => manner.queue = Some(start_writer(Arc::clone(&self.shared), sink)?),
                (Some(sink), Some(queue)) => {
                    *self.shared.next.lock() = Some(sink);
                    // A full queue wakes the writer anyway.
                    let _ = queue.try_send(Message::Look);
                }
            }
            manner.writes = log.target != LogTarget::Off;
        }
        let before = std::mem::replace(&mut manner.log, log.clone());
        self.attend(&mut manner)?;
        drop(manner);
        #[cfg(feature = "otlp")]
        self.export(before.trace.export.as_deref().filter(|_| before.trace.on), log)?;
        drop(before);
        Ok(())
    }

    /// Lines as JSON from now on, live, of as many requests as are shown; workers begin when they hand over what they have, so within `LOG_FLUSH_EVERY`. `None` where as
    /// many watch as may.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn watch(&self) -> io::Result<Option<Tap>> {
        let mut manner = self.shared.manner.lock();
        let tap = self.shared.taps.add();
        self.attend(&mut manner)?;
        Ok(tap)
    }

    /// For a tick: does nothing any more for those who do not watch any more.
    pub fn tend(&self) {
        let mut manner = self.shared.manner.lock();
        if manner.watched && !self.shared.taps.any() {
            // Only starting can fail.
            drop(self.attend(&mut manner));
        }
    }

    /// Sees to it that who watches is given lines, and that nothing is done for nobody.
    fn attend(&self, manner: &mut Manner) -> io::Result<()> {
        let watched = self.shared.taps.any();
        if manner.log.target == LogTarget::Off {
            match (&manner.queue, watched) {
                (Some(_), false) => manner.queue = None,
                (None, true) => {
                    manner.queue = Some(start_writer(Arc::clone(&self.shared), Box::new(receiver::Nobody))?);
                }
                _ => {}
            }
        }
        manner.watched = watched;
        self.shared.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Writes to `sink` instead of a target from the settings; what `reopen` opens is the target of `log`.
    ///
    /// # Errors
    /// No thread can be started.
    #[cfg(test)]
    fn start_with(log: &Log, sink: Box<dyn Receiver>) -> io::Result<Self> {
        let this = Self::start(&Log { target: LogTarget::Off, ..log.clone() }, Run::from_bits(0))?;
        let queue = start_writer(Arc::clone(&this.shared), sink)?;
        let mut manner = this.shared.manner.lock();
        (manner.queue, manner.writes) = (Some(queue), true);
        drop(manner);
        Ok(this)
    }

    /// The buffer of one worker.
    pub fn buffer(&self, clock: &Clock) -> LogBuffer {
        let version = self.shared.version.load(Ordering::Acquire);
        let manner = self.shared.manner.lock().clone();
        let block = if manner.writes { new_block() } else { Vec::new() };
        let buffers = self.shared.buffers.fetch_add(1, Ordering::Relaxed) + 1;
        #[allow(clippy::cast_possible_truncation)] // a seed
        let seed = clock.micros() as u32;
        let mut buffer = LogBuffer {
            shared: Arc::clone(&self.shared),
            version,
            manner,
            watched: Watched::new(buffers, seed.wrapping_add(buffers)),
            block,
            lines: 0,
            wall_millis: 0,
            time: SecondText::new(),
            steady_to_wall_millis: 0,
        };
        buffer.set_wall(clock);
        buffer
    }

    /// Opens the file anew before the next block is written, as after a rotation (USR1). If it cannot be opened the old
    /// one stays in use.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        if let Some(queue) = &self.shared.manner.lock().queue {
            // A full queue wakes the writer anyway.
            let _ = queue.try_send(Message::Look);
        }
    }

    /// Ends the writer, once it has written what waits; workers that are not over yet write nowhere.
    pub fn end(&self) {
        self.shared.manner.lock().queue = None;
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// Lines lost because the writer was too slow or the target refused them.
    pub fn dropped_lines(&self) -> u64 {
        self.shared.dropped_lines.load(Ordering::Relaxed)
    }

    /// Bytes handed to the target.
    pub fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// The last requests that ended in a server's error, newest first, as lines of JSON without line feed. They are kept however the log
    /// is written.
    pub fn recent_errors(&self) -> Vec<Box<[u8]>> {
        self.shared.errors.lines()
    }

    /// Waits until all that was handed over before is written, at most `limit`; whether that was so. Blocks: call it
    /// when the workers have flushed and ended.
    pub fn finish(&self, limit: Duration) -> bool {
        let Some(queue) = self.shared.manner.lock().queue.clone() else { return true };
        let (done, written) = sync_channel(0);
        // A full queue at the end means that the target is stuck or the disk slow: then there is no use in waiting.
        if queue.try_send(Message::Finish { done }).is_err() {
            return false;
        }
        // The writer drops its end instead of sending.
        matches!(written.recv_timeout(limit), Err(std::sync::mpsc::RecvTimeoutError::Disconnected))
    }
}

/// One worker's share of the log.
#[derive(Debug)]
pub struct LogBuffer {
    shared: Arc<Shared>,
    /// Of `manner`.
    version: u64,
    manner: Manner,
    /// What who watches is shown.
    watched: Watched,
    block: Vec<u8>,
    lines: u64,
    /// When the last request of the block ended.
    wall_millis: u64,
    time: SecondText,
    /// What to add (wrapping) to steady milliseconds to get the wall's.
    steady_to_wall_millis: u64,
}

impl LogBuffer {
    /// Appends the line of a request that has ended.
    #[inline]
    pub fn append(&mut self, id: RequestId, request: &Request, finished: &Finished<'_>) {
        if finished.status >= 500 {
            self.error(id, request, finished);
        }
        if self.manner.queue.is_none() {
            return;
        }
        let Manner { log, writes, watched, .. } = &self.manner;
        let weight = if *watched { self.watched.take(finished) } else { None };
        if !*writes && weight.is_none() {
            return;
        }
        let line = line(&self.shared, log, self.steady_to_wall_millis, (id, request, finished));
        let begin = self.block.len();
        if *writes && is_wanted(log.sample, line.name(), finished) {
            match &log.format {
                LogFormat::Json => line.json(&mut self.time, &mut self.block),
                LogFormat::Combined => line.combined(&mut self.time, &mut self.block),
                LogFormat::Template(template) => line.template(template, &mut self.time, &mut self.block),
            }
            self.wall_millis = line.wall_millis;
            self.lines += 1;
        }
        if let Some(weight) = weight {
            match self.block.get(begin..) {
                Some(written) if !written.is_empty() && log.format == LogFormat::Json => {
                    self.watched.copy(written, weight);
                }
                _ => self.watched.append(&line, &mut self.time, weight),
            }
            if self.watched.is_full() {
                self.show();
            }
        }
        if self.block.len() >= LOG_BLOCK_BYTES {
            self.hand_over();
        }
    }

    #[cold]
    fn error(&mut self, id: RequestId, request: &Request, finished: &Finished<'_>) {
        let line = line(&self.shared, &self.manner.log, self.steady_to_wall_millis, (id, request, finished));
        self.watched.error(&line, &mut self.time, &self.shared.errors);
    }

    /// Hands over what is there and takes the time anew. Call it every `LOG_FLUSH_EVERY` and when the worker ends.
    pub fn flush(&mut self, clock: &Clock) {
        self.set_wall(clock);
        if !self.block.is_empty() {
            self.hand_over();
        }
        self.show();
        self.watched.second();
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            let buffers = self.shared.buffers.load(Ordering::Relaxed);
            self.watched.share_among(buffers);
            self.manner = self.shared.manner.lock().clone();
        }
    }

    fn set_wall(&mut self, clock: &Clock) {
        self.steady_to_wall_millis = clock.wall().as_millis().wrapping_sub(clock.now().as_millis());
    }

    /// Hands over what who watches is shown.
    fn show(&mut self) {
        let Some((text, requests)) = self.watched.hand_over() else { return };
        if let Some(queue) = &self.manner.queue {
            // A full queue costs who watches, not the log.
            let _ = queue.try_send(Message::Watched { text, requests });
        }
    }

    #[cold]
    fn hand_over(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let Some(queue) = &self.manner.queue else { return };
        let empty = self.shared.spare.lock().pop().unwrap_or_else(new_block);
        let text = std::mem::replace(&mut self.block, empty);
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) =
            queue.try_send(Message::Block { text, lines, wall_millis: self.wall_millis })
        {
            self.shared.dropped_lines.fetch_add(lines, Ordering::Relaxed);
            if let Message::Block { text, .. } = message {
                self.shared.keep(text);
            }
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        if !self.block.is_empty() {
            self.hand_over();
        }
        self.show();
        self.shared.buffers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Keeps a block for reuse, unless it grew far beyond the usual or enough are kept.
    fn keep(&self, mut block: Vec<u8>) {
        block.clear();
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_BLOCKS_MAX && block.capacity() <= 2 * BLOCK_CAPACITY {
            spare.push(block);
        }
    }
}

fn new_block() -> Vec<u8> {
    Vec::with_capacity(BLOCK_CAPACITY)
}

#[inline]
fn line<'a>(
    shared: &Shared,
    log: &'a Log,
    steady_to_wall_millis: u64,
    (id, request, finished): (RequestId, &'a Request, &'a Finished<'a>),
) -> Line<'a> {
    let ended_millis = request.received_micros.saturating_add(finished.duration_micros) / 1000;
    Line {
        wall_millis: ended_millis.wrapping_add(steady_to_wall_millis),
        id,
        given: request.given_name(),
        run: shared.run,
        log,
        request,
        finished,
    }
}

/// Whether a request has a line: all of a sample do, and whatever went wrong.
#[inline]
fn is_wanted(sample: Sample, name: &[u8], finished: &Finished<'_>) -> bool {
    sample.is_all() || finished.status >= 400 || !finished.complete || sample.takes(name)
}

/// What the settings name, opened within a time: a pipe that nobody reads opens when somebody does, and a file system over a network when it likes. What
/// opens later is closed again.
fn open_within(log: &Log, limit: Duration) -> io::Result<Option<Box<dyn Receiver>>> {
    let LogTarget::File(path) = &log.target else { return receiver::open(log) };
    let (sender, opened) = sync_channel(1);
    let wanted = log.clone();
    std::thread::Builder::new()
        .name("log-open".into())
        .spawn(move || drop(sender.send(receiver::open(&wanted))))?;
    opened.recv_timeout(limit).unwrap_or_else(|_| {
        let path = path.display();
        let what =
            format!("{path} does not open within {limit:?}: a pipe that nobody reads, or a disk that hangs");
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    })
}

fn start_writer(shared: Arc<Shared>, receiver: Box<dyn Receiver>) -> io::Result<SyncSender<Message>> {
    let (queue, blocks) = sync_channel(LOG_QUEUE_BLOCKS);
    std::thread::Builder::new().name("access-log".into()).spawn(move || write(&shared, receiver, &blocks))?;
    Ok(queue)
}

/// Writes until every worker and handle is gone.
fn write(shared: &Shared, mut receiver: Box<dyn Receiver>, blocks: &mpsc::Receiver<Message>) {
    while let Ok(message) = blocks.recv() {
        if let Some(next) = shared.next.lock().take() {
            receiver = next;
        }
        if shared.reopen.swap(false, Ordering::AcqRel)
            && let Err(error) = receiver.reopen()
        {
            tracing::error!(%error, "the access log cannot be reopened; the old file stays in use");
        }
        match message {
            Message::Watched { text, requests } => shared.taps.tell(text, requests),
            Message::Block { text, lines, wall_millis } => {
                match receiver.take(&text, wall_millis) {
                    Ok(taken) => {
                        let lost = lines.saturating_sub(taken);
                        if lost > 0 {
                            shared.lose(lost, &"the receiver does not answer");
                        }
                        if taken > 0 {
                            shared.written_bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
                        }
                    }
                    Err(error) => shared.lose(lines, &error),
                }
                shared.keep(text);
            }
            Message::Look => {}
            Message::Finish { done } => drop(done),
        }
    }
}

impl Shared {
    fn lose(&self, lines: u64, why: &dyn std::fmt::Display) {
        // Said once: a full disk would otherwise fill the error log with itself.
        if self.dropped_lines.fetch_add(lines, Ordering::Relaxed) == 0 {
            tracing::error!(error = %why, "the access log cannot be written; lines are dropped and counted");
        }
    }
}

/// A block is handed over once it is full: room for the line that fills it.
const BLOCK_CAPACITY: usize = LOG_BLOCK_BYTES + 4096;
/// Blocks kept for reuse.
const SPARE_BLOCKS_MAX: usize = 16;
