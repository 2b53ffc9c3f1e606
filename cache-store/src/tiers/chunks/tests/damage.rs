//! Files that are not what their names say.

use super::*;

#[test]
fn ten_thousand_flipped_bits_are_ten_thousand_misses() {
    let scratch = Scratch::new();
    let mut row = Row(0x5eed);
    let bodies: Vec<_> = std::iter::repeat_with(|| {
        let len = 1 + row.below(3000);
        row.bytes(len)
    })
    .take(50)
    .collect();
    for _ in 0..200 {
        let store = scratch.open();
        let ids: Vec<_> = bodies.iter().map(|body| store.put(body).expect("room")).collect();
        for (id, body) in ids.iter().zip(&bodies) {
            let mut bytes = body.clone();
            let at = row.below(bytes.len());
            bytes[at] ^= 1 << row.below(8);
            fs::write(store.path(*id), bytes).expect("there");
        }
        let fresh = scratch.open();
        for (id, body) in ids.iter().zip(&bodies) {
            assert_eq!(fresh.read(*id, whole(body)), None, "wrong bytes left");
            assert!(!fresh.path(*id).exists(), "what fails is unlinked");
        }
        assert_eq!(fresh.health().corrupt, 50);
        assert_eq!(fresh.usage().chunks, 0);
    }
}

/// Does something to a file that held a chunk of these bytes.
type Spoil = fn(&Path, &[u8]);

#[test]
fn torn_and_foreign_files_are_misses_and_written_over() {
    let scratch = Scratch::new();
    let body = Row(7).bytes(9000);
    let id = ChunkId::of(&body);
    let spoils: [(&str, Spoil); 6] = [
        ("empty", |path, _| fs::write(path, b"").expect("writes")),
        ("cut", |path, body| fs::write(path, &body[..4096]).expect("writes")),
        ("zeroes behind the first block", |path, body| {
            let torn: Vec<_> = body[..4096].iter().copied().chain([0; 4904]).collect();
            fs::write(path, torn).expect("writes");
        }),
        ("longer", |path, body| fs::write(path, [body, b"x"].concat()).expect("writes")),
        ("longer than any chunk", |path, _| {
            fs::File::create(path).expect("creates").set_len(1 << 40).expect("sparse");
        }),
        ("a link to the right bytes", |path, body| {
            let elsewhere = path.with_extension("elsewhere");
            fs::write(&elsewhere, body).expect("writes");
            fs::remove_file(path).expect("there");
            std::os::unix::fs::symlink(elsewhere, path).expect("links");
        }),
    ];
    for (name, spoil) in spoils {
        for walked in [false, true] {
            let path = scratch.open().put(&body).map(|id| scratch.open().path(id)).expect("room");
            spoil(&path, &body);
            let store = scratch.open();
            if walked {
                walk_all(&store);
            }
            assert_eq!(store.put(&body).expect("room"), id);
            assert_eq!(
                store.read(id, whole(&body)).as_deref(),
                Some(&body[..]),
                "{name}: put trusts no torn file"
            );
            assert_eq!(
                scratch.open().read(id, whole(&body)).as_deref(),
                Some(&body[..]),
                "{name}: nor does disk"
            );
            spoil(&path, &body);
            let store = scratch.open();
            if walked {
                walk_all(&store);
            }
            assert_eq!(store.read(id, whole(&body)), None, "{name}");
            store.table.check_invariants();
            assert_eq!(store.usage().chunks, 0, "{name}");
        }
    }
}

#[test]
fn what_is_no_chunk_is_left_alone() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let id = store.put(b"chunk").expect("room");
    let beside = store.path(id).with_file_name("README");
    fs::write(&beside, b"not ours").expect("writes");
    let upper = store.path(id).with_file_name("AB".repeat(30));
    fs::write(&upper, b"not ours").expect("writes");
    let dir = store.path(id).with_file_name("cd".repeat(30));
    fs::create_dir(&dir).expect("creates");
    let fresh = scratch.open();
    walk_all(&fresh);
    assert_eq!((fresh.usage().chunks, fresh.health().foreign), (1, 3));
    assert!(beside.exists() && upper.exists() && dir.exists());
}

#[test]
fn a_pipe_under_a_chunks_name_holds_nobody_up() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let id = store.put(b"chunk").expect("room");
    fs::remove_file(store.path(id)).expect("there");
    let made = std::process::Command::new("mkfifo").arg(store.path(id)).status().expect("mkfifo runs");
    assert!(made.success());
    let fresh = scratch.open();
    assert_eq!(fresh.read(id, 0..5), None);
    assert_eq!(fresh.put(b"chunk").expect("written over"), id);
    assert_eq!(fresh.read(id, 0..5).as_deref(), Some(&b"chunk"[..]));
}
