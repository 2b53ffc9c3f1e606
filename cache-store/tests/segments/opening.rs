//! Directories that are ours, somebody else's, or in use; stops, starts and other sizes.

use std::sync::Arc;

use cache_store::tiers::files::torn::Faults;
use cache_store::tiers::files::{Files, Torn};
use cache_store::tiers::segments::{Appended, OpenError, Read, Recovery, Segments, Settings};

use crate::model::{Op, Walk, append, check, key, payload, read, settings};

fn open(disk: &Torn, segments: u64) -> Result<Segments, OpenError> {
    Segments::open(Arc::new(disk.clone()), settings(segments))
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_left_alone() {
    let disk = Torn::new(1);
    disk.create("letters.txt").expect("created").write_at(b"dear", 0).expect("written");
    let before = disk.list("").expect("listed");
    assert!(matches!(open(&disk, 9), Err(OpenError::Foreign { found }) if found == "letters.txt"));
    assert_eq!(disk.list("").expect("listed"), before);
}

#[test]
fn a_later_layout_is_refused_and_left_alone() {
    let disk = Torn::new(1);
    disk.create("layout").expect("created").write_at(b"tidegate segments 2\nelse\n", 0).expect("written");
    let before = disk.list("").expect("listed");
    assert!(matches!(open(&disk, 9), Err(OpenError::Newer { found: 2, known: 1 })));
    assert_eq!(disk.list("").expect("listed"), before);
}

#[test]
fn a_log_has_one_owner() {
    let disk = Torn::new(1);
    let log = open(&disk, 9).expect("ours");
    assert!(matches!(open(&disk, 9), Err(OpenError::Locked)));
    drop(log);
    open(&disk, 9).expect("free");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for settings in [
        Settings { capacity_bytes: 7 << 20, segment_bytes: 1 << 20, ..Settings::for_capacity(1 << 30) },
        Settings { segment_bytes: 2 << 30, ..Settings::for_capacity(1 << 40) },
        Settings { buffers: 1, ..Settings::for_capacity(1 << 30) },
        Settings { buffer_bytes: 100, ..Settings::for_capacity(1 << 30) },
        Settings { segment_bytes: 0, ..Settings::for_capacity(1 << 30) },
    ] {
        let refused = Segments::open(Arc::new(Torn::new(1)), settings.clone());
        assert!(matches!(refused, Err(OpenError::Settings(_))), "{settings:?}");
    }
    for bytes in [16 << 20, 1 << 30, 50 << 30, 10 << 40] {
        Segments::open(Arc::new(Torn::new(1)), Settings::for_capacity(bytes)).expect("sensible");
    }
}

#[test]
fn a_record_is_read_from_the_buffer_then_from_the_file() {
    let disk = Torn::new(1);
    let log = open(&disk, 9).expect("ours");
    assert_eq!(append(&log, 1, 1, 500), Appended::Kept { flush: false });
    let location = log.locate(key(1)).expect("kept");
    let Read::Found(found) = log.try_read(&location) else { panic!("it is in memory") };
    check(1, &found, 500);
    assert_eq!(
        disk.stored_bytes(),
        disk.list("").expect("listed").iter().map(|file| file.bytes).sum::<u64>()
    );
    log.flush().expect("written");
    disk.faults(Faults { cold: true, ..Faults::default() });
    assert_eq!(log.try_read(&location), Read::WouldBlock);
    check(1, &log.read(&location).expect("written"), 500);
}

#[test]
fn a_stop_without_a_change_leaves_the_snapshot_and_a_change_takes_it_away() {
    let disk = Torn::new(1);
    let log = open(&disk, 9).expect("ours");
    append(&log, 1, 1, 500);
    log.close().expect("closed");
    assert_eq!(append(&log, 2, 1, 500), Appended::Full);
    drop(log);
    let written = disk.written_bytes();
    for _ in 0..3 {
        let log = open(&disk, 9).expect("ours");
        assert_eq!(log.recovery(), Recovery::Snapshot);
        check(1, &read(&log, 1).expect("durable"), 500);
        log.close().expect("closed");
    }
    assert_eq!(disk.written_bytes(), written);
    let log = open(&disk, 9).expect("ours");
    append(&log, 3, 1, 500);
    log.flush().expect("written");
    drop(log);
    let log = open(&disk, 9).expect("ours");
    assert!(matches!(log.recovery(), Recovery::Segments { .. }));
    assert!(read(&log, 1).is_some() && read(&log, 3).is_some());
}

#[test]
fn another_capacity_keeps_what_fits() {
    let mut walk = Walk::new(1, 40);
    for round in 0..6 {
        for key in 0..40 {
            walk.step(Op::Append { key, bytes: 900 + round });
            walk.step(Op::Flush);
        }
    }
    walk.step(Op::Resize { segments: 100 });
    assert_eq!(walk.log().usage().objects, 40);
    walk.step(Op::Resize { segments: 9 });
    walk.step(Op::Flush);
    assert!(walk.disk.stored_bytes() <= 9 * 16 * 1024 + 4096);
    assert!(walk.log().usage().objects > 30);
    walk.check_all();
    assert!(!walk.appended().is_empty());
}

#[test]
fn what_was_read_outlives_its_segment_and_the_rest_goes() {
    let disk = Torn::new(1);
    let log = open(&disk, 9).expect("ours");
    for version in 1..=20 {
        append(&log, version, version, 1000);
        log.flush().expect("written");
    }
    for number in 0..2000u64 {
        append(&log, 1000 + number, 100 + number, 1000);
        // Hot: one read between two reclaims is enough.
        if number % 16 == 0 {
            check(3, &read(&log, 3).expect("it is hot"), 1000);
            log.touch(key(5));
        }
        log.flush().expect("written");
    }
    assert!(read(&log, 3).is_some() && read(&log, 5).is_some());
    assert!(read(&log, 4).is_none() && read(&log, 1000).is_none());
    let usage = log.usage();
    assert!(usage.carried > 10 && usage.evicted > 1000, "{usage:?}");
    assert!(disk.stored_bytes() <= 9 * 16 * 1024 + 4096);
    // And the copies are what a restart finds.
    log.sync().expect("durable");
    drop(log);
    let log = open(&disk, 9).expect("ours");
    check(3, &read(&log, 3).expect("copied"), 1000);
    assert_eq!(log.usage().objects, usage.objects);
}

#[test]
fn a_full_index_makes_room_as_a_full_disk_does() {
    let disk = Torn::new(1);
    let settings = Settings { entries_max: 160, ..self::settings(400) };
    let log = Segments::open(Arc::new(disk), settings).expect("ours");
    let mut kept = 0;
    for number in 0..5000 {
        kept += u64::from(matches!(append(&log, number, 1, 500), Appended::Kept { .. }));
        log.flush().expect("written");
        assert!(log.usage().entries <= 160);
    }
    assert!(kept > 4900, "{kept} of 5000 were kept");
    // Fewer than one segment may hold.
    let settings = Settings { entries_max: 16, ..self::settings(400) };
    let log = Segments::open(Arc::new(Torn::new(2)), settings).expect("ours");
    let mut kept = 0;
    for number in 0..500 {
        kept += u64::from(matches!(append(&log, number, 1, 10), Appended::Kept { .. }));
        log.flush().expect("written");
        assert!(log.usage().entries <= 16);
    }
    assert!(kept > 400, "{kept} of 500 were kept");
}

#[test]
fn a_location_into_a_segment_that_is_gone_is_a_miss_or_its_own_bytes() {
    let disk = Torn::new(1);
    let log = open(&disk, 9).expect("ours");
    append(&log, 1, 1, 700);
    log.flush().expect("written");
    let location = log.locate(key(1)).expect("kept");
    for number in 0..1000 {
        append(&log, 10 + number, 1, 1000);
        log.flush().expect("written");
        if let Some(found) = log.read(&location) {
            assert_eq!(found.payload, payload(1, 1, 700));
        }
    }
    assert_eq!(log.read(&location), None);
}
