//! What a purge does to what is stored.
//!
//! Called by the log's writer with records that are durable, in their order; by an unsafe request that succeeded (RFC 9111
//! §4.4), whose invalidation is this node's own and written nowhere; and at the start, for what the log says.
//!
//! A purge by URL goes to the key's shard and marks what is resident under its lock. A broad one only moves the epoch.
//!
//! Invariant: when a purge returns, no request that comes after it is answered with what it took.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::log::{Opened, PurgeLog, Source, new_id};
use super::{Broad, Last, Purge, Recent, Scope};
use crate::atomic::{AtomicU64, Ordering};
use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::stock::Item;
use crate::store::CacheStore;
use crate::tiers::files::Files;
use crate::tiers::objects::Slot;
use crate::timestamp::Timestamp;

/// What a store knows of purges.
#[derive(Debug)]
pub(crate) struct Purges {
    pub(crate) log: Arc<PurgeLog>,
    pub(crate) broad: Broad,
    pub(crate) recent: Recent,
    /// Up to which record the disk has forgotten for good what purges by URL took.
    settled: AtomicU64,
    /// The last record when it was looked at last.
    seen: AtomicU64,
    /// What was stored at the start counted as softly purged, for the log may not say all that was purged.
    pub(crate) is_doubtful: bool,
}

/// A purge that has been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number in the log.
    pub sequence: u64,
    /// Responses under its URLs that it reached; what a broad scope reaches is not counted, for that would cost a walk.
    pub matched: u64,
}

/// What a purge would reach now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Matched {
    /// Responses.
    pub objects: u64,
    /// Bytes of their heads and bodies.
    pub bytes: u64,
    /// So many responses it may be off, in 19 of 20 cases; zero where they were counted.
    pub margin: u64,
    /// Not all that the disk had at the start is known yet: there may be more.
    pub is_partial: bool,
}

/// A purge that could not be written down. It holds while the process runs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PurgeFailed(Arc<io::Error>);

impl Purges {
    /// Those of a store without a disk.
    pub(crate) fn in_memory() -> Self {
        Self::of(PurgeLog::in_memory())
    }

    fn of(log: PurgeLog) -> Self {
        Self {
            log: Arc::new(log),
            broad: Broad::default(),
            recent: Recent::new(),
            settled: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            is_doubtful: false,
        }
    }

    /// Those that a directory tells of; `tell` is called with what purges by URL took that the disk may still have. `holds` whether
    /// anything is stored there. A log that makes no sense is put aside, and everything counts as softly purged.
    pub(crate) fn open(
        files: &Arc<dyn Files>,
        now: Timestamp,
        holds: bool,
        mut tell: impl FnMut(CacheKey, Last),
    ) -> io::Result<Self> {
        // The library asserts what a damaged file may deny.
        let read = catch_unwind(AssertUnwindSafe(|| Self::read(files, now, &mut tell)));
        let read = match read.unwrap_or_else(|_| Err(io::ErrorKind::InvalidData.into())) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                PurgeLog::set_aside(files)?;
                Self::read(files, now, &mut tell)
            }
            read => read,
        };
        let (mut purges, is_whole, is_new) = read?;
        purges.is_doubtful = holds && !is_whole;
        if purges.is_doubtful {
            // A record, so that a second start knows it.
            let purge = Purge { id: new_id()?, at: now, soft: true, scopes: vec![Scope::Everything] };
            let apply = |purge: &Purge, epoch, _| {
                purges.broad.apply(purge, epoch);
                0
            };
            purges.log.append(vec![purge], GAP, None, &apply).map_err(io::Error::other)?;
        }
        if is_new {
            purges.log.trust()?;
        }
        Ok(purges)
    }

    /// What the log says, whether that is all there was, and whether the log says so itself.
    fn read(
        files: &Arc<dyn Files>,
        now: Timestamp,
        tell: &mut impl FnMut(CacheKey, Last),
    ) -> io::Result<(Self, bool, bool)> {
        let Opened { log, is_new } = PurgeLog::open(Arc::clone(files), now)?;
        let purges = Self::of(log);
        let (settled, floor) = purges.log.marks()?;
        if floor > 0 {
            purges.broad.raise_floor(floor);
        }
        // Each once, however often it was purged: what is there is read for it.
        let mut unsettled = HashMap::<CacheKey, Last>::new();
        let is_whole = purges.log.replay(|logged| {
            purges.broad.apply(&logged.purge, logged.epoch);
            if logged.sequence > settled {
                for scope in &logged.purge.scopes {
                    let Scope::Url { keys, .. } = scope else { continue };
                    let last = Last::of(logged.epoch, logged.purge.soft, logged.purge.at);
                    keys.iter().for_each(|key| unsettled.entry(*key).or_default().take_in(last));
                }
            }
        })?;
        for (key, last) in unsettled {
            tell(key, last);
        }
        purges.settled.store(settled, Ordering::Release);
        Ok((purges, is_whole && !is_new, is_new))
    }

    /// What became of what a fetch for the key brought that began at `epoch`, as far as purges by URL tell.
    pub(crate) fn since(&self, key: CacheKey, epoch: Epoch) -> Purged {
        self.recent.since(key, epoch)
    }
}

