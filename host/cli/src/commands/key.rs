//! `subnode key`: the key that a node is known by, and votes with.

use std::{
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::json;
use subnode_network::NodeKey;
use subnode_types::NodeId;

use crate::args::{KeyArgs, KeyCommand};

/// For the owner alone.
const MODE: u32 = 0o600;

pub fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let (id, json) = match &args.command {
        KeyCommand::New { file, json } => (new(file)?, *json),
        KeyCommand::Show { file, json } => (NodeKey::from_secret(read(file)?)?.id(), *json),
    };
    if json {
        println!("{}", json!({ "node": id.to_string() }));
    } else {
        println!("{id}");
    }
    Ok(())
}

/// Makes a key; what it is known by.
pub fn new(file: &Path) -> anyhow::Result<NodeId> {
    let secret = NodeKey::new_secret()?;
    let id = NodeKey::from_secret(secret)?.id();
    let mut opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(file)
        .with_context(|| format!("make {}; a key that is there is never written over", file.display()))?;
    opened.write_all(NodeId(secret).to_string().as_bytes())?;
    opened.sync_all()?;
    Ok(id)
}

/// The secret in a file that nobody else can read.
pub fn read(file: &Path) -> anyhow::Result<[u8; 32]> {
    let opened = std::fs::File::open(file)
        .with_context(|| format!("read the key {}; `subnode key new {}` makes one", file.display(), file.display()))?;
    let mode = opened.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "{} can be read by others (mode {:o}): chmod {MODE:o} it, or make another key if somebody may have",
            file.display(),
            mode & 0o777
        );
    }
    let text = std::io::read_to_string(opened)?;
    // Its form is that of an id: 64 hexadecimal digits.
    let secret: NodeId = text.trim().parse().map_err(|_| anyhow::anyhow!("{} holds no key: 64 hexadecimal digits", file.display()))?;
    Ok(secret.0)
}
