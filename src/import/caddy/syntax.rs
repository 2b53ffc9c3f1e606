//! The Caddyfile's grammar: lines of words, blocks, snippets and imports. Caddy: `caddyconfig/caddyfile/lexer.go`, `parse.go`.
//!
//! A line ends with its newline unless a backslash stands before that; `{` at the end of a line opens a block, `}` on a line of its
//! own closes it. Words may stand in `"…"` (with `\"`), in backticks, or in a heredoc (`<<END`). `{$NAME:default}` is replaced by
//! its default: the environment of the other server is not ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::draft::Draft;
use super::super::source::{Files, Reading};
use super::super::{Place, Unread};
use crate::config::limits::{
    IMPORT_DEPTH_MAX, IMPORT_FILLED_BYTES_MAX, IMPORT_FILLED_WORD_BYTES_MAX, IMPORT_WORDS_MAX,
};

/// Words, and the block behind them.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Line>>,
    pub(super) place: Place,
}

impl Line {
    /// The first word.
    pub(super) fn name(&self) -> &str {
        self.word(0)
    }

    /// The word at a position, or nothing.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The words behind the first.
    pub(super) fn rest(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The lines of its block.
    pub(super) fn inside(&self) -> &[Line] {
        self.block.as_deref().unwrap_or_default()
    }

    /// As it stands, for messages.
    pub(super) fn shown(&self) -> String {
        let text = self.words.join(" ");
        if text.chars().count() > 80 { text.chars().take(77).collect::<String>() + "…" } else { text }
    }
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    quoted: bool,
    line: u32,
    /// Where it ends: texts may have several lines.
    end: u32,
}

/// The lines of a Caddyfile, with snippets and imports in their places.
pub(super) fn parse(path: &Path, files: Files, draft: &mut Draft) -> Result<Vec<Line>, Unread> {
    let place = Place { file: path.display().to_string().into(), line: 1 };
    let mut reading = Reading::new(files);
    let (name, text) = match reading.text(path, &place)? {
        Ok(file) => file,
        Err(error) => return Err(Unread { place, what: format!("cannot be read: {error}") }),
    };
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let lines = Lines::parse(&name, &text, draft)?;
    let (snippets, lines): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| {
        line.words.len() == 1 && line.name().starts_with('(') && line.name().ends_with(')')
    });
    let snippets = snippets
        .into_iter()
        .map(|line| (line.name().trim_matches(['(', ')']).to_owned(), line.block.unwrap_or_default()))
        .collect();
    let mut imports = Imports { reading, base, snippets, bytes: 0, draft };
    imports.resolve(lines, 0)
}

struct Imports<'d> {
    reading: Reading,
    base: PathBuf,
    snippets: BTreeMap<String, Vec<Line>>,
    /// Of all lines that were gone through.
    bytes: usize,
    draft: &'d mut Draft,
}

impl Imports<'_> {
    /// `import` replaced by what it names, at every depth.
    fn resolve(&mut self, lines: Vec<Line>, depth: usize) -> Result<Vec<Line>, Unread> {
        let mut resolved = Vec::new();
        for mut line in lines {
            let bytes: usize = line.words.iter().map(|word| word.len().saturating_add(32)).sum();
            self.bytes = self.bytes.saturating_add(bytes).saturating_add(64);
            if depth > IMPORT_DEPTH_MAX || self.bytes > IMPORT_FILLED_BYTES_MAX {
                return Err(Unread {
                    place: line.place,
                    what: "too much is imported, or it imports itself".to_owned(),
                });
            }
            if line.name() == "import" {
                let inside = self.import(&line)?;
                resolved.extend(self.resolve(inside, depth.saturating_add(1))?);
                continue;
            }
            if let Some(block) = line.block.take() {
                line.block = Some(self.resolve(block, depth.saturating_add(1))?);
            }
            resolved.push(line);
        }
        Ok(resolved)
    }

    fn import(&mut self, line: &Line) -> Result<Vec<Line>, Unread> {
        let what = line.word(1);
        let arguments: Vec<String> = line.words.get(2..).unwrap_or_default().to_vec();
        if let Some(snippet) = self.snippets.get(what) {
            return Ok(snippet.iter().map(|line| filled(line, &arguments)).collect());
        }
        let mut lines = Vec::new();
        for path in self.reading.matching(&self.base.join(what)) {
            match self.reading.text(&path, &line.place)? {
                Ok((name, text)) => {
                    let read = Lines::parse(&name, &text, self.draft)?;
                    lines.extend(read.iter().map(|line| filled(line, &arguments)));
                }
                Err(_) if what.contains(['*', '?']) => {}
                Err(error) => self.draft.note(
                    &line.place,
                    format!(
                        "`import {what}`: no snippet of that name, and no file that can be read ({error})"
                    ),
                    "what it says is missing from the result: run the import where Caddy runs",
                ),
            }
        }
        Ok(lines)
    }
}

