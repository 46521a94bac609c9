//! What a guest prints becomes log lines of its chain, bounded.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{LogKind, Tenant};

/// Bytes one call may print; the rest is dropped, and the log says so once. All calls of a chain together are bounded over time.
const BYTES_PER_CALL_MAX: usize = 16 << 10;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 1024;

/// The output of one guest.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    tenant: Tenant,
    line: Vec<u8>,
    bytes_left: usize,
    silenced: bool,
}

impl Output {
    pub(crate) fn new(tenant: Tenant) -> Self {
        let shared = Shared { tenant, line: Vec::new(), bytes_left: BYTES_PER_CALL_MAX, silenced: false };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// A new call, a new allowance.
    pub(crate) fn refill(&self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.bytes_left = BYTES_PER_CALL_MAX;
        shared.silenced = false;
    }

    /// The last line, which may lack its end: a panic's text, usually.
    pub(crate) fn flush(&self) -> Option<String> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.emit()
    }

    fn push(&self, bytes: &[u8]) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = bytes.len().min(shared.bytes_left);
        shared.bytes_left -= taken;
        for byte in &bytes[..taken] {
            if *byte == b'\n' || shared.line.len() >= LINE_BYTES_MAX {
                drop(shared.emit());
            }
            if *byte != b'\n' {
                shared.line.push(*byte);
            }
        }
        if taken < bytes.len() && !shared.silenced {
            shared.silenced = true;
            if let Some(untold) = shared.tenant.may_log(LogKind::Output) {
                tracing::warn!(chain = %shared.tenant.chain(), untold, "guest output beyond {BYTES_PER_CALL_MAX} bytes in one call is dropped");
            }
        }
    }
}

impl Shared {
    fn emit(&mut self) -> Option<String> {
        if self.line.is_empty() {
            return None;
        }
        // Control characters would let a guest write to the terminal of whoever reads the log.
        let text: String = String::from_utf8_lossy(&self.line).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.line.clear();
        match self.tenant.may_print(text.len()) {
            Some(0) => tracing::info!(target: "subnode::guest", chain = %self.tenant.chain(), "{text}"),
            Some(untold) => tracing::info!(target: "subnode::guest", chain = %self.tenant.chain(), untold, "{text}"),
            None => {}
        }
        Some(text)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only `p2_stream` is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn write_zeroes(&mut self, _count: usize) -> StreamResult<()> {
        // A log shows no zeros, and a guest names any number of them.
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE_BYTES_MAX)
    }
}
