//! Calls about the settings: take up what the file says now, tell what another would change.

use std::sync::Arc;

use http::StatusCode;
use purge_api::{Problem, Reply};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Inner, body, calls};
use crate::config::limits::SETTINGS_BYTES_MAX;
use crate::config::load::LoadError;
use crate::config::mistake::Mistakes;
use crate::config::plan::Change;
use crate::listener::request::RequestBody;
use crate::reload::{ReloadError, Reloader, told};

/// The body of a plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    /// The settings, TOML.
    settings: String,
}

impl Inner {
    /// Takes up what the settings file says now.
    pub(super) async fn reload(self: Arc<Self>) -> Reply {
        self.about_settings("/v1/reload", |reloader| reloader.reload().map_err(|error| problem(&error))).await
    }

    /// What other settings would change.
    pub(super) async fn plan(self: Arc<Self>, body: RequestBody) -> Reply {
        // Of JSON, where a byte may take six.
        let longest = usize::try_from(SETTINGS_BYTES_MAX).unwrap_or(usize::MAX).saturating_mul(6);
        let read = {
            // Never closed.
            let _held = self.bodies.acquire().await;
            body::read(body, longest, &self.clock).await
        };
        let planned = read.and_then(|body| {
            serde_json::from_slice::<Planned>(&body).map_err(|error| {
                let detail = format!("the body is not {{\"settings\": \"…\"}} with TOML in it: {error}");
                Problem::new(StatusCode::BAD_REQUEST, "body", detail)
            })
        });
        match planned {
            Ok(planned) => {
                let plan = move |reloader: &Reloader| {
                    reloader.plan(&planned.settings).map_err(|wrong| mistakes(&wrong))
                };
                self.about_settings("/v1/plan", plan).await
            }
            Err(problem) => calls::refused(b"/v1/plan", problem),
        }
    }

    /// Reads files: not on this thread.
    async fn about_settings(
        &self,
        path: &'static str,
        act: impl FnOnce(&Reloader) -> Result<Vec<Change>, Problem> + Send + 'static,
    ) -> Reply {
        let Some(reloader) = self.operations.as_ref().map(|one| Arc::clone(&one.reloader)) else {
            let detail = "this node has no settings to reload";
            return calls::refused(
                path.as_bytes(),
                Problem::new(StatusCode::CONFLICT, "no-settings", detail),
            );
        };
        let done = tokio::task::spawn_blocking(move || act(&reloader)).await;
        match done.unwrap_or_else(|_| Err(super::purge::lost())) {
            Ok(changes) => Reply::json(StatusCode::OK, &answer(&changes)),
            Err(problem) => calls::refused(path.as_bytes(), problem),
        }
    }
}

fn answer(changes: &[Change]) -> Value {
    json!({ "changes": changes, "restart": changes.iter().any(|change| change.restart) })
}

fn problem(error: &ReloadError) -> Problem {
    match error {
        ReloadError::Settings(LoadError::Mistakes(wrong)) => mistakes(wrong),
        other => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-reloaded", told(other)),
    }
}

fn mistakes(wrong: &Mistakes) -> Problem {
    let count = wrong.list().len();
    let detail =
        format!("{count} mistake{} in the settings; those in force stay", if count == 1 { "" } else { "s" });
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "settings", detail)
        .with("mistakes", wrong.to_json())
        .with("text", wrong.render(false).into())
}
