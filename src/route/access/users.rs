//! Users and their hashed passwords, as `htpasswd` writes them: a line a user, `name:hash`.
//!
//! Hashes that are made to be slow are taken: bcrypt (`htpasswd -B`), SHA-crypt (`htpasswd -2`, `-5`, `mkpasswd`) and Argon2. What is
//! quick to guess (plain text, `crypt`, MD5, SHA-1) is refused by name. How much one verification may cost is bounded when the file
//! is read, so that no request can be made to cost more.
//!
//! Invariant: a [`enum@Hash`] is one that can be verified, within the bounds.

use std::collections::HashMap;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use sha_crypt::ShaCrypt;

use crate::config::limits::{
    ACCESS_ARGON2_KIB_MAX, ACCESS_ARGON2_PASSES_MAX, ACCESS_BCRYPT_COST_MAX, ACCESS_SHA_CRYPT_ROUNDS_MAX,
    ACCESS_USERS_MAX,
};

/// Who may come in.
#[derive(Debug)]
pub(super) struct Users {
    by_name: HashMap<Box<[u8]>, Hash>,
    /// Verified where a name is not known: how long that takes tells nobody which names are.
    stand_in: Hash,
}

/// What a password is verified against.
#[derive(Clone)]
pub(super) enum Hash {
    Bcrypt(Box<str>),
    ShaCrypt(Box<str>),
    Argon2(Box<str>),
}

impl Users {
    /// The users of a file's text.
    ///
    /// # Errors
    /// The line, from 1, and what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut by_name = HashMap::new();
        let mut stand_in = None;
        for (at, line) in text.lines().enumerate() {
            let number = at.saturating_add(1);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, rest) = line.split_once(':').ok_or_else(|| (number, EXAMPLE.to_owned()))?;
            // Other programs keep more behind a second colon; no hash has one.
            let hash =
                Hash::parse(rest.split(':').next().unwrap_or_default()).map_err(|what| (number, what))?;
            if name.is_empty() {
                return Err((number, format!("the name is empty; {EXAMPLE}")));
            }
            if by_name.len() >= ACCESS_USERS_MAX {
                return Err((number, format!("there are more than {ACCESS_USERS_MAX} users")));
            }
            stand_in.get_or_insert_with(|| hash.clone());
            if by_name.insert(name.as_bytes().into(), hash).is_some() {
                return Err((
                    number,
                    format!("`{}` is there twice; keep one of the lines", name.escape_debug()),
                ));
            }
        }
        match stand_in {
            Some(stand_in) => Ok(Self { by_name, stand_in }),
            None => Err((1, format!("there is no user in it; {EXAMPLE}"))),
        }
    }

    /// What a user's password is verified against, and whether there is such a user at all.
    pub(super) fn hash_of(&self, name: &[u8]) -> (Hash, bool) {
        match self.by_name.get(name) {
            Some(hash) => (hash.clone(), true),
            None => (self.stand_in.clone(), false),
        }
    }
}

impl Hash {
    fn parse(text: &str) -> Result<Self, String> {
        let refused = |what: &str| Err(format!("{what}; write it with htpasswd -B"));
        let scheme = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        match scheme {
            Some("2a" | "2b" | "2y") => Self::bcrypt(text),
            Some("5" | "6") => Self::sha_crypt(text),
            Some("argon2id" | "argon2i" | "argon2d") => Self::argon2(text),
            Some("apr1" | "1") => refused("the password is hashed with MD5, which is quick to guess"),
            Some(scheme) => refused(&format!("`${}$` is no hash that is known here", scheme.escape_debug())),
            None if text.starts_with("{SHA}") => {
                refused("the password is hashed with SHA-1, which is quick to guess")
            }
            None => refused("the password is not hashed, or with crypt, which is quick to guess"),
        }
    }

    fn bcrypt(text: &str) -> Result<Self, String> {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| broken("bcrypt"))?;
        if !(4..=ACCESS_BCRYPT_COST_MAX).contains(&parts.get_cost()) {
            return Err(format!(
                "a bcrypt cost of {} takes too long; write it with htpasswd -B -C {ACCESS_BCRYPT_COST_MAX} or less",
                parts.get_cost()
            ));
        }
        Ok(Self::Bcrypt(text.into()))
    }

    fn sha_crypt(text: &str) -> Result<Self, String> {
        let hash = sha_crypt::PasswordHashRef::new(text).map_err(|_| broken("SHA-crypt"))?;
        #[allow(clippy::redundant_closure_for_method_calls)]
        // the method is of a crate that is not named here
        let fields: Vec<&str> = hash.fields().map(|field| field.as_str()).collect();
        let digest_len = if text.starts_with("$5$") { 43 } else { 86 };
        let (rounds, digest) = match fields.as_slice() {
            [_, digest] => (None, digest),
            [rounds, _, digest] => {
                let rounds = rounds.strip_prefix("rounds=").and_then(|rounds| rounds.parse::<u32>().ok());
                (Some(rounds.ok_or_else(|| broken("SHA-crypt"))?), digest)
            }
            _ => return Err(broken("SHA-crypt")),
        };
        if digest.len() != digest_len {
            return Err(broken("SHA-crypt"));
        }
        match rounds {
            Some(rounds) if !(1000..=ACCESS_SHA_CRYPT_ROUNDS_MAX).contains(&rounds) => Err(format!(
                "{rounds} rounds of SHA-crypt are not between 1000 and {ACCESS_SHA_CRYPT_ROUNDS_MAX}; write fewer"
            )),
            _ => Ok(Self::ShaCrypt(text.into())),
        }
    }

    fn argon2(text: &str) -> Result<Self, String> {
        let hash = PasswordHash::new(text).map_err(|_| broken("Argon2"))?;
        let params = argon2::Params::try_from(&hash).map_err(|_| broken("Argon2"))?;
        if hash.hash.is_none() || hash.salt.is_none() {
            return Err(broken("Argon2"));
        }
        let work = params.t_cost().saturating_mul(params.p_cost().max(1));
        if params.m_cost() > ACCESS_ARGON2_KIB_MAX || work > ACCESS_ARGON2_PASSES_MAX {
            return Err(format!(
                "Argon2 with m={}, t={}, p={} takes too much; up to m={ACCESS_ARGON2_KIB_MAX} and t*p={ACCESS_ARGON2_PASSES_MAX} is taken",
                params.m_cost(),
                params.t_cost(),
                params.p_cost()
            ));
        }
        Ok(Self::Argon2(text.into()))
    }

    /// Whether it is this password's. Takes as long as it is meant to: not on a worker.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::ShaCrypt(hash) => ShaCrypt::default().verify_password(password, &**hash).is_ok(),
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }
}

