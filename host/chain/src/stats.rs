use std::sync::atomic::{AtomicU64, Ordering};

use subnode_sandbox::{CallError, ConsensusGuest};
use subnode_scheduler::Usage;
use subnode_types::BlockRef;

use crate::{peers::PeerTraffic, shared::Shared};

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

/// What a chain did since it was started, and what it has.
#[derive(Clone, Debug)]
pub struct ChainStats {
    /// Its last block.
    pub head: BlockRef,
    /// Whether it makes no blocks for now.
    pub paused: bool,
    /// Blocks committed.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Time blocks took to build, in microseconds.
    pub build_us: u64,
    /// Time blocks took to commit.
    pub commit_us: u64,
    /// How long after they were due blocks of a timer were committed.
    pub late_us: u64,
    /// The longest of these.
    pub late_us_max: u64,
    /// CPU time, fuel and turns.
    pub usage: Usage,
    /// Most fuel that a call of the consensus module burnt, and most memory that it had.
    pub consensus_max: (u64, u64),
    /// Memory in use, and the slice.
    pub memory_bytes: (u64, u64),
    /// Live bytes of its tables, and the slice.
    pub storage_bytes: (u64, u64),
    /// Pieces here and in all, while the state of a later block is got from other nodes.
    pub state_sync: Option<(u64, u64)>,
    /// Whether its slice of storage keeps it from making blocks.
    pub full: bool,
    /// Why no block could be made when one was last wanted; none once one is.
    pub stuck: Option<String>,
    /// Bytes its clients sent and received.
    pub traffic_bytes: (u64, u64),
    /// Transactions in the pool that are ready, and that wait.
    pub pool: (usize, usize),
    /// Memory of the pool.
    pub pool_bytes: usize,
    /// Transactions that entered the pool.
    pub transactions_admitted: u64,
    /// Transactions that were refused.
    pub transactions_refused: u64,
    /// Transactions dropped for lack of memory.
    pub transactions_shed: u64,
    /// Calls of clients.
    pub queries: u64,
    /// Calls refused because too many waited.
    pub queries_refused: u64,
    /// Calls that ended by the modules' doing.
    pub guest_faults: u64,
    /// Times that a member of the committee was seen to break the rules.
    pub evidence: u64,
    /// Calls that ended by this host's.
    pub host_faults: u64,
    /// Open subscriptions.
    pub subscriptions: usize,
    /// Whether it does not vote yet, and votes with its key that other hosts sent meanwhile.
    pub silent: (bool, u64),
    /// Nodes that are connected and have the chain.
    pub peers: usize,
    /// What it sent them and got.
    pub peer_traffic: PeerTraffic,
}

impl ChainStats {
    pub(crate) fn of(shared: &Shared) -> Self {
        let counters = &shared.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (pool, pool_bytes) = {
            let pool = shared.pool.lock();
            ((pool.ready(), pool.waiting()), pool.bytes())
        };
        let memory = shared.tenant.memory();
        Self {
            head: shared.head(),
            paused: shared.paused.load(Ordering::Relaxed),
            blocks: count(&counters.blocks),
            transactions: count(&counters.transactions),
            build_us: count(&counters.build_us),
            commit_us: count(&counters.commit_us),
            late_us: count(&counters.late_us),
            late_us_max: count(&counters.late_us_max),
            usage: shared.tenant.share().usage(),
            consensus_max: (count(&counters.consensus_fuel_max), count(&counters.consensus_bytes_max)),
            memory_bytes: (memory.used(), memory.limit()),
            storage_bytes: (shared.store.live_bytes(), shared.store.limit_bytes()),
            state_sync: shared.state_sync.pieces(),
            full: shared.store.full().is_some(),
            stuck: shared.stuck(),
            traffic_bytes: shared.traffic.totals(),
            pool,
            pool_bytes,
            transactions_admitted: count(&counters.transactions_admitted),
            transactions_refused: count(&counters.transactions_refused),
            transactions_shed: count(&counters.transactions_shed),
            queries: count(&counters.queries),
            queries_refused: count(&counters.queries_refused),
            guest_faults: count(&counters.guest_faults),
            evidence: count(&counters.evidence),
            host_faults: count(&counters.host_faults),
            subscriptions: shared.subscriptions.len(),
            silent: (shared.voter.is_silent(), shared.voter.elsewhere()),
            peers: shared.peers.as_ref().map_or(0, |peers| peers.connected().len()),
            peer_traffic: shared.peers.as_ref().map(|peers| peers.traffic()).unwrap_or_default(),
        }
    }
}
