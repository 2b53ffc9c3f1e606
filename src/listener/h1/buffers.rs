//! The memory that a worker's connections work with, one after another.
//!
//! A connection holds buffers only while it has something in them: it takes a set when bytes may have come and gives it
//! back when it turns idle. Since one connection of a worker is polled at a time, nearly all of them work in the same few
//! warm lines of cache, and ten thousand idle ones hold no buffer at all.
//!
//! Belongs to one worker thread (`RefCell`).

use std::cell::RefCell;

use bytes::BytesMut;

use crate::config::limits::READ_BUFFER_BYTES;
use crate::listener::fields::FieldIndex;

/// Sets that nobody uses now.
#[derive(Debug, Default)]
pub struct Buffers(RefCell<Vec<Set>>);

/// What one connection works with; all of it empty, but for memory.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// Read and not yet parsed.
    pub(super) input: BytesMut,
    /// Rendered and not yet written.
    pub(super) out: Vec<u8>,
    /// Where the fields of a head lie.
    pub(super) index: FieldIndex,
    /// The lines of one answer.
    pub(super) spare: Vec<u8>,
}

impl Buffers {
    /// The set that was given back last, or a new one.
    #[inline]
    pub(super) fn take(&self) -> Set {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a set for the next, unless enough are kept; what a large request or answer grew is let go.
    #[inline]
    pub(super) fn give_back(&self, mut set: Set) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= SETS_MAX {
            return;
        }
        if set.out.capacity() > BUFFER_BYTES_MAX {
            set.out = Vec::new();
        }
        if set.input.capacity() > READ_BUFFER_BYTES {
            set.input = BytesMut::new();
        }
        kept.push(set);
    }
}

/// Sets kept by a worker: as many connections as have work at once, mostly.
const SETS_MAX: usize = 64;
/// Longest buffer for answers that is kept, bytes.
const BUFFER_BYTES_MAX: usize = 2 * READ_BUFFER_BYTES;
