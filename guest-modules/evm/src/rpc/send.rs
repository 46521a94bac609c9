//! Sending and signing in a client's stead, and what waits in the pool.

use std::collections::BTreeMap;

use alloy_consensus::{SignableTransaction, Transaction as _, TypedTransaction};
use alloy_dyn_abi::TypedData;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, eip191_hash_message};
use alloy_rpc_types_eth::TransactionRequest;
use serde_json::{Value, json as value};

use super::{
    Call, Result, act, blocks,
    call::{estimate_to_send, gas_max, input_of, next_nonce},
    error,
    fees::suggested,
    json,
};
use crate::{
    bindings::{
        exports::{Action, RpcError},
        subnode::chain::{host, keys, pool},
    },
    dev::Impersonation,
    host::{from_word, to_word},
    spec::Spec,
    state::Rows,
    transaction::{self, Transaction, impersonated_signature, no_signature},
    transfer::GAS as TRANSFER_GAS,
};

fn sign_digest(account: Address, digest: B256) -> Result<Signature> {
    let signature = keys::sign(account.as_slice(), to_word(digest)).ok_or_else(|| error::rejected("unknown account"))?;
    Ok(Signature::new(from_word(signature.r).into(), from_word(signature.s).into(), signature.odd))
}

/// Who sends: the first of the host's accounts where a client names nobody.
fn sender_of(request: &TransactionRequest) -> Result<Address> {
    let first = || keys::accounts().first().and_then(|name| Address::try_from(name.as_slice()).ok());
    request.from.or_else(first).ok_or_else(|| error::rejected("missing \"from\""))
}

/// The request of this sender with everything filled in that it left open.
fn fill(call: &Call<'_>, from: Address, mut request: TransactionRequest) -> Result<TypedTransaction> {
    let spec = Spec::load();
    request.from = Some(from);
    if let Some(id) = request.chain_id
        && id != spec.chain_id
    {
        return Err(error::rejected(&format!("chainId does not match node's (have={id}, want={})", spec.chain_id)));
    }
    request.chain_id = Some(spec.chain_id);
    request.to = Some(request.to.unwrap_or(TxKind::Create));
    request.nonce = Some(request.nonce.unwrap_or_else(|| next_nonce(from)));
    request.input = input_of(&request)?.into();
    if request.gas_price.is_none() {
        let (tip, cap) = suggested(call, request.max_priority_fee_per_gas);
        let tip = request.max_priority_fee_per_gas.unwrap_or_else(|| request.max_fee_per_gas.map_or(tip, |cap| tip.min(cap)));
        request.max_priority_fee_per_gas = Some(tip);
        request.max_fee_per_gas = Some(request.max_fee_per_gas.unwrap_or_else(|| cap.max(tip)));
    }
    if request.gas.is_none() {
        let estimated = estimate_to_send(call, &request);
        request.gas =
            Some(if call.method.starts_with("eth_send") { gas_to_fail_with(call, from, &request, estimated)? } else { estimated? });
    }
    request.transaction_type = None;
    request.build_typed_tx().map_err(|_| error::invalid_params("the fields given are of no one transaction type"))
}

/// The estimate, or where that fails because the transaction will, what it fails with: as much gas as a block has room for and its sender can
/// pay. A developer wants to see it fail in a block.
fn gas_to_fail_with(call: &Call<'_>, from: Address, request: &TransactionRequest, estimated: Result<u64>) -> Result<u64> {
    match estimated {
        Err(RpcError { code: error::INVALID_PARAMS, .. }) | Ok(_) => return estimated,
        Err(_) => {}
    }
    let most = gas_max(call);
    let balance = Rows::default().account(from).unwrap_or_default().balance;
    let price = U256::from(request.gas_price.or(request.max_fee_per_gas).unwrap_or_default());
    let payable = balance.saturating_sub(request.value.unwrap_or_default()).checked_div(price).unwrap_or(U256::MAX);
    let payable = u64::try_from(payable).unwrap_or(u64::MAX);
    // Who can pay nothing is told so by admission.
    Ok(if payable < TRANSFER_GAS { most } else { most.min(payable) })
}

fn signed(typed: TypedTransaction, signature: Signature) -> Result<Transaction> {
    let envelope = match typed {
        TypedTransaction::Legacy(transaction) => Transaction::Legacy(transaction.into_signed(signature)),
        TypedTransaction::Eip2930(transaction) => Transaction::Eip2930(transaction.into_signed(signature)),
        TypedTransaction::Eip1559(transaction) => Transaction::Eip1559(transaction.into_signed(signature)),
        TypedTransaction::Eip7702(transaction) => Transaction::Eip7702(transaction.into_signed(signature)),
        TypedTransaction::Eip4844(_) => return Err(error::rejected("transaction type not supported: this chain carries no blobs")),
    };
    Ok(envelope)
}

fn digest(typed: &TypedTransaction) -> B256 {
    match typed {
        TypedTransaction::Legacy(transaction) => transaction.signature_hash(),
        TypedTransaction::Eip2930(transaction) => transaction.signature_hash(),
        TypedTransaction::Eip1559(transaction) => transaction.signature_hash(),
        TypedTransaction::Eip4844(transaction) => transaction.signature_hash(),
        TypedTransaction::Eip7702(transaction) => transaction.signature_hash(),
    }
}

