//! How many queries run and wait.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// See the module.
pub(crate) struct Queries {
    running: Semaphore,
    begun: AtomicU64,
    /// Those that run and wait together.
    most: u64,
}

impl Queries {
    /// So many may run, and so many more wait.
    pub(crate) fn new(running: usize, waiting: usize) -> Self {
        Self { running: Semaphore::new(running), begun: AtomicU64::new(0), most: (running + waiting) as u64 }
    }

    /// Takes a place among those that run or wait.
    ///
    /// # Errors
    /// How many places there are, all of which are taken.
    pub(crate) fn enter(&self) -> Result<Place<'_>, u64> {
        // Given back where there is none.
        let place = Place(self);
        if self.begun.fetch_add(1, Ordering::Relaxed) < self.most { Ok(place) } else { Err(self.most) }
    }
}

/// A query's place. Dropping it frees the place.
pub(crate) struct Place<'a>(&'a Queries);

impl Place<'_> {
    /// Waits until the query may run; none once the chain has ended.
    pub(crate) async fn run(&self) -> Option<SemaphorePermit<'_>> {
        // Without a wait where there is room: a task that has used up its budget of operations is made to wait, and would keep this place meanwhile.
        match self.0.running.try_acquire() {
            Ok(running) => Some(running),
            Err(_) => self.0.running.acquire().await.ok(),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.begun.fetch_sub(1, Ordering::Relaxed);
    }
}
