//! The whole command line.

mod attestation;
mod dev;
mod key;
mod module;

use std::{num::NonZeroU64, path::PathBuf, str::FromStr};

use alloy::primitives::Address;
use clap::{Parser, Subcommand, ValueEnum};
use subnode_devnet::DevGenesis;
use subnode_types::{ByteSize, ChainName, Parts, Sealing};

pub use attestation::{AttestationArgs, AttestationCommand};
pub use dev::DevArgs;
pub use key::{KeyArgs, KeyCommand, SecrecyArgs};
pub use module::{ModuleArgs, ModuleCheckArgs, ModuleCommand, ModuleWorld};

/// Many blockchains in one process, each a metered WebAssembly guest.
#[derive(Parser)]
#[command(
    name = "subnode",
    version,
    arg_required_else_help = true,
    max_term_width = 120,
    after_help = "Examples:\n  \
    subnode dev                                a dev chain on http://127.0.0.1:8545\n  \
    subnode dev --chains 3 --block-time 1      three chains, a block each second\n  \
    subnode testnet --dir net                  four nodes that run a chain together\n  \
    subnode config example > subnode.toml      a commented configuration\n  \
    subnode run --config subnode.toml          a durable node\n  \
    subnode chain create demo --genesis g.json   a further chain on it\n  \
    subnode top                                  its chains, live\n"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Open dev chains with funded accounts.
    Dev(Box<DevArgs>),
    /// Run the chains of a configuration file, durably.
    Run(RunArgs),
    /// Create, change, move and delete chains of a running node.
    Chain(ChainArgs),
    /// Show what a running node has to give, and what it gives.
    Status(NodeArgs),
    /// Say whether a running node is well: ends with 0 if so, 1 if not, 2 where no node answers.
    Health(NodeArgs),
    /// Show the nodes that are connected to a running node.
    Peers(NodeArgs),
    /// Show and verify what committees attest to outsiders.
    Attestation(AttestationArgs),
    /// Watch a running node's chains.
    Top(TopArgs),
    /// Measure this machine: what a part of it is worth, and how many chains it carries.
    Doctor(DoctorArgs),
    /// Print or check configuration.
    Config(ConfigArgs),
    /// Make, inspect and try modules.
    Module(ModuleArgs),
    /// Make, import and show the key that a node is known by.
    Key(KeyArgs),
    /// Write configurations, keys and genesis files of a network of nodes, and run it on this machine.
    Testnet(TestnetArgs),
    /// Print a completion script: subnode completions bash > /etc/bash_completion.d/subnode
    Completions {
        /// The shell it is for.
        shell: clap_complete::Shell,
    },
}

#[derive(Parser)]
#[command(
    after_help = "Example:\n  subnode config example > subnode.toml && subnode config genesis > genesis.json && subnode run --config subnode.toml"
)]
pub struct RunArgs {
    /// The configuration file (`subnode config example` prints one).
    #[arg(short, long, default_value = "subnode.toml", value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Parser)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print a commented configuration file.
    Example,
    /// Print a genesis file of an Ethereum chain, with all forks and their system contracts.
    #[command(
        after_help = "Example:\n  subnode config genesis --chain-id 1234 --fund 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 > genesis.json"
    )]
    Genesis(GenesisArgs),
    /// Print a systemd unit that runs a node without any rights it does not need.
    Systemd {
        /// The configuration file it runs.
        #[arg(long, default_value = "/etc/subnode/subnode.toml", value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a Grafana dashboard of a node's figures.
    Grafana,
    /// Check a configuration file: its chains are opened in memory, and nothing is written.
    Check {
        /// The file.
        #[arg(default_value = "subnode.toml")]
        file: PathBuf,
    },
}

#[derive(Parser)]
pub struct GenesisArgs {
    /// The chain's id.
    #[arg(long, default_value_t = DevGenesis::DEFAULT_CHAIN_ID, value_name = "ID")]
    pub chain_id: u64,
    /// An account that has 10000 ether; once for each. By default the ten accounts whose keys everybody knows (`subnode dev`).
    #[arg(long, value_name = "ADDRESS")]
    pub fund: Vec<Address>,
}

/// The part of a command's help for what all commands that ask a node have.
const NODE_OPTIONS: &str = "Options of all commands that ask a node";

