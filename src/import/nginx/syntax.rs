//! nginx's grammar: words, quotes, blocks, and files that are included. nginx: `ngx_conf_read_token`.
//!
//! A word ends at white space, `;` or `{`; in quotes it ends with the quote. A backslash before a quote or a backslash is dropped,
//! `\t`, `\r` and `\n` are what they name, and before anything else the backslash stays, as regular expressions need it. `${name}`
//! does not open a block.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::source::{Files, Reading};
use super::super::{Place, Unread};
use crate::config::limits::{IMPORT_DEPTH_MAX, IMPORT_WORDS_MAX};
use crate::import::draft::Draft;

/// `name arguments… ;` or `name arguments… { … }`.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    pub(super) place: Place,
}

impl Directive {
    /// The argument at a position, or nothing.
    pub(super) fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    /// As it stands, for messages.
    pub(super) fn shown(&self) -> String {
        let mut text = self.name.clone();
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(argument);
        }
        if text.chars().count() > 80 {
            text = text.chars().take(77).collect::<String>() + "…";
        }
        text
    }
}

/// The directives of a file and of what it includes.
pub(super) fn parse(path: &Path, files: Files, draft: &mut Draft) -> Result<Vec<Directive>, Unread> {
    let place = Place { file: path.display().to_string().into(), line: 1 };
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut reader = Reader { reading: Reading::new(files), base, words: 0, draft };
    match reader.reading.text(path, &place)? {
        Ok((name, text)) => reader.file(name, &text, 0),
        Err(error) => Err(Unread { place, what: format!("cannot be read: {error}") }),
    }
}

struct Reader<'d> {
    reading: Reading,
    /// Where relative paths of `include` start.
    base: PathBuf,
    words: usize,
    draft: &'d mut Draft,
}

enum Token {
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// A file as tokens.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    file: Rc<str>,
}

impl Reader<'_> {
    fn file(&mut self, name: Rc<str>, text: &str, depth: usize) -> Result<Vec<Directive>, Unread> {
        let mut tokens = Tokens { text, at: 0, line: 1, file: name };
        self.block(&mut tokens, depth, None)
    }

    /// Directives up to the `}` of the block that was opened at `opened`, or to the end of the file.
    fn block(
        &mut self,
        tokens: &mut Tokens<'_>,
        depth: usize,
        opened: Option<&Place>,
    ) -> Result<Vec<Directive>, Unread> {
        if depth > IMPORT_DEPTH_MAX {
            return Err(
                tokens.unread(format!("more than {IMPORT_DEPTH_MAX} blocks or files within one another"))
            );
        }
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut place = tokens.place();
        loop {
            let before = tokens.skip();
            let Some(token) = tokens.next()? else {
                return match (words.is_empty(), opened) {
                    (false, _) => Err(Unread {
                        place,
                        what: "the file ends within a directive: `;` is missing".to_owned(),
                    }),
                    (true, Some(opened)) => Err(Unread {
                        place: opened.clone(),
                        what: "this block is never closed: `}` is missing".to_owned(),
                    }),
                    (true, None) => Ok(directives),
                };
            };
            match token {
                Token::Word(word) => {
                    self.words = self.words.saturating_add(1);
                    if self.words > IMPORT_WORDS_MAX {
                        return Err(tokens.unread(format!("more than {IMPORT_WORDS_MAX} words")));
                    }
                    if words.is_empty() {
                        place = before;
                    }
                    words.push(word);
                }
                Token::End => {
                    let Some(directive) = directive(&mut words, None, &place) else {
                        return Err(tokens.unread("`;` without a directive".to_owned()));
                    };
                    if directive.name == "include" {
                        directives.extend(self.include(&directive, depth)?);
                    } else {
                        directives.push(directive);
                    }
                }
                Token::Open => {
                    if words.first().is_some_and(|name| name.ends_with("_by_lua_block")) {
                        tokens.skip_raw_block()?;
                        directives.extend(directive(&mut words, Some(Vec::new()), &place));
                        continue;
                    }
                    if words.is_empty() {
                        return Err(tokens.unread("`{` without a directive".to_owned()));
                    }
                    let inside = self.block(tokens, depth.saturating_add(1), Some(&place))?;
                    directives.extend(directive(&mut words, Some(inside), &place));
                }
                Token::Close => {
                    if !words.is_empty() {
                        return Err(tokens.unread("`}` within a directive: `;` is missing".to_owned()));
                    }
                    if opened.is_none() {
                        return Err(tokens.unread("`}` closes nothing".to_owned()));
                    }
                    return Ok(directives);
                }
            }
        }
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> Result<Vec<Directive>, Unread> {
        let pattern = self.base.join(directive.argument(0));
        let is_pattern = directive.argument(0).contains(['*', '?', '[']);
        let mut directives = Vec::new();
        for path in self.reading.matching(&pattern) {
            match self.reading.text(&path, &directive.place)? {
                Ok((name, text)) => directives.extend(self.file(name, &text, depth.saturating_add(1))?),
                // Lists of media types and parameters of other gateways say nothing that is needed here.
                Err(_) if is_pattern || HARMLESS.iter().any(|name| path.ends_with(name)) => {}
                Err(error) => self.draft.note(
                    &directive.place,
                    format!("`{}` cannot be read: {error}", path.display()),
                    "what it says is missing from the result: run the import where nginx runs",
                ),
            }
        }
        Ok(directives)
    }
}

