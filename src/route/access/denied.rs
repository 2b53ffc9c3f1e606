//! Why a request is refused: in one word for `Cache-Status`, log, metrics and tests, and as a status.

use http::StatusCode;

use super::inspect::Attack;
use crate::respond::failure::Failure;

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The client's address.
    Address,
    /// The country that it is in.
    Country,
    /// It asks too often.
    Rate {
        /// Seconds until it may again.
        retry_after: u32,
    },
    /// Too many of its requests are under way.
    Concurrency,
    /// The page that it comes from.
    Referer,
    /// The URL is not signed.
    SignatureMissing,
    /// It is signed by somebody else, or changed since.
    SignatureWrong,
    /// It was good once.
    SignatureExpired,
    /// It names nobody.
    CredentialsMissing,
    /// Whom it names is not there, or the password is another.
    CredentialsWrong,
    /// Too many passwords wait to be verified.
    CredentialsBusy,
    /// It is an attack.
    Attack(Attack),
    /// There is more of it than is looked into.
    InspectionLimit,
    /// Too many wait to be looked into.
    InspectionBusy,
    /// The engine that looks into it broke.
    InspectionFailed,
}

impl Denied {
    /// The same of a rule that is only tried.
    pub const fn as_tried(self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate-limited-dry-run",
            Self::Attack(attack) => attack.as_detected(),
            Self::InspectionLimit => "inspection-limit-detected",
            Self::InspectionFailed => "inspection-failed-detected",
            _ => "concurrency-limited-dry-run",
        }
    }

    /// A stable word for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address-denied",
            Self::Country => "country-denied",
            Self::Rate { .. } => "rate-limited",
            Self::Concurrency => "concurrency-limited",
            Self::Referer => "referer-denied",
            Self::SignatureMissing => "signature-missing",
            Self::SignatureWrong => "signature-wrong",
            Self::SignatureExpired => "signature-expired",
            Self::CredentialsMissing => "credentials-missing",
            Self::CredentialsWrong => "credentials-wrong",
            Self::CredentialsBusy => "credentials-busy",
            Self::Attack(attack) => attack.as_str(),
            Self::InspectionLimit => "inspection-limit",
            Self::InspectionBusy => "inspection-busy",
            Self::InspectionFailed => "inspection-failed",
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::SignatureExpired => Self::new(StatusCode::GONE, denied.as_str()),
            Denied::Address
            | Denied::Country
            | Denied::Referer
            | Denied::SignatureMissing
            | Denied::SignatureWrong
            | Denied::Attack(_)
            | Denied::InspectionFailed => Self::new(StatusCode::FORBIDDEN, denied.as_str()),
            Denied::InspectionLimit => Self::new(StatusCode::PAYLOAD_TOO_LARGE, denied.as_str()),
            Denied::Rate { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, denied.as_str()).retry_after(retry_after)
            }
            Denied::Concurrency => Self::new(StatusCode::TOO_MANY_REQUESTS, denied.as_str()).retry_after(1),
            Denied::CredentialsMissing | Denied::CredentialsWrong => {
                Self::new(StatusCode::UNAUTHORIZED, denied.as_str())
            }
            Denied::CredentialsBusy | Denied::InspectionBusy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, denied.as_str()).retry_after(1)
            }
        }
    }
}
