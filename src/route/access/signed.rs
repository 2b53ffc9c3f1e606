//! Signed URLs: a URL that only this site's application can make, and that ends when it says.
//!
//! ```text
//! https://www.example.com/video.mp4?expires=1793611200&signature=W1mXl8…&key_id=2026
//! ```
//!
//! The signature is `base64url(HMAC-SHA256(key, text))`, without padding. The text is four parts with a line feed between them, each in
//! normal form: the host (lower case, with its port where that is not the scheme's own), the path, the signed parameters of the query
//! (in their order, with `&` between them; nothing where there are none), and `expires`, the second since 1970 from which on the URL is no
//! longer good. With openssl:
//!
//! ```text
//! printf '%s\n%s\n%s\n%s' www.example.com /video.mp4 '' 1793611200 | openssl dgst -sha256 -hmac "$KEY" -binary | basenc --base64url
//! ```
//!
//! `expires`, `signature` and `key_id` are for this node alone: they are in no key and reach no origin, so however many URLs are made for a
//! page, it is stored once. Scheme and method are not signed.
//!
//! Invariant: a parameter of ours that is there twice, or a URL without normal form, is never good. Signatures are compared in constant
//! time, and whether a URL has expired is told only of one that was good.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::{Denied, SetupError};
use crate::config::access::{Signed, SignedQuery};
use crate::config::limits::ACCESS_KEY_BYTES;
use crate::route::normal::{Normal, Target};

/// Parameters of a signed URL that are for this node.
pub const PARAMETERS: [&str; 3] = [EXPIRES, SIGNATURE, KEY_ID];

/// The keys of a rule.
pub(super) struct SignedRule {
    keys: Box<[(Box<[u8]>, hmac::Key)]>,
    query: SignedQuery,
    skew_secs: u64,
}

/// What a URL shows.
#[derive(Clone, Copy)]
struct Shown<'u> {
    expires: &'u [u8],
    signature: &'u [u8],
    key_id: Option<&'u [u8]>,
}

impl SignedRule {
    /// The rule; reads its keys.
    pub(super) fn of(rule: &Signed) -> Result<Self, SetupError> {
        let key = |(id, path): &(Box<str>, std::path::PathBuf)| Ok((id.as_bytes().into(), key(path)?));
        Ok(Self {
            keys: rule.keys.iter().map(key).collect::<Result<_, SetupError>>()?,
            query: rule.query.clone(),
            skew_secs: rule.skew.as_secs(),
        })
    }

    /// The rule of one key.
    #[cfg(feature = "fuzzing")]
    pub(super) fn of_key(key: hmac::Key, query: SignedQuery) -> Self {
        Self { keys: [(Box::default(), key)].into(), query, skew_secs: 0 }
    }

    /// Whether the URL is good at `wall_secs`. `authority` is in normal form, `target` as received.
    ///
    /// # Errors
    /// [`Denied`]: it is not.
    pub(super) fn ask(&self, authority: &[u8], target: &[u8], wall_secs: u64) -> Result<(), Denied> {
        let target = Target::of(target).map_err(|_| Denied::SignatureWrong)?;
        let query = target.query().unwrap_or_default();
        let shown = Shown::of(query)?;
        let expires = number(shown.expires).ok_or(Denied::SignatureWrong)?;
        let mut given = [0; SIGNATURE_BYTES];
        let text = std::str::from_utf8(shown.signature).map_err(|_| Denied::SignatureWrong)?;
        let given = match Base64UrlUnpadded::decode(text.trim_end_matches('='), &mut given) {
            Ok(given) if given.len() == SIGNATURE_BYTES => given,
            _ => return Err(Denied::SignatureWrong),
        };
        let keys = self.keys.iter().filter(|(id, _)| shown.key_id.is_none_or(|named| named == &**id));
        let is_good = keys.fold(false, |is_good, (_, key)| {
            let made = signature(key, authority, target.path(), query, &self.query, shown.expires);
            verify_slices_are_equal(made.as_ref(), given).is_ok() | is_good
        });
        match is_good {
            false => Err(Denied::SignatureWrong),
            true if wall_secs >= expires.saturating_add(self.skew_secs) => Err(Denied::SignatureExpired),
            true => Ok(()),
        }
    }
}

