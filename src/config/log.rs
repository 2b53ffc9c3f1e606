//! `[log]`: where the access log goes, how its lines look, and which requests have one.

use std::path::PathBuf;
use std::sync::Arc;

use super::trace::Trace;

/// The access log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Where it goes.
    pub target: LogTarget,
    /// How a line looks.
    pub format: LogFormat,
    /// How much of a client's address is written; `None`: all of it.
    pub mask: Option<Mask>,
    /// When a file is begun anew; `None`: when told to (USR1).
    pub rotation: Option<Rotation>,
    /// Which requests have a line.
    pub sample: Sample,
    /// Whether lines name a trace.
    pub trace: Trace,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            target: LogTarget::Stdout,
            format: LogFormat::Json,
            mask: None,
            rotation: None,
            sample: Sample::ALL,
            trace: Trace::default(),
        }
    }
}

/// Where the access log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
    /// A syslog receiver, RFC 5424.
    Syslog(SyslogAt),
    /// The system's journal, by its own protocol.
    Journal,
}

/// Where a syslog receiver is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SyslogAt {
    /// A datagram socket in the file system: `/dev/log`.
    Unix(PathBuf),
    /// `host:port`, a datagram a line (RFC 5426).
    Udp(Box<str>),
    /// `host:port`, a stream with each line's length in front of it (RFC 6587 §3.4.1).
    Tcp(Box<str>),
}

/// Shape of an access log line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The combined format, with the cache outcome behind it.
    Combined,
    /// Text with fields filled in.
    Template(Arc<LineTemplate>),
}

/// A line's text with places to fill in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineTemplate {
    /// As written.
    pub text: Box<str>,
    /// Its parts.
    pub pieces: Vec<LinePiece>,
}

/// A part of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinePiece {
    /// Stands as it is.
    Text(Box<str>),
    /// Is filled in.
    Field(LineField),
}

/// What can be told of a request, by the names that it has in JSON lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // each is what its name in `LINE_FIELDS` says
pub enum LineField {
    Time,
    Id,
    Client,
    Method,
    Scheme,
    Host,
    Path,
    Protocol,
    Status,
    Bytes,
    Received,
    DurationUs,
    Cache,
    Reason,
    Ttl,
    Age,
    Tier,
    SavedBytes,
    Encoding,
    Pool,
    Origin,
    OriginUs,
    Complete,
    Country,
    Tls,
    UserAgent,
    Referer,
    TraceId,
    SpanId,
    ParentId,
}

/// Every field by its name.
pub const LINE_FIELDS: [(&str, LineField); 30] = [
    ("time", LineField::Time),
    ("id", LineField::Id),
    ("client", LineField::Client),
    ("method", LineField::Method),
    ("scheme", LineField::Scheme),
    ("host", LineField::Host),
    ("path", LineField::Path),
    ("protocol", LineField::Protocol),
    ("status", LineField::Status),
    ("bytes", LineField::Bytes),
    ("received", LineField::Received),
    ("duration_us", LineField::DurationUs),
    ("cache", LineField::Cache),
    ("reason", LineField::Reason),
    ("ttl", LineField::Ttl),
    ("age", LineField::Age),
    ("tier", LineField::Tier),
    ("saved_bytes", LineField::SavedBytes),
    ("encoding", LineField::Encoding),
    ("pool", LineField::Pool),
    ("origin", LineField::Origin),
    ("origin_us", LineField::OriginUs),
    ("complete", LineField::Complete),
    ("country", LineField::Country),
    ("tls", LineField::Tls),
    ("user_agent", LineField::UserAgent),
    ("referer", LineField::Referer),
    ("trace_id", LineField::TraceId),
    ("span_id", LineField::SpanId),
    ("parent_id", LineField::ParentId),
];

/// How many bits of an address are written; the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask {
    /// Of an IPv4 address, 0 to 32.
    pub ipv4_bits: u8,
    /// Of an IPv6 address, 0 to 128.
    pub ipv6_bits: u8,
}

impl Default for Mask {
    fn default() -> Self {
        Self { ipv4_bits: 24, ipv6_bits: 48 }
    }
}

/// When a file of the log is begun anew, and how many of the old ones stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// Before it would be longer than this, bytes.
    pub bytes: u64,
    /// Old files, `access.log.1` the newest of them.
    pub keep: u16,
}

/// A share of requests, chosen by their ids: all nodes that a request comes through under one id choose alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Of a million.
    pub ppm: u32,
}

impl Sample {
    /// Every request.
    pub const ALL: Self = Self { ppm: PPM };

    /// The share as a number from 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.ppm) / f64::from(PPM)
    }

    /// Whether it is everything.
    #[inline]
    pub const fn is_all(self) -> bool {
        self.ppm >= PPM
    }

    /// Whether the request with this id is one of them. About a nanosecond for each eight bytes.
    #[inline]
    pub fn takes(self, id: &[u8]) -> bool {
        self.is_all() || mixed(id) % u64::from(PPM) < u64::from(self.ppm)
    }
}

/// The same number for the same text on every node: FNV-1a, then mixed (`SplitMix64`), for ids are counters.
fn mixed(text: &[u8]) -> u64 {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A million.
pub const PPM: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_share_of_the_ids_and_a_larger_one_has_all_of_a_smaller() {
        let ids: Vec<String> = (0..20_000).map(|number| format!("0000010000{number:06}")).collect();
        let of = |ppm| ids.iter().filter(|id| Sample { ppm }.takes(id.as_bytes())).collect::<Vec<_>>();
        let (tenth, half) = (of(100_000), of(500_000));
        assert!((1_850..2_150).contains(&tenth.len()), "{}", tenth.len());
        assert!((9_700..10_300).contains(&half.len()), "{}", half.len());
        assert!(tenth.iter().all(|id| half.contains(id)));
        assert_eq!((of(0).len(), of(PPM).len()), (0, ids.len()));
    }
}
