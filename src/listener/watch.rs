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
    loop {
        let directories = all.iter().flat_map(|certificates| certificates.directories());
        match Watch::over(directories) {
            // A reload names other files.
            Err(error) => {
                tracing::warn!(%error, "certificate files are not watched; send HUP after they changed");
                others_are_shown(&all).await;
            }
            Ok(watch) => loop {
                // At once, for what was replaced before it was watched.
                read_again(&all);
                tokio::select! {
                    () = watch.changed() => {
                        clock.sleep(CERTIFICATE_SETTLE).await;
                        tracing::info!("certificate files have changed");
                    }
                    () = others_are_shown(&all) => break,
                }
            },
        }
    }
}

/// One of them shows other files.
async fn others_are_shown(all: &[Arc<Certificates>]) {
    let changes = all.iter().map(|certificates| Box::pin(certificates.changed()));
    futures_util::future::select_all(changes).await;
}

fn read_again(all: &[Arc<Certificates>]) {
    for certificates in all {
        match certificates.reload() {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "certificates could not be read again, the old ones stay");
            }
        }
    }
}