impl<'u> Shown<'u> {
    fn of(query: &'u [u8]) -> Result<Self, Denied> {
        let (mut expires, mut signature, mut key_id) = (None, None, None);
        for (name, value) in parameters(query) {
            let place = match name {
                name if name == EXPIRES.as_bytes() => &mut expires,
                name if name == SIGNATURE.as_bytes() => &mut signature,
                name if name == KEY_ID.as_bytes() => &mut key_id,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Denied::SignatureWrong);
            }
        }
        match (expires, signature) {
            (Some(expires), Some(signature)) => Ok(Self { expires, signature, key_id }),
            _ => Err(Denied::SignatureMissing),
        }
    }
}

/// The URL with a signature under `key`, good until `expires`.
///
/// # Errors
/// What is wrong with the URL, for people.
pub fn sign(
    url: &str,
    key: &hmac::Key,
    key_id: Option<&str>,
    covered: &SignedQuery,
    expires: u64,
) -> Result<String, String> {
    let normal = Normal::from_url(url).map_err(|error| error.to_string())?;
    let query = normal.target.query();
    if let Some((name, _)) = query.into_iter().flat_map(parameters).find(|(name, _)| is_ours(name)) {
        return Err(format!("it has a parameter `{}` already", String::from_utf8_lossy(name)));
    }
    let expires = expires.to_string();
    let authority = normal.authority.as_bytes();
    let made = signature(
        key,
        authority,
        normal.target.path(),
        query.unwrap_or_default(),
        covered,
        expires.as_bytes(),
    );
    let made = Base64UrlUnpadded::encode_string(made.as_ref());
    let joint = if query.is_some() { '&' } else { '?' };
    let key_id = key_id.map(|id| format!("&{KEY_ID}={id}")).unwrap_or_default();
    Ok(format!(
        "{}://{}{}{joint}{EXPIRES}={expires}&{SIGNATURE}={made}{key_id}",
        normal.scheme.as_str(),
        String::from_utf8_lossy(authority),
        String::from_utf8_lossy(normal.target.as_bytes()),
    ))
}

/// The key in a file, white space around it aside.
///
/// # Errors
/// [`SetupError`]
pub fn key(path: &Path) -> Result<hmac::Key, SetupError> {
    let mut text = String::new();
    let most = *ACCESS_KEY_BYTES.end() as u64;
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(2)).read_to_string(&mut text))
        .map_err(|source| SetupError::File { path: path.to_owned(), source })?;
    let secret = text.trim();
    if !ACCESS_KEY_BYTES.contains(&secret.len()) {
        let (least, most) = (ACCESS_KEY_BYTES.start(), ACCESS_KEY_BYTES.end());
        let what =
            format!("a key has from {least} to {most} bytes; write what `openssl rand -hex 32` prints");
        return Err(SetupError::Line { path: path.to_owned(), line: 1, what });
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
}

/// Whether an identifier can stand in a URL as it is.
pub fn is_key_id(text: &str) -> bool {
    (1..=KEY_ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn signature(
    key: &hmac::Key,
    authority: &[u8],
    path: &[u8],
    query: &[u8],
    covered: &SignedQuery,
    expires: &[u8],
) -> hmac::Tag {
    let mut text = hmac::Context::with_key(key);
    text.update(authority);
    text.update(b"\n");
    text.update(path);
    text.update(b"\n");
    let mut is_first = true;
    for parameter in query.split(|byte| *byte == b'&').filter(|one| !one.is_empty()) {
        if is_covered(name_of(parameter), covered) {
            if !std::mem::take(&mut is_first) {
                text.update(b"&");
            }
            text.update(parameter);
        }
    }
    text.update(b"\n");
    text.update(expires);
    text.sign()
}

fn is_covered(name: &[u8], covered: &SignedQuery) -> bool {
    !is_ours(name)
        && match covered {
            SignedQuery::All => true,
            SignedQuery::Only(names) => names.iter().any(|known| known.as_bytes() == name),
        }
}

fn is_ours(name: &[u8]) -> bool {
    PARAMETERS.iter().any(|ours| ours.as_bytes() == name)
}

fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').map(|parameter| {
        let name = name_of(parameter);
        (name, parameter.get(name.len().saturating_add(1)..).unwrap_or_default())
    })
}