impl CacheStore {
    /// Applies a purge: written down, numbered, and nothing older is served as fresh once this returns. Blocks.
    ///
    /// # Errors
    /// The log cannot be written: the purge is applied, and may be forgotten at the end of the process.
    pub fn purge(&self, purge: Purge) -> Result<Applied, PurgeFailed> {
        let done = self.append(vec![purge], "", None)?;
        Ok(done.first().copied().unwrap_or(Applied { sequence: self.purge_log().sequence(), matched: 0 }))
    }

    /// Applies what comes from another log, in order, and notes with it how far that has been followed. What is known already
    /// is left alone. Blocks.
    ///
    /// # Errors
    /// As [`CacheStore::purge`]; the cursor has not moved.
    pub fn replicate(&self, purges: Vec<Purge>, source: Source) -> Result<Vec<Applied>, PurgeFailed> {
        let via = source.name.clone();
        self.append(purges, &via, Some(source))
    }

    /// Applies what another node gives to this one's log. What is known already is left alone, and answered with its number. Blocks.
    ///
    /// # Errors
    /// As [`CacheStore::purge`].
    pub fn accept(&self, purges: Vec<Purge>, via: &str) -> Result<Vec<Applied>, PurgeFailed> {
        self.append(purges, via, None)
    }

    /// What was purged until now is not known, for a log that is followed has a gap: everything counts as softly purged, and it is
    /// followed on from `source`. Nobody is told of it but those who follow this log. Blocks.
    ///
    /// # Errors
    /// As [`CacheStore::purge`].
    pub fn distrust(&self, source: Source, now: Timestamp) -> Result<(), PurgeFailed> {
        let id = new_id().map_err(|error| PurgeFailed(Arc::new(error)))?;
        let purge = Purge { id, at: now, soft: true, scopes: vec![Scope::Everything] };
        self.append(vec![purge], GAP, Some(source)).map(drop)
    }

    fn append(
        &self,
        purges: Vec<Purge>,
        via: &str,
        source: Option<Source>,
    ) -> Result<Vec<Applied>, PurgeFailed> {
        let apply = |purge: &Purge, epoch: Epoch, sequence| self.apply(purge, epoch, sequence);
        let done = self.purges().log.append(purges, via, source, &apply).map_err(PurgeFailed)?;
        self.handover().purged();
        Ok(done.into_iter().map(|done| Applied { sequence: done.sequence, matched: done.matched }).collect())
    }

    /// Makes what is stored under these keys unusable here: a request that changes the resource has succeeded (RFC 9111 §4.4).
    /// Never waits for a disk.
    pub fn invalidate(&self, keys: &[CacheKey], now: Timestamp) {
        self.invalidate_here(keys, now);
        self.handover().changed(keys);
    }

    /// The same, where it was another process of this node that heard of it.
    pub fn invalidate_here(&self, keys: &[CacheKey], now: Timestamp) {
        let epoch = self.purges().log.next_epoch();
        for key in keys {
            self.purge_one(epoch, *key, false, now);
        }
    }

    /// Until it is called with `None`, what was received or confirmed before the moment counts as purged so: it cannot be proven that
    /// every purge since has been heard of.
    pub fn distrust_for_now(&self, how: Option<(Purged, Timestamp)>) {
        self.purges().broad.distrust(how);
    }

    /// The log of purges.
    pub fn purge_log(&self) -> &Arc<PurgeLog> {
        &self.purges().log
    }

    /// Makes what purges by URL took from the disk gone for good, and drops records that are of no use any more: older than
    /// `before`, which must be longer ago than anything is kept unasked. For a tick. Blocks.
    ///
    /// # Errors
    /// As the disk says; the next tick tries again.
    pub fn tend_purges(&self, before: Timestamp) -> io::Result<()> {
        let purges = self.purges();
        if !purges.log.is_ours() {
            return Ok(());
        }
        purges.log.tend_file()?;
        purges.log.raise_ceiling()?;
        if let Some(disk) = self.disk() {
            let sequence = purges.log.sequence();
            // While purges come they are not made to wait for this: a start that has to tell the disk again costs little.
            let is_quiet = purges.seen.swap(sequence, Ordering::AcqRel) == sequence;
            let settled = purges.settled.load(Ordering::Acquire);
            if sequence > settled && (is_quiet || sequence - settled >= UNSETTLED_MAX) {
                disk.settle()?;
                purges.log.settled(sequence)?;
                purges.settled.store(sequence, Ordering::Release);
            }
        }
        if let Some(floor) = purges.log.trim(before)? {
            purges.broad.raise_floor(floor);
        }
        Ok(())
    }

