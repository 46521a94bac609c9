//! The tasks of a network, which are waited for when it closes.

use std::sync::Arc;

use quinn::Runtime;
use tokio_util::task::TaskTracker;

/// Begins tasks, and waits for their end.
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// Runs them in place of tokio.
    runtime: Option<Arc<dyn Runtime>>,
}

impl Tasks {
    pub(crate) fn new(runtime: Option<Arc<dyn Runtime>>) -> Self {
        Self { tracker: TaskTracker::new(), runtime }
    }

    pub(crate) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) {
        match &self.runtime {
            None => drop(self.tracker.spawn(future)),
            Some(runtime) => {
                let tracked = self.tracker.track_future(future);
                runtime.spawn(Box::pin(async move { drop(tracked.await) }));
            }
        }
    }

    /// Waits until all have ended. None begins any more.
    pub(crate) async fn end(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
