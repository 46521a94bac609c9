//! What a chain counts while it runs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use subnode_sandbox::{CallError, ConsensusGuest};

/// What a chain counts.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) blocks: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) build_us: AtomicU64,
    pub(crate) commit_us: AtomicU64,
    pub(crate) late_us: AtomicU64,
    pub(crate) late_us_max: AtomicU64,
    pub(crate) queries: AtomicU64,
    pub(crate) queries_refused: AtomicU64,
    pub(crate) evidence: AtomicU64,
    pub(crate) guest_faults: AtomicU64,
    pub(crate) host_faults: AtomicU64,
    pub(crate) consensus_fuel_max: AtomicU64,
    pub(crate) consensus_bytes_max: AtomicU64,
    pub(crate) transactions_shed: AtomicU64,
    pub(crate) transactions_admitted: AtomicU64,
    pub(crate) transactions_refused: AtomicU64,
}

impl Counters {
    pub(crate) fn fault(&self, error: &CallError) {
        let counter = match error {
            CallError::Guest(_) => &self.guest_faults,
            CallError::Host(_) => &self.host_faults,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// After a call of the consensus module.
    pub(crate) fn profile(&self, consensus: &mut ConsensusGuest) {
        self.consensus_fuel_max.fetch_max(consensus.take_fuel_burnt(), Ordering::Relaxed);
        self.consensus_bytes_max.fetch_max(consensus.memory_bytes() as u64, Ordering::Relaxed);
    }
}

/// Microseconds, as counters have them.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
