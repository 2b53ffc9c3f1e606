//! What a client got, and what a test may claim about it.

use super::wire::{End, FieldLines, Head};

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// 0 where the connection ended without one.
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
    /// Interim responses before it.
    pub(crate) interim: Vec<Head>,
}

/// The answers of several clients.
#[derive(Clone, Debug)]
pub(crate) struct Answers(pub(crate) Vec<Answer>);

impl Answer {
    pub(crate) fn none(interim: Vec<Head>) -> Self {
        let end = End::Cut("closed before an answer".to_owned());
        Self { status: 0, head: Head::default(), body: Vec::new(), end, interim }
    }

    /// An answer that came by another protocol.
    pub(crate) fn made(status: u16, fields: FieldLines, body: Vec<u8>, end: End) -> Self {
        let head = Head { start: status.to_string(), fields, raw: Vec::new() };
        Self { status, head, body, end, interim: Vec::new() }
    }

    /// Claims status and body, and that it ended cleanly.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16, body: &str) -> &Self {
        assert_eq!((self.status, self.text().as_str()), (status, body), "{}", self.told());
        assert_eq!(self.end, End::Clean, "{}", self.told());
        self
    }

    /// Claims the status, whatever the body says.
    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.told());
        assert_eq!(self.end, End::Clean, "{}", self.told());
        self
    }

    /// Claims that the answer began with `status` and was cut visibly.
    #[track_caller]
    pub(crate) fn expect_cut(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.told());
        assert!(self.was_cut(), "an answer that looks complete and must not: {}", self.told());
        self
    }

    /// Claims the part of `Cache-Status` behind the node's name.
    #[track_caller]
    pub(crate) fn cache_status(&self, claim: &str) -> &Self {
        let told = self.head.field("cache-status").unwrap_or_default();
        let ours = told.split_once("; ").map_or("", |(_, ours)| ours);
        assert_eq!(ours, claim, "{}", self.told());
        self
    }

    /// Claims that this parameter is among those of `Cache-Status`.
    #[track_caller]
    pub(crate) fn cache_status_has(&self, parameter: &str) -> &Self {
        let told = self.head.field("cache-status").unwrap_or_default();
        assert!(told.split("; ").any(|part| part == parameter), "no `{parameter}` in {}", self.told());
        self
    }

    /// Claims a field's value.
    #[track_caller]
    pub(crate) fn has(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.field(name).as_deref(), Some(value), "{name} in {}", self.told());
        self
    }

    /// Claims that a field is not there.
    #[track_caller]
    pub(crate) fn lacks(&self, name: &str) -> &Self {
        assert_eq!(self.field(name), None, "{name} in {}", self.told());
        self
    }

    /// The field's values, joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.head.field(name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn was_cut(&self) -> bool {
        matches!(self.end, End::Cut(_))
    }

    /// Whether it came from the store.
    pub(crate) fn is_hit(&self) -> bool {
        self.field("cache-status").is_some_and(|told| told.split("; ").any(|part| part == "hit"))
    }

    fn told(&self) -> String {
        let Self { head, body, end, .. } = self;
        format!(
            "{} {:?} {} … {} body bytes, {end:?}",
            head.start,
            head.fields_told(),
            self.text(),
            body.len()
        )
    }
}

impl Answers {
    /// Claims status and body of each.
    #[track_caller]
    pub(crate) fn expect_all(&self, status: u16, body: &str) -> &Self {
        for answer in &self.0 {
            answer.expect(status, body);
        }
        self
    }

    /// Claims of each the part of `Cache-Status` behind the node's name.
    #[track_caller]
    pub(crate) fn cache_status(&self, claim: &str) -> &Self {
        for answer in &self.0 {
            answer.cache_status(claim);
        }
        self
    }
}

impl Head {
    fn fields_told(&self) -> Vec<String> {
        self.fields.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect()
    }
}
