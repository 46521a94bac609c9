//! Instances of the runtime: fresh ones, and some that are kept for the next query.

mod checker;
mod queries;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use subnode_sandbox::{CallError, HostFault, Limits, Module, RuntimeGuest, Tenant};

pub(crate) use self::{checker::Checker, queries::Queries};
use crate::options::ChainOptions;

/// Instances kept for the next query.
const IDLE_MAX: usize = 4;

/// See the module.
pub(crate) struct Guests {
    runtime: Module,
    tenant: Tenant,
    query: Limits,
    block: Limits,
    /// An instance with more memory is not kept.
    idle_memory_bytes: usize,
    /// Bound: [`IDLE_MAX`] instances of `idle_memory_bytes` bytes; the memory slice is charged for their memory.
    idle: Mutex<Vec<RuntimeGuest>>,
    used: AtomicBool,
}

impl Guests {
    pub(crate) fn new(runtime: Module, tenant: Tenant, options: &ChainOptions) -> Self {
        let ChainOptions { query, block, idle_memory_bytes, .. } = *options;
        Self { runtime, tenant, query, block, idle_memory_bytes, idle: Mutex::default(), used: AtomicBool::new(false) }
    }

    pub(crate) fn runtime(&self) -> &Module {
        &self.runtime
    }

    /// An instance for a query: one that is idle, or a fresh one.
    pub(crate) async fn for_query(&self) -> Result<RuntimeGuest, CallError> {
        self.used.store(true, Ordering::Relaxed);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(guest) => Ok(guest),
            None => self.fresh().await,
        }
    }

    /// A fresh instance with the bounds of a query.
    pub(crate) async fn fresh(&self) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::new(&self.runtime, &self.tenant, self.query, &[]).await;
        guest.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    /// A fresh instance that works on a block.
    pub(crate) async fn for_block(&self, seed: &[u8]) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::for_block(&self.runtime, &self.tenant, self.block, seed).await;
        guest.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    /// Whether an instance is worth another call: it did not fault, nor grow.
    pub(crate) fn is_reusable(&self, guest: &RuntimeGuest) -> bool {
        !guest.faulted() && guest.memory_bytes() <= self.idle_memory_bytes
    }

    /// Keeps an instance for the next query.
    pub(crate) fn give_back(&self, guest: RuntimeGuest) {
        if !self.is_reusable(&guest) {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(guest);
        }
    }

    /// Drops the idle ones where none was asked for since the last sweep.
    pub(crate) fn sweep(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            self.drop_idle();
        }
    }

    pub(crate) fn drop_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }
}
