//! Gathers what h2 writes in one turn into one write.
//!
//! h2 flushes after every DATA frame; under it, 32 answers would be 32 writes of a TLS record each (measured: gathering
//! takes an HTTP/2 hit from 8.2 to 3.3 µs). So frames are copied into a buffer, h2's flushes are not passed on,
//! and the connection calls [`Gather::settle`] at the end of each turn, when h2 has nothing more to say. Compared with
//! waking the task once more and flushing at its next read, this costs no second turn and does not
//! lean on the order in which h2 reads and writes.
//!
//! Invariant: when `settle` returns, either everything is out or the socket holds our waker; and whoever was told
//! `Pending` by a write is woken once there is room. Nothing is reordered, nothing is written after a shutdown.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::config::limits::GATHER_BYTES_MAX;

/// A writer with its buffer.
#[derive(Debug)]
pub(crate) struct Gather<IO> {
    pub(crate) io: IO,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are already written.
    done: usize,
    /// Written to `io` but perhaps not through it: TLS keeps records back until it is flushed.
    unflushed: bool,
    /// A write was told `Pending`.
    refused: bool,
}

impl<IO: AsyncWrite + Unpin> Gather<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, buffer: Vec::new(), done: 0, unflushed: false, refused: false }
    }

    /// Takes as many bytes as there is room for; writes some out first if there is none for all.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.room() < bytes.len()
            && let Poll::Ready(Err(error)) = self.poll_drain(cx)
        {
            return Poll::Ready(Err(error));
        }
        let taken = bytes.get(..self.room()).unwrap_or(bytes);
        if taken.is_empty() && !bytes.is_empty() {
            self.refused = true;
            return Poll::Pending;
        }
        self.buffer.extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }

    /// The end of a turn: writes out what was gathered. `Pending` if the socket does not take all of it now.
    pub(crate) fn settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let settled = self.poll_drain(cx);
        if self.refused && self.room() > 0 {
            self.refused = false;
            cx.waker().wake_by_ref();
        }
        settled
    }

    /// Writes out what was gathered and ends the writing side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Bytes not yet written.
    pub(crate) fn unwritten(&self) -> usize {
        self.buffer.len() - self.done
    }

    /// Gives the buffer's memory back; for a connection that has nothing to do.
    pub(crate) fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    fn room(&self) -> usize {
        GATHER_BYTES_MAX.saturating_sub(self.unwritten())
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.done < self.buffer.len() {
            let rest = self.buffer.get(self.done..).unwrap_or_default();
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.done += written.min(rest.len());
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.buffer.drain(..self.done);
                    self.done = 0;
                    return Poll::Pending;
                }
            }
        }
        self.buffer.clear();
        self.done = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    /// A socket that takes bytes by a script and only passes on what was flushed.
    #[derive(Default)]
    struct Scripted {
        script: Vec<usize>,
        step: usize,
        held: Vec<u8>,
        out: Vec<u8>,
        writes: usize,
        waiting: bool,
        shut: bool,
    }

    impl Scripted {
        fn next(&mut self) -> usize {
            let answer = self.script.get(self.step % self.script.len().max(1)).copied().unwrap_or(usize::MAX);
            self.step += 1;
            answer
        }
    }

    impl AsyncWrite for Scripted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            assert!(!self.shut, "written after the shutdown");
            let take = self.next().min(bytes.len());
            if take == 0 {
                self.waiting = true;
                return Poll::Pending;
            }
            self.writes += 1;
            self.held.extend_from_slice(&bytes[..take]);
            Poll::Ready(Ok(take))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.next() == 0 {
                self.waiting = true;
                return Poll::Pending;
            }
            let held = std::mem::take(&mut self.held);
            self.out.extend(held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_written_in_one_turn_leaves_in_one_write() {
        let mut gather = Gather::new(Scripted::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for piece in [b"one".as_slice(), b"two", b"three"] {
            assert!(gather.poll_write(&mut cx, piece).is_ready());
        }
        assert_eq!(gather.io.writes, 0);
        assert!(gather.settle(&mut cx).is_ready());
        assert_eq!((gather.io.writes, gather.io.out.as_slice()), (1, b"onetwothree".as_slice()));
    }

    #[test]
    fn the_buffer_never_holds_more_than_its_bound() {
        let mut gather = Gather::new(Scripted { script: vec![0], ..Scripted::default() });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let much = vec![0; GATHER_BYTES_MAX + 1];
        assert!(
            matches!(gather.poll_write(&mut cx, &much), Poll::Ready(Ok(taken)) if taken == GATHER_BYTES_MAX)
        );
        assert!(gather.poll_write(&mut cx, b"x").is_pending());
        assert_eq!(gather.unwritten(), GATHER_BYTES_MAX);
    }

    #[test]
    fn a_shutdown_writes_out_what_was_gathered_first() {
        let mut gather = Gather::new(Scripted::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(gather.poll_write(&mut cx, b"last words").is_ready());
        assert!(gather.poll_shutdown(&mut cx).is_ready());
        assert_eq!((gather.io.out.as_slice(), gather.io.shut), (b"last words".as_slice(), true));
    }

    proptest! {
        /// A task writes pieces of any length in turns, as h2 does: in a turn until a write is refused or the pieces
        /// of the turn are through, then it settles. It is polled again only if it was woken or the socket it waits for
        /// became ready; everything must arrive, once and in order.
        #[test]
        fn nothing_is_stuck_and_order_is_kept_however_the_socket_behaves(
            script in prop::collection::vec(prop_oneof![Just(0usize), 1usize..90_000], 1..12)
                .prop_filter("a socket that never takes anything proves nothing", |script| script.iter().any(|take| *take > 0)),
            pieces in prop::collection::vec((1usize..40_000, 1usize..5), 1..12),
        ) {
            let mut gather = Gather::new(Scripted { script, ..Scripted::default() });
            let wakes = Arc::new(Wakes::default());
            let waker = std::task::Waker::from(Arc::clone(&wakes));
            let mut cx = Context::from_waker(&waker);
            let mut expected = Vec::new();
            let mut turns = Vec::new();
            for (seed, (length, turn)) in pieces.iter().enumerate() {
                let piece: Vec<u8> = (0..*length).map(|at| u8::try_from((at * 7 + seed) % 251).expect("below 251")).collect();
                expected.extend_from_slice(&piece);
                turns.push((piece, *turn));
            }
            let mut left: std::collections::VecDeque<_> = turns.into();
            for _ in 0..100_000 {
                let mut refused = false;
                for _ in 0..left.front().map_or(0, |(_, turn)| *turn) {
                    let Some((piece, _)) = left.front_mut() else { break };
                    match gather.poll_write(&mut cx, piece) {
                        Poll::Ready(written) => {
                            piece.drain(..written.expect("the scripted socket does not fail"));
                            if piece.is_empty() {
                                left.pop_front();
                            }
                        }
                        Poll::Pending => {
                            refused = true;
                            break;
                        }
                    }
                }
                let settled = gather.settle(&mut cx).is_ready();
                if left.is_empty() && settled {
                    break;
                }
                let woken = wakes.0.swap(0, Ordering::Relaxed) > 0;
                let socket = std::mem::take(&mut gather.io.waiting);
                prop_assert!(woken || socket || (settled && !refused), "nobody would poll again");
                prop_assert!(settled || socket, "not settled, and the socket does not know our waker");
            }
            prop_assert!(left.is_empty());
            prop_assert_eq!(gather.io.out, expected);
        }
    }
}
