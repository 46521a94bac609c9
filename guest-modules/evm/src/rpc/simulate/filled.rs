//! A simulated call as a transaction: what the client left open filled in, and without a signature.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_rlp::{Encodable, Header as RlpHeader};
use alloy_rpc_types_eth::TransactionRequest;

use super::super::{Result, call::input_of, error};
use crate::transaction::Transaction;

/// A transaction, in the bytes that its hash and the transactions root are of.
pub struct Filled {
    pub transaction: Transaction,
    pub sender: Address,
    pub hash: B256,
    pub bytes: Vec<u8>,
}

/// What a request takes where it names nothing.
pub struct Defaults {
    pub nonce: u64,
    pub gas: u64,
    pub chain_id: u64,
}

impl Filled {
    /// The transaction of a request, of the type that its fields ask for: EIP-1559's unless they say otherwise.
    pub fn new(request: TransactionRequest, defaults: &Defaults) -> Result<Self> {
        if request.gas_price.is_some() && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some()) {
            return Err(error::rejected("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
        }
        if let Some(id) = request.chain_id
            && id != defaults.chain_id
        {
            return Err(error::rejected(&format!("chainId does not match node's (have={id}, want={})", defaults.chain_id)));
        }
        let sender = request.from.unwrap_or_default();
        let (chain_id, nonce, gas_limit) = (defaults.chain_id, defaults.nonce, defaults.gas);
        let to = request.to.unwrap_or(TxKind::Create);
        let (value, input) = (request.value.unwrap_or_default(), input_of(&request)?);
        let access_list = request.access_list.unwrap_or_default();
        let max_fee_per_gas = request.max_fee_per_gas.unwrap_or_default();
        let max_priority_fee_per_gas = request.max_priority_fee_per_gas.unwrap_or_default();
        let called = || to.to().copied().ok_or_else(|| error::rejected("this type of transaction creates no contract"));
        let none = Signature::new(U256::ZERO, U256::ZERO, false);
        let transaction = if let Some(gas_price) = request.gas_price {
            let legacy = TxLegacy { chain_id: None, nonce, gas_price, gas_limit, to, value, input };
            let bytes = unsigned_legacy(&legacy);
            let hash = keccak256(&bytes);
            let transaction = Transaction::Legacy(alloy_consensus::Signed::new_unchecked(legacy, none, hash));
            return Ok(Self { transaction, sender, hash, bytes });
        } else if let Some(authorization_list) = request.authorization_list {
            let to = called()?;
            let fields = TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                authorization_list,
                input,
            };
            Transaction::Eip7702(fields.into_signed(none))
        } else if let Some(blob_versioned_hashes) = request.blob_versioned_hashes {
            let to = called()?;
            let fields = TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                blob_versioned_hashes,
                max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or_default(),
                input,
            };
            Transaction::Eip4844(fields.into_signed(none))
        } else {
            let fields = TxEip1559 { chain_id, nonce, gas_limit, max_fee_per_gas, max_priority_fee_per_gas, to, value, access_list, input };
            Transaction::Eip1559(fields.into_signed(none))
        };
        let (hash, bytes) = (*transaction.tx_hash(), transaction.encoded_2718());
        Ok(Self { transaction, sender, hash, bytes })
    }
}

/// A legacy transaction whose signature is three zeros, which alloy cannot write: it has the parity of a signature at least.
fn unsigned_legacy(fields: &TxLegacy) -> Vec<u8> {
    let TxLegacy { nonce, gas_price, gas_limit, to, value, input, .. } = fields;
    let zero = 0u8;
    let items: [&dyn Encodable; 9] = [nonce, gas_price, gas_limit, to, value, input as &Bytes, &zero, &zero, &zero];
    let mut bytes = Vec::new();
    RlpHeader { list: true, payload_length: items.iter().map(|item| item.length()).sum() }.encode(&mut bytes);
    items.iter().for_each(|item| item.encode(&mut bytes));
    bytes
}