/// A line with `{args[0]}` replaced.
fn filled(line: &Line, arguments: &[String]) -> Line {
    let fill = |word: &String| {
        let mut word = word.clone();
        for (at, argument) in arguments.iter().enumerate() {
            if word.len().max(argument.len()) > IMPORT_FILLED_WORD_BYTES_MAX {
                break;
            }
            word = word
                .replace(&format!("{{args[{at}]}}"), argument)
                .replace(&format!("{{args.{at}}}"), argument);
        }
        word
    };
    Line {
        words: line.words.iter().map(fill).collect(),
        block: line.block.as_ref().map(|block| block.iter().map(|line| filled(line, arguments)).collect()),
        place: line.place.clone(),
    }
}

/// Tokens as lines and blocks.
struct Lines {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    file: Rc<str>,
}

impl Lines {
    fn parse(file: &Rc<str>, text: &str, draft: &mut Draft) -> Result<Vec<Line>, Unread> {
        let tokens = tokens(file, text, draft)?;
        let mut lines = Self { tokens: tokens.into_iter().peekable(), file: Rc::clone(file) };
        lines.block(0, None)
    }

    fn place(&self, line: u32) -> Place {
        Place { file: Rc::clone(&self.file), line }
    }

    fn block(&mut self, depth: usize, opened: Option<u32>) -> Result<Vec<Line>, Unread> {
        let mut lines: Vec<Line> = Vec::new();
        while let Some(first) = self.tokens.next() {
            let place = self.place(first.line);
            if depth > IMPORT_DEPTH_MAX {
                return Err(Unread {
                    place,
                    what: format!("more than {IMPORT_DEPTH_MAX} blocks within one another"),
                });
            }
            if is(&first, "}") {
                if opened.is_none() {
                    return Err(Unread { place, what: "`}` closes nothing".to_owned() });
                }
                return Ok(lines);
            }
            let mut line = Line { words: Vec::new(), block: None, place };
            let mut number = first.end;
            let mut token = first;
            loop {
                if is(&token, "{") {
                    line.block = Some(self.block(depth.saturating_add(1), Some(token.line))?);
                    break;
                }
                // Addresses of a site may go on in the next line behind a comma.
                let goes_on = opened.is_none() && !token.quoted && token.text.ends_with(',');
                number = number.max(token.end);
                line.words.push(token.text);
                let next = self.tokens.next_if(|next| {
                    (next.line == number || goes_on || (opened.is_none() && is(next, "{"))) && !is(next, "}")
                });
                match next {
                    Some(next) => token = next,
                    None => break,
                }
            }
            lines.push(line);
        }
        match opened {
            None => Ok(lines),
            Some(line) => Err(Unread {
                place: self.place(line),
                what: "this block is never closed: `}` is missing".to_owned(),
            }),
        }
    }
}

fn is(token: &Token, sign: &str) -> bool {
    !token.quoted && token.text == sign
}

