//! What operators ask for.

use std::sync::Arc;

use subnode_chain::{Chain, Kind, Role, Upgrade as NextModule};
use subnode_scheduler::SliceRequest;
use subnode_storage::Retention;
use subnode_types::{Boxed, ChainName, boxed};
use tokio::sync::OwnedMutexGuard;

use crate::{
    ChainInfo, ControlError, Desired, Origin, State, Supervisor, Wanted,
    blocking::blocking,
    registry::{Reserved, Tables},
    slot::{Slot, lock},
};

/// What to change of a chain; none leaves it as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resize {
    /// Of its slice.
    pub slice: SliceRequest,
    /// How much of the past it keeps.
    pub retention: Option<Retention>,
}

/// Modules to put in place of a chain's.
#[derive(Clone, Debug, Default)]
pub struct Upgrade {
    /// The name of a runtime.
    pub runtime: Option<String>,
    /// The name of a consensus.
    pub consensus: Option<String>,
    /// The first block that they decide, on a chain with a committee.
    pub at: Option<u64>,
}

impl Supervisor {
    /// Makes a chain and runs it, once its modules are here. Asked again for the same, it does nothing.
    ///
    /// # Errors
    /// Where there is another one of this name or number, the slice does not fit, or the chain does not open: there is none then.
    pub fn create<'a>(self: &'a Arc<Self>, name: &'a ChainName, desired: Desired) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            self.not_stopping()?;
            // Slow where they must be compiled, and a reason to refuse: before anything is granted. What is not here is got once the chain is known.
            self.check_modules(&desired).await?;
            let desired = Desired { origin: Origin::Operator, ..desired };
            match self.registry.reserve(name, desired.clone(), Tables::New)? {
                Reserved::New(slot, changing) => self.make(&slot, changing).await,
                Reserved::Existing(slot) if slot.desired().same_chain(&desired) => Ok(self.info(&slot)),
                Reserved::Existing(_) => Err(ControlError::Exists(name.clone())),
            }
        })
    }

    /// Makes a chain whose place is reserved, and runs it if it should. Where that fails, nothing is left of it.
    pub(crate) async fn make(self: &Arc<Self>, slot: &Arc<Slot>, changing: OwnedMutexGuard<()>) -> Result<ChainInfo, ControlError> {
        let desired = slot.desired();
        let made = async {
            self.registry.register(&slot.name, &desired).await?;
            if desired.wanted == Wanted::Stopped { Ok(()) } else { self.open(slot).await.map_err(ControlError::from) }
        };
        if let Err(error) = Box::pin(made).await {
            self.forget(slot).await?;
            return Err(error);
        }
        drop(changing);
        Ok(self.info(slot))
    }

    /// Runs a chain that is stopped, or was left alone after too many failures.
    ///
    /// # Errors
    /// Where it does not open.
    pub fn run<'a>(self: &'a Arc<Self>, name: &'a ChainName) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            self.not_stopping()?;
            let (slot, _changing) = self.registry.changing(name).await?;
            if slot.desired().wanted == Wanted::Stopped {
                self.not_configured(&slot)?;
                self.change(&slot, |desired| desired.wanted = Wanted::Running).await?;
            }
            lock(&slot.failures).forgive();
            if self.node.chain(name).is_none() {
                // What did not fit when the node was started may fit now.
                self.registry.grants().grant(name, slot.desired().slice)?;
                self.open(&slot).await?;
            }
            Ok(self.info(&slot))
        })
    }

    /// Stops a chain, once what it is committing is durable.
    ///
    /// # Errors
    /// Where that cannot be kept.
    pub fn stop<'a>(self: &'a Arc<Self>, name: &'a ChainName) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            self.not_configured(&slot)?;
            self.change(&slot, |desired| desired.wanted = Wanted::Stopped).await?;
            self.close(&slot).await;
            self.set_state(&slot, State::Stopped);
            Ok(self.info(&slot))
        })
    }

    /// Has a chain vote that came from another host: its operator knows that no other host votes with this node's key.
    ///
    /// # Errors
    /// Where that cannot be kept.
    pub fn vote<'a>(self: &'a Arc<Self>, name: &'a ChainName) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            self.change(&slot, |desired| desired.silent = false).await?;
            if let Some(chain) = self.node.chain(name) {
                chain.speak();
            }
            Ok(self.info(&slot))
        })
    }

    /// Has a chain whose tables are damaged get the next state that its committee vouches for. Until it is there, the tables stay.
    ///
    /// # Errors
    /// Where it does not run, or nobody vouches for its states.
    pub fn repair<'a>(self: &'a Arc<Self>, name: &'a ChainName) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            let state = |remedy| ControlError::State { name: name.clone(), state: slot.state().name(), remedy };
            let chain = self.node.chain(name).ok_or_else(|| state("start it first"))?;
            if !chain.is_repairable() {
                return Err(state("no committee vouches for its states: import an export of it"));
            }
            chain.repair().await.map_err(ControlError::Chain)?;
            Ok(self.info(&slot))
        })
    }

    /// Has this node state a value of a kind about a chain, to the chain's committee, until a block notes it; none withdraws that.
    ///
    /// # Errors
    /// Where the chain does not run, or its blocks hold no notes.
    pub fn state<'a>(
        self: &'a Arc<Self>,
        name: &'a ChainName,
        kind: Kind,
        value: Option<Vec<u8>>,
    ) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            let not_running = || ControlError::State { name: name.clone(), state: slot.state().name(), remedy: "start it first" };
            let chain = self.node.chain(name).ok_or_else(not_running)?;
            chain.state(kind, [0; 32], value).await.map_err(ControlError::Chain)?;
            Ok(self.info(&slot))
        })
    }

    /// Keeps that chains vote which have listened for long enough.
    pub(crate) async fn keep_voting(&self) {
        for slot in self.registry.slots() {
            // Whoever is changing it may take long, and the others' turn is to come.
            let Some(_changing) = self.registry.try_lock(&slot) else { continue };
            let heard = slot.desired().silent && self.node.chain(&slot.name).is_some_and(|chain| !chain.is_silent());
            if heard && let Err(error) = self.change(&slot, |desired| desired.silent = false).await {
                tracing::warn!(chain = %slot.name, %error, "that the chain votes could not be kept; it will listen again after a restart");
            }
        }
    }

    /// Keeps a chain from making blocks, or lets it go on.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn pause<'a>(self: &'a Arc<Self>, name: &'a ChainName, paused: bool) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            self.not_configured(&slot)?;
            let Some(chain) = self.node.chain(name) else {
                return Err(ControlError::State { name: name.clone(), state: slot.state().name(), remedy: "start it first" });
            };
            let wanted = if paused { Wanted::Paused } else { Wanted::Running };
            self.change(&slot, |desired| desired.wanted = wanted).await?;
            chain.set_paused(paused).await.map_err(ControlError::Chain)?;
            self.set_state(&slot, if paused { State::Paused } else { State::Running });
            Ok(self.info(&slot))
        })
    }

    /// Changes a chain's slice while it runs.
    ///
    /// # Errors
    /// Where the new one does not fit, or is less than what is in use.
    pub fn resize<'a>(self: &'a Arc<Self>, name: &'a ChainName, resize: &'a Resize) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            self.not_configured(&slot)?;
            let mut desired = slot.desired();
            desired.slice = resize.slice.over(desired.slice, &self.parts.capacity);
            desired.retention = resize.retention.unwrap_or(desired.retention);
            let chain = self.node.chain(name);
            if let Some(chain) = &chain {
                let stats = chain.stats();
                for (what, used, wanted) in [
                    ("memory", stats.memory_bytes.0, desired.slice.memory_bytes),
                    ("storage", stats.storage_bytes.0, desired.slice.storage_bytes),
                ] {
                    if wanted < used {
                        return Err(ControlError::LessThanInUse { name: name.clone(), what, used, wanted });
                    }
                }
            }
            let before = slot.desired().slice;
            self.registry.grants().grant(name, desired.slice)?;
            if let Err(error) = self.change(&slot, |known| known.clone_from(&desired)).await {
                // What was granted before fits still.
                drop(self.registry.grants().grant(name, before));
                return Err(error);
            }
            if let Some(chain) = &chain {
                apply(chain, &desired).await?;
            }
            Ok(self.info(&slot))
        })
    }

    /// Puts other modules in a chain's place of its own. They are tried on its head first, and the chain keeps its old ones where that
    /// fails.
    ///
    /// # Errors
    /// What the trial said.
    pub fn upgrade<'a>(self: &'a Arc<Self>, name: &'a ChainName, upgrade: &'a Upgrade) -> Boxed<'a, Result<ChainInfo, ControlError>> {
        boxed(async move {
            let (slot, _changing) = self.registry.changing(name).await?;
            let Some(chain) = self.node.chain(name) else {
                return Err(ControlError::State { name: name.clone(), state: slot.state().name(), remedy: "start it first" });
            };
            let refuse = |reason: &str| ControlError::Upgrade { name: name.clone(), reason: reason.to_owned() };
            match upgrade.at {
                Some(_) if !chain.has_committee() => return Err(refuse("no committee decides it: leave --at out")),
                Some(height) => {
                    self.ask_for_upgrade(&slot, &chain, upgrade, height).await?;
                    return Ok(self.info(&slot));
                }
                None if chain.has_committee() => {
                    return Err(refuse("a committee decides it, and goes over at one height: name the block with --at HEIGHT"));
                }
                None => self.not_configured(&slot)?,
            }
            let before = slot.desired();
            let mut after = before.clone();
            after.runtime = upgrade.runtime.clone().unwrap_or(after.runtime);
            after.consensus = upgrade.consensus.clone().unwrap_or(after.consensus);
            let (runtime, consensus) = self.load_modules(&after).await?;
            let refused = |reason: String| ControlError::Upgrade { name: name.clone(), reason };
            let tried = chain.try_modules(&runtime, &consensus, &after.consensus_config).await;
            tried.map_err(|error| refused(error.to_string()))?;
            drop(chain);
            self.change(&slot, |desired| desired.clone_from(&after)).await?;
            self.close(&slot).await;
            if let Err(error) = self.open(&slot).await {
                self.change(&slot, |desired| desired.clone_from(&before)).await?;
                self.open(&slot).await?;
                return Err(refused(error.to_string()));
            }
            Ok(self.info(&slot))
        })
    }

    /// Tries modules on a chain's head, and states to the chain's committee that the chain goes over to them at a height.
    async fn ask_for_upgrade(&self, slot: &Slot, chain: &Chain, upgrade: &Upgrade, height: u64) -> Result<(), ControlError> {
        let mut tried = slot.desired();
        tried.runtime = upgrade.runtime.clone().unwrap_or(tried.runtime);
        tried.consensus = upgrade.consensus.clone().unwrap_or(tried.consensus);
        let (modules, names) = (self.parts.modules.clone(), [tried.runtime, tried.consensus]);
        let loaded = blocking(move || {
            let [runtime, consensus] = names.map(|name| modules.load_with_size(&name));
            Ok::<_, ControlError>([(Role::Runtime, runtime?), (Role::Consensus, consensus?)])
        });
        let [runtime, consensus] = loaded.await?;
        let ran = chain.try_modules(&runtime.1.0, &consensus.1.0, &tried.consensus_config).await;
        ran.map_err(|error| ControlError::Upgrade { name: slot.name.clone(), reason: error.to_string() })?;
        let asked = [(runtime, &upgrade.runtime), (consensus, &upgrade.consensus)];
        for ((role, (module, size)), _) in asked.into_iter().filter(|(_, asked)| asked.is_some()) {
            let next = NextModule { role, height, sha256: *module.hash().as_bytes(), size };
            chain.state(Kind::Upgrade, NextModule::subject(role), Some(next.encode())).await.map_err(ControlError::Chain)?;
        }
        Ok(())
    }

    /// Deletes a chain and all it has.
    ///
    /// # Errors
    /// Where it runs and `force` does not say to delete it all the same.
    pub fn delete<'a>(self: &'a Arc<Self>, name: &'a ChainName, force: bool) -> Boxed<'a, Result<(), ControlError>> {
        boxed(async move {
            if self.registry.slot(name).is_none() && (self.store().unfinished().contains(name) || self.registry.is_damaged(name)) {
                self.transfers.forget(name);
                self.node.set_absent(name, None);
                let (store, name) = (self.store().clone(), name.clone());
                return blocking(move || store.delete(&name)).await;
            }
            let (slot, _changing) = self.registry.changing(name).await?;
            self.not_configured(&slot)?;
            if !force && self.node.chain(name).is_some() {
                return Err(ControlError::State {
                    name: name.clone(),
                    state: slot.state().name(),
                    remedy: "stop it first, or use --force",
                });
            }
            self.forget(&slot).await
        })
    }
}

/// Applies to a running chain what can change while it runs.
pub(crate) async fn apply(chain: &Chain, desired: &Desired) -> Result<(), ControlError> {
    let slice = desired.slice;
    chain.tenant().share().set_parts(slice.cpu);
    chain.tenant().memory().set_limit(slice.memory_bytes);
    chain.store().set_limit_bytes(slice.storage_bytes);
    chain.bandwidth().set_rate(slice.bandwidth_bytes);
    if chain.store().retention() != desired.retention {
        chain.set_retention(desired.retention).await.map_err(ControlError::Chain)?;
    }
    Ok(())
}
