//! Transactions: decoding, who sent them, whether they may enter the pool, and their form for revm.

use alloy_consensus::{EthereumTxEnvelope, Transaction as _, TxEip4844, TxLegacy, TxType, Typed2718, transaction::RlpEcdsaDecodableTx};
use alloy_eips::{
    eip2718::{Decodable2718, Eip2718Error},
    eip7702::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Signature, U256};
use revm::{
    context::{TxEnv, either::Either},
    context_interface::cfg::gas::{InitialAndFloorGas, calculate_initial_tx_gas_for_tx},
};

use crate::{
    bindings::{
        exports::{Admission, RpcError},
        subnode::chain::{host as chain, pool, types::BlockRef},
    },
    deployers,
    dev::{Impersonation, Overrides},
    headers,
    host::{self, Recovery, from_word, to_word},
    notes::Standing,
    rpc::error,
    spec::{Fork, Spec},
    state::State,
};

/// A transaction as blocks carry it: blobs stay outside.
pub type Transaction = EthereumTxEnvelope<TxEip4844>;

/// Half of the secp256k1 order; EIP-2 forbids an `s` above it.
const SECP256K1_HALF_ORDER: U256 =
    U256::from_limbs([0xdfe9_2f46_681b_20a0, 0x5d57_6e73_57a4_501d, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff]);

/// What `r` begins with in the signature of a transaction whose sender a developer impersonates. A counter of one byte follows, then the sender.
const IMPERSONATED: [u8; 11] = *b"impersonate";
/// The same of one that nobody signed and whose sender need not be impersonated (`eth_sendUnsignedTransaction`).
const UNSIGNED: [u8; 11] = *b"unsigned tx";
const IMPERSONATED_S: U256 = U256::ONE;

/// The signature of a transaction whose sender a developer impersonates: `r` names the sender, and `s` is 1. To find a key that signs so
/// takes some 2^88 attempts. Only a developer's chain accepts it.
///
/// Other programs take it for a signature of somebody else's: `r` and `s` are in their ranges, and the counter is such that a public key
/// can be recovered.
pub fn impersonated_signature(sender: Address, digest: B256) -> Signature {
    marked_signature(&IMPERSONATED, sender, digest)
}

/// The same of a transaction that nobody signed. Its host must allow a developer's controls.
pub fn no_signature(sender: Address, digest: B256) -> Signature {
    marked_signature(&UNSIGNED, sender, digest)
}

fn marked_signature(mark: &[u8; 11], sender: Address, digest: B256) -> Signature {
    let of = |counter: u8| {
        let r = [mark.as_slice(), &[counter], sender.as_slice()].concat();
        Signature::new(U256::from_be_slice(&r), IMPERSONATED_S, false)
    };
    // One in two has a key.
    let recovers =
        |signature: &Signature| host::recover(&Recovery { digest, r: signature.r(), s: signature.s(), odd: signature.v() }).is_some();
    (0..u8::MAX).map(of).find(recovers).unwrap_or_else(|| of(u8::MAX))
}

/// The sender that a developer's signature names, and whether the sender must be impersonated.
fn named_sender(signature: &Signature) -> Option<(Address, bool)> {
    let r = signature.r().to_be_bytes::<32>();
    let is_impersonated = r.starts_with(&IMPERSONATED);
    let is_named = signature.s() == IMPERSONATED_S && !signature.v() && (is_impersonated || r.starts_with(&UNSIGNED));
    is_named.then(|| (Address::from_slice(&r[12..]), is_impersonated))
}

/// Decodes the canonical EIP-2718 form, nothing after it. Errors are worded as geth's.
pub fn decode(bytes: &[u8]) -> Result<Transaction, String> {
    let mut rest = bytes;
    let decoded = match bytes.first() {
        // Of a legacy transaction alloy's envelope says only that it is none.
        Some(0x80..) => TxLegacy::rlp_decode_signed(&mut rest).map(Transaction::Legacy).map_err(Eip2718Error::RlpError),
        Some(_) | None => Transaction::decode_2718(&mut rest),
    };
    let transaction = decoded.map_err(|error| match error {
        Eip2718Error::RlpError(error) => format!("rlp: {}", rlp_message(error, bytes)),
        _ => "transaction type not supported".to_owned(),
    })?;
    if rest.is_empty() { Ok(transaction) } else { Err("rlp: input contains more than one value".into()) }
}

