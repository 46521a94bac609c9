use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::http::Client;

/// The binary under test, built beside the tests.
///
/// # Errors
/// Where it is not there.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test is in deps/ of its profile")?;
    let path = profile.join("subnode");
    ensure!(path.exists(), "{} is missing: run `cargo build --release --workspace` first", path.display());
    Ok(path)
}

/// A program of Foundry in a folder's npm packages: the platform's package has the binary itself, of which npm's wrapper hides how it ends.
#[must_use]
pub fn foundry(folder: &Path, name: &str) -> Option<PathBuf> {
    let packages = std::fs::read_dir(folder.join("node_modules/@foundry-rs")).ok()?;
    packages.flatten().map(|package| package.path().join("bin").join(name)).find(|binary| binary.is_file())
}

/// A process that is killed when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A `subnode dev` that listens.
pub struct Dev {
    process: Process,
    /// What `subnode dev --json` printed.
    pub announced: Value,
}

impl Dev {
    /// Starts one on a free port, with more arguments, and waits until it listens.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(["dev", "--port", "0", "--json"]).args(arguments).stdout(Stdio::piped());
        let mut process = Process(command.spawn().context("start subnode dev")?);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().context("its output is piped")?).read_line(&mut line)?;
        let announced = serde_json::from_str(&line).with_context(|| format!("subnode dev printed {line:?}"))?;
        Ok(Self { process, announced })
    }

    /// Where its first chain answers over HTTP.
    #[must_use]
    pub fn http(&self) -> String {
        self.announced["url"].as_str().unwrap_or_default().to_owned()
    }

    /// Where its first chain answers over WebSocket.
    #[must_use]
    pub fn ws(&self) -> String {
        self.http().replacen("http", "ws", 1)
    }

    /// A connection to its first chain.
    ///
    /// # Errors
    /// Where it does not listen any more.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.announced["listening"].as_str().context("an address")?.parse()?)
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.process.0
    }
}

/// A `subnode run` that listens.
pub struct Run {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it logged until then.
    pub log: String,
}

impl Run {
    /// Starts one on a configuration, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not start; the error is what it logged.
    pub fn start(config: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(["run", "--config"]).arg(config).env_remove("RUST_LOG").stderr(Stdio::piped());
        let mut process = Process(command.spawn().context("start subnode run")?);
        let mut lines = BufReader::new(process.0.stderr.take().context("its log is piped")?).lines();
        let mut log = String::new();
        for line in &mut lines {
            let line = line?;
            log += &line;
            log.push('\n');
            if line.contains("ready")
                && let Some(address) = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next())
            {
                let address = address.parse().with_context(|| line.clone())?;
                // A log that nobody reads would stop the node once the pipe is full.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { process, address, log });
            }
        }
        bail!("subnode run ended with {}:\n{log}", process.0.wait()?)
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.process.0
    }
}
