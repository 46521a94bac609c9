use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use subnode_scheduler::{Bandwidth, Payer};
use tokio::sync::Mutex;

/// What a chain's clients send and receive, held to the chain's bandwidth.
pub struct ClientTraffic {
    bandwidth: Arc<Bandwidth>,
    /// Held by the request whose turn is next: of many that wait, one sees that the debt is paid.
    turn: Mutex<()>,
    received: AtomicU64,
    sent: AtomicU64,
}

impl ClientTraffic {
    pub(crate) fn new(bandwidth: Arc<Bandwidth>) -> Self {
        Self { bandwidth, turn: Mutex::default(), received: AtomicU64::new(0), sent: AtomicU64::new(0) }
    }

    /// Waits until the chain may receive again, and counts a request of so many bytes. Requests are let through in the order they came. Wait before
    /// the bytes are held in memory.
    ///
    /// # Cancel safety
    /// Cancel safe: what was not waited for is not counted.
    pub async fn receive(&self, bytes: usize) {
        let _turn = self.turn.lock().await;
        loop {
            let debt = self.bandwidth.debt(Payer::Others);
            if debt.is_zero() {
                break;
            }
            tokio::time::sleep(debt).await;
        }
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.bandwidth.spend(Payer::Others, bytes);
    }

    /// Counts an answer of so many bytes. It goes out at once; the next request waits for it to be paid.
    pub fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.bandwidth.spend(Payer::Others, bytes);
    }

    /// Bytes received and sent so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_that_wait_at_once_are_let_through_one_by_one() {
        const REQUEST: usize = 10_000_000;
        let traffic = Arc::new(ClientTraffic::new(Arc::new(Bandwidth::new(1_000_000))));
        // In debt for 50 ms.
        traffic.receive(1_050_000).await;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let traffic = traffic.clone();
            waiting.spawn(async move { traffic.receive(REQUEST).await });
        }
        assert!(waiting.join_next().await.is_some());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // The next waits for nine seconds.
        assert_eq!(traffic.totals(), (1_050_000 + REQUEST as u64, 0));
    }
}
