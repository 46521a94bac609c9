//! Arguments of `subnode module`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
pub struct ModuleArgs {
    #[command(subcommand)]
    pub command: ModuleCommand,
}

#[derive(Subcommand)]
pub enum ModuleCommand {
    /// Print the SHA-256 of modules: of the embedded ones, or of files.
    Hash {
        /// Component files, or names of embedded modules; all embedded ones by default.
        modules: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a project of a module, which builds and passes `subnode module check`.
    New {
        /// Its name, and the directory that is made.
        name: String,
        /// What it implements: which block is next, or what a block means.
        #[arg(long, value_enum, default_value = "consensus")]
        world: ModuleWorld,
    },
    /// Say what a component is: its world, imports, size, memory, what it was made with.
    Inspect {
        /// A component file, or the name of an embedded module.
        module: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try a module: under limits, twice the same, and in the scenarios of its world.
    #[command(after_help = CHECK_HELP)]
    Check(ModuleCheckArgs),
}

const CHECK_HELP: &str = "A runtime builds and executes blocks, and is given damaged ones and junk. A consensus runs simulated committees through loss, delay, \
    crashes, partitions, slow disks and wrong clocks, and beside members that break the rules. Exit code 1: something did not hold.\n\n\
Examples:\n  \
    subnode module check my.wasm                        a consensus whose members may stop, or a runtime\n  \
    subnode module check my.wasm --byzantine            a consensus whose members may lie\n  \
    subnode module check my.wasm --single               a consensus of one sequencer\n  \
    subnode module check my.wasm --spec genesis.json    a runtime that needs a spec";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ModuleWorld {
    Consensus,
    Runtime,
}

#[derive(Parser)]
pub struct ModuleCheckArgs {
    /// A component file, or the name of an embedded module.
    pub module: String,
    /// Try it beside a member that lies, too: one of four or of seven. For a consensus whose members may lie. A consensus whose members trust each
    /// other, as the project of `subnode module new`, does not hold then.
    #[arg(long)]
    pub byzantine: bool,
    /// It is for a single sequencer: no committee.
    #[arg(long, conflicts_with = "byzantine")]
    pub single: bool,
    /// What a runtime starts from.
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// Runs of each scenario.
    #[arg(long, default_value = "50", value_name = "COUNT")]
    pub seeds: std::num::NonZeroU64,
    /// Print JSON, a line for each scenario.
    #[arg(long)]
    pub json: bool,
}
