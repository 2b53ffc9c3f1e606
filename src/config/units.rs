//! Sizes and durations, from text and back.
//!
//! What is printed reads back as the same value, so `config --effective` can be fed to `check`.

use std::time::Duration;

use super::mistake::Complaint;

/// Bytes in `512MiB`, `64 KiB`, `2GB`, `1g` or `0`. `KiB` and its kin, and single letters as nginx writes them, count in
/// powers of 1024; `kB`, `MB`, `GB` and `TB` in powers of 1000. Case does not matter.
///
/// # Errors
/// There is no unit, none we know, or more than 2⁶⁴ bytes.
pub fn size(text: &str) -> Result<u64, Complaint> {
    let complaint =
        |label: &str, help: String| Complaint::new("size", format!("`{text}` is not a size"), label, help);
    let (digits, unit) = split(text);
    let unit = unit.trim();
    let number: u64 = match digits.parse() {
        Ok(number) => number,
        Err(_) if digits.is_empty() => return Err(complaint("no number", EXAMPLE_SIZE.to_owned())),
        Err(_) => return Err(complaint("too large a number", EXAMPLE_SIZE.to_owned())),
    };
    if unit.is_empty() {
        return match number {
            0 => Ok(0),
            _ => Err(complaint(
                "no unit",
                format!("write \"{number}MiB\" if mebibytes are meant; also KiB, GiB, TiB"),
            )),
        };
    }
    if unit.starts_with('.') {
        return Err(complaint(
            "not a whole number",
            "write a whole number of the next smaller unit, like \"1536MiB\"".to_owned(),
        ));
    }
    let lower = unit.to_ascii_lowercase();
    let Some((_, bytes)) = SIZE_UNITS.iter().find(|(names, _)| names.contains(&lower.as_str())) else {
        return Err(complaint("no unit of size", EXAMPLE_SIZE.to_owned()));
    };
    number.checked_mul(*bytes).ok_or_else(|| complaint("more than any machine has", EXAMPLE_SIZE.to_owned()))
}

/// The shortest exact way to write `bytes`.
pub fn size_text(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    units
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// The duration in `90s`, `10m`, `30d`, `250ms`, `1h30m` or `0`.
///
/// # Errors
/// There is no unit, none we know, or more than 2⁶⁴ milliseconds.
pub fn duration(text: &str) -> Result<Duration, Complaint> {
    let complaint = |label: &str, help: String| {
        Complaint::new("duration", format!("`{text}` is not a duration"), label, help)
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(complaint("no number", EXAMPLE_DURATION.to_owned()));
    }
    while !rest.is_empty() {
        let (digits, after) = split(rest);
        let number: u64 = match digits.parse() {
            Ok(number) => number,
            Err(_) if digits.is_empty() => return Err(complaint("no number", EXAMPLE_DURATION.to_owned())),
            Err(_) => return Err(complaint("too large a number", EXAMPLE_DURATION.to_owned())),
        };
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() && next.starts_with('.') {
            let help = "write a whole number of a smaller unit, like \"1500ms\"";
            return Err(complaint("not a whole number", help.to_owned()));
        }
        if unit.is_empty() {
            let help = format!("write \"{number}s\" if seconds are meant; also ms, m, h, d, w");
            return Err(complaint("no unit", help));
        }
        let Some((_, unit)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(complaint("no unit of time", EXAMPLE_DURATION.to_owned()));
        };
        millis = number
            .checked_mul(*unit)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| complaint("longer than time itself", EXAMPLE_DURATION.to_owned()))?;
        rest = next.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// The shortest exact way to write `duration`, down to milliseconds.
pub fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    // A week is no unit anybody expects to read.
    let found =
        DURATION_UNITS.iter().filter(|(name, _)| *name != "w").find(|(_, unit)| millis.is_multiple_of(*unit));
    found.map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
}

/// Leading digits and what follows.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

const EXAMPLE_SIZE: &str = "write a whole number and a unit, like \"512MiB\" or \"2GiB\"";
const EXAMPLE_DURATION: &str = "write a whole number and a unit, like \"250ms\", \"90s\", \"10m\" or \"30d\"";

const SIZE_UNITS: [(&[&str], u64); 9] = [
    (&["b"], 1),
    (&["kib", "k"], 1 << 10),
    (&["mib", "m"], 1 << 20),
    (&["gib", "g"], 1 << 30),
    (&["tib", "t"], 1 << 40),
    (&["kb"], 1000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
    (&["tb"], 1_000_000_000_000),
];

/// Largest first.
const DURATION_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (claim, text, expected) in [
            ("mebibytes count in 1024s", "512MiB", Ok(512 << 20)),
            ("a space may stand before the unit", "64 KiB", Ok(64 << 10)),
            ("megabytes count in thousands", "2MB", Ok(2_000_000)),
            ("a single letter is nginx's", "1g", Ok(1 << 30)),
            ("case does not matter", "3gib", Ok(3 << 30)),
            ("bytes may be named", "10B", Ok(10)),
            ("nothing needs no unit", "0", Ok(0)),
            ("a bare number is refused", "512", Err("no unit")),
            ("a fraction is refused", "1.5GiB", Err("not a whole number")),
            ("a negative size is refused", "-1MiB", Err("no number")),
            ("a unit of time is refused", "10s", Err("no unit of size")),
            ("no size overflows", "99999999TiB", Err("more than any machine has")),
            ("no number overflows", "99999999999999999999999MiB", Err("too large a number")),
            ("nothing is no size", "", Err("no number")),
        ] {
            assert_eq!(
                size(text).map_err(|complaint| complaint.label),
                expected.map_err(str::to_owned),
                "{claim}"
            );
        }
    }

    #[test]
    fn durations() {
        for (claim, text, expected) in [
            ("seconds", "90s", Ok(90_000)),
            ("minutes are not months", "10m", Ok(600_000)),
            ("days", "30d", Ok(2_592_000_000)),
            ("weeks", "1w", Ok(604_800_000)),
            ("milliseconds are not minutes", "250ms", Ok(250)),
            ("units may follow each other", "1h30m", Ok(5_400_000)),
            ("nothing needs no unit", "0", Ok(0)),
            ("a bare number is refused", "60", Err("no unit")),
            ("a fraction is refused", "1.5h", Err("not a whole number")),
            ("a word is refused", "soon", Err("no number")),
            ("an unknown unit is refused", "5y", Err("no unit of time")),
            ("no duration overflows", "18446744073709551615d", Err("longer than time itself")),
            ("nothing is no duration", "", Err("no number")),
        ] {
            assert_eq!(
                duration(text).map_err(|complaint| complaint.label),
                expected.map(Duration::from_millis).map_err(str::to_owned),
                "{claim}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back(bytes: u64) {
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn a_printed_duration_reads_back(millis: u64) {
            let duration_ = Duration::from_millis(millis);
            prop_assert_eq!(duration(&duration_text(duration_)), Ok(duration_));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (size(&text), duration(&text));
        }
    }
}
