//! A request as every protocol delivers it: what the walk works on, whatever the bytes looked like.
//!
//! HTTP/1.1 (`h1/`), HTTP/2 (`h2.rs`) and later HTTP/3 build it; `serve` consumes it. What is in it has passed the
//! protocol's own checks (framing, field syntax, one authority); it has *not* been normalised, which is `route/`'s
//! work, nor are its fields safe to forward, which is `origin/forward.rs`'s.

use std::cell::OnceCell;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use geo::{Code, Place};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::fields::{FieldId, FieldIndex, Fields, Part};
use super::h2::Upload;
use super::peeked::Peeked;
use super::trailers::Trailers;
use crate::config::limits::INTERIM_MAX;
use crate::config::log::Mask;
use crate::observe::id::{RequestId, RequestIds, RequestName, is_name};
use crate::origin::forward::KnownHop;
use crate::route::access::Held;

/// One request.
#[derive(Debug)]
pub struct Request {
    /// The method, exactly as sent.
    pub method: Method,
    /// `http` or `https`, by the connection.
    pub scheme: Scheme,
    /// Host and optional port as the client named them: absolute-form, `Host` or `:authority`, which agreed.
    pub authority: Part,
    /// Path and query as the client sent them, origin-form, starting with `/`; or `*` for OPTIONS.
    pub target: Part,
    /// The header block, without pseudo fields; `Host` is in it for HTTP/1.
    pub fields: Fields,
    /// The body, or none.
    pub body: RequestBody,
    /// The protocol, for the log and `Via`.
    pub protocol: Protocol,
    /// Who is at the other end.
    pub client: Arc<Client>,
    /// When the head was complete: `Clock::micros`.
    pub received_micros: u64,
    /// Where interim (1xx) responses may be sent while the answer is awaited.
    pub interims: Interims,
    /// Whether another protocol is asked for.
    pub upgrade: Upgrade,
    /// Memory for the lines of the answer, from the request before.
    pub spare: Vec<u8>,
    /// What the access rules of its route leave with it until its end; most have none.
    pub held: OnceLock<Box<Held>>,
    /// Its id, where it had to be drawn before its end.
    pub id: OnceCell<RequestId>,
}

impl Request {
    /// The bytes of [`Request::authority`].
    #[inline]
    pub fn authority(&self) -> &[u8] {
        self.fields.part(&self.authority)
    }

    /// The bytes of [`Request::target`].
    #[inline]
    pub fn target(&self) -> &[u8] {
        self.fields.part(&self.target)
    }

    /// Lets go of all that is not told of a request when it is over; gives back the memory of its fields' index.
    pub(super) fn shed(&mut self) -> FieldIndex {
        let (mut bytes, mut index) = (Vec::new(), FieldIndex::default());
        bytes.extend_from_slice(self.authority());
        let authority = Part::place(0..bytes.len());
        bytes.extend_from_slice(self.target());
        let target = Part::place(self.authority().len()..bytes.len());
        for line in self.fields.lines() {
            if is_told_of(line.id) {
                let at = bytes.len();
                bytes.extend_from_slice(line.name);
                let value_at = bytes.len();
                bytes.extend_from_slice(line.value);
                index.push(&bytes, at..value_at, value_at..bytes.len());
            }
        }
        bytes.shrink_to_fit();
        (self.authority, self.target) = (authority, target);
        std::mem::replace(&mut self.fields, Fields::of(bytes.into(), index)).into_index()
    }

    /// What somebody before us called it, whom we believe; `None` where nobody did, or it cannot stand in a line.
    #[inline]
    pub fn given_name(&self) -> Option<&[u8]> {
        if self.client.is_vouched { self.named_before() } else { None }
    }

    #[cold]
    fn named_before(&self) -> Option<&[u8]> {
        self.fields.first(FieldId::XRequestId).filter(|name| is_name(name))
    }

    /// What it is called, drawn now if it was not before.
    pub fn name(&self, ids: &RequestIds) -> RequestName {
        let given = self.given_name().map(Bytes::copy_from_slice);
        RequestName { id: *self.id.get_or_init(|| ids.draw()), given }
    }

    /// When the head was complete, on the steady time line.
    #[inline]
    pub const fn received(&self) -> Timestamp {
        Timestamp::from_millis(self.received_micros / 1000)
    }
}

/// Fields that the log writes.
const fn is_told_of(field: FieldId) -> bool {
    matches!(field, FieldId::UserAgent | FieldId::Referer | FieldId::TraceParent | FieldId::XRequestId)
}

/// Whether a request asks to go over to another protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Upgrade {
    /// It does not, or not in a way that can be followed: then its `Upgrade` is nobody's business.
    #[default]
    No,
    /// Its fields say to which; a 101 gives it the connection. RFC 9110 §7.8.
    Connection,
    /// To WebSocket, by an extended CONNECT of HTTP/2: it is the GET that it stands for, and a 200 gives it its stream. RFC 8441.
    Stream,
}

