//! Who watches the access log live: a bounded number of them, each with a bounded queue.
//!
//! While somebody watches, workers hand the log's writer lines about some of their requests (`watched.rs`), and it hands them on. Whoever
//! reads too slowly loses blocks, and is told how many requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::config::limits::{LOG_TAP_BLOCKS, LOG_TAPS_MAX};

/// All who watch.
#[derive(Debug, Default)]
pub(super) struct Taps(Mutex<Vec<Watcher>>);

#[derive(Debug)]
struct Watcher {
    queue: mpsc::Sender<Bytes>,
    lost: Arc<AtomicU64>,
}

/// One who watches; until it is dropped.
#[derive(Debug)]
pub struct Tap {
    blocks: mpsc::Receiver<Bytes>,
    lost: Arc<AtomicU64>,
}

impl Taps {
    /// One more; `None` where enough do.
    pub(super) fn add(&self) -> Option<Tap> {
        let mut watchers = self.0.lock();
        watchers.retain(|watcher| !watcher.queue.is_closed());
        if watchers.len() >= LOG_TAPS_MAX {
            return None;
        }
        let (queue, blocks) = mpsc::channel(LOG_TAP_BLOCKS);
        let lost = Arc::new(AtomicU64::new(0));
        watchers.push(Watcher { queue, lost: Arc::clone(&lost) });
        Some(Tap { blocks, lost })
    }

    /// Whether anybody watches.
    pub(super) fn any(&self) -> bool {
        self.0.lock().iter().any(|watcher| !watcher.queue.is_closed())
    }

    /// Hands on lines of JSON that stand for so many requests. Never waits.
    pub(super) fn tell(&self, text: Vec<u8>, requests: u64) {
        let mut watchers = self.0.lock();
        watchers.retain(|watcher| !watcher.queue.is_closed());
        if watchers.is_empty() {
            return;
        }
        let text = Bytes::from(text);
        for watcher in watchers.iter() {
            if watcher.queue.try_send(text.clone()).is_err() {
                watcher.lost.fetch_add(requests, Ordering::Relaxed);
            }
        }
    }
}

impl Tap {
    /// The next lines, whole, each with its line feed; `None` when the log has ended.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.blocks.poll_recv(cx)
    }

    /// The next lines, if there are any now.
    pub(super) fn next_now(&mut self) -> Option<Bytes> {
        self.blocks.try_recv().ok()
    }

    /// Requests whose lines were lost since it was last asked.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}
