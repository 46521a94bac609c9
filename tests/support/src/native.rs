//! Ethereum executed by revm itself, without a guest: what tests compare with and benches measure against.

use alloy::{
    consensus::{Transaction as _, TxEnvelope, Typed2718},
    primitives::Address,
};
use revm::context::TxEnv;

/// A transaction from before blobs and authorizations, for revm.
#[must_use]
pub fn environment(transaction: &TxEnvelope, caller: Address) -> TxEnv {
    TxEnv {
        tx_type: transaction.ty(),
        caller,
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        ..TxEnv::default()
    }
}
