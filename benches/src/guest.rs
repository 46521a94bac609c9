//! The EVM in the metered guest against native revm: both make the same signed transactions into the same block,
//! with the state in memory.
//!
//! Both sides decode the transactions, execute them, and compute receipts, bloom and the three roots. The native
//! side uses revm and alloy as a Rust program would, with keccak in assembly.
//!
//! Ratios are of speeds, native time / guest time, each the median of pairs of blocks. CPU time is of the whole
//! process, so that turns on workers are counted, and the CPU time of other processes is not.

use std::time::{Duration, Instant};

use alloy::{
    consensus::{Eip658Value, Receipt, ReceiptEnvelope, TxEnvelope, proofs},
    eips::{Decodable2718, Encodable2718},
    primitives::{Address, B256, U256},
};
use anyhow::{Context as _, ensure};
use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    database::{CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
    state::{AccountInfo, Bytecode},
};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};
use subnode_sandbox::{Attributes, Module, Sandbox, SandboxOptions};
use subnode_tests::{
    native::environment,
    replay::{Replay, pooled},
};

use crate::{
    machine::own_cpu,
    ratio::Pairs,
    workload::{CHAIN_ID, CONTRACT, Workload},
};

/// Blocks before the pairs: the first ones compile nothing, but their pages are new.
const WARM_UP: usize = 2;
const GAS_PRICE: u128 = 1_000_000_000;
/// Fuel that a turn is meant to last for. Ending a turn costs microseconds, so turns that end much sooner slow down all guests.
const TURN_FUEL: u64 = 100_000;

/// Blocks of a row: as many as take some three seconds. The number is fixed, so that fuel and turns are the same in each run.
const fn blocks(workload: Workload) -> usize {
    match workload {
        Workload::Transfer | Workload::Erc20 => 20,
        Workload::Keccak => 14,
        Workload::Arithmetic => 42,
    }
}

/// Turns that so much fuel may take: a tenth more than full ones, since each call ends with one that is not full.
fn turns_max(fuel: u64) -> f64 {
    fuel as f64 / TURN_FUEL as f64 * 1.1
}

/// Wall and CPU time of a run.
struct Took {
    wall: Duration,
    cpu: Duration,
}

/// Measures from here to [`Self::took`].
struct Watch {
    wall: Instant,
    cpu: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { cpu: own_cpu(), wall: Instant::now() }
    }

    fn took(&self) -> Took {
        Took { wall: self.wall.elapsed(), cpu: own_cpu().saturating_sub(self.cpu) }
    }
}

/// Prints the table.
pub(crate) async fn run() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 16, cache_dir: None })?;
    let module = sandbox.load(subnode_modules::EVM)?;
    let accounts = accounts(DEFAULT_MNEMONIC, 10)?;
    println!("\n## EVM in the metered guest against native revm\n");
    println!(
        "| block of | guest | native | guest / native | guest, CPU | native, CPU | guest / native, CPU | quartiles | fuel per tx | turns per tx | at most |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut exceeded = Vec::new();
    for workload in Workload::ALL {
        let row = row(&module, &accounts, workload).await?;
        println!("{}", row.line());
        if row.turns as f64 > turns_max(row.fuel) {
            exceeded.push(format!("{}: {:.2} turns a transaction, {:.2} at most", row.name(), row.turns_per_tx(), row.turns_per_tx_max()));
        }
    }
    ensure!(exceeded.is_empty(), "more turns than fuel / {TURN_FUEL} and a tenth: {}", exceeded.join("; "));
    Ok(())
}

/// What the pairs of blocks of one workload took.
struct Row {
    workload: Workload,
    wall: Pairs,
    cpu: Pairs,
    /// Transactions, fuel and turns of the guest's blocks among them, in all.
    transactions: u64,
    fuel: u64,
    turns: u64,
}

impl Row {
    fn name(&self) -> &'static str {
        self.workload.name()
    }

    fn turns_per_tx(&self) -> f64 {
        self.turns as f64 / self.transactions as f64
    }

    fn turns_per_tx_max(&self) -> f64 {
        turns_max(self.fuel) / self.transactions as f64
    }

    fn line(&self) -> String {
        let count = self.workload.block_transactions();
        let us_per_tx = 1e6 / count as f64;
        let ((guest, native), (guest_cpu, native_cpu)) = (self.wall.medians(), self.cpu.medians());
        let ((speed, _, _), (speed_cpu, low, high)) = (self.wall.speed(), self.cpu.speed());
        format!(
            "| {} ({count} tx) | {:.2} us/tx | {:.2} us/tx | {speed:.2} | {:.2} us/tx | {:.2} us/tx | **{speed_cpu:.2}** | {low:.2} to {high:.2} | {} | {:.2} | {:.2} |",
            self.name(),
            guest * us_per_tx,
            native * us_per_tx,
            guest_cpu * us_per_tx,
            native_cpu * us_per_tx,
            self.fuel / self.transactions,
            self.turns_per_tx(),
            self.turns_per_tx_max(),
        )
    }
}