/// The client end of a connection.
#[derive(Debug)]
pub struct Client {
    /// The address of the client: the peer's, or the one a trusted proxy named.
    pub address: SocketAddr,
    /// Name of the TLS version and SNI name where the connection is encrypted.
    pub tls: Option<Tls>,
    /// Somebody whom we believe stands between: what it calls the request counts.
    pub is_vouched: bool,
    /// The address without port, for the log: written once a connection instead of once a request.
    text: Box<str>,
    /// The same with as much of it as `Mask` leaves by default.
    masked: Box<str>,
    /// Where it is, once somebody has asked.
    place: OnceLock<Option<Place>>,
    /// What origins are told of the way that its requests come by.
    pub(crate) hop: KnownHop,
}

impl Client {
    /// The client at `address`.
    pub fn new(address: SocketAddr, tls: Option<Tls>) -> Self {
        let ip = address.ip().to_canonical();
        let masked = masked(ip, Mask::default());
        Self {
            address,
            tls,
            is_vouched: false,
            text: ip.to_string().into(),
            masked: masked.to_string().into(),
            place: OnceLock::new(),
            hop: KnownHop::default(),
        }
    }

    /// The same behind somebody whom we believe.
    #[must_use]
    pub const fn vouched(mut self) -> Self {
        self.is_vouched = true;
        self
    }

    /// The address as logs write it with so much of it.
    pub fn masked_text(&self, mask: Mask, out: &mut Vec<u8>) {
        if mask == Mask::default() {
            return out.extend_from_slice(self.masked.as_bytes());
        }
        let masked = masked(self.address.ip().to_canonical(), mask);
        // Writing to a vector does not fail.
        drop(write!(out, "{masked}"));
    }

    /// Where it is, as `locate` says the first time it is asked for.
    #[inline]
    pub fn place(&self, locate: impl FnOnce(IpAddr) -> Option<Place>) -> Option<Place> {
        *self.place.get_or_init(|| locate(self.address.ip()))
    }

    /// Its country, if that was asked for and is known.
    #[inline]
    pub fn country(&self) -> Option<Code> {
        self.place.get().copied().flatten()?.country
    }

    /// The address without port, as logs write it.
    #[inline]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// An address with the bits behind its prefix zero.
fn masked(address: IpAddr, mask: Mask) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let behind = u32::MAX.checked_shr(mask.ipv4_bits.into()).unwrap_or(0);
            IpAddr::from((v4.to_bits() & !behind).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let behind = u128::MAX.checked_shr(mask.ipv6_bits.into()).unwrap_or(0);
            IpAddr::from((v6.to_bits() & !behind).to_be_bytes())
        }
    }
}

/// What TLS told about a connection.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The server name the client asked for.
    pub server_name: Option<Box<str>>,
}

/// URI scheme of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is left out.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Protocol of a client connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // named after the protocol
pub enum Protocol {
    Http10,
    Http11,
    Http2,
}

impl Protocol {
    /// As written in logs: `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// A request body: pulled, and stopped by being dropped.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// There is none.
    #[default]
    Empty,
    /// Frames that the HTTP/1.1 connection decodes while the walk pulls them.
    Channel {
        /// The frames; an error ends it. The sender drops without an error only at a proven end.
        frames: mpsc::Receiver<Result<Bytes, BodyError>>,
        /// Bytes still to come, if `Content-Length` told.
        length: Option<u64>,
        /// Whether the end has been seen.
        ended: bool,
        /// Told when the body is first pulled: the moment for `100 Continue`. `None` once told.
        wanted: Option<oneshot::Sender<()>>,
    },
    /// An HTTP/2 stream.
    H2(Upload),
    /// One whose beginning was looked at.
    Peeked(Box<Peeked>),
    /// One of HTTP/1.1 that fields may follow.
    Trailing {
        /// The body itself.
        body: Box<Self>,
        /// What followed it; there once the body has ended.
        trailers: TrailerSlot,
    },
}

/// Where the trailers of a request are left for who pulls its body.
pub type TrailerSlot = Arc<Mutex<Option<Box<Trailers>>>>;

/// Why a request body ended before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// The client went away.
    #[error("the client closed the connection within the body")]
    Closed,
    /// The framing was wrong.
    #[error("the body's framing is malformed")]
    Malformed,
    /// Longer than allowed.
    #[error("the body is longer than the limit")]
    TooLong,
    /// Slower than allowed.
    #[error("the body came slower than the minimum rate")]
    TooSlow,
}

