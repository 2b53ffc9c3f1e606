//! The token file of the admin listener.
//!
//! ```toml
//! [[token]]
//! name = "deploy"                 # for the log
//! sha256 = "9f86d081884c7d65…"    # printf %s "$TOKEN" | sha256sum
//! may = ["purge"]                 # read, purge, control; without it: all, or only purge where it is limited below
//! hosts = ["www.example.com", "*.example.org"]        # limits: purges what one of these lists allows, never everything
//! prefixes = ["https://www.example.com/news/"]
//! tags = ["front", "article-*"]
//! rate = "100/s"                  # calls that purge: per s, m or h
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use purge_api::auth::{Permission, Token, Tokens, digest_of_hex};
use purge_api::error::SelectorError;
use purge_api::grant::{Allowed, Grant};
use purge_api::rate::{Bucket, Rate};
use serde::Deserialize;

use super::purge::normal;
use crate::config::limits::{TOKEN_FILE_BYTES_MAX, TOKENS_MAX};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    token: Vec<TokenText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenText {
    name: Box<str>,
    sha256: toml::Spanned<String>,
    may: Option<Texts>,
    hosts: Option<Texts>,
    prefixes: Option<Texts>,
    tags: Option<Texts>,
    rate: Option<toml::Spanned<String>>,
}

type Texts = Vec<toml::Spanned<String>>;

/// The tokens in this file.
///
/// # Errors
/// It cannot be read, is too long, or something is wrong in it; the message names the file and the line.
pub(super) fn read(path: &Path) -> io::Result<Tokens> {
    let named = |error: &dyn std::fmt::Display| format!("token file {}: {error}", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| io::Error::new(error.kind(), named(&error)))?;
    if text.len() as u64 > TOKEN_FILE_BYTES_MAX {
        return Err(io::Error::other(named(&format!("longer than {TOKEN_FILE_BYTES_MAX} bytes"))));
    }
    parse(&text).map_err(|mistake| io::Error::new(io::ErrorKind::InvalidData, named(&mistake)))
}

pub(crate) fn parse(text: &str) -> Result<Tokens, String> {
    let file: FileText = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.token.is_empty() {
        return Err(
            "no [[token]] in it, so no one could call; leave `admin.tokens` out to let this machine in"
                .into(),
        );
    }
    if file.token.len() > TOKENS_MAX {
        return Err(format!("more than {TOKENS_MAX} tokens"));
    }
    let tokens: Result<_, String> = file
        .token
        .into_iter()
        .map(|token| {
            let digest = digest_of_hex(token.sha256.get_ref()).ok_or_else(|| {
                format!("line {}: `sha256` is not 64 hexadecimal digits", line(text, &token.sha256))
            })?;
            let grant = grant(text, &token)?;
            let may: Box<[_]> = match &token.may {
                Some(names) => names.iter().map(|name| permission(text, name)).collect::<Result<_, _>>()?,
                // Who may purge one path was hardly meant to stop the node.
                None if grant != Grant::All => Box::new([Permission::Purge]),
                None => Permission::ALL.iter().map(|(_, permission)| *permission).collect(),
            };
            let bucket = match &token.rate {
                None => None,
                Some(rate) => Some(Bucket::new(Rate::parse(rate.get_ref()).ok_or_else(|| {
                    let line = line(text, rate);
                    format!(
                        "line {line}: `{}` is not a rate: write \"100/s\", \"30/m\" or \"5/h\"",
                        rate.get_ref()
                    )
                })?)),
            };
            Ok(Token { name: token.name, digest, may, grant, bucket })
        })
        .collect();
    Ok(Tokens::new(tokens?))
}

/// What a token may purge: everything where none of the lists is there.
fn grant(text: &str, token: &TokenText) -> Result<Grant, String> {
    let lists: [(&Option<Texts>, &Line); 3] = [
        (&token.hosts, &Allowed::host),
        (&token.prefixes, &|prefix| Allowed::prefix(prefix, &normal)),
        (&token.tags, &Allowed::tag),
    ];
    if lists.iter().all(|(list, _)| list.is_none()) {
        return Ok(Grant::All);
    }
    let mut allowed = Vec::new();
    for (list, parse) in lists {
        for entry in list.iter().flatten() {
            let line = line(text, entry);
            allowed.push(
                parse(entry.get_ref())
                    .map_err(|error| format!("line {line}: `{}`: {error}", entry.get_ref()))?,
            );
        }
    }
    Ok(Grant::Limited(allowed.into()))
}

type Line = dyn Fn(&str) -> Result<Allowed, SelectorError>;

fn permission(text: &str, name: &toml::Spanned<String>) -> Result<Permission, String> {
    Permission::ALL
        .iter()
        .find(|(known, _)| known == name.get_ref())
        .map(|(_, permission)| *permission)
        .ok_or_else(|| {
            format!("line {}: `{}` is not one of read, purge, control", line(text, name), name.get_ref())
        })
}

fn line<T>(text: &str, spanned: &toml::Spanned<T>) -> usize {
    text.get(..spanned.span().start).map_or(0, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn files() {
        for (claim, text, expected) in [
            ("a token without `may` may all", format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'"), Ok(3)),
            (
                "a token may what it says",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nmay = ['purge']"),
                Ok(1),
            ),
            (
                "an empty list is nothing",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nmay = []"),
                Ok(0),
            ),
            ("an empty file lets no one in", String::new(), Err("no [[token]]")),
            (
                "a plain token is not a digest",
                "[[token]]\nname = 'a'\nsha256 = 'abc'".into(),
                Err("line 3: `sha256`"),
            ),
            (
                "a right has a known name",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nmay = ['all']"),
                Err("line 4: `all`"),
            ),
            (
                "a limited one may purge and no more, unless it says so",
                format!(
                    "[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nhosts = ['*.a.example']\ntags = ['x*']\nrate = '5/m'"
                ),
                Ok(1),
            ),
            (
                "it may say so",
                format!(
                    "[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nmay = ['purge', 'read']\nprefixes = ['https://a/n/']"
                ),
                Ok(2),
            ),
            (
                "a star alone is no tag",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\ntags = [\n  '*']"),
                Err("line 5: `*`: an empty tag"),
            ),
            (
                "a host has no port",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nhosts = ['a:80']"),
                Err("line 4: `a:80`: a host"),
            ),
            (
                "a prefix is a URL",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nprefixes = ['/news/']"),
                Err("line 4: `/news/`: not an absolute URL"),
            ),
            (
                "a rate has a period",
                format!("[[token]]\nname = 'a'\nsha256 = '{OF_ABC}'\nrate = '100'"),
                Err("line 4: `100` is not a rate: write \"100/s\""),
            ),
            (
                "a misspelt key is refused",
                format!("[[token]]\nname = 'a'\nsha265 = '{OF_ABC}'"),
                Err("TOML parse error"),
            ),
        ] {
            match (parse(&text), expected) {
                (Ok(tokens), Ok(rights)) => {
                    assert_eq!(tokens.find(b"abc").map(|token| token.may.len()), Some(rights), "{claim}");
                }
                (Err(mistake), Err(start)) => assert!(mistake.starts_with(start), "{claim}: {mistake}"),
                (got, _) => panic!("{claim}: {got:?}"),
            }
        }
    }
}
