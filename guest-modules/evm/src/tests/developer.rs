//! A developer's chain in this thread's host, for tests that make their own blocks.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use serde_json::{Value, json};

use super::{chain, imports};
use crate::{
    bindings::{exports::Attributes, subnode::chain::types::BlockRef},
    block,
    transaction::{Transaction, impersonated_signature},
};

pub const SENDER: Address = address!("a100000000000000000000000000000000000000");
pub const COINBASE: Address = address!("cb00000000000000000000000000000000000000");

/// A chain whose genesis has a rich sender, and these contracts.
pub fn begin(contracts: &[(Address, Bytes)]) -> BlockRef {
    let mut alloc = json!({ SENDER.to_string(): { "balance": "0xde0b6b3a7640000" } });
    for (address, code) in contracts {
        alloc[address.to_string()] = json!({ "balance": "0x0", "nonce": "0x1", "code": code });
    }
    let spec = json!({
        "config": {
            "chainId": 1337, "terminalTotalDifficulty": 0,
            "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0,
            "subnode": { "dev": true },
        },
        "alloc": alloc,
        "coinbase": COINBASE,
        "difficulty": "0x0",
        "gasLimit": "0x1c9c380",
        "baseFeePerGas": "0x7",
    });
    chain::begin(&spec)
}

/// The impersonated sender's transaction that calls an address, or creates a contract.
pub fn transaction(nonce: u64, to: TxKind, value: u64, input: Bytes) -> Transaction {
    let fields = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1,
        to,
        value: U256::from(value),
        input,
        ..TxEip1559::default()
    };
    let signature = impersonated_signature(SENDER, fields.signature_hash());
    Transaction::Eip1559(fields.into_signed(signature))
}

/// A block with these transactions, committed.
pub fn mine(head: &BlockRef, transactions: &[Transaction]) -> BlockRef {
    let pooled = |transaction: &Transaction| [transaction.tx_hash().to_vec(), SENDER.to_vec(), transaction.encoded_2718()];
    imports::with(|tables| {
        tables.at = head.height;
        tables.pooled = transactions.iter().map(pooled).collect();
    });
    let attributes = Attributes { timestamp_ms: head.timestamp_ms + 12_000, seed: vec![7; 32] };
    let built = block::build(head, &attributes).unwrap_or_else(|invalid| panic!("{}", invalid.reason));
    assert_eq!(built.outcome.transactions as usize, transactions.len());
    assert_eq!(imports::with(|tables| tables.seed.take()), Some(attributes.seed), "it declares what it used");
    chain::commit(&built.block, built.outcome)
}

/// A word as JSON has it.
pub fn word(number: u64) -> Value {
    json!(B256::from(U256::from(number)))
}
