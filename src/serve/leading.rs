//! A fetch that runs within its client's request for as long as the client waits for it, and by itself from then on.
//!
//! Most fetches are over when their client has its answer; a task of their own would be made, woken and cleared away for
//! nothing. So `serve` polls the fetch itself. Where its client leaves, the fetch becomes a task; once there is something to tell the
//! client, what is left to do becomes one, unless it is done at once.
//!
//! Invariant: a fetch begun goes on to its end whatever becomes of its client, as long as the runtime does.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// What a fetch found, and what is left to be done.
pub(super) type Found<T> = (T, Option<Rest>);

/// What is left of a fetch when its client has been told.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A fetch under way.
pub(super) type Fetch<T> = Pin<Box<dyn Future<Output = Found<T>> + Send>>;

/// One that its client waits for; dropped, it goes on as a task.
struct Leading<T: Send + 'static>(Option<Fetch<T>>);

/// Runs `fetch` until there is something to tell its client.
pub(super) async fn lead<T: Send + 'static>(fetch: Fetch<T>) -> T {
    let mut leading = Leading(Some(fetch));
    let (found, rest) = poll_fn(|cx| leading.poll(cx)).await;
    go_on(rest).await;
    found
}

/// Does what is left to do, as far as that goes at once; the rest of it is a task's.
pub(super) async fn go_on(rest: Option<Rest>) {
    let Some(mut rest) = rest else { return };
    if poll_fn(|cx| Poll::Ready(rest.as_mut().poll(cx))).await.is_pending() {
        by_itself(rest);
    }
}

/// Runs a fetch that no client waits for.
pub(super) async fn alone<T: Send>(fetch: Fetch<T>) {
    let (found, rest) = fetch.await;
    // It may hold a reader's place.
    drop(found);
    if let Some(rest) = rest {
        rest.await;
    }
}

fn by_itself(rest: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(rest);
    }
}

impl<T: Send + 'static> Leading<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Found<T>> {
        // Out of its place meanwhile: should it panic, it is gone and not run again.
        let Some(mut fetch) = self.0.take() else { return Poll::Pending };
        let polled = fetch.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(fetch);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Leading<T> {
    fn drop(&mut self) {
        if let Some(fetch) = self.0.take() {
            by_itself(alone(fetch));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_fetch_goes_on_when_its_client_has_its_word_and_when_it_leaves() {
        for leaves in [false, true] {
            let (open, gate) = oneshot::channel::<()>();
            let (done, is_done) = oneshot::channel();
            let rest: Rest = Box::pin(async move {
                let _ = gate.await;
                let _ = done.send(());
            });
            let fetch: Fetch<&str> = Box::pin(async move {
                if leaves {
                    tokio::task::yield_now().await;
                }
                ("found", Some(rest))
            });
            let mut led = Box::pin(lead(fetch));
            if leaves {
                let first = poll_fn(|cx| Poll::Ready(led.as_mut().poll(cx))).await;
                assert!(first.is_pending());
            } else {
                assert_eq!(led.as_mut().await, "found");
            }
            drop(led);
            let _ = open.send(());
            assert_eq!(is_done.await, Ok(()), "client leaves: {leaves}");
        }
    }
}
