//! What an opening makes of a database and a journal that do not fit together: claims of [`super::tables::take_over`] and of the
//! opening after an error.

use std::sync::Arc;

use super::journal::{self, Batch, Journal, Record};
use super::log::{Opened, PurgeLog};
use super::tables::LOG;
use super::{Purge, Scope, file, record};
use crate::tiers::files::{Files, Torn, torn::Faults};
use crate::timestamp::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const BLOCK: usize = 4096;

fn purge(id: u128) -> Purge {
    Purge { id, at: NOW, soft: false, scopes: vec![Scope::Tag(format!("tag-{id}").into())] }
}

fn opened(files: &Torn) -> Opened {
    PurgeLog::open(Arc::new(files.clone()), NOW).expect("a disk that is well")
}

/// A log that has begun, and whose beginning is made up for: what the disk tier had counts as softly purged.
fn begun(files: &Torn) -> PurgeLog {
    let Opened { log, is_new } = opened(files);
    assert!(is_new);
    log.trust().expect("a disk that is well");
    log
}

/// Orders the purge of this name; its number.
fn order(log: &PurgeLog, id: u128) -> Result<u64, String> {
    let done = log.append(vec![purge(id)], "", None, &|_, _, _| 0).map_err(|error| error.to_string())?;
    Ok(done.first().expect("one order, one answer").sequence)
}

/// As after an error: whoever comes next opens the files again.
fn shut(log: &PurgeLog) {
    log.offer();
    log.settle_owner(true);
}

fn numbers(log: &PurgeLog, behind: u64, max: usize) -> Vec<u64> {
    log.since(behind, max).expect("a disk that is well").iter().map(|logged| logged.sequence).collect()
}

/// Everything in a file.
fn contents(files: &Torn, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(files.length(name).expect("it is there")).expect("small")];
    files.open(name).and_then(|file| file.read_at(&mut bytes, 0)).expect("a disk that is well");
    bytes
}

fn put(files: &Torn, name: &str, bytes: &[u8]) {
    files.create(name).and_then(|file| file.write_at(bytes, 0)).expect("a disk that is well");
}

/// One more batch behind those that are there, as a log would write it.
fn write_behind(files: &Torn, log: u128, sequence: u64) {
    let (journal, found) = Journal::open(files).expect("a disk that is well").expect("there is room");
    journal.begin(0);
    let bytes = record::encode(1 << 60, "", &purge(u128::from(sequence))).into();
    let records = vec![Record { sequence, id: u128::from(sequence), bytes }];
    let batches = found.batches.into_iter().map(|there| there.batch);
    for batch in batches.chain([Batch { records, sources: Vec::new() }]) {
        assert!(journal.append(log, batch).expect("a disk that is well"));
    }
}

#[test]
fn another_log_in_the_place_of_ours_is_not_written_to() {
    let files = Torn::new(1);
    let log = begun(&files);
    assert_eq!(order(&log, 1), Ok(1));
    shut(&log);
    for name in [file::NAME, journal::NAME] {
        files.remove(name).expect("it is there");
    }
    let other = begun(&files);
    let theirs = other.identity();
    assert_eq!([order(&other, 11), order(&other, 12)], [Ok(1), Ok(2)]);
    drop(other);
    let refused = order(&log, 2).expect_err("its files are those of another log");
    assert!(refused.contains("vanished"), "{refused}");
    drop(log);
    let Opened { log, is_new } = opened(&files);
    assert!(
        is_new && log.identity() != theirs,
        "what is there may not be all: it goes on under another name"
    );
    assert_eq!(numbers(&log, 0, 9), [1, 2], "and nothing was added to it");
}

#[test]
fn an_older_state_of_our_files_is_not_written_to() {
    let files = Torn::new(1);
    let log = begun(&files);
    assert_eq!(order(&log, 1), Ok(1));
    shut(&log);
    let before = [file::NAME, journal::NAME].map(|name| (name, contents(&files, name)));
    assert_eq!([order(&log, 2), order(&log, 3)], [Ok(2), Ok(3)]);
    shut(&log);
    for (name, bytes) in before {
        put(&files, name, &bytes);
    }
    order(&log, 4).expect_err("the second and third are missing, and were told");
    drop(log);
    assert!(opened(&files).is_new, "and the next start knows that something is");
}

