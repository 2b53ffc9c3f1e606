//! What happened on a stage, for the reader of a failure: script, clock and bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate::clock::Clock;

/// One log shared by all who stand on a stage.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    clock: Clock,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    /// Empty.
    pub(crate) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), lines: Arc::default() }
    }

    /// Adds a line about `who`.
    pub(crate) fn note(&self, who: &str, what: &str) {
        let line = format!("{:>14} ms  {who:<12} {what}", self.clock.now().as_millis());
        self.lines.lock().push(line);
    }

    /// Adds bytes that `who` saw or sent.
    pub(crate) fn bytes(&self, who: &str, what: &str, bytes: &[u8]) {
        self.note(who, &format!("{what} {}", shown(bytes)));
    }

    /// The last of it, as one text.
    pub(crate) fn told(&self) -> String {
        let lines = self.lines.lock();
        let skipped = lines.len().saturating_sub(LINES_TOLD);
        let mut text = String::new();
        if skipped > 0 {
            let _ = writeln!(text, "  … {skipped} lines before");
        }
        for line in lines.iter().skip(skipped) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// Bytes as a reader can see them, cut where they get long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let cut = bytes.get(..BYTES_TOLD).unwrap_or(bytes);
    let rest = bytes.len() - cut.len();
    let mut text = format!("\"{}\"", cut.escape_ascii());
    if rest > 0 {
        let _ = write!(text, " … {rest} bytes more");
    }
    text
}

const LINES_TOLD: usize = 120;
const BYTES_TOLD: usize = 1200;
