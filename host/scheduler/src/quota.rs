use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes taken under a limit.
#[derive(Debug)]
pub struct Quota {
    used: AtomicU64,
    limit: AtomicU64,
    refusals: AtomicU64,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes wanted, {used} of {limit} in use")]
pub struct QuotaFull {
    /// Asked for.
    pub wanted: u64,
    /// In use.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

impl Quota {
    /// Nothing taken of `limit`.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit: AtomicU64::new(limit), refusals: AtomicU64::new(0) }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// Where the limit would be passed; nothing is taken then.
    pub fn take(&self, bytes: u64) -> Result<(), QuotaFull> {
        let limit = self.limit();
        let taken =
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(bytes).filter(|sum| *sum <= limit));
        taken.map(drop).map_err(|used| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            QuotaFull { wanted: bytes, used, limit }
        })
    }

    /// Takes bytes that are there already, past the limit if need be.
    pub fn take_anyway(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{bytes} of {before} bytes given back");
    }

    /// Taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What is left.
    pub fn free(&self) -> u64 {
        self.limit().saturating_sub(self.used())
    }

    /// How often bytes were refused.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Moves the limit. Below what is taken, nothing more can be taken until enough was given back.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_beyond_the_limit_are_refused_whole() {
        let quota = Quota::new(10);
        assert_eq!(quota.take(10), Ok(()));
        assert_eq!(quota.take(1), Err(QuotaFull { wanted: 1, used: 10, limit: 10 }));
        quota.give(5);
        assert_eq!(quota.take(6).map_err(|full| full.used), Err(5));
        quota.set_limit(4);
        assert!(quota.take(1).is_err());
        assert!(quota.take(u64::MAX).is_err(), "no wrap-around");
        assert_eq!((quota.used(), quota.refusals()), (5, 4));
    }
}
