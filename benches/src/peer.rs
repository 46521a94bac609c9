//! The processes that are measured: `subnode dev`, and anvil from npm.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;
use subnode_tests::{http::Client, process::foundry};

use crate::machine::resident_kib;

/// The version that the figures name.
pub(crate) const ANVIL: &str = "1.7.1";

/// Which program is measured.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    Subnode(PathBuf),
    Anvil(PathBuf),
}

/// A running program. Killed when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first answer.
    pub(crate) started_in: Duration,
}

impl Program {
    /// Both of them; anvil is installed beside this binary if it is not there.
    pub(crate) fn both() -> anyhow::Result<[Self; 2]> {
        let here = std::env::current_exe()?;
        let here = here.parent().context("a binary is in a folder")?;
        let peers = here.join("peers");
        let package = format!("@foundry-rs/anvil@{ANVIL}");
        let installed = || foundry(&peers, "anvil");
        if installed().is_none() {
            eprintln!("installing {package} from npm into {}", peers.display());
            std::fs::create_dir_all(&peers)?;
            let status = Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"])
                .arg(&peers)
                .arg(&package)
                .status()?;
            ensure!(status.success(), "npm install {package}: {status}");
        }
        let subnode = here.join("subnode");
        ensure!(subnode.exists(), "{} is missing: build the workspace first", subnode.display());
        Ok([Self::Subnode(subnode), Self::Anvil(installed().context("anvil's package has no binary for this platform")?)])
    }

    /// Starts it with a block limit of 1 Ggas, and waits for its first answer.
    pub(crate) fn start(&self, arguments: &[&str]) -> anyhow::Result<Peer> {
        // Free a moment ago: neither program can be asked which port it took before it listens.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let mut command = match self {
            Self::Subnode(path) => {
                let mut command = Command::new(path);
                command.arg("dev");
                command
            }
            Self::Anvil(path) => Command::new(path),
        };
        command
            .args(["--silent", "--gas-limit", "1000000000", "--port", &port])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let address: SocketAddr = format!("127.0.0.1:{port}").parse()?;
        let started = Instant::now();
        let child = command.spawn()?;
        let mut peer = Peer { child, address, started_in: Duration::ZERO };
        while Instant::now() < started + Duration::from_secs(20) {
            if let Ok(mut client) = Client::connect(address) {
                client.call("eth_chainId", &json!([]))?;
                peer.started_in = started.elapsed();
                return Ok(peer);
            }
            // Both are asked as often: twice a millisecond.
            std::thread::sleep(Duration::from_micros(500));
        }
        anyhow::bail!("{self:?} does not answer")
    }
}

impl Peer {
    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in MiB, where the system tells.
    pub(crate) fn resident_mib(&self) -> f64 {
        resident_kib(self.process()) / 1024.0
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
