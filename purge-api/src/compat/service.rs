//! Fastly's calls by surrogate key: `POST /service/{service}/purge/{key}`, `/purge`, `/purge_all`.
//!
//! The service's name is not looked at: `purge_all` is everything of this node. It may be soft, which Fastly's own may not.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::error::{Mistake, Refusal};
use crate::limits::ENTRIES_MAX;
use crate::order::{Order, Scope, Selector};
use crate::receipt::Receipt;
use crate::reply::{Problem, Reply};
use crate::request::{Members, PurgeRequest, Selectors, Wait, pointer};

/// The request for one key, as it stands in a path: percent-encoded.
///
/// # Errors
/// [`Refusal`], the caller's fault.
pub fn key(written: &str, soft: bool) -> Result<PurgeRequest, Refusal> {
    let mut keys = Selectors::new(&|url| Ok(url.clone()));
    match decoded(written) {
        Some(text) => keys.take_text(Scope::Tag, &["key"], &text),
        None => keys.mistake(Scope::Tag, &["key"], "not percent-encoded"),
    }
    Ok(request(keys.end()?, soft))
}

/// The request for several: in `Surrogate-Key`, in a body with `surrogate_keys`, or both.
///
/// # Errors
/// [`Refusal`], the caller's fault.
pub fn keys(field: Option<&str>, body: &[u8], soft: bool) -> Result<PurgeRequest, Refusal> {
    let mut keys = Selectors::new(&|url| Ok(url.clone()));
    for text in field.unwrap_or_default().split([' ', ',', '\t']).filter(|text| !text.is_empty()) {
        keys.take_text(Scope::Tag, &["surrogate-key"], text);
    }
    if !body.trim_ascii().is_empty() {
        let Members(members) =
            serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
        for (name, value) in &members {
            let wrong = match (name.as_str(), value) {
                ("surrogate_keys", Value::Array(list)) if list.len() <= ENTRIES_MAX => {
                    for (at, entry) in list.iter().enumerate() {
                        keys.take(Scope::Tag, &[name, &at.to_string()], entry);
                    }
                    continue;
                }
                ("surrogate_keys", Value::Array(list)) => {
                    return Err(Refusal::TooMany { count: list.len(), max: ENTRIES_MAX });
                }
                ("surrogate_keys", _) => "not a list: write `[\"article-42\"]`",
                _ => "not known; known is surrogate_keys",
            };
            return Err(Refusal::Members(vec![Mistake {
                pointer: pointer(&[name]),
                detail: wrong.to_owned(),
            }]));
        }
    }
    Ok(request(keys.end()?, soft))
}

/// The request for everything.
pub fn all(soft: bool) -> PurgeRequest {
    request(vec![Selector::Everything], soft)
}

/// The answer to one key or to everything.
pub fn answer(receipt: &Receipt) -> Reply {
    Reply::json(StatusCode::OK, &json!({ "status": "ok", "id": receipt.id }))
}

/// The answer to several: each with the purge's name.
pub fn answer_keys(order: &Order, receipt: &Receipt) -> Reply {
    let ids = order.selectors.iter().map(|key| (key.to_string(), receipt.id.clone().into()));
    Reply::json(StatusCode::OK, &Value::Object(ids.collect::<Map<_, _>>()))
}

/// The answer to a call refused.
pub fn refused(problem: Problem) -> Reply {
    let title = problem.status.canonical_reason().unwrap_or("Error");
    let body = json!({ "msg": title, "detail": problem.detail });
    Reply { fields: problem.fields, ..Reply::json(problem.status, &body) }
}

fn request(selectors: Vec<Selector>, soft: bool) -> PurgeRequest {
    PurgeRequest { order: Order { selectors, soft }, dry_run: false, wait: Wait::Node }
}

fn decoded(written: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(request: Result<PurgeRequest, Refusal>) -> Result<String, String> {
        let request = request.map_err(|refusal| refusal.to_string())?;
        let each = request.order.selectors.iter().map(|one| format!("{}:{one}", one.scope().as_str()));
        Ok(each.chain(request.order.soft.then(|| "soft".to_owned())).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn calls() {
        let many = format!(r#"{{"surrogate_keys":[{}]}}"#, vec![r#""a""#; ENTRIES_MAX + 1].join(","));
        for (claim, got, expected) in [
            ("a key in the path", short(key("article-42", false)), Ok("tag:article-42")),
            ("an encoded one, softly", short(key("a%2Fb", true)), Ok("tag:a/b soft")),
            ("a broken encoding", short(key("a%2", false)), Err("not percent-encoded")),
            ("a space is no key", short(key("a%20b", false)), Err("holds a character that no tag has")),
            ("keys in a field", short(keys(Some("a b"), b"", false)), Ok("tag:a tag:b")),
            (
                "keys in a body",
                short(keys(None, br#"{"surrogate_keys":["a","b"]}"#, true)),
                Ok("tag:a tag:b soft"),
            ),
            ("both", short(keys(Some("a"), br#"{"surrogate_keys":["b"]}"#, false)), Ok("tag:a tag:b")),
            ("neither", short(keys(None, b" ", false)), Err("nothing is selected")),
            (
                "an empty list",
                short(keys(None, br#"{"surrogate_keys":[]}"#, false)),
                Err("nothing is selected"),
            ),
            ("another's member", short(keys(None, br#"{"keys":["a"]}"#, false)), Err("#/keys: not known")),
            ("a string", short(keys(None, br#"{"surrogate_keys":"a"}"#, false)), Err("not a list")),
            (
                "a number",
                short(keys(None, br#"{"surrogate_keys":[1]}"#, false)),
                Err("#/surrogate_keys/0: not a string"),
            ),
            ("too many", short(keys(None, many.as_bytes(), false)), Err("one call may carry 10000")),
            ("all", short(Ok(all(true))), Ok("everything: soft")),
        ] {
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{claim}"),
                (Err(told), Err(expected)) => assert!(told.contains(expected), "{claim}: {told}"),
                (got, _) => panic!("{claim}: {got:?}"),
            }
        }
    }

    #[test]
    fn answers_have_the_members_that_clients_look_for() {
        let receipt = Receipt { id: "e7".into(), sequence: Some(7), ..Receipt::default() };
        assert_eq!(answer(&receipt).body, b"{\"id\":\"e7\",\"status\":\"ok\"}\n");
        let order = keys(Some("a b"), b"", false).unwrap().order;
        assert_eq!(answer_keys(&order, &receipt).body, b"{\"a\":\"e7\",\"b\":\"e7\"}\n");
        let refused = refused(Problem::new(StatusCode::UNAUTHORIZED, "token", "who are you"));
        assert_eq!(refused.body, b"{\"detail\":\"who are you\",\"msg\":\"Unauthorized\"}\n");
    }
}