/// A text as tokens.
fn tokens(file: &Rc<str>, text: &str, draft: &mut Draft) -> Result<Vec<Token>, Unread> {
    let mut lexer = Lexer { text, at: 0, line: 1, file: Rc::clone(file) };
    let mut tokens = Vec::new();
    // What a backslash at the end of a line joined counts as one line.
    let mut joined = 0_u32;
    let mut line_of_joint = 0_u32;
    while let Some(c) = lexer.peek() {
        if c == '\\'
            && lexer
                .text
                .get(lexer.at..)
                .is_some_and(|rest| rest.starts_with("\\\n") || rest.starts_with("\\\r\n"))
        {
            while lexer.take().is_some_and(|c| c != '\n') {}
            joined = joined.saturating_add(1);
            line_of_joint = lexer.line;
            continue;
        }
        if c.is_whitespace() || c == '\u{feff}' {
            lexer.take();
            if c == '\n' {
                joined = 0;
            }
            continue;
        }
        if c == '#' {
            while lexer.peek().is_some_and(|c| c != '\n') {
                lexer.take();
            }
            continue;
        }
        let line = if joined > 0 && lexer.line == line_of_joint {
            lexer.line.saturating_sub(joined)
        } else {
            lexer.line
        };
        let (word, quoted) = match c {
            '"' => (lexer.quoted()?, true),
            '`' => (lexer.raw()?, true),
            _ => (lexer.bare(), false),
        };
        let (word, quoted) = match word.strip_prefix("<<").filter(|_| !quoted) {
            Some(end)
                if !end.is_empty() && end.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) =>
            {
                (lexer.heredoc(end)?, true)
            }
            _ => (word, quoted),
        };
        let word = environment(&word, file, line, draft);
        let end = if lexer.line > line && !quoted { line } else { lexer.line };
        tokens.push(Token { text: word, quoted, line, end: end.max(line) });
        if tokens.len() > IMPORT_WORDS_MAX {
            return Err(lexer.unread(format!("more than {IMPORT_WORDS_MAX} words")));
        }
    }
    Ok(tokens)
}

/// `{$NAME}` and `{$NAME:default}`.
fn environment(word: &str, file: &Rc<str>, line: u32, draft: &mut Draft) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("{$") {
        let (before, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(before);
        let Some((name, after)) = behind.get(2..).and_then(|behind| behind.split_once('}')) else {
            rest = behind;
            break;
        };
        let (name, default) = name.split_once(':').unwrap_or((name, ""));
        draft.note(
            &Place { file: Rc::clone(file), line },
            format!("`{{${name}}}` is taken from Caddy's environment; `{default}` stands here instead"),
            "write what it should be",
        );
        out.push_str(default);
        rest = after;
    }
    out.push_str(rest);
    out
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    file: Rc<str>,
}

impl Lexer<'_> {
    fn unread(&self, what: String) -> Unread {
        Unread { place: Place { file: Rc::clone(&self.file), line: self.line }, what }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.saturating_add(c.len_utf8());
        if c == '\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(c)
    }

    fn quoted(&mut self) -> Result<String, Unread> {
        let never = self.unread("this \" is never closed".to_owned());
        self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err(never),
                Some('"') => return Ok(word),
                Some('\\') => match self.take() {
                    Some('"') => word.push('"'),
                    Some(c) => {
                        word.push('\\');
                        word.push(c);
                    }
                    None => return Err(never),
                },
                Some(c) => word.push(c),
            }
        }
    }

    fn raw(&mut self) -> Result<String, Unread> {
        let never = self.unread("this ` is never closed".to_owned());
        self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err(never),
                Some('`') => return Ok(word),
                Some(c) => word.push(c),
            }
        }
    }

    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() {
                break;
            }
            self.take();
            word.push(c);
        }
        word
    }

    /// The lines up to the one that is `end`, less the white space in front of that.
    fn heredoc(&mut self, end: &str) -> Result<String, Unread> {
        let never = self.unread(format!("<<{end} is never closed"));
        while self.take().is_some_and(|c| c != '\n') {}
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            let mut ended = true;
            while let Some(c) = self.peek() {
                if c == '\n' {
                    ended = false;
                    break;
                }
                self.take();
                line.push(c);
                // What follows the end belongs to the line of the directive.
                if line.trim_start() == end && self.peek().is_none_or(char::is_whitespace) {
                    let indent = line.len().saturating_sub(end.len());
                    let cut =
                        |line: &String| line.get(indent..).unwrap_or_else(|| line.trim_start()).to_owned();
                    return Ok(lines.iter().map(cut).collect::<Vec<_>>().join("\n"));
                }
            }
            if ended && self.peek().is_none() {
                return Err(never);
            }
            self.take();
            lines.push(line);
        }
    }
}
