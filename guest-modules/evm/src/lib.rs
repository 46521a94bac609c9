//! Ethereum as a Subnode runtime: revm behind the `runtime` world.
//!
//! Blocks, state, receipts and roots are Ethereum's from Paris to Osaka, so blocks from elsewhere verify and proofs
//! hold. The module answers `eth_*`, `debug_*` and `trace_*` itself (`rpc`). Heavy arithmetic and hashing go to the
//! host (`crypto`, `host`).
//!
//! Not here: who builds a block and when (the consensus module), the pool (the host), keys (the host).

mod generated {
    //! The `runtime` world, from wit/.
    #![allow(missing_docs, clippy::too_many_arguments, reason = "generated; the items are documented in wit/")]

    wit_bindgen::generate!({ world: "runtime", path: "../../wit", generate_all });

    /// The values of the exported functions.
    pub mod exports {
        pub use super::subnode::chain::execution::*;
    }
}

#[cfg(not(test))]
use generated as bindings;

#[cfg(test)]
mod bindings {
    //! The same world, its imports answered by a host in memory.
    pub use crate::generated::*;

    pub mod subnode {
        pub use crate::tests::imports as chain;
    }
}

mod assembly;
mod attesters;
mod block;
mod body;
mod committee;
mod console;
mod crypto;
mod deployers;
mod deposit;
mod dev;
mod execute;
mod fees;
mod genesis;
mod genesis_file;
mod genesis_stream;
mod header_rules;
mod headers;
mod host;
mod index;
mod inspect;
mod interpreter;
mod list_root;
mod machine;
mod notes;
mod pending;
mod precompiled;
mod rpc;
mod spec;
mod state;
#[cfg(test)]
mod suites;
#[cfg(test)]
mod tests;
mod transaction;
mod transfer;
mod trie;
mod verdict;
mod verify;

use bindings::{
    Guest,
    exports::{Admission, Answer, Attributes, Built, Invalid, Occurrence, Outcome, RpcError},
    subnode::chain::types::BlockRef,
};

struct Runtime;

impl Guest for Runtime {
    fn genesis(spec: Vec<u8>) -> Result<Built, String> {
        genesis::genesis(&spec)
    }

    fn admit(head: BlockRef, transactions: Vec<Vec<u8>>) -> Vec<Result<Admission, RpcError>> {
        transaction::admit(&head, &transactions)
    }

    fn build(parent: BlockRef, attributes: Attributes) -> Result<Built, Invalid> {
        block::build(&parent, &attributes)
    }

    fn execute(parent: BlockRef, block: Vec<u8>) -> Result<Outcome, Invalid> {
        block::execute(&parent, &block)
    }

    fn query(head: BlockRef, method: String, params: Vec<u8>) -> Result<Answer, RpcError> {
        rpc::query(&head, &method, &params)
    }

    fn notify(head: BlockRef, filter: Vec<u8>, occurrence: Occurrence) -> Vec<Vec<u8>> {
        rpc::notify(&head, &filter, &occurrence)
    }
}

generated::export!(Runtime with_types_in generated);
