//! Calls of the `runtime` world.

use subnode_types::BlockRef;

use crate::{
    Admission, Answer, Attributes, Built, CallError, Invalid, Lent, Limits, Module, ModuleError, Occurrence, Outcome, RpcError, Tenant,
    bindings::runtime::Runtime, border::runtime_ref, fault::HostFault, guest::Shell,
};

/// An instance of a runtime module.
pub struct RuntimeGuest {
    shell: Shell,
    exports: Runtime,
    fuel_burnt: u64,
}

/// A genesis, a build or an execution, whose verdict is the inner result.
pub type Verdict<T, E> = Result<Result<T, E>, CallError>;

impl RuntimeGuest {
    /// A fresh instance. `seed` is all the randomness it will see.
    ///
    /// # Errors
    /// Where the module is no runtime; the inner error where it traps at its start, or this host has no room for it.
    pub async fn new(module: &Module, tenant: &Tenant, limits: Limits, seed: &[u8]) -> Result<Result<Self, CallError>, ModuleError> {
        let pre = module.runtime()?;
        let mut shell = Shell::new(pre.engine(), tenant.clone(), limits, seed);
        if let Err(error) = shell.begin(0, None) {
            return Ok(Err(error));
        }
        let call = shell.run_as();
        let exports = call.run(pre.instantiate_async(&mut shell.store)).await;
        let exports = exports.map_err(|error| instance_error(error, &shell));
        let (exports, fuel_burnt) = shell.end(exports);
        Ok(exports.map(|exports| Self { shell, exports, fuel_burnt }))
    }

    /// Fuel burnt by this instance since the last time this was asked.
    pub fn take_fuel_burnt(&mut self) -> u64 {
        std::mem::take(&mut self.fuel_burnt)
    }

    /// Whether it has faulted and must be dropped.
    pub fn faulted(&self) -> bool {
        self.shell.faulted()
    }

    /// Linear memory it uses.
    pub fn memory_bytes(&self) -> usize {
        self.shell.memory_bytes()
    }

    /// The first block of a chain, or what is wrong with its spec.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn genesis(&mut self, spec: &[u8], lent: Lent) -> Verdict<Built, String> {
        self.shell.begin(0, Some(lent))?;
        let call = self.shell.run_as();
        let result = call.run(self.exports.call_genesis(&mut self.shell.store, spec)).await;
        self.finish(result)
    }

    /// Whether each transaction may enter the pool.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn admit(
        &mut self,
        head: &BlockRef,
        transactions: &[Vec<u8>],
        lent: Lent,
    ) -> Result<Vec<Result<Admission, RpcError>>, CallError> {
        self.shell.begin(head.timestamp_ms, Some(lent))?;
        let (head, call) = (runtime_ref(head), self.shell.run_as());
        let result = call.run(self.exports.call_admit(&mut self.shell.store, &head, transactions)).await;
        self.finish(result)
    }

    /// A block on `parent`, from the pool it is lent.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn build(&mut self, parent: &BlockRef, attributes: &Attributes, lent: Lent) -> Verdict<Built, Invalid> {
        self.shell.begin(attributes.timestamp_ms, Some(lent))?;
        let (parent, call) = (runtime_ref(parent), self.shell.run_as());
        let result = call.run(self.exports.call_build(&mut self.shell.store, &parent, attributes)).await;
        self.finish(result)
    }

    /// What a block from elsewhere does, or why it is invalid.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn execute(&mut self, parent: &BlockRef, block: &[u8], lent: Lent) -> Verdict<Outcome, Invalid> {
        self.shell.begin(parent.timestamp_ms, Some(lent))?;
        let (parent, call) = (runtime_ref(parent), self.shell.run_as());
        let result = call.run(self.exports.call_execute(&mut self.shell.store, &parent, block)).await;
        self.finish(result)
    }

    /// Answers a client.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn query(&mut self, head: &BlockRef, method: &str, params: &[u8], lent: Lent) -> Verdict<Answer, RpcError> {
        self.shell.begin(head.timestamp_ms, Some(lent))?;
        let (head, call) = (runtime_ref(head), self.shell.run_as());
        let result = call.run(self.exports.call_query(&mut self.shell.store, &head, method, params)).await;
        self.finish(result)
    }

    /// The texts to send to a subscriber.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub async fn notify(&mut self, head: &BlockRef, filter: &[u8], occurrence: &Occurrence, lent: Lent) -> Result<Vec<Vec<u8>>, CallError> {
        self.shell.begin(head.timestamp_ms, Some(lent))?;
        let (head, call) = (runtime_ref(head), self.shell.run_as());
        let result = call.run(self.exports.call_notify(&mut self.shell.store, &head, filter, occurrence)).await;
        self.finish(result)
    }

    fn finish<T>(&mut self, result: wasmtime::Result<T>) -> Result<T, CallError> {
        let (result, burnt) = self.shell.end(result);
        self.fuel_burnt = self.fuel_burnt.saturating_add(burnt);
        result
    }
}

/// An instance that does not come up is the guest's doing if its start trapped, and the host's if there is no room.
pub(crate) fn instance_error(error: wasmtime::Error, shell: &Shell) -> wasmtime::Error {
    let trapped = error.downcast_ref::<wasmtime::Trap>().is_some() || shell.store.data().limiter.refused.is_some();
    if trapped { error } else { HostFault::Instance(format!("{error:#}")).into() }
}
