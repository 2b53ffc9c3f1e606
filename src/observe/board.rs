//! What is asked for most: URLs by requests, by bytes and by fetches from origins, and tags; of now, for the dashboard and `top`.
//!
//! Fed from what who watches the log is shown (`watched.rs`), once a second, by whoever asks first; all who ask within that second are
//! told the same text. So it costs what a watcher costs, however many there are, and nothing where nobody looks. Then what was
//! known fades with the time that goes by.
//!
//! Tags stand in no line; for some lines the node is asked what the response in its memory is tagged with.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::access_log::AccessLog;
use super::seen::Seen;
use super::sketch::{Along, Counted, Sketch};
use super::tap::Tap;
use crate::config::limits::{
    BOARD_HALF_LIFE, BOARD_NAME_BYTES_MAX, BOARD_NAMES_MAX, BOARD_SHOWN, BOARD_TAG_LOOKUPS,
};

/// Kept by the node; see the head of this file.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

/// One who looks; until it is dropped.
#[derive(Debug)]
pub struct Looking(Arc<Board>);

/// The tags of what memory holds for a URL.
pub type TagsOf<'n> = &'n dyn Fn(&str) -> Vec<Box<str>>;

#[derive(Debug)]
struct State {
    looking: usize,
    tap: Option<Tap>,
    requests: Sketch,
    bytes: Sketch,
    fetches: Sketch,
    tags: Sketch,
    /// All that was seen, and for how many seconds; both faded as counts are.
    all: Along,
    seconds: f64,
    /// Lines it was seen through.
    lines: f64,
    faded_micros: u64,
    told: Option<Bytes>,
}

impl Default for State {
    fn default() -> Self {
        let sketch = || Sketch::new(BOARD_NAMES_MAX);
        Self {
            looking: 0,
            tap: None,
            requests: sketch(),
            bytes: sketch(),
            fetches: sketch(),
            tags: sketch(),
            all: Along::default(),
            seconds: 0.0,
            lines: 0.0,
            faded_micros: 0,
            told: None,
        }
    }
}

impl Board {
    /// One more looks. `None` where as many watch the log as may.
    ///
    /// # Errors
    /// The log cannot be watched.
    pub fn look(self: &Arc<Self>, log: &AccessLog) -> io::Result<Option<Looking>> {
        let mut state = self.0.lock();
        if state.tap.is_none() {
            state.tap = log.watch()?;
            if state.tap.is_none() {
                return Ok(None);
            }
        }
        state.looking += 1;
        drop(state);
        Ok(Some(Looking(Arc::clone(self))))
    }
}

impl Looking {
    /// What is asked for most, as JSON, at this moment of the steady clock.
    pub fn told(&self, now_micros: u64, tags_of: TagsOf<'_>) -> Bytes {
        let mut state = self.0.0.lock();
        let passed = now_micros.saturating_sub(state.faded_micros);
        if passed < REFRESH_MICROS
            && let Some(told) = &state.told
        {
            return told.clone();
        }
        state.pass(now_micros);
        state.take(tags_of);
        let told = Bytes::from(state.text());
        state.told = Some(told.clone());
        told
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.looking -= 1;
        if state.looking == 0 {
            state.tap = None;
        }
    }
}

impl State {
    /// Time has passed until now.
    #[allow(clippy::cast_precision_loss)] // seconds for a fading
    fn pass(&mut self, now_micros: u64) {
        let first = self.faded_micros == 0;
        let seconds = now_micros.saturating_sub(self.faded_micros) as f64 / 1e6;
        self.faded_micros = now_micros.max(1);
        if first {
            return;
        }
        let to = (-seconds / BOARD_HALF_LIFE.as_secs_f64()).exp2();
        for sketch in [&mut self.requests, &mut self.bytes, &mut self.fetches, &mut self.tags] {
            sketch.fade(to);
        }
        self.all.fade(to);
        self.lines *= to;
        // Nobody looked for longer than a moment: that time is not what counts are of.
        let looked = if self.told.is_some() && seconds < 5.0 { seconds } else { 0.0 };
        self.seconds = self.seconds * to + looked;
    }

