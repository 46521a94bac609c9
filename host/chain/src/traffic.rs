use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use subnode_scheduler::Bandwidth;

/// What a chain's clients send and receive, held to the chain's bandwidth.
pub struct ClientTraffic {
    bandwidth: Arc<Bandwidth>,
    received: AtomicU64,
    sent: AtomicU64,
}

impl ClientTraffic {
    pub(crate) fn new(bandwidth: Arc<Bandwidth>) -> Self {
        Self { bandwidth, received: AtomicU64::new(0), sent: AtomicU64::new(0) }
    }

    /// Waits until the chain may receive again, and counts a request of so many bytes.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not waited for is not counted.
    pub async fn receive(&self, bytes: usize) {
        loop {
            let debt = self.bandwidth.debt();
            if debt.is_zero() {
                break;
            }
            tokio::time::sleep(debt).await;
        }
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.bandwidth.spend(bytes);
    }

    /// Counts an answer of so many bytes. It goes out at once; the next request waits for it to be paid.
    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.bandwidth.spend(bytes);
    }

    /// Bytes received and sent so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}
