//! The only place with secret keys.
//!
//! [`DevAccounts`] are secp256k1 keys that a developer's chain signs with in its clients' stead. Guests name an account and get a
//! signature; the keys stay here.
//!
//! Not here: validators' keys (they come with a network of validators), what is signed.

mod dev_accounts;

pub use dev_accounts::{DevAccounts, KeyError};
