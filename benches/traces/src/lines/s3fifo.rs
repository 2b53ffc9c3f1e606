//! S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth, a main queue with two bits, ghosts of the bytes of the
//! main one.

use std::collections::VecDeque;

use super::Cache;

pub(crate) struct S3Fifo<'a> {
    sizes: &'a [u32],
    capacity: u64,
    small_max: u64,
    place: Vec<Place>,
    uses: Vec<u8>,
    /// How many times an object stands in the ghost queue.
    ghosts: Vec<u8>,
    small: Queue,
    main: Queue,
    ghost: Queue,
}

#[derive(Default)]
struct Queue {
    ids: VecDeque<u32>,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    Here,
}

impl<'a> S3Fifo<'a> {
    pub(crate) fn new(sizes: &'a [u32], capacity: u64) -> Self {
        let count = sizes.len();
        Self {
            sizes,
            capacity,
            small_max: capacity / 10,
            place: vec![Place::Absent; count],
            uses: vec![0; count],
            ghosts: vec![0; count],
            small: Queue::default(),
            main: Queue::default(),
            ghost: Queue::default(),
        }
    }

    fn evict(&mut self) {
        if self.small.bytes > self.small_max || self.main.ids.is_empty() {
            let Some(id) = self.small.pop(self.sizes) else { return };
            let at = id as usize;
            if self.uses[at] > 1 {
                self.uses[at] = 0;
                self.main.push(id, self.sizes);
                return;
            }
            self.place[at] = Place::Absent;
            self.ghosts[at] += 1;
            self.ghost.push(id, self.sizes);
            while self.ghost.bytes > self.capacity - self.small_max {
                let Some(old) = self.ghost.pop(self.sizes) else { return };
                self.ghosts[old as usize] -= 1;
            }
        } else {
            while let Some(id) = self.main.pop(self.sizes) {
                let at = id as usize;
                if self.uses[at] == 0 {
                    self.place[at] = Place::Absent;
                    return;
                }
                self.uses[at] -= 1;
                self.main.push(id, self.sizes);
            }
        }
    }
}

impl Queue {
    fn push(&mut self, id: u32, sizes: &[u32]) {
        self.ids.push_back(id);
        self.bytes += u64::from(sizes[id as usize]);
    }

    fn pop(&mut self, sizes: &[u32]) -> Option<u32> {
        let id = self.ids.pop_front()?;
        self.bytes -= u64::from(sizes[id as usize]);
        Some(id)
    }
}

impl Cache for S3Fifo<'_> {
    fn request(&mut self, id: u32) -> bool {
        let at = id as usize;
        if self.place[at] == Place::Here {
            self.uses[at] = (self.uses[at] + 1).min(3);
            return true;
        }
        let size = u64::from(self.sizes[at]);
        if size > self.capacity {
            return false;
        }
        while self.small.bytes + self.main.bytes + size > self.capacity {
            self.evict();
        }
        self.place[at] = Place::Here;
        self.uses[at] = 0;
        let queue = if self.ghosts[at] > 0 { &mut self.main } else { &mut self.small };
        queue.push(id, self.sizes);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::hits;
    use super::*;

    #[test]
    fn what_is_seen_once_does_not_displace_what_is_used_and_what_returns_is_let_in() {
        let sizes = [1; 40];
        let mut requests = vec![0, 1, 0, 1, 0, 1];
        requests.extend(2..40);
        requests.extend([0, 1]);
        let seen = hits(S3Fifo::new(&sizes, 10), &requests);
        assert_eq!(seen[requests.len() - 2..], [true, true]);
        let mut requests: Vec<u32> = (0..12).collect();
        requests.extend([0]); // a ghost: goes to the main queue
        requests.extend(12..30);
        requests.extend([0]);
        let seen = hits(S3Fifo::new(&sizes, 10), &requests);
        assert_eq!((seen[12], seen[requests.len() - 1]), (false, true));
    }
}
