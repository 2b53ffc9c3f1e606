//! The one place where something that went wrong becomes a status and a page.
//!
//! A generated answer is a few lines of text, a page where the client asks for HTML, or a problem document (RFC 9457) where it
//! prefers JSON; it always has `Cache-Status` with the reason and names the request's id, and is never stored by anyone.

use bytes::Bytes;
use http::StatusCode;

use super::headers::CacheStatus;
use super::response::{Body, CacheOutcome, Lines, Outcome, Response};
use crate::listener::request::BodyError;
use crate::observe::id::RequestName;
use crate::origin::OriginError;
use crate::route::RouteRefusal;

/// Something that went wrong, as far as the client is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The status to send.
    pub status: StatusCode,
    /// A short stable word for `Cache-Status`, log and metrics.
    pub reason: &'static str,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
}

impl Failure {
    /// A failure with this status and reason.
    pub const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, retry_after: None }
    }

    /// The same, told when to come back.
    #[must_use]
    pub const fn retry_after(mut self, secs: u32) -> Self {
        self.retry_after = Some(secs);
        self
    }
}

impl From<RouteRefusal> for Failure {
    fn from(refusal: RouteRefusal) -> Self {
        let status = match refusal {
            RouteRefusal::NoSite => StatusCode::MISDIRECTED_REQUEST,
            RouteRefusal::Disputed => StatusCode::FORBIDDEN,
            RouteRefusal::Long => StatusCode::URI_TOO_LONG,
            RouteRefusal::Malformed(_) | RouteRefusal::Nominated | RouteRefusal::Unwritable => {
                StatusCode::BAD_REQUEST
            }
        };
        Self::new(status, refusal.as_str())
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Self {
        let status = match error {
            OriginError::Loop => StatusCode::LOOP_DETECTED,
            OriginError::RequestBody(BodyError::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
            OriginError::RequestBody(BodyError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            OriginError::Target | OriginError::RequestBody(_) => StatusCode::BAD_REQUEST,
            OriginError::NoOrigin
            | OriginError::QueueFull
            | OriginError::QueueTimeout
            | OriginError::Overload => StatusCode::SERVICE_UNAVAILABLE,
            OriginError::ConnectTimeout
            | OriginError::FirstByteTimeout
            | OriginError::BetweenBytesTimeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        let failure = Self::new(status, error.as_str());
        if status == StatusCode::SERVICE_UNAVAILABLE { failure.retry_after(1) } else { failure }
    }
}

/// The answer that tells a failure. `accept` is the request's `Accept`, `called` its name.
pub fn response(failure: Failure, node: &str, accept: Option<&[u8]>, called: &RequestName) -> Response {
    let name = called.as_str();
    let Failure { status, reason, retry_after } = failure;
    let title = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let hint = hint(code, reason);
    let (kind, body) = match Wanted::of(accept) {
        Wanted::Json => {
            let body = serde_json::json!({
                "type": "about:blank", "title": title, "status": code, "detail": hint,
                "reason": reason, "node": node, "request": name,
            });
            ("application/problem+json", body.to_string())
        }
        Wanted::Html => ("text/html; charset=utf-8", page(code, title, hint, reason, node, name)),
        // Short: of those who do not say what they take, thousands may be refused at once and not read it.
        Wanted::Text => {
            let text = format!("{code} {title}\n{hint}\n{reason} · {node} · {name}\n");
            ("text/plain; charset=utf-8", text)
        }
    };
    let mut extra = Vec::with_capacity(256);
    CacheStatus::Detail(reason).write(&mut extra, node);
    let mut lines = format!(
        "content-type: {kind}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\
         content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    );
    if let Some(secs) = retry_after {
        lines.extend(["retry-after: ", itoa::Buffer::new().format(secs), "\r\n"]);
    }
    lines.extend(["x-request-id: ", name, "\r\n"]);
    Response {
        status,
        extra,
        lines: Lines::Own(Bytes::from(lines)),
        // Many may wait for windows that do not open: exactly what it takes.
        body: Body::Bytes(Bytes::from(body.into_bytes().into_boxed_slice())),
        outcome: Outcome {
            cache: CacheOutcome::Generated,
            reason: Some(reason),
            id: Some(called.id),
            ..Outcome::default()
        },
        close: false,
    }
}

/// What a client is told a failure in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Text,
    Html,
    Json,
}

impl Wanted {
    /// What comes first in `Accept`, weights aside: a browser names HTML first, a program JSON, and many neither.
    fn of(accept: Option<&[u8]>) -> Self {
        let Some(accept) = accept else { return Self::Text };
        let find = |needle: &[u8]| memchr::memmem::find(accept, needle);
        match (find(b"json"), find(b"html")) {
            (Some(json), Some(html)) if html < json => Self::Html,
            (Some(_), _) => Self::Json,
            (None, Some(_)) => Self::Html,
            (None, None) => Self::Text,
        }
    }
}

fn hint(status: u16, reason: &str) -> &'static str {
    match (status, reason) {
        (_, "no-site") => "No site is configured for this host.",
        (403, "address-denied") => "This address is not admitted here.",
        (410, "signature-expired") => "This link has expired.",
        (403, "signature-missing" | "signature-wrong") => "This link is not signed, or has been changed.",
        (403, "country-denied") => "This is not shown in your country.",
        (403, "sql-injection" | "cross-site-scripting" | "modsecurity" | "inspection-failed") => {
            "The request looks like an attack."
        }
        (413, "inspection-limit") => "The request is too large to be looked into.",
        (503, "inspection-busy") => "Too many requests are being looked into.",
        (429, _) => "There are too many requests from this address; try again later.",
        (401, _) => "A name and a password are asked for here.",
        (503, "credentials-busy") => "Too many passwords are being verified.",
        (403, "referer-denied") => "This is not shown on the page that asked for it.",
        (504, "only-if-cached") => "The request asked for a cached answer, and there is none.",
        (421, _) => "This connection is not the right one for this host.",
        (508, _) => "The request has come through this node before.",
        (502, _) => "The server behind this one sent no valid answer.",
        (503, _) => "The server behind this one cannot take the request now.",
        (504, _) => "The server behind this one did not answer in time.",
        (400..=499, _) => "The request was not understood or not allowed.",
        _ => "Something went wrong.",
    }
}

/// Everything in it is ours but the node's name, which is a token; nothing of the request is repeated.
fn page(code: u16, title: &str, hint: &str, reason: &str, node: &str, id: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{code} {title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;\
         color:#1c2733;background:#fff}}h1{{font-weight:600}}small{{color:#68788a}}\
         @media(prefers-color-scheme:dark){{body{{color:#dde5ee;background:#12181f}}}}</style>\
         <h1>{code} {title}</h1><p>{hint}</p><p><small>{reason} · {node} · {id}</small></p></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_a_problem_document_and_a_browser_a_page() {
        let claims: [(&str, Option<&[u8]>, Wanted); 6] = [
            ("nothing said", None, Wanted::Text),
            ("a browser", Some(b"text/html,application/xhtml+xml,*/*;q=0.8"), Wanted::Html),
            ("curl", Some(b"*/*"), Wanted::Text),
            ("a program", Some(b"application/json"), Wanted::Json),
            ("a program that also takes HTML", Some(b"application/json, text/html"), Wanted::Json),
            ("a page that also takes JSON", Some(b"text/html, application/json"), Wanted::Html),
        ];
        for (claim, accept, wanted) in claims {
            assert_eq!(Wanted::of(accept), wanted, "{claim}");
        }
    }

    #[test]
    fn a_generated_answer_is_never_stored_and_says_why() {
        let failure = Failure::new(StatusCode::BAD_GATEWAY, "refused").retry_after(5);
        let ids = crate::observe::id::RequestIds::new(crate::observe::id::Run::from_bits(7), 1);
        let response = response(failure, "n1", None, &ids.draw().into());
        let lines = String::from_utf8_lossy(response.lines.as_bytes()).into_owned();
        assert!(lines.contains("cache-control: no-store\r\n") && lines.contains("retry-after: 5\r\n"));
        assert_eq!(response.extra, b"cache-status: n1; detail=refused\r\n");
    }
}
