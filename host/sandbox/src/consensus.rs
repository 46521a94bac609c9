//! Calls of the `consensus` world.

use subnode_types::BlockRef;

use crate::{
    CallError, Effect, GuestFault, Input, Limits, Module, ModuleError, Tenant, bindings::consensus::Consensus, border::consensus_ref,
    guest::Guest, runtime::Verdict,
};

/// Effects of one call.
const EFFECTS_MAX: usize = 64;

/// An instance of a consensus module. It lives as long as the chain runs, or until its first fault.
pub struct ConsensusGuest(Guest<Consensus>);

impl ConsensusGuest {
    /// A fresh instance.
    ///
    /// # Errors
    /// Where the module is no consensus; the inner error where it traps at its start, or this host has no room for it.
    pub async fn new(module: &Module, tenant: &Tenant, limits: Limits, seed: &[u8]) -> Result<Result<Self, CallError>, ModuleError> {
        let pre = module.consensus()?.clone();
        let engine = pre.engine().clone();
        let guest = Guest::new(&engine, tenant, limits, seed, move |store| Box::pin(async move { pre.instantiate_async(store).await }));
        Ok(guest.await.map(Self))
    }

    /// Starts it at a head; the inner error says what is wrong with its configuration.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn start(&mut self, config: &[u8], head: &BlockRef, ready: u32) -> Verdict<Vec<Effect>, String> {
        let (now_ms, head, config) = (head.timestamp_ms, consensus_ref(head), config.to_vec());
        let started = self
            .0
            .call(now_ms, None, move |exports, store| Box::pin(async move { exports.call_start(store, &config, &head, ready).await }));
        match started.await? {
            Ok(effects) => bounded(effects).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Advances it by one input.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn handle(&mut self, now_ms: u64, input: Input) -> Result<Vec<Effect>, CallError> {
        let effects =
            self.0.call(now_ms, None, move |exports, store| Box::pin(async move { exports.call_handle(store, now_ms, &input).await }));
        bounded(effects.await?)
    }
}

fn bounded(effects: Vec<Effect>) -> Result<Vec<Effect>, CallError> {
    if effects.len() <= EFFECTS_MAX {
        Ok(effects)
    } else {
        Err(GuestFault::Bound(format!("{} effects, at most {EFFECTS_MAX}", effects.len())).into())
    }
}
