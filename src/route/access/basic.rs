//! Basic authentication (RFC 7617): a name and a password before anything is answered.
//!
//! ```text
//! Authorization ─► known to be right ───────────────► admitted       (in the call itself: a keyed hash and a look into a table)
//!        │       └► known to be wrong, or unreadable ─► 401
//!        └────────► neither ─► verified on a thread of its own, and known from then on
//! ```
//!
//! The field ends here unless the route says `forward = true`: the origin does not see it, and what it answers may be stored for all
//! who are admitted. With `forward = true` it is the origin's, and RFC 9111 §3.5 holds: what it answers is stored only where it says
//! that it is for everybody.
//!
//! Invariant: nobody is admitted whose very field value was not verified in this process; what is kept of it is a hash under a
//! secret of the process. Verifications at once, and those that wait, are bounded over all routes that share the users.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64ct::{Base64, Encoding as _};
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::users::{Hash, Users};
use super::{Denied, SetupError};
use crate::config::access::Basic;
use crate::config::limits::{
    ACCESS_CREDENTIALS_BYTES_MAX, ACCESS_CREDENTIALS_KNOWN_MAX, ACCESS_USERS_BYTES_MAX,
    ACCESS_VERIFICATIONS_MAX, ACCESS_VERIFICATIONS_WAITING_MAX,
};
use crate::listener::fields::{FieldId, Fields};

