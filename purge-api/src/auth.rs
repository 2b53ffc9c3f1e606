//! Who may call: the bearer of a token, or, without tokens, this machine alone.
//!
//! Tokens are kept as SHA-256 digests, so the file that holds them gives none away. What a caller presents is hashed and
//! compared with every digest, in constant time each: how long it takes says nothing about any token. Tokens should be
//! random (`openssl rand -hex 32`); a fast hash does not protect a password.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// Who is let in.
#[derive(Clone, Debug)]
pub enum Door {
    /// Callers from this machine, without a token.
    Loopback,
    /// Bearers of one of these, wherever they are.
    Tokens(Tokens),
}

/// Tokens known. Without any, no one is let in.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<Token>);

/// One token: its digest and what it is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Whose it is, for the log.
    pub name: Box<str>,
    /// SHA-256 of the token's bytes.
    pub digest: [u8; 32],
    /// What its bearer may do.
    pub may: Box<[Permission]>,
}

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// Look: counters, metrics, `explain`.
    Read,
    /// Purge.
    Purge,
    /// Stop, reload.
    Control,
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The connection comes from this machine.
    pub loopback: bool,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
}

/// Why a caller is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// Not from this machine, and there are no tokens.
    #[error("without tokens only this machine may call")]
    NotLoopback,
    /// No token, or not as `Bearer`.
    #[error("this call needs a token: `Authorization: Bearer …`")]
    Missing,
    /// A token that is not known.
    #[error("the token is not known")]
    Unknown,
    /// A token that is not good for this.
    #[error("the token is not good for this call")]
    NotAllowed,
}

impl Permission {
    /// All of them, as written in a token file.
    pub const ALL: [(&'static str, Self); 3] =
        [("read", Self::Read), ("purge", Self::Purge), ("control", Self::Control)];
}

impl Door {
    /// The name of the caller if it may do this.
    ///
    /// # Errors
    /// [`Denied`], the caller's fault.
    pub fn admit(&self, caller: Caller<'_>, needs: Permission) -> Result<&str, Denied> {
        match self {
            Self::Loopback if caller.loopback => Ok("loopback"),
            Self::Loopback => Err(Denied::NotLoopback),
            Self::Tokens(tokens) => {
                let presented = caller.authorization.and_then(bearer).ok_or(Denied::Missing)?;
                let token = tokens.find(presented).ok_or(Denied::Unknown)?;
                if token.may.contains(&needs) { Ok(&token.name) } else { Err(Denied::NotAllowed) }
            }
        }
    }
}

impl Tokens {
    /// These tokens.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// The token presented, if it is known. Looks at every token, whichever matches.
    pub fn find(&self, presented: &[u8]) -> Option<&Token> {
        let presented = digest(&SHA256, presented);
        self.0.iter().fold(None, |found, token| {
            if verify_slices_are_equal(presented.as_ref(), &token.digest).is_ok() {
                Some(token)
            } else {
                found
            }
        })
    }
}

/// The digest written as 64 hexadecimal digits.
pub fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(digest)
}

/// The token in an `Authorization` value. RFC 6750 §2.1; the scheme has no case.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(BEARER.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then_some(token)
}

const BEARER: &[u8] = b"bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &[u8], may: &[Permission]) -> Token {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Token { name: name.into(), digest: bytes, may: may.into() }
    }

    #[test]
    #[allow(clippy::too_many_lines)] // one table
    fn who_is_let_in() {
        let tokens = Door::Tokens(Tokens::new(vec![
            token("deploy", b"s3cret", &[Permission::Purge]),
            token("ops", b"other", &[Permission::Read, Permission::Purge, Permission::Control]),
        ]));
        for (claim, door, loopback, authorization, needs, expected) in [
            ("this machine needs no token", &Door::Loopback, true, None, Permission::Control, Ok("loopback")),
            (
                "another machine is refused without tokens",
                &Door::Loopback,
                false,
                None,
                Permission::Read,
                Err(Denied::NotLoopback),
            ),
            (
                "a made-up token opens no loopback door",
                &Door::Loopback,
                false,
                Some(&b"Bearer x"[..]),
                Permission::Read,
                Err(Denied::NotLoopback),
            ),
            (
                "with tokens this machine needs one too",
                &tokens,
                true,
                None,
                Permission::Read,
                Err(Denied::Missing),
            ),
            (
                "a token does what it may",
                &tokens,
                false,
                Some(b"Bearer s3cret"),
                Permission::Purge,
                Ok("deploy"),
            ),
            (
                "the scheme has no case",
                &tokens,
                false,
                Some(b"bEARER s3cret"),
                Permission::Purge,
                Ok("deploy"),
            ),
            (
                "a token does no more than it may",
                &tokens,
                false,
                Some(b"Bearer s3cret"),
                Permission::Control,
                Err(Denied::NotAllowed),
            ),
            (
                "each token has its own rights",
                &tokens,
                false,
                Some(b"Bearer other"),
                Permission::Control,
                Ok("ops"),
            ),
            (
                "a prefix of a token is not it",
                &tokens,
                false,
                Some(b"Bearer s3cre"),
                Permission::Purge,
                Err(Denied::Unknown),
            ),
            (
                "a longer one is not it",
                &tokens,
                false,
                Some(b"Bearer s3cret1"),
                Permission::Purge,
                Err(Denied::Unknown),
            ),
            (
                "another case is not it",
                &tokens,
                false,
                Some(b"Bearer S3cret"),
                Permission::Purge,
                Err(Denied::Unknown),
            ),
            (
                "an empty token is none",
                &tokens,
                false,
                Some(b"Bearer "),
                Permission::Purge,
                Err(Denied::Missing),
            ),
            (
                "another scheme is none",
                &tokens,
                false,
                Some(b"Basic s3cret"),
                Permission::Purge,
                Err(Denied::Missing),
            ),
            (
                "a bare token is none",
                &tokens,
                false,
                Some(b"s3cret"),
                Permission::Purge,
                Err(Denied::Missing),
            ),
            (
                "no tokens let no one in",
                &Door::Tokens(Tokens::default()),
                true,
                Some(b"Bearer x"),
                Permission::Read,
                Err(Denied::Unknown),
            ),
        ] {
            assert_eq!(door.admit(Caller { loopback, authorization }, needs), expected, "{claim}");
        }
    }

    #[test]
    fn digests_are_read_as_sha256sum_writes_them() {
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let read = digest_of_hex(of_abc).unwrap();
        assert_eq!(read.as_slice(), digest(&SHA256, b"abc").as_ref());
        assert_eq!(digest_of_hex(&of_abc.to_uppercase()), Some(read));
        for (claim, text) in [
            ("too short", &of_abc[2..]),
            ("odd", &of_abc[1..]),
            ("too long", &format!("{of_abc}00")),
            ("not hexadecimal", &of_abc.replace('b', "g")),
            ("signs are not digits", &of_abc.replace("ba", "+a")),
        ] {
            assert_eq!(digest_of_hex(text), None, "{claim}");
        }
    }
}
