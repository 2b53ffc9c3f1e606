//! The demo site as a function from a request to an answer, with the caching fields a careful publisher would send.
//!
//! | Path | Fresh for | What it shows |
//! |---|---|---|
//! | `/`, sections | 10 s, then stale while revalidating | a hit, tags |
//! | articles | 60 s, a day if the origin fails | validation, stale if error |
//! | `/live` | 5 s + 30 s | stale while revalidate |
//! | `/slow` | 30 s | one fetch for many waiters |
//! | `/flaky` | 1 s, 5 min if the origin fails | stale if error |
//! | `/welcome` | 5 min | variants by `Accept-Language` |
//! | `/where`, `/canary` | never | steering by place and by weight |
//! | `/account` | never | `private` |
//! | `/assets/…`, `/pictures/…` | a day to a year | validation, `immutable` |
//! | `/outage/on`, `/off`, `/quay` | never | the switches |
//!
//! Two berths, *quay* and *pier*, share one site, so that one can go dark and the other take over.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::{Method, StatusCode};

use super::art;
use super::articles::{ARTICLES, SECTIONS};
use super::page::{Frame, path};

/// The site and the state of its switches.
#[derive(Debug)]
pub(super) struct Site {
    printed: Timestamp,
    style: String,
    asked: AtomicU64,
    flaky: AtomicU64,
    outage: AtomicBool,
    quay_dark: AtomicBool,
}

/// A request, as far as the site cares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a Method,
    /// Without query.
    pub(super) path: &'a str,
    pub(super) accept_language: &'a str,
    pub(super) if_none_match: Option<&'a str>,
    pub(super) if_modified_since: Option<&'a str>,
    /// The wall.
    pub(super) now: Timestamp,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// How long it takes to make.
    pub(super) delay: Duration,
}

