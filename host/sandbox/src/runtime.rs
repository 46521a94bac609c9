//! Calls of the `runtime` world.

use subnode_types::{BlockRef, Boxed, boxed};

use crate::{
    Admission, Answer, Attributes, Built, CallError, GuestFault, HostFault, Invalid, Lent, Limits, Module, ModuleError, Occurrence,
    Outcome, RpcError, Tenant,
    bindings::runtime::{Runtime, RuntimePre},
    block_slots::Slot,
    convert::runtime_ref,
    guest::{Guest, GuestState},
    packed::{unpacked, unpacked_block},
};

/// Bytes of a pooled transaction's id, and of its sender's name. The pool keeps those of transactions that have left it.
pub(crate) const POOL_NAME_BYTES_MAX: usize = 64;

/// An instance of a runtime module.
pub struct RuntimeGuest {
    guest: Guest<Runtime>,
    /// Given back after the instance.
    _slot: Option<Slot>,
}

/// A genesis, a build or an execution, whose verdict is the inner result.
pub type Verdict<T, E> = Result<Result<T, E>, CallError>;

/// A block that a guest returned, made into what the rest of the host works with.
async fn block<E>(returned: wasmtime::Result<Result<Built, E>>, bytes_max: usize) -> wasmtime::Result<Result<Built, E>> {
    match returned? {
        Ok(built) => unpacked_block(built, bytes_max).await.map(Ok),
        Err(refusal) => Ok(Err(refusal)),
    }
}

