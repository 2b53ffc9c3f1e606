//! Receivers against real sockets and files.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::log::{Rotation, SyslogAt};
use crate::observe::tests::scratch;

/// 2001-09-09T01:46:40.042Z.
const WALL: u64 = 1_000_000_000_042;
const LIMIT: Option<Duration> = Some(Duration::from_secs(30));

fn receiver(target: LogTarget, rotation: Option<Rotation>) -> Box<dyn Receiver> {
    open(&Log { target, rotation, ..Log::default() }).expect("it opens").expect("it is on")
}

fn numbered(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_by_key(|name| name.rsplit('.').next().and_then(|end| end.parse::<u32>().ok()));
    names
}

type Reading<'r> = &'r dyn Fn(&mut [u8]) -> usize;

/// Every line is in one of the files, once and whole, the oldest ones in those that went.
#[test]
fn a_file_that_has_grown_is_begun_anew_and_no_line_is_torn() {
    let directory = scratch();
    let path = directory.join("access.log");
    let rotation = Rotation { bytes: 1000, keep: 3 };
    let mut file = receiver(LogTarget::File(path.clone()), Some(rotation));
    for block in 0..100 {
        let lines: Vec<_> = (0..5).map(|line| format!("line {block}-{line} of a block\n")).collect();
        assert_eq!(file.take(lines.concat().as_bytes(), WALL).unwrap(), 5);
    }
    let names = numbered(&directory);
    assert_eq!(names, ["access.log", "access.log.1", "access.log.2", "access.log.3"]);
    let mut all = Vec::new();
    for name in names.iter().rev() {
        let text = fs::read_to_string(directory.join(name)).unwrap();
        assert!(text.len() <= 1000 && text.ends_with('\n'), "{name}: {}", text.len());
        all.extend(text.lines().map(str::to_owned));
    }
    // Of five hundred lines the last ones, in order and without a gap.
    let expected: Vec<String> = (0..100)
        .flat_map(|block| (0..5).map(move |line| format!("line {block}-{line} of a block")))
        .collect();
    assert!(all.len() > 100 && expected.ends_with(&all), "{all:?}");
    // A start goes on in the file that is there, and counts what is in it.
    drop(file);
    let before = fs::metadata(&path).unwrap().len();
    let mut file = receiver(LogTarget::File(path.clone()), Some(rotation));
    file.take(&[vec![b'x'; 999 - usize::try_from(before).unwrap()], b"\n".to_vec()].concat(), WALL).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1000);
    file.take(b"y\n", WALL).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "y\n");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_that_cannot_be_moved_grows() {
    let directory = scratch();
    let path = directory.join("access.log");
    let mut file = receiver(LogTarget::File(path.clone()), Some(Rotation { bytes: 10, keep: 1 }));
    // In the way: a directory with something in it.
    fs::create_dir_all(directory.join("access.log.1").join("x")).unwrap();
    for _ in 0..3 {
        assert_eq!(file.take(b"0123456789\n", WALL).unwrap(), 1);
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), 33);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn syslog_takes_a_message_a_line_over_datagrams() {
    let directory = scratch();
    let path = directory.join("log");
    let (unix, udp) = (UnixDatagram::bind(&path).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    unix.set_read_timeout(LIMIT).unwrap();
    udp.set_read_timeout(LIMIT).unwrap();
    let at = udp.local_addr().unwrap().to_string();
    let mut message = [0; 4096];
    let from_unix = |message: &mut [u8]| unix.recv(message).unwrap();
    let from_udp = |message: &mut [u8]| udp.recv(message).unwrap();
    let both: [(SyslogAt, Reading<'_>); 2] =
        [(SyslogAt::Unix(path), &from_unix), (SyslogAt::Udp(at.into()), &from_udp)];
    for (target, read) in both {
        let mut receiver = receiver(LogTarget::Syslog(target), None);
        assert_eq!(receiver.take(b"{\"a\":1}\n{\"b\":2}\n", WALL).unwrap(), 2);
        for line in ["{\"a\":1}", "{\"b\":2}"] {
            let length = read(&mut message);
            let told = std::str::from_utf8(&message[..length]).unwrap();
            assert!(told.starts_with("<190>1 2001-09-09T01:46:40.042Z "), "{told}");
            assert!(told.contains(&format!(" tidegate {} access - ", std::process::id())), "{told}");
            assert!(told.ends_with(line), "{told}");
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn syslog_over_tcp_counts_the_octets_of_each_message_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let mut receiver = receiver(LogTarget::Syslog(SyslogAt::Tcp(at.into())), None);
    assert_eq!(receiver.take(b"one\ntwo\n", WALL).unwrap(), 2);
    let (mut stream, _) = listener.accept().unwrap();
    receiver.reopen().unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    let mut rest = told.as_str();
    for line in ["one", "two"] {
        let (length, behind) = rest.split_once(' ').unwrap();
        let (message, behind) = behind.split_at(length.parse().unwrap());
        assert!(message.starts_with("<190>1 2001-09-09T") && message.ends_with(line), "{message}");
        rest = behind;
    }
    assert_eq!(rest, "");
    // Told to, it connects again at once.
    assert_eq!(receiver.take(b"three\n", WALL).unwrap(), 1);
    let (stream, _) = listener.accept().unwrap();
    drop(stream);
}

/// Nobody is there: lines are lost without being tried one by one, and a second later somebody may be.
#[test]
fn a_receiver_that_is_away_is_tried_again_after_a_pause() {
    let directory = scratch();
    let path: PathBuf = directory.join("log");
    let mut receiver = receiver(LogTarget::Syslog(SyslogAt::Unix(path.clone())), None);
    assert!(receiver.take(b"a\n", WALL).is_err());
    let socket = UnixDatagram::bind(&path).unwrap();
    assert_eq!(receiver.take(b"b\n", WALL + 500).unwrap(), 0, "not yet");
    assert_eq!(receiver.take(b"c\n", WALL + 1000).unwrap(), 1);
    let mut message = [0; 4096];
    socket.set_read_timeout(LIMIT).unwrap();
    let length = socket.recv(&mut message).unwrap();
    assert!(message[..length].ends_with(b"c"));
    // It goes away with lines unread.
    drop(socket);
    fs::remove_file(&path).unwrap();
    assert_eq!(receiver.take(b"d\ne\n", WALL + 2000).unwrap(), 0);
    let socket = UnixDatagram::bind(&path).unwrap();
    assert_eq!(receiver.take(b"f\n", WALL + 4000).unwrap(), 1);
    drop(socket);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_journal_gets_records_of_its_own_protocol() {
    let directory = scratch();
    let path = directory.join("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(LIMIT).unwrap();
    let mut journal = datagrams::Datagrams::journal(&path);
    assert_eq!(journal.take(b"{\"a\":1}\n", WALL).unwrap(), 1);
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"PRIORITY=6\nSYSLOG_IDENTIFIER=tidegate\nMESSAGE={\"a\":1}\n");
    fs::remove_dir_all(directory).unwrap();
}

/// A writer that remembers what each call brought.
struct Calls(Vec<Vec<u8>>);

impl Write for Calls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_block_is_written_in_short_runs_of_whole_lines() {
    let long = WRITE_BYTES_MAX + 5;
    for lengths in
        [vec![], vec![10], vec![100; 500], vec![long], vec![10, long, 10, long, long, 3000, 3000, 3000]]
    {
        let block: Vec<u8> =
            lengths.iter().flat_map(|length| [vec![b'x'; length - 1], vec![b'\n']].concat()).collect();
        let mut calls = Calls(Vec::new());
        write_lines(&mut calls, &block).unwrap();
        assert_eq!(calls.0.concat(), block);
        for call in &calls.0 {
            assert!(call.ends_with(b"\n"), "{lengths:?}");
            assert!(call.len() <= WRITE_BYTES_MAX || count(call) == 1, "{lengths:?}: {}", call.len());
        }
    }
}
