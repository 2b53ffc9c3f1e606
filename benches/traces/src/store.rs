//! The store itself, driven through its public calls: look up, fill on a miss.
//!
//! Bodies are real bytes of the object's size, so what the store counts is what it would count in a node; head, record and
//! tables are paid from the same budget as the bodies. Where a trace has no sizes every body is [`BODY_BYTES`] long, and
//! the budget is so many times what the store says such an entry weighs.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cache_store::coalesce::FillHead;
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings, Usage};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::lines::Ratio;
use crate::trace::Trace;

/// What a replay brought.
pub(crate) struct Replayed {
    pub(crate) ratio: Ratio,
    pub(crate) usage: Usage,
    /// The largest weight the tier had.
    pub(crate) peak_bytes: u64,
}

/// Replays the trace against a store whose memory tier has `percent` of the trace's footprint.
pub(crate) fn replay(trace: &Trace, percent: f64, secret: [u8; 32]) -> Replayed {
    let footprint = if trace.sized {
        trace.footprint()
    } else {
        let alone = Driver::new(1 << 24, secret, BODY_BYTES as u32);
        alone.request(0, BODY_BYTES as u32);
        trace.footprint() * alone.store.usage().memory_bytes
    };
    let longest =
        if trace.sized { trace.sizes.iter().copied().max().unwrap_or(1) } else { BODY_BYTES as u32 };
    let driver = Driver::new((footprint as f64 * percent / 100.0) as usize, secret, longest);
    let mut ratio = Ratio::default();
    let mut peak_bytes = 0;
    for (at, id) in trace.requests.iter().enumerate() {
        let size = if trace.sized { trace.size(*id) } else { BODY_BYTES as u32 };
        ratio.count(driver.request(*id, size), size);
        if at % 1024 == 0 {
            peak_bytes = peak_bytes.max(driver.store.usage().memory_bytes);
        }
    }
    Replayed { ratio, usage: driver.store.usage(), peak_bytes }
}

struct Driver {
    store: Arc<CacheStore>,
    asked: HeaderMap,
    policy: Policy,
    fields: HeaderMap,
    /// As long as the longest body: bodies are slices of it, and the store copies what it keeps.
    bytes: Bytes,
}

impl Driver {
    fn new(memory_bytes: usize, secret: [u8; 32], longest: u32) -> Self {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
        fields.insert(header::ETAG, HeaderValue::from_static("\"0123456789abcdef\""));
        Self {
            store: CacheStore::new(&Settings {
                memory_bytes,
                memory_admission: MemoryAdmission::default(),
                object_bytes_max: 1 << 40,
                secret,
            }),
            asked: HeaderMap::new(),
            policy: Policy::default(),
            fields,
            bytes: vec![0u8; longest as usize].into(),
        }
    }

    /// Whether the store has it; it is filled if not.
    fn request(&self, id: u32, size: u32) -> bool {
        let key = self.key(id);
        let target = Target { scheme: "http", authority: "trace", path: "/" };
        let request = RequestHead { method: &Method::GET, target, fields: &self.asked };
        let fill = match self.store.lookup(key, &request, &self.policy, NOW) {
            Lookup::Fresh(_) => return true,
            Lookup::Miss(fill) => fill,
            other => panic!("a trace is replayed by one client, nothing goes stale: {other:?}"),
        };
        let head = FillHead {
            status: StatusCode::OK,
            fields: self.fields.clone(),
            lines: Bytes::new(),
            freshness: Freshness::new(
                NOW,
                std::time::Duration::ZERO,
                86_400,
                Windows::default(),
                Freshness::EXPLICIT,
            ),
            vary: VarySpec::default(),
        };
        let mut writing = fill.stream(head, Some(u64::from(size)), Box::default(), None, 1 << 20);
        if writing.keeps() {
            let wrote = {
                let writes = pin!(writing.write(self.bytes.slice(..size as usize), 1 << 20));
                Future::poll(writes, &mut Context::from_waker(Waker::noop()))
            };
            assert!(matches!(wrote, Poll::Ready(Ok(()))), "a body that is kept never waits");
            writing.finish();
        }
        false
    }

    fn key(&self, id: u32) -> CacheKey {
        self.store.keyer().primary("http", b"trace", &id.to_le_bytes(), None)
    }
}

/// Nothing goes stale while a trace is replayed.
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const BODY_BYTES: usize = 4096;
