//! `[trace]`: whether requests without a trace begin one, and where spans go.

use super::log::Sample;

/// Tracing. A trace that a request comes with (W3C Trace Context) is passed on whatever stands here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Requests without a trace begin one, and log lines name it.
    pub on: bool,
    /// The traces begun here that are recorded.
    pub sample: Sample,
    /// Where spans are sent: `http://host:port` of an OTLP/HTTP receiver.
    pub export: Option<Box<str>>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { on: false, sample: Sample::ALL, export: None }
    }
}
