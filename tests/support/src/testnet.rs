use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::{
    http::Client,
    process::{Run, binary, free_ports},
};

/// The files of a network on this machine, as `subnode testnet` writes them. No node of it runs yet.
pub struct Testnet {
    program: PathBuf,
    dir: TempDir,
    addresses: Vec<SocketAddr>,
}

impl Testnet {
    /// Of so many nodes, with more arguments.
    ///
    /// # Errors
    /// What `subnode testnet` says.
    pub fn new(nodes: usize, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::by(binary()?, nodes, arguments)
    }

    /// The same by another build of `subnode`, which runs its nodes as well.
    ///
    /// # Errors
    /// What `subnode testnet` says.
    pub fn by(program: PathBuf, nodes: usize, arguments: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let first_port = free_ports(u16::try_from(nodes)?);
        let addresses = (first_port..).take(nodes).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let written = Command::new(&program)
            .args(["testnet", "--write-only", "--nodes", &nodes.to_string(), "--port", &first_port.to_string()])
            .args(arguments)
            .arg("--dir")
            .arg(dir.path())
            .output()?;
        ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        Ok(Self { program, dir, addresses })
    }

    /// Starts a node, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(&self, node: usize) -> anyhow::Result<Run> {
        Run::start_with(Command::new(&self.program), &self.config(node))
    }

    /// A chain's genesis. Chains are counted from 0, and their files' names from 1.
    #[must_use]
    pub fn genesis(&self, chain: usize) -> PathBuf {
        self.dir.path().join(format!("chain{}.json", chain + 1))
    }

    /// A node's folder. They are counted from 0, and their folders' names from 1.
    #[must_use]
    pub fn folder(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node{}", node + 1))
    }

    /// A node's configuration.
    #[must_use]
    pub fn config(&self, node: usize) -> PathBuf {
        self.folder(node).join("subnode.toml")
    }

    /// Where a node listens, for clients and for nodes.
    #[must_use]
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// What a node is known by.
    ///
    /// # Errors
    /// Where it has no key.
    pub fn key(&self, node: usize) -> anyhow::Result<String> {
        self.known(node, "node")
    }

    /// The address that a node attests with.
    ///
    /// # Errors
    /// Where it has no key.
    pub fn attester(&self, node: usize) -> anyhow::Result<String> {
        self.known(node, "attester")
    }

    fn known(&self, node: usize, name: &str) -> anyhow::Result<String> {
        let shown = Command::new(&self.program).args(["key", "show", "--json"]).arg(self.folder(node).join("node.key")).output()?;
        ensure!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let known: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
        Ok(known[name].as_str().with_context(|| format!("no {name} in {known}"))?.to_owned())
    }

    /// A connection to a node, for requests to a chain of its. They are counted from 0 as well.
    ///
    /// # Errors
    /// Where the node does not listen.
    pub fn client(&self, node: usize, chain: usize) -> anyhow::Result<Client> {
        Ok(Client::connect(self.address(node))?.at(&format!("/chain/chain{}", chain + 1)))
    }
}
