//! HTTP dates: the text an origin or a client wrote, as a moment.
//!
//! All three forms of RFC 9110 §5.6.7 are read, and read robustly, as it asks: the weekday is not checked against the
//! date (it says nothing the date does not), letters count in any case, and words may be parted by any run of spaces,
//! commas and hyphens. A date in another zone than GMT, or one that the calendar does not have, is none; what that
//! means is the caller's to say (an unreadable `Expires` is in the past, an unreadable `Date` is not there).

use http::HeaderName;

use super::Fields;
use crate::timestamp::Timestamp;

/// The moment an HTTP-date names; `None` when `value` is not one, or is before 1970. Whole seconds.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let mut words =
        value.split(|byte| matches!(byte, b' ' | b'\t' | b',' | b'-')).filter(|word| !word.is_empty());
    let mut next = || words.next();
    let weekday = next()?;
    let (first, second, third, fourth) = (next()?, next()?, next()?, next()?);
    let (day, month, year, time) = match (month(first), next()) {
        // asctime: no zone, and the year last.
        (Some(month), None) => (number(second, 2)?, month, full_year(fourth)?, third),
        (None, Some(zone)) if zone.eq_ignore_ascii_case(b"GMT") || zone.eq_ignore_ascii_case(b"UTC") => {
            (number(first, 2)?, month(second)?, full_year(third)?, fourth)
        }
        _ => return None,
    };
    let named = weekday.len() >= 3 && weekday.iter().all(u8::is_ascii_alphabetic);
    if !named || words.next().is_some() {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    Some(Timestamp::from_secs(days * 86_400 + seconds_of_day(time)?))
}

/// `08:49:37`; a leap second counts as the one before it.
fn seconds_of_day(text: &[u8]) -> Option<u64> {
    let mut parts = text.split(|byte| *byte == b':');
    let (hour, minute, second) =
        (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let valid = hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    valid.then_some(hour * 3600 + minute * 60 + second.min(59))
}

/// Four digits, or two: those below 70 are of this century.
fn full_year(text: &[u8]) -> Option<u64> {
    let year = number(text, 4)?;
    match text.len() {
        4 if year >= 1970 => Some(year),
        2 if year < 70 => Some(2000 + year),
        2 => Some(1900 + year),
        _ => None,
    }
}

/// One to twelve.
fn month(text: &[u8]) -> Option<u64> {
    const NAMES: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    (1..).zip(NAMES).find(|(_, name)| text.eq_ignore_ascii_case(name)).map(|(number, _)| number)
}

/// At most `digits` digits and at least one.
fn number(text: &[u8], digits: usize) -> Option<u64> {
    let fits = !text.is_empty() && text.len() <= digits && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` when it has no such day. `year` is 1970 or later.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(leap),
        _ => 31,
    };
    if day == 0 || day > length {
        return None;
    }
    // Counted in years that begin in March, so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(DAYS_TO_1970)
}

/// From 1 March of year 0 to 1 January 1970.
const DAYS_TO_1970: u64 = 719_468;

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
    pub fn of<F: Fields>(fields: &F, name: &HeaderName) -> Self {
        let mut lines = fields.values(name);
        let Some(first) = lines.next() else { return Self::Absent };
        if lines.any(|line| line != first) {
            return Self::Unreadable;
        }
        parse(first).map_or(Self::Unreadable, Self::At)
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
    fn a_date_is_read_in_all_three_forms_and_robustly() {
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
            ("the epoch", "Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("past 2038", "Tue, 19 Jan 2038 03:14:08 GMT", Some(1 << 31)),
            ("the last there is", "Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("a leap day", "Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("a leap second is the one before", "Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_799)),
            ("any weekday will do", "Mon, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("any case", "sun, 06 NOV 1994 08:49:37 gmt", Some(784_111_777)),
            ("any spaces", "Sun 06  Nov 1994 8:49:37 GMT", Some(784_111_777)),
            ("hyphens and a full year", "Sun, 06-Nov-1994 08:49:37 GMT", Some(784_111_777)),
            ("UTC is GMT", "Sun, 06 Nov 1994 08:49:37 UTC", Some(784_111_777)),
            ("another zone is not", "Sun, 06 Nov 1994 08:49:37 AEST", None),
            ("nor is an offset", "Sun, 06 Nov 1994 08:49:37 +0100", None),
            ("nor is none", "Sun, 06 Nov 1994 08:49:37", None),
            ("before 1970", "Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("a day that does not exist", "Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("no leap day in 1900's kin", "Sun, 29 Feb 2100 08:49:37 GMT", None),
            ("an hour that does not exist", "Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("points for colons", "Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("no weekday", "06 Nov 1994 08:49:37 GMT", None),
            ("something after it", "Sun, 06 Nov 1994 08:49:37 GMT x", None),
        ];
        for (claim, text, secs) in rows {
            assert_eq!(parse(text.as_bytes()), secs.map(Timestamp::from_secs), "{claim}");
        }
    }

    #[test]
    fn every_day_is_read_as_it_is_written() {
        // A step prime to the week, the day and the year, over all years that can be written.
        for days in (0..2_932_896_u64).step_by(37) {
            let secs = days * 86_400 + days % 86_400;
            let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs));
            assert_eq!(parse(text.as_bytes()), Some(Timestamp::from_secs(secs)), "{text}");
        }
    }
}
