//! Which form of a stored response a request gets, and what is asked for so that the next one gets a better one.
//!
//! | the client | gets |
//! |---|---|
//! | takes a coding that is there | its form: of those it likes best the first in the route's order |
//! | takes one that is not there yet | what is there, identity at worst; the form is made meanwhile (`encode/`) |
//! | takes none, says `no-transform`, or is a node of the tier | identity |
//! | wants a range | it, of identity; where it refuses that, the whole form |
//! | wants it only if nothing changed since a date | the whole: the date is the same for all forms |
//!
//! All of them say `Vary: Accept-Encoding`. A form's entity tag is weak, so it confirms what a client has in any coding and completes
//! nothing; identity keeps the origin's own.
//!
//! Called for everything that is answered from the store, before anything else of an answer is decided. What a response is fit for
//! is found out once and kept with it ([`Notes`]). What is not stored is `passing.rs`'s.
//!
//! Invariants: where nothing is configured this costs a branch. A hit on a form allocates nothing for it, takes no lock and encodes
//! nothing. What is encoded already, or is a part, is sent as it is.
//! RFC 9110 §8.8.3.3, §12.5.3, §14.2; RFC 9111 §5.2.2.6.

use std::sync::Arc;

use cache_store::coalesce::FillHead;
use cache_store::entry::StoredResponse;
use cache_store::key::CacheKey;
use cache_store::rules::coding::{Accepted, coding_of};
use cache_store::rules::partial::Held;
use cache_store::rules::{self, CacheControl, Coding, Codings};
use cache_store::timestamp::Timestamp;
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::config::Encode;
use crate::config::limits::{ENCODE_BODY_BYTES_MAX, ENCODE_RETRY_AFTER};
use crate::encode::{Encoders, Job, Turn};
use crate::listener::fields::{FieldId, Fields};

/// By what, and with whom, an answer's coding is negotiated.
#[derive(Clone, Copy)]
pub struct Negotiation<'a> {
    /// The route's say.
    pub encode: &'a Arc<Encode>,
    /// Who makes what is missing; nobody where the response would not be there to hang it from.
    pub encoders: Option<&'a Encoders>,
    /// The key of the response.
    pub key: CacheKey,
    /// Whether its client is told where a body ends whose length is not known before.
    pub streams: bool,
}

/// What of a stored response is sent.
pub(super) struct Chosen {
    /// Itself, or a form of it.
    pub(super) stored: Arc<StoredResponse>,
    /// Whether `Vary: Accept-Encoding` is to be said, which it does not say itself.
    pub(super) adds_vary: bool,
    /// Whether `Range` is not to be heard.
    pub(super) whole: bool,
    /// Bytes of the body that need not be sent.
    pub(super) saved_bytes: u64,
}

/// What is kept with a response: bits of [`StoredResponse::coding_notes`]. Above them one bit a coding, for what has been asked for.
pub(super) struct Notes;

impl Notes {
    /// It has been looked at.
    const KNOWN: u8 = 1;
    /// It may be encoded.
    pub(super) const FIT: u8 = 2;
    /// It depends on `Accept-Encoding` and does not say so.
    pub(super) const ADDS_VARY: u8 = 4;

    const fn asked(coding: Coding) -> u8 {
        8 << coding.index()
    }
}

impl Chosen {
    #[inline]
    pub(super) fn as_it_is(stored: Arc<StoredResponse>) -> Self {
        Self { stored, adds_vary: false, whole: false, saved_bytes: 0 }
    }
}

