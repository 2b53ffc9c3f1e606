//! Answers of the node's own: redirects, fixed answers, maintenance, and pages in place of errors.
//!
//! Pages are read when the settings are, and bounded: what is sent is what was checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};

use super::Network;
use super::template::Template;

/// What a route answers without asking anybody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Elsewhere.
    Redirect(Redirect),
    /// This.
    Fixed(Fixed),
}

/// Where clients are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// A URL, or a path on the same host.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The request's query goes along.
    pub keep_query: bool,
}

/// An answer that is always the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fixed {
    /// From 200 on.
    pub status: StatusCode,
    /// Its body.
    pub page: Page,
    /// Further fields.
    pub headers: Vec<(HeaderName, Template)>,
}

/// A body that settings wrote or named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The file it was read from; none: it stands in the settings.
    pub file: Option<PathBuf>,
    /// What it is.
    pub content_type: Box<str>,
    /// Itself.
    pub bytes: Bytes,
}

/// A route that is closed for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maintenance {
    /// 503, unless something else is written.
    pub status: StatusCode,
    /// What clients read; none: the node's own page.
    pub page: Option<Page>,
    /// When it may be worth coming back.
    pub retry_after: Option<Duration>,
    /// Who is served as ever.
    pub allow: Vec<Network>,
}

/// Pages in place of the node's own, by status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ErrorPages {
    /// In order: single statuses before classes.
    pages: Vec<(ErrorStatus, Page)>,
    /// Also in place of what origins answer.
    pub intercept: bool,
}

/// Which errors a page stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ErrorStatus {
    /// This one.
    One(u16),
    /// All that begin with this digit, 4 or 5.
    Class(u16),
}

impl ErrorPages {
    /// Lays pages over these.
    #[must_use]
    pub fn overlaid(mut self, pages: &[(ErrorStatus, Page)], intercept: Option<bool>) -> Self {
        for (status, page) in pages {
            self.pages.retain(|(known, _)| known != status);
            self.pages.push((*status, page.clone()));
        }
        self.pages.sort_by_key(|(status, _)| *status);
        self.intercept = intercept.unwrap_or(self.intercept);
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Each with the errors it stands for.
    pub fn pages(&self) -> &[(ErrorStatus, Page)] {
        &self.pages
    }

    /// The page for a status.
    pub fn of(&self, status: StatusCode) -> Option<&Page> {
        let code = status.as_u16();
        let is_for = |wanted: &ErrorStatus| match wanted {
            ErrorStatus::One(one) => *one == code,
            ErrorStatus::Class(first) => code / 100 == *first,
        };
        self.pages.iter().find(|(wanted, _)| is_for(wanted)).map(|(_, page)| page)
    }
}

impl fmt::Display for ErrorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Class(first) => write!(f, "{first}xx"),
        }
    }
}
