//! Answers of the node's own, as responses; and pages in place of errors.
//!
//! What is answered is `route/answer.rs`'s to say. All of it goes through the route's `response_headers` like everything else.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{Edge, Finish};
use crate::config::{ErrorPages, Fixed, Maintenance, Page};
use crate::listener::request::Request;
use crate::respond::dress;
use crate::respond::failure::Failure;
use crate::respond::headers::{CacheStatus, line};
use crate::respond::response::{Body, CacheOutcome, Lines, Outcome, Response};
use crate::route::{Asked, OwnAnswer, Route};

impl Edge {
    /// What the route answers itself, if it does.
    pub(super) fn own_answer(
        &self,
        route: &Route<'_, '_>,
        request: &Request,
        finish: &Finish,
    ) -> Option<Response> {
        let asked = Asked {
            method: &request.method,
            scheme: request.scheme,
            target: request.target(),
            client: request.client.address.ip(),
        };
        // Looked up in the table, not in the route, whose bytes are the request's.
        let answer = match self.routes.own_answer(route, &asked)? {
            OwnAnswer::Redirect(status, location, why) => self.own(status, why, |lines| {
                line(lines, b"location", &location);
                Bytes::new()
            }),
            OwnAnswer::Fixed(fixed) => self.fixed(fixed),
            OwnAnswer::Maintenance(maintenance) => self.maintained(maintenance, request),
            OwnAnswer::NotAllowed(methods) => {
                let mut answer = self.failed(request, Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method"));
                line(&mut answer.extra, b"allow", allowed(methods).as_bytes());
                finish.in_place(&mut answer);
                answer
            }
            OwnAnswer::Server => self.own(StatusCode::NO_CONTENT, "https-only", |_| Bytes::new()),
            OwnAnswer::TooLong => {
                let mut answer =
                    self.failed(request, Failure::new(StatusCode::URI_TOO_LONG, "redirect-length"));
                finish.in_place(&mut answer);
                answer
            }
        };
        Some(answer)
    }

    fn fixed(&self, fixed: &Fixed) -> Response {
        self.own(fixed.status, "respond", |lines| {
            for (name, value) in &fixed.headers {
                line(lines, name.as_str().as_bytes(), value.constant().unwrap_or_default().as_bytes());
            }
            page(lines, &fixed.page)
        })
    }

    fn maintained(&self, maintenance: &Maintenance, request: &Request) -> Response {
        let retry = maintenance.retry_after.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        let Some(shown) = &maintenance.page else {
            let failure = Failure::new(maintenance.status, "maintenance");
            return self.failed(request, retry.map_or(failure, |secs| failure.retry_after(secs)));
        };
        self.own(maintenance.status, "maintenance", |lines| {
            line(lines, b"cache-control", b"no-store");
            if let Some(secs) = retry {
                line(lines, b"retry-after", itoa::Buffer::new().format(secs).as_bytes());
            }
            page(lines, shown)
        })
    }

    fn own(
        &self,
        status: StatusCode,
        why: &'static str,
        body: impl FnOnce(&mut Vec<u8>) -> Bytes,
    ) -> Response {
        let mut lines = Vec::with_capacity(256);
        let body = body(&mut lines);
        let mut extra = Vec::with_capacity(64);
        CacheStatus::Detail(why).write(&mut extra, &self.config.node);
        let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Response {
            status,
            extra,
            lines: Lines::Own(lines.into()),
            body: if has_none { Body::None } else { Body::Bytes(body) },
            outcome: Outcome { cache: CacheOutcome::Generated, reason: Some(why), ..Outcome::default() },
            close: false,
        }
    }
}

/// Puts a page in place of an error, if there is one for it.
pub(super) fn in_place(pages: &ErrorPages, response: &mut Response) {
    if response.outcome.cache != CacheOutcome::Generated && !pages.intercept {
        return;
    }
    let Some(shown) = pages.of(response.status) else { return };
    let mut lines = Vec::with_capacity(256);
    let of_the_page = |name: &[u8]| OF_A_PAGE.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    for (_, line) in dress::lines(response.lines.as_bytes()).filter(|(name, _)| !of_the_page(name)) {
        lines.extend_from_slice(line);
    }
    let body = page(&mut lines, shown);
    response.outcome.encoding = None;
    response.lines = Lines::Own(lines.into());
    response.body = Body::Bytes(body);
}

/// The page's type as a line, and its bytes.
fn page(lines: &mut Vec<u8>, page: &Page) -> Bytes {
    if !page.bytes.is_empty() {
        line(lines, b"content-type", page.content_type.as_bytes());
    }
    page.bytes.clone()
}

pub(crate) fn allowed(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// What a header says of the body that goes.
const OF_A_PAGE: [&str; 14] = [
    "accept-ranges",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content-security-policy",
    "content-type",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
];
