//! What a developer changes about a chain besides its accounts: a row of the state table, so that it survives a restart
//! and is undone by a revert like everything else.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::{
    bindings::subnode::chain::types::Change,
    host::{self, Table},
};

const OVERRIDES_KEY: &[u8] = b"D";

/// Only on chains whose spec says `dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    impersonated: BTreeSet<Address>,
    pub auto_impersonate: bool,
    /// Base fee of the next block, and of that one only.
    pub next_base_fee: Option<u64>,
    /// Randomness of the next block, and of that one only.
    pub next_prev_randao: Option<B256>,
    pub gas_limit: Option<u64>,
    pub coinbase: Option<Address>,
}

impl Overrides {
    pub fn load() -> Self {
        let Some(row) = host::get(Table::State, OVERRIDES_KEY) else { return Self::default() };
        serde_json::from_slice(&row).unwrap_or_else(|error| panic!("malformed overrides row: {error}"))
    }

    pub fn impersonates(&self, address: Address) -> bool {
        self.auto_impersonate || self.impersonated.contains(&address)
    }

    pub fn impersonate(&mut self, address: Address) {
        self.impersonated.insert(address);
    }

    pub fn stop_impersonating(&mut self, address: Address) {
        self.impersonated.remove(&address);
    }

    pub fn change(&self) -> Change {
        let value = (*self != Self::default())
            .then(|| serde_json::to_vec(self).unwrap_or_else(|error| panic!("overrides do not serialize: {error}")));
        Change { key: OVERRIDES_KEY.to_vec(), value }
    }

    /// What is left of the overrides once a block used them; none where nothing changed.
    pub fn after_block(&self) -> Option<Self> {
        let after = Self { next_base_fee: None, next_prev_randao: None, ..self.clone() };
        (after != *self).then_some(after)
    }
}
