//! Why a request was not taken: every ambiguity and every limit of `head.rs` and `body.rs`, spelled once.
//!
//! A refusal becomes an answer through `Service::refused` and ends the connection: after bytes that two parsers
//! could read in two ways nothing on that connection can be trusted, so nothing more of it is parsed (FAULTS S16).
//!
//! RFC 9112 §2.2, §3, §5.1, §6; RFC 9110 §15.5, §15.6.

use http::StatusCode;

/// Why a request was refused. One variant a cause.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// A line ends in LF without CR.
    BareLineFeed,
    /// CR without LF, NUL or another control byte where text belongs.
    ControlByte,
    /// A line that continues the one before it.
    Fold,
    /// White space before the first field, or more than one empty line before the request.
    LeadingWhiteSpace,
    /// White space between a field's name and its colon.
    SpaceBeforeColon,
    /// A field line without a colon.
    MissingColon,
    /// A field without a name.
    EmptyName,
    /// A byte in a field's name that no token has.
    NameByte,
    /// The request line is not method SP target SP version.
    RequestLine,
    /// The method is not a token.
    MethodByte,
    /// A method that is not in capitals, or is too long to be one.
    MethodUnknown,
    /// CONNECT or TRACE.
    MethodNotAllowed,
    /// An extended CONNECT to another protocol than WebSocket.
    ProtocolUnknown,
    /// An extended CONNECT with the length of a body, or on a stream that its client has ended.
    TunnelWithBody,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// A byte in the target that no URI has.
    TargetByte,
    /// Neither origin-form nor absolute-form, nor `*` with OPTIONS.
    TargetForm,
    /// An absolute-form target of another scheme than the connection's.
    SchemeDisagrees,
    /// No `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// `Host` or the target's authority is not a host with an optional port.
    HostInvalid,
    /// `Host` and the target's authority differ.
    HostDisagrees,
    /// `Content-Length` is not a plain decimal.
    LengthInvalid,
    /// More than one `Content-Length`, equal or not.
    LengthRepeated,
    /// `Transfer-Encoding` cannot be read.
    CodingInvalid,
    /// `Transfer-Encoding` names anything but `chunked` alone.
    CodingUnknown,
    /// More than one `Transfer-Encoding` line.
    CodingRepeated,
    /// `Transfer-Encoding` in HTTP/1.0.
    CodingTooOld,
    /// `Content-Length` and `Transfer-Encoding` together.
    LengthAndCoding,
    /// A name that an origin could take for a framing field, such as `Content_Length`.
    FramingAlias,
    /// `Connection` names a field that must not be dropped, or is not a list of names.
    ConnectionNominates,
    /// `Expect` is anything but `100-continue`.
    Expectation,
    /// The body's chunks are malformed.
    BodyMalformed,
    /// The body came slower than the minimum rate.
    BodyTooSlow,
    /// The body is longer than the limit.
    BodyTooLong,
    /// The target is longer than the limit.
    TargetTooLong,
    /// The head is longer than the limit.
    HeadTooLong,
    /// More fields than the limit.
    TooManyFields,
    /// The head did not come to its end in time.
    HeadTimeout,
}

impl Refusal {
    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTimeout | Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MethodUnknown | Self::CodingUnknown | Self::ProtocolUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The cause in a few words, for the log, `Cache-Status` and the client.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BareLineFeed => "bare line feed",
            Self::ControlByte => "control byte",
            Self::Fold => "folded field line",
            Self::LeadingWhiteSpace => "leading white space",
            Self::SpaceBeforeColon => "white space before colon",
            Self::MissingColon => "field line without colon",
            Self::EmptyName => "empty field name",
            Self::NameByte => "malformed field name",
            Self::RequestLine => "malformed request line",
            Self::MethodByte => "malformed method",
            Self::MethodUnknown => "unknown method",
            Self::MethodNotAllowed => "method not allowed",
            Self::ProtocolUnknown => "unknown protocol",
            Self::TunnelWithBody => "tunnel with the framing of a body",
            Self::Version => "HTTP version not supported",
            Self::TargetByte => "malformed target",
            Self::TargetForm => "target in a form that is not served",
            Self::SchemeDisagrees => "target scheme is not the connection's",
            Self::HostMissing => "no Host",
            Self::HostRepeated => "more than one Host",
            Self::HostInvalid => "malformed Host",
            Self::HostDisagrees => "Host and target differ",
            Self::LengthInvalid => "malformed Content-Length",
            Self::LengthRepeated => "more than one Content-Length",
            Self::CodingInvalid => "malformed Transfer-Encoding",
            Self::CodingUnknown => "unknown Transfer-Encoding",
            Self::CodingRepeated => "more than one Transfer-Encoding",
            Self::CodingTooOld => "Transfer-Encoding in HTTP/1.0",
            Self::LengthAndCoding => "Content-Length with Transfer-Encoding",
            Self::FramingAlias => "field name that resembles framing",
            Self::ConnectionNominates => "Connection names a protected field",
            Self::Expectation => "unknown expectation",
            Self::BodyMalformed => "malformed body framing",
            Self::BodyTooSlow => "body too slow",
            Self::BodyTooLong => "body too long",
            Self::TargetTooLong => "target too long",
            Self::HeadTooLong => "head too long",
            Self::TooManyFields => "too many fields",
            Self::HeadTimeout => "head too slow",
        }
    }
}
