//! Bodies above 256 KiB on disk: stored as chunks while they stream, read by range, fetched by the slice, and never wrong
//! (RFC 9110 §14, RFC 9111 §3.3 and §3.4, FAULTS F1, F4, R7).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::config::{DiskAdmission, DiskCache};

use crate::stage::answer::Answer;
use crate::stage::client::Connection;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::origin::Seen;
use crate::stage::reply::{Frame, Reply, Trouble, reply};
use crate::stage::wire::End;
use crate::stage::{Builder, Stage};

pub(crate) const CHUNK: usize = 1 << 20;
/// Three chunks and a bit.
pub(crate) const LENGTH: usize = 3 * CHUNK + 12_345;

#[tokio::test]
async fn a_large_body_is_stored_and_served_again_after_a_restart() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 1);
    stage.origin("a").on("/x", [large(&body)]);
    is(&stage.client().get("/x").await, 200, &body);
    stage.until(|count| count.stored == 1).await;
    is(&stage.client().get("/x").await, 200, &body);
    stage.restart().await;
    let answer = stage.client().get("/x").await;
    is(&answer, 200, &body);
    assert!(answer.is_hit());
    for (range, from, to) in [("bytes=0-0", 0, 1), ("bytes=1048570-1048580", 1_048_570, 1_048_581)] {
        let answer = stage.client().header("range", range).get("/x").await;
        is(&answer, 206, &body[from..to]);
        assert!(answer.is_hit());
    }
    let told = format!("bytes {}-{}/{LENGTH}", LENGTH - 7, LENGTH - 1);
    let tail = stage.client().header("range", "bytes=-7").get("/x").await;
    is(&tail, 206, &body[LENGTH - 7..]);
    tail.has("content-range", &told);
    stage.client().head("/x").await.expect(200, "").has("content-length", &LENGTH.to_string());
    stage.client().header("if-none-match", "\"1\"").get("/x").await.expect(304, "");
    stage.client().header("range", &format!("bytes={LENGTH}-")).get("/x").await.expect_status(416);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn several_parts_of_a_large_body_come_as_one_answer() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 1);
    stage.origin("a").on("/x", [large(&body)]);
    is(&stage.client().get("/x").await, 200, &body);
    stage.until(|count| count.stored == 1).await;
    let answer = stage.client().header("range", "bytes=5-6, 2097150-2097153").get("/x").await;
    answer.expect_status(206);
    let kind = answer.field("content-type").expect("parts have a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    let mut expected = Vec::new();
    for (from, to) in [(5, 7), (2_097_150, 2_097_154)] {
        let gap = if from == 5 { "" } else { "\r\n" };
        let head = format!("{gap}--{boundary}\r\ncontent-range: bytes {from}-{}/{LENGTH}\r\n\r\n", to - 1);
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&body[from..to]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(answer.body == expected);
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_to_disk_once_it_outgrows_memory() {
    for framing in [Frame::Chunks(100_000), Frame::Close] {
        let directory = Directory::new();
        let mut stage = on_disk(&directory).start().await;
        let body = bytes(LENGTH, 2);
        stage.origin("a").on("/x", [large(&body).framed(framing)]);
        is(&stage.client().get("/x").await, 200, &body);
        stage.until(|count| count.stored == 1).await;
        stage.restart().await;
        is(&stage.client().get("/x").await, 200, &body);
        stage.origin("a").saw(1, "/x");
    }
}

/// With a disk nothing has no place for being too heavy for memory, however small that is and however the body is framed.
#[tokio::test]
async fn a_body_too_heavy_for_a_small_memory_goes_to_disk_as_a_long_one_does() {
    for framing in [Frame::Length, Frame::Chunks(30_000), Frame::Close] {
        let directory = Directory::new();
        let small = on_disk(&directory).config(|config, _| config.cache.memory_bytes = 512 << 10);
        let mut stage = small.start().await;
        let body = bytes(200_000, 4);
        stage.origin("a").on("/x", [large(&body).framed(framing), large(&body)]);
        is(&stage.client().get("/x").await, 200, &body);
        stage.until(|count| count.stored == 1).await;
        let answer = stage.client().get("/x").await;
        is(&answer, 200, &body);
        assert!(answer.is_hit());
        stage.restart().await;
        let answer = stage.client().header("range", "bytes=100000-100009").get("/x").await;
        is(&answer, 206, &body[100_000..100_010]);
        assert!(answer.is_hit());
        stage.origin("a").saw(1, "/x");
        stage.purge(&["/x"], false).await;
        is(&stage.client().get("/x").await, 200, &body);
        stage.origin("a").saw(2, "/x");
    }
}

/// Where it is kept is known at its end only: whoever reads along has to be told that end all the same.
#[tokio::test]
async fn a_short_body_of_unknown_length_ends_for_who_reads_along() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    for (nth, framing) in [Frame::Chunks(1000), Frame::Close].into_iter().enumerate() {
        for length in [0, 5_000, 200_000, 300_000] {
            let (path, body) = (format!("/x{nth}-{length}"), bytes(length, 3));
            stage
                .origin("a")
                .on(&path, [reply(200).cache_control("max-age=60").body(body.clone()).framed(framing)]);
            is(&stage.client().get(&path).await, 200, &body);
        }
    }
}

/// One fetch serves those who read at once, those who come late, and those who read slowly.
#[tokio::test]
async fn clients_of_any_speed_share_one_fetch() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    // More than sockets hold: the slow one is behind what memory has.
    let body = bytes(15 * CHUNK, 3);
    let (middle, end) = (Gate::shut(), Gate::shut());
    stage.origin("a").on("/x", [large(&body).pause(8 * CHUNK, &middle).pause(15 * CHUNK - 1, &end)]);
    let mut slow = stage.client().connect().await;
    slow.write(&stage.client().bytes("GET", "/x", b"")).await;
    slow.head().await;
    let fast = stage.client().get("/x");
    stage.until(|count| count.collapsed == 1).await;
    middle.open();
    let late = stage.client().get("/x");
    stage.until(|count| count.collapsed == 2).await;
    end.open();
    is(&fast.await, 200, &body);
    is(&late.await, 200, &body);
    stage.until(|count| count.stored == 1).await;
    assert!(slow.read(body.len()).await == body);
    stage.origin("a").saw(1, "/x");
}

