//! Who may call: the bearer of a token, or, without tokens, this machine alone.
//!
//! Tokens are kept as SHA-256 digests, so the file that holds them gives none away. What a caller presents is hashed and
//! compared with every digest, in constant time each: how long it takes depends on the length of what was presented and the
//! number of tokens, and says nothing about any token. Even a comparison that did stop early would tell bytes of a digest, for
//! which a caller would have to find a text. Tokens should be random (`openssl rand -hex 32`); a fast hash does not protect a
//! password.
//!
//! A token may be good for some calls only ([`Permission`]), for some purges only ([`Grant`]) and so often only ([`Bucket`]).

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::grant::Grant;
use crate::rate::Bucket;

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
pub struct Tokens(Vec<Arc<Token>>);

/// One token: its digest and what it is good for.
#[derive(Debug)]
pub struct Token {
    /// Whose it is, for the log.
    pub name: Box<str>,
    /// SHA-256 of the token's bytes.
    pub digest: [u8; 32],
    /// What its bearer may do.
    pub may: Box<[Permission]>,
    /// What its bearer may purge.
    pub grant: Grant,
    /// How often its bearer may call to purge; none: as often as they like.
    pub bucket: Option<Bucket>,
}

/// Who was let in.
#[derive(Clone, Debug)]
pub enum Bearer {
    /// This machine.
    Loopback,
    /// One of the networks that may use the PURGE method.
    Network,
    /// The bearer of a token.
    Token(Arc<Token>),
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
    /// A token in a field of its own, as other people's calls have it; `Authorization` goes first.
    pub key: Option<&'a [u8]>,
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
    /// A token that was used too often; the seconds until it may be used again.
    #[error("the token was used more often than its rate allows; try again in {0} s")]
    TooOften(u64),
}

impl Permission {
    /// All of them, as written in a token file.
    pub const ALL: [(&'static str, Self); 3] =
        [("read", Self::Read), ("purge", Self::Purge), ("control", Self::Control)];
}

impl Door {
    /// The caller, if it may do one of these at this moment (steady time). A call that may purge is one of those that the
    /// token's rate counts.
    ///
    /// # Errors
    /// [`Denied`], the caller's fault.
    pub fn admit(&self, caller: Caller<'_>, needs: &[Permission], now_micros: u64) -> Result<Bearer, Denied> {
        let tokens = match self {
            Self::Loopback if caller.loopback => return Ok(Bearer::Loopback),
            Self::Loopback => return Err(Denied::NotLoopback),
            Self::Tokens(tokens) => tokens,
        };
        let key = caller.key.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty());
        let presented = caller.authorization.and_then(bearer).or(key).ok_or(Denied::Missing)?;
        let token = tokens.find(presented).ok_or(Denied::Unknown)?;
        if !needs.iter().any(|needed| token.may.contains(needed)) {
            return Err(Denied::NotAllowed);
        }
        if needs.contains(&Permission::Purge)
            && let Some(bucket) = &token.bucket
        {
            bucket.take(now_micros).map_err(Denied::TooOften)?;
        }
        Ok(Bearer::Token(Arc::clone(token)))
    }
}

impl Bearer {
    /// For the log.
    pub fn name(&self) -> &str {
        match self {
            Self::Loopback => "loopback",
            Self::Network => "network",
            Self::Token(token) => &token.name,
        }
    }

    /// What it may purge.
    pub fn grant(&self) -> &Grant {
        match self {
            Self::Loopback | Self::Network => &Grant::All,
            Self::Token(token) => &token.grant,
        }
    }

    /// Whether it may do this.
    pub fn may(&self, what: Permission) -> bool {
        match self {
            Self::Loopback => true,
            Self::Network => what == Permission::Purge,
            Self::Token(token) => token.may.contains(&what),
        }
    }
}

impl Tokens {
    /// These tokens.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(tokens.into_iter().map(Arc::new).collect())
    }

    /// The token presented, if it is known. Looks at every token, whichever matches.
    pub fn find(&self, presented: &[u8]) -> Option<&Arc<Token>> {
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
        Token { name: name.into(), digest: bytes, may: may.into(), grant: Grant::All, bucket: None }
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
            let caller = Caller { loopback, authorization, key: None };
            let admitted = door.admit(caller, &[needs], 0);
            assert_eq!(admitted.as_ref().map(Bearer::name), expected.as_ref().copied(), "{claim}");
        }
    }

    #[test]
    fn a_token_may_stand_in_a_field_of_its_own_and_the_bearers_goes_first() {
        let door = Door::Tokens(Tokens::new(vec![token("deploy", b"s3cret", &[Permission::Purge])]));
        for (claim, authorization, key, expected) in [
            ("in its own field", None, Some(&b" s3cret "[..]), Ok("deploy")),
            (
                "another scheme beside it does not matter",
                Some(&b"Basic x"[..]),
                Some(b"s3cret"),
                Ok("deploy"),
            ),
            (
                "a wrong bearer is not made good by it",
                Some(b"Bearer x"),
                Some(b"s3cret"),
                Err(Denied::Unknown),
            ),
            ("an empty one is none", None, Some(b" "), Err(Denied::Missing)),
            ("it is no bearer's value", None, Some(b"Bearer s3cret"), Err(Denied::Unknown)),
        ] {
            let caller = Caller { loopback: true, authorization, key };
            let admitted = door.admit(caller, &[Permission::Purge], 0);
            assert_eq!(admitted.as_ref().map(Bearer::name), expected.as_ref().copied(), "{claim}");
        }
    }

    #[test]
    fn a_rate_counts_calls_that_may_purge_and_no_others() {
        let mut limited = token("deploy", b"s3cret", &[Permission::Purge, Permission::Read]);
        limited.bucket = crate::rate::Rate::parse("1/m").map(Bucket::new);
        let door = Door::Tokens(Tokens::new(vec![limited]));
        let caller = Caller { loopback: false, authorization: Some(b"Bearer s3cret"), key: None };
        assert!(door.admit(caller, &[Permission::Purge], 0).is_ok());
        assert!(door.admit(caller, &[Permission::Read], 0).is_ok());
        assert_eq!(door.admit(caller, &[Permission::Purge], 0).err(), Some(Denied::TooOften(60)));
        assert!(door.admit(caller, &[Permission::Read], 0).is_ok());
        assert!(door.admit(caller, &[Permission::Purge], 60_000_000).is_ok());
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