impl Negotiation<'_> {
    /// Chooses for a request with these fields.
    pub(super) fn choose(&self, stored: Arc<StoredResponse>, fields: &Fields, now: Timestamp) -> Chosen {
        let notes = self.notes(&stored);
        let mut chosen = Chosen { adds_vary: notes & Notes::ADDS_VARY != 0, ..Chosen::as_it_is(stored) };
        if notes & Notes::FIT == 0 {
            return chosen;
        }
        let accepted = Accepted::of(fields.all(FieldId::AcceptEncoding));
        let codings = &self.encode.codings;
        let Some(wanted) = accepted.best(codings.iter().copied()) else { return chosen };
        if fields.has_any(&[FieldId::Range, FieldId::CacheControl]) {
            let names_tag = |value: &[u8]| value.starts_with(b"\"");
            let by = fields.first(FieldId::IfRange).map(names_tag);
            let has_range = fields.has(FieldId::Range);
            if (has_range && by != Some(false) && accepted.takes_identity()) || says_no_transform(fields) {
                return chosen;
            }
            chosen.whole = has_range && by == Some(false);
        }
        let best = if let Some(form) = chosen.stored.form(wanted) {
            Some((wanted, form))
        } else {
            self.ask(&chosen.stored, wanted, notes);
            let there = codings.iter().copied().filter(|coding| chosen.stored.form(*coding).is_some());
            accepted.best(there).and_then(|coding| Some((coding, chosen.stored.form(coding)?)))
        };
        if let Some((coding, form)) = best {
            if form.is_due(now) && !self.ask_harder(&chosen.stored, coding) {
                form.put_off(now.plus(ENCODE_RETRY_AFTER));
            }
            let form = Arc::clone(&form.stored);
            chosen.saved_bytes = chosen.stored.body_len().saturating_sub(form.body_len());
            chosen.stored = form;
            chosen.whole = true;
        }
        chosen
    }

    /// Has made what a request with these fields wants of a response that has just been stored, and what was there of the one before
    /// it.
    pub(crate) fn stored(&self, stored: &Arc<StoredResponse>, fields: &Fields, before: Codings) {
        let notes = self.notes(stored);
        if notes & Notes::FIT == 0 {
            return;
        }
        let accepted = Accepted::of(fields.all(FieldId::AcceptEncoding));
        let wanted = accepted.best(self.encode.codings.iter().copied());
        for coding in wanted.into_iter().collect::<Codings>().iter().chain(before.iter()) {
            self.ask(stored, coding, stored.coding_notes());
        }
    }

    /// What a request with these fields would be sent of it, and why it is not encoded.
    pub(crate) fn explained(&self, stored: &Arc<StoredResponse>, fields: &Fields, now: Timestamp) -> Value {
        let is_fit = self.notes(stored) & Notes::FIT != 0;
        let sent = self.choose(Arc::clone(stored), fields, now).stored;
        json!({
            "sent": sent.coding().map_or("as-stored", Coding::as_str),
            "bytes": sent.body_len(),
            "may_be_encoded": is_fit,
        })
    }

    #[inline]
    fn notes(&self, stored: &StoredResponse) -> u8 {
        let notes = stored.coding_notes();
        if notes & Notes::KNOWN != 0 { notes } else { self.look(stored) }
    }

    #[cold]
    fn look(&self, stored: &StoredResponse) -> u8 {
        let fields = stored.fields();
        // A part depends on the request as the whole does, and is never encoded itself.
        let length = stored.held().map_or(Some(stored.body_len()), Held::complete);
        let mut notes = notes_of(self.encode, stored.status(), &fields, self.is_long(length));
        if stored.held().is_some() || stored.large().is_some() {
            notes &= !Notes::FIT;
        }
        stored.note_coding(notes) | notes
    }

    /// Whether a response that is stored is as long as one must be, as far as that is known.
    fn is_long(&self, length: Option<u64>) -> bool {
        length.is_none_or(|length| (self.encode.bytes_min..=ENCODE_BODY_BYTES_MAX).contains(&length))
    }

    #[cold]
    fn ask(&self, stored: &Arc<StoredResponse>, coding: Coding, notes: u8) {
        let Some(encoders) = self.encoders else { return };
        let asked = Notes::asked(coding);
        if notes & asked != 0 || stored.note_coding(asked) & asked != 0 {
            return;
        }
        if !encoders.ask(self.job(stored, coding, self.encode.level_fast), Turn::Soon) {
            stored.forget_coding(asked);
        }
    }

    #[cold]
    fn ask_harder(&self, stored: &Arc<StoredResponse>, coding: Coding) -> bool {
        self.encoders.is_some_and(|encoders| {
            encoders.ask(self.job(stored, coding, self.encode.level_best), Turn::Idle)
        })
    }

    fn job(&self, stored: &Arc<StoredResponse>, coding: Coding, level: u8) -> Job {
        Job { key: self.key, stored: Arc::clone(stored), coding, level, level_best: self.encode.level_best }
    }
}

/// What is known of a response with this head, whose body is as long as it must be or not.
pub(super) fn notes_of<F: rules::Fields>(
    encode: &Encode,
    status: StatusCode,
    fields: &F,
    is_long: bool,
) -> u8 {
    let depends = match coding_of(fields) {
        // Made by the origin: sent to whoever takes it, as it is.
        Some(coding) => coding.filter(|coding| encode.codings.contains(coding)).map(|_| 0),
        None => (is_long && is_fit(encode, status, fields)).then_some(Notes::FIT),
    };
    let Some(fit) = depends else { return Notes::KNOWN };
    Notes::KNOWN | fit | if says_vary(fields) { 0 } else { Notes::ADDS_VARY }
}

/// Whether a response with these fields says that it depends on `Accept-Encoding`.
pub(super) fn says_vary<F: rules::Fields>(fields: &F) -> bool {
    fields
        .values(&header::VARY)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .any(|name| name.trim_ascii().eq_ignore_ascii_case(header::ACCEPT_ENCODING.as_str().as_bytes()))
}

fn is_fit<F: rules::Fields>(encode: &Encode, status: StatusCode, fields: &F) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED)
        && fields.values(&header::CONTENT_TYPE).next().is_some_and(|kind| encode.takes_type(kind))
        && !fields.has(&header::CONTENT_RANGE)
        && !CacheControl::of(fields).has(CacheControl::NO_TRANSFORM)
}

/// What is to be said and heard where a response is still coming: it goes as it is.
pub(super) struct Coming {
    /// As [`Chosen::adds_vary`].
    pub(super) adds_vary: bool,
    /// As [`Chosen::whole`].
    pub(super) whole: bool,
}

impl Coming {
    pub(super) fn of(
        negotiation: Option<&Negotiation<'_>>,
        head: &FillHead,
        length: Option<u64>,
        fields: &Fields,
    ) -> Self {
        let notes =
            negotiation.map_or(0, |by| notes_of(by.encode, head.status, &head.fields, by.is_long(length)));
        let by_date = || {
            fields.has(FieldId::Range)
                && fields.first(FieldId::IfRange).is_some_and(|value| !value.starts_with(b"\""))
        };
        Self { adds_vary: notes & Notes::ADDS_VARY != 0, whole: notes & Notes::FIT != 0 && by_date() }
    }
}

/// RFC 9111 §5.2.1.6.
pub(super) fn says_no_transform(fields: &Fields) -> bool {
    let mut control = CacheControl::default();
    fields.all(FieldId::CacheControl).for_each(|line| control.read(line));
    control.has(CacheControl::NO_TRANSFORM)
}

/// What is said beside the lines of a response that depends on it.
pub(super) const VARY_LINE: &[u8] = b"vary: accept-encoding\r\n";