/// Two hundred clients, of whom half read nothing until the end: one fetch, and room for one body on its way.
#[tokio::test]
async fn many_clients_of_a_large_body_cost_one_fetch() {
    const CLIENTS: u64 = 200;
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = Arc::new(bytes(LENGTH, 24));
    let (begun, end) = (Gate::shut(), Gate::shut());
    stage.origin("a").on("/x", [large(&body).head_after(&begun).pause(LENGTH - 1, &end)]);
    let mut slow = Vec::new();
    let mut fast = Vec::new();
    for nth in 0..CLIENTS {
        let mut connection = stage.client().connect().await;
        connection.write(&stage.client().bytes("GET", "/x", b"")).await;
        if nth % 2 == 0 {
            slow.push(connection);
        } else {
            fast.push(tokio::spawn(read_through(connection, Arc::clone(&body))));
        }
    }
    stage.until(|count| count.collapsed == CLIENTS - 1).await;
    begun.open();
    stage.until(|_| chunks_written(&stage) == 3).await;
    let arriving = stage.count().arriving_bytes;
    assert!(arriving <= 4 * CHUNK as u64, "{arriving} bytes");
    end.open();
    for reading in fast {
        reading.await.expect("all of it comes");
    }
    for connection in slow {
        read_through(connection, Arc::clone(&body)).await;
    }
    stage.origin("a").saw(1, "/x");
}

/// Reads an answer a chunk at a time, which is let go of.
async fn read_through(mut connection: Connection, body: Arc<Vec<u8>>) {
    connection.head().await;
    for chunk in body.chunks(CHUNK) {
        assert!(connection.read(chunk.len()).await == chunk, "wrong bytes");
    }
}

/// FAULTS F1.
#[tokio::test]
async fn a_large_body_that_breaks_off_is_cut_and_not_stored() {
    for trouble in [Trouble::Truncates(2 * CHUNK + 5), Trouble::ResetsAt(CHUNK)] {
        let directory = Directory::new();
        let stage = on_disk(&directory).start().await;
        let body = bytes(LENGTH, 10);
        stage.origin("a").on("/x", [large(&body).but(trouble), large(&body)]);
        stage.client().get("/x").await.expect_cut(200);
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        assert_eq!(stage.count().stored, 0);
        is(&stage.client().get("/x").await, 200, &body);
    }
}

