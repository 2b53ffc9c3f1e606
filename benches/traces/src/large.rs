//! Bodies above 256 KiB over a disk: they go there in chunks of bytes of their own (equal ones would share a file), and are read to
//! their end, for of those that were stored some chunks may have been pushed out since.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use cache_store::coalesce::Writing;
use cache_store::key::CacheKey;
use cache_store::large::{Large, Slice};
use cache_store::purge::Resource;
use cache_store::store::CacheStore;

/// Writes a body of `size` bytes; `zeros` are at least so many.
pub(crate) async fn fill(mut writing: Writing, id: u32, size: u32, zeros: &Bytes) {
    for piece in pieces(id, 0..u64::from(size), zeros) {
        writing.write(&piece);
        if writing.room().await.is_err() {
            return;
        }
    }
    writing.complete();
    writing.on_disk().await;
    writing.finish();
}

/// Reads a body; the origin's part of its bytes. What was missing is there again afterwards.
pub(crate) async fn read(
    store: &Arc<CacheStore>,
    key: CacheKey,
    large: &Arc<Large>,
    (id, size): (u32, u32),
    zeros: &Bytes,
) -> u64 {
    let mut reader = large.reader(0, Some(u64::from(size)));
    let mut fetched = 0;
    loop {
        if reader.file().is_some() {
            continue;
        }
        let mut missing: Option<Slice> = None;
        let ended = poll_fn(|cx| {
            let polled = reader.poll_next(cx, &mut |slice| missing = Some(slice));
            match polled {
                Poll::Pending if missing.is_some() => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(read)) => {
                    read.expect("what is missing is fetched");
                    Poll::Ready(false)
                }
                Poll::Ready(None) => Poll::Ready(true),
            }
        })
        .await;
        if ended {
            return fetched;
        }
        if let Some(slice) = missing {
            let range = slice.range();
            fetched += range.end - range.start;
            let mut writing = slice.begin(range.start, store, WINDOW).expect("it begins where it should");
            for piece in pieces(id, range, zeros) {
                writing.write(&piece);
                writing.room(WINDOW).await.expect("somebody reads along");
            }
            writing.complete();
            writing.stored().await;
            store.note_chunks(&Resource { key, authority: b"trace", target: b"/" }, large);
        }
    }
}

/// These bytes of a body: each chunk begins with what tells it from all others.
fn pieces(id: u32, range: Range<u64>, zeros: &Bytes) -> impl Iterator<Item = Bytes> {
    range.clone().step_by(CHUNK as usize).flat_map(move |at| {
        let mark = [u64::from(id).to_le_bytes(), at.to_le_bytes()].concat();
        let rest = (range.end - at).min(CHUNK) as usize - mark.len().min((range.end - at) as usize);
        let mark = Bytes::from(mark).slice(..16.min((range.end - at) as usize));
        [mark, zeros.slice(..rest)]
    })
}

const CHUNK: u64 = 1 << 20;
const WINDOW: u64 = 1 << 20;