impl RuntimeGuest {
    /// A fresh instance. `seed` is all the randomness it will see.
    ///
    /// # Errors
    /// Where the module is no runtime; the inner error where it traps at its start, or this host has no room for it.
    pub fn new<'a>(
        module: &'a Module,
        tenant: &'a Tenant,
        limits: Limits,
        seed: &'a [u8],
    ) -> Boxed<'a, Result<Result<Self, CallError>, ModuleError>> {
        boxed(async move {
            let pre = module.runtime()?.clone();
            Ok(Self::instantiate(pre, None, tenant, limits, seed).await)
        })
    }

    /// The same for building or executing a block: it finds the memory that the block before took.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_block<'a>(
        module: &'a Module,
        tenant: &'a Tenant,
        limits: Limits,
        seed: &'a [u8],
    ) -> Boxed<'a, Result<Result<Self, CallError>, ModuleError>> {
        boxed(async move {
            if let Some((pre, slot)) = module.for_block() {
                match Self::instantiate(pre.clone(), Some(slot), tenant, limits, seed).await {
                    // A call that was given up holds its slot until its turn ends.
                    Err(CallError::Host(HostFault::Instance(_))) => {}
                    guest => return Ok(guest),
                }
            }
            Self::new(module, tenant, limits, seed).await
        })
    }

    async fn instantiate(
        pre: RuntimePre<GuestState>,
        slot: Option<Slot>,
        tenant: &Tenant,
        limits: Limits,
        seed: &[u8],
    ) -> Result<Self, CallError> {
        let engine = pre.engine().clone();
        let guest =
            Guest::new(&engine, tenant, limits, seed, None, move |store| Box::pin(async move { pre.instantiate_async(store).await }));
        Ok(Self { guest: guest.await?, _slot: slot })
    }

    /// Fuel burnt by this instance since the last time this was asked.
    pub fn take_fuel_burnt(&mut self) -> u64 {
        self.guest.take_fuel_burnt()
    }

    /// Whether it has faulted and must be dropped.
    pub fn faulted(&self) -> bool {
        self.guest.faulted()
    }

    /// Linear memory it uses.
    pub fn memory_bytes(&self) -> usize {
        self.guest.memory_bytes()
    }

    /// The first block of a chain, or what is wrong with its spec.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn genesis<'a>(&'a mut self, spec: &'a [u8], lent: Lent) -> Boxed<'a, Verdict<Built, String>> {
        boxed(async move {
            let (spec, bytes_max) = (spec.to_vec(), self.guest.transfer_bytes());
            self.guest
                .call(0, Some(lent), move |exports, store| {
                    Box::pin(async move { block(exports.call_genesis(store, &spec).await, bytes_max).await })
                })
                .await
        })
    }

    /// Whether each transaction may enter the pool.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn admit<'a>(
        &'a mut self,
        head: &'a BlockRef,
        transactions: &'a [Vec<u8>],
        lent: Lent,
    ) -> Boxed<'a, Result<Vec<Result<Admission, RpcError>>, CallError>> {
        boxed(async move {
            let (now_ms, head, transactions) = (head.timestamp_ms, runtime_ref(head), transactions.to_vec());
            let admit = self.guest.call(now_ms, Some(lent), move |exports, store| {
                Box::pin(async move { exports.call_admit(store, &head, &transactions).await })
            });
            let admitted = admit.await?;
            let names = admitted.iter().flatten().flat_map(|admission| [admission.id.len(), admission.sender.len()]);
            match names.max() {
                Some(bytes) if bytes > POOL_NAME_BYTES_MAX => {
                    Err(GuestFault::Bound(format!("an id or a sender of {bytes} bytes, at most {POOL_NAME_BYTES_MAX}")).into())
                }
                _ => Ok(admitted),
            }
        })
    }

    /// A block on `parent`, from the pool it is lent.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn build<'a>(&'a mut self, parent: &'a BlockRef, attributes: &'a Attributes, lent: Lent) -> Boxed<'a, Verdict<Built, Invalid>> {
        boxed(async move {
            // As in `execute`: a runtime that reads the clock would else find its own blocks invalid elsewhere.
            let (now_ms, parent, attributes) = (parent.timestamp_ms, runtime_ref(parent), attributes.clone());
            let bytes_max = self.guest.transfer_bytes();
            self.guest
                .call(now_ms, Some(lent), move |exports, store| {
                    Box::pin(async move { block(exports.call_build(store, &parent, &attributes).await, bytes_max).await })
                })
                .await
        })
    }

    /// What a block from elsewhere does, or why it is invalid.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn execute<'a>(&'a mut self, parent: &'a BlockRef, block: &'a [u8], lent: Lent) -> Boxed<'a, Verdict<Outcome, Invalid>> {
        boxed(async move {
            let (now_ms, parent, block) = (parent.timestamp_ms, runtime_ref(parent), block.to_vec());
            let bytes_max = self.guest.transfer_bytes();
            self.guest
                .call(now_ms, Some(lent), move |exports, store| {
                    Box::pin(async move {
                        match exports.call_execute(store, &parent, &block).await? {
                            Ok(outcome) => unpacked(outcome, bytes_max).await.map(Ok),
                            Err(invalid) => Ok(Err(invalid)),
                        }
                    })
                })
                .await
        })
    }

    /// Answers a client.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn query<'a>(
        &'a mut self,
        head: &'a BlockRef,
        method: &'a str,
        params: &'a [u8],
        lent: Lent,
    ) -> Boxed<'a, Verdict<Answer, RpcError>> {
        boxed(async move {
            let (now_ms, head, method, params) = (head.timestamp_ms, runtime_ref(head), method.to_owned(), params.to_vec());
            self.guest
                .call(now_ms, Some(lent), move |exports, store| {
                    Box::pin(async move { exports.call_query(store, &head, &method, &params).await })
                })
                .await
        })
    }

    /// The texts to send to a subscriber.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn notify<'a>(
        &'a mut self,
        head: &'a BlockRef,
        filter: &'a [u8],
        occurrence: &'a Occurrence,
        lent: Lent,
    ) -> Boxed<'a, Result<Vec<Vec<u8>>, CallError>> {
        boxed(async move {
            let (now_ms, head, filter, occurrence) = (head.timestamp_ms, runtime_ref(head), filter.to_vec(), occurrence.clone());
            self.guest
                .call(now_ms, Some(lent), move |exports, store| {
                    Box::pin(async move { exports.call_notify(store, &head, &filter, &occurrence).await })
                })
                .await
        })
    }
}