#[test]
fn numbers_are_dense_over_database_and_journal() {
    for (sequence, is_whole) in [(2, true), (3, false)] {
        let files = Torn::new(1);
        let log = begun(&files);
        let identity = log.identity();
        assert_eq!(order(&log, 1), Ok(1));
        drop(log);
        write_behind(&files, identity, sequence);
        let Opened { log, is_new } = opened(&files);
        assert_eq!(!is_new, is_whole, "the second batch begins with number {sequence}");
        assert_eq!(numbers(&log, 0, 9), if is_whole { vec![1, 2] } else { vec![1] });
    }
}

#[test]
fn a_block_that_was_lost_is_told_from_an_end() {
    let files = Torn::new(1);
    let log = begun(&files);
    for id in 1..=3 {
        assert_eq!(order(&log, id), Ok(u64::try_from(id).expect("small")));
    }
    drop(log);
    let journal = files.open(journal::NAME).expect("it is there");
    journal.write_at(&[0; BLOCK], BLOCK as u64).expect("a disk that is well");
    let Opened { log, is_new } = opened(&files);
    assert!(is_new, "zeros where the second batch was look like an end, but a third stands behind it");
    assert_eq!(numbers(&log, 0, 9), [1]);
}

#[test]
fn what_was_taken_over_and_stands_behind_the_end_is_no_loss() {
    let files = Torn::new(1);
    let log = begun(&files);
    for id in 1..=3 {
        order(&log, id).expect("a disk that is well");
    }
    log.tend_file().expect("a disk that is well");
    assert_eq!(order(&log, 4), Ok(4), "in the first block, with the third batch still behind the second's");
    drop(log);
    let Opened { log, is_new } = opened(&files);
    assert!(!is_new);
    assert_eq!(numbers(&log, 0, 9), [1, 2, 3, 4]);
}

#[test]
fn a_damaged_row_counts_among_those_asked_for() {
    let files = Torn::new(1);
    let log = begun(&files);
    for id in 1..=2 {
        order(&log, id).expect("a disk that is well");
    }
    log.tend_file().expect("a disk that is well");
    {
        let transaction = log.opening().expect("open").database.begin_write().expect("a disk that is well");
        transaction.open_table(LOG).expect("a table").insert(2, &b"nonsense"[..]).expect("a row");
        transaction.commit().expect("a disk that is well");
    }
    assert_eq!(order(&log, 3), Ok(3));
    assert_eq!(
        numbers(&log, 0, 2),
        [1],
        "two rows were looked at: whoever follows asks again behind the second"
    );
    assert_eq!(numbers(&log, 2, 2), [3]);
}

#[test]
fn without_room_for_a_journal_the_database_has_it_at_once() {
    let files = Torn::new(1);
    let log = begun(&files);
    assert_eq!(order(&log, 1), Ok(1));
    log.tend_file().expect("a disk that is well");
    drop(log);
    files.remove(journal::NAME).and_then(|()| files.sync_directory("")).expect("it is there");
    let capacity_bytes = Some(files.stored_bytes() + 16 * BLOCK as u64);
    files.faults(Faults { capacity_bytes, ..Faults::default() });
    let Opened { log, is_new } = opened(&files);
    assert!(is_new, "what the journal said is gone");
    assert!(log.opening().expect("open").journal.is_none());
    log.trust().expect("a disk that is well");
    assert_eq!([order(&log, 2), order(&log, 3)], [Ok(2), Ok(3)]);
    drop(log);
    let mut files = files;
    files.power_loss();
    let Opened { log, is_new } = opened(&files);
    assert!(!is_new, "there was none to lose");
    assert_eq!(numbers(&log, 0, 9), [1, 2, 3]);
    drop(log);
    files.faults(Faults::default());
    let Opened { log, is_new } = opened(&files);
    assert!(!is_new && log.opening().expect("open").journal.is_some(), "and one is made once there is");
    assert_eq!(numbers(&log, 0, 9), [1, 2, 3]);
}

#[test]
fn an_order_that_is_there_writes_nothing() {
    let files = Torn::new(1);
    let log = begun(&files);
    assert_eq!(order(&log, 7), Ok(1));
    let before = files.written_bytes();
    assert_eq!(order(&log, 7), Ok(1), "the number that it has");
    assert_eq!(files.written_bytes(), before);
    log.tend_file().expect("a disk that is well");
    let before = files.written_bytes();
    assert_eq!(order(&log, 7), Ok(1), "from the database as from the journal");
    assert_eq!(files.written_bytes(), before);
    assert_eq!(order(&log, 8), Ok(2));
    drop(log);
    let Opened { log, is_new } = opened(&files);
    assert!(!is_new, "the batches are counted without those that were empty");
    assert_eq!(numbers(&log, 0, 9), [1, 2]);
}
