//! What a guest may use, and the limiter that wasmtime asks.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::{Tenant, fault::MemoryRefused};

/// Bounds of one instance and of each of its calls.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Linear memory, all memories together.
    pub memory_bytes: usize,
    /// Fuel of one call.
    pub fuel: u64,
    /// Bytes that one call may hand to the host in its result, and each call of a host function in lists that are copied.
    pub transfer_bytes: usize,
    /// Wall-clock time of one call: a guest that waits burns no fuel.
    pub wall: Duration,
}

/// Elements in all tables of an instance. A large runtime has some thousand functions behind pointers.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Counts an instance's memory against its own bound and its chain's slice.
pub(crate) struct Limiter {
    tenant: Tenant,
    memory_bytes_max: usize,
    memory_bytes: usize,
    pub(crate) refused: Option<MemoryRefused>,
}

impl Limiter {
    pub(crate) fn new(tenant: Tenant, limits: &Limits) -> Self {
        Self { tenant, memory_bytes_max: limits.memory_bytes, memory_bytes: 0, refused: None }
    }

    /// Linear memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = desired - current;
        let total = self.memory_bytes.saturating_add(grown);
        if total > self.memory_bytes_max {
            self.refused = Some(MemoryRefused::Instance);
            return Ok(false);
        }
        if let Err(full) = self.tenant.take_memory(grown as u64) {
            self.refused = Some(MemoryRefused::Slice(self.tenant.memory_fault(&full)));
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.tenant.memory().give(self.memory_bytes as u64);
    }
}