/// The users of a rule, and who of them has shown it.
pub(super) struct BasicRule {
    users: Users,
    /// Whether the origin sees the field.
    forward: bool,
    /// The value of `WWW-Authenticate`.
    challenge: Box<str>,
    /// Of field values that were verified, whether they were right.
    known: RwLock<HashMap<u128, bool>>,
    secret: [u8; 32],
    verifying: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What is to be found out before a request can be answered.
pub struct Verification {
    rule: Arc<BasicRule>,
    hash: Hash,
    /// Whether there is such a user.
    exists: bool,
    password: Box<[u8]>,
    /// Of the field value.
    digest: u128,
}

/// What is known of a request's credentials at once.
pub(super) enum Shown {
    Known(Result<(), Denied>),
    Unknown(Verification),
}

impl BasicRule {
    /// The rule; reads its users.
    pub(super) fn of(rule: &Basic) -> Result<Self, SetupError> {
        let users = users(&rule.users)?;
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| SetupError::Randomness)?;
        Ok(Self {
            users,
            forward: rule.forward,
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", rule.realm).into(),
            known: RwLock::default(),
            secret,
            verifying: Arc::new(Semaphore::new(ACCESS_VERIFICATIONS_MAX)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// What the fields of a request show.
    pub(super) fn look(self: &Arc<Self>, fields: &Fields) -> Shown {
        let mut lines = fields.all(FieldId::Authorization);
        let Some(value) = lines.next() else { return Shown::Known(Err(Denied::CredentialsMissing)) };
        // Of two, each program takes another.
        if lines.next().is_some() || value.len() > ACCESS_CREDENTIALS_BYTES_MAX {
            return Shown::Known(Err(Denied::CredentialsWrong));
        }
        let digest = self.digest(value);
        if let Some(right) = self.known.read().get(&digest) {
            return Shown::Known(if *right { Ok(()) } else { Err(Denied::CredentialsWrong) });
        }
        match credentials(value) {
            None => Shown::Known(Err(Denied::CredentialsWrong)),
            Some((name, password)) => {
                let (hash, exists) = self.users.hash_of(&name);
                Shown::Unknown(Verification { rule: Arc::clone(self), hash, exists, password, digest })
            }
        }
    }

    /// Whether they are the users of another rule, with the same passwords.
    pub(super) fn has_users_of(&self, other: &Self) -> bool {
        self.users == other.users
    }

    /// Whether the field ends here.
    pub(super) const fn consumes(&self) -> bool {
        !self.forward
    }

    /// The value of `WWW-Authenticate`.
    pub(super) fn challenge(&self) -> &str {
        &self.challenge
    }

    fn digest(&self, value: &[u8]) -> u128 {
        let hash = blake3::keyed_hash(&self.secret, value);
        hash.as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
    }

    fn remember(&self, digest: u128, right: bool) {
        let mut known = self.known.write();
        if known.len() >= ACCESS_CREDENTIALS_KNOWN_MAX {
            // What guessing left goes first: it must not push out who is known.
            known.retain(|_, right| *right);
        }
        if known.len() >= ACCESS_CREDENTIALS_KNOWN_MAX {
            known.clear();
        }
        known.insert(digest, right);
    }
}

impl Verification {
    /// Whether the credentials are right. Cancel by dropping: a verification that has begun ends on its thread, is remembered, and
    /// counts among those at once until then, so nobody makes more of them by going away.
    ///
    /// # Errors
    /// [`Denied`]: they are not, or too many others wait to be verified.
    pub async fn run(self) -> Result<(), Denied> {
        let Self { rule, hash, exists, password, digest } = self;
        let waiting = Waiting::enter(&rule.waiting).ok_or(Denied::CredentialsBusy)?;
        // Never closed.
        let permit =
            Arc::clone(&rule.verifying).acquire_owned().await.map_err(|_| Denied::CredentialsBusy)?;
        drop(waiting);
        // Whoever sent the same may have been before.
        let known = rule.known.read().get(&digest).copied();
        let right = if let Some(right) = known {
            Ok(right)
        } else {
            let verifying = Arc::clone(&rule);
            let verified = tokio::task::spawn_blocking(move || {
                let right = hash.verify(&password) && exists;
                verifying.remember(digest, right);
                drop(permit);
                right
            });
            verified.await.map_err(|_| Denied::CredentialsBusy)
        };
        if right? { Ok(()) } else { Err(Denied::CredentialsWrong) }
    }
}

/// One who waits to be verified.
struct Waiting<'r>(&'r AtomicUsize);

impl<'r> Waiting<'r> {
    fn enter(waiting: &'r AtomicUsize) -> Option<Self> {
        let entered = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < ACCESS_VERIFICATIONS_WAITING_MAX).then_some(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Debug for BasicRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicRule")
            .field("users", &self.users)
            .field("forward", &self.forward)
            .finish_non_exhaustive()
    }
}

/// Name and password.
pub(super) type Credentials = (Box<[u8]>, Box<[u8]>);

/// Name and password of a field value; `None` where it is not `Basic` and base64 of a name, a colon and a password.
pub(super) fn credentials(value: &[u8]) -> Option<Credentials> {
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.starts_with(b" ") {
        return None;
    }
    let text = std::str::from_utf8(rest.trim_ascii()).ok()?;
    let pair = Base64::decode_vec(text).ok()?;
    let colon = memchr::memchr(b':', &pair)?;
    let (name, password) = pair.split_at_checked(colon)?;
    Some((name.into(), password.get(1..)?.into()))
}

/// The users of a file.
pub(super) fn users(path: &Path) -> Result<Users, SetupError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(ACCESS_USERS_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| SetupError::File { path: path.to_owned(), source })?;
    Users::parse(&text).map_err(|(line, what)| SetupError::Line { path: path.to_owned(), line, what })
}

const SCHEME: &[u8] = b"Basic";

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Arc<BasicRule> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidegate-users-{}-{number}", std::process::id()));
        let hash = bcrypt::hash("open:sesame", 4).expect("a cost that is allowed");
        std::fs::write(&path, format!("ali:{hash}\n")).expect("it is written");
        let rule = BasicRule::of(&Basic { users: path.clone(), realm: "cave".into(), forward: false });
        std::fs::remove_file(path).expect("it is removed");
        Arc::new(rule.expect("a rule"))
    }

    fn fields(value: &str) -> Fields {
        Fields::pack([(&b"authorization"[..], value.as_bytes())].into_iter())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", Base64::encode_string(pair.as_bytes()))
    }

