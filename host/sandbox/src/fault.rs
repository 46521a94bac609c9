//! Whose fault it is when a call does not return.

use wasmtime::Trap;

/// A call that returned nothing. Neither kind says anything about the block it was about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The module's own doing: this call ends, the instance is gone.
    #[error("guest failed: {0}")]
    Guest(#[from] GuestFault),
    /// This host's: retry, or step back.
    #[error("host could not run it: {0}")]
    Host(#[from] HostFault),
}

/// What a guest did to end its call. It depends on code generation and on the engine's cost table, so it is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFault {
    /// It burnt all it was given.
    #[error("out of fuel: {0} spent")]
    Fuel(u64),
    /// It recursed too deep.
    #[error("stack overflow")]
    Stack,
    /// It wanted more memory than it may have, and then gave up.
    #[error("out of memory: its limit is {0} bytes")]
    Memory(usize),
    /// It passed or returned more than a bound allows.
    #[error("out of bounds: {0}")]
    Bound(String),
    /// It trapped: a panic, an unreachable, a bad access.
    #[error("trapped: {0}")]
    Trap(String),
}

/// What this host could not do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostFault {
    /// No room for another instance.
    #[error("no instance available: {0}")]
    Instance(String),
    /// The chain's slice of memory is used up.
    #[error(
        "memory slice full: {wanted} bytes wanted, {used} of {limit} in use; give chain {chain} more: \
         `subnode chain resize {chain} --memory SIZE`, or `memory` in the configuration file that has it"
    )]
    Memory {
        /// The chain.
        chain: subnode_types::ChainName,
        /// Asked for.
        wanted: u64,
        /// In use.
        used: u64,
        /// The slice.
        limit: u64,
    },
    /// The state could not be read.
    #[error("{0}")]
    Storage(String),
    /// The state changed under the call (a revert); try again.
    #[error("the chain was reverted during the call")]
    Reverted,
    /// The chain stops.
    #[error("the chain stops")]
    Stopping,
    /// It took longer than this host allows, on the wall clock.
    #[error("took longer than {0:?}")]
    Timeout(std::time::Duration),
}

/// Why a guest was refused memory.
pub(crate) enum MemoryRefused {
    /// The instance has all it may have.
    Instance,
    /// Its chain has.
    Slice(HostFault),
}

/// A bound that a guest broke, on its way through wasmtime's error type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BoundBroken(pub(crate) String);

/// Sorts an error of a call. `refused` says why the guest was refused memory during it, if it was.
pub(crate) fn classify(error: &wasmtime::Error, fuel: u64, refused: Option<&MemoryRefused>, memory_bytes: usize) -> CallError {
    if let Some(fault) = error.downcast_ref::<HostFault>() {
        return CallError::Host(fault.clone());
    }
    if let Some(BoundBroken(bound)) = error.downcast_ref::<BoundBroken>() {
        return GuestFault::Bound(bound.clone()).into();
    }
    let fault = match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => GuestFault::Fuel(fuel),
        Some(Trap::StackOverflow) => GuestFault::Stack,
        _ => match refused {
            Some(MemoryRefused::Slice(fault)) => return fault.clone().into(),
            Some(MemoryRefused::Instance) => GuestFault::Memory(memory_bytes),
            None => GuestFault::Trap(error.downcast_ref::<Trap>().map_or_else(|| format!("{error:#}"), ToString::to_string)),
        },
    };
    fault.into()
}
