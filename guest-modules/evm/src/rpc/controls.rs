//! What developers do to their chains: `evm_`, `anvil_` and `hardhat_` methods. The host refuses them anywhere else.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde_json::json as value;

use super::{Call, Result, act, act_then, error, json};
use crate::{
    bindings::{
        exports::{Action, Sealed},
        subnode::chain::{
            host,
            types::{Change, Sealing},
        },
    },
    dev::{Impersonation, Overrides},
    headers,
    spec::Spec,
    state::{Account, State},
};

/// What `evm_mine` takes: a time, or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum MineOptions {
    Options { timestamp: Option<u64>, blocks: Option<u64> },
    Timestamp(u64),
    Hex(U256),
}

pub(super) fn control(call: &mut Call<'_>) -> Result {
    let status = host::status();
    let Some((prefix, name)) = call.method.split_once('_') else { return Err(error::method_not_found(call.method)) };
    if !status.controls || !matches!(prefix, "evm" | "anvil" | "hardhat") {
        return Err(error::method_not_found(call.method));
    }
    // Hardhat answers true where anvil answers null.
    let done = if prefix == "hardhat" { value!(true) } else { value!(null) };
    match (prefix, name) {
        ("evm", "mine") => mine_one(call),
        ("anvil" | "hardhat", "mine") => mine_many(call, &done),
        ("evm" | "anvil", "snapshot") => act(Action::Snapshot),
        ("evm" | "anvil", "revert") => {
            let id = call.params.number()?;
            act(Action::Revert(id))
        }
        ("evm" | "anvil", "increaseTime") => {
            let seconds = i64::try_from(call.params.number()?).map_err(|_| error::invalid_params("time too far ahead"))?;
            // Blocks sealed faster than one a second run ahead of the clock: the increase counts from the last of them.
            let (_, head) = headers::expect_header(call.head.height);
            let lead_ms = i64::try_from(milliseconds(head.timestamp)?.saturating_sub(status.now_ms)).unwrap_or_default();
            let shift_ms = seconds
                .checked_mul(1000)
                .and_then(|ms| ms.checked_add(lead_ms))
                .ok_or_else(|| error::invalid_params("time too far ahead"))?;
            act_then(Action::ShiftClock(shift_ms), &(status.clock_offset_ms.saturating_add(shift_ms) / 1000))
        }
        ("evm" | "anvil", "setNextBlockTimestamp") => {
            let seconds = call.params.number()?;
            check_time(call, seconds)?;
            act_then(Action::SetNextTimestamp(milliseconds(seconds)?), &())
        }
        ("evm" | "anvil", "setTime") => {
            // Ganache's clock: in milliseconds if it is too large for seconds.
            let time = call.params.number()?;
            let wanted_ms = if time > 1_000_000_000_000 { time } else { milliseconds(time)? };
            let shift_ms =
                i64::try_from(i128::from(wanted_ms) - i128::from(status.now_ms)).map_err(|_| error::invalid_params("time too far away"))?;
            act_then(Action::ShiftClock(shift_ms), &(shift_ms / 1000))
        }
        ("evm" | "anvil", "setAutomine") => {
            let on: bool = call.params.required()?;
            act_then(Action::SetSealing(if on { Sealing::Instant } else { Sealing::Manual }), &value!(null))
        }
        ("anvil" | "hardhat", "getAutomine") => json(&matches!(status.sealing, Sealing::Instant)),
        ("evm" | "anvil", "setIntervalMining") => {
            let every = call.params.number()?;
            let sealing = match (every, is_hardhat(&status.version), status.sealing) {
                // There it is a setting of its own, which ends nothing else.
                (0, true, Sealing::Instant | Sealing::Interval(_)) => Sealing::Instant,
                (0, ..) => Sealing::Manual,
                (every, true, _) => Sealing::Interval(every),
                (every, false, _) => Sealing::Interval(milliseconds(every)?),
            };
            act_then(Action::SetSealing(sealing), &value!(null))
        }
        ("anvil" | "hardhat", "setMinGasPrice") => {
            Err(error::not_supported("there is no least gas price where EIP-1559 is active; use anvil_setNextBlockBaseFeePerGas"))
        }
        // There are no lines about calls to leave out.
        ("anvil" | "hardhat", "setLoggingEnabled") if !call.params.required::<bool>()? => json(&done),
        ("anvil" | "hardhat", "setLoggingEnabled") => Err(error::not_supported("lines about calls are not supported")),
        ("anvil", "setBlockTimestampInterval" | "removeBlockTimestampInterval" | "dumpState" | "loadState") => {
            Err(error::not_supported(format!("the method {} is not supported", call.method)))
        }
        ("anvil", "getIntervalMining") => json(&match status.sealing {
            Sealing::Interval(ms) => Some(ms / 1000),
            Sealing::Instant | Sealing::Manual => None,
        }),
        ("anvil" | "hardhat", "reset") => {
            if call.params.optional::<serde_json::Value>()?.is_some_and(|options| options.get("forking").is_some()) {
                return Err(error::not_supported("forking another network is not supported"));
            }
            act_then(Action::Reset, &done)
        }
        ("anvil" | "hardhat", "dropTransaction") => {
            let hash: B256 = call.params.required()?;
            act(Action::DropTransaction(hash.to_vec()))
        }
        ("anvil", "dropAllTransactions") => act_then(Action::DropTransactions, &done),
        ("anvil", "nodeInfo") => node_info(call),
        ("anvil" | "hardhat", "metadata") => json(&value!({
            "clientVersion": status.version,
            "chainId": Spec::load().chain_id,
            // Another genesis is another chain.
            "instanceId": headers::block_hash(Spec::load().genesis_number),
            "latestBlockNumber": call.head.height,
            "latestBlockHash": headers::block_hash(call.head.height),
        })),
        ("anvil" | "hardhat" | "evm", _) => amend(call, name, &done),
        _ => Err(error::method_not_found(call.method)),
    }
}

