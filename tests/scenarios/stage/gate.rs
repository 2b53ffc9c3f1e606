//! A point in a script that is passed only when the test says so.

use std::sync::Arc;

use tokio::sync::watch;

/// Shut until it is opened; clones are one gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A gate that nobody passes yet.
    pub(crate) fn shut() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everyone through, now and later.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Completes once the gate is open.
    pub(crate) async fn passed(&self) {
        let mut state = self.0.subscribe();
        state.wait_for(|open| *open).await.expect("this gate holds the sender");
    }
}
