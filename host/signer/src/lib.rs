//! The only place with secret keys.
//!
//! [`DevAccounts`] are secp256k1 keys that a developer's chain signs with in its clients' stead. Guests name an account and get a
//! signature; the keys stay here.
//!
//! A [`Voter`] signs the votes of one chain with its node's ed25519 key. Its [`Guard`] remembers what was signed and refuses a second text
//! at the same position; whoever uses it makes the guard durable before a signature leaves.
//!
//! Not here: what is signed, where the guard is kept (`chain`).

mod dev_accounts;
mod guard;
mod voter;

pub use dev_accounts::{DevAccounts, KeyError};
pub use guard::{Guard, GuardCorrupt};
pub use voter::{SILENCE, Voter};
