//! Calls of the `consensus` world.

use subnode_types::{BlockRef, Boxed, Validator, boxed};

use crate::{
    CallError, Effect, GuestFault, Input, Judged, Limits, Membership, Module, ModuleError, Tenant,
    bindings::consensus::{self as bindings, Consensus},
    convert::{consensus_ref, validators},
    guest::Guest,
    runtime::Verdict,
};

/// Effects of one call: a round of a large committee asks for some tens.
const EFFECTS_MAX: usize = 256;

/// An instance of a consensus module. It lives as long as the chain runs, or until its first fault.
pub struct ConsensusGuest(Guest<Consensus>);

/// All that a module starts from.
pub struct Beginning {
    /// The module's own configuration.
    pub config: Vec<u8>,
    /// The last committed block.
    pub head: BlockRef,
    /// Ready transactions.
    pub ready: u32,
    /// Who decides the next block.
    pub committee: Vec<Validator>,
    /// What the module appended since.
    pub log: Vec<Vec<u8>>,
    /// Candidates that were kept.
    pub kept: Vec<Judged>,
}

impl ConsensusGuest {
    /// A fresh instance.
    ///
    /// # Errors
    /// Where the module is no consensus; the inner error where it traps at its start, or this host has no room for it.
    pub fn new<'a>(
        module: &'a Module,
        tenant: &'a Tenant,
        limits: Limits,
        membership: Membership,
    ) -> Boxed<'a, Result<Result<Self, CallError>, ModuleError>> {
        boxed(async move {
            let pre = module.consensus()?.clone();
            let engine = pre.engine().clone();
            let guest = Guest::new(&engine, tenant, limits, &[], Some(membership), move |store| {
                Box::pin(async move { pre.instantiate_async(store).await })
            });
            Ok(guest.await.map(Self))
        })
    }

    /// Starts it; the inner error says what is wrong with its configuration.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn start(&mut self, beginning: Beginning) -> Boxed<'_, Verdict<Vec<Effect>, String>> {
        boxed(async move {
            let Beginning { config, head, ready, committee, log, kept } = beginning;
            let now_ms = head.timestamp_ms;
            let beginning = bindings::subnode::chain::agreement::Beginning {
                config,
                head: consensus_ref(&head),
                ready,
                committee: validators(&committee),
                log,
                kept,
            };
            let started =
                self.0.call(now_ms, None, move |exports, store| Box::pin(async move { exports.call_start(store, &beginning).await }));
            match started.await? {
                Ok(effects) => bounded(effects).map(Ok),
                Err(reason) => Ok(Err(reason)),
            }
        })
    }

    /// Advances it by one input.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Boxed<'_, Result<Vec<Effect>, CallError>> {
        boxed(async move {
            let effects =
                self.0.call(now_ms, None, move |exports, store| Box::pin(async move { exports.call_handle(store, now_ms, &input).await }));
            bounded(effects.await?)
        })
    }

    /// Fuel burnt since the last time this was asked.
    pub fn take_fuel_burnt(&mut self) -> u64 {
        self.0.take_fuel_burnt()
    }

    /// Linear memory it uses.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// Whether a certificate shows that a committee decided on a block, or why it does not. Also asked of instances that were not started.
    ///
    /// # Errors
    /// A fault of guest or host.
    pub fn check<'a>(
        &'a mut self,
        committee: &'a [Validator],
        height: u64,
        id: &'a [u8],
        certificate: &'a [u8],
    ) -> Boxed<'a, Verdict<(), String>> {
        boxed(async move {
            let (committee, id, certificate) = (validators(committee), id.to_vec(), certificate.to_vec());
            self.0
                .call(0, None, move |exports, store| {
                    Box::pin(async move { exports.call_check(store, &committee, height, &id, &certificate).await })
                })
                .await
        })
    }
}

fn bounded(effects: Vec<Effect>) -> Result<Vec<Effect>, CallError> {
    if effects.len() <= EFFECTS_MAX {
        Ok(effects)
    } else {
        Err(GuestFault::Bound(format!("{} effects, at most {EFFECTS_MAX}", effects.len())).into())
    }
}
