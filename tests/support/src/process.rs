use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::http::Client;

/// The binary under test, built beside the tests and the benches.
///
/// # Errors
/// Where it is not there.
pub fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test is in `deps` of its profile's folder, a bench in the folder itself.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("subnode")).find(|path| path.is_file());
    found.with_context(|| format!("no subnode beside {}: run `cargo build --release --workspace` first", own.display()))
}

/// A program of Foundry in a folder's npm packages: the platform's package has the binary itself, of which npm's
/// wrapper hides how it ends.
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
    later: Arc<Later>,
}

/// What a process logs from some moment on.
pub struct Followed {
    later: Arc<Later>,
    read: usize,
}

#[derive(Default)]
struct Later {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A line that takes longer does not come.
const LINES_WITHIN: Duration = Duration::from_secs(30);

impl Followed {
    /// Waits for a line with this text; the line.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn wait(&mut self, text: &str) -> anyhow::Result<String> {
        let mut lines = self.later.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while self.read < lines.len() {
                self.read += 1;
                if lines[self.read - 1].contains(text) {
                    return Ok(lines[self.read - 1].clone());
                }
            }
            let (locked, waited) = self.later.more.wait_timeout(lines, LINES_WITHIN).unwrap_or_else(PoisonError::into_inner);
            lines = locked;
            ensure!(!waited.timed_out() || self.read < lines.len(), "nothing of {text:?} in {lines:?}");
        }
    }
}

impl Run {
    /// Starts one on a configuration, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not start; the error is what it logged.
    pub fn start(config: &Path) -> anyhow::Result<Self> {
        Self::start_with(Command::new(binary()?), config)
    }

    /// The same with a command that runs the binary.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(mut command: Command, config: &Path) -> anyhow::Result<Self> {
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
                let later = Arc::<Later>::default();
                let noted = later.clone();
                std::thread::spawn(move || {
                    for line in lines.map_while(Result::ok) {
                        noted.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                        noted.more.notify_all();
                    }
                });
                return Ok(Self { process, address, log, later });
            }
        }
        bail!("subnode run ended with {}:\n{log}", process.0.wait()?)
    }

    /// What it logged since it was ready.
    #[must_use]
    pub fn logged(&self) -> String {
        self.later.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Its process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// What it logs from now on.
    #[must_use]
    pub fn follow(&self) -> Followed {
        let read = self.later.lines.lock().unwrap_or_else(PoisonError::into_inner).len();
        Followed { later: self.later.clone(), read }
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.process.0
    }
}

/// As many ports in a row that nobody has. Below those that the system gives to clients: a node that is killed gets its
/// port again.
pub fn free_ports(count: u16) -> u16 {
    use rand::Rng;
    use std::net::{TcpListener, UdpSocket};
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok();
    loop {
        let first = rand::rng().random_range(10_000..30_000);
        if (first..first + count).all(free) {
            return first;
        }
    }
}