/// FAULTS F5: a chunk that is damaged or gone is fetched again, and no wrong byte is sent.
#[tokio::test]
async fn a_damaged_chunk_is_fetched_again() {
    for damage in [flip as fn(&Path), truncate, remove] {
        let directory = Directory::new();
        let mut stage = on_disk(&directory).start().await;
        let body = bytes(LENGTH, 11);
        stage.origin("a").on("/x", [large(&body).ranged()]);
        is(&stage.client().get("/x").await, 200, &body);
        stage.until(|count| count.stored == 1).await;
        stage.shut_down().await;
        let chunks = chunks_in(directory.path());
        assert_eq!(chunks.len(), 4);
        damage(&chunks[0]);
        damage(&chunks[2]);
        stage.start_again().await;
        is(&stage.client().get("/x").await, 200, &body);
        stage.until(|count| count.fills_under_way == 0).await;
        let seen = stage.origin("a").seen_for("/x");
        assert!(seen[1..].iter().all(|seen| seen.field("range").is_some()), "only what was missing");
        let again = stage.client().get("/x").await;
        is(&again, 200, &body);
        assert!(again.is_hit());
        stage.origin("a").saw(seen.len(), "/x");
    }
}

#[tokio::test]
async fn equal_bytes_under_two_urls_are_one_set_of_chunks() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 12);
    for target in ["/v1/app.js", "/v2/app.js"] {
        stage.origin("a").on(target, [large(&body)]);
        is(&stage.client().get(target).await, 200, &body);
    }
    stage.until(|count| count.stored == 2).await;
    assert_eq!(chunks_in(directory.path()).len(), 4);
}

#[tokio::test]
async fn a_purge_takes_a_large_body_in_whatever_state() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    let (old, new) = (bytes(LENGTH, 13), bytes(LENGTH, 14));
    let newer = |body: &[u8]| large(body).field("x-new", "1");
    for target in ["/memory", "/disk", "/part"] {
        stage.origin("a").on(target, [large(&old).ranged(), newer(&new).ranged()]);
    }
    for target in ["/memory", "/disk"] {
        is(&stage.client().get(target).await, 200, &old);
    }
    is(&stage.client().header("range", "bytes=0-9").get("/part").await, 206, &old[..10]);
    stage.until(|count| count.stored == 3 && count.fills_under_way == 0).await;
    stage.purge(&["/memory", "/part"], false).await;
    stage.restart().await;
    stage.purge(&["/disk"], false).await;
    for target in ["/memory", "/disk", "/part"] {
        is(&stage.client().get(target).await, 200, &new);
    }
}

/// A purge beats every fill begun before it.
#[tokio::test]
async fn what_was_purged_while_it_went_to_disk_is_not_stored() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let (old, new) = (bytes(LENGTH, 15), bytes(LENGTH, 16));
    let gate = Gate::shut();
    stage.origin("a").on("/x", [large(&old).pause(2 * CHUNK, &gate), large(&new)]);
    let first = stage.client().get("/x");
    stage.until(|count| count.requests == 1).await;
    stage.purge(&["/x"], false).await;
    let second = stage.client().get("/x");
    stage.until(|count| count.requests == 2).await;
    gate.open();
    is(&first.await, 200, &old);
    is(&second.await, 200, &new);
    stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    is(&stage.client().get("/x").await, 200, &new);
    stage.origin("a").saw(2, "/x");
}

/// FAULTS F4: the directory vanishes, or a file stands where chunks should.
#[tokio::test]
async fn a_disk_that_fails_amid_a_body_fails_no_client() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 17);
    let gate = Gate::shut();
    stage.origin("a").on("/x", [large(&body).pause(2 * CHUNK, &gate), large(&body)]);
    let mut reader = stage.client().connect().await;
    reader.write(&stage.client().bytes("GET", "/x", b"")).await;
    reader.head().await;
    // Nothing is being written when the directory goes, and nobody has yet to read what went with it.
    assert!(reader.read(2 * CHUNK).await == body[..2 * CHUNK]);
    stage.until(|_| chunks_written(&stage) == 2).await;
    let chunks = directory.path().join("chunks");
    fs::remove_dir_all(&chunks).expect("the node has made it");
    fs::write(&chunks, "in the way").expect("a file in its place");
    gate.open();
    assert!(reader.read(LENGTH - 2 * CHUNK).await == body[2 * CHUNK..]);
    stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    is(&stage.client().get("/x").await, 200, &body);
    fs::remove_file(&chunks).expect("it is there");
    // Chunks that went with the directory are found missing one by one, and fetched again.
    let mut healed = false;
    for _ in 0..5 {
        let answer = stage.client().get("/x").await;
        is(&answer, 200, &body);
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        healed = answer.is_hit();
    }
    assert!(healed, "the disk is used again");
}

