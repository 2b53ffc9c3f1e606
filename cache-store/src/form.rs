//! Encoded forms of a stored response: the same representation in another content coding.
//!
//! They hang from the response that they were made of and go wherever it goes: what purges, replaces, revalidates or evicts that
//! one does so to all of them, for nothing but it leads to them. Each is a stored response itself, with lines of its own, so that
//! whoever has chosen one serves it as any other. They weigh on its entry in the memory tier; the disk has none of them.
//!
//! ```text
//! stored ──keep_form──► the same with a form ──confirmed by a 304──► the new head, and forms with new heads over the same bytes
//! ```
//!
//! Invariants: a form belongs to exactly the bytes it hangs from; its freshness is theirs.
//!
//! Deliberately absent: what is encoded, when and how (the root's `encode`), and which form a request gets (`respond`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::entry::{Parts, StoredResponse};
use crate::rules::VarySpec;
use crate::rules::coding::{Coding, encoded};
use crate::timestamp::Timestamp;

/// A response in a coding.
#[derive(Debug)]
pub struct Form {
    /// As it is sent.
    pub stored: Arc<StoredResponse>,
    /// How hard it was compressed, by whoever did.
    pub level: u8,
    /// From when on, in milliseconds, it is worth to be compressed harder; [`NEVER`].
    harder_from: AtomicU64,
}

/// What hangs from one response; at most one a coding.
#[derive(Debug, Default)]
pub(crate) struct Forms([Option<Form>; Coding::COUNT]);

/// A body that was encoded.
#[derive(Debug)]
pub struct Encoded {
    /// In what.
    pub coding: Coding,
    /// How hard.
    pub level: u8,
    /// The bytes.
    pub body: Bytes,
    /// From when on it is worth to be compressed harder, if ever.
    pub harder_from: Option<Timestamp>,
}

impl Form {
    /// Whether it should be compressed harder now; says so once.
    #[inline]
    pub fn is_due(&self, now: Timestamp) -> bool {
        now.as_millis() >= self.harder_from.load(Ordering::Relaxed)
            && self.harder_from.swap(NEVER, Ordering::Relaxed) != NEVER
    }

    /// It was not, after all: it may be from `from` on.
    pub fn put_off(&self, from: Timestamp) {
        self.harder_from.store(from.as_millis(), Ordering::Relaxed);
    }

    fn again(&self, stored: Arc<StoredResponse>) -> Self {
        let harder_from = AtomicU64::new(self.harder_from.load(Ordering::Relaxed));
        Self { stored, level: self.level, harder_from }
    }
}

impl Forms {
    #[inline]
    pub(crate) fn of(&self, coding: Coding) -> Option<&Form> {
        self.0.get(coding.index())?.as_ref()
    }

    pub(crate) fn weight(&self) -> usize {
        let forms = self.0.iter().flatten().map(|form| form.stored.weight());
        forms.fold(0, usize::saturating_add)
    }

    /// These, and one more or another.
    pub(crate) fn with(known: Option<&Self>, coding: Coding, form: Form) -> Self {
        let mut forms = Self::default();
        for known_coding in Coding::ALL {
            if let (Some(known), Some(place)) =
                (known.and_then(|known| known.of(known_coding)), forms.0.get_mut(known_coding.index()))
            {
                *place = Some(known.again(Arc::clone(&known.stored)));
            }
        }
        if let Some(place) = forms.0.get_mut(coding.index()) {
            *place = Some(form);
        }
        forms
    }

    /// The same bodies under the head of `stored`, which has the same body as the response they hung from.
    pub(crate) fn under(&self, stored: &StoredResponse, pack: impl Fn(Parts) -> StoredResponse) -> Self {
        Self(Coding::ALL.map(|coding| {
            let form = self.of(coding)?;
            let body = form.stored.body().collect();
            Some(form.again(Arc::new(pack(parts(stored, coding, body)).in_coding(coding))))
        }))
    }
}

impl Encoded {
    /// As a form of `stored`.
    pub(crate) fn form_of(self, stored: &StoredResponse, pack: impl Fn(Parts) -> StoredResponse) -> Form {
        let packed = pack(parts(stored, self.coding, vec![self.body])).in_coding(self.coding);
        let harder_from = AtomicU64::new(self.harder_from.map_or(NEVER, Timestamp::as_millis));
        Form { stored: Arc::new(packed), level: self.level, harder_from }
    }
}

/// What a form is packed from. Whom it answers, its tags and its purges are those of what it hangs from, and not kept twice.
fn parts(stored: &StoredResponse, coding: Coding, body: Vec<Bytes>) -> Parts {
    Parts {
        status: stored.status(),
        fields: encoded(&stored.fields(), coding),
        body,
        large: None,
        freshness: stored.freshness,
        vary: VarySpec::default(),
        tags: Box::default(),
        held: None,
        epoch: stored.epoch(),
    }
}

const NEVER: u64 = u64::MAX;
