//! Writing purges down: whoever orders one waits for the journal, all who wait at the same time together; what stands there goes into
//! the database behind their backs.
//!
//! ```text
//! append ── queue ── whoever holds the writer takes all that wait: number, journal (one write, one sync), apply in order ── done, each
//!                                                                      │ no room, or no journal: the database, at once
//! tick ──────────────────────────────────────── drain: all that is pending in one commit of the database; who orders does not wait
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::MutexGuard;
use redb::{ReadableDatabase as _, ReadableTable as _, WriteTransaction};

use super::journal::{Batch, Journal, Record};
use super::log::{Opening, PurgeLog, Source, given_away};
use super::tables::{CEILING, EPOCHS_AHEAD, IDS, LOG, META, insert, sealed, storage};
use super::{Purge, record};
use crate::atomic::Ordering;
use crate::entry::Epoch;

/// What became of one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) sequence: u64,
    pub(super) matched: u64,
}

/// Applies a purge of this epoch and number (zero: it has none) to what is stored; how many responses it reached by their URL.
pub(super) type Apply<'a> = dyn Fn(&Purge, Epoch, u64) -> u64 + 'a;

/// Orders that wait to be written together.
pub(super) struct Job {
    purges: Vec<Purge>,
    via: Box<str>,
    source: Option<Source>,
    done: OnceLock<Result<Vec<Done>, Arc<io::Error>>>,
}

/// What is written for some jobs.
struct Numbered {
    batch: Batch,
    /// By job: number, epoch, and whether it is new.
    records: Vec<Vec<(u64, Epoch, bool)>>,
    last: u64,
}

impl PurgeLog {
    /// Writes orders that came `via` a source down and applies them, in their order, with `apply`. When it returns they are durable and
    /// applied. An order that is there already is neither.
    ///
    /// # Errors
    /// As the disk says. They are applied all the same, and will not outlast the process.
    pub(super) fn append(
        &self,
        purges: Vec<Purge>,
        via: &str,
        source: Option<Source>,
        apply: &Apply<'_>,
    ) -> Result<Vec<Done>, Arc<io::Error>> {
        let job = Arc::new(Job { purges, via: via.into(), source, done: OnceLock::new() });
        self.queue.lock().push(Arc::clone(&job));
        let (_writer, is_ours) = self.writer();
        if job.done.get().is_none() {
            let jobs = std::mem::take(&mut *self.queue.lock());
            let written = if is_ours { self.commit(&jobs) } else { Err(given_away()) };
            self.settle(&jobs, written, apply);
        }
        job.done.get().cloned().unwrap_or_else(|| Err(Arc::new(io::Error::other("the purge was lost"))))
    }

    fn commit(&self, jobs: &[Arc<Job>]) -> io::Result<Numbered> {
        let opening = self.opening()?;
        let written = self.write(&opening, jobs);
        if written.is_err() {
            // The database refuses everything after an error, and the journal may have the batch or not: whoever comes next opens
            // them again.
            self.shut();
        }
        written
    }

    fn write(&self, opening: &Opening, jobs: &[Arc<Job>]) -> io::Result<Numbered> {
        let numbered = self.number(opening, jobs).map_err(storage)?;
        if numbered.batch.is_empty() {
            return Ok(numbered);
        }
        let Some(journal) = &opening.journal else {
            let transaction = opening.database.begin_write().map_err(|error| storage(error.into()))?;
            self.write_down(transaction, &numbered.batch, 0).map_err(storage)?;
            return Ok(numbered);
        };
        let is_due = self.is_near_the_ceiling();
        if is_due || !journal.append(self.identity, numbered.batch.clone())? {
            let (mut all, count) = journal.pending();
            all.extend(numbered.batch.clone());
            let transaction = opening.database.begin_write().map_err(|error| storage(error.into()))?;
            self.write_down(transaction, &all, count).map_err(storage)?;
            self.taken_over(journal, count);
        }
        Ok(numbered)
    }

