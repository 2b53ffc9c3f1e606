//! Chunks whose files are open: a hot chunk is opened once, not once a read.
//!
//! Only files whose content this process has verified or written come in, so what is found here may be read at once.
//! A file stays readable after it was unlinked, so closing is the only thing that frees its space: whoever unlinks
//! forgets it here too.
//!
//! Invariant: never more than `max` files, and none when the process has run out of descriptors ([`OpenFiles::clear`]).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

use super::id::ChunkId;

/// Open files by chunk: first in, first out, but who was read goes around once more.
#[derive(Debug)]
pub(super) struct OpenFiles {
    held: Mutex<Held>,
    max: usize,
}

#[derive(Debug, Default)]
struct Held {
    files: HashMap<ChunkId, Open>,
    /// Every name of `files` once.
    order: VecDeque<ChunkId>,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    read: bool,
}

impl OpenFiles {
    pub(super) fn new(max: usize) -> Self {
        Self { held: Mutex::default(), max }
    }

    pub(super) fn find(&self, id: ChunkId) -> Option<Arc<File>> {
        let mut held = self.held.lock();
        let open = held.files.get_mut(&id)?;
        open.read = true;
        Some(Arc::clone(&open.file))
    }

    pub(super) fn keep(&self, id: ChunkId, file: Arc<File>) {
        if self.max == 0 {
            return;
        }
        // Closed behind the lock.
        let _closed = {
            let mut held = self.held.lock();
            let left = if held.files.len() >= self.max { held.leave() } else { None };
            let before = held.files.insert(id, Open { file, read: false });
            if before.is_none() {
                held.order.push_back(id);
            }
            (left, before)
        };
    }

    pub(super) fn forget(&self, id: ChunkId) {
        let _closed = {
            let mut held = self.held.lock();
            let gone = held.files.remove(&id);
            if gone.is_some() {
                held.order.retain(|kept| *kept != id);
            }
            gone
        };
    }

    pub(super) fn clear(&self) {
        let _closed = std::mem::take(&mut *self.held.lock());
    }

    pub(super) fn len(&self) -> usize {
        self.held.lock().files.len()
    }
}

impl Held {
    fn leave(&mut self) -> Option<Open> {
        for _ in 0..=self.order.len() {
            let id = self.order.pop_front()?;
            match self.files.get_mut(&id) {
                Some(open) if open.read => {
                    open.read = false;
                    self.order.push_back(id);
                }
                _ => return self.files.remove(&id),
            }
        }
        None
    }
}