impl RequestBody {
    /// Whether there is no body.
    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Channel { frames, length, ended, wanted } => {
                if *ended {
                    return Poll::Ready(None);
                }
                if let Some(wanted) = wanted.take() {
                    // A connection that is gone says so through `frames`.
                    let _ = wanted.send(());
                }
                match frames.poll_recv(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        if let Some(left) = length {
                            *left = left.saturating_sub(bytes.len() as u64);
                        }
                        Poll::Ready(Some(Ok(http_body::Frame::data(bytes))))
                    }
                    Poll::Ready(Some(Err(error))) => {
                        *ended = true;
                        Poll::Ready(Some(Err(error)))
                    }
                    Poll::Ready(None) => {
                        *ended = true;
                        match length {
                            Some(left) if *left > 0 => Poll::Ready(Some(Err(BodyError::Closed))),
                            _ => Poll::Ready(None),
                        }
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
            Self::H2(upload) => {
                let frame = match ready!(upload.poll_next(cx)) {
                    None => upload.take_trailers().map(|trailers| Ok(behind(&trailers))),
                    Some(data) => Some(data.map(http_body::Frame::data)),
                };
                if matches!(frame, Some(Err(_))) {
                    // It would be told again and again.
                    self.set(Self::Empty);
                }
                Poll::Ready(frame)
            }
            Self::Peeked(peeked) => peeked.poll_frame(cx),
            Self::Trailing { body, trailers } => match ready!(Pin::new(body.as_mut()).poll_frame(cx)) {
                None => Poll::Ready(trailers.lock().take().map(|trailers| Ok(behind(&trailers)))),
                frame => Poll::Ready(frame),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Channel { ended, .. } => *ended,
            Self::H2(upload) => upload.is_end_stream(),
            Self::Peeked(peeked) => peeked.is_end_stream(),
            Self::Trailing { body, trailers } => body.is_end_stream() && trailers.lock().is_none(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Empty => http_body::SizeHint::with_exact(0),
            Self::Channel { length: Some(left), .. } => http_body::SizeHint::with_exact(*left),
            Self::Channel { length: None, .. } => http_body::SizeHint::default(),
            Self::Trailing { body, .. } => body.size_hint(),
            Self::Peeked(peeked) => peeked.size_hint(),
            Self::H2(upload) => {
                upload.length().map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
            }
        }
    }
}

fn behind(trailers: &Trailers) -> http_body::Frame<Bytes> {
    http_body::Frame::trailers(trailers.to_map())
}

/// An interim response on its way to the client: 103 and other 1xx, never 101.
#[derive(Clone, Debug)]
pub struct Interim {
    /// 100, 102 … 199.
    pub status: StatusCode,
    /// Its fields, hop-by-hop already removed.
    pub fields: HeaderMap,
}

/// Where interim responses go; bounded, and what does not fit is dropped.
#[derive(Clone, Debug, Default)]
pub struct InterimSink {
    passing: Arc<Mutex<Passing>>,
    change: Option<fn(&mut HeaderMap)>,
}

/// What has been sent and not yet taken.
#[derive(Debug, Default)]
struct Passing {
    interims: Vec<Interim>,
    taker: Option<Waker>,
}

impl InterimSink {
    /// The same way, for what must go through `change` first.
    #[must_use]
    pub fn through(self, change: fn(&mut HeaderMap)) -> Self {
        Self { change: Some(change), ..self }
    }

    /// Sends one on its way, if there is room.
    pub fn send(&self, mut interim: Interim) {
        if let Some(change) = self.change {
            change(&mut interim.fields);
        }
        let mut passing = self.passing.lock();
        if passing.interims.len() < INTERIM_MAX {
            passing.interims.push(interim);
        }
        if let Some(taker) = passing.taker.take() {
            taker.wake();
        }
    }

    /// What was sent since the last call; the task is woken for more.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Vec<Interim> {
        let mut passing = self.passing.lock();
        if !passing.taker.as_ref().is_some_and(|taker| taker.will_wake(cx.waker())) {
            passing.taker = Some(cx.waker().clone());
        }
        std::mem::take(&mut passing.interims)
    }

    /// The first that is sent and not yet taken; for one who takes them one by one. Cancel by dropping.
    pub(crate) async fn next(&self) -> Interim {
        std::future::poll_fn(|cx| {
            let mut passing = self.passing.lock();
            if passing.interims.is_empty() {
                passing.taker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(passing.interims.remove(0))
        })
        .await
    }

    /// What was sent since the last call.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Vec<Interim> {
        std::mem::take(&mut self.passing.lock().interims)
    }
}

/// The way of interim responses to a client. A hit never asks for it, so it is made when the walk does.
#[derive(Debug, Default)]
pub enum Interims {
    /// The protocol cannot carry them.
    #[default]
    None,
    /// Nobody has asked yet.
    Possible,
    /// Somebody sends into it.
    Asked(InterimSink),
}

impl Interims {
    /// Where to send them, if the protocol can carry them; for the first who asks.
    pub fn sink(&mut self) -> Option<InterimSink> {
        if !matches!(self, Self::Possible) {
            return None;
        }
        let sink = InterimSink::default();
        *self = Self::Asked(sink.clone());
        Some(sink)
    }

    /// The listener's end, if somebody sends.
    pub(super) fn asked(&mut self) -> Option<InterimSink> {
        match std::mem::take(self) {
            Self::Asked(sink) => Some(sink),
            Self::None | Self::Possible => None,
        }
    }
}
