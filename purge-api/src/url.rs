//! A URL as whoever purges writes it.

use std::fmt;

use http::Uri;
use http::uri::Scheme;

use crate::error::UrlError;
use crate::limits::URL_BYTES_MAX;

/// An absolute `http` or `https` URL without user name or fragment, in the writer's spelling: normalising is up to whoever
/// makes keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ResourceUrl(Uri);

impl ResourceUrl {
    /// The URL in this text; a fragment is dropped.
    ///
    /// # Errors
    /// [`UrlError`], the writer's fault.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong(URL_BYTES_MAX));
        }
        let text = text.split('#').next().unwrap_or_default();
        let Some((scheme, rest)) = text.split_once("://") else { return Err(UrlError::NotAbsolute) };
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(UrlError::NotAbsolute);
        }
        if rest.split(['/', '?']).next().is_some_and(|authority| authority.contains('@')) {
            return Err(UrlError::UserInfo);
        }
        // `http::Uri` lets bytes above ASCII through; on the wire they are percent-encoded, and so is what is stored.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Character);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Character)?;
        if uri.host().is_none_or(str::is_empty) {
            return Err(UrlError::NotAbsolute);
        }
        Ok(Self(uri))
    }

    /// Whether it is `https`.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", http::uri::Authority::as_str)
    }

    /// Host as written, without port.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Path and query as written; starts with `/`.
    pub fn target(&self) -> String {
        let path = self.0.path();
        let path = if path.is_empty() { "/" } else { path };
        self.0.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
    }
}

impl fmt::Display for ResourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls() {
        let long = format!("https://a/{}", "x".repeat(URL_BYTES_MAX));
        for (claim, text, expected) in [
            ("a path is kept as written", "https://Ex.com/A%2fb?q=1&q=2", Ok("https://Ex.com/A%2fb?q=1&q=2")),
            ("a port is kept", "http://a:8080/", Ok("http://a:8080/")),
            ("no path is the root", "https://a", Ok("https://a/")),
            ("no path with a query is the root", "https://a?b", Ok("https://a/?b")),
            ("a fragment never reaches a server", "https://a/b#c", Ok("https://a/b")),
            ("an address is a host", "http://[::1]:80/x", Ok("http://[::1]:80/x")),
            ("a scheme has no case", "HTTPS://a/", Ok("https://a/")),
            ("a path is not absolute", "/b", Err(UrlError::NotAbsolute)),
            ("another scheme is not ours", "ftp://a/", Err(UrlError::NotAbsolute)),
            ("a host must be there", "https:///b", Err(UrlError::Character)),
            ("a user name is refused", "https://u:p@a/", Err(UrlError::UserInfo)),
            ("a space is refused", "https://a/b c", Err(UrlError::Character)),
            ("a line feed is refused", "https://a/b\nc", Err(UrlError::Character)),
            ("letters above ASCII are refused", "https://a/é", Err(UrlError::Character)),
            ("length is bounded", &long, Err(UrlError::TooLong(URL_BYTES_MAX))),
        ] {
            let url = ResourceUrl::parse(text).map(|url| url.to_string());
            assert_eq!(url.as_deref().map_err(|error| *error), expected, "{claim}");
        }
    }

    proptest! {
        #[test]
        fn a_url_that_is_taken_reads_the_same_again(text in "https?://[ -~]{0,40}") {
            if let Ok(url) = ResourceUrl::parse(&text) {
                prop_assert_eq!(ResourceUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
