//! Makes encoded forms of stored responses, beside the requests; what is not stored is encoded as it goes (`passing.rs`).
//!
//! ```text
//! a response is stored, or hit and has no form that is wanted ──► fast ─┐
//! a form is still asked for a while after it was made ──────────► harder ┴─► a thread encodes ─► CacheStore::keep_form
//! ```
//!
//! Two queues, bounded together in bodies and bytes; the harder ones have their turn when nothing else waits. The threads are few
//! and nice: they get what serving leaves. Whoever asks does not wait, and is served what there is (`respond/encoding.rs`).
//!
//! Invariants: a request for what is stored never encodes. What was purged or replaced meanwhile is not brought back, for a form is kept only
//! where the response that it was made of still stands. A panic of a library costs its body's form.
//!
//! Deliberately absent: decoding, of anything.

mod codec;
mod passing;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use cache_store::form::Encoded;
use cache_store::key::CacheKey;
use cache_store::rules::{Coding, Purged};
use cache_store::store::CacheStore;
use parking_lot::{Condvar, Mutex};

use crate::clock::Clock;
use crate::config::limits::{
    ENCODE_GAIN_PERCENT_MIN, ENCODE_HARDER_AFTER, ENCODE_HARDER_BYTES_MAX, ENCODE_PASSING_LEVEL_MAX,
    ENCODE_PASSING_MAX, ENCODE_QUEUE_BYTES_MAX, ENCODE_QUEUE_MAX,
};
use passing::Passing;
pub use passing::PassingFigures;
pub(crate) use passing::{Coded, Place};

/// Those who encode.
pub struct Encoders {
    shared: Arc<Shared>,
    threads: usize,
    /// What is not stored.
    passing: Arc<Passing>,
}

/// A form that is wanted.
pub struct Job {
    /// The key of what it is a form of.
    pub key: CacheKey,
    /// That.
    pub stored: Arc<StoredResponse>,
    /// In which coding.
    pub coding: Coding,
    /// How hard.
    pub level: u8,
    /// Whether it may become harder later.
    pub level_best: u8,
}

/// When a job has its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// In its order.
    Soon,
    /// When nobody else waits.
    Idle,
}

/// What has been done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encodings {
    /// Forms made, by [`Coding::index`].
    pub made: [u64; Coding::COUNT],
    /// Those among them that took the place of one that was compressed less.
    pub harder: u64,
    /// Bodies that did not become shorter, or whose response was gone.
    pub given_up: u64,
    /// Bodies for which the queue had no room.
    pub dropped: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
    /// Bodies that wait or are being encoded.
    pub waiting: u64,
    /// What is not stored.
    pub passing: PassingFigures,
}

struct Shared {
    store: Weak<CacheStore>,
    clock: Clock,
    queue: Mutex<Queue>,
    wake: Condvar,
    is_closed: AtomicBool,
    counters: Counters,
}

#[derive(Default)]
struct Queue {
    soon: VecDeque<Job>,
    idle: VecDeque<Job>,
    bytes: u64,
    /// Begun already.
    threads: usize,
}

#[derive(Default)]
struct Counters {
    made: [AtomicU64; Coding::COUNT],
    harder: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    waiting: AtomicU64,
}

