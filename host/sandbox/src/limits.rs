//! What a guest may use, and the limiter that wasmtime asks.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Bounds of one instance and of each of its calls.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Linear memory, all memories together.
    pub memory_bytes: usize,
    /// Fuel of one call.
    pub fuel: u64,
    /// Bytes that one call may hand to the host, in arguments and results together.
    pub transfer_bytes: usize,
    /// Wall-clock time of one call: a guest that waits burns no fuel.
    pub wall: Duration,
}

/// Elements in all tables of an instance. A large runtime has some thousand functions behind pointers.
const TABLE_ELEMENTS_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes_max: usize,
    memory_bytes: usize,
    pub(crate) memory_refused: bool,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_bytes_max: limits.memory_bytes, memory_bytes: 0, memory_refused: false }
    }

    /// Linear memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired - current);
        let allowed = total <= self.memory_bytes_max;
        if allowed {
            self.memory_bytes = total;
        } else {
            self.memory_refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
