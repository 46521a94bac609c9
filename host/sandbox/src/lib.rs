//! Runs a chain's modules: WebAssembly components with fuel, memory and stack limits, and nothing of the machine.
//!
//! [`Sandbox`] is the engine and the cache of compiled modules. A [`Module`] is a component that was checked: it exports one of
//! the worlds of wit/ and imports nothing that is not offered. [`RuntimeGuest`] and [`ConsensusGuest`] are instances, usable
//! until their first fault.
//!
//! | cost of | on two cores of 2024 |
//! |---|---|
//! | compiling the EVM module | 1 s, once; then cached on disk |
//! | loading it from the cache | 1 ms |
//! | an instance | 20 us |
//! | a call | 1 us, and 0.1 us for each host function it calls |
//!
//! Errors tell a guest fault from a host fault ([`CallError`]), and neither is a verdict: only what a module returns is.
//!
//! Not here: which chain runs when (`node`), what blocks mean (modules), what is committed (`chain`).

mod artifact;
mod bindings;
mod block_slots;
mod cache;
mod consensus;
mod engine;
mod fault;
mod guest;
mod imports;
mod inspect;
mod lent;
mod limits;
mod module;
mod output;
mod packed;
mod runtime;
mod tenant;
mod turns;

pub use bindings::{
    consensus::subnode::chain::agreement::{Candidate, Decision, Effect, Evidence, Input, Judged, Verdict as BlockVerdict, Wanted},
    runtime::subnode::chain::{
        execution::{
            Action, Admission, Answer, Attributes, Built, CommitteeChange, Invalid, Occurrence, Outcome, Progress, RpcError, Sealed,
            Subscription, Topic,
        },
        host::ChainStatus,
        keys::Signature,
        pool::{Occupancy, Pooled},
        types::{Change, Entry, Table, Word256},
    },
};
pub use cache::ModuleHash;
pub use consensus::{Beginning, ConsensusGuest};
pub use engine::{Sandbox, SandboxError, SandboxOptions};
pub use fault::{CallError, GuestFault, HostFault};
pub use inspect::Description;
pub use lent::{Accounts, Lent, PoolReader, QueryLent, Ready, Signer, StateReader, Unavailable};
pub use limits::Limits;
pub use module::{Module, ModuleError, World};
pub use runtime::{RuntimeGuest, Verdict};
pub use tenant::{Lease, Shed, Tenant};
pub use turns::charged;

impl Word256 {
    /// The word of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|j| bytes[i * 8 + j]));
        Self { a: word(0), b: word(1), c: word(2), d: word(3) }
    }

    /// The bytes of this word.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, part) in bytes.chunks_exact_mut(8).zip([self.a, self.b, self.c, self.d]) {
            chunk.copy_from_slice(&part.to_le_bytes());
        }
        bytes
    }
}

/// The contract's types at the wasm border, for what wit/ names and `subnode-types` too.
pub mod border {
    use subnode_types::{BlockRef, NodeId, Position, Sealing, Validator};

    use crate::bindings::{consensus, runtime};
    use std::num::NonZeroU64;

    pub(crate) fn runtime_ref(block: &BlockRef) -> runtime::subnode::chain::types::BlockRef {
        runtime::subnode::chain::types::BlockRef { height: block.height, id: block.id.clone(), timestamp_ms: block.timestamp_ms }
    }

    pub(crate) fn consensus_ref(block: &BlockRef) -> consensus::subnode::chain::types::BlockRef {
        consensus::subnode::chain::types::BlockRef { height: block.height, id: block.id.clone(), timestamp_ms: block.timestamp_ms }
    }

    /// The block an outcome names.
    pub fn block_ref(outcome: &crate::Outcome) -> BlockRef {
        BlockRef { height: outcome.block.height, id: outcome.block.id.clone(), timestamp_ms: outcome.block.timestamp_ms }
    }

    /// The sealing a runtime asks for. An interval of 0 is none a chain can keep: it becomes 1 ms.
    pub fn sealing(sealing: runtime::subnode::chain::types::Sealing) -> Sealing {
        use runtime::subnode::chain::types::Sealing as Border;
        match sealing {
            Border::Instant => Sealing::Instant,
            Border::Interval(ms) => Sealing::Interval(NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN)),
            Border::Manual => Sealing::Manual,
        }
    }

    /// For [`crate::ChainStatus`].
    pub fn runtime_sealing(sealing: Sealing) -> runtime::subnode::chain::types::Sealing {
        use runtime::subnode::chain::types::Sealing as Border;
        match sealing {
            Sealing::Instant => Border::Instant,
            Sealing::Interval(ms) => Border::Interval(ms.get()),
            Sealing::Manual => Border::Manual,
        }
    }

    /// For [`crate::Input::SetSealing`].
    pub fn set_sealing(sealing: Sealing) -> crate::Input {
        use consensus::subnode::chain::types::Sealing as Border;
        crate::Input::SetSealing(match sealing {
            Sealing::Instant => Border::Instant,
            Sealing::Interval(ms) => Border::Interval(ms.get()),
            Sealing::Manual => Border::Manual,
        })
    }

    /// For [`crate::Input::Committed`].
    pub fn committed(block: &BlockRef, ready: u32, committee: &[Validator]) -> crate::Input {
        crate::Input::Committed(consensus::subnode::chain::agreement::Committed {
            block: consensus_ref(block),
            ready,
            committee: validators(committee),
        })
    }

    pub(crate) fn validators(committee: &[Validator]) -> Vec<consensus::subnode::chain::types::Validator> {
        let validator = |one: &Validator| consensus::subnode::chain::types::Validator { key: one.node.0.to_vec(), power: one.power };
        committee.iter().map(validator).collect()
    }

    /// The members that a runtime names. A key of another length is none.
    pub fn members(members: &[runtime::subnode::chain::types::Validator]) -> Option<Vec<Validator>> {
        let member = |one: &runtime::subnode::chain::types::Validator| {
            Some(Validator { node: NodeId(one.key.as_slice().try_into().ok()?), power: one.power })
        };
        members.iter().map(member).collect()
    }

    pub(crate) fn position(at: consensus::subnode::chain::signing::Position) -> Position {
        Position { height: at.height, round: at.round, step: at.step }
    }
}