/// The scheme only: a hash is half a secret.
impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "bcrypt",
            Self::ShaCrypt(_) => "SHA-crypt",
            Self::Argon2(_) => "Argon2",
        })
    }
}

fn broken(scheme: &str) -> String {
    format!("it looks like {scheme} and is not; write it with htpasswd -B")
}

const EXAMPLE: &str = "a line is a name, a colon and a hash, as htpasswd -B writes it";

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by libxcrypt, OpenSSL and the reference implementation of Argon2; the password is `correct horse`.
    const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    const SHA_256: &str = "$5$rounds=1000$saltsalt$R6e4P8ccT9iMqkYg7Z8YtpId/lfsIfnuPkp8WXposU8";
    const SHA_512: &str =
        "$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0";
    const ARGON2: &str =
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$Kw3/ZjLNvvrvmWv7DSmJdvIaVuO5yzpUAyMmNiCnHLI";

    #[test]
    fn hashes_of_other_programs_are_verified() {
        let php = BCRYPT.replacen("$2b$", "$2y$", 1);
        for text in [BCRYPT, &php, SHA_256, SHA_512, ARGON2] {
            let hash = Hash::parse(text).unwrap_or_else(|what| panic!("{text}: {what}"));
            assert!(hash.verify(b"correct horse"), "{text}");
            for wrong in
                [&b""[..], b"correct hors", b"correct horse ", b"Correct horse", b"correct horse\0", b"\xff"]
            {
                assert!(!hash.verify(wrong), "{text} takes {}", wrong.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_quick_to_guess_or_slow_to_verify_is_refused_with_a_reason() {
        for (text, what) in [
            ("secret", "not hashed"),
            ("rqXexS6ZhobKA", "not hashed, or with crypt"),
            ("$apr1$saltsalt$EGVZDNN6gOqijy.tv9axG/", "MD5"),
            ("$1$saltsalt$NuzA7WTAelpl95xgBGWN60", "MD5"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
            ("$y$j9T$x$y", "`$y$` is no hash"),
            ("", "not hashed"),
            ("$", "no hash that is known"),
            (&BCRYPT.replacen("$04$", "$15$", 1), "cost of 15 takes too long"),
            (&BCRYPT.replacen("$04$", "$03$", 1), "cost of 3"),
            ("$2b$04$short", "looks like bcrypt and is not"),
            (&SHA_256.replacen("1000", "1000001", 1), "1000001 rounds"),
            (&SHA_256.replacen("1000", "99999999999", 1), "looks like SHA-crypt and is not"),
            (&SHA_256.replacen("rounds=", "round=", 1), "looks like SHA-crypt and is not"),
            ("$6$saltsalt$short", "looks like SHA-crypt and is not"),
            ("$6$$", "looks like SHA-crypt and is not"),
            (&ARGON2.replacen("m=64", "m=262145", 1), "takes too much"),
            (&ARGON2.replacen("t=1", "t=17", 1), "takes too much"),
            (&ARGON2.replacen("t=1", "t=4294967295", 1), "takes too much"),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0", "looks like Argon2 and is not"),
            ("$argon2id$", "looks like Argon2 and is not"),
        ] {
            let told = Hash::parse(text).map(|_| ()).expect_err(text);
            assert!(told.contains(what), "{text}: {told}");
        }
    }

    #[test]
    fn a_file_is_a_user_a_line() {
        let users = Users::parse(&format!("# staff\n\nalice:{BCRYPT}\r\n  böb:{SHA_256}:Bob, since 2019\n"))
            .expect("users");
        let verified = |name: &str| {
            let (hash, exists) = users.hash_of(name.as_bytes());
            exists && hash.verify(b"correct horse")
        };
        assert!(verified("alice") && verified("böb"));
        assert!(!verified("Alice") && !verified("") && !verified("staff"));
        for (text, line, what) in [
            ("", 1, "no user"),
            ("# nobody\n", 1, "no user"),
            ("alice", 1, "a line is a name"),
            (&format!("alice:{BCRYPT}\nbob:x"), 2, "not hashed"),
            (&format!(":{BCRYPT}"), 1, "the name is empty"),
            (&format!("alice:{BCRYPT}\nalice:{ARGON2}"), 2, "`alice` is there twice"),
        ] {
            let (at, told) = Users::parse(text).map(|_| ()).expect_err(text);
            assert!(at == line && told.contains(what), "{text}: line {at}, {told}");
        }
    }

    #[test]
    fn a_hash_is_never_told() {
        let users = Users::parse(&format!("alice:{BCRYPT}")).expect("users");
        assert!(!format!("{users:?}").contains("abcdefgh"));
    }
}
