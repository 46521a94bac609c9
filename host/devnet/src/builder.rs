//! Settings of a devnet.

use std::{
    num::NonZeroU64,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicU64},
    time::Duration,
};

use alloy::primitives::{U256, utils::parse_ether};
use subnode_chain::{CHECKPOINT_EVERY, ChainOptions, FUTURE_MS_MAX, PATIENCE, PoolLimits, TimeSource};
use subnode_node::{ChainSetup, Node, NodeError};
use subnode_sandbox::{Limits, Module, ModuleError, Sandbox, SandboxError, SandboxOptions};
use subnode_storage::{MemoryStore, Retention};
use subnode_types::{Boxed, ChainName, Sealing, Slice, boxed};

use crate::{Account, AccountsError, DEFAULT_MNEMONIC, DevChain, DevGenesis, Devnet, Hardfork, Signers, accounts, adopt, adopt_file};

/// Guests that all devnets of a process may have at once.
const INSTANCES: u32 = 8_192;
/// Heights whose state a dev chain keeps, unless told otherwise.
const KEPT_HEIGHTS: u64 = 10_000;
/// Genesis of a virtual clock: 2024-01-01T00:00:00Z, late enough for every fork on the list.
const VIRTUAL_GENESIS: u64 = 1_704_067_200;

/// Why a devnet does not start.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The engine.
    #[error("{0}")]
    Sandbox(#[from] SandboxError),
    /// An embedded module.
    #[error("{0}")]
    Module(#[from] ModuleError),
    /// A chain.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The accounts.
    #[error("{0}")]
    Accounts(#[from] AccountsError),
    /// A genesis file.
    #[error("read the genesis file: {0}")]
    Genesis(std::io::Error),
    /// A name for a chain.
    #[error("{0}")]
    Name(#[from] subnode_types::ChainNameError),
}

/// What a dev chain says it is: Hardhat's plugins have time and snapshots for anvil's and their own network alone.
pub const DEV_CLIENT_VERSION: &str = concat!("anvil/v1.7.1/subnode/", env!("CARGO_PKG_VERSION"));

/// Options of chains that serve one developer.
#[must_use]
pub fn default_options(sealing: Sealing, time: TimeSource) -> ChainOptions {
    ChainOptions {
        time,
        sealing,
        controls: true,
        answer_after_mining: false,
        pool: PoolLimits { bytes: 64 << 20, per_sender: 16_384 },
        // A block of 1 Ggas burns some 200 G fuel when it loops on the cheapest instruction.
        block: Limits { memory_bytes: 512 << 20, fuel: 1_000_000_000_000, transfer_bytes: 256 << 20, wall: Duration::from_secs(120) },
        query: Limits { memory_bytes: 256 << 20, fuel: 50_000_000_000, transfer_bytes: 64 << 20, wall: Duration::from_secs(30) },
        queries_max: 32,
        queries_waiting_max: 1_024,
        bandwidth_bytes: u64::MAX,
        idle_memory_bytes: 16 << 20,
        past_bytes_max: u64::MAX,
        checkpoint_every: CHECKPOINT_EVERY,
        attest_every: 0,
        future_ms_max: FUTURE_MS_MAX,
        patience: PATIENCE,
        silent: false,
        seed: None,
        version: DEV_CLIENT_VERSION.to_owned(),
    }
}

/// Where compiled modules are kept: the user's cache folder.
#[must_use]
pub fn module_cache_dir() -> Option<PathBuf> {
    dirs::cache_dir().map(|dir| dir.join("subnode").join("modules"))
}

/// The engine of all devnets that are alive: its address space is large, and modules compile once.
fn shared_sandbox() -> Result<Arc<Sandbox>, SandboxError> {
    static SHARED: Mutex<Weak<Sandbox>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sandbox) = shared.upgrade() {
        return Ok(sandbox);
    }
    let sandbox = Arc::new(Sandbox::new(&SandboxOptions { instances: INSTANCES, cache_dir: module_cache_dir() })?);
    *shared = Arc::downgrade(&sandbox);
    Ok(sandbox)
}

/// A genesis file: what it says, or where it is.
#[derive(Clone, Debug)]
enum GenesisFile {
    Json(Vec<u8>),
    Path(PathBuf),
}

/// Sets a devnet up. Every setting has a default.
#[derive(Clone, Debug)]
pub struct Builder {
    chains: u32,
    accounts: u32,
    balance: U256,
    mnemonic: String,
    hardfork: Hardfork,
    gas_limit: u64,
    base_fee: u64,
    chain_id: u64,
    sealing: Sealing,
    wall_clock: bool,
    answer_after_mining: bool,
    kept_heights: Option<u64>,
    genesis: Option<GenesisFile>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            chains: 1,
            accounts: 10,
            balance: parse_ether("10000").unwrap_or(U256::MAX),
            mnemonic: DEFAULT_MNEMONIC.to_owned(),
            hardfork: Hardfork::default(),
            gas_limit: DevGenesis::DEFAULT_GAS_LIMIT,
            base_fee: DevGenesis::DEFAULT_BASE_FEE,
            chain_id: DevGenesis::DEFAULT_CHAIN_ID,
            sealing: Sealing::Instant,
            wall_clock: false,
            answer_after_mining: true,
            kept_heights: Some(KEPT_HEIGHTS),
            genesis: None,
        }
    }
}

impl Devnet {
    /// Sets a devnet up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// How many chains; their ids follow on each other.
    #[must_use]
    pub fn chains(mut self, count: u32) -> Self {
        self.chains = count;
        self
    }