impl Encoders {
    /// Encoders for a node with so many workers. No thread is begun before there is something to do.
    pub fn new(store: &Arc<CacheStore>, clock: &Clock, workers: usize) -> Self {
        let shared = Shared {
            store: Arc::downgrade(store),
            clock: clock.clone(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            is_closed: AtomicBool::new(false),
            counters: Counters::default(),
        };
        Self {
            shared: Arc::new(shared),
            threads: workers.div_ceil(WORKERS_A_THREAD),
            passing: Passing::new(workers.saturating_mul(ENCODE_PASSING_MAX)),
        }
    }

    /// Has a form made; `false` where the queue is full. Takes no lock then.
    pub fn ask(&self, job: Job, turn: Turn) -> bool {
        let Shared { counters, queue, wake, is_closed, .. } = &*self.shared;
        let drop_it = || {
            counters.dropped.fetch_add(1, Relaxed);
            false
        };
        if counters.waiting.load(Relaxed) >= ENCODE_QUEUE_MAX as u64 || is_closed.load(Relaxed) {
            return drop_it();
        }
        let bytes = job.stored.body_len();
        let mut queue = queue.lock();
        if queue.soon.len() + queue.idle.len() >= ENCODE_QUEUE_MAX
            || queue.bytes.saturating_add(bytes) > ENCODE_QUEUE_BYTES_MAX
        {
            return drop_it();
        }
        queue.bytes += bytes;
        counters.waiting.fetch_add(1, Relaxed);
        match turn {
            Turn::Soon => queue.soon.push_back(job),
            Turn::Idle => queue.idle.push_back(job),
        }
        if queue.threads < self.threads && begin(&self.shared) {
            queue.threads += 1;
        }
        drop(queue);
        wake.notify_one();
        true
    }

    /// What has been done so far.
    pub fn figures(&self) -> Encodings {
        let Counters { made, harder, given_up, dropped, bytes_in, bytes_out, waiting } =
            &self.shared.counters;
        Encodings {
            made: made.each_ref().map(|made| made.load(Relaxed)),
            harder: harder.load(Relaxed),
            given_up: given_up.load(Relaxed),
            dropped: dropped.load(Relaxed),
            bytes_in: bytes_in.load(Relaxed),
            bytes_out: bytes_out.load(Relaxed),
            waiting: waiting.load(Relaxed),
            passing: self.passing.figures(),
        }
    }

    /// A place for a response that is to be encoded as it goes, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        self.passing.place()
    }

    /// A short body that is here whole, encoded at once; `None` where it would not become shorter.
    pub(crate) fn whole(&self, coding: Coding, level: u8, body: &Bytes) -> Option<Bytes> {
        let length = body.len();
        let bytes_max = bytes_max(length as u64);
        let level = level.min(ENCODE_PASSING_LEVEL_MAX);
        let pieces = std::iter::once(body.clone());
        let encoded = codec::encoded(coding, level, pieces, length as u64, bytes_max, || true)?;
        self.passing.count_whole(length, encoded.len());
        Some(encoded.into())
    }

    /// Ends: what waits is forgotten, what is under way stops at its next piece.
    pub fn close(&self) {
        self.shared.is_closed.store(true, Relaxed);
        let mut queue = self.shared.queue.lock();
        *queue = Queue { threads: queue.threads, ..Queue::default() };
        drop(queue);
        self.shared.wake.notify_all();
    }
}

impl Drop for Encoders {
    fn drop(&mut self) {
        self.close();
    }
}

/// A thread that gets the processor when nobody else wants it. Without one what is asked for waits for another's.
fn begin(shared: &Arc<Shared>) -> bool {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("encode".to_owned()).spawn(move || {
        #[cfg(target_os = "linux")]
        {
            // Of this thread alone, as Linux counts. Where it may not be, it is one thread like the others.
            let _ = rustix::process::setpriority_process(None, NICE);
        }
        while let Some(job) = shared.next() {
            shared.work(job);
        }
    });
    if let Err(error) = &thread {
        tracing::warn!(%error, "no thread to encode with; responses go as they are");
    }
    thread.is_ok()
}

