//! What takes bytes from outside, on bytes that nobody thought of: nothing panics, nothing takes more memory or answers more than its input
//! accounts for, and what is answered is well formed. `tests/fuzzer` says how long, from which seed, and what to do with what is found.
//!
//! What is private to its crate is tried there: `host/network/src/network/fuzzed.rs`, `host/cli/src/config/fuzzed.rs`.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod admin;
mod answers;
mod decoders;
mod framing;
mod modules;
mod port;
mod values;

/// A runtime whose tasks run on the thread of the test, but for those that block. Tests take turns (`subnode_fuzzer::alone`), with what they
/// prepare too: what another test allocates would count as memory of an input.
fn on_this_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
