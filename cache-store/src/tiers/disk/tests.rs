//! What the tier promises over files that a test holds in its hands.

use super::*;
use crate::tiers::files::Torn;
use crate::tiers::stage::{NOW, here, page};

fn key(number: u128) -> CacheKey {
    CacheKey::from_bits(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// What was read is spared when its segment goes; the mark behind it must not go before it.
#[tokio::test]
async fn a_response_does_not_outlive_the_mark_of_its_purge() {
    let files: Arc<dyn Files> = Arc::new(Torn::new(1));
    let disk = Disk::over(&files, 16 << 20, Handle::current(), NOW).expect("an empty disk");
    let purged: Vec<_> = (1..=1000).map(key).collect();
    for key in &purged {
        disk.write(&here(*key), *key, &page("body"));
    }
    for key in &purged {
        assert!(matches!(disk.load(*key, *key, None), Loaded::Found(..)));
        assert!(disk.mark_soft(*key, NOW));
    }
    for number in 1..4000 {
        disk.write(&here(key(10_000 + number)), key(10_000 + number), &page(vec![b'x'; 16 * 1024]));
        if number.is_multiple_of(32) {
            disk.settle().expect("a disk that is well");
            for key in &purged {
                let is_marked = disk.log.segments.locate(mark_of(*key)).is_some();
                assert!(is_marked || !disk.holds(*key), "after {number} others");
            }
        }
    }
    assert!(!purged.iter().any(|key| disk.holds(*key)), "all have made room");
}
