//! What the end-to-end tests and the benches share: nodes and testnets as processes, genesis files, transactions,
//! modules and members that break the rules.

/// Genesis files of any size.
pub mod alloc;
/// Committees that attest.
pub mod attesters;
/// Members that break the rules of `bft`.
pub mod bad_member;
/// A contract that counts and says so, compiled by hand.
pub mod counter;
/// Guest modules built from changed or new sources.
pub mod guests;
/// A client for load and for what no client library would send.
pub mod http;
/// Modules that misbehave.
pub mod module;
/// Ethereum without a guest.
pub mod native;
/// All that an operator can ask of a chain.
pub mod operations;
/// Nodes and their operators.
pub mod operator;
/// Real `subnode` processes.
pub mod process;
/// A runtime guest without a chain around it.
pub mod replay;
/// Members of `bft` that search for a seed they like.
pub mod seed_grinder;
/// Networks of real nodes on this machine.
pub mod testnet;
/// Accounts that send transactions.
pub mod transfer;
