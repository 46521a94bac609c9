//! Why a block is refused: the suites name kinds, the guest gives reasons.

/// For each kind, what a reason of that kind has in it. The first column is the execution specification's tests' own name.
const KINDS: &[(&str, &[&str])] = &[
    // Blocks.
    ("BLOB_GAS_USED_ABOVE_LIMIT", &["blobs, at most", "too many blobs"]),
    ("EXTRA_DATA_TOO_BIG", &["extra data of"]),
    ("GASLIMIT_TOO_BIG", &["gas limit: header has"]),
    ("GAS_USED_OVERFLOW", &["caller gas limit exceeds the block gas limit", "above limit"]),
    ("IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS", &["difficulty is not 0"]),
    ("IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS", &["ommers"]),
    ("INCORRECT_BLOB_GAS_USED", &["blob gas used: header has"]),
    ("INCORRECT_BLOCK_FORMAT", &["block does not decode", "present before"]),
    ("INCORRECT_EXCESS_BLOB_GAS", &["excess blob gas: header has"]),
    ("INVALID_BASEFEE_PER_GAS", &["base fee: header has"]),
    ("INVALID_BLOCK_NUMBER", &["number: header has"]),
    ("INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT", &["timestamp: header has"]),
    ("INVALID_DEPOSIT_EVENT_LAYOUT", &["invalid deposit event"]),
    ("INVALID_DIFFICULTY", &["difficulty is not 0"]),
    ("INVALID_GASLIMIT", &["gas limit: header has"]),
    ("INVALID_GAS_USED", &["gas used: header has"]),
    ("INVALID_GAS_USED_ABOVE_LIMIT", &["above limit"]),
    ("INVALID_LOG_BLOOM", &["logs bloom"]),
    ("INVALID_RECEIPTS_ROOT", &["receipts root: header has"]),
    ("INVALID_REQUESTS", &["requests hash: header has"]),
    ("INVALID_STATE_ROOT", &["state root: header has"]),
    ("INVALID_TRANSACTIONS_ROOT", &["transactions root: header has"]),
    ("INVALID_UNCLES_HASH", &["ommers"]),
    ("INVALID_VERSIONED_HASHES", &["blob version not supported"]),
    ("INVALID_WITHDRAWALS_ROOT", &["withdrawals root: header has"]),
    ("RLP_BLOCK_LIMIT_EXCEEDED", &["block of"]),
    ("RLP_INVALID_ADDRESS", &["block does not decode"]),
    ("RLP_INVALID_FIELD_OVERFLOW_64", &["block does not decode"]),
    ("RLP_STRUCTURES_ENCODING", &["block does not decode", "after the block"]),
    ("RLP_WITHDRAWALS_NOT_READ", &["block does not decode"]),
    ("SYSTEM_CONTRACT_CALL_FAILED", &["system call to"]),
    ("SYSTEM_CONTRACT_EMPTY", &["has no code"]),
    ("TOO_MANY_UNCLES", &["ommers"]),
    ("UNKNOWN_PARENT", &["parent hash: header has"]),
    ("UNKNOWN_PARENT_ZERO", &["parent hash: header has"]),
    // Transactions.
    ("ADDRESS_TOO_LONG", &["block does not decode"]),
    ("ADDRESS_TOO_SHORT", &["block does not decode"]),
    ("EC_RECOVERY_FAIL", &["invalid signature"]),
    ("GASLIMIT_OVERFLOW", &["block does not decode"]),
    ("GASLIMIT_PRICE_PRODUCT_OVERFLOW", &["overflow payment", "lack of funds", "block does not decode"]),
    ("GASPRICE_OVERFLOW", &["block does not decode", "overflow payment"]),
    ("GAS_ALLOWANCE_EXCEEDED", &["caller gas limit exceeds the block gas limit"]),
    ("GAS_LIMIT_EXCEEDS_MAXIMUM", &["is greater than the cap"]),
    ("INITCODE_SIZE_EXCEEDED", &["create initcode size limit"]),
    ("INSUFFICIENT_ACCOUNT_FUNDS", &["lack of funds", "overflow payment"]),
    ("INSUFFICIENT_MAX_FEE_PER_BLOB_GAS", &["greater than max fee per blob gas"]),
    ("INSUFFICIENT_MAX_FEE_PER_GAS", &["gas price is less than basefee"]),
    ("INTRINSIC_GAS_BELOW_FLOOR_GAS_COST", &["gas floor"]),
    ("INTRINSIC_GAS_TOO_LOW", &["call gas cost"]),
    ("INVALID_CHAINID", &["invalid chain ID"]),
    ("INVALID_SIGNATURE_VRS", &["invalid signature", "block does not decode"]),
    ("NONCE_IS_MAX", &["nonce overflow"]),
    ("NONCE_MISMATCH_TOO_HIGH", &["too high, expected"]),
    ("NONCE_MISMATCH_TOO_LOW", &["too low, expected"]),
    ("NONCE_OVERFLOW", &["block does not decode", "nonce overflow"]),
    ("NONCE_TOO_BIG", &["block does not decode", "nonce overflow"]),
    ("PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS", &["priority fee is greater than max fee"]),
    ("PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS_2", &["priority fee is greater than max fee"]),
    ("PRIORITY_OVERFLOW", &["block does not decode", "priority fee is greater than max fee"]),
    ("SENDER_NOT_EOA", &["reject transactions from senders with deployed code"]),
    ("TYPE_3_TX_BLOB_COUNT_EXCEEDED", &["too many blobs"]),
    ("TYPE_3_TX_CONTRACT_CREATION", &["block does not decode"]),
    ("TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH", &["blob version not supported"]),
    ("TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED", &["blobs, at most", "too many blobs"]),
    ("TYPE_3_TX_PRE_FORK", &["type EIP-4844 before"]),
    ("TYPE_3_TX_WITH_FULL_BLOBS", &["block does not decode"]),
    ("TYPE_3_TX_ZERO_BLOBS", &["empty blobs"]),
    ("TYPE_3_TX_ZERO_BLOBS_PRE_FORK", &["type EIP-4844 before"]),
    ("TYPE_4_EMPTY_AUTHORIZATION_LIST", &["empty authorization list"]),
    ("TYPE_4_INVALID_AUTHORIZATION_FORMAT", &["block does not decode"]),
    ("TYPE_4_TX_CONTRACT_CREATION", &["block does not decode"]),
    ("TYPE_4_TX_PRE_FORK", &["type EIP-7702 before"]),
    ("TYPE_NOT_SUPPORTED", &["block does not decode", "before"]),
    ("VALUE_OVERFLOW", &["block does not decode", "lack of funds"]),
];