    #[tokio::test]
    async fn what_was_verified_is_known_from_then_on_and_nothing_else_is() {
        let rule = rule();
        for (pair, right) in [
            ("ali:open:sesame", true),
            ("ali:open", false),
            ("ali:", false),
            ("baba:open:sesame", false),
            (":", false),
        ] {
            let shown = fields(&basic(pair));
            let Shown::Unknown(verification) = rule.look(&shown) else { panic!("{pair} is known already") };
            assert_eq!(verification.run().await.is_ok(), right, "{pair}");
            let Shown::Known(known) = rule.look(&shown) else { panic!("{pair} is not remembered") };
            assert_eq!(known, if right { Ok(()) } else { Err(Denied::CredentialsWrong) }, "{pair}");
        }
    }

    #[test]
    fn what_is_no_basic_credentials_is_wrong_at_once() {
        let rule = rule();
        let long = basic(&"a".repeat(ACCESS_CREDENTIALS_BYTES_MAX));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic !!!!",
            "Bearer YTpi",
            "BasicYTpi",
            "Basic YWI=",
            "Basic YTpi=",
            "Basic YT pi",
            &long,
        ] {
            let Shown::Known(Err(denied)) = rule.look(&fields(value)) else { panic!("{value} is taken") };
            assert_eq!(denied, Denied::CredentialsWrong, "{value}");
        }
        assert!(matches!(rule.look(&Fields::default()), Shown::Known(Err(Denied::CredentialsMissing))));
        let right = basic("ali:open:sesame");
        let twice = [&right, &right].map(|value| (&b"authorization"[..], value.as_bytes()));
        let twice = Fields::pack(twice.into_iter());
        assert!(matches!(rule.look(&twice), Shown::Known(Err(Denied::CredentialsWrong))), "two of them");
    }

    #[tokio::test]
    async fn whoever_finds_too_many_waiting_is_sent_away_and_known_users_are_not() {
        let rule = rule();
        let known = fields(&basic("ali:open:sesame"));
        let Shown::Unknown(verification) = rule.look(&known) else { panic!("not yet") };
        verification.run().await.expect("the password is right");
        let waiting: Vec<_> =
            (0..ACCESS_VERIFICATIONS_WAITING_MAX).map(|_| Waiting::enter(&rule.waiting)).collect();
        let Shown::Unknown(verification) = rule.look(&fields(&basic("ali:x"))) else { panic!("not yet") };
        assert_eq!(verification.run().await, Err(Denied::CredentialsBusy));
        assert!(matches!(rule.look(&known), Shown::Known(Ok(()))));
        drop(waiting);
        assert_eq!(rule.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_who_goes_away_makes_no_room_for_more_verifications_than_are_allowed() {
        let rule = rule();
        let shown = fields(&basic("ali:guess"));
        let Shown::Unknown(verification) = rule.look(&shown) else { panic!("not yet") };
        let mut running = Box::pin(verification.run());
        // Begun; a quick machine may even have ended it.
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(running.as_mut().poll(cx))).await;
        drop(running);
        // Its place is free when it has been remembered, and not before.
        let every = u32::try_from(ACCESS_VERIFICATIONS_MAX).expect("few");
        let _all = rule.verifying.acquire_many(every).await.expect("never closed");
        assert!(matches!(rule.look(&shown), Shown::Known(Err(Denied::CredentialsWrong))));
    }

    #[test]
    fn guessing_is_forgotten_before_those_who_are_known() {
        let rule = rule();
        rule.remember(1, true);
        for guess in 0..3 * ACCESS_CREDENTIALS_KNOWN_MAX as u128 {
            rule.remember(guess + 2, false);
        }
        let known = rule.known.read();
        assert!(known.len() <= ACCESS_CREDENTIALS_KNOWN_MAX && known.get(&1) == Some(&true));
    }
}
