//! The query of `GET /v1/explain`: a request that is only imagined.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use purge_api::{Problem, ResourceUrl};

/// The request to explain.
#[derive(Clone, Debug)]
pub struct ExplainQuery {
    /// What is asked for.
    pub url: ResourceUrl,
    /// How; GET where the query does not say.
    pub method: Method,
    /// Its fields, in the order given.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Whose it is, where that is told.
    pub client: Option<IpAddr>,
}

impl ExplainQuery {
    /// The request in `url=…&method=…&client=…&header=Name:%20value`, `header` as often as needed.
    ///
    /// # Errors
    /// 400 with the parameter that is missing, unknown, repeated or malformed.
    pub fn parse(query: &[u8]) -> Result<Self, Problem> {
        let (mut url, mut method, mut client, mut fields) = (None, None, None, Vec::new());
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = halves.next().unwrap_or_default();
            let value = decode(halves.next().unwrap_or_default()).ok_or_else(|| {
                bad(format!("`{}` is not percent-encoded UTF-8", String::from_utf8_lossy(name)))
            })?;
            match name {
                b"url" if url.is_none() => {
                    url = Some(ResourceUrl::parse(&value).map_err(|error| bad(format!("`url` is {error}")))?);
                }
                b"method" if method.is_none() => {
                    method = Some(
                        Method::from_bytes(value.as_bytes()).map_err(|_| bad("`method` is not a method"))?,
                    );
                }
                b"client" if client.is_none() => {
                    client = Some(value.parse().map_err(|_| bad("`client` is not an address"))?);
                }
                b"header" if fields.len() < FIELDS_MAX => fields.push(field(&value)?),
                b"header" => return Err(bad(format!("more than {FIELDS_MAX} header parameters"))),
                b"url" | b"method" | b"client" => {
                    return Err(bad(format!("`{}` twice", String::from_utf8_lossy(name))));
                }
                other => {
                    let other = String::from_utf8_lossy(other);
                    return Err(bad(format!(
                        "unknown parameter `{other}`; known are url, method, client and header"
                    )));
                }
            }
        }
        let url =
            url.ok_or_else(|| bad("`url` is missing: /v1/explain?url=https%3A%2F%2Fwww.example.com%2F"))?;
        Ok(Self { url, method: method.unwrap_or(Method::GET), fields, client })
    }
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let mistake = || bad("`header` is not of the form `Name: value`");
    let (name, value) = text.split_once(':').ok_or_else(mistake)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| mistake())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| mistake())?;
    Ok((name, value))
}

/// A value of a form-encoded query: `+` is a space, `%HH` a byte. `None` where that is not UTF-8 or an escape is broken.
pub(super) fn decode(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(*rest.next()?).to_digit(16)?;
                let low = char::from(*rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query", detail)
}

/// Header parameters in one query.
const FIELDS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        for (claim, query, expected) in [
            ("a URL is enough", "url=https%3A%2F%2Fa%2Fb%3Fc%3Dd", Ok("GET https://a/b?c=d []")),
            ("it may stand as it is", "url=https://a/b?c=d", Ok("GET https://a/b?c=d []")),
            (
                "an escape within it is the URL's own",
                "url=https%3A%2F%2Fa%2F%252F",
                Ok("GET https://a/%2F []"),
            ),
            ("a method is kept", "url=http://a/&method=HEAD", Ok("HEAD http://a/ []")),
            (
                "fields are kept in order",
                "url=http://a/&header=Accept:+x&header=a%3Ab",
                Ok(r#"GET http://a/ [("accept", "x"), ("a", "b")]"#),
            ),
            ("a client has an address", "url=http://a/&client=nobody", Err("`client` is not an address")),
            ("one client", "url=http://a/&client=::1&client=::1", Err("`client` twice")),
            ("a URL must be there", "method=GET", Err("`url` is missing")),
            ("one URL", "url=http://a/&url=http://b/", Err("`url` twice")),
            ("a path is no URL", "url=/a", Err("`url` is not an absolute URL")),
            ("a misspelt parameter is told", "uri=http://a/", Err("unknown parameter `uri`")),
            ("a broken escape is told", "url=%4", Err("`url` is not percent-encoded")),
            ("a field has a colon", "url=http://a/&header=Accept", Err("`header` is not of the form")),
            (
                "a field cannot hold a line",
                "url=http://a/&header=a:b%0D%0Ac:d",
                Err("`header` is not of the form"),
            ),
            ("a method is a token", "url=http://a/&method=A%20B", Err("`method` is not a method")),
        ] {
            let parsed = ExplainQuery::parse(query.as_bytes());
            match (parsed, expected) {
                (Ok(parsed), Ok(text)) => {
                    assert_eq!(
                        format!("{} {} {:?}", parsed.method, parsed.url, parsed.fields),
                        text,
                        "{claim}"
                    );
                }
                (Err(problem), Err(start)) => {
                    assert!(problem.detail.starts_with(start), "{claim}: {}", problem.detail);
                }
                (got, _) => panic!("{claim}: {got:?}"),
            }
        }
    }
}