/// A body that memory holds is on disk too, and outlasts memory.
#[tokio::test]
async fn a_body_that_fits_memory_is_served_from_there_and_outlasts_it_on_disk() {
    let directory = Directory::new();
    let disk = DiskCache {
        path: directory.path().to_owned(),
        bytes: 256 << 20,
        admission: DiskAdmission::default(),
    };
    let mut stage = Stage::build().config(move |config, _| config.cache.disk = Some(disk)).start().await;
    let body = bytes(LENGTH, 19);
    stage.origin("a").on("/x", [large(&body)]);
    is(&stage.client().get("/x").await, 200, &body);
    stage.until(|count| count.stored == 1).await;
    assert!(stage.count().memory_bytes > LENGTH as u64);
    is(&stage.client().get("/x").await, 200, &body);
    stage.restart().await;
    is(&stage.client().get("/x").await, 200, &body);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_confirmed_large_body_keeps_its_chunks() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 20);
    let aging = reply(200).cache_control("max-age=10").etag("\"1\"").body(body.clone()).confirms().ranged();
    stage.origin("a").on("/x", [aging]);
    is(&stage.client().get("/x").await, 200, &body);
    stage.until(|count| count.stored == 1).await;
    for _ in 0..2 {
        stage.clock.advance(crate::stage::secs(11));
        is(&stage.client().get("/x").await, 200, &body);
        stage.restart().await;
    }
    assert!(stage.origin("a").seen_for("/x")[1..].iter().all(|seen| seen.field("if-none-match").is_some()));
}

#[tokio::test]
async fn explain_tells_what_is_here_of_a_large_body() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 22);
    stage.origin("a").on("/x", [large(&body).ranged()]);
    is(&stage.client().header("range", "bytes=0-9").get("/x").await, 206, &body[..10]);
    stage.until(|count| count.arriving_bytes == 0).await;
    let told = stage.operator().get("/v1/explain?url=http://www.example.test/x").await.text();
    assert!(told.contains("\"tier\":\"disk\""), "{told}");
    assert!(told.contains("\"chunks\":{\"held\":1,\"missing\":3}"), "{told}");
    let told = stage.operator().get("/metrics").await.text();
    assert!(told.contains("tidegate_chunks_written_total 1"), "{told}");
}

fn chunks_written(stage: &Stage) -> u64 {
    let chunks = stage.edge().store.disk().and_then(|disk| disk.usage().chunks);
    chunks.map_or(0, |chunks| chunks.health.written)
}

pub(crate) fn asked(stage: &Stage) -> Vec<String> {
    let ranges = |seen: &Seen| seen.field("range").unwrap_or_else(|| "all".to_owned());
    stage.origin("a").seen_for("/x").iter().map(ranges).collect()
}

/// Claims without printing megabytes.
#[track_caller]
pub(crate) fn is(answer: &Answer, status: u16, body: &[u8]) {
    assert_eq!((answer.status, answer.body.len(), &answer.end), (status, body.len(), &End::Clean));
    assert!(answer.body == body, "wrong bytes");
}

/// So little memory that no large body has room in it.
pub(crate) fn on_disk(directory: &Directory) -> Builder {
    let disk = DiskCache {
        path: directory.path().to_owned(),
        bytes: 256 << 20,
        admission: DiskAdmission::default(),
    };
    Stage::build().config(move |config, _| {
        config.cache.memory_bytes = 1 << 20;
        config.cache.disk = Some(disk);
    })
}

pub(crate) fn large(body: &[u8]) -> Reply {
    reply(200).cache_control("max-age=600").etag("\"1\"").body(body)
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The files of chunks, in an order of their own.
fn chunks_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.join("chunks").join("content-v2")];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a chunk");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("a chunk");
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).expect("a chunk");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("a chunk");
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("a chunk");
}
