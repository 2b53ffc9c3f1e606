//! A bounded number of threads for what takes longer than a worker may be held up, and a bounded number of those who wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// So many at once, so many waiting.
#[derive(Debug)]
pub(super) struct Lane {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Those who wait in any lane, for metrics.
    all_waiting: Arc<AtomicUsize>,
}

/// Why something was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotDone {
    /// Too many wait already.
    Busy,
    /// It panicked, or the node ends.
    Lost,
}

/// One who waits.
struct Waiting<'l>(&'l Lane);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.all_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    pub(super) fn new(places: usize, waiting_max: usize, all_waiting: &Arc<AtomicUsize>) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { places, waiting: AtomicUsize::new(0), waiting_max, all_waiting: Arc::clone(all_waiting) }
    }

    /// What `work`, which may block, comes to. Cancel by dropping: what has begun ends on its thread, and has its place until then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let place = if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            place
        } else {
            let with = |count: usize| (count < self.waiting_max).then_some(count + 1);
            self.waiting
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, with)
                .map_err(|_| NotDone::Busy)?;
            self.all_waiting.fetch_add(1, Ordering::Relaxed);
            let _waiting = Waiting(self);
            // Never closed.
            Arc::clone(&self.places).acquire_owned().await.map_err(|_| NotDone::Lost)?
        };
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        working.await.map_err(|_| NotDone::Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn whoever_finds_too_many_waiting_is_sent_away_and_one_who_leaves_keeps_no_place() {
        let all = Arc::new(AtomicUsize::new(0));
        let lane = Lane::new(1, 1, &all);
        let (open, gate) = mpsc::channel::<()>();
        let mut first = Box::pin(lane.run(move || gate.recv().is_ok()));
        assert!(poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await.is_pending());
        let mut second = Box::pin(lane.run(|| true));
        assert!(poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx))).await.is_pending());
        let waiting = || (lane.waiting.load(Ordering::Relaxed), all.load(Ordering::Relaxed));
        assert_eq!((waiting(), lane.run(|| true).await), ((1, 1), Err(NotDone::Busy)));
        drop(second);
        assert_eq!(waiting(), (0, 0));
        // Gone, and its work goes on: nobody gets its place before that is done.
        drop(first);
        let mut third = Box::pin(lane.run(|| true));
        assert!(poll_fn(|cx| Poll::Ready(third.as_mut().poll(cx))).await.is_pending());
        open.send(()).expect("it waits");
        assert_eq!(third.await, Ok(true));
    }

    #[tokio::test]
    async fn what_panics_is_lost_and_gives_its_place_back() {
        let lane = Lane::new(1, 0, &Arc::default());
        let lost: Result<(), _> = lane.run(|| panic!("on purpose")).await;
        assert_eq!(lost, Err(NotDone::Lost));
        assert_eq!(lane.run(|| 7).await, Ok(7));
    }
}
