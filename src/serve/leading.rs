//! A fetch that runs within its client's request for as long as the client waits for it, and by itself from then on.
//!
//! Most fetches are over when their client has its answer; a task of their own would be made, woken and cleared away for
//! nothing. So `serve` polls the fetch itself, and what is left of it becomes a task when its client has been told what it
//! found, or leaves.
//!
//! Invariant: a fetch begun goes on to its end whatever becomes of its client, as long as the runtime does.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A fetch under way.
type Fetch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is left of one; dropped, it goes on as a task.
struct Leading(Option<Fetch>);

/// Runs `fetch` until it has told what it found.
///
/// # Errors
/// It ended without a word.
pub(super) async fn lead<T>(
    fetch: Fetch,
    mut word: oneshot::Receiver<T>,
) -> Result<T, oneshot::error::RecvError> {
    let mut leading = Leading(Some(fetch));
    poll_fn(|cx| {
        leading.poll(cx);
        Pin::new(&mut word).poll(cx)
    })
    .await
}

impl Leading {
    fn poll(&mut self, cx: &mut Context<'_>) {
        // Out of its place meanwhile: should it panic, it is gone and not run again.
        if let Some(mut fetch) = self.0.take()
            && fetch.as_mut().poll(cx) == Poll::Pending
        {
            self.0 = Some(fetch);
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        if let Some(fetch) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(fetch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fetch_goes_on_when_its_client_has_its_word_and_when_it_leaves() {
        for leaves in [false, true] {
            let (tell, word) = oneshot::channel();
            let (open, gate) = oneshot::channel::<()>();
            let (done, is_done) = oneshot::channel();
            let fetch: Fetch = Box::pin(async move {
                if !leaves {
                    let _ = tell.send("found");
                }
                let _ = gate.await;
                let _ = done.send(());
            });
            let mut led = Box::pin(lead(fetch, word));
            if leaves {
                let first = poll_fn(|cx| Poll::Ready(led.as_mut().poll(cx))).await;
                assert!(first.is_pending());
            } else {
                assert_eq!(led.as_mut().await, Ok("found"));
            }
            drop(led);
            let _ = open.send(());
            assert_eq!(is_done.await, Ok(()), "client leaves: {leaves}");
        }
    }
}