fn name_of(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// Digits and nothing else, as many as the next thousand years need.
fn number(text: &[u8]) -> Option<u64> {
    let is_plain = (1..=EXPIRES_DIGITS_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_plain.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The identifiers only.
impl std::fmt::Debug for SignedRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self.keys.iter().map(|(id, _)| String::from_utf8_lossy(id));
        f.debug_list().entries(ids).finish()
    }
}

const EXPIRES: &str = "expires";
const SIGNATURE: &str = "signature";
const KEY_ID: &str = "key_id";
const EXPIRES_DIGITS_MAX: usize = 11;
const KEY_ID_BYTES_MAX: usize = 64;
/// Of HMAC-SHA256.
const SIGNATURE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";
    const NOW: u64 = 1_793_611_200;

    fn rule(query: SignedQuery, skew_secs: u64) -> SignedRule {
        let keys = [(&b"old"[..], &b"another key of before"[..]), (b"2026", KEY)];
        let keys = keys.map(|(id, key)| (id.into(), hmac::Key::new(hmac::HMAC_SHA256, key)));
        SignedRule { keys: keys.into(), query, skew_secs }
    }

    fn made(url: &str, key_id: Option<&str>, covered: &SignedQuery, expires: u64) -> String {
        sign(url, &hmac::Key::new(hmac::HMAC_SHA256, KEY), key_id, covered, expires).expect("a URL")
    }

    fn asked(rule: &SignedRule, url: &str, now: u64) -> Result<(), Denied> {
        let rest = url.split_once("://").expect("a scheme").1;
        let (authority, target) = rest.split_at(rest.find('/').expect("a path"));
        rule.ask(authority.as_bytes(), target.as_bytes(), now)
    }

    /// By `printf '%s\n%s\n%s\n%s' www.example.com /video.mp4 'a=1&b=2' 1793611200 | openssl dgst -sha256 -hmac 0123456789abcdef`.
    #[test]
    fn the_signature_is_what_openssl_makes_of_the_documented_text() {
        let url = made("http://www.example.com/video.mp4?a=1&b=2", Some("2026"), &SignedQuery::All, NOW);
        assert_eq!(
            url,
            "http://www.example.com/video.mp4?a=1&b=2&expires=1793611200&signature=5D3oWLIwnG9r8MdPYRbbEgLnoTtY56GPoSoKDNSlGrc&key_id=2026"
        );
    }

    #[test]
    fn a_url_is_good_until_it_expires_and_not_when_anything_of_it_is_changed() {
        let all = rule(SignedQuery::All, 0);
        let url = made("http://www.example.com/video.mp4?a=1&b=2", None, &SignedQuery::All, NOW + 60);
        let named =
            made("http://www.example.com/video.mp4?a=1&b=2", Some("2026"), &SignedQuery::All, NOW + 60);
        let wrong = Err(Denied::SignatureWrong);
        for (claim, url, now, expected) in [
            ("good", url.clone(), NOW, Ok(())),
            ("by the key that it names", named.clone(), NOW, Ok(())),
            ("in its last second", url.clone(), NOW + 59, Ok(())),
            ("from that second on", url.clone(), NOW + 60, Err(Denied::SignatureExpired)),
            (
                "the parameters of ours may stand anywhere",
                url.replace("a=1&b=2&", "").replace("expires", "a=1&b=2&expires"),
                NOW,
                Ok(()),
            ),
            ("with padding", url.clone() + "=", NOW, Ok(())),
            ("another host", url.replace("www.", "web."), NOW, wrong),
            ("a port", url.replace(".com/", ".com:8080/"), NOW, wrong),
            ("another path", url.replace("video", "Video"), NOW, wrong),
            ("a longer path", url.replace("mp4?", "mp4/x?"), NOW, wrong),
            ("another value", url.replace("a=1", "a=2"), NOW, wrong),
            ("another order", url.replace("a=1&b=2", "b=2&a=1"), NOW, wrong),
            ("one more", url.replace("a=1", "a=1&c=3"), NOW, wrong),
            ("one less", url.replace("a=1&", ""), NOW, wrong),
            ("a later end", url.replace(&(NOW + 60).to_string(), &(NOW + 61).to_string()), NOW, wrong),
            ("a later end that has passed too", url.replace(&(NOW + 60).to_string(), "1"), NOW, wrong),
            ("an end with a zero before it", url.replace("expires=", "expires=0"), NOW, wrong),
            ("an end that is none", url.replace("expires=", "expires=x"), NOW, wrong),
            (
                "an end beyond all numbers",
                url.replace("expires=", "expires=99999999999999999999"),
                NOW,
                wrong,
            ),
            ("two ends", url.clone() + "&expires=9999999999", NOW, wrong),
            ("two signatures", url.clone() + "&signature=x", NOW, wrong),
            ("a key that is not there", named.replace("2026", "2027"), NOW, wrong),
            ("another of the keys", named.replace("2026", "old"), NOW, wrong),
            ("half a signature", url[..url.len() - 3].to_owned(), NOW, wrong),
            ("more than one", url.clone() + "AAAA", NOW, wrong),
            (
                "no signature",
                url[..url.find("&signature").expect("it is there")].to_owned(),
                NOW,
                Err(Denied::SignatureMissing),
            ),
            ("no end", url.replace("expires", "expired"), NOW, Err(Denied::SignatureMissing)),
            ("nothing", "http://www.example.com/video.mp4".to_owned(), NOW, Err(Denied::SignatureMissing)),
        ] {
            assert_eq!(asked(&all, &url, now), expected, "{claim}: {url}");
        }
    }

    #[test]
    fn what_a_client_spells_otherwise_is_the_same_url() {
        let url = made("http://WWW.Example.com:80/a/../vid%65o%2f?q=%7e", None, &SignedQuery::All, NOW + 60);
        assert!(url.starts_with("http://www.example.com/video%2F?q=~&expires="), "{url}");
        let rule = rule(SignedQuery::All, 0);
        assert_eq!(asked(&rule, &url, NOW), Ok(()));
        assert_eq!(asked(&rule, &url.replace("video", "./v%69deo").replace('~', "%7E"), NOW), Ok(()));
    }

    #[test]
    fn only_the_parameters_that_are_named_are_signed() {
        let covered = SignedQuery::Only(vec!["id".into()]);
        let some = rule(covered.clone(), 0);
        let url = made("http://a/x?id=1&utm_source=y", None, &covered, NOW + 60);
        assert_eq!(asked(&some, &url, NOW), Ok(()));
        assert_eq!(asked(&some, &url.replace("utm_source=y", "z=1&z=2"), NOW), Ok(()));
        assert_eq!(asked(&some, &url.replace("id=1", "id=2"), NOW), Err(Denied::SignatureWrong));
        assert_eq!(asked(&some, &url.replace("id=1", "id=1&id=2"), NOW), Err(Denied::SignatureWrong));
        // No part can pass for another.
        let none = SignedQuery::Only(Vec::new());
        let url = made("http://a/x?id=1", None, &none, NOW + 60);
        assert_eq!(asked(&rule(none, 0), &url.replace("id=1&", ""), NOW), Ok(()));
        assert_eq!(asked(&rule(SignedQuery::All, 0), &url, NOW), Err(Denied::SignatureWrong));
    }

    #[test]
    fn clocks_may_differ_as_far_as_the_rule_says() {
        let rule = rule(SignedQuery::All, 30);
        let url = made("http://a/x", None, &SignedQuery::All, NOW);
        assert_eq!(asked(&rule, &url, NOW + 29), Ok(()));
        assert_eq!(asked(&rule, &url, NOW + 30), Err(Denied::SignatureExpired));
        let url = made("http://a/x", None, &SignedQuery::All, 99_999_999_999);
        assert_eq!(asked(&rule, &url, NOW), Ok(()));
    }

    proptest! {
        #[test]
        fn no_target_panics_and_none_is_good_by_chance(
            target in prop_oneof!["\\PC{0,80}", "/[a-z%0-9]{0,8}\\?(expires=[0-9]{0,13}|signature=[A-Za-z0-9_=%-]{0,50}|key_id=[a-z0-9]{0,4}|[a-z&=]{0,6}|&){0,8}"],
        ) {
            let asked = rule(SignedQuery::All, 0).ask(b"www.example.com", target.as_bytes(), NOW);
            prop_assert!(asked.is_err());
        }

        #[test]
        fn what_is_made_is_good_and_one_bit_of_it_changed_is_not(
            path in "/[a-z0-9/._%-]{0,12}", query in prop::option::of("[a-z0-9=&]{0,12}"), bit in any::<prop::sample::Index>(),
        ) {
            let url = format!("http://www.example.com{path}{}", query.map(|query| format!("?{query}")).unwrap_or_default());
            let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
            if let Ok(url) = sign(&url, &key, None, &SignedQuery::All, NOW + 60) {
                let rule = rule(SignedQuery::All, 0);
                prop_assert_eq!(asked(&rule, &url, NOW), Ok(()), "{}", url);
                let signature = url.find("signature=").expect("it is there") + "signature=".len();
                let at = signature + bit.index(42);
                let mut changed = url.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).expect("ASCII");
                prop_assert!(asked(&rule, &changed, NOW).is_err(), "{}", changed);
            }
        }
    }
}
