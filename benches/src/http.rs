//! A client for load: one connection, one request in flight, no parsing beyond what the figures need.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A kept connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Posts a body; the body of the answer.
    pub(crate) async fn post(&mut self, body: &[u8]) -> anyhow::Result<&[u8]> {
        let head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), body].concat();
        self.stream.write_all(&request).await?;
        self.buffer.clear();
        loop {
            if let Some((start, len)) = answer(&self.buffer)?
                && self.buffer.len() >= start + len
            {
                return Ok(&self.buffer[start..start + len]);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
        }
    }

    /// Calls a method; its result.
    pub(crate) async fn call(&mut self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let request = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = serde_json::from_slice(self.post(request.to_string().as_bytes()).await?)?;
        match answer.get("error") {
            Some(error) => bail!("{method}: {error}"),
            None => Ok(answer["result"].clone()),
        }
    }
}

/// Where the body of an answer starts and how long it is, once its head is there.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("an answer without a length")?;
    Ok(Some((end + 4, length.trim().parse()?)))
}
