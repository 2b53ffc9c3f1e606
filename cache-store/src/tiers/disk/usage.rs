//! What the tier takes, what it did and what ails it, in numbers for the operator.

use super::Disk;
use crate::tiers::chunks;

/// Figures about the tier.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiskUsage {
    /// Bytes that the files of the log take.
    pub bytes: u64,
    /// Bytes that log and chunks may take together.
    pub bytes_max: u64,
    /// Responses and variant lists in it.
    pub objects: u64,
    /// Those pushed out of it.
    pub evictions: u64,
    /// Writes that had to wait in memory, for the disk was behind.
    pub late: u64,
    /// Of them, those that memory let go of before the disk had caught up; and what a disk that failed has lost.
    pub dropped: u64,
    /// Records whose checksum failed.
    pub damaged: u64,
    /// Reads and writes that the disk refused.
    pub failed: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// What ails it.
    pub trouble: Option<String>,
    /// The chunks of large bodies; their bytes are not in `bytes`.
    pub chunks: Option<ChunksUsage>,
}

/// Figures about the chunks of large bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunksUsage {
    /// What they take.
    pub usage: chunks::Usage,
    /// What went well and what did not.
    pub health: chunks::Health,
}

impl Disk {
    /// Figures for metrics and `stat`.
    pub fn usage(&self) -> DiskUsage {
        let usage = self.log.segments.usage();
        let (late, given_up) = self.late.counted();
        let chunks = self.shelf.as_ref().map(|shelf| (shelf.chunks.usage(), shelf.chunks.health()));
        DiskUsage {
            chunks: chunks.map(|(usage, health)| ChunksUsage { usage, health }),
            bytes: usage.bytes,
            bytes_max: self.bytes_max,
            objects: usage.objects,
            evictions: usage.evicted,
            late,
            dropped: usage.dropped.saturating_add(given_up),
            damaged: usage.damaged,
            failed: usage.reads_failed.saturating_add(usage.writes_failed),
            written_bytes: usage.written_bytes,
            trouble: self.log.segments.health().map(|trouble| trouble.error).or_else(|| {
                let failing = chunks.is_some_and(|(_, health)| health.failing);
                failing.then(|| "chunks of large bodies are refused".to_owned())
            }),
        }
    }
}
