//! Which streams of a connection can go on.
//!
//! All streams of a connection live in its one task. What they wait for (an answer, the next piece of a body) is given a waker
//! that notes the stream's number and wakes the task, so a turn looks at those that can go on and at no other. Wakers
//! may be used from any thread: fills run elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// The streams of one connection that were woken.
#[derive(Debug, Default)]
pub(super) struct Woken(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    /// Each at most once: bounded by the streams there are.
    streams: Vec<u32>,
    /// The connection's task.
    task: Option<Waker>,
}

/// The waker of one stream.
#[derive(Clone, Debug)]
pub(super) struct StreamWaker {
    waker: Waker,
    noted: Arc<Noted>,
}

#[derive(Debug)]
struct Noted {
    list: Arc<Mutex<List>>,
    stream: u32,
    /// It stands in the list.
    pending: AtomicBool,
}

impl Woken {
    /// Whom to wake. Called before [`Woken::take`] in each turn, so that no wake-up is lost.
    pub(super) fn set_task(&self, task: &Waker) {
        let mut list = self.0.lock();
        if !list.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            list.task = Some(task.clone());
        }
    }

    /// Moves the streams that were woken to `into`, which is empty.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        std::mem::swap(&mut self.0.lock().streams, into);
    }

    /// A waker for this stream.
    pub(super) fn waker(&self, stream: u32) -> StreamWaker {
        let noted = Arc::new(Noted { list: Arc::clone(&self.0), stream, pending: AtomicBool::new(false) });
        StreamWaker { waker: Waker::from(Arc::clone(&noted)), noted }
    }
}

impl StreamWaker {
    /// For the context of a poll that begins now: what happens from here on wakes again.
    pub(super) fn arm(&self) -> &Waker {
        self.noted.pending.store(false, Ordering::Release);
        &self.waker
    }

    /// Notes the stream without waking the task, which is within its turn.
    pub(super) fn note(&self) {
        let _ = self.noted.note();
    }

    /// Notes the stream and wakes the task.
    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }
}

impl Noted {
    /// Notes the stream, and returns whom to wake if it was not noted before.
    fn note(&self) -> Option<Waker> {
        if self.pending.swap(true, Ordering::AcqRel) {
            return None;
        }
        let mut list = self.list.lock();
        list.streams.push(self.stream);
        list.task.clone()
    }
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(task) = self.note() {
            task.wake();
        }
    }
}
