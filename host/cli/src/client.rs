//! Speaks to a running node over the operator's socket.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{args::NodeArgs, config};

/// A node that takes longer to answer is not waited for: compiling a module takes seconds, stopping a busy chain as well.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// A connection to a node.
pub struct Client {
    reader: BufReader<UnixStream>,
    socket: PathBuf,
}

/// What a node answers in place of a result.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Client {
    /// Connects to the node that the arguments name.
    pub fn connect(args: &NodeArgs) -> anyhow::Result<Self> {
        let socket = match &args.socket {
            Some(socket) => socket.clone(),
            None => {
                let found = config::load(&args.config)
                    .context("which node is meant? name its socket with --socket, or its configuration with --config")?;
                found.socket()
            }
        };
        let stream = UnixStream::connect(&socket)
            .with_context(|| format!("no node answers on {}; is it running, and are you its user?", socket.display()))?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self { reader: BufReader::new(stream), socket })
    }

    /// Calls a method.
    pub fn call(&mut self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let mut request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        request.push('\n');
        let broken = || format!("the node on {} ended the conversation", self.socket.display());
        match self.reader.get_ref().write_all(request.as_bytes()) {
            // A node that refuses a connection says so and closes it, whatever else is sent.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.with_context(broken)?,
        }
        let mut line = String::new();
        if self.reader.read_line(&mut line).with_context(|| format!("the node on {} does not answer", self.socket.display()))? == 0 {
            bail!("the node on {} ended the conversation", self.socket.display());
        }
        let mut answer: Value = serde_json::from_str(&line).context("the node's answer is not JSON")?;
        match answer.get("error") {
            Some(error) => Err(Refusal(error["message"].as_str().unwrap_or_default().to_owned()).into()),
            None => Ok(answer["result"].take()),
        }
    }
}
