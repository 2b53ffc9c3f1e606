//! Calls that purge, from a body read whole to an answer: understood, carried out where waiting for the disk is allowed, and
//! where the caller wants it, held until the fleet has it.

use std::sync::Arc;

use http::StatusCode;
use purge_api::error::UrlError;
use purge_api::{Call, Problem, PurgeRequest, Reply, ResourceUrl, call};

use super::{Inner, body};
use crate::config::limits::PURGE_BODY_BYTES_MAX;
use crate::listener::request::RequestBody;
use crate::observe::id::RequestId;
use crate::route::Normal;

impl Inner {
    pub(super) async fn purge(self: Arc<Self>, body: RequestBody, id: RequestId) -> Reply {
        match self.try_purge(body, id).await {
            Ok(reply) => reply,
            Err(problem) => problem.into(),
        }
    }

    async fn try_purge(self: Arc<Self>, body: RequestBody, id: RequestId) -> Result<Reply, Problem> {
        let request = {
            // Never closed.
            let _held = self.bodies.acquire().await;
            let body = body::read(body, PURGE_BODY_BYTES_MAX, &self.clock).await?;
            PurgeRequest::parse(&body, &normal)?
        };
        let (inner, wait) = (Arc::clone(&self), request.wait);
        // A purge is durable before it is acknowledged: it waits for the disk, so not on this thread.
        let purging = tokio::task::spawn_blocking(move || {
            let millis = || inner.clock.micros() / 1000;
            let id = id.to_string();
            let call = Call { node: inner.observe.node(), id: &id, millis: &millis };
            call::carry_out(inner.node.purger(), call, &request)
        });
        let receipt = purging.await.map_err(|_| lost())??;
        let receipt = call::with_fleet(self.node.purger(), wait, receipt).await;
        Ok(Reply::json(call::status_of(&receipt), &receipt))
    }
}

/// A URL in the one spelling that keys are made of.
pub(super) fn normal(url: &ResourceUrl) -> Result<ResourceUrl, UrlError> {
    let normal =
        Normal::from_url(&url.to_string()).map_err(|malformed| UrlError::Abnormal(malformed.as_str()))?;
    let (authority, target) = (normal.authority.as_bytes(), normal.target.as_bytes());
    let text = [normal.scheme.as_str().as_bytes(), b"://", authority, target].concat();
    std::str::from_utf8(&text).map_err(|_| UrlError::Character).and_then(ResourceUrl::parse)
}

fn lost() -> Problem {
    let detail = "the purge was lost on the way; send it again";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "purge-lost", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_one_spelling() {
        for (claim, text, expected) in [
            ("a normal one stays", "https://a.example/x?y=1", Ok("https://a.example/x?y=1")),
            ("a host has no case and its port goes", "https://A.Example:443/", Ok("https://a.example/")),
            ("dots lead where they lead", "https://a/b/../c", Ok("https://a/c")),
            ("however they are written", "https://a/b/%2e%2E/c", Ok("https://a/c")),
            ("letters need no encoding", "https://a/%6Eews", Ok("https://a/news")),
            ("what means something else stays", "https://a/b%2fc", Ok("https://a/b%2Fc")),
            ("a stray percent sign is told", "https://a/100%", Err(UrlError::Abnormal("target-percent"))),
        ] {
            let url = ResourceUrl::parse(text).unwrap();
            let got = normal(&url).map(|url| url.to_string());
            assert_eq!(got.as_deref().map_err(|error| *error), expected, "{claim}");
        }
    }
}
