//! Calls of the `consensus` world.

use subnode_types::BlockRef;

use crate::{
    CallError, Effect, GuestFault, Input, Limits, Module, ModuleError, Tenant,
    bindings::consensus::Consensus,
    border::consensus_ref,
    guest::Shell,
    runtime::{Verdict, instance_error},
};

/// Effects of one call.
const EFFECTS_MAX: usize = 64;

/// An instance of a consensus module. It lives as long as the chain runs, or until its first fault.
pub struct ConsensusGuest {
    shell: Shell,
    exports: Consensus,
}

impl ConsensusGuest {
    /// A fresh instance.
    ///
    /// # Errors
    /// Where the module is no consensus; the inner error where it traps at its start, or this host has no room for it.
    pub async fn new(module: &Module, tenant: &Tenant, limits: Limits, seed: &[u8]) -> Result<Result<Self, CallError>, ModuleError> {
        let pre = module.consensus()?;
        let mut shell = Shell::new(pre.engine(), tenant.clone(), limits, seed);
        if let Err(error) = shell.begin(0, None) {
            return Ok(Err(error));
        }
        let call = shell.run_as();
        let exports = call.run(pre.instantiate_async(&mut shell.store)).await;
        let exports = exports.map_err(|error| instance_error(error, &shell));
        let (exports, _) = shell.end(exports);
        Ok(exports.map(|exports| Self { shell, exports }))
    }

    /// Starts it at a head; the inner error says what is wrong with its configuration.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn start(&mut self, config: &[u8], head: &BlockRef, ready: u32) -> Verdict<Vec<Effect>, String> {
        self.shell.begin(head.timestamp_ms, None)?;
        let (head, call) = (consensus_ref(head), self.shell.run_as());
        let result = call.run(self.exports.call_start(&mut self.shell.store, config, &head, ready)).await;
        match self.shell.end(result).0? {
            Ok(effects) => bounded(effects).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Advances it by one input.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn handle(&mut self, now_ms: u64, input: &Input) -> Result<Vec<Effect>, CallError> {
        self.shell.begin(now_ms, None)?;
        let call = self.shell.run_as();
        let result = call.run(self.exports.call_handle(&mut self.shell.store, now_ms, input)).await;
        bounded(self.shell.end(result).0?)
    }
}

fn bounded(effects: Vec<Effect>) -> Result<Vec<Effect>, CallError> {
    if effects.len() <= EFFECTS_MAX {
        Ok(effects)
    } else {
        Err(GuestFault::Bound(format!("{} effects, at most {EFFECTS_MAX}", effects.len())).into())
    }
}