/// A transaction's own encoding is at fault: all of these are "it does not decode".
const ENCODING: &str = "RLP_";

/// Whether a reason is of an expected kind. Where a case allows several, they are joined by `|`.
///
/// # Errors
/// The expectation, where no part of it is in the table: the case says nothing then.
pub(crate) fn is_expected(expected: &str, reason: &str) -> Result<bool, String> {
    let mut known = false;
    for kind in expected.split('|') {
        let kind = kind.rsplit('.').next().unwrap_or(kind);
        let parts = match KINDS.iter().find(|(name, _)| *name == kind) {
            Some((_, parts)) => *parts,
            None if kind.starts_with(ENCODING) => &["block does not decode", "invalid signature"],
            None => continue,
        };
        known = true;
        if parts.iter().any(|part| reason.contains(part)) {
            return Ok(true);
        }
    }
    if known { Ok(false) } else { Err(format!("expected {expected}")) }
}

#[test]
fn a_reason_is_of_its_kind_alone() {
    let reason = "transaction 0: too many blobs, have 7, max 6";
    assert_eq!(is_expected("TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED", reason), Ok(true));
    assert_eq!(is_expected("BlockException.INVALID_GASLIMIT|TransactionException.TYPE_3_TX_BLOB_COUNT_EXCEEDED", reason), Ok(true));
    assert_eq!(is_expected("BlockException.SYSTEM_CONTRACT_CALL_FAILED", reason), Ok(false));
    assert!(is_expected("BlockException.OF_A_LATER_FORK", reason).is_err());
}
