//! `subnode key`: the key that identifies a node and signs its votes. The key is in a file that only its owner can
//! read, or encrypted.

use std::{
    io::{IsTerminal, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::json;
use subnode_network::NodeKey;
use subnode_types::NodeId;

use crate::args::{KeyArgs, KeyCommand, SecrecyArgs};

/// For the owner alone.
const MODE: u32 = 0o600;
/// Where a password may be.
const PASSWORD: &str = "SUBNODE_KEY_PASSWORD";

pub fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let (id, json) = match &args.command {
        KeyCommand::New { file, secrecy, json } => (write(file, NodeKey::new_secret()?, secrecy)?, *json),
        KeyCommand::Import { file, from, from_password_file, secrecy, json } => {
            (write(file, read(from, from_password_file.as_deref())?, secrecy)?, *json)
        }
        KeyCommand::Show { file, password_file, json } => (NodeKey::from_secret(read(file, password_file.as_deref())?)?.id(), *json),
    };
    if json {
        println!("{}", json!({ "node": id.to_string() }));
    } else {
        println!("{id}");
    }
    Ok(())
}

/// Makes a key that is not encrypted; what it is known by.
pub fn new(file: &Path) -> anyhow::Result<NodeId> {
    write(file, NodeKey::new_secret()?, &SecrecyArgs { encrypted: false, password_file: None })
}

fn write(file: &Path, secret: [u8; 32], secrecy: &SecrecyArgs) -> anyhow::Result<NodeId> {
    let id = NodeKey::from_secret(secret)?.id();
    // Asked for before the file is made: who gives up leaves none.
    let password = if secrecy.encrypted { Some(password(secrecy.password_file.as_deref(), true)?) } else { None };
    let mut opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(file)
        .with_context(|| format!("make {}; a key that is there is never written over", file.display()))?;
    match password {
        None => opened.write_all(NodeId(secret).to_string().as_bytes())?,
        Some(password) => {
            let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name =
                file.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} is no name of a file", file.display()))?;
            eth_keystore::encrypt_key(dir, &mut rand::rngs::OsRng, secret, password, Some(name)).context("encrypt the key")?;
        }
    }
    opened.sync_all()?;
    Ok(id)
}

/// A password: the first line of a file, or of the environment, or of the terminal.
fn password(file: Option<&Path>, new: bool) -> anyhow::Result<String> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).with_context(|| format!("read the password {}", file.display()))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            bail!("{} holds no password: its first line is empty", file.display());
        }
        return Ok(line.to_owned());
    }
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    if !std::io::stdin().is_terminal() {
        bail!("the key needs a password: give --password-file (network.password-file in a configuration), or {PASSWORD}");
    }
    let given = rpassword::prompt_password("password: ")?;
    if new && rpassword::prompt_password("again: ")? != given {
        bail!("the two passwords differ");
    }
    if given.is_empty() {
        bail!("an empty password keeps nobody out");
    }
    Ok(given)
}

/// The secret in a file that nobody else can read.
pub fn read(file: &Path, password_file: Option<&Path>) -> anyhow::Result<[u8; 32]> {
    let opened = std::fs::File::open(file)
        .with_context(|| format!("read the key {}; `subnode key new {}` makes one", file.display(), file.display()))?;
    let mode = opened.metadata()?.permissions().mode();
    let text = std::io::read_to_string(opened)?;
    if text.trim_start().starts_with('{') {
        let secret = eth_keystore::decrypt_key(file, password(password_file, false)?);
        let secret = secret.with_context(|| format!("{} does not open: a wrong password, or a damaged file", file.display()))?;
        return secret.try_into().map_err(|_| anyhow::anyhow!("{} holds no key of a node: 32 bytes", file.display()));
    }
    if mode & 0o077 != 0 {
        bail!(
            "{} can be read by others (mode {:o}): chmod {MODE:o} it, or make another key if somebody may have",
            file.display(),
            mode & 0o777
        );
    }
    // Its form is that of an id: 64 hexadecimal digits.
    let secret: NodeId = text.trim().parse().map_err(|_| anyhow::anyhow!("{} holds no key: 64 hexadecimal digits", file.display()))?;
    Ok(secret.0)
}
