//! Reads certificates again when their files change.
//!
//! The *directories* are watched, not the files: renewal tools replace files or swap symbolic links, and a watch on the
//! file would stay with the old one. Changes come in bursts (certificate, then key), so after the first one the watch
//! waits a moment before it reads. What cannot be read then is reported and what was shown stays; the rest of the
//! burst, or HUP, tries again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::tls::Certificates;
use crate::clock::Clock;
use crate::config::limits::CERTIFICATE_SETTLE;

/// Watches for ever. Without a watcher (the system's limit) it says so and only HUP reloads.
pub(super) async fn certificates(all: Vec<Arc<Certificates>>, clock: Clock) {
    let changed = Arc::new(Notify::new());
    let _watcher = match watcher(&all, &changed) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "certificate files are not watched; send HUP after they changed");
            return;
        }
    };
    loop {
        changed.notified().await;
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

fn watcher(all: &[Arc<Certificates>], changed: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading shows up as access and is no change. An error may hide one.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            changed.notify_one();
        }
    })?;
    let directories: BTreeSet<PathBuf> =
        all.iter().flat_map(|certificates| certificates.directories()).map(Into::into).collect();
    for directory in directories {
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}
