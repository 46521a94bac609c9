//! Runs a chain's modules: WebAssembly components with limits of fuel, memory and stack, and without access to the
//! machine.
//!
//! [`Sandbox`] is the engine and the cache of compiled modules. A [`Module`] is a component that was checked: it
//! exports one of the worlds of wit/ and imports nothing that the host does not offer. [`RuntimeGuest`] and
//! [`ConsensusGuest`] are instances, usable until their first fault.
//!
//! | cost of | on two cores of 2024 |
//! |---|---|
//! | compiling the EVM module | 1 s, once; then cached on disk |
//! | loading it from the cache | 1 ms |
//! | an instance | 20 us |
//! | a call | 1 us, and 0.1 us for each host function that it calls |
//!
//! Errors tell a guest fault from a host fault ([`CallError`]). Neither is a verdict: a verdict is what a module
//! returns.
//!
//! Not here: which chain runs when (`node`), what blocks mean (modules), what is committed (`chain`).

mod artifact;
mod bindings;
mod block_slots;
mod cache;
mod consensus;
pub mod convert;
mod effort;
mod engine;
mod fault;
mod guest;
mod imports;
mod inspect;
mod lent;
mod limits;
mod log_limit;
mod module;
mod module_hash;
mod output;
mod packed;
mod runtime;
mod sandbox;
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
        notes::Statement,
        pool::{Occupancy, Pooled},
        types::{Change, Entry, Table, Word256},
    },
};
pub use consensus::{Beginning, ConsensusGuest};
pub use fault::{CallError, GuestFault, HostFault};
pub use inspect::Description;
pub use lent::{
    Accounts, Authors, Declared, DeclaredUpgrade, Declaring, GenesisStream, Lent, ListLimit, Membership, Notes, Opening, PoolReader,
    QueryLent, Ready, Scanned, Signer, StateReader, Step, Unavailable,
};
pub use limits::Limits;
pub use log_limit::LogKind;
pub use module::{Module, ModuleError, World};
pub use module_hash::{ModuleHash, NoHash};
pub use packed::CHANGE_BYTES;
pub(crate) use runtime::POOL_NAME_BYTES_MAX;
pub use runtime::{RuntimeGuest, Verdict};
pub use sandbox::{Sandbox, SandboxError, SandboxOptions};
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