    /// Gives what is new its number and its epoch.
    fn number(&self, opening: &Opening, jobs: &[Arc<Job>]) -> Result<Numbered, redb::Error> {
        // First: what is taken over in between is found in the database.
        let pending = |all: &Batch| {
            let ids = jobs.iter().flat_map(|job| &job.purges).map(|purge| purge.id);
            let known: HashMap<_, _> = ids.filter_map(|id| Some((id, all.sequence_of(id)?))).collect();
            (known, all.last())
        };
        let (pending, mut last) =
            opening.journal.as_ref().map(|journal| journal.look(pending)).unwrap_or_default();
        let before = self.before_tick.lock().clone();
        let transaction = before.map_or_else(|| opening.database.begin_read().map(Arc::new), Ok)?;
        let known = transaction.open_table(IDS)?;
        // One that failed may have been written all the same.
        let written = transaction.open_table(LOG)?.last()?.map_or(0, |(last, _)| last.value());
        last = last.max(written).max(self.sequence());
        let mut batch = Batch::default();
        let mut new = HashMap::new();
        let mut records = Vec::with_capacity(jobs.len());
        for job in jobs {
            let mut numbers = Vec::with_capacity(job.purges.len());
            for purge in &job.purges {
                let there = match pending.get(&purge.id).or_else(|| new.get(&purge.id)) {
                    Some(sequence) => Some(*sequence),
                    None => known.get(purge.id)?.map(|sequence| sequence.value()),
                };
                if let Some(sequence) = there {
                    numbers.push((sequence, 0, false));
                    continue;
                }
                last += 1;
                self.announced.fetch_max(last, Ordering::AcqRel);
                let epoch = self.next_epoch();
                let bytes = record::encode(epoch, &job.via, purge).into();
                batch.records.push(Record { sequence: last, id: purge.id, bytes });
                new.insert(purge.id, last);
                numbers.push((last, epoch, true));
            }
            batch.sources.extend(job.source.clone());
            records.push(numbers);
        }
        Ok(Numbered { batch, records, last })
    }

