//! Runs the chains of a node: one sandbox, one store, many chains.
//!
//! [`Node`] holds the chains that run. [`Supervisor`] makes the running chains match what is wanted: it keeps what is
//! wanted in the store, grants slices, gets modules that are not here from other nodes, restarts chains that fail, and moves chains in and out.
//!
//! Not here: what one chain does (`chain`), who may ask it (`rpc`), files and flags (`cli`).

mod blocking;
mod contents;
mod control;
mod control_error;
mod desired;
mod download;
mod grants;
mod keeping;
mod lifecycle;
mod log_book;
mod machine;
mod modules;
mod node;
mod obtaining;
mod peering;
mod registry;
mod slot;
mod start;
mod supervisor;
mod transfer;
mod transfers;

pub use control::{Resize, Upgrade};
pub use control_error::ControlError;
pub use desired::{Desired, Origin, Wanted};
pub use lifecycle::{Fetching, State};
pub use log_book::{LogBook, LogLine};
pub use machine::Machine;
pub use modules::{Modules, ModulesError};
pub use node::{ChainSetup, Node, NodeError};
pub use peering::Peering;
pub use slot::ChainInfo;
pub use subnode_network::{Overlay, PeerInfo};
pub use subnode_scheduler::SliceRequest;
pub use supervisor::{Supervisor, SupervisorParts};
pub use transfer::{About, ExportBegun, ImportBegun};