/// Where a running node is found.
#[derive(Parser, Clone)]
pub struct NodeArgs {
    /// The node's socket; by default what the configuration file says.
    #[arg(long, env = "SUBNODE_SOCKET", value_name = "PATH", global = true, help_heading = NODE_OPTIONS)]
    pub socket: Option<PathBuf>,
    /// The node's configuration file.
    #[arg(short, long, default_value = "subnode.toml", value_name = "FILE", global = true, help_heading = NODE_OPTIONS)]
    pub config: PathBuf,
    /// Print JSON.
    #[arg(long, global = true, help_heading = NODE_OPTIONS)]
    pub json: bool,
}

#[derive(Parser)]
pub struct TopArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    /// Seconds between two looks.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = parse_seconds)]
    pub interval: std::time::Duration,
    /// Print one picture as text and end.
    #[arg(long)]
    pub once: bool,
}

#[derive(Parser)]
pub struct DoctorArgs {
    /// The directory to measure, where the node's data will be.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    subnode chain create demo --genesis genesis.json --slice small\n  \
    subnode chain list\n  \
    subnode chain resize demo --memory 512MiB\n  \
    subnode chain export demo --output demo.subnode\n  \
    subnode chain import demo2 demo.subnode\n  \
    subnode chain delete demo --force")]
pub struct ChainArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(subcommand)]
    pub command: ChainCommand,
}

/// What a chain may use of the node.
#[derive(Parser, Clone, Default)]
pub struct SliceArgs {
    /// Parts of the node, or a class: large (128), medium (4), small (1), test (4).
    #[arg(long, value_name = "PARTS")]
    pub slice: Option<Parts>,
    /// Memory, in place of what the slice brings along.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Storage, in place of what the slice brings along.
    #[arg(long, value_name = "SIZE")]
    pub storage: Option<ByteSize>,
    /// Bytes per second of its clients, in place of what the slice brings along.
    #[arg(long, value_name = "SIZE")]
    pub bandwidth: Option<ByteSize>,
    /// How much past state is kept: a number of heights (0 keeps all), or a size, as 2GiB, that old values and what it takes to undo blocks may have.
    /// Blocks and receipts are kept.
    #[arg(long, value_name = "HEIGHTS|SIZE")]
    pub history: Option<History>,
}

/// How much of the past of the state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// So many heights; 0 keeps all.
    Heights(u64),
    /// What these bytes hold.
    Bytes(NonZeroU64),
}

impl FromStr for History {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(heights) = text.parse() {
            return Ok(Self::Heights(heights));
        }
        let size = text.parse::<ByteSize>().ok().and_then(|size| NonZeroU64::new(size.0));
        size.map(Self::Bytes).ok_or_else(|| format!("{text}: use a number of heights (0 keeps all), or a size as 512MiB or 2GiB"))
    }
}

/// Whether a chain takes transactions.
#[derive(Clone, Copy, ValueEnum)]
pub enum StandingArg {
    Open,
    Frozen,
    Closed,
}

