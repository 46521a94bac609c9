//! What gas costs: base fee, intrinsic gas.

use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
use revm::context_interface::cfg::gas::{InitialAndFloorGas, calculate_initial_tx_gas_for_tx};

use crate::{
    spec::Fork,
    transaction::{Transaction, to_env_unrecovered},
};

/// The base fee of the block after `parent` (EIP-1559).
pub fn next_base_fee(parent: &Header) -> u64 {
    parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default()
}

/// What a transaction costs before its first instruction, and at least (EIP-7623).
pub fn intrinsic_gas(fork: Fork, transaction: &Transaction) -> InitialAndFloorGas {
    calculate_initial_tx_gas_for_tx(to_env_unrecovered(transaction), fork.revm(), None)
}