/// What is wrong with a transaction's RLP, in geth's words.
fn rlp_message(error: alloy_rlp::Error, bytes: &[u8]) -> String {
    use alloy_rlp::Error;
    let (name, mut list) = match bytes {
        [1, list @ ..] => ("types.AccessListTx", list),
        [2, list @ ..] => ("types.DynamicFeeTx", list),
        [3, list @ ..] => ("types.BlobTx", list),
        [4, list @ ..] => ("types.SetCodeTx", list),
        list => ("types.LegacyTx", list),
    };
    let whole = alloy_rlp::Header::decode(&mut list).is_ok();
    match error {
        Error::InputTooShort if !whole => "value size exceeds available input length".into(),
        Error::InputTooShort => format!("too few elements for {name}"),
        Error::ListLengthMismatch { expected, got } if got > expected => format!("too few elements for {name}"),
        Error::ListLengthMismatch { .. } => format!("input list has too many elements for {name}"),
        Error::UnexpectedString => format!("expected input list for {name}"),
        Error::UnexpectedList => format!("expected input string or byte in {name}"),
        Error::UnexpectedLength => format!("input string of another length in {name}"),
        Error::Overflow => format!("input string too long in {name}"),
        Error::LeadingZero => format!("non-canonical integer (leading zero bytes) in {name}"),
        Error::NonCanonicalSingleByte | Error::NonCanonicalSize => "non-canonical size information".into(),
        Error::Custom(reason) => reason.to_owned(),
    }
}

/// Who sent each transaction, or none where the signature is not valid.
pub fn senders(spec: &Spec, transactions: &[&Transaction]) -> Vec<Option<Address>> {
    let items: Vec<_> = transactions
        .iter()
        .map(|transaction| {
            let signature = transaction.signature();
            Recovery { digest: transaction.signature_hash(), r: signature.r(), s: signature.s(), odd: signature.v() }
        })
        .collect();
    let recovered = host::recover_many(&items);
    recovered
        .into_iter()
        .zip(transactions)
        .map(|(sender, transaction)| {
            let signature = transaction.signature();
            if spec.dev
                && let Some((sender, _)) = named_sender(signature)
            {
                return Some(sender);
            }
            sender.filter(|_| signature.s() <= SECP256K1_HALF_ORDER)
        })
        .collect()
}

/// The transaction for revm, whose validation is the block's.
pub fn to_env(transaction: &Transaction, sender: Address) -> TxEnv {
    env(transaction, sender, recover_authorization)
}

/// The transaction for revm where only its size and shape matter.
pub fn to_env_unrecovered(transaction: &Transaction) -> TxEnv {
    env(transaction, Address::ZERO, |signed| RecoveredAuthorization::new_unchecked(signed.inner().clone(), RecoveredAuthority::Invalid))
}

fn env(transaction: &Transaction, sender: Address, recover: impl Fn(&SignedAuthorization) -> RecoveredAuthorization) -> TxEnv {
    let authorization_list =
        transaction.authorization_list().unwrap_or_default().iter().map(|signed| Either::Right(recover(signed))).collect();
    TxEnv {
        tx_type: transaction.ty(),
        caller: sender,
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        blob_hashes: transaction.blob_versioned_hashes().unwrap_or_default().to_vec(),
        max_fee_per_blob_gas: transaction.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list,
    }
}

/// EIP-7702: who signed an authorization, if anyone.
pub fn recover_authorization(signed: &SignedAuthorization) -> RecoveredAuthorization {
    // The parity is 0 or 1 and `s` is low.
    let well_formed = signed.y_parity() <= 1 && signed.s() <= SECP256K1_HALF_ORDER;
    let recovery = || Recovery { digest: signed.signature_hash(), r: signed.r(), s: signed.s(), odd: signed.y_parity() == 1 };
    let authority = well_formed.then(recovery).and_then(|item| host::recover(&item));
    RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid))
}

