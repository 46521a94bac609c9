use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

/// An answer that takes longer ends the measurement.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// A kept HTTP connection, one request in flight, blocking: under load, no runtime of the client's is in the figures.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    path: String,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self { stream, buffer: vec![0; 1 << 16], filled: 0, path: "/".to_owned() })
    }

    /// The same connection, for requests to another path.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Posts a body; the body of the answer, whatever its status.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub fn post(&mut self, body: &[u8]) -> anyhow::Result<&[u8]> {
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.path,
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body].concat())?;
        self.filled = 0;
        loop {
            if let Some((start, len)) = answer(&self.buffer[..self.filled])?
                && self.filled >= start + len
            {
                return Ok(&self.buffer[start..start + len]);
            }
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..])? {
                0 => bail!("the connection was closed"),
                read => self.filled += read,
            }
        }
    }

    /// Calls a method that answers with a quantity: hex digits behind `0x`.
    ///
    /// # Errors
    /// As [`Self::call`], or where it answers with something else.
    pub fn quantity(&mut self, method: &str, params: &Value) -> anyhow::Result<u64> {
        let answer = self.call(method, params)?;
        quantity(&answer).with_context(|| format!("{method} answered {answer}, which is no quantity"))
    }

    /// Calls a method; its result.
    ///
    /// # Errors
    /// What the node answers, or that it does not.
    pub fn call(&mut self, method: &str, params: &Value) -> anyhow::Result<Value> {
        self.ask(method, params)?.map_err(|error| anyhow::anyhow!("{method}: {error}"))
    }

    /// Calls a method; its result, or the error that the node answers.
    ///
    /// # Errors
    /// That the node does not answer.
    pub fn ask(&mut self, method: &str, params: &Value) -> anyhow::Result<Result<Value, Value>> {
        let request = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer: Value = serde_json::from_slice(self.post(request.to_string().as_bytes())?)?;
        Ok(match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["result"].take()),
        })
    }
}

/// A quantity: hex digits behind `0x`.
#[must_use]
pub fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Where the body of an answer starts and how long it is, once its head is there.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("an answer without a length")?;
    Ok(Some((end + 4, length.trim().parse()?)))
}
