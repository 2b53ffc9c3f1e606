//! One log beside the node's own: what comes from it, and what goes to it.
//!
//! [`Exchange::pull`] and [`Exchange::give`] are one step each; whoever owns the node calls them again and again, and decides how
//! long to wait after an error. Both are idempotent: a step that was cut off anywhere is taken again.
//!
//! ```text
//! pull   cursor ── bus.pull ─┬─ continues ── replicate(records, cursor)
//!                            └─ another log, or records are gone ── distrust(cursor at the log's beginning)
//! give   given ── own log, without what came from there ── bus.give ── given
//! ```
//!
//! What was ordered here and went to a log that is no more is given to the one in its place: the last [`GIVEN_AGAIN`] records. Where
//! records were dropped before they could be given (the other log was away for as long as any are kept), it is given one in their
//! place: everything, softly, for what they took is not known any more.

use std::sync::Arc;

use cache_store::purge::{Applied, GAP, Logged, Purge, PurgeLog, Scope, Source};
use cache_store::store::CacheStore;
use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;

use super::{Batch, BusError, Position, PurgeBus, Record, Standing};
use crate::order::{Order, Selector};

/// What a selector takes on this node; what it does not serve takes nothing, and is passed on all the same.
pub type ScopeOf = dyn Fn(&Selector) -> Scope + Send + Sync;

/// The node's log and another.
pub struct Exchange {
    store: Arc<CacheStore>,
    bus: Arc<dyn PurgeBus>,
    standing: Arc<Standing>,
    scope_of: Arc<ScopeOf>,
    /// Of the node's log, how much has been given; and how much of that is noted.
    given: Mutex<Option<Given>>,
}

#[derive(Clone, Copy)]
struct Given {
    sequence: u64,
    noted: u64,
    /// How often another log was found there: what was given before is not had by it, even where the number is the same again.
    log: u64,
}

/// What one step brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pulled {
    /// There is more to come.
    More,
    /// Everything that the log had has been applied.
    All,
}

impl Exchange {
    /// Keeps `store`'s log and the one behind `bus` together; what it knows it tells `standing`.
    pub fn new(
        store: Arc<CacheStore>,
        bus: Arc<dyn PurgeBus>,
        standing: Arc<Standing>,
        scope_of: Arc<ScopeOf>,
    ) -> Self {
        Self { store, bus, standing, scope_of, given: Mutex::default() }
    }

    /// What the other log is called.
    pub fn name(&self) -> &str {
        self.bus.name()
    }

    /// Applies what comes next. Waits as long as the bus does.
    ///
    /// # Errors
    /// The other log cannot be read, or the own one not be written.
    pub async fn pull(&self, now: Timestamp) -> Result<Pulled, BusError> {
        let name: Box<str> = self.name().into();
        let log = Arc::clone(self.store.purge_log());
        let cursor = {
            let name = name.clone();
            blocking(move || log.source(&name)).await?
        };
        let since = cursor.as_ref().map_or(0, |cursor| cursor.position);
        let Batch { log, first, last, records } = self.bus.pull(since, BATCH_MAX).await?;
        let position = records.last().map_or(since, |(number, _)| *number);
        let continues = match &cursor {
            Some(cursor) => {
                cursor.identity == log && first <= since.saturating_add(1) && since <= last.max(position)
            }
            // Followed for the first time: what was purged before may be stored here, unless the log has all of it.
            None => first <= 1,
        };
        let source = |position| Source { name: name.clone(), identity: log, position };
        let store = Arc::clone(&self.store);
        if !continues {
            let start = first.saturating_sub(1);
            let gap = source(start);
            self.standing.coming(&name, Position { log, sequence: start });
            if cursor.is_some_and(|cursor| cursor.identity != log) {
                self.give_again().await?;
            }
            blocking(move || store.distrust(gap, now)).await?;
            self.standing.followed(&name, Position { log, sequence: start });
            return Ok(if start < last { Pulled::More } else { Pulled::All });
        }
        if cursor.is_none() || position > since {
            let purges = records.into_iter().map(|(_, record)| self.purge_of(record)).collect();
            let (source, replica) = (source(position), Arc::clone(&self.store));
            self.standing.coming(&name, Position { log, sequence: position });
            let applied = blocking(move || replica.replicate(purges, source)).await?;
            self.came_from_there(&applied);
        }
        self.standing.followed(&name, Position { log, sequence: position });
        Ok(if position < last { Pulled::More } else { Pulled::All })
    }

