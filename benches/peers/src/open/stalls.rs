//! When the machine itself stood still, and which requests say nothing about the server for that.
//!
//! A virtual core can be taken away for milliseconds, and its guest is not always told (steal stays zero). At
//! 40,000 requests/s a single such stall of 5 ms in 3 s is the whole of a p99.9. Two observers see them: the generator,
//! by a gap between two steps of its own loop, and a watch on the server's core: a process that real-time priority
//! puts before the server, so that nothing the server does can delay it. What a stall or the queue behind
//! it touched is left out; how much that was is told.
//!
//! Deliberately not covered: what the server's own threads do to each other on their core. That is its latency.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};

use mio::unix::pipe::Receiver;
use mio::{Interest, Poll, Token};

use crate::time::{now, rest};

/// From when to when, ns: of a stall, or of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The stalls of a run.
#[derive(Default)]
pub(crate) struct Stalls {
    seen: Vec<Span>,
}

impl Stalls {
    /// Two moments of an observer that should have been close together.
    pub(crate) fn gap(&mut self, from: u64, to: u64) {
        if to.saturating_sub(from) > STALL_MIN {
            self.seen.push(Span { from, to });
        }
    }

    /// Those of `spans` that no stall touched, nor the queue it left.
    pub(crate) fn untouched<'a>(&self, spans: &'a [Span]) -> impl Iterator<Item = u64> + use<'a> {
        let mut touched: Vec<Span> = self
            .seen
            .iter()
            // At half load a queue needs about as long to drain as it took to build.
            .map(|stall| Span { from: stall.from, to: stall.to + 2 * (stall.to - stall.from) })
            .collect();
        touched.sort_by_key(|stall| stall.from);
        // Merged, so that both ends ascend and a search finds the only candidate.
        touched.dedup_by(|later, earlier| {
            let meets = later.from <= earlier.to;
            if meets {
                earlier.to = earlier.to.max(later.to);
            }
            meets
        });
        let touches = move |span: &Span| {
            let next = touched.partition_point(|stall| stall.to < span.from);
            touched.get(next).is_some_and(|stall| stall.from <= span.to)
        };
        spans.iter().filter(move |span| !touches(span)).map(|span| span.to.saturating_sub(span.from))
    }
}

/// The watch on another core, as the generator sees it.
pub(crate) struct Watch {
    child: Child,
    told: Receiver,
}

impl Watch {
    /// Starts it on `core`; ended when dropped.
    pub(crate) fn start(core: &str, poll: &Poll, token: Token) -> io::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "chrt", "-f", "10", "taskset", "-c", core]);
        let own = std::env::current_exe()?;
        let mut child = command.arg(own).arg("watch").stdout(Stdio::piped()).spawn()?;
        let told = child.stdout.take().ok_or_else(|| io::Error::other("the watch has no output"))?;
        let mut told = Receiver::from(told);
        told.set_nonblocking(true)?;
        poll.registry().register(&mut told, token, Interest::READABLE)?;
        Ok(Self { child, told })
    }

    /// Takes what the watch has told. A byte is a stall that has just ended, of so many units.
    pub(crate) fn read(&mut self, stalls: &mut Stalls) {
        let mut units = [0; 64];
        while let Ok(length @ 1..) = self.told.read(&mut units) {
            let now = now();
            for unit in &units[..length] {
                stalls.gap(now.saturating_sub(u64::from(*unit) * UNIT), now);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sleeps and looks how late it woke, until killed.
pub(crate) fn watch() -> io::Result<()> {
    let mut output = io::stdout();
    let mut last = now();
    loop {
        rest(LOOK);
        let gap = now() - last;
        if gap > LOOK + STALL_MIN {
            // Rounded up, and longer than a byte can say is as long as it can say.
            output.write_all(&[u8::try_from(gap.div_ceil(UNIT)).unwrap_or(u8::MAX)])?;
            output.flush()?;
        }
        last = now();
    }
}

/// Shorter gaps than this are ordinary.
const STALL_MIN: u64 = 200_000;
/// How often the watch looks. It costs the server's core under 1 %, the same for every server.
const LOOK: u64 = 500_000;
const UNIT: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLI;

    #[test]
    fn what_a_stall_or_its_queue_touched_is_left_out() {
        let mut stalls = Stalls::default();
        // 10–11 ms, and with its queue up to 13; 12–14, and up to 18.
        stalls.gap(12 * MILLI, 14 * MILLI);
        stalls.gap(10 * MILLI, 11 * MILLI);
        for (claim, from, to, left) in [
            ("before", 8, 9, true),
            ("into it", 9, 11, false),
            ("around it", 9, 30, false),
            ("in the queue behind it", 17, 18, false),
            ("after", 19, 20, true),
        ] {
            let spans = [Span { from: from * MILLI, to: to * MILLI }];
            assert_eq!(stalls.untouched(&spans).count() == 1, left, "{claim}");
        }
    }

    #[test]
    fn ordinary_gaps_are_no_stalls() {
        let mut stalls = Stalls::default();
        stalls.gap(0, STALL_MIN);
        let spans = [Span { from: 0, to: 7 }];
        assert_eq!(stalls.untouched(&spans).collect::<Vec<_>>(), [7]);
    }
}
