//! Which keys small caches beside the large ones see: some by their hash, and long ones more often.
//!
//! A key is in the sample by its bits, so a sampled key is seen always and the rest never (SHARDS, Waldspurger 2015). Where lengths
//! differ by a factor of thousands, a few long ones decide how many bytes are hit, and by chance none or one too many of them is
//! among one in thirty keys. So what is longer than [`UNIT_BYTES`] is taken more often, by as much as it is longer: then an
//! entry stands for equally many bytes whatever it is. Each takes the room of all that it stands for, and counts for as many
//! requests.
//!
//! Who has fewer keys has a part of what others have: all choose by the same bits.

use crate::key::CacheKey;

/// Of 2³² keys that lead to [`UNIT_BYTES`] or less, so many are sampled: from 1 to all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rate(u64);

impl Rate {
    /// Every key.
    pub(crate) const ALL: Self = Self(1 << 32);

    /// From what [`Rate::bits`] gave.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Half of the keys, as long as there are more than one.
    pub(crate) const fn half(self) -> Self {
        Self(if self.0 > 1 { self.0 / 2 } else { 1 })
    }

    /// Three quarters of the keys, as long as there are more than one.
    pub(crate) const fn fewer(self) -> Self {
        let quarters = self.0 / 4 * 3 + self.0 % 4 * 3 / 4;
        Self(if quarters > 1 { quarters } else { 1 })
    }

    /// It cannot be halved any more.
    pub(crate) const fn is_least(self) -> bool {
        self.0 <= 1
    }

    /// Whether a key that leads to so many bytes is in the sample.
    #[inline]
    pub(crate) fn takes(self, key: CacheKey, bytes: u64) -> bool {
        let place = place_of(key);
        place < self.0 || (bytes > UNIT_BYTES && place < self.of(bytes))
    }

    /// How many keys that lead to so many bytes one of the sample stands for; at least 1.
    #[allow(clippy::cast_precision_loss)] // below 2⁵³
    pub(crate) fn stands_for(self, bytes: u64) -> f64 {
        Self::ALL.0 as f64 / self.of(bytes) as f64
    }

    /// What an entry of `weight` takes with all that it stands for.
    pub(crate) fn room_of(self, weight: u64, bytes: u64) -> u64 {
        let room = u128::from(weight) * u128::from(Self::ALL.0) / u128::from(self.of(bytes));
        u64::try_from(room).unwrap_or(u64::MAX)
    }

    /// The part of short ones that is sampled.
    #[allow(clippy::cast_precision_loss)] // below 2⁵³
    pub(crate) fn share(self) -> f64 {
        self.0 as f64 / Self::ALL.0 as f64
    }

    /// The rate for so many bytes, at least 1.
    fn of(self, bytes: u64) -> u64 {
        if bytes <= UNIT_BYTES {
            return self.0.clamp(1, Self::ALL.0);
        }
        let rate = u128::from(self.0) * u128::from(bytes) / u128::from(UNIT_BYTES);
        u64::try_from(rate).unwrap_or(u64::MAX).clamp(1, Self::ALL.0)
    }
}

/// Where a key lies among 2³². The bits are those of a sketch's second row, and the ones in which the keys of a small sample are alike
/// are the highest, which a sketch as large as a sample's does not look at.
#[inline]
#[allow(clippy::cast_possible_truncation)] // the bits wanted
const fn place_of(key: CacheKey) -> u64 {
    ((key.bits() >> 32) as u32) as u64
}

/// Up to this length all are sampled alike.
const UNIT_BYTES: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    #[test]
    fn what_is_sampled_stands_for_all_in_number_and_in_bytes() {
        let rate = Rate::ALL.half().half().half().half().half();
        for bytes in [100, 20_000, 100_000, 1 << 20] {
            let (mut told, mut room) = (0.0, 0);
            for number in 0..20_000_u32 {
                let key = Keyer::new([9; 32]).primary("http", b"h", &number.to_le_bytes(), None);
                if rate.takes(key, bytes) {
                    assert!(rate.half().takes(key, 2 * bytes) || bytes < UNIT_BYTES, "the same bits choose");
                    told += rate.stands_for(bytes);
                    room += rate.room_of(bytes + 300, bytes);
                }
            }
            let all = 20_000 * (bytes + 300);
            assert!((told - 20_000.0).abs() < 2000.0, "{told} of {bytes} B");
            assert!(room.abs_diff(all) < all / 10, "{room} of {all}");
        }
    }

    #[test]
    fn the_least_rate_takes_next_to_nothing_but_never_divides_by_it() {
        let mut rate = Rate::ALL;
        for _ in 0..40 {
            rate = rate.half();
        }
        let fewer = (0..100).fold(Rate::ALL, |rate, _| rate.fewer());
        assert!(rate.is_least() && fewer == rate && Rate::ALL.fewer().bits() == 3 << 30);
        assert!(!rate.half().fewer().takes(CacheKey::from_bits(u128::MAX), 100));
        assert_eq!(rate.room_of(1, 1), 1 << 32);
        assert_eq!(rate.room_of(u64::MAX, 1), u64::MAX);
        assert!(rate.takes(CacheKey::from_bits(u128::MAX), u64::MAX));
    }
}