impl Shared {
    /// The next job, waited for; `None` at the end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if self.is_closed.load(Relaxed) {
                return None;
            }
            let job = queue.soon.pop_front().or_else(|| queue.idle.pop_front());
            if let Some(job) = job {
                queue.bytes = queue.bytes.saturating_sub(job.stored.body_len());
                return Some(job);
            }
            self.wake.wait(&mut queue);
        }
    }

    fn work(&self, job: Job) {
        let made = catch_unwind(AssertUnwindSafe(|| self.make(job)));
        if made.unwrap_or(None).is_none() {
            self.counters.given_up.fetch_add(1, Relaxed);
        }
        self.counters.waiting.fetch_sub(1, Relaxed);
    }

    fn make(&self, job: Job) -> Option<()> {
        let Job { key, stored, coding, level, level_best } = job;
        if !self.store.upgrade()?.wants_form(key, &stored, coding, level) {
            return None;
        }
        let length = stored.body_len();
        let goes_on = || !self.is_closed.load(Relaxed) && stored.purged() != Purged::Hard;
        let known = stored.form(coding).map(|form| form.stored.body_len());
        // What is compressed harder does not always become shorter.
        let shorter = known.map(|known| usize::try_from(known.saturating_sub(1)).unwrap_or(usize::MAX));
        let bytes_max = bytes_max(length).min(shorter.unwrap_or(usize::MAX));
        let body = codec::encoded(coding, level, stored.body(), length, bytes_max, goes_on)?;
        let bytes_out = body.len() as u64;
        let harder_from = (level < level_best && length <= ENCODE_HARDER_BYTES_MAX)
            .then(|| self.clock.now().plus(ENCODE_HARDER_AFTER));
        let encoded = Encoded { coding, level, body: Bytes::from(body), harder_from };
        if !self.store.upgrade()?.keep_form(key, &stored, encoded) {
            return None;
        }
        self.counters.bytes_in.fetch_add(length, Relaxed);
        self.counters.bytes_out.fetch_add(bytes_out, Relaxed);
        self.counters.harder.fetch_add(u64::from(known.is_some()), Relaxed);
        self.counters.made.get(coding.index())?.fetch_add(1, Relaxed);
        Some(())
    }
}

/// What an encoded body of `length` bytes may have, or it is not worth it.
fn bytes_max(length: u64) -> usize {
    let bytes_max = length.saturating_mul(100 - ENCODE_GAIN_PERCENT_MIN) / 100;
    usize::try_from(bytes_max).unwrap_or(usize::MAX)
}

/// Two workers share a thread that encodes for them.
const WORKERS_A_THREAD: usize = 2;
#[cfg(target_os = "linux")]
const NICE: i32 = 19;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cache_store::entry::Parts;
    use cache_store::rules::freshness::Windows;
    use cache_store::rules::{Freshness, VarySpec};
    use cache_store::store::{MemoryAdmission, Settings};
    use cache_store::timestamp::Timestamp;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::config::limits::MIB;

    fn store() -> Arc<CacheStore> {
        CacheStore::new(&Settings {
            memory_bytes: 16 * MIB,
            memory_admission: MemoryAdmission::All,
            object_bytes_max: MIB as u64,
            secret: [7; 32],
        })
    }

    fn job(bytes: usize) -> Job {
        let parts = Parts {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            body: vec![Bytes::from(vec![b'a'; bytes])],
            large: None,
            freshness: Freshness::new(Timestamp::from_secs(1), Duration::ZERO, 60, Windows::default(), 0),
            vary: VarySpec::default(),
            tags: Box::default(),
            held: None,
            epoch: 0,
        };
        let stored = Arc::new(StoredResponse::new(parts));
        Job { key: CacheKey::from_bits(1), stored, coding: Coding::Gzip, level: 4, level_best: 4 }
    }

    #[test]
    fn a_full_queue_takes_no_more_and_counts_what_it_drops() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        // Nobody encodes, so what waits stays.
        let encoders = Encoders::new(&store(), &clock, 0);
        for number in 0..ENCODE_QUEUE_MAX {
            let turn = if number % 2 == 0 { Turn::Soon } else { Turn::Idle };
            assert!(encoders.ask(job(100), turn), "{number}");
        }
        assert!(!encoders.ask(job(100), Turn::Soon));
        let figures = encoders.figures();
        assert_eq!((figures.waiting, figures.dropped), (ENCODE_QUEUE_MAX as u64, 1));
    }

    #[test]
    fn a_few_large_bodies_fill_the_queue_too() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let encoders = Encoders::new(&store(), &clock, 0);
        let one = job(16 * MIB);
        let again = || Job { stored: Arc::clone(&one.stored), ..job(0) };
        for _ in 0..4 {
            assert!(encoders.ask(again(), Turn::Soon));
        }
        assert!(!encoders.ask(again(), Turn::Soon));
        assert!(!encoders.ask(job(1), Turn::Idle));
        assert_eq!(encoders.figures().dropped, 2);
    }

    #[test]
    fn who_has_been_closed_takes_nothing() {
        let clock = Clock::manual(Timestamp::from_secs(1));
        let encoders = Encoders::new(&store(), &clock, 2);
        encoders.close();
        assert!(!encoders.ask(job(100), Turn::Soon));
    }
}
