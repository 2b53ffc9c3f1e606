//! Why an origin did not answer, or not to the end: causes, not places.
//!
//! Each cause answers two questions: whose fault it is ([`OriginError::fault`]) and how far the request had got
//! ([`OriginError::reach`]), from which `retry.rs` alone decides whether it may be tried elsewhere. The status a
//! client sees for it is `respond/failure.rs`'s.

use crate::listener::request::BodyError;

/// Why there is no (whole) answer from an origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OriginError {
    /// The pool does not exist or has no origin left to ask.
    #[error("no origin is left to ask")]
    NoOrigin,
    /// All connections are taken and as many requests wait as may.
    #[error("too many requests wait for a connection")]
    QueueFull,
    /// No connection came free in `queue_timeout`.
    #[error("no connection came free in time")]
    QueueTimeout,
    /// The origin has as much to do as it can without answering later.
    #[error("the origin has enough to do")]
    Overload,
    /// The origin's name has no address.
    #[error("the origin's name could not be resolved")]
    Dns,
    /// No address of the origin took the connection.
    #[error("the origin refused the connection")]
    Connect,
    /// TCP and TLS were not set up in `connect_timeout`.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The TLS handshake failed: certificate, name or protocol.
    #[error("the TLS handshake failed")]
    Tls,
    /// The origin closed the connection before the end of a response head.
    #[error("the origin closed the connection before it answered")]
    Reset,
    /// No response head in `first_byte_timeout`.
    #[error("the origin did not answer in time")]
    FirstByteTimeout,
    /// The response's framing is not what RFC 9112 allows.
    #[error("the response is malformed")]
    Framing(#[source] Finding),
    /// The response head is over `ORIGIN_HEAD_BYTES_MAX` or `ORIGIN_FIELDS_MAX`.
    #[error("the response head is too large")]
    HeadTooLarge,
    /// This node has seen the request before, or too many nodes have (RFC 8586).
    #[error("the request runs in a loop")]
    Loop,
    /// The request target cannot be sent.
    #[error("the request target holds bytes that cannot be sent")]
    Target,
    /// The connection ended within the response's body.
    #[error("the origin closed the connection within the body")]
    BodyCut,
    /// No byte of the body in `between_bytes_timeout`.
    #[error("the origin stopped within the body")]
    BetweenBytesTimeout,
    /// The response's status is one that the pool counts as a failure.
    #[error("the origin answered with an error")]
    Status,
    /// The client's request body failed.
    #[error("the request body failed")]
    RequestBody(#[source] BodyError),
}

/// What is wrong with the bytes of a response. RFC 9112 §4–§7; FAULTS S15.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // each tells itself
pub enum Finding {
    #[error("malformed status line")]
    StatusLine,
    #[error("unknown HTTP version")]
    Version,
    #[error("malformed field line")]
    FieldLine,
    #[error("line that does not end in CRLF")]
    LineEnding,
    #[error("Content-Length and Transfer-Encoding together")]
    LengthAndEncoding,
    #[error("more than one Content-Length")]
    TwoLengths,
    #[error("malformed Content-Length")]
    Length,
    #[error("Transfer-Encoding other than one chunked")]
    TransferEncoding,
    #[error("malformed chunk")]
    Chunk,
    #[error("trailer section malformed or too large")]
    Trailer,
    #[error("body where the status allows none")]
    ForbiddenBody,
    #[error("101 to a request that asked for no upgrade, or not for this one")]
    Upgrade,
    #[error("too many interim responses")]
    InterimStorm,
    #[error("bytes after the end of the response")]
    ExtraBytes,
    #[error("frames that HTTP/2 does not allow, or none of it at all")]
    Http2,
    #[error("bytes without a request")]
    Unsolicited,
    #[error("not the answer of a node that takes this one for a child")]
    NotAParent,
}

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The client's.
    Client,
    /// The origin's, or the network's between us and it.
    Origin,
    /// Ours: a bound of this node was met.
    Edge,
}

/// How far a failed request had got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It cannot go anywhere, or elsewhere is no better.
    Nowhere,
    /// No byte of it was sent.
    Unsent,
    /// It was sent; the origin may have acted on it.
    Sent,
    /// A response had begun.
    Answered,
}

impl OriginError {
    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::Loop | Self::Target | Self::RequestBody(_) => Fault::Client,
            Self::NoOrigin | Self::QueueFull | Self::QueueTimeout | Self::Overload => Fault::Edge,
            _ => Fault::Origin,
        }
    }

    /// How far the request had got.
    pub const fn reach(self) -> Reach {
        match self {
            Self::Dns | Self::Connect | Self::ConnectTimeout | Self::Tls | Self::Overload => Reach::Unsent,
            Self::Reset | Self::Framing(_) | Self::HeadTooLarge => Reach::Sent,
            Self::BodyCut | Self::BetweenBytesTimeout => Reach::Answered,
            // Among them `FirstByteTimeout`: waiting as long again elsewhere would break the deadline that ran out.
            _ => Reach::Nowhere,
        }
    }

    /// One word for `Cache-Status`' `detail`, log and metrics; stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoOrigin => "no-origin",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Overload => "overload",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::FirstByteTimeout => "first-byte-timeout",
            Self::Framing(_) => "framing",
            Self::HeadTooLarge => "head-too-large",
            Self::Loop => "loop",
            Self::Target => "target",
            Self::BodyCut => "body-cut",
            Self::BetweenBytesTimeout => "between-bytes-timeout",
            Self::Status => "status",
            Self::RequestBody(_) => "request-body",
        }
    }
}
