//! `POST /v1/upgrade`: another process takes over, of the binary as it lies there now or of one that is named.
//!
//! It is answered once the other one serves, or with why it does not; then this one goes on.

use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;
use purge_api::{Problem, Reply};
use serde::Deserialize;
use serde_json::json;

use super::{Inner, body, calls};
use crate::cli::chain;
use crate::config::limits::UPGRADE_BODY_BYTES_MAX;
use crate::handover::{Refusal, UpgradeError};
use crate::listener::request::RequestBody;

/// The body, where there is one.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The binary, with its whole path.
    binary: Option<PathBuf>,
}

impl Inner {
    pub(super) async fn upgrade(self: Arc<Self>, body: RequestBody) -> Reply {
        let upgraded = self.try_upgrade(body).await;
        upgraded.unwrap_or_else(|problem| calls::refused(b"/v1/upgrade", problem))
    }

    async fn try_upgrade(&self, body: RequestBody) -> Result<Reply, Problem> {
        let read = body::read(body, UPGRADE_BODY_BYTES_MAX, &self.clock).await?;
        let asked = if read.is_empty() { Ok(Asked::default()) } else { serde_json::from_slice(&read) };
        let asked: Asked = asked.map_err(|error| {
            let detail = format!("the body is neither empty nor {{\"binary\": \"/path\"}}: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "body", detail)
        })?;
        let Some(operations) = &self.operations else {
            return Err(problem(&UpgradeError::NotThis("it is not run by a program")));
        };
        match operations.upgrader.begin(asked.binary).await {
            Ok(Ok(upgraded)) => {
                let answer = json!({ "pid": upgraded.pid, "version": upgraded.version });
                Ok(Reply::json(StatusCode::OK, &answer))
            }
            Ok(Err(error)) => Err(problem(&error)),
            Err(_) => {
                let detail = "the upgrade came to nothing; see the log";
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not-upgraded", detail))
            }
        }
    }
}

fn problem(error: &UpgradeError) -> Problem {
    let (status, code) = match error {
        UpgradeError::UnderWay => (StatusCode::CONFLICT, "upgrade-under-way"),
        UpgradeError::Succeeded(_) | UpgradeError::Ending => (StatusCode::CONFLICT, "ending"),
        UpgradeError::NotThis(_) => (StatusCode::CONFLICT, "no-upgrade"),
        UpgradeError::Untrusted(_) => (StatusCode::UNPROCESSABLE_ENTITY, "binary"),
        UpgradeError::Refused(refusal) if refusal.settings => (StatusCode::UNPROCESSABLE_ENTITY, "settings"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "not-upgraded"),
    };
    let problem = Problem::new(status, code, chain(error));
    match error {
        UpgradeError::Refused(refusal) => with_mistakes(problem, refusal),
        _ => problem,
    }
}

fn with_mistakes(problem: Problem, refusal: &Refusal) -> Problem {
    let problem = match &refusal.mistakes {
        Some(mistakes) => problem.with("mistakes", mistakes.clone()),
        None => problem,
    };
    match &refusal.text {
        Some(text) => problem.with("text", text.clone().into()),
        None => problem,
    }
}