    /// Gives what the other log may not have; `true` when it has everything.
    ///
    /// # Errors
    /// The other log cannot be reached, or the own one not be read.
    pub async fn give(&self, now: Timestamp) -> Result<bool, BusError> {
        let name: Box<str> = self.name().into();
        let log = Arc::clone(self.store.purge_log());
        let known = *self.given.lock();
        let given = if let Some(given) = known {
            given
        } else {
            let (log, name) = (Arc::clone(&log), name.clone());
            let noted = blocking(move || log.given(&name)).await?;
            Given { sequence: noted, noted, log: 0 }
        };
        let reading = Arc::clone(&log);
        let (first, logged) = blocking(move || {
            Ok::<_, std::io::Error>((reading.first()?, reading.since(given.sequence, BATCH_MAX)?))
        })
        .await?;
        let end = logged.last().map(|logged| logged.sequence);
        let lost = lost_before(&log, given.sequence, first, now);
        // What was looked at, or what there was before it was looked.
        let upto = end.unwrap_or(if lost.is_some() { first - 1 } else { given.sequence });
        let own = logged.iter().filter(|logged| *logged.via != *name && &*logged.via != GAP);
        let records: Vec<_> = lost.into_iter().chain(own.filter_map(record_of)).collect();
        if !records.is_empty() {
            let holds = self.bus.give(&records).await?;
            self.standing.given(&name, upto, holds);
        } else if upto > given.sequence || known.is_none() {
            self.standing.given_nothing(&name, upto);
        }
        let mut noted = given.noted;
        if upto >= noted + NOTED_EVERY {
            let (log, name) = (Arc::clone(&log), name.clone());
            blocking(move || log.note_given(&name, upto)).await?;
            noted = upto;
        }
        let mut now = self.given.lock();
        // A pull may have found another log meanwhile: then this was given to the one before.
        if now.map(|now| (now.log, now.sequence)) == known.map(|known| (known.log, known.sequence)) {
            *now = Some(Given { sequence: upto, noted, log: given.log });
        }
        drop(now);
        Ok(upto >= log.sequence())
    }

    /// Writes down how much has been given, where that is not written yet: a start gives from there on. For a quiet moment.
    ///
    /// # Errors
    /// The own log cannot be written.
    pub async fn note(&self) -> Result<(), BusError> {
        let known = *self.given.lock();
        let Some(known) = known.filter(|known| known.sequence > known.noted) else { return Ok(()) };
        let (log, name) = (Arc::clone(self.store.purge_log()), self.name().to_owned());
        blocking(move || log.note_given(&name, known.sequence)).await?;
        if let Some(given) = self.given.lock().as_mut().filter(|given| given.log == known.log) {
            given.noted = given.noted.max(known.sequence);
        }
        Ok(())
    }

    /// The log that stands there now may never have had what was given to the one before. Noted before the cursor is at the new
    /// one, which is what tells the two apart.
    async fn give_again(&self) -> Result<(), BusError> {
        let (log, name) = (Arc::clone(self.store.purge_log()), self.name().to_owned());
        let known = *self.given.lock();
        let again = blocking(move || {
            let given = known.map_or_else(|| log.given(&name), |known| Ok(known.sequence))?;
            let again = given.saturating_sub(GIVEN_AGAIN);
            log.note_given(&name, again).map(|()| again)
        });
        let again = again.await?;
        let log = known.map_or(0, |known| known.log) + 1;
        *self.given.lock() = Some(Given { sequence: again, noted: again, log });
        Ok(())
    }

    /// What has just come from the other log need not be given to it: told at once, or its node would not be asked until the
    /// next [`Exchange::give`].
    fn came_from_there(&self, applied: &[Applied]) {
        let mut given = self.given.lock();
        let Some(given) = given.as_mut() else { return };
        for Applied { sequence, .. } in applied {
            if *sequence == given.sequence + 1 {
                given.sequence = *sequence;
            }
        }
        self.standing.given_nothing(self.name(), given.sequence);
    }

    fn purge_of(&self, record: Record) -> Purge {
        let Record { id, at_millis, order: Order { selectors, soft } } = record;
        let scopes = selectors.iter().map(|selector| (self.scope_of)(selector)).collect();
        Purge { id, at: Timestamp::from_millis(at_millis), soft, scopes }
    }
}

/// A record of the node's log as other nodes are told it; none where it no longer reads as an order.
pub fn record_of(logged: &Logged) -> Option<Record> {
    let Purge { id, at, soft, scopes } = &logged.purge;
    let selectors: Vec<_> = scopes.iter().filter_map(Selector::of_scope).collect();
    let order = Order { selectors, soft: *soft };
    (order.selectors.len() == scopes.len()).then_some(Record { id: *id, at_millis: at.as_millis(), order })
}

