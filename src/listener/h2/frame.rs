//! Frames: their heads, the rules that hold for a kind whatever the connection's state, and the few that we write.
//!
//! RFC 9113 §4.1, §4.2, §6, §7. Sans I/O; `inbound.rs` reads with it, `connection.rs` and `send.rs` write.

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FrameHead {
    /// Payload length.
    pub(crate) length: u32,
    /// Type code.
    pub(crate) kind: u8,
    /// Flags.
    pub(crate) flags: u8,
    /// Stream, 0 for the connection.
    pub(crate) stream: u32,
}

/// Why a connection or a stream ends. RFC 9113 §7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
#[allow(missing_docs)] // named after the code
pub(crate) enum Code {
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

impl FrameHead {
    /// Reads a head. The reserved bit is ignored.
    pub(crate) const fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX,
        }
    }

    /// The head as it is sent.
    pub(crate) const fn bytes(self) -> [u8; HEAD_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// The flag `END_STREAM` of DATA and HEADERS.
    pub(crate) const fn ends_stream(self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The flag `END_HEADERS` of HEADERS and CONTINUATION.
    pub(crate) const fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// The flag `ACK` of SETTINGS and PING.
    pub(crate) const fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    /// The flag `PADDED` of DATA and HEADERS.
    pub(crate) const fn is_padded(self) -> bool {
        self.flags & PADDED != 0
    }

    /// What a frame of this kind must be like. RFC 9113 §6. PRIORITY frames say nothing to us; their length is looked at
    /// all the same.
    ///
    /// # Errors
    /// The connection must end; where the standard speaks of an error of the stream, it may be taken for one of the
    /// connection (§5.4.1).
    pub(crate) const fn check(self) -> Result<(), Code> {
        if self.length > PAYLOAD_BYTES_MAX {
            return Err(Code::FrameSizeError);
        }
        let of_connection = self.stream == 0;
        let placed = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION => !of_connection,
            SETTINGS | PING | GOAWAY => of_connection,
            // A client must not push.
            PUSH_PROMISE => false,
            _ => true,
        };
        if !placed {
            return Err(Code::ProtocolError);
        }
        let sized = match self.kind {
            PRIORITY => self.length == 5,
            RST_STREAM | WINDOW_UPDATE => self.length == 4,
            SETTINGS if self.is_ack() => self.length == 0,
            SETTINGS => self.length.is_multiple_of(SETTING_BYTES),
            PING => self.length == 8,
            GOAWAY => self.length >= 8,
            DATA | HEADERS if self.is_padded() => self.length >= 1,
            _ => true,
        };
        if sized { Ok(()) } else { Err(Code::FrameSizeError) }
    }
}

/// Appends a whole frame. `payload` is shorter than 16 MiB.
pub(crate) fn append(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    out.extend_from_slice(&FrameHead { length, kind, flags, stream }.bytes());
    out.extend_from_slice(payload);
}

/// `RST_STREAM`, RFC 9113 §6.4.
pub(crate) fn reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    append(out, RST_STREAM, 0, stream, &(code as u32).to_be_bytes());
}

/// `WINDOW_UPDATE`, RFC 9113 §6.9.
pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    append(out, WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
}

/// GOAWAY, RFC 9113 §6.8.
pub(crate) fn goaway(out: &mut Vec<u8>, last_stream: u32, code: Code) {
    let payload = u64::from(last_stream) << 32 | u64::from(code as u32);
    append(out, GOAWAY, 0, 0, &payload.to_be_bytes());
}

/// SETTINGS with these identifiers and values, RFC 9113 §6.5.
pub(crate) fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let length = u32::try_from(settings.len()).unwrap_or_default().saturating_mul(SETTING_BYTES);
    out.extend_from_slice(&FrameHead { length, kind: SETTINGS, flags: 0, stream: 0 }.bytes());
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// What a client says first, RFC 9113 §3.4.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub(crate) const HEAD_BYTES: usize = 9;
/// The longest payload that we take, and that everyone must: `SETTINGS_MAX_FRAME_SIZE` as it is by default.
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 16_384;
/// The highest stream, and the largest window.
pub(crate) const STREAM_MAX: u32 = 0x7fff_ffff;
const SETTING_BYTES: u32 = 6;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITISED: u8 = 0x20;

pub(crate) const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const SETTINGS_ENABLE_PUSH: u16 = 2;
pub(crate) const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const SETTINGS_MAX_FRAME_SIZE: u16 = 5;
pub(crate) const SETTINGS_MAX_HEADER_LIST_SIZE: u16 = 6;
/// RFC 8441 §3.
pub(crate) const SETTINGS_ENABLE_CONNECT_PROTOCOL: u16 = 8;
