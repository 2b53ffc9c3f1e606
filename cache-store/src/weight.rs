//! What an allocation costs: the size class it is rounded up to.
//!
//! A budget that counted lengths would be passed by a tenth. The classes are jemalloc's, which the node links: sixteen bytes apart
//! up to 128, then four to each doubling. Another allocator rounds otherwise; none that we know rounds by more.

/// Bytes that `length` bytes on the heap take.
pub(crate) const fn allocated(length: usize) -> usize {
    if length <= SMALL_MAX {
        return length.next_multiple_of(SMALL_STEP);
    }
    // Four classes between a power of two and the next.
    let step = 1 << ((length - 1).ilog2() - 2);
    match length.checked_next_multiple_of(step) {
        Some(rounded) => rounded,
        None => usize::MAX,
    }
}

/// What is counted for a reference that others share: two counts stand before it.
pub(crate) const fn shared(length: usize) -> usize {
    allocated(length.saturating_add(2 * size_of::<usize>()))
}

const SMALL_STEP: usize = 16;
const SMALL_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_up_to_their_class() {
        for (length, class) in [
            (0, 0),
            (1, 16),
            (104, 112),
            (128, 128),
            (129, 160),
            (1024, 1024),
            (1025, 1280),
            (1281, 1536),
            (14_337, 16_384),
            (16_385, 20_480),
            (usize::MAX, usize::MAX),
        ] {
            assert_eq!(allocated(length), class, "{length}");
        }
    }
}
