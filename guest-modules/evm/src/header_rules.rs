//! What a header says because of its parent's, and bounds of a block: for building blocks and for checking them.

use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;

use crate::spec::Spec;

/// Yellow Paper: a block's gas limit is within 1/1024 of its parent's.
pub const GAS_LIMIT_BOUND: u64 = 1024;
/// EIP-7934: 10 MiB, less 2 MiB for the beacon block around it.
pub const BLOCK_BYTES_MAX_OSAKA: usize = 8 * 1024 * 1024;

/// The base fee of the block after `parent`: EIP-1559's, where the chain has no other rule.
pub fn next_base_fee(spec: &Spec, parent: &Header) -> u64 {
    spec.fees.constant().unwrap_or_else(|| parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default())
}

/// EIP-4844, with the reserve price of EIP-7918 from Osaka on.
pub fn excess_blob_gas(spec: &Spec, parent: &Header, timestamp: u64) -> u64 {
    let Some(params) = spec.blob_params(timestamp) else { return 0 };
    params.next_block_excess_blob_gas_osaka(
        parent.excess_blob_gas.unwrap_or_default(),
        parent.blob_gas_used.unwrap_or_default(),
        parent.base_fee_per_gas.unwrap_or_default(),
    )
}