/// The oldest fork that knows a type.
pub fn fork_of(kind: TxType) -> Fork {
    match kind {
        TxType::Legacy | TxType::Eip2930 | TxType::Eip1559 => Fork::Paris,
        TxType::Eip4844 => Fork::Cancun,
        TxType::Eip7702 => Fork::Prague,
    }
}

/// Whether each transaction may enter the pool. Errors are geth's, word for word where clients look for them.
pub fn admit(head: &BlockRef, raw: &[Vec<u8>]) -> Vec<Result<Admission, RpcError>> {
    let spec = Spec::load();
    let (_, head) = headers::expect_header(head.height);
    let fork = spec.fork(spec.earliest_after(head.timestamp));
    let overrides = if spec.dev { Overrides::load() } else { Overrides::default() };
    let impersonation = if spec.dev { Impersonation::load() } else { Impersonation::default() };
    let base_fee = overrides.next_base_fee.unwrap_or_else(|| crate::header_rules::next_base_fee(spec, &head));
    let gas_limit = overrides.gas_limit.unwrap_or(head.gas_limit);

    let decoded: Vec<Result<Transaction, RpcError>> = raw.iter().map(|bytes| decode_pooled(spec, bytes)).collect();
    let valid: Vec<&Transaction> = decoded.iter().flatten().collect();
    let senders = senders(spec, &valid);
    let mut state = State::default();
    state.prefetch(senders.iter().flatten().copied());

    let refusal = Standing::load(&mut state).refusal();
    let mut senders = senders.into_iter();
    decoded
        .iter()
        .map(|transaction| {
            let transaction = transaction.as_ref().map_err(Clone::clone)?;
            let sender = senders.next().flatten().ok_or_else(|| error::rejected("invalid sender"))?;
            let named = named_sender(transaction.signature());
            let is_allowed = match named {
                None => true,
                Some((named, true)) => impersonation.includes(named),
                Some((_, false)) => chain::status().controls,
            };
            if !is_allowed {
                return Err(error::rejected("invalid sender"));
            }
            check(spec, fork, transaction, gas_limit)?;
            if let Some(reason) = refusal {
                return Err(error::rejected(reason));
            }
            if (spec.dev || spec.fees.constant().is_some()) && transaction.max_fee_per_gas() < u128::from(base_fee) {
                // Where the base fee moves it may wait for a lower one; a developer waiting for a receipt wants to know.
                return Err(error::rejected(&format!(
                    "max fee per gas less than block base fee: address {sender}, maxFeePerGas: {}, baseFee: {base_fee}",
                    transaction.max_fee_per_gas(),
                )));
            }
            let account = state.account(sender).unwrap_or_default();
            if transaction.nonce() < account.nonce {
                return Err(error::rejected(&format!("nonce too low: next nonce {}, tx nonce {}", account.nonce, transaction.nonce(),)));
            }
            if let Some(quota) = spec.fees.quota() {
                quota.admits(sender, transaction.nonce(), account.nonce).map_err(|reason| error::rejected(&reason))?;
            }
            if spec.deployers && transaction.is_create() {
                deployers::admit(&mut state, sender).map_err(|reason| error::rejected(&reason))?;
            }
            let code = state.code(account.code_hash);
            if !code.is_empty() && !code.is_eip7702() && named.is_none() && !impersonation.includes(sender) {
                return Err(error::rejected(&format!("sender not an eoa: address {sender}, len(code): {}", code.len())));
            }
            let cost = U256::from(transaction.max_fee_per_gas())
                .saturating_mul(U256::from(transaction.gas_limit()))
                .saturating_add(transaction.value());
            if cost > account.balance {
                return Err(error::rejected(&format!(
                    "insufficient funds for gas * price + value: balance {}, tx cost {cost}, overshot {}",
                    account.balance,
                    cost - account.balance,
                )));
            }
            if let Some(others) =
                pool::reserve(sender.as_slice(), transaction.nonce(), to_word(cost.into()), to_word(account.balance.into()))
            {
                let others = U256::from_be_bytes(from_word(others).0);
                return Err(error::rejected(&format!(
                    "insufficient funds for gas * price + value: balance {}, queued cost {others}, tx cost {cost}, overshot {}",
                    account.balance,
                    others.saturating_add(cost) - account.balance,
                )));
            }
            let tip = transaction.max_priority_fee_per_gas().unwrap_or_else(|| transaction.max_fee_per_gas());
            Ok(Admission {
                id: transaction.tx_hash().to_vec(),
                sender: sender.to_vec(),
                sequence: transaction.nonce(),
                next_sequence: account.nonce,
                priority: u64::try_from(tip).unwrap_or(u64::MAX),
                cap: u64::try_from(transaction.max_fee_per_gas()).unwrap_or(u64::MAX),
            })
        })
        .collect()
}