/// What is given in place of records that were dropped before they could be: of a log that begins at `first` up to `given` has been
/// given. Named by what is missing, so that it is the same one when it is given again. Nothing where nothing was ever given: whoever
/// is new here is not told of what was purged before it came.
fn lost_before(log: &PurgeLog, given: u64, first: u64, now: Timestamp) -> Option<Record> {
    if given == 0 || first <= given.saturating_add(1) {
        return None;
    }
    let id = log.identity() ^ (u128::from(given) << 64 | u128::from(first));
    let order = Order { selectors: vec![Selector::Everything], soft: true };
    Some(Record { id, at_millis: now.as_millis(), order })
}

/// Runs what may wait for a disk where waiting is allowed.
async fn blocking<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    run: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(BusError(format!("the node's own log: {error}"))),
        Err(_) => Err(BusError("the node is ending".to_owned())),
    }
}

/// Records in one step.
const BATCH_MAX: usize = 256;
/// How many records may be given again after a kill.
const NOTED_EVERY: u64 = 256;
/// How many are given again to a log that stands where another was.
const GIVEN_AGAIN: u64 = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use cache_store::store::{MemoryAdmission, Settings};

    use super::super::Pending;
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1);

    /// A log that has `last` records, and gives one at a time.
    struct Endless {
        last: u64,
    }

    impl PurgeBus for Endless {
        fn name(&self) -> &'static str {
            "stream"
        }

        fn pull(&self, since: u64, _: usize) -> Pending<'_, Batch> {
            Box::pin(async move {
                let order = Order { selectors: vec![Selector::Everything], soft: true };
                let record = Record { id: u128::from(since) + 1, at_millis: 1, order };
                Ok(Batch { log: 7, first: 1, last: self.last, records: vec![(since + 1, record)] })
            })
        }

        fn give<'a>(&'a self, _: &'a [Record]) -> Pending<'a, Position> {
            Box::pin(async { unreachable!("all came from there") })
        }
    }

    /// From the moment at which a purge is applied here a parent must be asked as of that purge, or not at all.
    #[tokio::test]
    async fn a_parent_is_never_asked_as_of_before_what_was_applied() {
        let store = CacheStore::new(&Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 20,
            secret: [1; 32],
        });
        let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
        let scope_of: Arc<ScopeOf> = Arc::new(|_| Scope::Everything);
        let bus = Arc::new(Endless { last: 500 });
        let exchange = Exchange::new(Arc::clone(&store), bus, Arc::clone(&standing), scope_of);
        assert_eq!(exchange.give(NOW).await, Ok(true));
        let ended = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let asks = threads.spawn(|| {
                let mut asked = 0;
                while !ended.load(Ordering::Acquire) {
                    // The numbers here are those there.
                    let applied = store.purge_log().sequence();
                    if let Some(required) = standing.required("stream") {
                        assert!(required.sequence >= applied, "{required} behind {applied}");
                        asked += 1;
                    }
                }
                asked
            });
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let pulled = runtime.block_on(async {
                    while exchange.pull(NOW).await? == Pulled::More {}
                    Ok::<_, BusError>(())
                });
                ended.store(true, Ordering::Release);
                assert_eq!(pulled, Ok(()));
            });
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                while !ended.load(Ordering::Acquire) {
                    assert!(runtime.block_on(exchange.give(NOW)).is_ok());
                }
            });
            assert!(asks.join().expect("it was never asked too early") > 0);
        });
    }

    /// A stream that can be lost.
    #[derive(Default)]
    struct Stream(Mutex<(u128, Vec<u128>)>);

    impl PurgeBus for Stream {
        fn name(&self) -> &'static str {
            "stream"
        }

        fn pull(&self, _: u64, _: usize) -> Pending<'_, Batch> {
            let (log, ids) = &*self.0.lock();
            let (log, last) = (*log, ids.len() as u64);
            Box::pin(async move { Ok(Batch { log, first: last + 1, last, records: Vec::new() }) })
        }

        fn give<'a>(&'a self, records: &'a [Record]) -> Pending<'a, Position> {
            let (log, ids) = &mut *self.0.lock();
            ids.extend(records.iter().map(|record| record.id));
            let position = Position { log: *log, sequence: ids.len() as u64 };
            Box::pin(async move { Ok(position) })
        }
    }

    #[tokio::test]
    async fn what_a_lost_stream_had_is_given_to_the_next_even_after_a_restart() {
        let store = CacheStore::new(&Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 20,
            secret: [1; 32],
        });
        let stream = Arc::new(Stream::default());
        let started = || {
            let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
            let bus = Arc::clone(&stream) as Arc<dyn PurgeBus>;
            Exchange::new(Arc::clone(&store), bus, standing, Arc::new(|_| Scope::Everything))
        };
        let exchange = started();
        assert_eq!(exchange.pull(NOW).await, Ok(Pulled::All));
        for id in 1..=2 * u128::from(NOTED_EVERY) {
            let purge = Purge { id, at: NOW, soft: false, scopes: vec![Scope::Everything] };
            store.purge(purge).expect("memory refuses nothing");
        }
        while !exchange.give(NOW).await.expect("it takes all") {}
        let ids = std::mem::take(&mut stream.0.lock().1);
        assert_eq!(ids.len() as u64, 2 * NOTED_EVERY);
        stream.0.lock().0 = 1;
        assert_eq!(started().pull(NOW).await, Ok(Pulled::All), "and it ends before it could give anything");
        let exchange = started();
        while !exchange.give(NOW).await.expect("it takes all") {}
        assert!(stream.0.lock().1 == ids, "all of it");
    }

    /// A stream that is another one by the time it has taken what it was given.
    struct Remade {
        stream: Arc<Stream>,
        exchange: std::sync::OnceLock<std::sync::Weak<Exchange>>,
    }

    impl PurgeBus for Remade {
        fn name(&self) -> &'static str {
            "stream"
        }

        fn pull(&self, since: u64, max: usize) -> Pending<'_, Batch> {
            self.stream.pull(since, max)
        }

        fn give<'a>(&'a self, records: &'a [Record]) -> Pending<'a, Position> {
            Box::pin(async move {
                let position = self.stream.give(records).await?;
                if position.log == 0 {
                    *self.stream.0.lock() = (1, Vec::new());
                    let exchange =
                        self.exchange.get().and_then(std::sync::Weak::upgrade).expect("it is there");
                    exchange.pull(NOW).await?;
                }
                Ok(position)
            })
        }
    }

    fn store() -> Arc<CacheStore> {
        CacheStore::new(&Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 20,
            secret: [1; 32],
        })
    }

    fn order(store: &CacheStore, id: u128) {
        let purge = Purge { id, at: NOW, soft: false, scopes: vec![Scope::Everything] };
        store.purge(purge).expect("memory refuses nothing");
    }

    /// Nothing had been given before, so the number at which it begins again is the one at which it began.
    #[tokio::test]
    async fn what_went_to_a_stream_that_was_lost_on_the_way_is_given_to_the_next() {
        let store = store();
        let stream = Arc::new(Stream::default());
        let remade = Arc::new(Remade { stream: Arc::clone(&stream), exchange: std::sync::OnceLock::new() });
        let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
        let bus = Arc::clone(&remade) as Arc<dyn PurgeBus>;
        let exchange =
            Arc::new(Exchange::new(Arc::clone(&store), bus, standing, Arc::new(|_| Scope::Everything)));
        remade.exchange.set(Arc::downgrade(&exchange)).expect("once");
        assert_eq!(exchange.pull(NOW).await, Ok(Pulled::All));
        assert_eq!(exchange.give(NOW).await, Ok(true));
        order(&store, 7);
        while !exchange.give(NOW).await.expect("it takes all") {}
        assert_eq!(*stream.0.lock(), (1, vec![7]), "the stream that is there has it");
    }

    #[tokio::test]
    async fn what_was_dropped_before_it_was_given_is_made_up_for_once() {
        let store = store();
        let stream = Arc::new(Stream::default());
        let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
        let bus = Arc::clone(&stream) as Arc<dyn PurgeBus>;
        let exchange = Exchange::new(Arc::clone(&store), bus, standing, Arc::new(|_| Scope::Everything));
        order(&store, 1);
        assert_eq!(exchange.give(NOW).await, Ok(true));
        for id in 2..5 {
            order(&store, id);
        }
        // As if they were a month old.
        store.tend_purges(Timestamp::from_secs(2)).expect("memory refuses nothing");
        order(&store, 5);
        for _ in 0..2 {
            while !exchange.give(NOW).await.expect("it takes all") {}
        }
        let ids = stream.0.lock().1.clone();
        let [1, made_up, 5] = ids[..] else { panic!("{ids:?}") };
        let log = store.purge_log();
        assert_eq!(lost_before(log, 1, 5, NOW).map(|record| record.id), Some(made_up));
        assert_eq!(lost_before(log, 0, 5, NOW), None, "who is new is not told");
        assert_eq!(lost_before(log, 4, 5, NOW), None, "and nothing is missing where all was given");
    }
}