#[derive(Subcommand)]
pub enum ChainCommand {
    /// Make a chain and run it.
    Create(Box<CreateArgs>),
    /// List the chains.
    List,
    /// Show one chain.
    Show {
        /// Its name.
        name: ChainName,
    },
    /// Run a chain that is stopped, or was left alone after too many failures.
    Start {
        /// Its name.
        name: ChainName,
    },
    /// Stop a chain. Its data stays.
    Stop {
        /// Its name.
        name: ChainName,
    },
    /// Keep a chain from making blocks. Reads are answered.
    Pause {
        /// Its name.
        name: ChainName,
    },
    /// Let a paused chain go on.
    Resume {
        /// Its name.
        name: ChainName,
    },
    /// Get the next state of a chain from other nodes, in place of tables that are damaged. They stay until it is there.
    Repair {
        /// Its name.
        name: ChainName,
    },
    /// Have an imported chain vote at once. Without this it listens first: two hosts that vote with one key endanger the chain.
    Vote {
        /// Its name. The host that it was exported from must have stopped it for good.
        name: ChainName,
    },
    /// Vote for a chain's standing. It holds once nodes with more than two thirds of the committee's power ask for the same.
    ///
    /// A frozen chain makes blocks and takes no transactions. A closed one never takes transactions again.
    Standing {
        /// Its name.
        name: ChainName,
        /// What this node asks for, until a block notes it.
        #[arg(required_unless_present = "withdraw")]
        standing: Option<StandingArg>,
        /// Ask for nothing any more.
        #[arg(long, conflicts_with = "standing")]
        withdraw: bool,
    },
    /// Change a chain's slice while it runs.
    Resize {
        /// Its name.
        name: ChainName,
        #[command(flatten)]
        slice: SliceArgs,
    },
    /// Put other modules in place of a chain's. They are tried on its head first.
    ///
    /// A chain with a committee goes over at one height, once nodes with more than two thirds of its power ask for the same.
    /// Nodes that lack the module get it from the others.
    Upgrade {
        /// Its name.
        name: ChainName,
        /// A runtime: an embedded module's name, a component file, or `sha256:` and the hash of a module that the node has.
        #[arg(long, value_name = "MODULE")]
        runtime: Option<String>,
        /// A consensus, named in the same ways.
        #[arg(long, value_name = "MODULE")]
        consensus: Option<String>,
        /// The first block that they decide, on a chain with a committee: 16 blocks ahead at least, and more where hosts ask later.
        #[arg(long, value_name = "HEIGHT")]
        at: Option<u64>,
    },
    /// Copy a chain to a file, while it runs. Called again after an interruption, it goes on where it was.
    Export {
        /// Its name.
        name: ChainName,
        /// The file; NAME.subnode by default.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make a chain of an exported one. Called again after an interruption, it goes on where it was.
    Import {
        /// The name it gets.
        name: ChainName,
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        slice: SliceArgs,
        /// Do not run it yet.
        #[arg(long)]
        stopped: bool,
    },
    /// Delete a chain and all it has.
    Delete {
        /// Its name.
        name: ChainName,
        /// Even if it runs, and without asking.
        #[arg(long)]
        force: bool,
    },
    /// Print what a chain logged.
    Logs {
        /// Its name.
        name: ChainName,
        /// Go on printing until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
    },
}

#[derive(Parser)]
pub struct CreateArgs {
    /// Its name: 1 to 64 of a-z, 0-9, - and _.
    pub name: ChainName,
    /// What the runtime starts from: for the EVM a geth-style genesis file, whose config.subnode says what gas costs (`fees`), who may create contracts
    /// (`deployers`) and how large these may be (`codeSizeLimit`).
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Tells chains of a network apart; the next free number by default.
    #[arg(long, value_name = "NUMBER")]
    pub id: Option<std::num::NonZeroU64>,
    /// An embedded module's name, a component file, or `sha256:` and the hash of a module: one that the node does not have is got from its peers, and
    /// the chain waits for it.
    #[arg(long, default_value = "evm", value_name = "MODULE")]
    pub runtime: String,
    /// The same for the consensus.
    #[arg(long, default_value = "solo", value_name = "MODULE")]
    pub consensus: String,
    /// instant, manual, or a time as 2s or 500ms.
    #[arg(long, default_value = "instant", value_name = "HOW")]
    pub sealing: Sealing,
    /// Let clients use evm_, anvil_ and hardhat_ methods, which change the chain at will.
    #[arg(long)]
    pub controls: bool,
    #[command(flatten)]
    pub slice: SliceArgs,
    /// Do not run it yet.
    #[arg(long)]
    pub stopped: bool,
}

fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if (0.001..=31_536_000.0).contains(&seconds) {
        Ok(std::time::Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{text}: use 0.001 to 31536000 seconds"))
    }
}

#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    subnode testnet --dir net                          four nodes and a chain, written and run\n  \
    subnode testnet --dir net --nodes 7 --chains 3     more of both\n  \
    subnode testnet --dir net --write-only             for other machines: change the addresses, and `subnode run` each\n\n\
    A directory that is there is run as it is.")]
pub struct TestnetArgs {
    /// Where everything goes: a directory per node.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How many nodes.
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub nodes: u16,
    /// How many of them, the first, are every chain's committee; the others follow without a vote. All, unless it is said.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub members: Option<u16>,
    /// How many chains.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub chains: u16,
    /// What the chains run: evm, kv, or a component file whose spec is like kv's.
    #[arg(long, default_value = "evm", value_name = "MODULE")]
    pub runtime: String,
    /// What decides on their blocks: bft, authority, or a component file.
    #[arg(long, default_value = "bft", value_name = "MODULE")]
    pub consensus: String,
    /// When blocks come: "instant", or a time as "1s".
    #[arg(long, default_value = "1s", value_name = "SEALING")]
    pub sealing: Sealing,
    /// Heights between two states that a node that is behind can catch up by.
    #[arg(long, default_value_t = subnode_chain::CHECKPOINT_EVERY, value_name = "COUNT")]
    pub checkpoint_every: u64,
    /// Heights between two blocks that the committees attest whatever they do; 0 for none.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub attest_every: u64,
    /// Port of the first node for clients; the next ones follow. The same numbers on UDP are for the nodes.
    #[arg(long, default_value_t = 8545, value_name = "PORT")]
    pub port: u16,
    /// Write the files and do not run them.
    #[arg(long)]
    pub write_only: bool,
}
