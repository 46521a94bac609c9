use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    http::Client,
    process::{Run, binary},
};

/// A genesis of a chain with one rich account, the first of the usual ten.
pub const GENESIS: &str = r#"{"config":{"chainId":7,"shanghaiTime":0,"subnode":{"sharedSeconds":true}},"alloc":{"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266":{"balance":"0xffffffffffffffffffffffff"}},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;

/// Something that takes longer does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's directory: its configuration, a genesis, its data.
pub struct Home {
    dir: TempDir,
}

/// A node that runs, and a connection to its operator's socket.
pub struct Node {
    /// The process.
    pub run: Run,
    /// The connection.
    pub operator: Operator,
}

/// A connection to an operator's socket.
pub struct Operator {
    reader: BufReader<UnixStream>,
}

impl Home {
    /// A directory with a configuration: the data directory, a free port, and `more`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(more: &str) -> anyhow::Result<Self> {
        let home = Self { dir: TempDir::new()? };
        fs::write(home.path("genesis.json"), GENESIS)?;
        home.configure(more)?;
        Ok(home)
    }

    /// Writes the configuration anew.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn configure(&self, more: &str) -> anyhow::Result<()> {
        // What the machine happens to have free is no part of a test.
        let config = format!(
            "data-dir = \"data\"\n[rpc]\nlisten = \"127.0.0.1:0\"\n[capacity]\nkeep-free = 0\nmemory = \"8GiB\"\nstorage = \"8GiB\"\n{more}"
        );
        Ok(fs::write(self.config(), config)?)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("subnode.toml")
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node on it, and waits until it is ready.
    ///
    /// # Errors
    /// What it logged where it does not start.
    pub fn start(&self) -> anyhow::Result<Node> {
        let run = Run::start(&self.config())?;
        Ok(Node { run, operator: Operator::connect(&self.socket())? })
    }

    /// Its operator's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("data/subnode.sock")
    }

    /// Runs `subnode` with these arguments, for the node on this directory.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn subnode(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments).arg("--socket").arg(self.socket()).current_dir(self.dir.path());
        command.output().context("run subnode")
    }

    /// What `subnode` prints where it succeeds.
    ///
    /// # Errors
    /// What it says where it fails.
    pub fn succeeds(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.subnode(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `subnode` prints without a node to speak to.
    ///
    /// # Errors
    /// What it says where it fails.
    pub fn succeeds_alone(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary()?).args(arguments).current_dir(self.dir.path()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `subnode` says where it fails.
    ///
    /// # Errors
    /// Where it succeeds.
    pub fn fails(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.subnode(arguments)?;
        ensure!(!output.status.success(), "{arguments:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        Ok(String::from_utf8(output.stderr)?)
    }
}

impl Node {
    /// A connection to one of its chains.
    ///
    /// # Errors
    /// Where it does not listen.
    pub fn chain(&self, name: &str) -> anyhow::Result<Client> {
        Ok(Client::connect(self.run.address)?.at(&format!("/chain/{name}")))
    }

    /// Kills it, as nothing can prepare for.
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.run.child().kill()?;
        self.run.child().wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has; whether it ended well.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub fn stop(mut self) -> anyhow::Result<bool> {
        signal(self.run.child().id(), "-TERM")?;
        Ok(self.run.child().wait()?.success())
    }
}

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a line; the line that is answered.
    ///
    /// # Errors
    /// Where the conversation ended.
    pub fn say(&mut self, line: &str) -> anyhow::Result<Value> {
        self.reader.get_ref().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        ensure!(self.reader.read_line(&mut answer)? > 0, "the conversation ended");
        Ok(serde_json::from_str(&answer)?)
    }

    /// Calls a method.
    ///
    /// # Errors
    /// What the node answers in place of a result.
    pub fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        let answer = self.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string())?;
        match answer.get("error") {
            Some(error) => bail!("{}", error["message"].as_str().unwrap_or_default()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Makes a chain of the usual genesis, with more parameters.
    ///
    /// # Errors
    /// What the node answers in place of it.
    pub fn create(&mut self, name: &str, more: Value) -> anyhow::Result<Value> {
        let mut params = json!({ "name": name, "genesis": GENESIS, "slice": "small" });
        for (key, value) in more.as_object().into_iter().flatten() {
            params[key] = value.clone();
        }
        self.call("chain_create", params)
    }

    /// One chain.
    ///
    /// # Errors
    /// Where there is none.
    pub fn show(&mut self, name: &str) -> anyhow::Result<Value> {
        self.call("chain_show", json!({ "name": name }))
    }

    /// Waits until a chain is as wanted; the chain then.
    ///
    /// # Errors
    /// Where it does not come to that; the chain as it was last.
    pub fn wait(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let started = Instant::now();
        loop {
            let chain = self.show(name)?;
            if wanted(&chain) {
                return Ok(chain);
            }
            ensure!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {chain}");
            // Polling is the operator's only way; the condition, not the time, decides.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends a signal to a process.
///
/// # Errors
/// Where there is none.
pub fn signal(process: u32, signal: &str) -> anyhow::Result<()> {
    // The shell's own: a bare machine has no program of this name.
    let sent = Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", signal, &process.to_string()]).status()?;
    ensure!(sent.success(), "no process {process}");
    Ok(())
}