    fn take(&mut self, tags_of: TagsOf<'_>) {
        let Some(tap) = &mut self.tap else { return };
        let blocks: Vec<Bytes> = std::iter::from_fn(|| tap.next_now()).collect();
        let lines: usize = blocks.iter().map(|block| memchr::memchr_iter(b'\n', block).count()).sum();
        let every = lines.div_ceil(BOARD_TAG_LOOKUPS).max(1);
        let mut url = String::new();
        let all = blocks.iter().flat_map(|block| block.split(|byte| *byte == b'\n'));
        for (at, line) in all.filter(|line| !line.is_empty()).enumerate() {
            let Some(seen) = Seen::of(line) else { continue };
            url.clear();
            url.extend([&*seen.scheme, "://", &*seen.host, &*seen.path]);
            if at % every == 0 {
                #[allow(clippy::cast_precision_loss)] // some thousand lines
                let by = f64::from(seen.one_of) * every as f64;
                let along = along(&seen, by);
                for tag in tags_of(&url).iter().take(TAGS_A_RESPONSE) {
                    self.tags.add(clip(tag), by, along);
                }
            }
            self.count(&seen, clip(&url));
        }
    }

    fn count(&mut self, seen: &Seen<'_>, url: &str) {
        let by = f64::from(seen.one_of);
        let along = along(seen, by);
        self.all.add(along);
        self.lines += 1.0;
        self.requests.add(url, by, along);
        if along.bytes > 0.0 {
            self.bytes.add(url, along.bytes, along);
        }
        if matches!(&*seen.cache, "miss" | "pass" | "revalidated") {
            self.fetches.add(url, by, along);
        }
    }

    fn text(&self) -> String {
        let list = |sketch: &Sketch| -> Vec<Value> {
            sketch.most(BOARD_SHOWN).map(|(name, counted)| self.told_of(name, counted)).collect()
        };
        json!({
            "seconds": round(self.seconds),
            "looked_at": if self.all.requests > 0.0 { round(self.lines / self.all.requests) } else { 1.0 },
            "requests": round(self.rate(self.all.requests)),
            "urls": {
                "requests": list(&self.requests),
                "bytes": list(&self.bytes),
                "fetches": list(&self.fetches),
            },
            "tags": list(&self.tags),
        })
        .to_string()
    }

    fn told_of(&self, name: &str, Counted { above, along, count }: Counted) -> Value {
        let ratio = |part: f64| if along.requests > 0.0 { Some(round(part / along.requests)) } else { None };
        json!({
            "name": name,
            "requests": round(self.rate(along.requests)),
            "bytes": round(self.rate(along.bytes)),
            "hit_ratio": ratio(along.from_cache),
            "errors": ratio(along.errors),
            // What the order says may be too much by this share.
            "above": if count > 0.0 { round(above / count) } else { 0.0 },
        })
    }

    /// A second, of what was counted.
    fn rate(&self, count: f64) -> f64 {
        count / self.seconds.max(1.0)
    }
}

#[allow(clippy::cast_precision_loss)] // bytes for eyes
fn along(seen: &Seen<'_>, by: f64) -> Along {
    let from_cache = matches!(&*seen.cache, "hit" | "stale" | "collapsed");
    Along {
        requests: by,
        from_cache: if from_cache { by } else { 0.0 },
        errors: if seen.status >= 500 { by } else { 0.0 },
        bytes: seen.bytes as f64 * by,
    }
}

