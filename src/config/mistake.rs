//! What is wrong with the settings, with its place and what to write instead.
//!
//! A [`Complaint`] is about a piece of text, wherever it came from: the same parser serves the file and the command
//! line. Put at its place it becomes a [`Mistake`]; all of a file together are [`Mistakes`], rendered for people or
//! listed for scripts. The one room beside `cli/` that knows miette.

use std::fmt::{self, Write as _};
use std::ops::Range;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

use super::limits::MISTAKES_SHOWN_MAX;

/// What is wrong with a piece of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// Stable name of the cause, for scripts and search engines: `size`, `unknown-key`.
    pub code: &'static str,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// A few words at the place itself.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

/// A [`Complaint`] at its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// What is wrong.
    pub complaint: Complaint,
    /// The offending text, bytes of the source.
    pub span: Range<usize>,
    /// Another place that matters, and why.
    pub other: Option<(Range<usize>, String)>,
    /// Something is missing that may stand in a part which could not be read.
    pub absence: bool,
}

/// All that is wrong with one source; at least one mistake.
#[derive(Debug)]
pub struct Mistakes {
    source: NamedSource<String>,
    text: String,
    list: Vec<Mistake>,
}

impl Complaint {
    /// A complaint.
    pub fn new(
        code: &'static str,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, message: message.into(), label: label.into(), help: help.into() }
    }

    /// Puts it at its place.
    pub fn at(self, span: Range<usize>) -> Mistake {
        Mistake { complaint: self, span, other: None, absence: false }
    }
}

impl Mistake {
    /// Points at a second place.
    #[must_use]
    pub fn beside(mut self, span: Range<usize>, why: impl Into<String>) -> Self {
        self.other = Some((span, why.into()));
        self
    }

    /// Marks it as something that is not there.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.absence = true;
        self
    }
}

impl Mistakes {
    /// The mistakes of the source `text` called `name`, put into the order of their places.
    pub fn new(name: &str, text: &str, mut list: Vec<Mistake>) -> Self {
        for mistake in &mut list {
            mistake.span = within(text, &mistake.span);
            if let Some((span, _)) = &mut mistake.other {
                *span = within(text, span);
            }
        }
        let place = |mistake: &Mistake| (mistake.span.start, mistake.span.end);
        list.sort_by(|one, other| {
            place(one).cmp(&place(other)).then_with(|| one.complaint.message.cmp(&other.complaint.message))
        });
        list.dedup();
        Self { source: NamedSource::new(name, text.to_owned()), text: text.to_owned(), list }
    }

    /// Them.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// The source.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For people; with terminal colours if `colour`. Lines are not wrapped: what a help line says to write can be
    /// copied.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_context_lines(1);
        let mut text = String::new();
        for mistake in self.list.iter().take(MISTAKES_SHOWN_MAX) {
            // Writing to a string fails only where a span lies outside of the source, which `within` rules out.
            let _ = handler.render_report(&mut text, &Told { mistake, source: &self.source });
            text.push('\n');
        }
        let name = self.source.name();
        let count = self.list.len();
        let _ = match count {
            1 => writeln!(text, "1 mistake in {name}"),
            _ if count > MISTAKES_SHOWN_MAX => {
                writeln!(
                    text,
                    "{count} mistakes in {name}, of which the first {MISTAKES_SHOWN_MAX} are shown"
                )
            }
            _ => writeln!(text, "{count} mistakes in {name}"),
        };
        text
    }

    /// For scripts: a list of objects with code, message, help, file, line and column (from 1, in characters).
    pub fn to_json(&self) -> Value {
        self.list
            .iter()
            .map(|Mistake { complaint, span, .. }| {
                let (line, column) = position(&self.text, span.start);
                json!({
                    "code": complaint.code,
                    "message": complaint.message,
                    "help": complaint.help,
                    "file": self.source.name(),
                    "line": line,
                    "column": column,
                })
            })
            .collect()
    }
}

/// Each mistake on a line, `file:line:column: message`, for logs.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Mistake { complaint, span, .. }) in self.list.iter().enumerate() {
            let (line, column) = position(&self.text, span.start);
            let end = if at == 0 { "" } else { "\n" };
            write!(
                f,
                "{end}{}:{line}:{column}: {}; {}",
                self.source.name(),
                complaint.message,
                complaint.help
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A mistake with its source, as miette wants it.
struct Told<'a> {
    mistake: &'a Mistake,
    source: &'a NamedSource<String>,
}

impl fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistake.fmt(f)
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistake.complaint.message)
    }
}

impl std::error::Error for Told<'_> {}

impl Diagnostic for Told<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.mistake.complaint.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.mistake.complaint.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Mistake { complaint, span, other, .. } = self.mistake;
        let first = LabeledSpan::new_primary_with_span(Some(complaint.label.clone()), span.clone());
        let second =
            other.as_ref().map(|(span, why)| LabeledSpan::new_with_span(Some(why.clone()), span.clone()));
        Some(Box::new(std::iter::once(first).chain(second)))
    }
}

/// The span cut to what the text has, on character boundaries.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// Line and column of a byte, both from 1; columns count characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
