//! Answers: JSON, or a problem document (RFC 9457).

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{Mistake, PurgeError, Refusal};
use crate::order::Scope;

/// An answer to be written by whoever has the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its media type.
    pub content_type: &'static str,
    /// Further fields, names in lower case.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A problem document. Its type is `about:blank`, so its title is the status's; `code` tells causes apart.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    /// Its status.
    pub status: StatusCode,
    /// A name for scripts, stable over versions: `empty-selection`.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// Further members.
    pub more: Vec<(&'static str, Value)>,
    /// Further fields of the answer.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl Reply {
    /// A JSON answer, with a line feed at its end for terminals.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // Serialising a value with string keys to memory cannot fail; if it did, an empty object is still JSON.
        let mut body = serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec());
        body.push(b'\n');
        Self { status, content_type: "application/json", fields: Vec::new(), body }
    }
}

impl Problem {
    /// A problem without further members.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), more: Vec::new(), fields: Vec::new() }
    }

    /// With another member.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.push((name, value));
        self
    }

    /// With another field in the answer.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn mistakes(self, mistakes: &[Mistake]) -> Self {
        let one = |mistake: &Mistake| json!({ "pointer": mistake.pointer, "detail": mistake.detail });
        self.with("errors", mistakes.iter().map(one).collect())
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let mut document = json!({
            "title": problem.status.canonical_reason().unwrap_or("Error"),
            "status": problem.status.as_u16(),
            "code": problem.code,
            "detail": problem.detail,
        });
        if let Value::Object(members) = &mut document {
            members.extend(problem.more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        let reply = Self::json(problem.status, &document);
        Self { content_type: "application/problem+json", fields: problem.fields, ..reply }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Malformed(_) => Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail),
            Refusal::Members(mistakes) => {
                Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail).mistakes(&mistakes)
            }
            Refusal::Empty => Self::new(StatusCode::BAD_REQUEST, "empty-selection", detail),
            Refusal::NotByItself(_) => Self::new(StatusCode::BAD_REQUEST, "everything-not-by-itself", detail),
            Refusal::NotSupported(_) => Self::new(StatusCode::NOT_IMPLEMENTED, "not-supported", detail),
            Refusal::TooMany { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too-many", detail),
            Refusal::Entries(mistakes, scope) => {
                let code = match scope {
                    Scope::Url => "malformed-url",
                    Scope::Prefix => "malformed-prefix",
                    Scope::Host => "malformed-host",
                    Scope::Tag | Scope::Everything => "malformed-tag",
                };
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).mistakes(&mistakes)
            }
            Refusal::OutOfScope { .. } => Self::new(StatusCode::FORBIDDEN, "out-of-scope", detail),
            Refusal::Failed(error) => error.into(),
        }
    }
}

impl From<PurgeError> for Problem {
    fn from(error: PurgeError) -> Self {
        let detail = error.to_string();
        match error {
            PurgeError::NoSite(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no-site", detail),
            PurgeError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "purge-unavailable", detail)
                    .field("retry-after", "1")
            }
            PurgeError::TooManyNotes(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "too-many-notes", detail)
            }
            PurgeError::NoteTooLong(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "note-too-long", detail),
        }
    }
}