fn decode_pooled(spec: &Spec, bytes: &[u8]) -> Result<Transaction, RpcError> {
    let bytes_max = spec.pooled_bytes_max();
    if bytes.len() > bytes_max {
        return Err(error::rejected(&format!("oversized data: transaction size {}, limit {bytes_max}", bytes.len())));
    }
    match bytes {
        [] | [..0x80] => return Err(error::rejected("typed transaction too short")),
        [3, ..] => return Err(error::rejected("transaction type not supported: this chain carries no blobs")),
        [kind @ ..0x80, ..] if *kind == 0 || TxType::try_from(*kind).is_err() => {
            return Err(error::rejected("transaction type not supported"));
        }
        _ => {}
    }
    decode(bytes).map_err(|reason| error::rejected(&reason))
}

/// What can be said of a transaction without its sender's account.
fn check(spec: &Spec, fork: Fork, transaction: &Transaction, gas_limit: u64) -> Result<(), RpcError> {
    if fork < fork_of(transaction.tx_type()) {
        return Err(error::rejected(&format!(
            "transaction type not supported: type {} rejected, pool not yet in {:?}",
            transaction.ty(),
            fork_of(transaction.tx_type())
        )));
    }
    if let Some(id) = transaction.chain_id()
        && id != spec.chain_id
    {
        return Err(error::rejected(&format!("invalid chain id for signer: have {id} want {}", spec.chain_id)));
    }
    let initcode_max = spec.initcode_bytes_max();
    if transaction.is_create() && fork >= Fork::Shanghai && transaction.input().len() > initcode_max {
        return Err(error::rejected(&format!("max initcode size exceeded: code size {}, limit {initcode_max}", transaction.input().len())));
    }
    if transaction.gas_limit() > gas_limit {
        return Err(error::rejected("exceeds block gas limit"));
    }
    let gas_max = spec.tx_gas_max(fork);
    if transaction.gas_limit() > gas_max {
        let quota = spec.fees.quota().filter(|quota| quota.gas == gas_max);
        let why = quota.map_or("", |_| "; one sender has no more of a block of a chain without fees");
        return Err(error::rejected(&format!("transaction gas limit too high (cap: {gas_max}, tx: {}){why}", transaction.gas_limit())));
    }
    if let Some(tip) = transaction.max_priority_fee_per_gas()
        && tip > transaction.max_fee_per_gas()
    {
        return Err(error::rejected(&format!(
            "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {}",
            transaction.max_fee_per_gas()
        )));
    }
    if transaction.nonce() == u64::MAX {
        return Err(error::rejected("nonce has max value"));
    }
    if transaction.authorization_list().is_some_and(<[_]>::is_empty) {
        return Err(error::rejected("EIP-7702 transaction with empty auth list"));
    }
    let gas = intrinsic_gas(fork, transaction);
    if transaction.gas_limit() < gas.initial_total_gas() {
        return Err(error::rejected(&format!(
            "intrinsic gas too low: gas {}, minimum needed {}",
            transaction.gas_limit(),
            gas.initial_total_gas()
        )));
    }
    if fork >= Fork::Prague && transaction.gas_limit() < gas.floor_gas() {
        return Err(error::rejected(&format!(
            "insufficient gas for floor data gas cost: gas {}, minimum needed {}",
            transaction.gas_limit(),
            gas.floor_gas()
        )));
    }
    Ok(())
}

/// What a transaction costs before its first instruction, and at least (EIP-7623).
pub fn intrinsic_gas(fork: Fork, transaction: &Transaction) -> InitialAndFloorGas {
    calculate_initial_tx_gas_for_tx(to_env_unrecovered(transaction), fork.revm(), None)
}
