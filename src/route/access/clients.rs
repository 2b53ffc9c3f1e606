//! What each of many clients has used of a rate, in memory that does not grow: by the generic cell rate algorithm, one number each.
//!
//! The number is the moment at which a client has paid for what it had (its *due*); who is due now or earlier has used nothing, and is
//! forgotten without loss. Clients hash into sets of seven. One whose set is full of others that still owe is kept in the *spill*: four
//! rows of cells that clients share, of which the least counts (a count-min sketch with conservative update). What a client shares
//! can only be more than what it used.
//!
//! Invariant: what is kept of a client is never less than what it has used, so none gets more than its rate and burst, however many
//! others come. When far more clients owe at once than there is room for, newcomers among them are held back too early; those who
//! were there before are not.
//!
//! Why not a library's: `governor` keys a map that grows with the clients and is swept by hand, and what such a sweep drops
//! begins anew with a full burst.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A rate: one request each `interval`, and so many at once as fit into `tolerance`; nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    interval: u64,
    tolerance: u64,
}

/// What a request is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It may go on.
    Yes {
        /// So many more may come at once.
        left: u64,
        /// When nothing will be used any more, nanoseconds from now.
        whole_in: u64,
    },
    /// Not before so many nanoseconds have passed.
    Wait(u64),
}

/// The clients of one rate.
pub(super) struct Clients {
    sets: Box<[Mutex<Set>]>,
    spill: Box<[AtomicU64]>,
}

/// With its lock two cache lines.
#[derive(Clone, Copy, Default)]
struct Set([Entry; WAYS]);

#[derive(Clone, Copy, Default)]
struct Entry {
    client: u64,
    due: u64,
}

impl Pace {
    /// `requests` in each `per_nanos`, and `burst` at once.
    pub(super) fn new(requests: u64, per_nanos: u64, burst: u64) -> Self {
        // Rounded up: never more than what was said.
        let interval = per_nanos.div_ceil(requests.max(1)).max(1);
        Self { interval, tolerance: interval.saturating_mul(burst.max(1)) }
    }

    /// What one that is due at `due` is told at `now`, and when it is due then.
    #[inline]
    fn ask(self, due: u64, now: u64) -> (Said, u64) {
        let next = due.max(now).saturating_add(self.interval);
        let used = next.saturating_sub(now);
        match self.tolerance.checked_sub(used) {
            Some(unused) => (Said::Yes { left: unused / self.interval, whole_in: used }, next),
            None => (Said::Wait(used - self.tolerance), due),
        }
    }
}

