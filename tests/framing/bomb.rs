//! HTTP/2 Bomb: as many streams with as many fields as are allowed, before an origin that stalls and with no window for
//! answers (FAULTS R3; B16). What the node holds is its own process's memory, so the node runs in one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::CertificateDer;
use tokio::task::JoinHandle;

use crate::attacks::{BOMBS, Bomb, STREAMS, bomb_frames, no_fields};
use crate::client::{Tls, within};
use crate::frames::{Ended, HEADERS, Http2, RST_STREAM};
use crate::recorder::{Recorder, answer};

#[tokio::test]
async fn what_fields_add_to_requests_that_wait_is_bounded() {
    // Requests without fields cost what a connection to the origin costs, which the pool bounds.
    let (plain, refused) = held("no fields", no_fields).await;
    assert_eq!(refused, 0, "a hundred plain requests may wait");
    for (claim, bomb) in BOMBS {
        let (bombed, refused) = held(claim, bomb).await;
        let added = bombed.saturating_sub(plain);
        assert!(added <= ADDED_BYTES_MAX, "{claim}: {added} bytes a connection, {refused} streams refused");
        if claim.starts_with("one long value") {
            // All of them name the same bytes, which are held once.
            let sent = bomb_frames(0, bomb).len();
            assert!(added <= SENT_TIMES_MAX * sent, "{claim}: {added} bytes a connection for {sent} sent");
        }
    }
}

/// Bytes that each of several attacking connections holds, and streams refused on all of them.
async fn held(claim: &str, bomb: Bomb) -> (usize, usize) {
    let recorder = Recorder::open(|request| {
        (!request.target.starts_with("/stall")).then(|| answer(request, "Cache-Control: no-store\r\n"))
    })
    .await;
    let node = Process::start(recorder.address);
    let tls = Tls::new(&node.certificate, b"h2");
    // Whatever is allocated once is there before we measure.
    let mut good = Http2::open(tls.connect(node.address).await, &[]).await.expect("the node reads");
    good.get(1, "/").await.expect("the node reads");
    assert!(matches!(within(claim, good.ended(1)).await, Ended::Answer { status: 200, .. }), "{claim}");
    let before = node.resident_bytes();
    let refused = Arc::new(AtomicUsize::new(0));
    let mut held: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..CONNECTIONS {
        held.push(attack(tls.connect(node.address).await, number, bomb, Arc::clone(&refused)).await);
    }
    within(claim, async {
        // Every stream waits for the origin or was refused. One request was the good client's.
        while recorder.count() - 1 + refused.load(Ordering::Relaxed) < CONNECTIONS * STREAMS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let each = node.resident_bytes().saturating_sub(before) / CONNECTIONS;
    let refused = refused.load(Ordering::Relaxed);
    good.get(3, "/").await.expect("the node reads");
    let served = within(claim, good.ended(3)).await;
    assert!(matches!(served, Ended::Answer { status: 200, .. }), "{claim}: {served:?}");
    assert!(held.iter().all(|held| !held.is_finished()), "{claim}: a connection was closed, not held");
    recorder.judge().expect("only what is right reached the origin");
    held.iter().for_each(JoinHandle::abort);
    (each, refused)
}

/// Opens every stream and goes on reading heads of refusals, but opens no window.
async fn attack(
    io: Box<dyn crate::client::Io>,
    number: usize,
    bomb: Bomb,
    refused: Arc<AtomicUsize>,
) -> JoinHandle<()> {
    let mut http2 = Http2::open(io, &[(INITIAL_WINDOW_SIZE, 0)]).await.expect("the node reads");
    let bytes = bomb_frames(number, bomb);
    http2.send(&bytes).await.expect("the node reads");
    tokio::spawn(async move {
        while let Some(frame) = http2.next().await {
            if matches!(frame.kind, HEADERS | RST_STREAM) {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
}

/// A node of its own; killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
    certificate: CertificateDer<'static>,
}

impl Process {
    fn start(origin: SocketAddr) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bomb");
        fs::create_dir_all(&directory).expect("it can be made");
        let signed =
            rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("keys can be made");
        fs::write(directory.join("cert.pem"), signed.cert.pem()).expect("it can be written");
        fs::write(directory.join("key.pem"), signed.signing_key.serialize_pem()).expect("it can be written");
        let settings = format!(
            "workers = 1\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\ntls = [ {{ cert = \"cert.pem\", key = \"key.pem\" }} ]\n\
             [admin]\naddress = \"off\"\n\
             [log]\naccess = \"off\"\n\
             [pool.main]\norigins = [\"http://{origin}\"]\nconnections_max = 4096\nqueue_max = 4096\n\
             [[site]]\nhosts = [\"*\"]\n"
        );
        let path = directory.join("tidegate.toml");
        fs::write(&path, settings).expect("it can be written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("run")
            .arg("--config")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("it tells where it is: {said}") };
            said.push_str(&line);
            if let Some((_, address)) = line.split_once("https://") {
                break address.trim_end_matches('/').parse().expect("an address");
            }
        };
        // What it says later is read, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, certificate: signed.cert.der().clone() }
    }

    /// Memory of its own that is in use, bytes.
    fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("the node runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which the test will have told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// Attackers.
const CONNECTIONS: usize = 10;
/// A connection's share. FAULTS B16.
const ADDED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The same by what it sent. FAULTS B16.
const SENT_TIMES_MAX: usize = 20;
