//! A chain's figures.

use std::sync::atomic::{AtomicU64, Ordering};

use subnode_peers::Traffic;
use subnode_sandbox::Signer;
use subnode_scheduler::Usage;
use subnode_types::BlockRef;

use crate::{parts::Parts, presence::MemberStats};

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
    /// The other members of the committee, and when they were heard.
    pub members: Vec<MemberStats>,
    /// What it sent them and got.
    pub peer_traffic: Traffic,
}

impl ChainStats {
    pub(crate) fn of(parts: &Parts) -> Self {
        let counters = &parts.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (pool, pool_bytes) = {
            let pool = parts.mempool.lock();
            ((pool.ready(), pool.waiting()), pool.bytes())
        };
        let (memory, store) = (parts.tenant.memory(), parts.ledger.store());
        Self {
            head: parts.ledger.head(),
            paused: parts.standing.is_paused(),
            blocks: count(&counters.blocks),
            transactions: count(&counters.transactions),
            build_us: count(&counters.build_us),
            commit_us: count(&counters.commit_us),
            late_us: count(&counters.late_us),
            late_us_max: count(&counters.late_us_max),
            usage: parts.tenant.share().usage(),
            consensus_max: (count(&counters.consensus_fuel_max), count(&counters.consensus_bytes_max)),
            memory_bytes: (memory.used(), memory.limit()),
            storage_bytes: (store.live_bytes(), store.limit_bytes()),
            state_sync: parts.standing.pieces(),
            full: store.full().is_some(),
            stuck: parts.standing.stuck(),
            traffic_bytes: parts.traffic.totals(),
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
            subscriptions: parts.feed.subscriptions.len(),
            silent: (parts.voter.is_silent(), parts.voter.elsewhere()),
            peers: parts.exchange.connected(),
            members: parts.presences.members(parts.voter.key()),
            peer_traffic: parts.exchange.traffic(),
        }
    }
}
