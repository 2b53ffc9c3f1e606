//! Cloudflare's `POST /zones/{zone}/purge_cache`: `files`, `tags`, `prefixes`, `hosts`, `purge_everything`.
//!
//! The zone's name is not looked at: `purge_everything` is everything of this node. A file may be an object with a `url`; its
//! `headers` are not looked at, because a URL is purged with all its variants. Prefixes come without scheme.

use http::StatusCode;
use serde_json::{Value, json};

use crate::error::{Mistake, Refusal};
use crate::limits::ENTRIES_MAX;
use crate::order::{Order, Scope};
use crate::receipt::Receipt;
use crate::reply::{Problem, Reply};
use crate::request::{Members, Normalise, PurgeRequest, Selectors, Wait, flag, pointer};

/// The request in this body.
///
/// # Errors
/// [`Refusal`], the caller's fault.
pub fn parse(body: &[u8], normalise: Normalise<'_>) -> Result<PurgeRequest, Refusal> {
    let Members(members) =
        serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let mut selectors = Selectors::new(normalise);
    let (mut everything, mut mistakes, mut named, mut count) = (false, Vec::new(), None, 0);
    for (name, value) in &members {
        let list = LISTS.iter().find(|(known, _)| known == name);
        let known = match (name.as_str(), list, value) {
            ("purge_everything", ..) => flag(value, &mut everything),
            (_, Some(_), Value::Null) => Ok(()),
            (_, Some((name, scope)), Value::Array(list)) => {
                count += list.len();
                if count > ENTRIES_MAX {
                    return Err(Refusal::TooMany { count, max: ENTRIES_MAX });
                }
                named = named.or((!list.is_empty()).then_some(*name));
                for (at, entry) in list.iter().enumerate() {
                    take(&mut selectors, *scope, &[name, &at.to_string()], entry);
                }
                Ok(())
            }
            (_, Some(_), _) => Err("not a list"),
            _ => Err("not known; known are files, tags, prefixes, hosts and purge_everything"),
        };
        if let Err(detail) = known {
            mistakes.push(Mistake { pointer: pointer(&[name]), detail: detail.to_owned() });
        }
    }
    if !mistakes.is_empty() {
        return Err(Refusal::Members(mistakes));
    }
    if everything {
        if let Some(name) = named {
            return Err(Refusal::NotByItself(name));
        }
        selectors.everything();
    }
    let order = Order { selectors: selectors.end()?, soft: false };
    Ok(PurgeRequest { order, dry_run: false, wait: Wait::Node })
}

fn take(selectors: &mut Selectors<'_>, scope: Scope, at: &[&str], entry: &Value) {
    let text = match entry {
        Value::Object(members) => members.get("url").filter(|_| scope == Scope::Url).and_then(Value::as_str),
        other => other.as_str(),
    };
    match (text, scope) {
        (Some(text), Scope::Prefix) if !text.contains("://") => {
            selectors.take_text(scope, at, &format!("https://{text}"));
        }
        (Some(text), _) => selectors.take_text(scope, at, text),
        (None, Scope::Url) => {
            selectors.mistake(scope, at, "neither a URL nor an object with one: write `{\"url\": …}`");
        }
        (None, _) => selectors.mistake(scope, at, "not a string"),
    }
}

/// The answer to a purge, or to a call refused.
pub fn answer(told: Result<&Receipt, Problem>) -> Reply {
    match told {
        Ok(receipt) => {
            let Receipt { id, sequence, matched, .. } = receipt;
            let result = json!({ "id": id, "sequence": sequence, "matched": matched });
            let body = json!({ "success": true, "errors": [], "messages": [], "result": result });
            Reply::json(StatusCode::OK, &body)
        }
        Err(problem) => {
            let code = match problem.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AUTHENTICATION_ERROR,
                other => u32::from(other.as_u16()),
            };
            let error = json!({ "code": code, "message": problem.detail });
            let body = json!({ "success": false, "errors": [error], "messages": [], "result": null });
            Reply { fields: problem.fields, ..Reply::json(problem.status, &body) }
        }
    }
}

const LISTS: [(&str, Scope); 4] =
    [("files", Scope::Url), ("prefixes", Scope::Prefix), ("hosts", Scope::Host), ("tags", Scope::Tag)];
/// The number that clients know it by.
const AUTHENTICATION_ERROR: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn short(body: &str) -> Result<String, Refusal> {
        let request = parse(body.as_bytes(), &|url| Ok(url.clone()))?;
        let each = request.order.selectors.iter().map(|one| format!("{}:{one}", one.scope().as_str()));
        Ok(each.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn bodies() {
        for (claim, body, expected) in [
            ("files", r#"{"files":["https://a/x","https://a/y"]}"#, Ok("url:https://a/x url:https://a/y")),
            (
                "files with fields, as its app sends them",
                r#"{"files":[{"url":"https://a/x","headers":{"Origin":"https://b"}}]}"#,
                Ok("url:https://a/x"),
            ),
            ("tags", r#"{"tags":["a","b"]}"#, Ok("tag:a tag:b")),
            ("hosts", r#"{"hosts":["www.example.com"]}"#, Ok("host:www.example.com")),
            (
                "prefixes have no scheme",
                r#"{"prefixes":["a.example/news"]}"#,
                Ok("prefix:https://a.example/news"),
            ),
            ("or have one", r#"{"prefixes":["http://a/n"]}"#, Ok("prefix:http://a/n")),
            ("everything", r#"{"purge_everything":true}"#, Ok("everything:")),
            ("nothing", "{}", Err("nothing is selected")),
            ("everything that is false", r#"{"purge_everything":false}"#, Err("nothing is selected")),
            ("everything as text", r#"{"purge_everything":"true"}"#, Err("#/purge_everything: not `true`")),
            ("everything with tags", r#"{"purge_everything":true,"tags":["a"]}"#, Err("without tags")),
            ("empty lists", r#"{"files":[],"tags":null}"#, Err("nothing is selected")),
            ("another's member", r#"{"urls":["https://a/"]}"#, Err("#/urls: not known")),
            ("a file without URL", r#"{"files":[{"uri":"https://a/"}]}"#, Err("#/files/0: neither a URL")),
            ("a tag as an object", r#"{"tags":[{"url":"a"}]}"#, Err("#/tags/0: not a string")),
            ("a path", r#"{"files":["/x"]}"#, Err("#/files/0: not an absolute URL")),
            ("no JSON", "files=x", Err("not a purge request")),
        ] {
            match (short(body), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{claim}"),
                (Err(refusal), Err(told)) => {
                    assert!(refusal.to_string().contains(told), "{claim}: {refusal}");
                }
                (got, _) => panic!("{claim}: {got:?}"),
            }
        }
    }

    #[test]
    fn answers_have_the_members_that_clients_look_for() {
        let receipt = Receipt { id: "e7".into(), sequence: Some(7), matched: Some(2), ..Receipt::default() };
        let reply = answer(Ok(&receipt));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            (reply.status, &body["success"], &body["result"]["id"]),
            (StatusCode::OK, &json!(true), &json!("e7"))
        );
        for (status, code) in [(StatusCode::FORBIDDEN, 10_000), (StatusCode::BAD_REQUEST, 400)] {
            let reply = answer(Err(Problem::new(status, "x", "why")));
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(
                (reply.status, &body["success"], &body["result"]),
                (status, &json!(false), &Value::Null)
            );
            assert_eq!(body["errors"], json!([{ "code": code, "message": "why" }]));
        }
    }
}
