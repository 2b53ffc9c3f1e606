//! From a directory to a log: by the snapshot of a clean stop, else segment by segment.
//!
//! ```text
//! snapshot fits ──> index                                          the last segment is continued where it ends
//!       └── else: each summary ──> highest version wins
//!                   └── none: its headers ── a gap, and not the last, or the disk refuses: give up all up to here
//! ```
//!
//! The last segment is continued where it can be read and was not ended, so a kill leaves no stump behind, and the next sync covers
//! what it had not.
//!
//! Invariant: nothing is written into a log that is read back, but the layout of a new one. What is given up is not in the index,
//! and nothing is called durable before its files are gone.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::index::{Index, SEGMENTS_MAX, tag};
use super::layout::{self, LOCK};
use super::segment::{self, Segment, contents};
use super::tail::{Bounds, Tail};
use super::usage::{Counters, Recovery};
use super::writer::{Torn, Writer};
use super::{OpenError, Segments, Settings, snapshot};
use crate::tiers::files::Files;

/// What was made of the segments.
struct Recovered {
    tail: Tail,
    recovery: Recovery,
    /// What a crash left torn of the last segment.
    torn: Option<Torn>,
    /// Up to where the last segment is known to be durable.
    synced: u64,
    /// Up to where it may be in the kernel's cache alone.
    doubtful: u64,
    /// The last segment, if it is to be sealed and not continued.
    broken: Option<u64>,
}

pub(super) fn open(files: Arc<dyn Files>, settings: Settings) -> Result<Segments, OpenError> {
    files.create_directory("")?;
    // Looked at before the lock's file is created in what may be somebody else's.
    layout::inspect(&*files)?;
    let lock = files.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => OpenError::Io(error),
    })?;
    let salt = if let Some(salt) = layout::inspect(&*files)? {
        salt
    } else {
        let salt = layout::salt();
        layout::write(&*files, salt)?;
        salt
    };
    let bounds = Bounds {
        salt,
        segment_bytes: settings.segment_bytes,
        buffer_bytes: settings.buffer_bytes,
        buffers: settings.buffers,
        spares: settings.buffers,
    };
    let (mut live, has_snapshot) = find(&*files)?;
    let index = Index::new();
    let by_snapshot = if has_snapshot && snapshot::read(&*files, salt, &live, &index).is_some() {
        from_snapshot(bounds, &live)
    } else {
        None
    };
    let recovered = by_snapshot.unwrap_or_else(|| {
        index.clear();
        from_segments(bounds, &live, &index)
    });
    let current = live.get(&recovered.tail.unwritten_seq()).map(Arc::clone);
    live.entry(recovered.tail.seq).or_insert_with(|| Arc::new(Segment::planned(recovered.tail.seq)));
    let writer = Writer {
        lock: Some(lock),
        given: false,
        snapshot: has_snapshot,
        names_unsynced: recovered.recovery != Recovery::Snapshot,
        current,
        synced: recovered.synced,
        torn: recovered.torn,
        doubtful: recovered.doubtful,
        broken: recovered.broken,
    };
    Ok(Segments {
        files,
        settings,
        salt,
        index,
        last: AtomicU64::new(recovered.tail.seq),
        tail: Mutex::new(recovered.tail),
        live: RwLock::new(live),
        writer: Mutex::new(writer),
        counters: Counters::default(),
        recovery: recovered.recovery,
    })
}

/// The segments in the directory, and whether a snapshot stands beside them.
fn find(files: &dyn Files) -> Result<(BTreeMap<u64, Arc<Segment>>, bool), OpenError> {
    let mut live = BTreeMap::new();
    let mut has_snapshot = false;
    for listed in files.list("")? {
        has_snapshot |= listed.name == snapshot::SNAPSHOT;
        if let Some(seq) = segment::seq_in(&listed.name) {
            live.insert(seq, Arc::new(Segment::found(seq, files.open(&listed.name)?, listed.bytes)));
        }
    }
    let (first, last) = (live.first_key_value(), live.last_key_value());
    if let (Some((first, _)), Some((last, _))) = (first, last)
        && (last - first >= SEGMENTS_MAX || *last == u64::MAX)
    {
        // We number them in a row.
        return Err(OpenError::Foreign { found: segment::name(*last) });
    }
    Ok((live, has_snapshot))
}

/// The tail behind a clean stop: the last segment has a summary, or is not continued.
fn from_snapshot(bounds: Bounds, live: &BTreeMap<u64, Arc<Segment>>) -> Option<Recovered> {
    let recovery = Recovery::Snapshot;
    let Some((seq, last)) = live.last_key_value() else {
        let tail = Tail::new(bounds, FIRST_SEQ, 0, Vec::new(), false);
        return Some(Recovered { tail, recovery, torn: None, synced: 0, doubtful: 0, broken: None });
    };
    let end = last.written();
    let tail = match segment::summary(last.file()?, *seq, end, bounds.salt) {
        Some(summary) if !summary.last => Tail::new(bounds, *seq, end, summary.lines, true),
        _ => Tail::new(bounds, seq + 1, 0, Vec::new(), false),
    };
    Some(Recovered { tail, recovery, torn: None, synced: end, doubtful: 0, broken: None })
}

/// Reads the segments in order into the index.
fn from_segments(bounds: Bounds, live: &BTreeMap<u64, Arc<Segment>>, index: &Index) -> Recovered {
    let mut tail = Tail::new(bounds, FIRST_SEQ, 0, Vec::new(), false);
    let (mut scanned, mut condemned, mut doubtful) = (0, 0, 0);
    let (mut torn, mut broken) = (None, None);
    let last = live.last_key_value().map(|(seq, _)| *seq);
    for (seq, segment) in live {
        let Some(file) = segment.file() else { continue };
        let contents = contents(file, *seq, segment.written(), bounds.salt);
        let is_last = Some(*seq) == last;
        let whole = contents.fill(segment.written());
        if !whole && (!is_last || contents.refused) {
            // It was synced, whole or in part. What is missing may be newer than anything read so far.
            index.clear();
            condemned = *seq;
            tail = Tail::new(bounds, seq + 1, 0, Vec::new(), false);
            continue;
        }
        scanned += u64::from(!contents.summarized);
        for line in &contents.lines {
            index.recover(tag(line.key), line.version, line.place(*seq));
        }
        if is_last {
            torn = (!whole).then_some(Torn { gaps: contents.gaps, end: contents.end });
            segment.set_written(contents.end);
            doubtful = contents.end;
            tail = Tail::new(bounds, *seq, contents.end, contents.lines, contents.summarized);
            if contents.ended {
                // It may not be durable yet: it is sealed again.
                let _ = tail.turn();
                broken = Some(*seq);
            }
        }
    }
    tail.condemned = condemned;
    let recovery = if live.is_empty() { Recovery::Empty } else { Recovery::Segments { scanned, condemned } };
    Recovered { tail, recovery, torn, synced: 0, doubtful, broken }
}

const FIRST_SEQ: u64 = 1;
