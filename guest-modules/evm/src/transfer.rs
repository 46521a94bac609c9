//! Transfers of ether between accounts without code: most transactions of most chains, and nothing to interpret.
//!
//! A transfer is done here where it is certain to succeed, with the same result as revm's. All else is left to revm, errors above all, so
//! each rule for refusing a transaction is in one place.

use alloy_consensus::{Transaction as _, TxType};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use revm::context::{Cfg as _, JournalTr};

use crate::{machine::Surroundings, transaction::Transaction};

/// Yellow Paper, appendix G: a transaction without data. Forks up to Osaka have it.
pub const GAS: u64 = 21_000;
/// Addresses that begin so are precompiles of some fork.
const PRECOMPILE_PREFIX: [u8; 18] = [0; 18];

/// What a transfer costs its sender per gas, or none where it is no transfer, or revm has to look at it.
fn gas_price(context: &Surroundings, transaction: &Transaction) -> Option<u128> {
    let is_plain = matches!(transaction.tx_type(), TxType::Legacy | TxType::Eip2930 | TxType::Eip1559)
        && transaction.input().is_empty()
        && transaction.access_list().is_none_or(|list| list.is_empty());
    let is_of_this_chain = transaction.chain_id().map_or(transaction.is_legacy(), |id| id == context.cfg.chain_id);
    let gas_fits = (GAS..=context.cfg.tx_gas_limit_cap()).contains(&transaction.gas_limit());
    if !is_plain || !is_of_this_chain || !gas_fits {
        return None;
    }
    let (max_fee, base_fee) = (transaction.max_fee_per_gas(), u128::from(context.block.basefee));
    let price = match transaction.max_priority_fee_per_gas() {
        None => max_fee,
        Some(tip) if tip > max_fee => return None,
        Some(tip) => max_fee.min(base_fee.saturating_add(tip)),
    };
    (price >= base_fee).then_some(price)
}

/// Does a transfer in the journal, as revm would have; false where it is left to revm, and nothing has changed.
pub fn transfer(context: &mut Surroundings, transaction: &Transaction, sender: Address) -> bool {
    let Some(receiver) = transaction.to().filter(|to| !to.starts_with(&PRECOMPILE_PREFIX)) else { return false };
    let Some(price) = gas_price(context, transaction) else { return false };
    let value = transaction.value();
    // revm reckons fees in 128 bits, and refuses what does not fit.
    let reserved = transaction.max_fee_per_gas().checked_mul(u128::from(transaction.gas_limit()));
    let Some(reserved) = reserved.and_then(|fee| U256::from(fee).checked_add(value)) else { return false };

    let journal = &mut context.journaled_state;
    let Ok(from) = journal.load_account(sender);
    let can_send = from.info.code_hash == KECCAK256_EMPTY
        && from.info.nonce == transaction.nonce()
        && from.info.nonce < u64::MAX
        && from.info.balance >= reserved;
    if !can_send {
        return false;
    }
    let Ok(to) = journal.load_account(receiver);
    if to.info.code_hash != KECCAK256_EMPTY || to.info.balance.checked_add(value).is_none() {
        return false;
    }
    // Nothing may return false after this: the account is warm from now on, which before Shanghai (EIP-3651) revm must not find it.
    let beneficiary = context.block.beneficiary;
    let Ok(_) = journal.load_account(beneficiary);

    let state = &mut journal.inner.state;
    let fee = U256::from(price * u128::from(GAS));
    let tip = U256::from((price - u128::from(context.block.basefee)) * u128::from(GAS));
    // One after the other: any two of them may be the same account.
    if let Some(from) = state.get_mut(&sender) {
        from.info.balance -= fee + value;
        from.info.nonce += 1;
        from.mark_touch();
    }
    if let Some(to) = state.get_mut(&receiver) {
        to.info.balance += value;
        to.mark_touch();
    }
    if let Some(beneficiary) = state.get_mut(&beneficiary) {
        // As in revm, a tip that does not fit is nobody's.
        beneficiary.info.balance = beneficiary.info.balance.checked_add(tip).unwrap_or(beneficiary.info.balance);
        beneficiary.mark_touch();
    }
    journal.commit_tx();
    true
}
