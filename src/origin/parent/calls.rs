//! What a child asks of a parent beside pages: its log of purges (`purge_api::bus::pull`).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use purge_api::bus::BusError;
use tokio::sync::mpsc;

use super::proof::Word;
use super::{Footing, Parents, Wanted};
use crate::config::limits::TIER_CALL_BYTES_MAX;
use crate::listener::request::{RequestBody, Scheme};
use crate::origin::forward::Sent;
use crate::origin::{Ask, Surplus};

impl Parents {
    /// The names of all parents, in the order of the settings.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.all.iter().map(|parent| &parent.name)
    }

    /// The body of what a parent answers with 200. Waits as long as the parent does.
    ///
    /// # Errors
    /// There is no such answer, in words.
    pub(crate) async fn call(
        &self,
        name: &str,
        method: &'static str,
        target: String,
        body: Vec<u8>,
        on: Footing<'_>,
    ) -> Result<Vec<u8>, BusError> {
        let known = self.all.iter().find(|parent| &*parent.name == name);
        let parent = known.ok_or_else(|| BusError(format!("{name} is no parent")))?;
        let authority = name.split_once("://").map_or(name, |(_, authority)| authority);
        let (authority, target) = (Bytes::copy_from_slice(authority.as_bytes()), Bytes::from(target));
        let method = if method == "POST" { Method::POST } else { Method::GET };
        let fields = Sent::default();
        let wanted = Wanted {
            method: &method,
            scheme: Scheme::Http,
            authority: &authority,
            target: &target,
            key: cache_store::key::CacheKey::from_bits(0),
            fields: &fields,
            interim: None,
            surplus: Surplus::Refuse,
        };
        let fields = parent.fields(&wanted, on.clock, None);
        let answer = on.origins.ask(Ask {
            pool: Arc::clone(&parent.pool),
            method: method.clone(),
            authority: authority.clone(),
            target: target.clone(),
            fields,
            body: whole(body),
            interim: None,
            client: None,
            stuck: None,
            surplus: Surplus::Refuse,
        });
        let mut answer = answer.await.map_err(|error| BusError(error.cause.to_string()))?;
        let mut text = Vec::new();
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| BusError(error.to_string()))?;
            if text.len() + piece.len() > TIER_CALL_BYTES_MAX {
                return Err(BusError(format!("the answer is longer than {TIER_CALL_BYTES_MAX} bytes")));
            }
            text.extend_from_slice(&piece);
        }
        if answer.status != StatusCode::OK || Word::of(&answer.fields) != Some(Word::Answer) {
            let status = answer.status.as_u16();
            return Err(BusError(format!(
                "it answers {status}, not as a parent: see [tier] key and children_from"
            )));
        }
        Ok(text)
    }
}

/// A body that is all there.
fn whole(bytes: Vec<u8>) -> RequestBody {
    if bytes.is_empty() {
        return RequestBody::Empty;
    }
    let length = bytes.len() as u64;
    let (send, frames) = mpsc::channel(1);
    // There is room for one.
    let _ = send.try_send(Ok(Bytes::from(bytes)));
    RequestBody::Channel { frames, length: Some(length), ended: false, wanted: None }
}
