//! What of a request is to be looked into before an origin is asked (`route/access/inspect/` looks): its body, and all of it where
//! `ModSecurity` is on.
//!
//! ```text
//! to an origin ─► hold the beginning of the body ─► Inspector::rest ─┬─ nothing ─► body, whole again ─► origin
//!                                                                   └─ an attack ─► its page (block)
//! ```
//!
//! Invariant: nothing that others wait for is held meanwhile, so no reader follows a request that is being looked into; and an attack
//! takes nobody's fetch with it. A node of the tier asks for its clients, whom it has looked into itself.

use std::sync::Arc;

use super::walk::Walk;
use crate::listener::fields::FieldId;
use crate::listener::peeked::{Beginning, peek};
use crate::listener::request::{Request, RequestBody};
use crate::origin::OriginError;
use crate::respond::failure::Failure;
use crate::route::Route;
use crate::route::access::inspect::query_of;
use crate::route::access::{Guard, Noted, Subject};

/// What is left to look into.
#[derive(Clone)]
pub(super) struct Inspection {
    guard: Arc<Guard>,
    noted: Arc<Noted>,
}

impl Inspection {
    /// Of a request with this body.
    pub(super) fn of(route: &Route<'_, '_>, request: &Request, body: &RequestBody) -> Option<Self> {
        let guard = route.guard?;
        let inspector = guard.inspector()?;
        if !inspector.asks_behind(query_of(request.target()), !body.is_empty()) {
            return None;
        }
        let noted = Arc::clone(request.held.get_or_init(Box::default).noted());
        Some(Self { guard: Arc::clone(guard), noted })
    }
}

impl Walk {
    /// Whether something is to be looked into before an origin is asked.
    #[inline]
    pub(super) fn is_uninspected(&self) -> bool {
        self.inspection.is_some() && !self.for_node()
    }

    /// Looks into what is left to be looked into; once.
    ///
    /// # Errors
    /// It is refused, or its body breaks off.
    pub(super) async fn inspect(&mut self) -> Result<(), Failure> {
        if !self.is_uninspected() {
            return Ok(());
        }
        // Boxed: few routes have anything looked into.
        Box::pin(self.inspect_now()).await
    }

    async fn inspect_now(&mut self) -> Result<(), Failure> {
        let Some(Inspection { guard, noted }) = self.inspection.take() else { return Ok(()) };
        let Some(inspector) = guard.inspector() else { return Ok(()) };
        let mut beginning = Beginning { pieces: Vec::new(), is_whole: true };
        let bytes_max = inspector.body_bytes_max();
        if bytes_max > 0 && !self.has_no_body() {
            let bytes = self.body_length().map_or(bytes_max, |length| length.min(bytes_max));
            if let Some(room) = inspector.room(bytes)? {
                let peeked = peek(self.take_body(), bytes_max, Some(room)).await;
                let (begun, body) = peeked.map_err(|error| Failure::from(OriginError::RequestBody(error)))?;
                self.put_body(body);
                beginning = begun;
            }
        }
        let subject = Subject {
            method: self.method.clone(),
            target: self.target.clone(),
            protocol: self.protocol,
            authority: (!self.fields.has(FieldId::Host)).then(|| self.authority.clone()),
            fields: self.fields.clone(),
            client: Some(self.client.address),
            body: beginning.pieces,
            is_whole: beginning.is_whole,
        };
        inspector.rest(subject, guard.own_parameters(), &noted).await.map_err(Failure::from)
    }
}