/// Whether tools take this node for Hardhat's, and give an interval in milliseconds. anvil's is in seconds.
fn is_hardhat(version: &str) -> bool {
    version.to_lowercase().starts_with("hardhat")
}

fn milliseconds(seconds: u64) -> Result<u64> {
    seconds.checked_mul(1000).ok_or_else(|| error::invalid_params("time too far ahead"))
}

/// Refuses a time that no block on the head may have.
fn check_time(call: &Call<'_>, seconds: u64) -> Result<()> {
    let (_, head) = headers::expect_header(call.head.height);
    let (timestamp, earliest) = (head.timestamp, Spec::load().earliest_after(head.timestamp));
    if seconds < earliest {
        return Err(error::invalid_params(format!(
            "Timestamp error: {seconds} is lower than {earliest}, the earliest after the previous block's timestamp {timestamp}"
        )));
    }
    Ok(())
}

fn seal(count: u64, spacing_seconds: u64, timestamp: Option<u64>) -> Result<Action> {
    Ok(Action::Seal(Sealed {
        count: u32::try_from(count).map_err(|_| error::invalid_params(format!("{count} blocks at once are too many")))?,
        spacing_ms: milliseconds(spacing_seconds)?,
        timestamp_ms: timestamp.map(milliseconds).transpose()?,
    }))
}

fn mine_one(call: &mut Call<'_>) -> Result {
    let (count, timestamp) = match call.params.optional()? {
        None => (1, None),
        Some(MineOptions::Options { timestamp, blocks }) => (blocks.unwrap_or(1), timestamp),
        Some(MineOptions::Timestamp(timestamp)) => (1, Some(timestamp)),
        Some(MineOptions::Hex(timestamp)) => (1, Some(u64::try_from(timestamp).map_err(|_| error::invalid_params("time too far ahead"))?)),
    };
    // Hardhat's 0 leaves the time to the clock.
    let timestamp = timestamp.filter(|seconds| *seconds > 0);
    if let Some(seconds) = timestamp {
        check_time(call, seconds)?;
    }
    act_then(seal(count, 0, timestamp)?, &"0x0")
}

