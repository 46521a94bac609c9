//! Public test suites, through the guest that chains run. `SUBNODE_FIXTURES` names the folder that holds them.
//!
//! | folder | what is run |
//! |---|---|
//! | `ethereum-tests/GeneralStateTests` | each transaction in a block built on its state: state root and logs, or its refusal |
//! | `ethereum-tests/BlockchainTests` | each block: accepted with its hash, or refused for the expected reason |
//! | `execution-spec-tests` | both kinds, packed (`.tar.xz`) or not |
//! | `rpc-compat` | the JSON-RPC cases, on their chain from its merge on |
//!
//! All forks that the guest knows are run, and the transitions between them. Each suite ends with a line that counts what passed and
//! names what was left out. The suites of RLP and tries are run where that code is (`guest-modules/evm`).
//!
//! Beside them, blocks of random transfers through a guest that leaves those to revm, and what no suite holds.

mod before_merge;
mod blobs;
mod blocks;
mod fees;
mod fixtures;
mod foreign;
mod refusals;
mod rpc;
mod rules;
mod states;
mod suites;
mod system_calls;
mod transfers;
