//! What a developer changes about a chain besides its accounts: rows of the state table, so that they survive a restart. [`Overrides`] are undone by
//! a revert like everything else, [`Impersonation`] is not.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    bindings::subnode::chain::types::Change,
    host::{self, Table},
};

const OVERRIDES_KEY: &[u8] = b"D";
/// The host leaves rows that begin with 0xff as they are when it reverts.
const IMPERSONATION_KEY: &[u8] = b"\xffI";

fn load<T: Default + DeserializeOwned>(key: &[u8]) -> T {
    let Some(row) = host::get(Table::State, key) else { return T::default() };
    serde_json::from_slice(&row).unwrap_or_else(|error| panic!("malformed row of a developer's: {error}"))
}

/// The row of a value; none of what is nothing special.
fn change<T: Default + PartialEq + Serialize>(key: &[u8], value: &T) -> Change {
    let row = || serde_json::to_vec(value).unwrap_or_else(|error| panic!("a developer's row does not serialize: {error}"));
    Change { key: key.to_vec(), value: (*value != T::default()).then(row) }
}

/// Only on chains whose spec says `dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Base fee of the next block, and of that one only.
    pub next_base_fee: Option<u64>,
    /// Randomness of the next block, and of that one only.
    pub next_prev_randao: Option<B256>,
    pub gas_limit: Option<u64>,
    pub coinbase: Option<Address>,
}

impl Overrides {
    pub fn load() -> Self {
        load(OVERRIDES_KEY)
    }

    pub fn change(&self) -> Change {
        change(OVERRIDES_KEY, self)
    }

    /// What is left of the overrides once a block used them; none where nothing changed.
    pub fn after_block(&self) -> Option<Self> {
        let after = Self { next_base_fee: None, next_prev_randao: None, ..self.clone() };
        (after != *self).then_some(after)
    }
}

/// Whose transactions are taken without a signature. Only on chains whose spec says `dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impersonation {
    pub accounts: BTreeSet<Address>,
    /// Everyone's.
    pub all: bool,
}

impl Impersonation {
    pub fn load() -> Self {
        load(IMPERSONATION_KEY)
    }

    pub fn includes(&self, address: Address) -> bool {
        self.all || self.accounts.contains(&address)
    }

    pub fn change(&self) -> Change {
        change(IMPERSONATION_KEY, self)
    }
}
