//! The log end to end: workers' buffers, the writer, what it writes to.

use cache_store::timestamp::Timestamp;

use super::*;
use crate::observe::id::{RequestIds, Run};
use crate::observe::tests::{finished, request, scratch};
use crate::respond::response::Outcome;

const LIMIT: Duration = Duration::from_secs(30);

/// Says when it is first written to, and does not return before it is let go.
struct Stuck {
    reached: SyncSender<()>,
    go: mpsc::Receiver<()>,
}

impl Receiver for Stuck {
    fn take(&mut self, lines: &[u8], _: u64) -> io::Result<u64> {
        let _ = self.reached.try_send(());
        // An error means that the test has let go for good.
        let _ = self.go.recv();
        Ok(receiver::count(lines))
    }
}

/// A full disk.
struct Refuses;

impl Receiver for Refuses {
    fn take(&mut self, _: &[u8], _: u64) -> io::Result<u64> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn settings(target: LogTarget) -> Log {
    Log { target, ..Log::default() }
}

fn started(log: &Log) -> io::Result<AccessLog> {
    AccessLog::start(log, Run::from_bits(0))
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_000_000))
}

fn append(buffer: &mut LogBuffer, path: &str) {
    let outcome = Outcome::default();
    let id = RequestIds::new(Run::from_bits(0), 0).draw();
    buffer.append(id, &request(b"a", path.as_bytes(), &[]), &finished(&outcome));
}

fn paths(text: &str) -> Vec<String> {
    let path = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].take();
    text.lines().map(|line| path(line).as_str().unwrap().to_owned()).collect()
}

#[test]
fn lines_are_written_whole_and_in_order() {
    let directory = scratch();
    let path = directory.join("access.log");
    let log = started(&settings(LogTarget::File(path.clone()))).unwrap();
    let mut buffer = log.buffer(&clock());
    let expected: Vec<_> = (0..5000).map(|number| format!("/{number}")).collect();
    for path in &expected {
        append(&mut buffer, path);
    }
    drop(buffer);
    assert!(log.finish(LIMIT));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(paths(&text), expected);
    assert_eq!((log.dropped_lines(), log.written_bytes()), (0, text.len() as u64));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let directory = scratch();
    let (path, old) = (directory.join("access.log"), directory.join("access.log.1"));
    let log = started(&settings(LogTarget::File(path.clone()))).unwrap();
    let (clock, mut buffer) = (clock(), log.buffer(&clock()));
    append(&mut buffer, "/before");
    buffer.flush(&clock);
    assert!(log.finish(LIMIT));
    std::fs::rename(&path, &old).unwrap();
    append(&mut buffer, "/not-told-yet");
    buffer.flush(&clock);
    assert!(log.finish(LIMIT));
    log.reopen();
    append(&mut buffer, "/after");
    buffer.flush(&clock);
    assert!(log.finish(LIMIT));
    assert_eq!(paths(&std::fs::read_to_string(&old).unwrap()), ["/before", "/not-told-yet"]);
    assert_eq!(paths(&std::fs::read_to_string(&path).unwrap()), ["/after"]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_target_that_is_stuck_costs_lines_but_never_holds_a_worker() {
    let (reached, written_to) = sync_channel(1);
    let (let_go, go) = sync_channel(0);
    let log = AccessLog::start_with(&settings(LogTarget::Off), Box::new(Stuck { reached, go })).unwrap();
    let (clock, mut buffer) = (clock(), log.buffer(&clock()));
    let mut block = |lines: u64| {
        (0..lines).for_each(|_| append(&mut buffer, "/"));
        buffer.flush(&clock);
    };
    block(1);
    written_to.recv().unwrap();
    (0..LOG_QUEUE_BLOCKS).for_each(|_| block(1));
    assert_eq!(log.dropped_lines(), 0);
    block(3);
    block(2);
    assert_eq!(log.dropped_lines(), 5);
    assert!(!log.finish(LIMIT), "no room in the queue is no end to wait for");
    drop(let_go);
}

#[test]
fn lines_that_the_target_refuses_are_counted() {
    let log = AccessLog::start_with(&settings(LogTarget::Off), Box::new(Refuses)).unwrap();
    let mut buffer = log.buffer(&clock());
    for _ in 0..7 {
        append(&mut buffer, "/");
    }
    drop(buffer);
    assert!(log.finish(LIMIT));
    assert_eq!((log.dropped_lines(), log.written_bytes()), (7, 0));
}

#[test]
fn the_time_in_a_line_is_the_walls_however_it_was_stepped() {
    let clock = clock();
    clock.step_wall(3_600_000);
    let directory = scratch();
    let path = directory.join("access.log");
    let log = started(&settings(LogTarget::File(path.clone()))).unwrap();
    let mut buffer = log.buffer(&clock);
    append(&mut buffer, "/");
    clock.step_wall(-3_600_000);
    buffer.flush(&clock);
    append(&mut buffer, "/");
    drop(buffer);
    assert!(log.finish(LIMIT));
    let text = std::fs::read_to_string(&path).unwrap();
    let times: Vec<_> = text.lines().map(|line| line.get(9..28).unwrap()).collect();
    // The request was received at the steady second 1 000 000.
    assert_eq!(times, ["1970-01-12T14:46:40", "1970-01-12T13:46:40"]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_log_that_is_off_keeps_nothing() {
    let log = started(&settings(LogTarget::Off)).unwrap();
    let mut buffer = log.buffer(&clock());
    append(&mut buffer, "/");
    assert_eq!((buffer.block.capacity(), log.finish(LIMIT)), (0, true));
}

#[test]
fn a_pipe_that_nobody_reads_is_waited_for_no_longer_than_a_time() {
    let directory = scratch();
    let path = directory.join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let refused =
        open_within(&settings(LogTarget::File(path.clone())), Duration::from_millis(1)).err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    assert!(refused.to_string().contains("a pipe that nobody reads"), "{refused}");
    // Whoever waits still is let go, and closes what it has.
    let mut reader = std::fs::File::open(&path).unwrap();
    assert_eq!(io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_writer_does_not_outlive_the_log() {
    struct Told {
        _alive: SyncSender<()>,
    }
    impl Receiver for Told {
        fn take(&mut self, lines: &[u8], _: u64) -> io::Result<u64> {
            Ok(receiver::count(lines))
        }
    }
    let (sender, dropped) = sync_channel(0);
    let log = AccessLog::start_with(&settings(LogTarget::Off), Box::new(Told { _alive: sender })).unwrap();
    let mut buffer = log.buffer(&clock());
    append(&mut buffer, "/");
    drop(buffer);
    assert!(log.finish(LIMIT));
    log.end();
    assert_eq!(dropped.recv(), Err(mpsc::RecvError), "its sink has gone with it");
    assert_eq!(log.dropped_lines(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_start() {
    let path = scratch().join("missing").join("access.log");
    assert!(started(&settings(LogTarget::File(path))).is_err());
}