impl Clients {
    /// Room for clients in so many bytes, at least that of one set.
    pub(super) fn within(bytes: usize) -> Self {
        // A quarter for the spill.
        let cells = (bytes / 4 / size_of::<AtomicU64>() / ROWS).max(1);
        let sets = (bytes - bytes / 4) / size_of::<Mutex<Set>>();
        Self {
            sets: (0..sets.max(1)).map(|_| Mutex::default()).collect(),
            spill: (0..cells.saturating_mul(ROWS)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Asks for one request of a client, given by a hash under a secret, at `now` in nanoseconds.
    #[inline]
    pub(super) fn ask(&self, client: u64, pace: Pace, now: u64) -> Said {
        let Some(set) = self.sets.get(scaled(client, self.sets.len())) else {
            return Said::Wait(pace.interval);
        };
        // Held to the end: what one client asks is asked one after the other, in the spill too.
        let mut set = set.lock();
        if let Some(entry) = set.0.iter_mut().find(|entry| entry.client == client) {
            let (said, due) = pace.ask(entry.due, now);
            entry.due = due;
            return said;
        }
        // What it owes may lie in the spill from when there was no room.
        let (said, due) = pace.ask(self.spilled(client), now);
        if matches!(said, Said::Yes { .. }) {
            match set.0.iter_mut().find(|entry| entry.due <= now) {
                Some(free) => *free = Entry { client, due },
                None => self.spill(client, due),
            }
        }
        said
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        size_of_val(&*self.sets) + size_of_val(&*self.spill)
    }

    /// The least of what a client's cells say.
    fn spilled(&self, client: u64) -> u64 {
        self.cells(client).map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    fn spill(&self, client: u64, due: u64) {
        for cell in self.cells(client) {
            cell.fetch_max(due, Ordering::Relaxed);
        }
    }

    /// One cell of each row.
    fn cells(&self, client: u64) -> impl Iterator<Item = &AtomicU64> {
        let cells = self.spill.len() / ROWS;
        // Bits of the hash that the set does not go by, once for each row.
        let (first, step) = (mixed(client), mixed(client ^ STEP) | 1);
        (0..ROWS).filter_map(move |row| {
            let hash = first.wrapping_add(step.wrapping_mul(row as u64));
            self.spill.get(row.saturating_mul(cells).saturating_add(scaled(mixed(hash), cells)))
        })
    }
}

/// A hash as a place below `count`.
#[inline]
fn scaled(hash: u64, count: usize) -> usize {
    let wide = u128::from(hash).wrapping_mul(count as u128) >> 64;
    usize::try_from(wide).unwrap_or(0)
}

/// The last steps of `SplitMix64`.
#[inline]
const fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Clients in a set.
const WAYS: usize = 7;
/// Rows of the spill.
const ROWS: usize = 4;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn asks(clients: &Clients, client: u64, pace: Pace, now: u64) -> bool {
        matches!(clients.ask(mixed(client), pace, now), Said::Yes { .. })
    }

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_at_the_rate() {
        let (clients, pace) = (Clients::within(1 << 16), Pace::new(10, SECOND, 3));
        let at = |now| clients.ask(7, pace, now);
        let start = 100 * SECOND;
        assert_eq!(at(start), Said::Yes { left: 2, whole_in: SECOND / 10 });
        assert_eq!(at(start), Said::Yes { left: 1, whole_in: SECOND / 5 });
        assert_eq!(at(start), Said::Yes { left: 0, whole_in: 3 * SECOND / 10 });
        assert_eq!(at(start), Said::Wait(SECOND / 10));
        assert_eq!(at(start + SECOND / 10 - 1), Said::Wait(1), "being refused costs nothing");
        assert_eq!(at(start + SECOND / 10), Said::Yes { left: 0, whole_in: 3 * SECOND / 10 });
        assert_eq!(at(start + 10 * SECOND), Said::Yes { left: 2, whole_in: SECOND / 10 });
    }

    #[test]
    fn no_pace_overflows() {
        for (requests, per, burst) in [(0, 0, 0), (1, u64::MAX, u64::MAX), (u64::MAX, 1, 1), (3, SECOND, 1)] {
            let (clients, pace) = (Clients::within(0), Pace::new(requests, per, burst));
            for now in [0, 1, u64::MAX / 2, u64::MAX] {
                let _ = clients.ask(0, pace, now);
            }
        }
        assert_eq!(Pace::new(3, SECOND, 1).interval, 333_333_334, "rounded so that nobody gets more");
    }

    /// R11 of the faults: a million addresses, and more of them owe than there is room for.
    #[test]
    fn a_million_clients_take_bounded_memory_and_none_gets_more_than_its_rate() {
        const OTHERS: u64 = 1_000_000;
        const WATCHED: u64 = 100;
        let clients = Clients::within(4 << 20);
        let held = clients.held_bytes();
        assert!(held <= 4 << 20, "{held} bytes");
        // Six a minute, three at once; for ten minutes everyone asks, the watched three times as often as they may.
        let pace = Pace::new(6, 60 * SECOND, 3);
        let (start, minutes) = (1_000 * SECOND, 10_u64);
        let mut given = vec![0_u64; usize::try_from(2 * WATCHED).expect("few")];
        let steps = minutes * 18;
        let share = OTHERS / steps;
        for step in 0..steps {
            let now = start + step * minutes * 60 * SECOND / steps;
            for other in step * share..(step + 1) * share {
                asks(&clients, 1_000_000 + other, pace, now);
            }
            // The second half of the watched comes when the others are many.
            let here = if step < steps / 2 { WATCHED } else { 2 * WATCHED };
            for client in 0..here {
                given[usize::try_from(client).expect("few")] += u64::from(asks(&clients, client, pace, now));
            }
        }
        assert_eq!(clients.held_bytes(), held);
        let (early, late) = given.split_at(usize::try_from(WATCHED).expect("few"));
        let due = minutes * 6;
        for given in early {
            assert!((due..=due + 3).contains(given), "{given} of {due} and a burst of 3");
        }
        for given in late {
            assert!(*given <= due / 2 + 3, "{given} of {} and a burst of 3", due / 2);
        }
    }

    #[test]
    fn workers_that_ask_at_once_do_not_give_more() {
        // One set, so that most of them live in the spill.
        let (clients, pace) = (Clients::within(256), Pace::new(1, 3600 * SECOND, 5));
        let given: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let asked = (0..2000).flat_map(|_| 0..20_u64);
                        asked.filter(|client| *client == 19 && asks(&clients, *client, pace, SECOND)).count()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(given, 5);
    }

    proptest! {
        /// However small the table is, and whatever others do.
        #[test]
        fn in_no_window_does_a_client_get_more_than_rate_and_burst(
            asked in prop::collection::vec((0..12_u64, 0..400_u64), 1..400),
            burst in 1..5_u64,
            bytes in prop_oneof![Just(0_usize), Just(512), Just(4096)],
        ) {
            let (clients, pace) = (Clients::within(bytes), Pace::new(10, 1000, burst));
            let mut now = 1_000_000;
            let mut given: Vec<VecDeque<u64>> = vec![VecDeque::new(); 12];
            for (client, pause) in asked {
                now += pause;
                if asks(&clients, client, pace, now) {
                    let times = &mut given[usize::try_from(client).expect("few")];
                    times.push_back(now);
                    for (back, since) in times.iter().rev().enumerate() {
                        let allowed = burst + (now - since) / 100;
                        prop_assert!((back as u64) < allowed, "{} since {since}, {allowed} allowed", back + 1);
                    }
                }
            }
        }

        #[test]
        fn with_room_for_all_each_gets_all_that_is_its_own(
            asked in prop::collection::vec((0..20_u64, 0..300_u64), 1..300),
        ) {
            let (clients, pace) = (Clients::within(1 << 20), Pace::new(10, 1000, 2));
            let alone: Vec<Clients> = (0..20).map(|_| Clients::within(1 << 10)).collect();
            let mut now = 1_000_000;
            for (client, pause) in asked {
                now += pause;
                let own = alone[usize::try_from(client).expect("few")].ask(mixed(client), pace, now);
                prop_assert_eq!(clients.ask(mixed(client), pace, now), own);
            }
        }
    }
}
