//! What `async-nats` asks of the crate `tryhard`: a future that is made again as long as it fails.
//!
//! In its place, by the workspace's `[patch]`, because that crate turns on tokio's `test-util`: then every reading of the runtime's clock, and each
//! turn of every worker, goes through a lock, so that tests may stop the time. A node served each request so that waited for its turn alone.

use std::future::Future;
use std::time::Duration;

/// What is tried, and how often.
#[derive(Debug)]
pub struct Retry<F> {
    make: F,
    retries: u32,
}

/// Tries what `make` makes; once, unless more is said.
pub const fn retry_fn<F>(make: F) -> Retry<F> {
    Retry { make, retries: 0 }
}

impl<F> Retry<F> {
    /// So often again.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Tries, with pauses that `backoff` names for the number of the repeat, from 1, and what went wrong.
    ///
    /// # Errors
    /// That of the last try.
    #[allow(clippy::disallowed_methods)] // a library's pause, which nothing here waits for
    pub async fn custom_backoff<T, E, Fut>(
        mut self,
        mut backoff: impl FnMut(u32, &E) -> Duration,
    ) -> Result<T, E>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        for repeat in 1..=self.retries {
            match (self.make)().await {
                Ok(found) => return Ok(found),
                Err(error) => tokio::time::sleep(backoff(repeat, &error)).await,
            }
        }
        (self.make)().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fails_is_made_again_so_often_and_its_last_word_counts() {
        for (retries, fails, expected) in [(0, 1, Err(1)), (2, 2, Ok(3)), (2, 3, Err(3)), (5, 0, Ok(1))] {
            let (mut tries, mut pauses) = (0, Vec::new());
            let tried = retry_fn(|| {
                tries += 1;
                let nth = tries;
                async move { if nth <= fails { Err(nth) } else { Ok(nth) } }
            });
            let told = tried.retries(retries).custom_backoff(|repeat, failed: &u32| {
                pauses.push((repeat, *failed));
                Duration::ZERO
            });
            assert_eq!(told.await, expected);
            let repeats = fails.min(retries);
            assert_eq!(pauses, (1..=repeats).map(|nth| (nth, nth)).collect::<Vec<_>>());
        }
    }
}
