//! `subnode dev`.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf};

use alloy::primitives::{U256, utils::parse_ether};
use clap::Parser;
use subnode_devnet::{DevGenesis, Hardfork};
use subnode_types::ByteSize;

use super::parse_seconds;

/// Flags have anvil's names.
#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    subnode dev                         mines a block for each transaction\n  \
    subnode dev --port 0                on any free port, which it prints\n  \
    subnode dev --block-time 2          a block every two seconds\n  \
    subnode dev --init genesis.json     from a geth-style genesis file\n  \
    subnode dev --data-dir ./chain      keeps the chain between runs\n  \
    subnode dev --hardhat               in place of `hardhat node`\n\n\
    The first chain answers at /, chain N also at /chain/devN. HTTP and WebSocket share the port.")]
pub struct DevArgs {
    /// Port to listen on; 0 takes a free one.
    #[arg(short, long, default_value_t = 8545, value_name = "PORT")]
    pub port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub host: IpAddr,
    /// How many chains to open; their ids follow on each other.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub chains: u32,
    /// Answer as Hardhat's node does: its version and 20 accounts, and a sent transaction is answered once it is mined, with an error if
    /// it failed.
    #[arg(long)]
    pub hardhat: bool,
    /// Chain id of the first chain [default: 31337].
    #[arg(long, alias = "chain", value_name = "ID", value_parser = |text: &str| parse_number(text, 1..=u64::MAX))]
    pub chain_id: Option<u64>,
    /// How many accounts to fund [default: 10].
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub accounts: Option<u32>,
    /// What each account has, in ether [default: 10000].
    #[arg(long, value_name = "ETHER", value_parser = parse_balance)]
    pub balance: Option<U256>,
    /// BIP-39 mnemonic the accounts come from [default: test test test test test test test test test test test junk].
    #[arg(short, long, value_name = "PHRASE")]
    pub mnemonic: Option<String>,
    /// Seal a block every so many seconds, instead of for each transaction.
    #[arg(short, long, visible_alias = "blockTime", value_name = "SECONDS", value_parser = parse_seconds, conflicts_with = "no_mining")]
    pub block_time: Option<std::time::Duration>,
    /// Seal blocks only when asked (`evm_mine`).
    #[arg(long, visible_alias = "no-mine")]
    pub no_mining: bool,
    /// Answer a sent transaction once a block has it, as Hardhat does, instead of once it is in the pool, as anvil does.
    #[arg(long)]
    pub wait_mined: bool,
    /// Gas limit of a block [default: 30000000].
    #[arg(long, value_name = "GAS", value_parser = |text: &str| parse_number(text, 5_000..=9_000_000_000_000_000))]
    pub gas_limit: Option<u64>,
    /// Base fee of genesis, in wei [default: 1000000000].
    #[arg(long, visible_alias = "block-base-fee-per-gas", value_name = "WEI", value_parser = |text: &str| parse_number(text, 0..=u64::MAX))]
    pub base_fee: Option<u64>,
    /// The fork the chain is in: paris, shanghai, cancun, prague or osaka [default: osaka].
    #[arg(long, value_name = "FORK")]
    pub hardfork: Option<Hardfork>,
    /// Bytes of code that a contract may have; its init code may have twice as many [default: 24576, EIP-170's].
    #[arg(long, value_name = "SIZE", value_parser = parse_code_size, conflicts_with = "disable_code_size_limit")]
    pub code_size_limit: Option<u64>,
    /// Allow contracts as large as a request carries: 2097152 bytes of code.
    #[arg(long)]
    pub disable_code_size_limit: bool,
    /// Refuse transactions that ask for more than 16777216 gas, as EIP-7825 has it from Osaka on.
    #[arg(long, visible_alias = "tx-gas-limit")]
    pub enable_tx_gas_limit: bool,
    /// Time of genesis, Unix seconds; now by default.
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| parse_number(text, 0..=u64::MAX))]
    pub timestamp: Option<u64>,
    /// Geth-style genesis file, in place of the flags that describe one. System contracts that its forks need are added. What gas costs and who may
    /// create contracts is said in its config.subnode (`fees`, `deployers`).
    #[arg(long, visible_alias = "genesis", value_name = "FILE", conflicts_with_all = ["chain_id", "balance", "gas_limit", "base_fee", "hardfork", "timestamp"])]
    pub init: Option<PathBuf>,
    /// What `web3_clientVersion` answers, where a tool wants another than anvil's (or Hardhat's, with --hardhat). Where it begins with Hardhat's
    /// name, `evm_setIntervalMining` takes milliseconds, as it does for tools that see the name.
    #[arg(long, value_name = "TEXT")]
    pub client_version: Option<String>,
    /// Keep the chains in this directory.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How many heights can be returned to and asked about; 0 keeps all. A snapshot keeps what it returns to [default: what --history-memory has
    /// room for, and 10000 of a chain in --data-dir].
    #[arg(long, value_name = "HEIGHTS")]
    pub history: Option<u64>,
    /// Memory that a chain's past may take: blocks, receipts, old states. The oldest go first, but what a snapshot needs. Of a chain in --data-dir no
    /// block is dropped.
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub history_memory: ByteSize,
    /// Print no banner, no blocks and no log.
    #[arg(short, long, visible_alias = "quiet")]
    pub silent: bool,
    /// Print JSON: a line with where it listens, accounts and keys instead of the banner, and a line for each block. With --silent the first line alone.
    #[arg(long)]
    pub json: bool,
}

fn parse_balance(text: &str) -> Result<U256, String> {
    parse_ether(text).map_err(|error| format!("{text:?} is no amount of ether: {error}"))
}

fn parse_code_size(text: &str) -> Result<u64, String> {
    let ByteSize(bytes) = text.parse().map_err(|error| format!("{error}"))?;
    let most = DevGenesis::CODE_SIZE_LIMIT_MAX;
    if (1..=most).contains(&bytes) { Ok(bytes) } else { Err(format!("{text}: use 1 to {most} bytes")) }
}

fn parse_number(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = number.map_err(|_| format!("{text:?} is no number: use digits, as 31337, or hexadecimal ones behind 0x"))?;
    if range.contains(&number) { Ok(number) } else { Err(format!("{text}: use {} to {}", range.start(), range.end())) }
}
