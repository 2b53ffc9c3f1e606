//! A deadline that moves with every request and is seldom met.
//!
//! To set a timer and to take it back costs more than to look at one. So the alarm stays where it was set, also between
//! the requests of a connection: when it goes off before the deadline of that moment, it is set to that.
//!
//! Invariant: a deadline is never told before it has passed, nor later than the clock's own waking.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use cache_store::timestamp::Timestamp;

use crate::clock::Clock;

/// An alarm, once one was needed.
#[derive(Default)]
pub(crate) struct Timer(Option<Alarm>);

struct Alarm {
    at: Timestamp,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").field(&self.0.as_ref().map(|alarm| alarm.at)).finish()
    }
}

impl Timer {
    /// Ready when `due` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Timestamp) -> Poll<()> {
        loop {
            let alarm = match &mut self.0 {
                // One that goes off sooner is set anew then.
                Some(alarm) if alarm.at <= due => alarm,
                none => none.insert(Alarm::new(clock, due)),
            };
            if alarm.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.0 = None;
            if clock.now() >= due {
                return Poll::Ready(());
            }
        }
    }
}

impl Alarm {
    fn new(clock: &Clock, at: Timestamp) -> Self {
        let clock = clock.clone();
        Self { at, sleep: Box::pin(async move { clock.sleep_until(at).await }) }
    }
}
