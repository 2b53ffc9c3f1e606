//! What a listener hands requests to: the walk (`serve/`), the admin calls, or a test.
//!
//! A hit is answered in the call itself ([`Served::Now`]), without a future; everything that must wait is one boxed
//! future ([`Served::Later`]). The request stays with the listener, which reports its end with [`Service::finished`]; a
//! future takes out of it (body, interim sink) or clones (fields share their bytes) what it needs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::request::{Client, Request};
use crate::respond::response::{Body, CacheOutcome, Lines, Outcome, Response};

/// Answers requests.
pub trait Service {
    /// Begins to answer. Must not block.
    fn serve(&self, request: &mut Request) -> Served;

    /// A request was answered, or its client went away first: the place of access log and counters.
    fn finished(&self, request: &Request, finished: &Finished<'_>);

    /// Answers what never became a request, or whose body broke: called once for each refusal, so also the place to
    /// log and count it. The connection is closed behind the answer whatever it says.
    fn refused(&self, status: StatusCode, reason: &'static str, client: &Arc<Client>) -> Response {
        let _ = client;
        refusal(status, reason)
    }
}

/// The plain answer to a refusal: the status and the reason as text, never stored.
pub fn refusal(status: StatusCode, reason: &'static str) -> Response {
    let mut lines = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n".to_vec();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        lines.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    Response {
        status,
        extra: Vec::new(),
        lines: Lines::Own(Bytes::from(lines)),
        body: Body::Bytes(Bytes::from(format!("{status}: {reason}\n"))),
        outcome: Outcome { cache: CacheOutcome::Generated, reason: Some(reason), ..Outcome::default() },
        close: true,
    }
}

impl<S: Service> Service for std::rc::Rc<S> {
    fn serve(&self, request: &mut Request) -> Served {
        (**self).serve(request)
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        (**self).finished(request, finished);
    }

    fn refused(&self, status: StatusCode, reason: &'static str, client: &Arc<Client>) -> Response {
        (**self).refused(status, reason, client)
    }
}

/// An answer, or the promise of one.
// Moved once, from the walk to the listener; a box would cost a hit an allocation.
// A box around the answer would be an allocation on every hit.
#[allow(clippy::large_enum_variant)]
pub enum Served {
    /// It is here.
    Now(Response),
    /// It takes a while. Dropping the future leaves a fill that others may wait for running.
    Later(Answering),
}

/// An answer to come. Boxed itself: it is passed on through futures that would each make room for it.
pub type Answering = Pin<Box<dyn Future<Output = Box<Response>> + Send>>;

impl Served {
    /// The promise of what `answer` comes to.
    pub fn later(answer: impl Future<Output = Response> + Send + 'static) -> Self {
        Self::Later(Box::pin(async move { Box::new(answer.await) }))
    }
}

/// How a request ended.
#[derive(Debug)]
pub struct Finished<'a> {
    /// Status sent; 499 if the client left before an answer began.
    pub status: u16,
    /// Body bytes sent.
    pub body_bytes: u64,
    /// From head received to the last byte handed to the socket, microseconds.
    pub duration_micros: u64,
    /// Whether the answer was sent whole.
    pub complete: bool,
    /// What the cache had to do with it.
    pub outcome: &'a Outcome,
}
