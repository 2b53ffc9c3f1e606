//! What is not stored, in the coding that its client takes.
//!
//! | the answer | goes |
//! |---|---|
//! | short, and here whole | encoded at once, with its length |
//! | longer, or still coming | encoded as it comes (`encode/passing.rs`), if there is a place |
//! | to HEAD | with the head that a GET would get, but for its length |
//! | 304 to a tag that was made weak here | with that tag |
//! | anything else | as the origin sent it |
//!
//! Which requests that holds for is the route's say ([`Unstored`]): where users have secrets, and others a word in the same page, its
//! encoded length tells of them. No message for another node of the tier comes here: each encodes for its own clients.
//!
//! Invariant: where nothing is configured this costs a branch. RFC 9110 §8.4, §8.8.1, §12.5.3, §15.4.5; RFC 9111 §5.2.2.6.

use bytes::Bytes;
use cache_store::rules::coding::Accepted;
use cache_store::rules::{Coding, RequestHead};
use http::{Method, StatusCode, header};

use super::PiecesStream;
use super::encoding::{Negotiation, Notes, VARY_LINE, notes_of, says_no_transform, says_vary};
use super::response::{Body, Outcome};
use crate::config::encode::{Encode, Unstored};
use crate::config::limits::ENCODE_PASSING_PIECE_BYTES;
use crate::encode::Coded;
use crate::listener::fields::{FieldId, Fields};
use crate::origin::ResponseFields;

/// Why what is not stored is not encoded, as far as a request decides that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plain {
    /// The settings say so.
    Off,
    /// The request says who asks.
    Named,
    /// It takes no coding that is made here, or wants nothing changed.
    Unwanted,
}

impl Plain {
    /// For whoever has it explained.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "as it is: the settings say so",
            Self::Named => "as it is: the request shows a cookie or a password",
            Self::Unwanted => "as it is: the request takes no coding that is made here",
        }
    }
}

/// The coding in which an answer that is not stored is to go out to a request with these fields, if it can.
///
/// # Errors
/// Why there is none.
pub(crate) fn wanted(encode: &Encode, fields: &Fields) -> Result<Coding, Plain> {
    may_be(encode, fields)?;
    let accepted = Accepted::of(fields.all(FieldId::AcceptEncoding));
    let best = accepted.best(encode.codings.iter().copied());
    best.filter(|_| !says_no_transform(fields)).ok_or(Plain::Unwanted)
}

/// Whether a request wants a part of what it may have a part of in a coding, and knows only the date of that.
pub(crate) fn asks_by_date(encode: Option<&Encode>, fields: &Fields) -> bool {
    fields.has(FieldId::Range)
        && fields.first(FieldId::IfRange).is_some_and(|by| !by.ends_with(b"\""))
        && encode.is_some_and(|encode| wanted(encode, fields).is_ok())
}

fn may_be(encode: &Encode, fields: &Fields) -> Result<(), Plain> {
    match encode.unstored {
        Unstored::Off => Err(Plain::Off),
        Unstored::Anonymous if fields.has_any(&[FieldId::Cookie, FieldId::Authorization]) => {
            Err(Plain::Named)
        }
        Unstored::Anonymous | Unstored::All => Ok(()),
    }
}

/// What of an answer is not its body.
pub(super) struct Around<'a> {
    pub(super) status: StatusCode,
    pub(super) fields: &'a mut ResponseFields,
    /// Lines of this answer alone.
    pub(super) extra: &'a mut Vec<u8>,
    pub(super) outcome: &'a mut Outcome,
}

impl Negotiation<'_> {
    /// The body of an answer that is not stored, as it goes out; what is said around it says so.
    pub(super) fn pass(&self, request: &RequestHead<'_, Fields>, around: Around<'_>, body: Body) -> Body {
        if may_be(self.encode, request.fields).is_err() || matches!(body, Body::Tunnel(_)) {
            return body;
        }
        if around.status == StatusCode::NOT_MODIFIED {
            confirm(request.fields, around);
            return body;
        }
        let Around { status, fields, extra, outcome } = around;
        let is_long = body.length().is_none_or(|length| length >= self.encode.bytes_min);
        let notes = notes_of(self.encode, status, fields, is_long);
        let kind = fields.named(header::CONTENT_TYPE.as_str()).next();
        if notes & Notes::FIT != 0 && !kind.is_some_and(|kind| self.encode.takes_type_as_it_goes(kind)) {
            return body;
        }
        if notes & Notes::ADDS_VARY != 0 {
            extra.extend_from_slice(VARY_LINE);
        }
        if notes & Notes::FIT == 0 {
            return body;
        }
        let Ok(coding) = wanted(self.encode, request.fields) else { return body };
        let to_head = *request.method == Method::HEAD;
        let (encoded, saved_bytes) = self.encoded(coding, body, to_head);
        match encoded {
            Ok(encoded) => {
                fields.encode(coding);
                outcome.encoding = Some(coding);
                outcome.saved_bytes = saved_bytes;
                encoded
            }
            Err(plain) => plain,
        }
    }

    /// The body in `coding` and how many bytes that saves, if that is known; itself where it goes as it is.
    fn encoded(&self, coding: Coding, body: Body, to_head: bool) -> (Result<Body, Body>, u64) {
        let Some(encoders) = self.encoders else { return (Err(body), 0) };
        let level = self.encode.level_fast;
        let (length, source) = match body {
            Body::Omitted(_) | Body::Stream { .. } | Body::Bytes(_) if to_head => {
                return (Ok(Body::Omitted(None)), 0);
            }
            Body::Bytes(bytes) if bytes.len() <= ENCODE_PASSING_PIECE_BYTES => {
                let encoded = encoders.whole(coding, level, &bytes);
                let saved = bytes.len().saturating_sub(encoded.as_ref().map_or(usize::MAX, Bytes::len));
                return (encoded.map(Body::Bytes).ok_or(Body::Bytes(bytes)), saved as u64);
            }
            body if !self.streams => return (Err(body), 0),
            Body::Bytes(bytes) => {
                let length = bytes.len() as u64;
                (Some(length), Box::pin(PiecesStream(vec![bytes].into_iter())) as _)
            }
            Body::Stream { length, source } => (length, source),
            other => return (Err(other), 0),
        };
        let plain = |source| Body::Stream { length, source };
        let Some(place) = encoders.place() else { return (Err(plain(source)), 0) };
        let coded = Coded::of(source, length, (coding, level), place);
        (coded.map(|coded| Body::Stream { length: None, source: Box::pin(coded) }).map_err(plain), 0)
    }
}

/// A 304 confirms what the client has under the tag that it was given: where that was made weak here, it is again.
fn confirm(asked: &Fields, around: Around<'_>) {
    let Around { fields, extra, .. } = around;
    let tag = fields.named(header::ETAG.as_str()).next();
    let Some(tag) = tag.filter(|tag| tag.starts_with(b"\"")) else { return };
    let weak = [b"W/", tag].concat();
    let names = |tag: &[u8]| {
        let mut named = asked.all(FieldId::IfNoneMatch).flat_map(|line| line.split(|byte| *byte == b','));
        named.any(|named| named.trim_ascii() == tag)
    };
    if names(&weak) && !names(tag) {
        let is_tag = |name: &[u8]| name == header::ETAG.as_str().as_bytes();
        fields.retain(|name| !is_tag(name));
        fields.push(header::ETAG.as_str().as_bytes(), &weak);
        if !says_vary(fields) {
            extra.extend_from_slice(VARY_LINE);
        }
    }
}
