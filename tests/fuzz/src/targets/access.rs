//! What access rules read of clients and of files: `route/access/`.

use tidegate::config::value;
use tidegate::fuzzing::{
    admits_page, credentials, inspected, inspected_values, listed_network, signature, users,
};

use super::lines;
use crate::reached;

/// No target is good under a key that nobody has, whatever it says; what a page is admitted by is its host.
pub fn access_requests(data: &[u8]) {
    for line in lines(data).take(8) {
        let said = signature(line);
        assert_ne!(said, "good", "{}", line.escape_ascii());
        reached(said);
        // A second reading of URLs, as far as a page's origin goes: what stands behind it is nobody's business here.
        let page = line.trim_ascii();
        let admitted = admits_page(page);
        if admitted {
            let from = page.windows(3).position(|three| three == b"://").map_or(0, |at| at + 3);
            let rest = page.get(from..).unwrap_or_default();
            let length = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
            let text = page.get(..from + length).and_then(|origin| std::str::from_utf8(origin).ok());
            let text = text.unwrap_or_else(|| panic!("admitted by {}", page.escape_ascii()));
            let url: http::Uri = text.parse().unwrap_or_else(|_| panic!("admitted, and no URL: {text}"));
            let host = url.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
            let is_known = host == "friend.test" || host == "own.test" || host.ends_with(".family.test");
            assert!(is_known, "{text} is admitted by {host}");
        }
        reached(("page", admitted));
        let shown = credentials(line);
        if let Some((name, _)) = &shown {
            assert!(!name.contains(&b':'), "a name ends at the first colon");
        }
        reached(("credentials", shown.map(|(name, password)| (name.is_empty(), password.is_empty()))));
    }
}

/// A list that was read says the same when it is written and read again.
pub fn access_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.lines().take(16) {
        match listed_network(line) {
            Ok(None) => reached("nothing"),
            Ok(Some(network)) => {
                let again = value::network(&network.to_string()).unwrap_or_else(|told| panic!("{told:?}"));
                assert_eq!(again, network);
                reached(("network", network.parts().0.is_ipv4(), network.parts().1 / 8));
            }
            Err(told) => reached(told.contains("bits behind the prefix")),
        }
    }
    match users(text) {
        Ok(()) => reached("users"),
        Err((line, told)) => {
            assert!(line <= text.lines().count().max(1), "line {line} of {}", text.lines().count());
            let words: String = told.chars().filter(char::is_ascii_lowercase).take(24).collect();
            reached(words);
        }
    }
}

/// A body's first line is its type. No value breaks the engine; what is told of JSON is what another reader finds in it; and no reading has more
/// than the body has.
pub fn inspected_bodies(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (kind, body) = data.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let kind = (!kind.is_empty()).then(|| kind.trim_ascii());
    let (values, is_over) = inspected_values(kind, body);
    for value in &values {
        // An escape of six bytes is at most three.
        assert!(value.len() <= body.len(), "{} of {} bytes", value.len(), body.len());
        let said = inspected(value);
        assert_ne!(said, "unreadable", "{}", value.escape_ascii());
        reached((values.len().min(4), said));
    }
    reached((values.len().min(8), is_over));
    let is_json = kind.is_some_and(|kind| kind == b"application/json");
    if let Ok(read) = serde_json::from_slice::<serde_json::Value>(body)
        && is_json
        && !is_over
    {
        let mut strings = Vec::new();
        strings_in(&read, &mut strings);
        for text in strings {
            assert!(values.contains(&text.into_bytes()), "a string of it is not looked into");
        }
        reached("json");
    }
}

fn strings_in(read: &serde_json::Value, strings: &mut Vec<String>) {
    match read {
        serde_json::Value::String(text) => strings.push(text.clone()),
        serde_json::Value::Array(all) => all.iter().for_each(|one| strings_in(one, strings)),
        serde_json::Value::Object(all) => {
            for (name, one) in all {
                strings.push(name.clone());
                strings_in(one, strings);
            }
        }
        _ => {}
    }
}

/// Words of such bodies.
pub const BODY_WORDS: &[&str] = &[
    "application/json\n",
    "application/x-www-form-urlencoded\n",
    "multipart/form-data; boundary=b\n",
    "text/plain\n",
    "--b\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\n",
    "\r\n--b--\r\n",
    "\\u0027",
    "\\ud83c\\udf0a",
    "\":\"",
    "%27",
    "%25",
    "1' OR '1'='1",
    "/*!50000UNION*/ SELECT ",
    "@@version",
    "$tag$",
    "0x1F",
    "<script>",
    "<!--[if",
    " onerror=",
    "javascript&colon;",
    "&#x6a;",
    "<![CDATA[",
    "<?import",
    "xmlns:",
];

/// Words of such requests.
pub const WORDS: &[&str] = &[
    "/x?expires=1793611200&signature=",
    "5D3oWLIwnG9r8MdPYRbbEgLnoTtY56GPoSoKDNSlGrc",
    "&key_id=",
    "expires=",
    "signature=",
    "https://friend.test/",
    "http://a.family.test:8080",
    "own.test",
    "@evil.test",
    "\\\\.family.test",
    "about:blank",
    "Basic ",
    "YW5uOnN3b3JkZmlzaA==",
];

/// Words of such files.
pub const FILE_WORDS: &[&str] = &[
    "10.0.0.0/8",
    "2001:db8::/32",
    "::ffff:192.0.2.0/120",
    "# ",
    " ; ",
    "ann:",
    "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
    "$5$rounds=1000$saltsalt$R6e4P8ccT9iMqkYg7Z8YtpId/lfsIfnuPkp8WXposU8",
    "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$Kw3/ZjLNvvrvmWv7DSmJdvIaVuO5yzpUAyMmNiCnHLI",
    "$apr1$",
    "{SHA}",
];