    /// Writes into the database, durable when it returns; it has so many of the journal's batches then.
    fn write_down(
        &self,
        transaction: WriteTransaction,
        batch: &Batch,
        taken: u64,
    ) -> Result<(), redb::Error> {
        insert(&transaction, batch, taken)?;
        // Not every time: it is a page more to write.
        let ceiling = self.is_near_the_ceiling().then(|| self.epoch().saturating_add(EPOCHS_AHEAD));
        if let Some(ceiling) = ceiling {
            transaction.open_table(META)?.insert(CEILING, sealed(CEILING, ceiling))?;
        }
        transaction.commit()?;
        if let Some(ceiling) = ceiling {
            // Whoever was later may have been faster.
            self.ceiling.fetch_max(ceiling, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Takes what is pending into the database; whether that is all there is then. Orders that come meanwhile do not wait for it:
    /// the `writer` is let go of as soon as the transaction has begun.
    ///
    /// # Errors
    /// As the disk says; it stays pending.
    pub(super) fn drain(&self, opening: &Opening, writer: MutexGuard<'_, ()>) -> io::Result<bool> {
        let Some(journal) = &opening.journal else { return Ok(true) };
        if journal.look(Batch::is_empty) {
            return Ok(true);
        }
        let storage = |error: redb::TransactionError| storage(error.into());
        // While it commits the database lets nobody begin to read; what it said before, and what is pending, is all there is.
        *self.before_tick.lock() = Some(Arc::new(opening.database.begin_read().map_err(storage)?));
        let drained = self.drain_beside(opening, journal, writer);
        *self.before_tick.lock() = None;
        self.taken_over(journal, drained?);
        Ok(journal.look(Batch::is_empty))
    }

    /// The database has the first `count` batches of the journal.
    pub(super) fn taken_over(&self, journal: &Journal, count: u64) {
        // First: what it said before is not all there is any more.
        *self.before_tick.lock() = None;
        journal.taken_over(count);
    }

    /// How many of the journal's batches the database has then.
    fn drain_beside(
        &self,
        opening: &Opening,
        journal: &Journal,
        writer: MutexGuard<'_, ()>,
    ) -> io::Result<u64> {
        // Begun under the writer, so that no other commit knows more of the journal and comes before.
        let transaction = opening.database.begin_write().map_err(|error| storage(error.into()))?;
        let (pending, count) = journal.pending();
        drop(writer);
        self.write_down(transaction, &pending, count).map_err(storage)?;
        Ok(count)
    }

    /// Applies what was written, and tells those who wait.
    fn settle(&self, jobs: &[Arc<Job>], written: io::Result<Numbered>, apply: &Apply<'_>) {
        match written {
            Ok(Numbered { records, last, .. }) => {
                for (job, numbers) in jobs.iter().zip(records) {
                    let done = job.purges.iter().zip(numbers).map(|(purge, (sequence, epoch, is_new))| {
                        let matched = if is_new { apply(purge, epoch, sequence) } else { 0 };
                        Done { sequence, matched }
                    });
                    let done = done.collect();
                    drop(job.done.set(Ok(done)));
                }
                // After one that could not be written this one can: whoever ordered that was told to order it again.
                self.announced.store(last.max(self.sequence()), Ordering::Release);
                self.passed.send_if_modified(|passed| {
                    let rises = *passed < last;
                    *passed = (*passed).max(last);
                    rises
                });
            }
            Err(error) => {
                let error = Arc::new(error);
                // None of them has a number, so no number says any more that another node has what holds here.
                self.announced.store(u64::MAX, Ordering::Release);
                for job in jobs {
                    for purge in &job.purges {
                        apply(purge, self.next_epoch(), 0);
                    }
                    drop(job.done.set(Err(Arc::clone(&error))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};

    use super::*;
    use crate::purge::Scope;
    use crate::tiers::files::{File, Files, Listed, Lock, Torn};
    use crate::timestamp::Timestamp;

    /// A disk on which a sync of the log's database waits while the gate is shut.
    struct Gated {
        torn: Torn,
        gate: Arc<Gate>,
    }

    #[derive(Default)]
    struct Gate {
        /// Whether it is shut, and how many have come to it since.
        state: Mutex<(bool, usize)>,
        changed: Condvar,
    }

    struct Database(Box<dyn File>, Arc<Gate>);

    impl Gate {
        fn set(&self, is_shut: bool) {
            *self.state.lock() = (is_shut, 0);
            self.changed.notify_all();
        }

        fn pass(&self) {
            let mut state = self.state.lock();
            state.1 += 1;
            self.changed.notify_all();
            self.changed.wait_while(&mut state, |state| state.0);
        }

        fn somebody_has_come(&self) {
            self.changed.wait_while(&mut self.state.lock(), |state| state.1 == 0);
        }
    }

    impl Gated {
        fn wrapped(&self, name: &str, file: Box<dyn File>) -> Box<dyn File> {
            if name == "purges.redb" { Box::new(Database(file, Arc::clone(&self.gate))) } else { file }
        }
    }

    impl Files for Gated {
        fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
            Ok(self.wrapped(name, self.torn.create(name)?))
        }

        fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
            Ok(self.wrapped(name, self.torn.open(name)?))
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.torn.rename(from, to)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.torn.remove(name)
        }

        fn list(&self, under: &str) -> io::Result<Vec<Listed>> {
            self.torn.list(under)
        }

        fn create_directory(&self, name: &str) -> io::Result<()> {
            self.torn.create_directory(name)
        }

        fn sync_directory(&self, name: &str) -> io::Result<()> {
            self.torn.sync_directory(name)
        }

        fn length(&self, name: &str) -> io::Result<u64> {
            self.torn.length(name)
        }

        fn free_bytes(&self) -> io::Result<u64> {
            self.torn.free_bytes()
        }

        fn lock(&self, name: &str) -> io::Result<Lock> {
            self.torn.lock(name)
        }
    }

    impl File for Database {
        fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_at(into, offset)
        }

        fn try_read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.try_read_at(into, offset)
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.0.write_at(bytes, offset)
        }

        fn sync(&self) -> io::Result<()> {
            self.1.pass();
            self.0.sync()
        }

        fn length(&self) -> io::Result<u64> {
            self.0.length()
        }

        fn set_length(&self, bytes: u64) -> io::Result<()> {
            self.0.set_length(bytes)
        }
    }

    fn ordered(log: &PurgeLog, id: u128) -> u64 {
        let purge =
            Purge { id, at: Timestamp::from_secs(1_000), soft: false, scopes: vec![Scope::Everything] };
        log.append(vec![purge], "", None, &|_, _, _| 0).expect("a disk that is well")[0].sequence
    }

    #[test]
    fn who_orders_does_not_wait_for_the_ticks_commit() {
        let (torn, gate) = (Torn::new(1), Arc::new(Gate::default()));
        let open = || {
            let files = Gated { torn: torn.clone(), gate: Arc::clone(&gate) };
            PurgeLog::open(Arc::new(files), Timestamp::from_secs(1_000)).expect("a disk that is well")
        };
        let log = Arc::new(open().log);
        log.trust().expect("a disk that is well");
        assert_eq!(ordered(&log, 1), 1);
        gate.set(true);
        let ticking = Arc::clone(&log);
        let tick = std::thread::spawn(move || ticking.tend_file());
        gate.somebody_has_come();
        let (done, told) = std::sync::mpsc::channel();
        let ordering = Arc::clone(&log);
        let order = std::thread::spawn(move || {
            let _ = done.send([2, 1, 3].map(|id| ordered(&ordering, id)));
        });
        let sequences = told.recv_timeout(Duration::from_secs(30));
        gate.set(false);
        assert_eq!(
            sequences,
            Ok([2, 1, 3]),
            "while the commit is under way; what is there is not written again"
        );
        order.join().expect("it has ended");
        tick.join().expect("it has ended").expect("a disk that is well");
        let known = |log: &PurgeLog| -> Vec<_> {
            let all = log.since(0, 10).expect("a disk that is well");
            all.iter().map(|logged| (logged.sequence, logged.purge.id)).collect()
        };
        assert_eq!(known(&log), [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(ordered(&log, 4), 4);
        drop(log);
        let again = open();
        assert!(!again.is_new, "nothing is missing");
        assert_eq!(known(&again.log), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }
}