    /// How many accounts each chain has.
    #[must_use]
    pub fn accounts(mut self, count: u32) -> Self {
        self.accounts = count;
        self
    }

    /// What each account has, in wei.
    #[must_use]
    pub fn balance(mut self, wei: U256) -> Self {
        self.balance = wei;
        self
    }

    /// Where the accounts come from.
    #[must_use]
    pub fn mnemonic(mut self, phrase: impl Into<String>) -> Self {
        self.mnemonic = phrase.into();
        self
    }

    /// The fork the chains are in.
    #[must_use]
    pub fn hardfork(mut self, hardfork: Hardfork) -> Self {
        self.hardfork = hardfork;
        self
    }

    /// Gas limit of every block.
    #[must_use]
    pub fn gas_limit(mut self, gas: u64) -> Self {
        self.gas_limit = gas;
        self
    }

    /// Base fee of genesis, in wei.
    #[must_use]
    pub fn base_fee(mut self, wei: u64) -> Self {
        self.base_fee = wei;
        self
    }

    /// The first chain's id.
    #[must_use]
    pub fn chain_id(mut self, id: u64) -> Self {
        self.chain_id = id;
        self
    }

    /// A block every so often instead of one for each transaction.
    #[must_use]
    pub fn block_time(mut self, interval: Duration) -> Self {
        let ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.sealing = NonZeroU64::new(ms).map_or(Sealing::Instant, Sealing::Interval);
        self
    }

    /// Blocks only when asked (`evm_mine`).
    #[must_use]
    pub fn manual_sealing(mut self) -> Self {
        self.sealing = Sealing::Manual;
        self
    }

    /// The machine's clock instead of one that stands still.
    #[must_use]
    pub fn wall_clock(mut self) -> Self {
        self.wall_clock = true;
        self
    }

    /// Answers a sent transaction once it is in the pool (as anvil does) instead of once a block has it (as Hardhat does), with
    /// an error where it failed there.
    #[must_use]
    pub fn answer_before_mining(mut self) -> Self {
        self.answer_after_mining = false;
        self
    }

    /// How many heights can be returned to and asked about; none keeps all.
    #[must_use]
    pub fn history(mut self, heights: Option<u64>) -> Self {
        self.kept_heights = heights;
        self
    }

    /// A geth-style genesis file for every chain, in place of what the other settings say of accounts, fees and forks. The chains are
    /// dev chains whatever it says, and have the system contracts of its forks.
    #[must_use]
    pub fn genesis(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.genesis = Some(GenesisFile::Json(json.into()));
        self
    }

    /// The same from a file on disk, which may be larger than memory: its accounts are read when a chain is born.
    #[must_use]
    pub fn genesis_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.genesis = Some(GenesisFile::Path(path.into()));
        self
    }

    /// Starts the chains. They answer when this returns. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`DevnetError`] says which chain does not start, and why.
    pub fn spawn(self) -> Boxed<'static, Result<Devnet, DevnetError>> {
        boxed(async move {
            let sandbox = shared_sandbox()?;
            let accounts = accounts(&self.mnemonic, self.accounts)?;
            let signing = Arc::new(Signers::of(&accounts));
            let (runtime, consensus) = (sandbox.load(subnode_modules::EVM)?, sandbox.load(subnode_modules::SOLO)?);
            let node = Node::new(Arc::new(MemoryStore::default()));
            let mut chains = Vec::new();
            for index in 0..self.chains {
                let name: ChainName = format!("dev{}", index + 1).parse()?;
                let setup = self.setup(name, index, &accounts, signing.clone(), (runtime.clone(), consensus.clone()))?;
                let chain = node.open(setup).await?;
                chains.push(DevChain::new(chain, accounts.clone(), self.chain_id + u64::from(index)));
            }
            Ok(Devnet::new(sandbox, node, chains))
        })
    }

    fn setup(
        &self,
        name: ChainName,
        index: u32,
        accounts: &[Account],
        signing: Arc<dyn subnode_sandbox::Accounts>,
        (runtime, consensus): (Module, Module),
    ) -> Result<ChainSetup, DevnetError> {
        let time = if self.wall_clock { TimeSource::Wall } else { TimeSource::Virtual(Arc::new(AtomicU64::new(VIRTUAL_GENESIS * 1000))) };
        let genesis = DevGenesis {
            chain_id: self.chain_id + u64::from(index),
            hardfork: self.hardfork,
            balances: accounts.iter().map(|account| (account.address, self.balance)).collect(),
            gas_limit: self.gas_limit,
            base_fee: self.base_fee,
            timestamp: time.now_ms() / 1000,
            extension: DevGenesis::dev(),
        };
        let mut options = default_options(self.sealing, time);
        options.answer_after_mining = self.answer_after_mining;
        // The same blocks in every run.
        options.seed = (!self.wall_clock).then_some([7; 32]);
        let spec = match &self.genesis {
            None => genesis.to_json().into(),
            Some(GenesisFile::Json(file)) => adopt(file, &DevGenesis::dev(), 0).into(),
            Some(GenesisFile::Path(path)) => adopt_file(path, &DevGenesis::dev(), 0).map_err(DevnetError::Genesis)?,
        };
        Ok(ChainSetup {
            name,
            runtime,
            consensus,
            spec,
            consensus_config: self.sealing.consensus_config().into_bytes(),
            retention: self.kept_heights.map_or(Retention::Archive, Retention::Last),
            slice: Slice::WHOLE,
            accounts: signing,
            options,
        })
    }
}
