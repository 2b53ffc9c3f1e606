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
//! Invariant: a slow disk or reader of standard output never holds a worker; it costs lines, and they are counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use super::calendar::SecondText;
use super::errors::RecentErrors;
use super::id::RequestId;
use super::line::Line;
use super::tap::{Tap, Taps};
use super::watched::Watched;
use crate::clock::Clock;
use crate::config::limits::{LOG_BLOCK_BYTES, LOG_OPEN_TIMEOUT, LOG_QUEUE_BLOCKS};
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
    manner: Mutex<Manner>,
    /// How often that has changed: what workers look at when they hand lines over.
    version: AtomicU64,
    /// What the writer takes up before the next block, in place of what it writes to.
    next: Mutex<Option<Sink>>,
    taps: Taps,
    errors: RecentErrors,
    /// Buffers in use.
    buffers: AtomicU32,
    dropped_lines: AtomicU64,
    written_bytes: AtomicU64,
    reopen: AtomicBool,
    /// Written blocks, empty again: so that memory is not allocated and faulted in anew for each.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// How lines are written, and where they go.
#[derive(Clone, Debug)]
struct Manner {
    target: LogTarget,
    /// `None` when the log is off and nobody watches.
    queue: Option<SyncSender<Message>>,
    format: LogFormat,
    mask_client: bool,
    /// The log is not off.
    writes: bool,
    /// Somebody watches.
    watched: bool,
}

