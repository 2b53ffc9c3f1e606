//! What a listener hands requests to: the walk (`serve/`), the admin calls, or a test.
//!
//! A hit is answered in the call itself ([`Served::Now`]), without a future; everything that must wait is one boxed
//! future ([`Served::Later`]). The request stays with the listener, which reports its end with [`Service::finished`]; a
//! future takes out of it (body, interim sink) or clones (fields share their bytes) what it needs.

use std::future::Future;
use std::pin::Pin;

use super::request::Request;
use crate::respond::response::{Outcome, Response};

/// Answers requests.
pub trait Service {
    /// Begins to answer. Must not block.
    fn serve(&self, request: &mut Request) -> Served;

    /// A request was answered, or its client went away first: the place of access log and counters.
    fn finished(&self, request: &Request, finished: &Finished<'_>);
}

impl<S: Service> Service for std::rc::Rc<S> {
    fn serve(&self, request: &mut Request) -> Served {
        (**self).serve(request)
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        (**self).finished(request, finished);
    }
}

/// An answer, or the promise of one.
pub enum Served {
    /// It is here.
    Now(Response),
    /// It takes a while. Dropping the future leaves a fill that others may wait for running.
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
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