async fn row(module: &Module, accounts: &[Account], workload: Workload) -> anyhow::Result<Row> {
    let genesis = workload.genesis(accounts).to_string();
    let mut guest = Replay::genesis(module, genesis.as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let mut native = Native::new(accounts, workload);
    let count = workload.block_transactions();
    let per_account = count / accounts.len();
    let mut row = Row { workload, wall: Pairs::new(), cpu: Pairs::new(), transactions: 0, fuel: 0, turns: 0 };
    for block in 0..blocks(workload) {
        let signed = workload.signed(accounts, CONTRACT, (block * per_account) as u64, count, GAS_PRICE);
        let raw: Vec<(Address, Vec<u8>)> = signed.iter().map(|(sender, transaction)| (*sender, transaction.encoded_2718())).collect();
        let pooled: Vec<_> = signed.iter().map(|(sender, transaction)| pooled(transaction, *sender)).collect();
        let attributes = Attributes { timestamp_ms: guest.head().timestamp_ms + 1000, seed: vec![0; 32] };
        let turns = guest.turns();
        let watch = Watch::start();
        let built = guest.build(pooled, &attributes).await?.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
        let ours = watch.took();
        let turns = guest.turns() - turns;
        ensure!(built.outcome.transactions as usize == count, "{} of {count} transactions were executed", built.outcome.transactions);
        guest.commit(&built.block, &built.outcome);
        let fuel = guest.fuel_burnt;
        let watch = Watch::start();
        let gas_used = native.block(&raw).context("native block")?;
        let theirs = watch.took();
        let header: serde_json::Value =
            serde_json::from_str(&guest.query("eth_getBlockByNumber", "[\"latest\",false]").await?.map_err(anyhow::Error::msg)?)?;
        ensure!(header["gasUsed"] == format!("{gas_used:#x}"), "gas used: guest {}, native {gas_used:#x}", header["gasUsed"]);
        if block >= WARM_UP {
            row.wall.push(ours.wall, theirs.wall);
            row.cpu.push(ours.cpu, theirs.cpu);
            row.transactions += count as u64;
            row.fuel += fuel;
            row.turns += turns;
        }
    }
    Ok(row)
}

/// A chain of native blocks, as far as execution goes.
struct Native {
    state: CacheDB<EmptyDB>,
    number: u64,
}

impl Native {
    fn new(accounts: &[Account], workload: Workload) -> Self {
        let mut state = CacheDB::new(EmptyDB::default());
        for account in accounts {
            let balance = U256::from(0xffff_ffff_ffff_ffff_ffff_ffff_u128);
            state.insert_account_info(account.address, AccountInfo { balance, ..AccountInfo::default() });
            let slot = alloy::primitives::keccak256([account.address.into_word().as_slice(), &[0; 32]].concat());
            let Ok(()) = state.insert_account_storage(CONTRACT, slot.into(), U256::from(1) << 128);
        }
        if workload != Workload::Transfer {
            let code = Bytecode::new_raw(workload.code());
            state.insert_account_info(CONTRACT, AccountInfo { code_hash: code.hash_slow(), code: Some(code), ..AccountInfo::default() });
        }
        Self { state, number: 0 }
    }

    /// Executes and seals a block of raw transactions; answers its gas.
    fn block(&mut self, raw: &[(Address, Vec<u8>)]) -> anyhow::Result<u64> {
        self.number += 1;
        let mut evm = Context::mainnet().with_db(&mut self.state).modify_cfg_chained(|config| {
            config.set_spec_and_mainnet_gas_params(SpecId::CANCUN);
            config.chain_id = CHAIN_ID;
        });
        evm.block.gas_limit = 2_000_000_000;
        evm.block.number = U256::from(self.number);
        evm.block.prevrandao = Some(B256::ZERO);
        let mut evm = evm.build_mainnet();
        let mut gas_used = 0;
        let mut transactions = Vec::with_capacity(raw.len());
        let mut receipts = Vec::with_capacity(raw.len());
        for (sender, bytes) in raw {
            let transaction = TxEnvelope::decode_2718_exact(bytes)?;
            let result = evm.transact_commit(environment(&transaction, *sender))?;
            gas_used += result.tx_gas_used();
            let receipt =
                Receipt { status: Eip658Value::Eip658(result.is_success()), cumulative_gas_used: gas_used, logs: result.into_logs() };
            receipts.push(ReceiptEnvelope::Legacy(receipt.into()));
            transactions.push(transaction);
        }
        drop(evm);
        let roots = (proofs::calculate_transaction_root(&transactions), proofs::calculate_receipt_root(&receipts), self.state_root());
        std::hint::black_box(roots);
        Ok(gas_used)
    }

    fn state_root(&self) -> B256 {
        let accounts = self.state.cache.accounts.iter().map(|(address, account)| {
            let storage = account.storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
            let account = alloy::consensus::TrieAccount {
                nonce: account.info.nonce,
                balance: account.info.balance,
                storage_root: alloy_trie::root::storage_root_unhashed(storage),
                code_hash: account.info.code_hash,
            };
            (*address, account)
        });
        alloy_trie::root::state_root_unhashed(accounts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_of_a_hundred_turns_may_take_a_tenth_more() {
        assert!((turns_max(100 * TURN_FUEL) - 110.0).abs() < 1e-9);
    }
}