fn directive(words: &mut Vec<String>, block: Option<Vec<Directive>>, place: &Place) -> Option<Directive> {
    let mut words = std::mem::take(words).into_iter();
    Some(Directive { name: words.next()?, arguments: words.collect(), block, place: place.clone() })
}

impl Tokens<'_> {
    fn place(&self) -> Place {
        Place { file: Rc::clone(&self.file), line: self.line }
    }

    fn unread(&self, what: String) -> Unread {
        Unread { place: self.place(), what }
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

    /// Goes over white space and comments; the place of what follows.
    fn skip(&mut self) -> Place {
        while let Some(c) = self.peek() {
            if c.is_ascii_whitespace() || c == '\u{feff}' {
                self.take();
            } else if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.take();
                }
            } else {
                break;
            }
        }
        self.place()
    }

    fn next(&mut self) -> Result<Option<Token>, Unread> {
        self.skip();
        let Some(c) = self.peek() else { return Ok(None) };
        match c {
            ';' => {
                self.take();
                Ok(Some(Token::End))
            }
            '{' => {
                self.take();
                Ok(Some(Token::Open))
            }
            '}' => {
                self.take();
                Ok(Some(Token::Close))
            }
            '"' | '\'' => self.quoted(c).map(|word| Some(Token::Word(word))),
            _ => Ok(Some(Token::Word(self.bare()))),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Unread> {
        let opened = self.place();
        self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                None => return Err(Unread { place: opened, what: format!("this {quote} is never closed") }),
                Some(c) if c == quote => return Ok(word),
                Some('\\') => self.escaped(&mut word),
                Some(c) => word.push(c),
            }
        }
    }

    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            match c {
                // `${name}`: the brace belongs to the variable.
                '{' if word.ends_with('$') => {
                    self.take();
                    word.push(c);
                }
                ';' | '{' => break,
                c if c.is_ascii_whitespace() => break,
                '\\' => {
                    self.take();
                    self.escaped(&mut word);
                }
                c => {
                    self.take();
                    word.push(c);
                }
            }
        }
        word
    }

    fn escaped(&mut self, word: &mut String) {
        match self.take() {
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some(c) => {
                word.push('\\');
                word.push(c);
            }
            None => word.push('\\'),
        }
    }

    /// A block of another language: braces are counted outside of its texts.
    fn skip_raw_block(&mut self) -> Result<(), Unread> {
        let opened = self.place();
        let mut open = 1_usize;
        while open > 0 {
            match self.take() {
                Some(quote @ ('"' | '\'')) => loop {
                    match self.take() {
                        Some('\\') => drop(self.take()),
                        Some(c) if c == quote || c == '\n' => break,
                        Some(_) => {}
                        None => {
                            return Err(Unread {
                                place: opened,
                                what: "this block is never closed".to_owned(),
                            });
                        }
                    }
                },
                Some('{') => open = open.saturating_add(1),
                Some('}') => open = open.saturating_sub(1),
                Some(_) => {}
                None => return Err(Unread { place: opened, what: "this block is never closed".to_owned() }),
            }
        }
        Ok(())
    }
}

/// Files that distributions ship and that say nothing a cache in front needs.
const HARMLESS: [&str; 6] =
    ["mime.types", "fastcgi_params", "fastcgi.conf", "uwsgi_params", "scgi_params", "options-ssl-nginx.conf"];