/// As much of a name as is kept.
fn clip(name: &str) -> &str {
    let end = (0..=BOARD_NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.get(..end.unwrap_or_default()).unwrap_or(name)
}

/// To four digits: for eyes.
fn round(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    #[allow(clippy::cast_possible_truncation)] // the logarithm of a number is small
    let scale = 10f64.powi(3 - number.abs().log10().floor() as i32);
    (number * scale).round() / scale
}

/// Who asks sooner is told the same again.
const REFRESH_MICROS: u64 = 900_000;
/// Tags of one response that are counted.
const TAGS_A_RESPONSE: usize = 32;

#[cfg(test)]
mod tests {
    use cache_store::timestamp::Timestamp;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Log, LogFormat, LogTarget};
    use crate::observe::id::{RequestIds, Run};
    use crate::observe::tests::{finished, request};
    use crate::respond::response::{CacheOutcome, Outcome};

    /// What was asked for (path, how, how often) in each of some seconds, and what the board told after the last one.
    fn told(seconds: &[&[(&str, CacheOutcome, u32)]]) -> Value {
        let log =
            AccessLog::start(&Log { target: LogTarget::Off, format: LogFormat::Json, mask_client: false })
                .expect("it starts");
        let board = Arc::new(Board::default());
        let clock = Clock::manual(Timestamp::from_secs(1_000));
        let looking = board.look(&log).expect("the writer starts").expect("there is room");
        let mut buffer = log.buffer(&clock);
        let ids = RequestIds::new(Run::from_bits(0), 0);
        let tags_of = |url: &str| if url.contains("/news/") { vec!["news".into()] } else { Vec::new() };
        let mut text = looking.told(clock.micros(), &tags_of);
        for second in seconds {
            for &(path, cache, times) in *second {
                let outcome = Outcome { cache, ..Outcome::default() };
                for _ in 0..times {
                    buffer.append(ids.draw(), &request(b"a", path.as_bytes(), &[]), &finished(&outcome));
                }
            }
            buffer.flush(&clock);
            assert!(log.finish(std::time::Duration::from_secs(30)), "the writer has handed it on");
            clock.advance(std::time::Duration::from_secs(1));
            text = looking.told(clock.micros(), &tags_of);
        }
        serde_json::from_slice(&text).expect("it is JSON")
    }

    #[test]
    fn what_is_asked_for_most_is_told_first() {
        let second: &[_] = &[
            ("/news/1", CacheOutcome::Hit, 60),
            ("/", CacheOutcome::Hit, 40),
            ("/cart", CacheOutcome::Pass, 20),
        ];
        let told = told(&[second; 20]);
        let names = |at: &str| -> Vec<String> {
            let list = told.pointer(at).and_then(Value::as_array).expect("a list");
            list.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(names("/urls/requests"), ["https://a/news/1", "https://a/", "https://a/cart"]);
        assert_eq!(names("/urls/fetches"), ["https://a/cart"]);
        assert_eq!(names("/tags"), ["news"]);
        let rate = told["urls"]["requests"][0]["requests"].as_f64().expect("a rate");
        assert!((59.0..=61.0).contains(&rate), "{told}");
        assert_eq!(told["urls"]["requests"][0]["hit_ratio"], 1.0);
        assert_eq!(told["looked_at"], 1.0);
    }

    #[test]
    fn very_many_are_seen_through_some() {
        let second: &[_] = &[("/often", CacheOutcome::Hit, 30_000), ("/less", CacheOutcome::Hit, 10_000)];
        let told = told(&[second; 10]);
        let rate = |at: usize| told["urls"]["requests"][at]["requests"].as_f64().expect("a rate");
        assert_eq!(told["urls"]["requests"][0]["name"], "https://a/often");
        assert!((28_000.0..=32_000.0).contains(&rate(0)), "{told}");
        assert!((8_500.0..=11_500.0).contains(&rate(1)), "{told}");
        assert!(told["looked_at"].as_f64().expect("a share") < 0.2, "{told}");
    }

    #[test]
    fn names_are_cut_between_characters() {
        let long = "ä".repeat(BOARD_NAME_BYTES_MAX);
        assert!(clip(&long).len() <= BOARD_NAME_BYTES_MAX);
        assert_eq!(clip("/a"), "/a");
    }

    #[test]
    fn four_digits() {
        for (number, expected) in [(0.0, 0.0), (1234.56, 1235.0), (0.123_456, 0.1235), (99_999.0, 100_000.0)]
        {
            assert!((round(number) - expected).abs() < 1e-9, "{number}");
        }
    }
}
