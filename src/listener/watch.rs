//! Reads certificates again when their files change.
//!
//! Changes come in bursts (certificate, then key), so after the first one the watch waits a moment before it reads. What
//! cannot be read then is reported and what was shown stays; the rest of the burst, or HUP, tries again.

use std::sync::Arc;

use super::tls::Certificates;
use crate::clock::Clock;
use crate::config::limits::CERTIFICATE_SETTLE;
use crate::watch::Watch;

/// Watches for ever. Without a watcher (the system's limit) it says so and only HUP reloads.
pub(super) async fn certificates(all: Vec<Arc<Certificates>>, clock: Clock) {
    let directories = all.iter().flat_map(|certificates| certificates.directories()).map(Into::into);
    let watch = match Watch::over(directories) {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(%error, "certificate files are not watched; send HUP after they changed");
            return;
        }
    };
    loop {
        watch.changed().await;
        clock.sleep(CERTIFICATE_SETTLE).await;
        for certificates in &all {
            match certificates.reload() {
                Ok(()) => tracing::info!("certificates read again"),
                Err(error) => {
                    tracing::error!(%error, "certificates could not be read again, the old ones stay");
                }
            }
        }
    }
}
