//! Accounts, storage, proofs.

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::storage::JsonStorageKey;
use alloy_trie::EMPTY_ROOT_HASH;

use super::{Call, Result, error, json, params::parse_slot, seek};
use crate::{
    bindings::subnode::chain::{keys, pool},
    dev::Impersonation,
    pending,
    spec::Spec,
    state::Rows,
};

/// The state after a block.
fn rows(call: &Call<'_>, block: BlockId) -> Result<Rows> {
    if block.is_pending() {
        return pending::block(call.head).map(|pending| pending.rows).map_err(|reason| error::rejected(&reason));
    }
    seek(call.head, block)?;
    Ok(Rows::default())
}

pub(super) fn balance(call: &mut Call<'_>) -> Result {
    let address: Address = call.params.required()?;
    let block = call.params.block()?;
    json(&rows(call, block)?.account(address).unwrap_or_default().balance)
}

pub(super) fn code(call: &mut Call<'_>) -> Result {
    let address: Address = call.params.required()?;
    let block = call.params.block()?;
    let rows = rows(call, block)?;
    json(&rows.account(address).map_or_else(Bytes::new, |account| rows.code(&account)))
}

pub(super) fn storage_at(call: &mut Call<'_>) -> Result {
    let address: Address = call.params.required()?;
    let slot = call.params.slot()?;
    let block = call.params.block()?;
    json(&B256::from(rows(call, block)?.word(address, slot.into())))
}

pub(super) fn transaction_count(call: &mut Call<'_>) -> Result {
    let address: Address = call.params.required()?;
    let block = call.params.block()?;
    if !block.is_pending() {
        seek(call.head, block)?;
    }
    let mut nonce = Rows::default().account(address).unwrap_or_default().nonce;
    if block.is_pending() {
        // All that are ready count, whether or not one block has room for them.
        nonce = pool::next_sequence(address.as_slice()).map_or(nonce, |pending| pending.max(nonce));
    }
    json(&format!("{nonce:#x}"))
}

/// Storage keys one proof may ask for (geth's bound).
const PROOF_KEYS_MAX: usize = 1024;

pub(super) fn proof(call: &mut Call<'_>) -> Result {
    let address: Address = call.params.required()?;
    let keys: Vec<String> = call.params.required()?;
    if keys.len() > PROOF_KEYS_MAX {
        return Err(error::invalid_params(format!("too many keys: {}, at most {PROOF_KEYS_MAX}", keys.len())));
    }
    let parsed = |key: &String| parse_slot(key).map(|slot| (named(key, slot), slot));
    let keys: Vec<(JsonStorageKey, B256)> =
        keys.iter().map(parsed).collect::<core::result::Result<_, _>>().map_err(error::invalid_params)?;
    let block = call.params.block()?;
    let rows = rows(call, block)?;
    let account = rows.account(address);
    let storage_root = account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
    let storage_proof = keys
        .into_iter()
        .map(|(key, slot)| EIP1186StorageProof {
            key,
            value: rows.word(address, slot.into()),
            proof: rows.storage_proof(address, storage_root, slot),
        })
        .collect();
    json(&EIP1186AccountProofResponse {
        address,
        balance: account.map_or(U256::ZERO, |account| account.balance),
        code_hash: account.map_or(KECCAK256_EMPTY, |account| account.code_hash),
        nonce: account.map_or(0, |account| account.nonce),
        storage_hash: storage_root,
        account_proof: rows.account_proof(address),
        storage_proof,
    })
}

/// The key as the answer names it: of 32 bytes where the client gave as many, else a number (geth's rule).
fn named(key: &str, slot: B256) -> JsonStorageKey {
    if key.len() >= 66 { JsonStorageKey::Hash(slot) } else { JsonStorageKey::Number(slot.into()) }
}

pub(super) fn account(call: &mut Call<'_>) -> Result {
    let address: Address = call.params.required()?;
    let block = call.params.block()?;
    json(&rows(call, block)?.account(address).map(|account| alloy_rpc_types_eth::Account {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        storage_root: account.storage_root,
    }))
}

pub(super) fn accounts() -> Result {
    let mut names: Vec<Address> = keys::accounts().iter().filter_map(|name| Address::try_from(name.as_slice()).ok()).collect();
    if Spec::load().dev {
        let impersonated = Impersonation::load().accounts;
        names.extend(impersonated.into_iter().filter(|address| !names.contains(address)).collect::<Vec<_>>());
    }
    json(&names)
}
