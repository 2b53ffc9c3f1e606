//! What tests of the disk tier store and ask for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::objects::Slot;
use crate::entry::{Parts, StoredResponse};
use crate::key::CacheKey;
use crate::purge::Resource;
use crate::rules::freshness::Windows;
use crate::rules::{Freshness, VarySpec};
use crate::timestamp::Timestamp;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A resource of this key.
pub(crate) fn here(key: CacheKey) -> Resource<'static> {
    Resource { key, authority: b"a", target: b"/" }
}

/// A response that is fresh for a minute.
pub(crate) fn page(body: impl Into<Bytes>) -> Slot {
    Slot::Response(Arc::new(StoredResponse::new(Parts {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        body: vec![body.into()],
        freshness: Freshness::new(NOW, Duration::ZERO, 60, Windows::default(), Freshness::EXPLICIT),
        vary: VarySpec::default(),
        tags: Box::default(),
        held: None,
        large: None,
        epoch: 0,
    })))
}
