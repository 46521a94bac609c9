//! The accounts of a dev chain.

use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use coins_bip32::prelude::{Parent, SigningKey};
use coins_bip39::{English, Mnemonic};
use subnode_signer::DevAccounts;

/// The mnemonic that every Ethereum developer's tool starts with.
pub const DEFAULT_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Where Ethereum wallets derive accounts (BIP-44).
const PATH: &str = "m/44'/60'/0'/0";

/// An account whose key the chain's user has.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// Signs for it.
    pub signer: PrivateKeySigner,
}

/// A mnemonic that gives no accounts.
#[derive(Debug, thiserror::Error)]
#[error("mnemonic {phrase:?}: {reason}")]
pub struct AccountsError {
    phrase: String,
    reason: String,
}

impl Account {
    /// Its secret key.
    pub fn secret(&self) -> B256 {
        self.signer.to_bytes()
    }
}

/// The first accounts of a mnemonic.
///
/// # Errors
/// Where the phrase is no BIP-39 mnemonic.
pub fn accounts(phrase: &str, count: u32) -> Result<Vec<Account>, AccountsError> {
    let wrong = |reason: String| AccountsError { phrase: phrase.to_owned(), reason };
    let mnemonic = Mnemonic::<English>::new_from_phrase(phrase).map_err(|error| wrong(error.to_string()))?;
    // The seed is the slow part (2048 rounds of HMAC), so it is made once for all accounts.
    let parent = mnemonic.derive_key(PATH, None).map_err(|error| wrong(error.to_string()))?;
    (0..count)
        .map(|index| {
            let child = parent.derive_child(index).map_err(|error| wrong(error.to_string()))?;
            let key: &SigningKey = child.as_ref();
            let signer = PrivateKeySigner::from_signing_key(key.clone());
            Ok(Account { address: signer.address(), signer })
        })
        .collect()
}

/// Accounts as the host signs with them in its clients' stead.
#[derive(Default)]
pub struct Signers(DevAccounts);

impl Signers {
    /// Signs for these accounts.
    #[must_use]
    pub fn of(accounts: &[Account]) -> Self {
        let keys = accounts.iter().map(|account| (account.address.to_vec(), account.secret().0));
        // A signer's key is a key.
        Self(DevAccounts::new(keys).unwrap_or_default())
    }
}

impl subnode_sandbox::Accounts for Signers {
    fn names(&self) -> Vec<Vec<u8>> {
        self.0.names()
    }

    fn sign(&self, name: &[u8], digest: &[u8; 32]) -> Option<subnode_sandbox::Signature> {
        self.0.sign(name, digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_accounts_are_everyones() {
        let accounts = accounts(DEFAULT_MNEMONIC, 10).expect("valid");
        assert_eq!(accounts[0].address.to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(accounts[9].address.to_string(), "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720");
        assert_eq!(accounts[0].secret().to_string(), "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    }
}