/// What lines are written to.
struct Sink(Box<dyn Write + Send>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

enum Message {
    Block {
        text: Vec<u8>,
        lines: u64,
    },
    /// For who watches only.
    Watched {
        text: Vec<u8>,
        requests: u64,
    },
    /// Look at `reopen` and `next`.
    Look,
    /// Everything before this has been written when the sender of `done` is dropped.
    Finish {
        done: SyncSender<()>,
    },
}

impl AccessLog {
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started.
    pub fn start(log: &Log) -> io::Result<Self> {
        let manner = Manner {
            target: log.target.clone(),
            queue: None,
            format: log.format.clone(),
            mask_client: log.mask_client,
            writes: log.target != LogTarget::Off,
            watched: false,
        };
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            version: AtomicU64::new(0),
            next: Mutex::default(),
            taps: Taps::default(),
            errors: RecentErrors::default(),
            buffers: AtomicU32::new(0),
            dropped_lines: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            spare: Mutex::new(Vec::new()),
        });
        if let Some(sink) = open_within(&log.target, LOG_OPEN_TIMEOUT)? {
            shared.manner.lock().queue = Some(start_writer(Arc::clone(&shared), sink)?);
        }
        Ok(Self { shared })
    }

    /// Goes on as these settings say; workers follow when they hand over what they have, so within `LOG_FLUSH_EVERY`.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread can be started; then it goes on as before.
    pub fn change(&self, log: &Log) -> io::Result<()> {
        // Without the lock: it may take its time.
        let is_other = self.shared.manner.lock().target != log.target;
        let opened = if is_other { open_within(&log.target, LOG_OPEN_TIMEOUT)? } else { None };
        let mut manner = self.shared.manner.lock();
        if is_other {
            match (opened, &manner.queue) {
                // The writer ends with its last sender.
                (None, _) => manner.queue = None,
                (Some(sink), None) => manner.queue = Some(start_writer(Arc::clone(&self.shared), sink)?),
                (Some(sink), Some(queue)) => {
                    *self.shared.next.lock() = Some(Sink(sink));
                    // A full queue wakes the writer anyway.
                    let _ = queue.try_send(Message::Look);
                }
            }
            manner.target = log.target.clone();
            manner.writes = log.target != LogTarget::Off;
        }
        manner.format = log.format.clone();
        manner.mask_client = log.mask_client;
        self.attend(&mut manner)
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
        if manner.target == LogTarget::Off {
            match (&manner.queue, watched) {
                (Some(_), false) => manner.queue = None,
                (None, true) => {
                    manner.queue = Some(start_writer(Arc::clone(&self.shared), Box::new(io::sink()))?);
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
    fn start_with(log: &Log, sink: Box<dyn Write + Send>) -> io::Result<Self> {
        let this = Self::start(&Log { target: LogTarget::Off, ..log.clone() })?;
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
        let line = self.line(id, request, finished);
        let begin = self.block.len();
        if self.manner.writes {
            match self.manner.format {
                LogFormat::Json => line.json(&mut self.time, &mut self.block),
                LogFormat::Combined => line.combined(&mut self.time, &mut self.block),
            }
            self.lines += 1;
        }
        if self.manner.watched
            && let Some(weight) = self.watched.take(finished)
        {
            match self.block.get(begin..) {
                Some(written) if self.manner.writes && self.manner.format == LogFormat::Json => {
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

    #[inline]
    fn line<'a>(&self, id: RequestId, request: &'a Request, finished: &'a Finished<'a>) -> Line<'a> {
        let ended_millis = request.received_micros.saturating_add(finished.duration_micros) / 1000;
        Line {
            wall_millis: ended_millis.wrapping_add(self.steady_to_wall_millis),
            id,
            mask_client: self.manner.mask_client,
            request,
            finished,
        }
    }

    #[cold]
    fn error(&mut self, id: RequestId, request: &Request, finished: &Finished<'_>) {
        let line = self.line(id, request, finished);
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
            queue.try_send(Message::Block { text, lines })
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

fn open(target: &LogTarget) -> io::Result<Option<Box<dyn Write + Send>>> {
    Ok(match target {
        LogTarget::Off => None,
        // Its own descriptor: `io::stdout` would buffer by line and take a lock for each block.
        LogTarget::Stdout => {
            Some(Box::new(File::from(std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?)))
        }
        LogTarget::File(path) => Some(Box::new(OpenOptions::new().create(true).append(true).open(path)?)),
    })
}

/// The same within a time: a pipe that nobody reads opens when somebody does, and a file system over a network when it likes. What
/// opens later is closed again.
fn open_within(target: &LogTarget, limit: Duration) -> io::Result<Option<Box<dyn Write + Send>>> {
    let LogTarget::File(path) = target else { return open(target) };
    let (sender, opened) = sync_channel(1);
    let wanted = target.clone();
    std::thread::Builder::new().name("log-open".into()).spawn(move || drop(sender.send(open(&wanted))))?;
    opened.recv_timeout(limit).unwrap_or_else(|_| {
        let path = path.display();
        let what =
            format!("{path} does not open within {limit:?}: a pipe that nobody reads, or a disk that hangs");
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    })
}

fn start_writer(shared: Arc<Shared>, sink: Box<dyn Write + Send>) -> io::Result<SyncSender<Message>> {
    let (queue, blocks) = sync_channel(LOG_QUEUE_BLOCKS);
    std::thread::Builder::new().name("access-log".into()).spawn(move || write(&shared, sink, &blocks))?;
    Ok(queue)
}

/// Writes until every worker and handle is gone.
fn write(shared: &Shared, mut sink: Box<dyn Write + Send>, blocks: &Receiver<Message>) {
    while let Ok(message) = blocks.recv() {
        if let Some(Sink(next)) = shared.next.lock().take() {
            let _ = sink.flush();
            sink = next;
        }
        if shared.reopen.swap(false, Ordering::AcqRel) {
            let target = shared.manner.lock().target.clone();
            match open(&target) {
                Ok(Some(opened)) => sink = opened,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the access log cannot be reopened; the old file stays in use");
                }
            }
        }
        match message {
            Message::Watched { text, requests } => shared.taps.tell(text, requests),
            Message::Block { text, lines } => {
                if let Err(error) = sink.write_all(&text) {
                    // Said once: a full disk would otherwise fill the error log with itself.
                    if shared.dropped_lines.fetch_add(lines, Ordering::Relaxed) == 0 {
                        tracing::error!(%error, "the access log cannot be written; lines are dropped and counted");
                    }
                } else {
                    shared.written_bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
                }
                shared.keep(text);
            }
            Message::Look => {}
            Message::Finish { done } => {
                let _ = sink.flush();
                drop(done);
            }
        }
    }
}

/// A block is handed over once it is full: room for the line that fills it.
const BLOCK_CAPACITY: usize = LOG_BLOCK_BYTES + 4096;
/// Blocks kept for reuse.
const SPARE_BLOCKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use cache_store::timestamp::Timestamp;

    use super::*;
    use crate::observe::id::{RequestIds, Run};
    use crate::observe::tests::{finished, request, scratch};
    use crate::respond::response::Outcome;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Says when it is first written to, and does not return before it is let go.
    struct Stuck {
        reached: SyncSender<()>,
        go: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.reached.try_send(());
            // An error means that the test has let go for good.
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A full disk.
    struct Refuses;

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings(target: LogTarget) -> Log {
        Log { target, format: LogFormat::Json, mask_client: false }
    }

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_secs(1_000_000))
    }

    fn append(buffer: &mut LogBuffer, path: &str) {
        let outcome = Outcome::default();
        let id = RequestIds::new(Run::from_bits(0), 0).draw();
        buffer.append(id, &request(b"a", path.as_bytes(), &[]), &finished(&outcome));
    }

    fn paths(text: &str) -> Vec<String> {
        let path = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].take();
        text.lines().map(|line| path(line).as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let directory = scratch();
        let path = directory.join("access.log");
        let log = AccessLog::start(&settings(LogTarget::File(path.clone()))).unwrap();
        let mut buffer = log.buffer(&clock());
        let expected: Vec<_> = (0..5000).map(|number| format!("/{number}")).collect();
        for path in &expected {
            append(&mut buffer, path);
        }
        drop(buffer);
        assert!(log.finish(LIMIT));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(paths(&text), expected);
        assert_eq!((log.dropped_lines(), log.written_bytes()), (0, text.len() as u64));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let directory = scratch();
        let (path, old) = (directory.join("access.log"), directory.join("access.log.1"));
        let log = AccessLog::start(&settings(LogTarget::File(path.clone()))).unwrap();
        let (clock, mut buffer) = (clock(), log.buffer(&clock()));
        append(&mut buffer, "/before");
        buffer.flush(&clock);
        assert!(log.finish(LIMIT));
        std::fs::rename(&path, &old).unwrap();
        append(&mut buffer, "/not-told-yet");
        buffer.flush(&clock);
        assert!(log.finish(LIMIT));
        log.reopen();
        append(&mut buffer, "/after");
        buffer.flush(&clock);
        assert!(log.finish(LIMIT));
        assert_eq!(paths(&std::fs::read_to_string(&old).unwrap()), ["/before", "/not-told-yet"]);
        assert_eq!(paths(&std::fs::read_to_string(&path).unwrap()), ["/after"]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_target_that_is_stuck_costs_lines_but_never_holds_a_worker() {
        let (reached, written_to) = sync_channel(1);
        let (let_go, go) = sync_channel(0);
        let log = AccessLog::start_with(&settings(LogTarget::Off), Box::new(Stuck { reached, go })).unwrap();
        let (clock, mut buffer) = (clock(), log.buffer(&clock()));
        let mut block = |lines: u64| {
            (0..lines).for_each(|_| append(&mut buffer, "/"));
            buffer.flush(&clock);
        };
        block(1);
        written_to.recv().unwrap();
        (0..LOG_QUEUE_BLOCKS).for_each(|_| block(1));
        assert_eq!(log.dropped_lines(), 0);
        block(3);
        block(2);
        assert_eq!(log.dropped_lines(), 5);
        assert!(!log.finish(LIMIT), "no room in the queue is no end to wait for");
        drop(let_go);
    }

    #[test]
    fn lines_that_the_target_refuses_are_counted() {
        let log = AccessLog::start_with(&settings(LogTarget::Off), Box::new(Refuses)).unwrap();
        let mut buffer = log.buffer(&clock());
        for _ in 0..7 {
            append(&mut buffer, "/");
        }
        drop(buffer);
        assert!(log.finish(LIMIT));
        assert_eq!((log.dropped_lines(), log.written_bytes()), (7, 0));
    }

    #[test]
    fn the_time_in_a_line_is_the_walls_however_it_was_stepped() {
        let clock = clock();
        clock.step_wall(3_600_000);
        let directory = scratch();
        let path = directory.join("access.log");
        let log = AccessLog::start(&settings(LogTarget::File(path.clone()))).unwrap();
        let mut buffer = log.buffer(&clock);
        append(&mut buffer, "/");
        clock.step_wall(-3_600_000);
        buffer.flush(&clock);
        append(&mut buffer, "/");
        drop(buffer);
        assert!(log.finish(LIMIT));
        let text = std::fs::read_to_string(&path).unwrap();
        let times: Vec<_> = text.lines().map(|line| line.get(9..28).unwrap()).collect();
        // The request was received at the steady second 1 000 000.
        assert_eq!(times, ["1970-01-12T14:46:40", "1970-01-12T13:46:40"]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_log_that_is_off_keeps_nothing() {
        let log = AccessLog::start(&settings(LogTarget::Off)).unwrap();
        let mut buffer = log.buffer(&clock());
        append(&mut buffer, "/");
        assert_eq!((buffer.block.capacity(), log.finish(LIMIT)), (0, true));
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_waited_for_no_longer_than_a_time() {
        let directory = scratch();
        let path = directory.join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let target = LogTarget::File(path.clone());
        let refused = open_within(&target, Duration::from_millis(1)).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(refused.to_string().contains("a pipe that nobody reads"), "{refused}");
        // Whoever waits still is let go, and closes what it has.
        let mut reader = File::open(&path).unwrap();
        assert_eq!(io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_writer_does_not_outlive_the_log() {
        struct Told {
            _alive: SyncSender<()>,
        }
        impl Write for Told {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, dropped) = sync_channel(0);
        let log =
            AccessLog::start_with(&settings(LogTarget::Off), Box::new(Told { _alive: sender })).unwrap();
        let mut buffer = log.buffer(&clock());
        append(&mut buffer, "/");
        drop(buffer);
        assert!(log.finish(LIMIT));
        log.end();
        assert_eq!(dropped.recv(), Err(std::sync::mpsc::RecvError), "its sink has gone with it");
        assert_eq!(log.dropped_lines(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_at_start() {
        let path = scratch().join("missing").join("access.log");
        assert!(AccessLog::start(&settings(LogTarget::File(path))).is_err());
    }
}