    /// What was written under no number is applied as zero.
    fn apply(&self, purge: &Purge, epoch: Epoch, sequence: u64) -> u64 {
        let costs = &self.purges().broad.costs;
        if sequence > 0 {
            costs.ordered(epoch, sequence);
        }
        let mut matched = 0;
        for scope in &purge.scopes {
            let Scope::Url { keys, .. } = scope else { continue };
            for key in keys {
                let of_key = self.purge_one(epoch, *key, purge.soft, purge.at);
                if of_key > 0 {
                    costs.took(*key, epoch);
                }
                matched += of_key;
            }
        }
        self.purges().broad.apply(purge, epoch);
        matched
    }

    fn purge_one(&self, epoch: Epoch, primary: CacheKey, soft: bool, now: Timestamp) -> u64 {
        let mut shard = self.flights().shard(primary);
        self.purges().recent.record(epoch, primary, soft, now);
        let mark = if soft { Purged::Soft(now) } else { Purged::Hard };
        let mut matched = 0;
        let mut keys = vec![primary];
        match self.objects().find(primary) {
            Some(Slot::Response(stored)) => {
                stored.purge(mark);
                matched += 1;
            }
            Some(Slot::Variants(variants)) => {
                for variant in variants.iter() {
                    keys.push(variant.key);
                    if let Some(Slot::Response(stored)) = self.objects().find(variant.key) {
                        stored.purge(mark);
                        matched += 1;
                    } else {
                        matched += u64::from(self.is_on_disk(variant.key));
                    }
                }
            }
            None => matched += u64::from(self.is_on_disk(primary)),
        }
        if !soft {
            for key in &keys {
                self.objects().remove(*key);
            }
        }
        if let Some(disk) = self.disk() {
            let is_marked = soft && (matched == 0 || disk.mark_soft(primary, now));
            if !is_marked {
                for key in &keys {
                    disk.forget(*key);
                }
            }
        }
        shard.close(primary);
        shard.forget_failure(primary);
        drop(shard);
        matched
    }

    /// Fetches for what the record of this number took: what it has cost the origin so far. `None` of one that is older than the last
    /// 10,000, or than the process.
    pub fn refetched(&self, sequence: u64) -> Option<u64> {
        self.purges().broad.costs.of(sequence)
    }

    /// What a purge of these scopes would reach now, in memory and on disk. What URLs name is counted; of the rest all while
    /// little is stored, a sample once much is ([`crate::stock`]), which costs a look at 16,384 entries at most.
    pub fn matched(&self, scopes: &[Scope]) -> Matched {
        let mut named: Vec<CacheKey> = Vec::new();
        for scope in scopes {
            if let Scope::Url { keys, .. } = scope {
                named.extend_from_slice(keys);
            }
        }
        named.sort_unstable();
        named.dedup();
        let mut matched = Matched::default();
        for key in &named {
            self.match_url(*key, &mut matched);
        }
        if scopes.iter().any(Scope::is_broad) {
            let broadly = self.stock().count(|key, item| {
                named.binary_search(&item.primary).is_err()
                    && scopes
                        .iter()
                        .any(|scope| scope.takes(&item.address.resource(item.primary), &item.tags))
                    && self.is_whole(key, item)
            });
            matched.objects = matched.objects.saturating_add(broadly.objects);
            matched.bytes = matched.bytes.saturating_add(broadly.bytes);
            matched.margin = broadly.margin;
            matched.is_partial = broadly.is_partial;
        }
        matched
    }

    /// Whether a response is still there, and no purge has taken it.
    fn is_whole(&self, key: CacheKey, item: &Item) -> bool {
        let epoch = match self.objects().peek(key) {
            Some(Slot::Response(stored)) if stored.purged() == Purged::Hard => return false,
            Some(Slot::Response(stored)) => stored.epoch(),
            None if self.is_on_disk(key) => item.epoch,
            Some(Slot::Variants(_)) | None => return false,
        };
        let resource = item.address.resource(item.primary);
        self.purges().broad.since(&resource, &item.tags, epoch) != Purged::Hard
    }

    fn match_url(&self, primary: CacheKey, matched: &mut Matched) {
        let mut look = |key: CacheKey| {
            let bytes = match self.objects().peek(key) {
                Some(Slot::Response(stored)) => Some(stored.body_len() + stored.lines().len() as u64),
                Some(Slot::Variants(_)) => None,
                None => self.disk().and_then(|disk| disk.bytes_of(key)),
            };
            if let Some(bytes) = bytes {
                matched.objects += 1;
                matched.bytes = matched.bytes.saturating_add(bytes);
            }
        };
        match self.objects().peek(primary) {
            Some(Slot::Variants(variants)) => variants.iter().for_each(|variant| look(variant.key)),
            Some(Slot::Response(_)) | None => look(primary),
        }
    }
}

/// By which source a record came that no one ordered: it says that something may have been missed.
pub const GAP: &str = "gap";
/// Records that a start may have to tell the disk again.
const UNSETTLED_MAX: u64 = 10_000;