impl Site {
    /// A site printed at `now`, with every switch off.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            printed: now,
            style: format!("/assets/style-{}.css", fingerprint(STYLE.as_bytes())),
            asked: AtomicU64::new(0),
            flaky: AtomicU64::new(0),
            outage: AtomicBool::new(false),
            quay_dark: AtomicBool::new(false),
        }
    }

    /// Whether the quay breaks off every connection.
    pub(super) fn quay_is_dark(&self) -> bool {
        self.quay_dark.load(Ordering::Relaxed)
    }

    /// The answer to `ask`.
    pub(super) fn answer(&self, ask: &Ask<'_>) -> Answer {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if !matches!(*ask.method, Method::GET | Method::HEAD) {
            let answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "The paper is for reading.\n");
            return answer.field("allow", "GET, HEAD").cached(NEVER);
        }
        if let Some(switch) = ask.path.strip_prefix("/outage/") {
            return self.switch(switch);
        }
        if self.outage.load(Ordering::Relaxed) {
            let answer = Answer::text(StatusCode::SERVICE_UNAVAILABLE, "The press is out of order.\n");
            return answer.cached(NEVER).field("retry-after", "5");
        }
        let answer = self.page(ask, asked);
        if answer.status == StatusCode::OK { self.validated(answer, ask) } else { answer }
    }

    fn page(&self, ask: &Ask<'_>, asked: u64) -> Answer {
        let day = day(ask.now);
        let frame = Frame { style: &self.style, day: &day };
        match ask.path {
            "/" => Answer::html(frame.front()).cached(FRONT).tagged("front"),
            "/live" => {
                let events = events(ask.now);
                Answer::html(frame.live(&time(ask.now), asked, &events)).cached(LIVE).tagged("live")
            }
            "/slow" => Answer {
                delay: SLOW,
                ..Answer::text(StatusCode::OK, "Two seconds of work went into this line.\n").cached(SHORT)
            },
            "/flaky" => self.flaky(),
            "/welcome" => {
                let (language, title, text) = greeting(ask.accept_language);
                Answer::html(frame.notice(title, text))
                    .cached(WELCOME)
                    .field("vary", "Accept-Language")
                    .field("content-language", language)
            }
            super::steering::WHERE | super::steering::CANARY => {
                Answer::text(StatusCode::OK, "Which berth printed this? See X-Berth.\n").cached(NEVER)
            }
            "/account" => Answer::html(frame.notice(ACCOUNT.0, ACCOUNT.1))
                .cached("private, no-store")
                .field("set-cookie", "subscriber=demo; Path=/; HttpOnly; SameSite=Lax"),
            "/assets/harbour.png" => Answer::of("image/png", HARBOUR).cached(DAY).tagged("asset"),
            "/assets/icon.svg" => Answer::of("image/svg+xml", ICON.as_bytes()).cached(DAY).tagged("asset"),
            style if style == self.style => {
                Answer::of("text/css; charset=utf-8", STYLE.as_bytes()).cached(FOREVER)
            }
            other => self.printed(frame, other).unwrap_or_else(|| {
                let body = frame.notice("Nothing on this page", "The wind took it, or it was never printed.");
                Answer { status: StatusCode::NOT_FOUND, ..Answer::html(body).cached("public, max-age=10") }
            }),
        }
    }

    /// Sections, articles and their pictures.
    fn printed(&self, frame: Frame<'_>, wanted: &str) -> Option<Answer> {
        if let Some((slug, name, about)) = SECTIONS.iter().find(|(slug, ..)| wanted == format!("/{slug}")) {
            let answer = Answer::html(frame.section(slug, name, about));
            return Some(answer.cached(FRONT).tagged(&format!("section-{slug}")));
        }
        if let Some(article) = ARTICLES.iter().find(|article| wanted == path(article)) {
            let written = self.printed.minus(Duration::from_hours(article.hours_old));
            let tags = format!("article article-{} section-{}", article.slug, article.section);
            let answer = Answer::html(frame.article(article, &day(written))).cached(ARTICLE).tagged(&tags);
            return Some(answer.field("last-modified", date(written)));
        }
        let slug = wanted.strip_prefix("/pictures/")?.strip_suffix(".svg")?;
        let article = ARTICLES.iter().find(|article| article.slug == slug)?;
        let picture = art::picture(slug, article.picture);
        Some(Answer::of("image/svg+xml", picture.as_bytes()).cached(DAY).tagged("asset"))
    }

    /// Good every other time.
    fn flaky(&self) -> Answer {
        if self.flaky.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            Answer::text(StatusCode::OK, "This time it worked.\n").cached(FLAKY)
        } else {
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, "This time it did not.\n").cached(NEVER)
        }
    }

    fn switch(&self, switch: &str) -> Answer {
        let (outage, quay_dark, text) = match switch {
            "on" => (true, false, "The press is out of order: every page answers 503.\n"),
            "quay" => {
                (false, true, "The quay went dark: it breaks off every connection. The pier still answers.\n")
            }
            "off" => (false, false, "All is well again.\n"),
            _ => {
                return Answer::text(StatusCode::NOT_FOUND, "The switches are on, quay and off.\n")
                    .cached(NEVER);
            }
        };
        self.outage.store(outage, Ordering::Relaxed);
        self.quay_dark.store(quay_dark, Ordering::Relaxed);
        Answer::text(StatusCode::OK, text).cached(NEVER)
    }

    /// With an entity tag and a date, and as 304 where the client has it already. RFC 9110 §13.2.2.
    fn validated(&self, answer: Answer, ask: &Ask<'_>) -> Answer {
        let tag = format!("\"{}\"", fingerprint(&answer.body));
        let dated = answer.fields.iter().any(|(name, _)| *name == "last-modified");
        let answer = if dated { answer } else { answer.field("last-modified", date(self.printed)) };
        let modified =
            answer.fields.iter().find(|(name, _)| *name == "last-modified").map(|(_, date)| date.as_str());
        let unchanged = match ask.if_none_match {
            Some(known) => known.split(',').any(|one| {
                let one = one.trim();
                one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
            }),
            // Pages that change by the moment carry the date of the printing; only their tag tells them apart.
            None => {
                ask.path != "/live" && ask.if_modified_since.is_some() && ask.if_modified_since == modified
            }
        };
        let mut answer = answer.field("etag", tag);
        if unchanged {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.body = Bytes::new();
            answer.fields.retain(|(name, _)| *name != "content-type");
        }
        answer
    }
}

impl Answer {
    fn of(content_type: &'static str, body: &[u8]) -> Self {
        let fields = vec![("content-type", content_type.to_owned())];
        Self { status: StatusCode::OK, fields, body: Bytes::copy_from_slice(body), delay: Duration::ZERO }
    }

    fn html(body: impl AsRef<str>) -> Self {
        Self::of("text/html; charset=utf-8", body.as_ref().as_bytes())
    }

    fn text(status: StatusCode, body: &str) -> Self {
        Self { status, ..Self::of("text/plain; charset=utf-8", body.as_bytes()) }
    }

    fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn cached(self, control: &str) -> Self {
        self.field("cache-control", control)
    }