fn mine_many(call: &mut Call<'_>, done: &serde_json::Value) -> Result {
    let count = call.params.optional_number()?.unwrap_or(1);
    let spacing = call.params.optional_number()?.unwrap_or(0);
    // anvil's first block is as far from what there is as the others are from each other, Hardhat's is stamped by the clock.
    let first = if spacing > 0 && call.method.starts_with("anvil") {
        let (_, head) = headers::expect_header(call.head.height);
        let last = head.timestamp.max(host::status().now_ms / 1000);
        Some(last.checked_add(spacing).ok_or_else(|| error::invalid_params("time too far ahead"))?)
    } else {
        None
    };
    act_then(seal(count, spacing, first)?, done)
}

fn node_info(call: &Call<'_>) -> Result {
    let spec = Spec::load();
    let (hash, head) = headers::expect_header(call.head.height);
    json(&value!({
        "currentBlockNumber": format!("{:#x}", head.number),
        "currentBlockTimestamp": head.timestamp,
        "currentBlockHash": hash,
        "hardFork": spec.fork(head.timestamp).name(),
        "transactionOrder": "fees",
        "environment": {
            "baseFee": format!("{:#x}", head.base_fee_per_gas.unwrap_or_default()),
            "chainId": spec.chain_id,
            "gasLimit": format!("{:#x}", head.gas_limit),
            "gasPrice": format!("{:#x}", super::fees::pending_base_fee(call)),
        },
        "forkConfig": { "forkUrl": null, "forkBlockNumber": null, "forkRetryBackoff": null },
    }))
}

/// The methods that change the state between blocks.
fn amend(call: &mut Call<'_>, name: &str, done: &serde_json::Value) -> Result {
    let mut state = State::default();
    let before = Overrides::load();
    let mut overrides = before.clone();
    let impersonated = Impersonation::load();
    let mut impersonation = impersonated.clone();
    match name {
        "setBalance" => {
            let (address, balance) = (call.params.required()?, call.params.required()?);
            let account = state.account(address).unwrap_or_default();
            state.set_account(address, Account { balance, ..account });
        }
        "addBalance" => {
            let (address, amount): (Address, U256) = (call.params.required()?, call.params.required()?);
            state.increase_balance(address, amount);
        }
        "setNonce" => {
            let (address, nonce) = (call.params.required()?, call.params.number()?);
            let account = state.account(address).unwrap_or_default();
            if nonce < account.nonce && call.method.starts_with("hardhat") {
                let text = format!("New nonce ({nonce}) must not be smaller than the existing nonce ({})", account.nonce);
                return Err(error::invalid_params(text));
            }
            state.set_account(address, Account { nonce, ..account });
        }
        "setCode" => {
            let (address, code): (Address, Bytes) = (call.params.required()?, call.params.required()?);
            state.set_code(address, code);
        }
        "setStorageAt" => {
            let address = call.params.required()?;
            let (slot, word) = (call.params.slot()?, call.params.slot()?);
            state.set_storage(address, slot.into(), word.into());
        }
        "impersonateAccount" => {
            let account: Address = call.params.required()?;
            impersonation.accounts.insert(account);
        }
        "stopImpersonatingAccount" => {
            let account: Address = call.params.required()?;
            impersonation.accounts.remove(&account);
        }
        "autoImpersonateAccount" => impersonation.all = call.params.required()?,
        "setCoinbase" => overrides.coinbase = Some(call.params.required()?),
        "setNextBlockBaseFeePerGas" => {
            let asked = call.params.number()?;
            if let Some(fee) = Spec::load().fees.constant() {
                return Err(error::rejected(&format!(
                    "the base fee of this chain is always {fee} (config.subnode.fees of its genesis), not {asked}"
                )));
            }
            overrides.next_base_fee = Some(asked);
        }
        "setPrevRandao" => overrides.next_prev_randao = Some(call.params.required()?),
        "setBlockGasLimit" => {
            overrides.gas_limit = Some(call.params.number()?);
            let (_, mut changes) = state.into_changes();
            changes.push(overrides.change());
            return act_then(Action::Amend(changes), &true);
        }
        _ => return Err(error::method_not_found(call.method)),
    }
    let (_, mut changes): (B256, Vec<Change>) = state.into_changes();
    if overrides != before {
        changes.push(overrides.change());
    }
    if impersonation != impersonated {
        changes.push(impersonation.change());
    }
    act_then(Action::Amend(changes), done)
}
