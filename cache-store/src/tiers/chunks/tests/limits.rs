//! Limits, pins, the order of eviction, and the walk that fills the accounting.

use super::*;

#[test]
fn a_put_never_passes_a_limit_and_evicts_for_its_room() {
    for limits in [limits(32 * 4096, 1000), limits(1 << 30, 32)] {
        let scratch = Scratch::new();
        let store = scratch.open_with(limits);
        for number in 0..200u32 {
            store.put(&number.to_le_bytes()).expect("room is made");
            assert!(store.usage().bytes <= 32 * 4096 && store.usage().chunks <= 32);
        }
        store.table.check_invariants();
        assert_eq!(scratch.files().len() as u64, store.usage().chunks);
        assert_eq!(store.health().evicted + store.usage().chunks, 200);
    }
}

#[test]
fn a_pinned_chunk_is_never_evicted() {
    let scratch = Scratch::new();
    let store = scratch.open_with(limits(1 << 30, 32));
    let ids = put_numbered(&store, 0..16);
    let pins: Vec<_> = ids.iter().map(|id| store.pin(*id).expect("half may be pinned")).collect();
    let late = put_numbered(&store, 100..101);
    assert!(store.pin(late[0]).is_none(), "no more than half");
    put_numbered(&store, 200..400);
    while store.reclaim().more {}
    for (number, id) in (0..16u32).zip(&ids) {
        assert_eq!(store.read(*id, 0..4).as_deref(), Some(&number.to_le_bytes()[..]));
    }
    store.table.check_invariants();
    drop(pins);
    assert_eq!(store.usage().pins, 0);
    while store.evict().is_some() {}
    assert!(ids.iter().all(|id| !store.contains(*id)), "and is, once it is not");
}

#[test]
fn where_all_is_pinned_a_put_is_refused_and_nothing_spins() {
    let scratch = Scratch::new();
    let store = scratch.open_with(limits(1 << 30, 1));
    let id = store.put(b"one").expect("room");
    let pin = store.pin(id).expect("one may always be pinned");
    assert!(matches!(store.put(b"two"), Err(PutError::Full)));
    assert_eq!(store.reclaim(), Reclaimed { evicted: 0, more: false });
    assert_eq!(store.health().full, 1);
    assert_eq!(pin.id(), id);
    drop(pin);
    assert!(store.put(b"two").is_ok());
}

#[test]
fn where_all_were_read_one_goes_all_the_same() {
    let scratch = Scratch::new();
    let store = scratch.open_with(limits(1 << 30, 1600));
    let ids = put_numbered(&store, 0..1600);
    for id in &ids {
        store.touch(*id);
    }
    assert!(store.put(b"new").is_ok());
}

#[test]
fn chunks_that_were_read_stay_before_those_that_were_not() {
    let scratch = Scratch::new();
    let store = scratch.open_with(limits(1 << 30, 2048));
    let ids = put_numbered(&store, 0..1024);
    let (hot, cold) = ids.split_at(512);
    for id in hot {
        store.touch(*id);
    }
    put_numbered(&store, 5000..6100);
    let kept = |ids: &[ChunkId]| ids.iter().filter(|id| store.contains(**id)).count();
    assert_eq!(kept(hot), 512, "the marked are spared once");
    assert!(kept(cold) < 512);
}

#[test]
fn a_step_of_reclaiming_is_bounded_and_goes_from_high_to_low() {
    let scratch = Scratch::new();
    let store = scratch.open_with(limits(1 << 30, 6400));
    put_numbered(&store, 0..6300);
    assert_eq!(store.reclaim(), Reclaimed { evicted: 0, more: false }, "6300 is the high mark");
    put_numbered(&store, 6300..6301);
    assert_eq!(store.reclaim(), Reclaimed { evicted: 64, more: true });
    assert_eq!(store.reclaim(), Reclaimed { evicted: 37, more: false });
    assert_eq!(store.usage().chunks, 6200, "the low mark");
}

#[test]
fn the_floor_of_free_space_is_kept_by_refusing_and_by_evicting() {
    let scratch = Scratch::new();
    let filled = scratch.open();
    put_numbered(&filled, 0..100);
    let floored = scratch.open_with(Limits { free_bytes_min: u64::MAX / 2, ..limits(1 << 30, 1000) });
    walk_all(&floored);
    assert!(matches!(floored.put(b"one more"), Err(PutError::Full)));
    while floored.reclaim().more {}
    assert_eq!(floored.usage().chunks, 0);
    assert!(scratch.files().is_empty());
}

#[test]
fn an_open_reads_nothing_and_the_walk_finds_all_in_bounded_steps() {
    let scratch = Scratch::new();
    let ids = put_numbered(&scratch.open(), 0..300);
    let store = scratch.open();
    assert_eq!(store.usage().chunks, 0);
    assert_eq!(store.read(ids[7], 0..4).as_deref(), Some(&7u32.to_le_bytes()[..]), "found by its path");
    assert_eq!(store.usage().chunks, 1);
    let mut steps = 0;
    let mut before = 1;
    while store.walk(5) == Walked::Some {
        steps += 1;
        let now = store.usage().chunks;
        assert!(now - before <= 5);
        before = now;
    }
    assert!(steps * 5 <= 65_536 + 2 * 300, "{steps}");
    assert_eq!(store.usage(), Usage { bytes: 300 * 4096, chunks: 300, pins: 0, open_files: 1 });
    store.table.check_invariants();
    assert_eq!(store.walk(5), Walked::All);
    // What was not read is the first to go.
    put_numbered(&store, 1000..1010);
    assert!(ids[..10].iter().all(|id| store.contains(*id)));
    for _ in 0..299 {
        store.evict().expect("a victim");
    }
    assert!(store.contains(ids[7]));
    assert_eq!(store.usage().chunks, 11);
}

#[test]
fn what_the_walk_finds_goes_first() {
    let scratch = Scratch::new();
    let cold = put_numbered(&scratch.open(), 0..10);
    let store = scratch.open();
    let new = put_numbered(&store, 100..120);
    for _ in 0..5 {
        store.evict().expect("a victim");
    }
    walk_all(&store);
    for _ in 0..10 {
        store.evict().expect("a victim");
    }
    assert!(cold.iter().all(|id| !store.contains(*id)));
    assert_eq!(new.iter().filter(|id| store.contains(**id)).count(), 15);
}

#[test]
fn a_walk_under_lower_limits_keeps_what_fits() {
    let scratch = Scratch::new();
    let ids = put_numbered(&scratch.open(), 0..100);
    let store = scratch.open_with(limits(1 << 30, 10));
    let pin = store.pin(ids[99]).expect("before the walk has seen it");
    walk_all(&store);
    assert!((10..=11).contains(&store.usage().chunks));
    assert_eq!(scratch.files().len() as u64, store.usage().chunks);
    assert!(store.path(pin.id()).exists());
    while store.reclaim().more {}
    assert!(store.usage().chunks <= 9);
    store.table.check_invariants();
}