/// The signed transaction of a call, and whether its nonce is the client's own.
fn prepare(call: &mut Call<'_>) -> Result<(Transaction, bool)> {
    let request: TransactionRequest = call.params.required()?;
    let numbered = request.nonce.is_some();
    let from = sender_of(&request)?;
    let known = keys::accounts().iter().any(|name| name == from.as_slice());
    let is_unsigned = call.method == "eth_sendUnsignedTransaction" && host::status().controls;
    let impersonated = !known && Spec::load().dev && (is_unsigned || Impersonation::load().includes(from));
    if !known && !impersonated {
        return Err(error::rejected("unknown account"));
    }
    let typed = fill(call, from, request)?;
    let digest = digest(&typed);
    let signature = match (impersonated, is_unsigned) {
        (false, _) => sign_digest(from, digest)?,
        (true, false) => impersonated_signature(from, digest),
        (true, true) => no_signature(from, digest),
    };
    Ok((signed(typed, signature)?, numbered))
}

pub(super) fn send_transaction(call: &mut Call<'_>) -> Result {
    let (transaction, numbered) = prepare(call)?;
    let bytes = transaction.encoded_2718();
    act(if numbered { Action::Submit(bytes) } else { Action::SubmitCompleted(bytes) })
}

pub(super) fn sign_transaction(call: &mut Call<'_>) -> Result {
    let (transaction, _) = prepare(call)?;
    json(&Bytes::from(transaction.encoded_2718()))
}

pub(super) fn fill_transaction(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let typed = fill(call, sender_of(&request)?, request)?;
    // Without a signature, as geth answers: its numbers are 0.
    let unsigned = signed(typed, Signature::new(U256::ZERO, U256::ZERO, false))?;
    let raw = Bytes::from(unsigned.encoded_2718());
    let mut transaction = value!(unsigned);
    if let Some(fields) = transaction.as_object_mut() {
        fields.entry("gasPrice").or_insert(Value::Null);
    }
    json(&value!({ "raw": raw, "tx": transaction }))
}

fn signature_json(signature: &Signature) -> Result {
    json(&Bytes::from(signature.as_bytes().to_vec()))
}

pub(super) fn sign(call: &mut Call<'_>) -> Result {
    let (account, message): (Address, Bytes) = if call.method == "eth_sign" {
        (call.params.required()?, call.params.required()?)
    } else {
        let message = call.params.required()?;
        (call.params.required()?, message)
    };
    signature_json(&sign_digest(account, eip191_hash_message(&message))?)
}

pub(super) fn sign_typed_data(call: &mut Call<'_>) -> Result {
    let account: Address = call.params.required()?;
    let data: Value = call.params.required()?;
    // Some wallets send the document as text.
    let data = match data {
        Value::String(text) => serde_json::from_str(&text),
        document => serde_json::from_value(document),
    };
    let data: TypedData = data.map_err(|reason| error::invalid_params(format!("invalid typed data: {reason}")))?;
    let digest = data.eip712_signing_hash().map_err(|reason| error::invalid_params(format!("invalid typed data: {reason}")))?;
    signature_json(&sign_digest(account, digest)?)
}

pub(super) fn pool_status() -> Result {
    let counts = pool::counts();
    json(&value!({ "pending": format!("{:#x}", counts.ready), "queued": format!("{:#x}", counts.waiting) }))
}

/// Transactions that one answer lists at most.
const LISTED_MAX: u32 = 4096;

/// Pooled transactions, ready and waiting, each as `form` writes it, by sender (as EIP-55 writes it) and nonce.
fn listed(
    all: Vec<pool::Pooled>,
    form: impl Fn(&Transaction, Address) -> Value,
) -> BTreeMap<&'static str, BTreeMap<String, BTreeMap<u64, Value>>> {
    let mut lists: BTreeMap<_, BTreeMap<String, BTreeMap<u64, Value>>> = [("pending", BTreeMap::new()), ("queued", BTreeMap::new())].into();
    for waiting in all {
        let (Ok(transaction), Ok(sender)) = (transaction::decode(&waiting.data), Address::try_from(waiting.sender.as_slice())) else {
            continue;
        };
        let list = lists.entry(if waiting.ready { "pending" } else { "queued" }).or_default();
        list.entry(sender.to_string()).or_default().insert(waiting.sequence, form(&transaction, sender));
    }
    lists
}

fn in_full(transaction: &Transaction, sender: Address) -> Value {
    serde_json::to_value(blocks::pooled(transaction.clone(), sender)).unwrap_or_default()
}

pub(super) fn pool_content(_call: &mut Call<'_>) -> Result {
    json(&listed(pool::all(LISTED_MAX), in_full))
}

pub(super) fn pool_content_from(call: &mut Call<'_>) -> core::result::Result<crate::bindings::exports::Answer, RpcError> {
    let sender: Address = call.params.required()?;
    let lists = listed(pool::by_sender(sender.as_slice(), LISTED_MAX), in_full);
    let own: BTreeMap<_, _> =
        lists.into_iter().map(|(list, mut senders)| (list, senders.remove(&sender.to_string()).unwrap_or_default())).collect();
    json(&own)
}

pub(super) fn pool_inspect(_call: &mut Call<'_>) -> Result {
    json(&listed(pool::all(LISTED_MAX), |transaction, _| {
        let to = transaction.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_string());
        Value::String(format!(
            "{to}: {} wei + {} gas × {} wei",
            transaction.value(),
            transaction.gas_limit(),
            transaction.max_fee_per_gas()
        ))
    }))
}
