//! Arguments of `subnode attestation`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use subnode_attestation::B256;
use subnode_types::ChainName;

use super::NodeArgs;

#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    subnode attestation anchor demo                          what outsiders have to trust\n  \
    subnode attestation show demo --json > block.json        the last block that the committee attested, for outsiders\n  \
    subnode attestation verify 0x9ab2... block.json          what outsiders do with both; no node is needed")]
pub struct AttestationArgs {
    #[command(subcommand)]
    pub command: AttestationCommand,
}

#[derive(Subcommand)]
pub enum AttestationCommand {
    /// Print what a chain's committee attests of a block, with the signatures that this node has.
    Show {
        /// The chain.
        chain: ChainName,
        /// The block's height; the last one that is attested by more than two thirds, unless it is given.
        #[arg(long, value_name = "HEIGHT")]
        height: Option<u64>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// List the last blocks that a chain's committee attests.
    List {
        /// The chain.
        chain: ChainName,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Print proofs that members attested one height twice.
    Proofs {
        /// The chain.
        chain: ChainName,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Print the anchor of a chain's first committee: all that an outsider has to trust.
    Anchor {
        /// The chain.
        chain: ChainName,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Check an attestation without a node. It exits with 1 where it does not hold.
    Verify {
        /// The anchor that you trust.
        anchor: B256,
        /// What `subnode attestation show --json` printed.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
