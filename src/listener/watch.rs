//! Reads certificates again when their files change.
//!
//! Changes come in bursts (certificate, then key), so after the first one the watch waits a moment before it reads. What
//! cannot be read then is reported and what was shown stays; the rest of the burst, or HUP, tries again. Whatever else changes in
//! their directories is read over in silence.

use std::collections::HashMap;
use std::sync::Arc;

use super::tls::{Certificates, TlsError};
use crate::clock::Clock;
use crate::config::limits::CERTIFICATE_SETTLE;
use crate::watch::Watch;

/// Watches for ever. Without a watcher (the system's limit) it says so and only HUP reloads.
pub(super) async fn certificates(all: Vec<Arc<Certificates>>, clock: Clock) {
    let mut told = Told::default();
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
                for (at, certificates) in all.iter().enumerate() {
                    told.tell(at, certificates.reload());
                }
                tokio::select! {
                    () = watch.changed() => clock.sleep(CERTIFICATE_SETTLE).await,
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

/// What has been told of each last, so that a file that stays unreadable is told once.
#[derive(Default)]
struct Told(HashMap<usize, String>);

impl Told {
    fn tell(&mut self, at: usize, read: Result<bool, TlsError>) {
        match read {
            Ok(is_other) => {
                if is_other {
                    tracing::info!("certificate files have changed, clients are shown the new ones");
                }
                self.0.remove(&at);
            }
            Err(error) => {
                let why = error.to_string();
                if self.0.get(&at) != Some(&why) {
                    tracing::error!(%error, "certificates could not be read again, the old ones stay");
                    self.0.insert(at, why);
                }
            }
        }
    }
}
