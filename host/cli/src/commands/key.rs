//! `subnode key`: the key that identifies a node and signs its votes, and beside it, in a file whose name ends in
//! `.attest`, the key with which the node attests blocks to outsiders. Both are in files that only their owner can read,
//! or encrypted.

use std::{
    io::{IsTerminal, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::json;
use subnode_attestation::{Address, address};
use subnode_network::NodeKey;
use subnode_signer::AttestKey;
use subnode_types::NodeId;

use crate::args::{KeyArgs, KeyCommand, SecrecyArgs};

/// For the owner alone.
const MODE: u32 = 0o600;
/// Where a password may be.
const PASSWORD: &str = "SUBNODE_KEY_PASSWORD";

/// What a node is known by.
pub struct Known {
    /// To other nodes, by its ed25519 key.
    pub node: NodeId,
    /// To outsiders, by its secp256k1 key; none where that is not there and cannot be made.
    pub attester: Option<Address>,
}

/// A node's secrets.
pub struct Secrets {
    /// Of the key that identifies it and votes.
    pub node: [u8; 32],
    /// Of the key that attests; none where that is not there and cannot be made.
    pub attest: Option<[u8; 32]>,
}

impl Secrets {
    fn known(&self) -> anyhow::Result<Known> {
        let attester = self.attest.map(|attest| anyhow::Ok(address(&AttestKey::from_secret(attest)?.point()))).transpose()?;
        Ok(Known { node: NodeKey::from_secret(self.node)?.id(), attester })
    }
}

pub fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let (known, json) = match &args.command {
        KeyCommand::New { file, secrecy, json } => (write(file, NodeKey::new_secret()?, None, secrecy)?, *json),
        KeyCommand::Import { file, from, from_password_file, secrecy, json } => {
            let mut password = Password::of(from_password_file.as_deref());
            let node = read(from, &mut password)?;
            let beside = attest_file(from);
            let attest = if beside.exists() { Some(read(&beside, &mut password)?) } else { None };
            (write(file, node, attest, secrecy)?, *json)
        }
        KeyCommand::Show { file, password_file, json } => (secrets(file, password_file.as_deref())?.known()?, *json),
    };
    let attester = known.attester.map(|attester| attester.to_string());
    if json {
        println!("{}", json!({ "node": known.node.to_string(), "attester": attester }));
    } else {
        println!("{}", known.node);
        attester.iter().for_each(|attester| println!("attests as {attester}"));
    }
    Ok(())
}

/// Makes keys that are not encrypted; what their node is known by.
pub fn new(file: &Path) -> anyhow::Result<Known> {
    write(file, NodeKey::new_secret()?, None, &SecrecyArgs { encrypted: false, password_file: None })
}

/// The secrets in a node's files. The key that attests is made where it is not there yet.
pub fn secrets(file: &Path, password_file: Option<&Path>) -> anyhow::Result<Secrets> {
    let mut password = Password::of(password_file);
    let (node, beside) = (read(file, &mut password)?, attest_file(file));
    if !beside.exists() {
        // As its node's key is kept, so is this one.
        let known = if is_encrypted(file)? { Some(password.get(false)?) } else { None };
        if let Err(error) = write_secret(&beside, new_attest_secret()?, known) {
            eprintln!("this node attests nothing: {error:#}");
            return Ok(Secrets { node, attest: None });
        }
    }
    let attest = read(&beside, &mut password)?;
    AttestKey::from_secret(attest).with_context(|| format!("the key that attests, {}", beside.display()))?;
    Ok(Secrets { node, attest: Some(attest) })
}

/// Where the key is that attests: beside the node's.
fn attest_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".attest");
    name.into()
}

/// Never derived from the node's key: whoever learns one of the two has not the other.
fn new_attest_secret() -> anyhow::Result<[u8; 32]> {
    loop {
        let secret = NodeKey::new_secret()?;
        // All but 2^128 of 2^256 numbers are keys.
        if AttestKey::from_secret(secret).is_ok() {
            return Ok(secret);
        }
    }
}

fn write(file: &Path, node: [u8; 32], attest: Option<[u8; 32]>, secrecy: &SecrecyArgs) -> anyhow::Result<Known> {
    let attest = attest.map_or_else(new_attest_secret, Ok)?;
    let secrets = Secrets { node, attest: Some(attest) };
    let known = secrets.known()?;
    let password = if secrecy.encrypted { Some(Password::of(secrecy.password_file.as_deref()).get(true)?) } else { None };
    // The node's key last: who finds that one has both.
    let beside = attest_file(file);
    if file.exists() {
        bail!("make {}: it is there; a key that is there is never written over", file.display());
    }
    write_secret(&beside, attest, password.clone())?;
    if let Err(error) = write_secret(file, node, password) {
        drop(std::fs::remove_file(&beside));
        return Err(error);
    }
    Ok(known)
}

/// Writes a file that is whole from when it is there, and that its owner alone can read.
fn write_secret(file: &Path, secret: [u8; 32], password: Option<String>) -> anyhow::Result<()> {
    let make = || format!("make {}; a key that is there is never written over", file.display());
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Files of this kind are for their owner alone.
    let mut temporary = tempfile::NamedTempFile::new_in(dir).with_context(make)?;
    match password {
        None => temporary.write_all(NodeId(secret).to_string().as_bytes())?,
        Some(password) => {
            let name = temporary.path().file_name().and_then(|name| name.to_str()).context("a temporary file without a name")?;
            eth_keystore::encrypt_key(dir, &mut rand::rngs::OsRng, secret, password, Some(name)).context("encrypt the key")?;
        }
    }
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(file).with_context(make)?;
    Ok(())
}

/// A password that is asked for once, when it is needed.
struct Password<'a> {
    file: Option<&'a Path>,
    known: Option<String>,
}

impl<'a> Password<'a> {
    fn of(file: Option<&'a Path>) -> Self {
        Self { file, known: None }
    }

    fn get(&mut self, new: bool) -> anyhow::Result<String> {
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let asked = password(self.file, new)?;
        Ok(self.known.insert(asked).clone())
    }
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

fn is_encrypted(file: &Path) -> anyhow::Result<bool> {
    Ok(std::fs::read_to_string(file)?.trim_start().starts_with('{'))
}

/// The secret in a file that nobody else can read.
fn read(file: &Path, password: &mut Password<'_>) -> anyhow::Result<[u8; 32]> {
    let opened = std::fs::File::open(file)
        .with_context(|| format!("read the key {}; `subnode key new {}` makes one", file.display(), file.display()))?;
    let mode = opened.metadata()?.permissions().mode();
    let text = std::io::read_to_string(opened)?;
    if text.trim_start().starts_with('{') {
        let secret = eth_keystore::decrypt_key(file, password.get(false)?);
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
