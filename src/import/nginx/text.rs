//! Texts with nginx's variables as texts with ours, and its times and sizes.

use super::super::draft;

/// `text` with our variables, in which a `$` of its own is doubled; `Err` names the first variable that has no counterpart.
/// `captures`: `$1` to `$9` are groups of the place's pattern.
pub(super) fn template(text: &str, server_name: &str, captures: bool) -> Result<String, String> {
    // Path and query in their many spellings are one variable of ours.
    let mut text = text.to_owned();
    for whole in [
        "$uri$is_args$args",
        "$uri$is_args$query_string",
        "$document_uri$is_args$args",
        "$uri?$args",
        "$uri?$query_string",
    ] {
        text = text.replace(whole, "$request_uri");
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let behind = rest.get(at.saturating_add(1)..).unwrap_or_default();
        let (name, after) = name(behind);
        rest = after;
        match name {
            "" => out.push_str("$$"),
            "host" | "http_host" => out.push_str("${host}"),
            "request_uri" => out.push_str("${uri}"),
            "uri" | "document_uri" => out.push_str("${path}"),
            "args" | "query_string" => out.push_str("${query}"),
            "scheme" => out.push_str("${scheme}"),
            "remote_addr" | "realip_remote_addr" => out.push_str("${client_ip}"),
            "request_id" => out.push_str("${request_id}"),
            "server_name" if !server_name.is_empty() && server_name != "*" => out.push_str(server_name),
            digit
                if captures
                    && digit.len() == 1
                    && digit.bytes().all(|byte| (b'1'..=b'9').contains(&byte)) =>
            {
                out.push_str("${");
                out.push_str(digit);
                out.push('}');
            }
            other => return Err(other.to_owned()),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A variable's name and what follows it.
fn name(text: &str) -> (&str, &str) {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.split_once('}').unwrap_or((braced, ""));
    }
    let end = if text.starts_with(|c: char| c.is_ascii_digit()) {
        1
    } else {
        text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
    };
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A text in which no variable stands.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains('$')
}

/// Milliseconds in nginx's `1d 2h 30m 15s 500ms`, `90` (seconds) and such.
pub(super) fn millis(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..end)?.parse().ok()?;
        let after = rest.get(end..)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = match after.get(..unit_end)? {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after.get(unit_end..)?.trim_start();
    }
    Some(total)
}

/// Bytes in nginx's `10m`, `512k`, `1g` and plain numbers.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match lower.strip_prefix(digits)? {
        "" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration as ours.
pub(super) fn duration(text: &str) -> Option<String> {
    millis(text).filter(|millis| *millis > 0).map(draft::duration)
}

/// A size as ours.
pub(super) fn size(text: &str) -> Option<String> {
    bytes(text).filter(|bytes| *bytes > 0).map(|bytes| draft::text(&crate::config::units::size_text(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_theirs_are_variables_of_ours() {
        for (claim, text, expected) in [
            ("plain text", "/x", Ok("/x")),
            ("path and query", "https://$host$request_uri", Ok("https://${host}${uri}")),
            ("in pieces", "https://a$uri$is_args$args", Ok("https://a${uri}")),
            ("with braces", "${scheme}://b${document_uri}", Ok("${scheme}://b${path}")),
            ("the server's name is a text", "https://$server_name/", Ok("https://www.a.example/")),
            ("a group", "/new/$1x", Ok("/new/${1}x")),
            ("a dollar at the end", "5$", Ok("5$$")),
            ("a cookie", "$cookie_lang", Err("cookie_lang")),
        ] {
            let told = template(text, "www.a.example", true);
            assert_eq!(told, expected.map(str::to_owned).map_err(str::to_owned), "{claim}");
        }
        assert_eq!(template("$1", "", false), Err("1".to_owned()), "no group where the pattern has none");
    }

    #[test]
    fn times_and_sizes() {
        for (text, expected) in [
            ("90", Some(90_000)),
            ("1m", Some(60_000)),
            ("1h 30m", Some(5_400_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("1M", Some(30 * 86_400_000)),
            ("soon", None),
            ("", None),
            ("99999999999999999999y", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        for (text, expected) in
            [("10m", Some(10 << 20)), ("1G", Some(1 << 30)), ("4096", Some(4096)), ("1x", None), ("m", None)]
        {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
