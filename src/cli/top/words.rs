//! Numbers as people read them on a screen: three digits and a unit.

/// A number of things.
pub(super) fn count(number: f64) -> String {
    scaled(number, 1000.0, &["", " k", " M", " G", " T"], 100_000.0)
}

/// Bytes.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"], 1000.0)
}

fn scaled(mut number: f64, by: f64, units: &[&str], whole_below: f64) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    if number < whole_below {
        return format!("{number:.0}{unit}");
    }
    for next in units {
        if number < by {
            break;
        }
        number /= by;
        unit = next;
    }
    let digits = if number >= 100.0 { 0 } else { usize::from(number < 10.0) + 1 };
    format!("{number:.digits$}{unit}")
}

/// How often a second.
pub(super) fn rate(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        0.0..0.1 => format!("{number:.2}"),
        0.1..100.0 => format!("{number:.1}"),
        _ => count(number),
    }
}

/// A share of one; what is not all is not shown as all.
pub(super) fn share(number: Option<f64>) -> String {
    match number {
        None => "–".to_owned(),
        Some(number) if number > 0.9995 && number < 1.0 => "99.9 %".to_owned(),
        Some(number) => format!("{:.1} %", number * 100.0),
    }
}

/// Microseconds.
pub(super) fn time(micros: Option<f64>) -> String {
    let Some(micros) = micros else { return "–".to_owned() };
    let (number, unit) = match micros {
        ..1e3 => return format!("{micros:.0} µs"),
        ..1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let digits = if number >= 100.0 { 0 } else { usize::from(number < 10.0) + 1 };
    format!("{number:.digits$} {unit}")
}

/// Seconds, by the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Text that cannot command the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (got, expected) in [
            (count(0.0), "0"),
            (count(99_999.0), "99999"),
            (count(123_456.0), "123 k"),
            (count(12_345_678.0), "12.3 M"),
            (bytes(999.0), "999 B"),
            (bytes(1024.0), "1.00 KiB"),
            (bytes(15.5 * 1024.0 * 1024.0), "15.5 MiB"),
            (rate(0.0), "0"),
            (rate(0.05), "0.05"),
            (rate(12.34), "12.3"),
            (rate(1234.5), "1234"),
            (share(Some(0.5)), "50.0 %"),
            (share(Some(0.999_99)), "99.9 %"),
            (share(Some(1.0)), "100.0 %"),
            (share(None), "–"),
            (time(Some(12.0)), "12 µs"),
            (time(Some(1_234.0)), "1.23 ms"),
            (time(Some(12_345_678.0)), "12.3 s"),
            (time(None), "–"),
            (span(59), "59 s"),
            (span(3_700), "1 h 1 min"),
            (span(90_000), "1 d 1 h"),
        ] {
            assert_eq!(got, expected);
        }
        assert_eq!(plain("a\x1b[2Jb"), "a·[2Jb");
    }
}
