//! Arguments of `subnode key`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(after_help = "Examples:\n  \
    subnode key new node.key                       makes a key, and prints the id of its node and the address that it attests with\n  \
    subnode key new node.json --encrypted          the same, behind a password that is asked for\n  \
    subnode key import node.json --from node.key --encrypted    a key that there is, in another file\n  \
    subnode key show node.key                      prints both\n\n\
The key that attests is another one, in node.key.attest. It is made when it is first needed, and kept as the node's key is.\n\n\
An encrypted key is a file in the form of geth's keystores (Web3 Secret Storage). The password comes from --password-file, from \
SUBNODE_KEY_PASSWORD, or from the terminal; a node reads it from network.password-file.")]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// How a key is kept.
#[derive(clap::Args)]
pub struct SecrecyArgs {
    /// Encrypt it with a password. Otherwise the file is as safe as its permissions.
    #[arg(long)]
    pub encrypted: bool,
    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE", requires = "encrypted")]
    pub password_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Make a key, in a file that only its owner can read.
    New {
        /// The file, which must not be there.
        file: PathBuf,
        #[command(flatten)]
        secrecy: SecrecyArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a key that there is to another file: encrypt it, decrypt it, or take one that another program made.
    Import {
        /// The file, which must not be there.
        file: PathBuf,
        /// Where the key is: 64 hexadecimal digits, or an encrypted key.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// A file whose first line is the password of --from.
        #[arg(long, value_name = "FILE")]
        from_password_file: Option<PathBuf>,
        #[command(flatten)]
        secrecy: SecrecyArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the id of a key's node, and the address that the node attests with.
    Show {
        /// The file.
        file: PathBuf,
        /// A file whose first line is the password of an encrypted key.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
