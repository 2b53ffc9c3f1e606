//! Tells when something changes in directories.
//!
//! The *directories* are watched, not files in them: tools replace files or swap symbolic links, and a watch on a file would
//! stay with the old one. Changes come in bursts, so whoever is told waits a moment before it reads; all changes
//! until it asks again are one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches for as long as it lives.
pub(crate) struct Watch {
    changed: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Over these directories, not what lies below them.
    ///
    /// # Errors
    /// The system cannot: its limit, or a directory that is not there.
    pub(crate) fn over(directories: impl IntoIterator<Item = PathBuf>) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let tell = Arc::clone(&changed);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading shows up as access and is no change. An error may hide one.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                tell.notify_one();
            }
        })?;
        for directory in directories.into_iter().collect::<BTreeSet<_>>() {
            watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { changed, _watcher: watcher })
    }

    /// Something has changed since it was last asked.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
