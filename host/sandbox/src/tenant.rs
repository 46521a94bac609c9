use std::{
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use subnode_scheduler::{Cores, Quota, QuotaFull, Share};
use subnode_types::{ChainName, Parts};

use crate::{
    HostFault,
    log_limit::{LogKind, LogLimit},
};

/// How long a turn lasts: where no kernel interrupts turns, a chain that is due waits for no more than that. Ending one (the thread's clock,
/// the queue, a fiber left and entered) costs some 1 us, a hundredth of it.
pub(crate) const TURN: Duration = Duration::from_micros(100);

/// On whose account a guest runs: a chain, its share of the cores, its memory. Cheap to clone.
#[derive(Clone)]
pub struct Tenant {
    chain: ChainName,
    share: Arc<Share>,
    memory: Arc<Quota>,
    shed: Arc<OnceLock<Weak<dyn Shed>>>,
    log: Arc<LogLimit>,
    turn: Duration,
}

/// Gives memory up when its chain runs short of it.
pub trait Shed: Send + Sync {
    /// Gives up `bytes` if it can, what matters least first.
    fn shed(&self, bytes: u64);
}

impl Tenant {
    /// A tenant of these cores, with so much memory.
    pub fn new(chain: ChainName, cores: &Arc<Cores>, parts: Parts, memory_bytes: u64) -> Self {
        let memory = Arc::new(Quota::new(memory_bytes));
        Self { chain, share: cores.join(parts), memory, shed: Arc::default(), log: Arc::default(), turn: TURN }
    }

    /// A tenant that has a machine's core and all its memory for itself. Its turns do not end by time, so that what a thread does under a
    /// stopped clock is the same each time.
    pub fn alone(chain: ChainName) -> Self {
        Self { turn: Duration::MAX, ..Self::new(chain, &Cores::new(1), Parts::ONE, u64::MAX) }
    }

    /// The same account for something that is tried: where memory runs short it fails, and nothing of the chain's is given up for it.
    #[must_use]
    pub fn trial(&self) -> Self {
        Self { shed: Arc::default(), ..self.clone() }
    }

    /// The chain.
    pub fn chain(&self) -> &ChainName {
        &self.chain
    }

    /// Its share of the cores.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// How long a turn of it lasts.
    pub(crate) fn turn(&self) -> Duration {
        self.turn
    }

    /// Its memory.
    pub fn memory(&self) -> &Quota {
        &self.memory
    }

    /// Names what gives memory up when there is too little. The first one stays.
    pub fn on_shortage(&self, shed: Weak<dyn Shed>) {
        drop(self.shed.set(shed));
    }

    /// Takes memory, after having others give some up if need be.
    ///
    /// # Errors
    /// Where there is too little all the same.
    pub fn take_memory(&self, bytes: u64) -> Result<(), QuotaFull> {
        let Err(full) = self.memory.take(bytes) else { return Ok(()) };
        let Some(shed) = self.shed.get().and_then(Weak::upgrade) else { return Err(full) };
        shed.shed(bytes.saturating_sub(self.memory.free()));
        self.memory.take(bytes)
    }

    /// The same for a fixed piece of work: given back when dropped.
    ///
    /// # Errors
    /// As [`Self::take_memory`].
    pub fn lease(&self, bytes: u64) -> Result<Lease, HostFault> {
        self.take_memory(bytes).map_err(|full| self.memory_fault(&full))?;
        Ok(Lease { tenant: self.clone(), bytes })
    }

    /// The same without having others give some up: for what a client makes the host keep. None where there is too little.
    pub fn lease_free(&self, bytes: u64) -> Option<Lease> {
        self.memory.take(bytes).ok()?;
        Some(Lease { tenant: self.clone(), bytes })
    }

    /// Whether a message of this kind may be logged: how many were not since the last one that was.
    pub fn may_log(&self, kind: LogKind) -> Option<u64> {
        self.log.message(kind, Instant::now())
    }

    /// The same for so many bytes that a guest printed.
    pub(crate) fn may_print(&self, bytes: usize) -> Option<u64> {
        self.log.output(bytes, Instant::now())
    }

    pub(crate) fn memory_fault(&self, full: &QuotaFull) -> HostFault {
        HostFault::Memory { chain: self.chain.clone(), wanted: full.wanted, used: full.used, limit: full.limit }
    }
}

/// Memory of a chain, until it is dropped.
pub struct Lease {
    tenant: Tenant,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tenant.memory.give(self.bytes);
    }
}
