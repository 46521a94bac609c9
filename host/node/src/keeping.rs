//! Chains that run are watched, and opened again when they fail.

use std::{sync::Arc, time::Instant};

use subnode_chain::{Chain, ChainOptions, Ended, OpenError, Role, Upgrade};
use subnode_sandbox::ModuleHash;

use crate::{
    ChainSetup, ControlError, NodeError, State, Supervisor, Wanted,
    blocking::blocking,
    modules::name_of,
    slot::{Slot, lock},
};

impl Supervisor {
    /// Opens a chain that should run and does not.
    pub(crate) async fn follow(self: &Arc<Self>, slot: &Arc<Slot>) {
        let wanted = slot.desired().wanted != Wanted::Stopped;
        let running = self.node.chain(&slot.name).is_some();
        if wanted && !running && !matches!(slot.state(), State::Quarantined { .. }) {
            if let Err(error) = self.open(slot).await {
                self.failed(slot, error.to_string());
            }
        } else if !wanted && running {
            self.close(slot).await;
            self.set_state(slot, State::Stopped);
        }
    }

    /// Opens a chain, now or once its modules are here. It is restarted from then on when it fails.
    pub(crate) async fn open(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<(), NodeError> {
        if let Some(module) = self.lacking(&slot.desired()) {
            self.obtain(slot, module);
            return Ok(());
        }
        self.set_state(slot, State::Opening);
        let opened = Box::pin(self.try_open(slot)).await;
        if let Err(NodeError::Open(OpenError::Upgrade(upgrade))) = &opened {
            // The chain says which module decides, whatever it was created or configured with. One of each role at most is another.
            self.go_over(slot, upgrade).await.map_err(|error| NodeError::Modules(error.to_string()))?;
            return Box::pin(self.open(slot)).await;
        }
        match &opened {
            Err(error) => self.set_state(slot, State::Quarantined { reason: error.to_string() }),
            Ok(chain) => {
                let paused = slot.desired().wanted == Wanted::Paused;
                if paused && let Err(error) = chain.set_paused(true).await {
                    tracing::error!(chain = %slot.name, error = error.message, "it cannot be paused");
                }
                self.set_state(slot, if paused { State::Paused } else { State::Running });
                self.watch(slot, chain.clone());
            }
        }
        opened.map(drop)
    }

    /// Has a chain run another module from now on.
    async fn go_over(&self, slot: &Slot, upgrade: &Upgrade) -> Result<(), ControlError> {
        let module = name_of(ModuleHash::from_bytes(upgrade.sha256));
        tracing::info!(chain = %slot.name, role = upgrade.role.name(), module, height = upgrade.height, "the chain goes over to another module");
        self.change(slot, |desired| match upgrade.role {
            Role::Runtime => desired.runtime = module,
            Role::Consensus => desired.consensus = module,
        })
        .await
    }

    pub(crate) async fn try_open(&self, slot: &Slot) -> Result<Chain, NodeError> {
        let desired = slot.desired();
        let (runtime, consensus) = self.load_modules(&desired).await.map_err(|error| NodeError::Modules(error.to_string()))?;
        let modules = [runtime.hash(), consensus.hash()];
        let setup = ChainSetup {
            name: slot.name.clone(),
            runtime,
            consensus,
            options: ChainOptions {
                sealing: desired.sealing,
                controls: desired.controls,
                bandwidth_bytes: desired.slice.bandwidth_bytes,
                checkpoint_every: desired.checkpoint_every,
                attest_every: desired.attest_every,
                silent: desired.silent,
                pool: subnode_chain::PoolLimits {
                    bytes: usize::try_from(desired.pool_bytes.min(desired.slice.memory_bytes)).unwrap_or(usize::MAX),
                    ..self.parts.options.pool
                },
                ..self.parts.options.clone()
            },
            spec: desired.spec.into(),
            consensus_config: desired.consensus_config,
            retention: desired.retention,
            slice: desired.slice,
            accounts: self.parts.accounts.clone(),
        };
        let chain = self.node.open(setup).await?;
        if let Some(network) = self.network() {
            modules.iter().for_each(|module| self.given.add(network, *module, &slot.name, chain.bandwidth()));
        }
        Ok(chain)
    }

    /// Stops a chain that runs, and the task that waits for its failure.
    pub(crate) async fn close(&self, slot: &Slot) {
        lock(&slot.watch).cancel();
        self.given.remove(&slot.name);
        self.node.close(&slot.name).await;
    }

    /// Deletes a chain that nobody else changes meanwhile.
    pub(crate) async fn forget(&self, slot: &Slot) -> Result<(), ControlError> {
        self.close(slot).await;
        let (store, name) = (self.store().clone(), slot.name.clone());
        blocking(move || subnode_chain::bury(&*store, &name)).await?;
        self.registry.remove(&slot.name);
        self.node.set_absent(&slot.name, None);
        self.clean_downloads().await;
        Ok(())
    }

    /// Waits for a running chain to fail.
    pub(crate) fn watch(self: &Arc<Self>, slot: &Arc<Slot>, chain: Chain) {
        let token = self.shutdown.child_token();
        lock(&slot.watch).clone_from(&token);
        let (supervisor, slot) = (self.clone(), slot.clone());
        self.tasks.spawn(async move {
            let Some(ended) = token.run_until_cancelled(chain.ended()).await else { return };
            drop(chain);
            let _changing = slot.changing.lock().await;
            if token.is_cancelled() {
                return;
            }
            supervisor.given.remove(&slot.name);
            supervisor.node.close(&slot.name).await;
            match ended {
                Ended::Failed(reason) => return supervisor.failed(&slot, reason),
                Ended::Upgraded(height) => {
                    tracing::info!(chain = %slot.name, height, "opened anew with the module that decides from here on");
                }
                Ended::Adopted(height) => tracing::info!(chain = %slot.name, height, "opened anew on the state of a later block"),
            }
            if let Err(error) = Box::pin(supervisor.open(&slot)).await {
                supervisor.failed(&slot, error.to_string());
            }
        });
    }

    /// A chain failed: it is opened again after a while, unless it fails too often.
    pub(crate) fn failed(self: &Arc<Self>, slot: &Arc<Slot>, reason: String) {
        let after = lock(&slot.failures).add(Instant::now());
        let Some(after) = after else {
            tracing::error!(chain = %slot.name, %reason, "failed too often and is left alone; subnode chain start {} tries again", slot.name);
            self.set_state(slot, State::Quarantined { reason });
            return;
        };
        tracing::error!(chain = %slot.name, %reason, again_in = ?after, "failed and is started again");
        self.set_state(slot, State::Restarting { reason });
        let token = self.shutdown.child_token();
        lock(&slot.watch).clone_from(&token);
        let (supervisor, slot) = (self.clone(), slot.clone());
        self.tasks.spawn(async move {
            if token.run_until_cancelled(tokio::time::sleep(after)).await.is_none() {
                return;
            }
            let _changing = slot.changing.lock().await;
            if token.is_cancelled() || slot.desired().wanted == Wanted::Stopped {
                return;
            }
            if let Err(error) = supervisor.open(&slot).await {
                supervisor.failed(&slot, error.to_string());
            }
        });
    }
}
