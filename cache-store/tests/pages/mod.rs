//! Pages of a store for tests of what purges take: asked for, fetched, read. Shared by the tests of this crate's purges and of the
//! fleet's (`purge-api/tests/fleet.rs`).
//!
//! The body of a page is whatever the test writes into it: a moment, so that it can be judged later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_store::coalesce::{Fill, FillHead};
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::purge::Resource;
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::disk::Disk;
use cache_store::tiers::files::{Files, Torn};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, Method, StatusCode};
use tokio::runtime::Handle;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A page's authority, path and tags.
pub(crate) type Page = (&'static str, &'static str, &'static [&'static str]);

pub(crate) fn key(store: &CacheStore, (authority, path, _): Page) -> CacheKey {
    store.keyer().primary("http", authority.as_bytes(), path.as_bytes(), None)
}

/// A store over this disk, or in memory alone.
pub(crate) fn store(torn: Option<&Torn>, now: Timestamp, object_bytes_max: u64) -> Arc<CacheStore> {
    let disk = torn.map(|torn| {
        let files: Arc<dyn Files> = Arc::new(torn.clone());
        Disk::over(&files, 64 << 20, Handle::current(), now).expect("a disk that is well")
    });
    let settings = Settings {
        memory_bytes: 1 << 22,
        memory_admission: MemoryAdmission::default(),
        object_bytes_max,
        secret: disk.as_ref().map_or([7; 32], Disk::secret),
    };
    CacheStore::over(&settings, disk)
}

/// What a visitor is told.
pub(crate) fn look(store: &Arc<CacheStore>, page: Page, now: Timestamp) -> Lookup {
    let (authority, path, _) = page;
    let target = Target { scheme: "http", authority, path };
    let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
    let resource =
        Resource { key: key(store, page), authority: authority.as_bytes(), target: path.as_bytes() };
    loop {
        match store.lookup(resource, &request, &Policy::default(), now) {
            Lookup::OnDisk(promotion) => assert!(promotion.at_once().is_ok(), "nothing waits here"),
            found => return found,
        }
    }
}

/// The body of what is served, fresh or stale.
pub(crate) fn text(found: &Lookup) -> Option<String> {
    let (Lookup::Fresh(hit) | Lookup::Stale(hit, _)) = found else { return None };
    Some(String::from_utf8(hit.stored.body().collect::<Vec<_>>().concat()).expect("text"))
}

/// The origin answers with this body: fresh for a minute, and to be served stale for ten.
pub(crate) fn end(fill: Fill, page: Page, text: &str) {
    end_varied(fill, page, text, "");
}

/// The same, differing by a field that no visitor here sends.
pub(crate) fn end_varied(fill: Fill, (_, _, tags): Page, text: &str, vary: &'static str) {
    let mut fields = HeaderMap::new();
    if !vary.is_empty() {
        fields.insert(http::header::VARY, http::HeaderValue::from_static(vary));
    }
    let vary = VarySpec::of(&fields, &HeaderMap::new(), &Policy::default()).expect("no star");
    let windows = Windows { while_revalidate_secs: 600, if_error_secs: 600 };
    let head = FillHead {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        lines: Bytes::new(),
        freshness: Freshness::new(NOW, Duration::ZERO, 60, windows, Freshness::EXPLICIT),
        vary,
    };
    let tags = tags.iter().map(|tag| (*tag).into()).collect();
    let mut writing = fill.stream(head, None, tags, None, 1 << 20);
    writing.write(&Bytes::copy_from_slice(text.as_bytes()));
    writing.finish();
}