    fn tagged(self, tags: &str) -> Self {
        self.field("surrogate-key", tags)
    }
}

/// What has happened at the quay, the latest first: something every four minutes, round and round.
fn events(now: Timestamp) -> Vec<(String, &'static str)> {
    let slot = now.as_secs() / 240;
    (0..5)
        .map(|back| {
            let slot = slot.saturating_sub(back);
            // The remainder is below the number of events.
            let event = usize::try_from(slot % EVENTS.len() as u64).ok().and_then(|at| EVENTS.get(at));
            let text = time(Timestamp::from_secs(slot * 240));
            (text.get(..5).unwrap_or_default().to_owned(), *event.unwrap_or(&""))
        })
        .collect()
}

/// The first language of the list that we have, by its order alone; English otherwise.
fn greeting(accept_language: &str) -> (&'static str, &'static str, &'static str) {
    accept_language
        .split(',')
        .filter_map(|range| range.trim().get(..2))
        .find_map(|wanted| GREETINGS.iter().find(|(language, ..)| wanted.eq_ignore_ascii_case(language)))
        .copied()
        .unwrap_or((
            "en",
            "Welcome aboard",
            "This page speaks English, German, French and Norwegian. The node keeps one variant for each.",
        ))
}

fn fingerprint(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// `Sat, 21 Nov 2026 10:47:02 GMT`.
pub(super) fn date(at: Timestamp) -> String {
    // The largest date `httpdate` can write, so that no clock makes it panic.
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.as_secs().min(253_402_300_799)))
}

/// `Sat, 21 Nov 2026`.
fn day(at: Timestamp) -> String {
    date(at).get(..16).unwrap_or_default().to_owned()
}

/// `10:47:02`.
fn time(at: Timestamp) -> String {
    date(at).get(17..25).unwrap_or_default().to_owned()
}

const FRONT: &str = "public, max-age=10, stale-while-revalidate=60, stale-if-error=86400";
const ARTICLE: &str = "public, max-age=60, stale-while-revalidate=300, stale-if-error=86400";
const LIVE: &str = "public, max-age=5, stale-while-revalidate=30, stale-if-error=600";
const SHORT: &str = "public, max-age=30, stale-while-revalidate=60";
const FLAKY: &str = "public, max-age=1, stale-if-error=300";
const WELCOME: &str = "public, max-age=300";
const DAY: &str = "public, max-age=86400, stale-while-revalidate=604800";
const FOREVER: &str = "public, max-age=31536000, immutable";
const NEVER: &str = "no-store";
const SLOW: Duration = Duration::from_secs(2);

const STYLE: &str = include_str!("assets/style.css");
const HARBOUR: &[u8] = include_bytes!("assets/harbour.png");
const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#0b5f73"/><path fill="#fbf9f4" d="M14 5h4l2 18h-8z"/><path fill="#b3392b" d="M13.4 11h5.2l.5 4h-6.2z"/><path fill="none" stroke="#fbf9f4" stroke-width="2" d="M3 26q4-4 8.500 0t9 0 8.500 0"/></svg>"##;
const ACCOUNT: (&str, &str) = (
    "Your subscription",
    "This page is yours alone: its answer is private, sets a cookie, and is never kept by the node.",
);
const GREETINGS: [(&str, &str, &str); 3] = [
    (
        "de",
        "Willkommen an Bord",
        "Diese Seite spricht Deutsch, Englisch, Französisch und Norwegisch. Der Knoten hält für jede Sprache eine Variante.",
    ),
    (
        "fr",
        "Bienvenue à bord",
        "Cette page parle français, allemand, anglais et norvégien. Le nœud garde une variante par langue.",
    ),
    (
        "nb",
        "Velkommen om bord",
        "Denne siden snakker norsk, engelsk, fransk og tysk. Noden holder én variant for hvert språk.",
    ),
];
const EVENTS: [&str; 9] = [
    "The pilot boat is out again, with the good coffee on board.",
    "High water at the north pier. The gate is closed and nobody has noticed.",
    "Two seals on the slipway. The slipway is closed.",
    "The 23:40 reports full bread crates and an empty saloon.",
    "Wind backing to the south-west, four, gusting to opinions.",
    "The dredger has found a bicycle. Owners may apply.",
    "Herring auction over; the floor is being found underneath.",
    "Fog bank off Holm Head. The far shore is reported unchanged.",
    "Gate open on the ebb. The old basin says good morning.",
];
