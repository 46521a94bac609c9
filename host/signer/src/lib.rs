//! The only crate with secret keys.
//!
//! [`DevAccounts`] are secp256k1 keys with which a developer's chain signs for its clients. Guests name an account
//! and get a signature. The keys stay in this crate.
//!
//! A [`Voter`] signs the votes of one chain with its node's ed25519 key. Its [`Guard`] remembers what was signed
//! and refuses a second text at the same position. Statements are signed by the same key under the same rule. The
//! caller makes the guard durable before a signature leaves the host.
//!
//! The same key draws the seeds of the blocks that its node proposes, by a verifiable random function.
//!
//! An [`AttestKey`] is the secp256k1 key with which a node attests blocks to outsiders, under the same guard: one digest
//! at each height, and none before the last.
//!
//! Not here: what is signed, where the guard is stored (`chain`).

mod attester;
mod dev_accounts;
mod guard;
mod statement_guard;
mod voter;
mod vrf;

pub use attester::{AttestKey, AttestSignature};
pub use dev_accounts::{DevAccounts, KeyError};
pub use guard::{Guard, GuardCorrupt};
pub use voter::{DrawnSeed, SILENCE, Voter, Vouched};
pub use vrf::PROOF_BYTES;
