//! The time in a log line, written once a second and patched in between.
//!
//! Proleptic Gregorian, UTC. Days become dates by Howard Hinnant's `civil_from_days`.

/// Milliseconds since the epoch of a text as [`SecondText::iso`] writes it.
#[cfg(feature = "otlp")]
pub(super) fn millis_of_iso(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // The inverse of `civil`: years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let of_era =
        year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + (153 * month + 2) / 5 + day.checked_sub(1)?;
    let days = (year / 400 * 146_097 + of_era).checked_sub(719_468)?;
    let seconds = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1000 + number(20, 23)?)
}

/// The texts of one second: ISO 8601 for JSON lines, Common Log Format for the combined format.
#[derive(Debug)]
pub(crate) struct SecondText {
    second: u64,
    iso: [u8; 24],
    clf: [u8; 26],
}

impl SecondText {
    pub(crate) fn new() -> Self {
        let mut text =
            Self { second: 0, iso: *b"1970-01-01T00:00:00.000Z", clf: *b"01/Jan/1970:00:00:00 +0000" };
        text.write(0);
        text
    }

    /// `2026-11-21T10:47:02.123Z` for this many milliseconds since the epoch.
    #[inline]
    pub(crate) fn iso(&mut self, millis: u64) -> &[u8; 24] {
        self.move_to(millis / 1000);
        write_number(&mut self.iso[20..23], millis % 1000);
        &self.iso
    }

    /// `21/Nov/2026:10:47:02 +0000` for this many milliseconds since the epoch.
    #[inline]
    pub(crate) fn clf(&mut self, millis: u64) -> &[u8; 26] {
        self.move_to(millis / 1000);
        &self.clf
    }

    #[inline]
    fn move_to(&mut self, second: u64) {
        if second != self.second {
            self.write(second);
        }
    }

    #[cold]
    fn write(&mut self, second: u64) {
        self.second = second;
        let (year, month, day) = civil(second / 86_400);
        let (hour, minute, sec) = (second / 3600 % 24, second / 60 % 60, second % 60);
        for (at, len, number) in
            [(0, 4, year), (5, 2, month), (8, 2, day), (11, 2, hour), (14, 2, minute), (17, 2, sec)]
        {
            write_number(&mut self.iso[at..at + len], number);
        }
        for (at, len, number) in [(0, 2, day), (7, 4, year), (12, 2, hour), (15, 2, minute), (18, 2, sec)] {
            write_number(&mut self.clf[at..at + len], number);
        }
        // `civil` gives months from 1 to 12.
        let name = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&MONTHS[0]);
        self.clf[3..6].copy_from_slice(*name);
    }
}

/// Year, month and day of a day counted from 1970-01-01. Years beyond 9999 lose their leading digits when written.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The lowest digits of `number`, as many as `text` has room for.
fn write_number(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        #[allow(clippy::cast_possible_truncation)] // below ten
        let low = (number % 10) as u8;
        *digit = b'0' + low;
        number /= 10;
    }
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_of_a_moment() {
        let mut text = SecondText::new();
        for (claim, millis, iso, clf) in [
            ("the epoch", 0, "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000"),
            ("a leap day", 951_782_400_999, "2000-02-29T00:00:00.999Z", "29/Feb/2000:00:00:00 +0000"),
            (
                "the second after it",
                951_868_800_001,
                "2000-03-01T00:00:00.001Z",
                "01/Mar/2000:00:00:00 +0000",
            ),
            (
                "the end of a year",
                1_798_761_599_120,
                "2026-12-31T23:59:59.120Z",
                "31/Dec/2026:23:59:59 +0000",
            ),
            (
                "a century without leap day",
                4_107_542_400_000,
                "2100-03-01T00:00:00.000Z",
                "01/Mar/2100:00:00:00 +0000",
            ),
        ] {
            assert_eq!(std::str::from_utf8(text.iso(millis)).unwrap(), iso, "{claim}");
            assert_eq!(std::str::from_utf8(text.clf(millis)).unwrap(), clf, "{claim}");
        }
    }

    #[test]
    fn the_end_of_time_is_written_without_panic() {
        assert_eq!(SecondText::new().iso(u64::MAX).len(), 24);
    }

    #[test]
    fn dates_agree_with_httpdate() {
        let mut text = SecondText::new();
        for day in (0..60_000u64).step_by(7) {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
            let theirs = httpdate::fmt_http_date(at);
            let ours = String::from_utf8(text.clf(day * 86_400_000).to_vec()).unwrap();
            assert_eq!(ours[..11].replace('/', " "), theirs[5..16]);
        }
    }
}
