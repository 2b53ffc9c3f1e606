//! Which pages of the arena are taken: best fit over gaps that grow together again.
//!
//! Plain bookkeeping; nothing here touches memory. Gaps are known by place, to be joined, and by length, to be found: both
//! logarithmic. There are at most as many gaps as runs and one, and runs are bounded by the tier's budget.
//!
//! Invariant: runs and gaps together are all pages, none twice, and no two gaps touch.

use std::collections::{BTreeMap, BTreeSet};

/// Pages in a row that belong to whoever holds this. Not to be copied: it is the right to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    first: usize,
    pages: usize,
}

impl Run {
    pub(super) const fn first(&self) -> usize {
        self.first
    }

    pub(super) const fn pages(&self) -> usize {
        self.pages
    }
}

/// Gaps and runs.
#[derive(Debug)]
pub(super) struct Space {
    /// Length of a gap by its first page.
    gaps: BTreeMap<usize, usize>,
    /// Length and first page of every gap.
    by_length: BTreeSet<(usize, usize)>,
    /// Length of a run by its first page.
    runs: BTreeMap<usize, usize>,
}

impl Space {
    /// `pages` pages, all free.
    pub(super) fn new(pages: usize) -> Self {
        let mut space = Self { gaps: BTreeMap::new(), by_length: BTreeSet::new(), runs: BTreeMap::new() };
        space.open(0, pages);
        space
    }

    /// The shortest gap's first `pages` pages, of gaps as short the first; `None` when none is long enough.
    pub(super) fn take(&mut self, pages: usize) -> Option<Run> {
        let (length, first) = *self.by_length.range((pages.max(1), 0)..).next()?;
        self.shut(first, length);
        self.open(first + pages, length - pages);
        self.runs.insert(first, pages);
        Some(Run { first, pages })
    }

    /// Takes a run back.
    #[allow(clippy::needless_pass_by_value)] // whoever gives it back has it no longer
    pub(super) fn give(&mut self, run: Run) {
        let Run { mut first, mut pages } = run;
        if self.runs.remove(&first) != Some(pages) {
            debug_assert!(pages == 0, "a run that was never taken");
            return;
        }
        if let Some((before, length)) =
            self.gaps.range(..first).next_back().map(|(at, length)| (*at, *length))
            && before + length == first
        {
            self.shut(before, length);
            first = before;
            pages += length;
        }
        if let Some(length) = self.gaps.get(&(first + pages)).copied() {
            self.shut(first + pages, length);
            pages += length;
        }
        self.open(first, pages);
    }

    /// Length of the run that begins at `first`.
    pub(super) fn taken(&self, first: usize) -> Option<usize> {
        self.runs.get(&first).copied()
    }

    fn open(&mut self, first: usize, length: usize) {
        if length > 0 {
            self.gaps.insert(first, length);
            self.by_length.insert((length, first));
        }
    }

    fn shut(&mut self, first: usize, length: usize) {
        self.gaps.remove(&first);
        self.by_length.remove(&(length, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Space {
        /// Walks all pages once.
        fn check_invariants(&self, pages: usize) {
            let mut at = 0;
            let mut after_a_gap = false;
            while at < pages {
                let gap = self.gaps.get(&at).copied();
                let length = gap.or_else(|| self.taken(at)).expect("every page belongs to a gap or a run");
                assert!(!(after_a_gap && gap.is_some()), "two gaps touch at {at}");
                after_a_gap = gap.is_some();
                at += length;
            }
            assert_eq!(at, pages, "the last one ends where the pages do");
            assert_eq!(self.gaps.len(), self.by_length.len());
            for (length, first) in &self.by_length {
                assert_eq!(self.gaps.get(first), Some(length));
            }
        }
    }

    /// A number below `below` from a seeded sequence.
    fn next(seed: &mut u64, below: usize) -> usize {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        usize::try_from(*seed % below as u64).expect("below a usize")
    }

    #[test]
    fn the_shortest_gap_that_fits_is_taken() {
        let mut space = Space::new(100);
        let runs: Vec<_> = [10, 5, 10, 3, 10].map(|pages| space.take(pages).expect("room")).into();
        let mut runs = runs.into_iter();
        let (_a, five, _b, three, _c) =
            (runs.next(), runs.next().expect("taken"), runs.next(), runs.next().expect("taken"), runs.next());
        space.give(five);
        space.give(three);
        assert_eq!(space.take(2), Some(Run { first: 25, pages: 2 }));
        assert_eq!(space.take(4), Some(Run { first: 10, pages: 4 }));
        assert_eq!(space.take(63), None);
        space.check_invariants(100);
    }

    #[test]
    fn gaps_grow_together_again() {
        let mut space = Space::new(64);
        let runs: Vec<_> = (0..8).map(|_| space.take(8).expect("room")).collect();
        assert_eq!(space.take(1), None);
        let (even, odd): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.first() % 16 == 0);
        for run in even.into_iter().chain(odd) {
            space.give(run);
            space.check_invariants(64);
        }
        assert_eq!(space.take(64), Some(Run { first: 0, pages: 64 }));
    }

    /// Sizes of 64 KiB to 1 MiB in pages of 4 KiB, most of them short; then all of a sudden mostly long; oldest out first as
    /// well as at random. With twice the budget's room nothing was turned away.
    #[test]
    fn fragmentation_turns_nothing_away() {
        const BUDGET: usize = 64 * 256;
        for seed in 1..=20u64 {
            let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut space = Space::new(2 * BUDGET);
            let mut live: std::collections::VecDeque<Run> = std::collections::VecDeque::new();
            let (mut used, mut refused) = (0, 0);
            for turn in 0..20_000 {
                let long = next(&mut seed, 100) < if (turn / 5000) % 2 == 0 { 10 } else { 90 };
                let pages = if long { 256 - next(&mut seed, 64) } else { 16 + next(&mut seed, 48) };
                while used + pages > BUDGET {
                    let at = if turn % 3 == 0 { next(&mut seed, live.len()) } else { 0 };
                    let run = live.remove(at).expect("within");
                    used -= run.pages();
                    space.give(run);
                }
                match space.take(pages) {
                    Some(run) => {
                        used += run.pages();
                        live.push_back(run);
                    }
                    None => refused += 1,
                }
            }
            space.check_invariants(2 * BUDGET);
            assert_eq!(refused, 0);
        }
    }
}
