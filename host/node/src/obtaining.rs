//! A chain names a module by its hash, and the module is not here: other nodes are asked for it, and the chain is opened once it is here, checked and
//! compiled.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use subnode_network::Overlay;
use subnode_sandbox::ModuleHash;
use subnode_scheduler::Bandwidth;

use crate::{
    Desired, State, Supervisor, Wanted,
    blocking::blocking,
    contents::{Fetch, FetchError, Here},
    control_error::ControlError,
    download,
    lifecycle::Fetching,
    modules::name_of,
    slot::{Slot, lock},
};

/// How soon it is tried again where this host could not take a module.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often a chain looks whether a module is here that another chain waits for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

fn fetching(module: ModuleHash, here: Here) -> State {
    let Here { bytes, of, what } = here;
    let module = name_of(module);
    let progress = match of {
        Some(of) => format!("{bytes} of {of} bytes are here; "),
        None if bytes > 0 => format!("{bytes} bytes are here; "),
        None => String::new(),
    };
    State::Fetching(Fetching { reason: format!("waiting for module {module}: {progress}{what}"), module, bytes, of })
}

impl Supervisor {
    /// A module of a chain that is not here and that other nodes can be asked for.
    pub(crate) fn lacking(&self, desired: &Desired) -> Option<ModuleHash> {
        self.network()?;
        [&desired.runtime, &desired.consensus].into_iter().find_map(|name| self.parts.modules.missing(name))
    }

    /// Refuses a chain with a module that is here and of no use, or is nowhere to be had.
    pub(crate) async fn check_modules(&self, desired: &Desired) -> Result<(), ControlError> {
        let (modules, has_network) = (self.parts.modules.clone(), self.network().is_some());
        let names = [desired.runtime.clone(), desired.consensus.clone()];
        blocking(move || {
            let here = names.iter().filter(|name| !has_network || modules.missing(name).is_none());
            here.map(|name| modules.load(name)).try_for_each(|loaded| loaded.map(drop))
        })
        .await
    }

    /// Gets a module that a chain lacks, and opens the chain then. Only whoever holds the slot's `changing` may.
    pub(crate) fn obtain(self: &Arc<Self>, slot: &Arc<Slot>, module: ModuleHash) {
        let token = self.shutdown.child_token();
        std::mem::replace(&mut *lock(&slot.watch), token.clone()).cancel();
        self.set_state(slot, fetching(module, Here { bytes: 0, of: None, what: "other nodes are asked".into() }));
        let (supervisor, slot) = (self.clone(), slot.clone());
        self.tasks.spawn(async move {
            let Some(obtained) = token.run_until_cancelled(supervisor.get(&slot, module)).await else { return };
            let _changing = slot.changing.lock().await;
            if token.is_cancelled() || slot.desired().wanted == Wanted::Stopped {
                return;
            }
            let opened = match obtained {
                Ok(()) => {
                    tracing::info!(chain = %slot.name, %module, "the module is here");
                    Box::pin(supervisor.open(&slot)).await.map_err(|error| error.to_string())
                }
                Err(reason) => {
                    // Whoever gives it gives the same bytes.
                    tracing::error!(chain = %slot.name, %reason, "the chain's module is of no use; the chain is left alone");
                    supervisor.set_state(&slot, State::Quarantined { reason });
                    return;
                }
            };
            if let Err(reason) = opened {
                supervisor.failed(&slot, reason);
            }
        });
    }

    /// Gets a module; the reason where it is of no use.
    async fn get(&self, slot: &Slot, module: ModuleHash) -> Result<(), String> {
        let Some(network) = self.network() else { return Err("the node has no [network]".into()) };
        let tell = |here: Here| {
            let mut state = lock(&slot.state);
            if matches!(*state, State::Fetching(_)) {
                *state = fetching(module, here);
            }
        };
        while self.parts.modules.missing(&name_of(module)).is_some() {
            let Some(_claim) = self.claims.claim(module) else {
                tell(Here { bytes: 0, of: None, what: "another chain of this node gets it".into() });
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            match self.fetch(slot, module, network, &tell).await {
                Ok(()) => return Ok(()),
                Err(FetchError::Module(error)) => return Err(error.to_string()),
                Err(FetchError::Host(what)) => {
                    tracing::warn!(chain = %slot.name, %module, what, "the module is not got now");
                    tell(Here { bytes: 0, of: None, what: format!("{what}; it is tried again every {AGAIN_AFTER:?}") });
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
        Ok(())
    }

    async fn fetch(
        &self,
        slot: &Slot,
        module: ModuleHash,
        network: &Overlay,
        tell: &(dyn Fn(Here) + Send + Sync),
    ) -> Result<(), FetchError> {
        let bandwidth = Arc::new(Bandwidth::new(slot.desired().slice.bandwidth_bytes));
        Fetch::new(&self.parts.modules, module, network, bandwidth, tell)?.run().await
    }

    /// Removes what is here of modules that no chain wants any more.
    pub(crate) async fn clean_downloads(&self) {
        let named = |desired: Desired| [desired.runtime, desired.consensus];
        let slots = self.registry.slots();
        let names = slots.iter().flat_map(|slot| named(slot.desired()));
        let wanted: BTreeSet<ModuleHash> = names.filter_map(|name| self.parts.modules.missing(&name)).collect();
        let modules = self.parts.modules.clone();
        let cleaned = blocking(move || {
            download::clean(&modules, &wanted)
                .map_err(|error| ControlError::from(crate::ModulesError::File { name: "downloads".into(), error }))
        });
        if let Err(error) = cleaned.await {
            tracing::warn!(%error, "what is here of unwanted modules could not be removed");
        }
    }
}
