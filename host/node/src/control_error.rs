use subnode_chain::RpcError;
use subnode_scheduler::Refused;
use subnode_storage::{ArchiveError, StoreError};
use subnode_types::ChainName;

use crate::{NodeError, modules::ModulesError};

/// Why an operator's request is not carried out. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such chain.
    #[error("there is no chain {0}; `subnode chain list` shows those there are")]
    Unknown(ChainName),
    /// There is one of this name.
    #[error("chain {0} exists and is another one; choose another name, or delete it first")]
    Exists(ChainName),
    /// There is one of this number.
    #[error("id {id} is chain {name}'s; choose another, or none to take the next free one")]
    IdTaken {
        /// The number.
        id: u64,
        /// Whose it is.
        name: ChainName,
    },
    /// The node has too little left for the slice.
    #[error("chain {name}: {refused}; ask for less, or resize or delete another chain")]
    Refused {
        /// The chain.
        name: ChainName,
        /// What is missing.
        refused: Refused,
    },
    /// The new slice is less than what is in use.
    #[error("chain {name} uses {used} bytes of {what}, and {wanted} are less than that; free some first")]
    LessThanInUse {
        /// The chain.
        name: ChainName,
        /// Of what.
        what: &'static str,
        /// In use.
        used: u64,
        /// Asked for.
        wanted: u64,
    },
    /// The chain is doing something that the request does not go with.
    #[error("chain {name} is {state}; {remedy}")]
    State {
        /// The chain.
        name: ChainName,
        /// What it is doing.
        state: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The configuration file decides of this chain.
    #[error("chain {0} is in the configuration file, which decides of it: change it there and reload (SIGHUP)")]
    Configured(ChainName),
    /// A module.
    #[error("{0}")]
    Module(#[from] ModulesError),
    /// A module does not take the chain over; the old one runs on.
    #[error("chain {name} keeps its modules: {reason}")]
    Upgrade {
        /// The chain.
        name: ChainName,
        /// What the check said.
        reason: String,
    },
    /// The chain does not open.
    #[error("{0}")]
    Open(#[from] NodeError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An archive.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// The chain itself.
    #[error("{}", .0.message)]
    Chain(RpcError),
    /// There is no such export or import, or not any more.
    #[error("there is no {0} of this number any more; begin it again")]
    NoTransfer(&'static str),
    /// Too many exports and imports.
    #[error("{0} exports and imports are under way; wait for one to end")]
    TooManyTransfers(usize),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}
