//! Texts with Caddy's placeholders as texts with our variables, and its durations and sizes.

use super::super::draft;

/// `text` with our variables, in which a `$` of its own is doubled; `Err` names the first placeholder that has no counterpart.
pub(super) fn template(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '$']) {
        let (before, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(before);
        if let Some(after) = behind.strip_prefix('$') {
            out.push_str("$$");
            rest = after;
            continue;
        }
        let Some((name, after)) = behind.get(1..).and_then(|behind| behind.split_once('}')) else {
            out.push_str(behind);
            return Ok(out);
        };
        rest = after;
        let variable = match name {
            "host" | "http.request.host" | "hostport" | "http.request.hostport" => "${host}",
            "uri" | "http.request.uri" => "${uri}",
            "path" | "http.request.uri.path" => "${path}",
            "query" | "http.request.uri.query" => "${query}",
            "scheme" | "http.request.scheme" => "${scheme}",
            "remote_host" | "client_ip" | "http.request.remote.host" | "http.vars.client_ip" => {
                "${client_ip}"
            }
            "http.request.uuid" => "${request_id}",
            other => match other.rsplit_once('.') {
                Some((group, digit))
                    if (group == "re" || group.starts_with("re.") || group.starts_with("http.regexp"))
                        && digit.len() == 1
                        && digit.bytes().all(|byte| (b'1'..=b'9').contains(&byte)) =>
                {
                    out.push_str("${");
                    out.push_str(digit);
                    "}"
                }
                _ => return Err(format!("{{{other}}}")),
            },
        };
        out.push_str(variable);
    }
    out.push_str(rest);
    Ok(out)
}

/// A duration as ours, of Go's `1m30s`, `500ms`, `2d`.
pub(super) fn duration(text: &str) -> Option<String> {
    let mut total = 0_u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..end)?.parse().ok()?;
        let after = rest.get(end..)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = match after.get(..unit_end)? {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after.get(unit_end..)?;
    }
    (total > 0).then(|| draft::duration(total))
}

/// A size as ours, of `10MB`, `1GiB`, `4096`; decimal units count as binary ones.
pub(super) fn size(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower.strip_prefix(digits)? {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    (bytes > 0).then(|| draft::text(&crate::config::units::size_text(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_of_theirs_are_variables_of_ours() {
        for (claim, text, expected) in [
            ("plain", "/x", Ok("/x")),
            ("whole", "https://www.{host}{uri}", Ok("https://www.${host}${uri}")),
            ("a group", "/new/{re.old.1}", Ok("/new/${1}")),
            ("a group without a name", "/new/{re.2}", Ok("/new/${2}")),
            ("a dollar", "5$", Ok("5$$")),
            ("an open brace", "a{b", Ok("a{b")),
            ("another", "{labels.0}", Err("{labels.0}")),
        ] {
            assert_eq!(template(text), expected.map(str::to_owned).map_err(str::to_owned), "{claim}");
        }
    }

    #[test]
    fn times_and_sizes() {
        for (text, expected) in [
            ("30s", Some("\"30s\"")),
            ("1m30s", Some("\"90s\"")),
            ("500ms", Some("\"500ms\"")),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(duration(text).as_deref(), expected, "{text}");
        }
        assert_eq!(size("10MB").as_deref(), Some("\"10MiB\""));
        assert_eq!(size("many"), None);
    }
}
