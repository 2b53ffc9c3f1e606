//! HTTP dates: the text an origin or a client wrote, as a moment.
//!
//! All three forms of RFC 9110 §5.6.7 are read; anything else is `None`, and what that means is the caller's to say
//! (an unreadable `Expires` is in the past, an unreadable `Date` is not there).

use std::time::UNIX_EPOCH;

use http::{HeaderMap, HeaderName};

use crate::timestamp::Timestamp;

/// The moment an HTTP-date names; `None` when `value` is not one. Whole seconds.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let moment = httpdate::parse_http_date(text.trim()).ok()?;
    Some(Timestamp::from_secs(moment.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

/// What a field that holds one date says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DateField {
    /// There is no such field.
    Absent,
    /// There is one, and it cannot be read, or there are several that differ.
    Unreadable,
    /// It names this moment.
    At(Timestamp),
}

impl DateField {
    /// Reads the field called `name`. Equal repetitions count as one (RFC 9111 §4.2.1).
    pub fn of(fields: &HeaderMap, name: &HeaderName) -> Self {
        let mut lines = fields.get_all(name).iter();
        let Some(first) = lines.next() else { return Self::Absent };
        if lines.any(|line| line != first) {
            return Self::Unreadable;
        }
        parse(first.as_bytes()).map_or(Self::Unreadable, Self::At)
    }

    /// The moment, where there is one.
    pub fn moment(self) -> Option<Timestamp> {
        match self {
            Self::At(moment) => Some(moment),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_all_three_forms_and_in_no_other() {
        let rows: &[(&str, &str, Option<u64>)] = &[
            ("IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("asctime", "Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            (
                "a two-digit year below 70 is of this century",
                "Thursday, 18-Aug-50 02:01:18 GMT",
                Some(2_544_400_878),
            ),
            ("zero is not a date", "0", None),
            ("minus one is not a date", "-1", None),
            ("nothing is not a date", "", None),
            ("an offset is not GMT", "Sun, 06 Nov 1994 08:49:37 +0100", None),
            ("a day that does not exist", "Sun, 31 Feb 1994 08:49:37 GMT", None),
        ];
        for (claim, text, secs) in rows {
            assert_eq!(parse(text.as_bytes()), secs.map(Timestamp::from_secs), "{claim}");
        }
    }
}
