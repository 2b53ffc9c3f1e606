//! The arena with its real pages.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::pipe::SpliceFlags;

use super::*;

fn stored(arena: &Arc<Arena>, byte: u8, length: usize) -> Bytes {
    let body = vec![byte; length];
    arena.store(length, body.chunks(10_000)).expect("room")
}

#[test]
fn a_body_reads_back_as_it_was_written_and_is_known_as_lendable() {
    let arena = Arena::new(1 << 20).expect("memory");
    let body: Vec<u8> = (0..100_000u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    let bytes = arena.store(body.len(), body.chunks(777)).expect("room");
    assert_eq!(bytes, body);
    assert_eq!(arena.lendable(&bytes[5000..6000]).map(|piece| piece.len()), Some(1000));
    assert!(arena.lendable(&body).is_none());
    assert_eq!(arena.weight(&body), None);
    assert!(arena.weight(&bytes).expect("it lies there") >= arena.pages.page_bytes() * 25);
    assert!(arena.is_extent(&bytes));
    assert!(!arena.is_extent(&bytes[..50_000]) && !arena.is_extent(&bytes[4096..]));
}

#[test]
fn memory_is_given_back_with_the_last_reader() {
    let arena = Arena::new(4 << 20).expect("memory");
    assert_eq!(arena.pages.resident_bytes(), 0);
    let bytes = stored(&arena, 1, 1 << 20);
    let part = bytes.slice(100..200);
    assert_eq!(arena.pages.resident_bytes(), 1 << 20);
    drop(bytes);
    assert_eq!(arena.pages.resident_bytes(), 1 << 20, "a part pins the whole");
    drop(part);
    assert_eq!(arena.pages.resident_bytes(), 0);
}

#[test]
fn a_full_arena_turns_bodies_away_and_takes_them_again() {
    let arena = Arena::new(1 << 20).expect("memory");
    let all: Vec<_> = (0..2).map(|byte| stored(&arena, byte, 1 << 20)).collect();
    assert!(arena.store(4096, std::iter::once(&[0; 4096][..])).is_none());
    drop(all);
    assert_eq!(stored(&arena, 7, 1 << 20)[..10], [7; 10]);
    assert!(arena.store(0, std::iter::empty()).is_none());
    assert!(arena.store(100, std::iter::once(&[0; 5000][..])).is_none(), "longer than announced");
    drop(stored(&arena, 7, 2 << 20));
}

#[test]
fn a_budget_too_small_for_a_body_needs_no_arena() {
    assert!(Arena::new(0).is_none());
    assert!(Arena::new(BODY_BYTES_MIN - 1).is_none());
}

/// What a socket's queue refers to stays as it was when the place is taken by another body. Checked to fail when `free` does
/// not release.
#[test]
fn bytes_that_wait_in_a_socket_survive_their_extent() {
    let arena = Arena::new(1 << 20).expect("memory");
    let old = stored(&arena, b'o', 128 << 10);
    let place = old.as_ptr();
    let (mut client, server) = UnixStream::pair().expect("sockets");
    let (out, into) = rustix::pipe::pipe().expect("a pipe");
    let lent = arena.lendable(&old).expect("it lies there").lend(0, into.as_fd()).expect("room");
    assert!(lent >= 4096, "at least a page is under way");
    let sent = rustix::pipe::splice(&out, None, &server, None, lent / 2, SpliceFlags::empty()).expect("room");
    drop(old);
    let new = stored(&arena, b'n', 128 << 10);
    assert_eq!(new.as_ptr(), place, "the place is taken again");
    let rest = rustix::pipe::splice(&out, None, &server, None, lent, SpliceFlags::empty()).expect("room");
    drop(server);
    let mut read = Vec::new();
    client.read_to_end(&mut read).expect("an end");
    assert_eq!(read.len(), sent + rest);
    assert!(read.iter().all(|byte| *byte == b'o'));
    assert!(new.iter().all(|byte| *byte == b'n'));
}

#[test]
fn threads_store_and_drop_at_once() {
    let arena = Arena::new(16 << 20).expect("memory");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let arena = &arena;
            scope.spawn(move || {
                let mut kept = std::collections::VecDeque::new();
                for turn in 0..500usize {
                    let byte = thread * 50 + u8::try_from(turn % 50).expect("small");
                    kept.push_back((byte, stored(arena, byte, (1 + turn * 7919 % 64) * 4000)));
                    if kept.len() > 8
                        && let Some((byte, bytes)) = kept.pop_front()
                    {
                        assert!(bytes.iter().all(|found| *found == byte));
                    }
                }
            });
        }
    });
    assert_eq!(arena.pages.resident_bytes(), 0);
}
