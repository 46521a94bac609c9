use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use subnode_scheduler::TokenBucket;

/// What a chain's clients send and receive, held to its slice.
pub struct Bandwidth {
    bucket: Mutex<TokenBucket>,
    since: Instant,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Bandwidth {
    pub(crate) fn new(per_second: u64) -> Self {
        let bucket = Mutex::new(TokenBucket::new(per_second, Duration::ZERO));
        Self { bucket, since: Instant::now(), received: AtomicU64::new(0), sent: AtomicU64::new(0) }
    }

    fn bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the chain may receive again, and counts a request of so many bytes.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not waited for is not counted.
    pub async fn receive(&self, bytes: usize) {
        loop {
            let debt = self.bucket().debt(self.since.elapsed());
            if debt.is_zero() {
                break;
            }
            tokio::time::sleep(debt).await;
        }
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.bucket().spend(bytes as u64, self.since.elapsed());
    }

    /// Counts an answer of so many bytes. It goes out at once; the next request waits for it to be paid.
    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.bucket().spend(bytes as u64, self.since.elapsed());
    }

    /// Changes the rate.
    pub fn set_rate(&self, per_second: u64) {
        self.bucket().set_rate(per_second, self.since.elapsed());
    }

    /// Bytes received and sent so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}
