//! The last few broad purges, as they were ordered.
//!
//! The first hit after a purge is held against what was purged since its response was found whole. That is mostly one or two orders:
//! those are here, in a row, and a response that none of them takes is let pass without a look into a table, or at where its tags
//! are stored. What was looked at longer ago is for the tables (`epoch.rs`).
//!
//! Invariant: whatever was purged after [`Latest::before`] is here.

use std::collections::VecDeque;

use super::{Last, Resource, Scope};
use crate::entry::Epoch;

/// Broad scopes by the time of their purge; a scope that is purged twice is there twice.
#[derive(Debug, Default)]
pub(super) struct Latest {
    purged: VecDeque<Purged>,
    /// The epoch of the newest that is not here any more.
    before: Epoch,
}

#[derive(Debug)]
struct Purged {
    scope: Scope,
    /// Of the tag, where it is one.
    sketch: TagSketch,
    last: Last,
}

impl Latest {
    /// A scope was purged, after all that are here or together with them.
    pub(super) fn take_in(&mut self, scope: &Scope, last: Last) {
        if self.purged.len() >= LATEST_MAX
            && let Some(oldest) = self.purged.pop_front()
        {
            self.before = self.before.max(oldest.last.newest());
        }
        let sketch = match scope {
            Scope::Tag(tag) => TagSketch::of(std::slice::from_ref(tag)),
            _ => TagSketch::default(),
        };
        self.purged.push_back(Purged { scope: scope.clone(), sketch, last });
    }

    /// The last purges of a response after `epoch`; `None` where there may have been others than those that are here. `tags` is
    /// asked for where the sketch of them does not say enough.
    pub(super) fn last_of<'tags>(
        &self,
        resource: &Resource<'_>,
        sketch: TagSketch,
        tags: &impl Fn() -> &'tags [Box<str>],
        epoch: Epoch,
    ) -> Option<Last> {
        if epoch < self.before {
            return None;
        }
        let mut last = Last::default();
        for purged in self.purged.iter().filter(|purged| purged.last.newest() > epoch) {
            let takes = match &purged.scope {
                Scope::Tag(tag) => sketch.may_have(purged.sketch) && tags().contains(tag),
                scope => scope.takes(resource, &[]),
            };
            if takes {
                last.take_in(purged.last);
            }
        }
        Some(last)
    }
}

/// Of some tags, a bit each: says of most others that they are not among them, and takes two bytes where a look at the tags
/// themselves would take two or three waits for memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TagSketch(u16);

impl TagSketch {
    pub(crate) fn of(tags: &[Box<str>]) -> Self {
        Self(tags.iter().fold(0, |all, tag| all | 1 << (Self::hash(tag) % u64::from(u16::BITS))))
    }

    /// Whether all that `others` was made of may be among what this was made of; it never denies what is.
    pub(crate) const fn may_have(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// FNV-1a, its halves folded. Whoever chooses tags that collide makes a hit no dearer than one that has the tag.
    fn hash(tag: &str) -> u64 {
        let hash = tag.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        hash ^ hash >> 32
    }
}

/// Looked through one by one: a few dozen nanoseconds at most.
const LATEST_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_never_denies_and_mostly_knows() {
        let tags: Vec<Box<str>> = (0..400).map(|number| format!("tag-{number}").into()).collect();
        let mut taken_for_others = 0;
        for (at, pair) in tags.windows(2).enumerate() {
            let sketch = TagSketch::of(pair);
            for (of, tag) in tags.iter().enumerate() {
                let may_have = sketch.may_have(TagSketch::of(std::slice::from_ref(tag)));
                if of == at || of == at + 1 {
                    assert!(may_have, "{tag} is there");
                } else {
                    taken_for_others += u32::from(may_have);
                }
            }
        }
        let share = f64::from(taken_for_others) / (399.0 * 398.0);
        assert!(share < 0.15, "two of sixteen bits let an eighth of the others pass, not {share}");
    }
}
