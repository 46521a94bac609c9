//! What a chain is made of and how it is run, and how it ends.

use std::sync::Arc;

use subnode_chain_core::{PoolLimits, presence::Patience};
use subnode_peers::Network;
use subnode_sandbox::{Accounts, Limits, Module, Tenant};
use subnode_storage::ChainStore;
use subnode_types::Sealing;

use crate::{spec::Spec, time::TimeSource};

/// What [`ChainOptions::future_ms_max`] is unless said otherwise: as long as Ethereum's clients waited for one from the future.
pub const FUTURE_MS_MAX: u64 = 15_000;

/// What [`ChainOptions::patience`] is unless said otherwise: longer than a host takes to be started again, or to be put back on its network.
pub const PATIENCE: Patience = Patience { blocks: 600, ms: 600_000 };

/// What a chain is made of.
pub struct ChainParts {
    /// Its name on this node, its share of the cores, its memory.
    pub tenant: Tenant,
    /// What a block means.
    pub runtime: Module,
    /// Which block is next.
    pub consensus: Module,
    /// Its tables.
    pub store: Arc<ChainStore>,
    /// For the runtime, at the chain's birth. Later it must be the same, or empty.
    pub spec: Spec,
    /// For the consensus module, at every start.
    pub consensus_config: Vec<u8>,
    /// Accounts that sign for clients.
    pub accounts: Arc<dyn Accounts>,
    /// The other nodes; none for a chain that has but one.
    pub network: Option<Arc<dyn Network>>,
    /// The secret of the key that this node votes with; none on one that only follows.
    pub vote_secret: Option<[u8; 32]>,
    /// The secret of the key that this node attests blocks with, to outsiders.
    pub attest_secret: Option<[u8; 32]>,
}

/// How a chain is run.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// Where it takes the time from.
    pub time: TimeSource,
    /// How it seals at first; the consensus module's configuration must say the same.
    pub sealing: Sealing,
    /// Whether clients may use the developer's controls.
    pub controls: bool,
    /// Whether a submitted transaction is answered once a block has it, with an error where it failed there, instead of once it is in the pool.
    /// Nobody waits on a chain that seals only when asked.
    pub answer_after_mining: bool,
    /// Bounds of the pool.
    pub pool: PoolLimits,
    /// Bounds of building, executing, genesis.
    pub block: Limits,
    /// Bounds of a query, a notification, an admission.
    pub query: Limits,
    /// Queries at once; further ones wait.
    pub queries_max: usize,
    /// Queries that wait; further ones are refused.
    pub queries_waiting_max: usize,
    /// Bytes per second that its clients may send and receive.
    pub bandwidth_bytes: u64,
    /// An instance with more memory than this is dropped after its call instead of kept for the next.
    pub idle_memory_bytes: usize,
    /// Bytes of memory that its past may take: blocks, receipts and old values of the state. The oldest go first. For a chain in memory alone.
    pub past_bytes_max: u64,
    /// Heights between two states that get a root, where a chain with a committee is created: what other nodes catch up by. 0 for none.
    pub checkpoint_every: u64,
    /// Heights between two blocks that the committee attests whatever they do, where a chain is created whose members attest. 0 attests those alone that
    /// precede another committee.
    pub attest_every: u64,
    /// How far ahead of this host's clock a block may be that others propose, in milliseconds.
    pub future_ms_max: u64,
    /// For how long a member of the committee must not be heard before this host states that it is silent.
    pub patience: Patience,
    /// Whether it came from another host, which may still vote with its key: it does not vote until it was silent for a while.
    pub silent: bool,
    /// Seeds the randomness of the blocks built here; none takes it from the machine.
    pub seed: Option<[u8; 32]>,
    /// What clients are told this program is.
    pub version: String,
}

/// Why a chain has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One of its tasks failed, for this reason.
    Failed(String),
    /// Its tables were replaced by a state that others vouch for, at this height: open them anew.
    Adopted(u64),
    /// The chain goes over to another module, which decides the block at this height: open it with that one ([`crate::OpenError::Upgrade`]).
    Upgraded(u64),
}
