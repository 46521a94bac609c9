//! What happens when the node starts, and when its configuration is read again: what the store and the configuration say should run, does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use subnode_types::{Boxed, ChainName, boxed};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ControlError, Desired, Node, Origin, State, Supervisor, SupervisorParts, Wanted,
    contents::{Claims, Given},
    control::apply,
    registry::{Registry, Reserved, Tables},
    slot::Slot,
    transfers::Transfers,
};

/// How often instances that nobody uses are given up.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Opens what the store says should run, and what `configured` says, which decides of its own chains. Chains that do not
    /// open are tried again, and in the end left alone, as [`State`] shows; the others run meanwhile.
    ///
    /// # Errors
    /// Where the store cannot be read, or what is configured does not fit: nothing runs then.
    pub fn start(parts: SupervisorParts, configured: Vec<(ChainName, Desired)>) -> Boxed<'static, Result<Arc<Self>, ControlError>> {
        boxed(async move {
            let node = Node::yielding(parts.store.clone(), parts.peering.clone());
            let tasks = TaskTracker::new();
            let supervisor = Arc::new(Self {
                node,
                registry: Registry::new(parts.store.clone(), parts.capacity),
                transfers: Transfers::default(),
                given: Given::new(parts.modules.clone(), tasks.clone()),
                claims: Claims::default(),
                started: Instant::now(),
                shutdown: CancellationToken::new(),
                tasks,
                parts,
            });
            supervisor.load()?;
            supervisor.configure(configured).await?;
            supervisor.clean_downloads().await;
            let sweeper = supervisor.clone();
            supervisor.tasks.spawn(async move {
                while sweeper.shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
                    sweeper.node.sweep();
                    sweeper.transfers.sweep();
                    sweeper.clean_downloads().await;
                    sweeper.keep_voting().await;
                }
            });
            Ok(supervisor)
        })
    }

    /// Reads what should run from the store.
    pub(crate) fn load(&self) -> Result<(), ControlError> {
        for (name, reason) in self.store().damaged() {
            tracing::error!(chain = %name, reason, "what the store knows of this chain is damaged; it is left alone");
        }
        for name in self.store().names() {
            let record = self.store().record(&name)?.unwrap_or_default();
            let Some(desired) = Desired::decode(&record) else {
                // Made by `subnode dev`, or by a later release: not ours to run or to delete.
                tracing::warn!(chain = %name, "the store has a chain without a record this release can read; it is left alone");
                continue;
            };
            if let Err(refused) = self.registry.grants().grant(&name, desired.slice) {
                tracing::error!(chain = %name, %refused, "the node has become too small for this chain; it stays stopped");
                let slot = Slot::new(name.clone(), desired);
                self.set_state(&slot, State::Quarantined { reason: format!("its slice does not fit: {refused}") });
                self.registry.insert(slot);
                continue;
            }
            self.registry.insert(Slot::new(name, desired));
        }
        Ok(())
    }

    /// Makes the configured chains what the configuration says, stops those that it no longer has, and starts what should run.
    ///
    /// # Errors
    /// Where one of them does not fit: the ones before it are as configured then.
    pub fn configure<'a>(self: &'a Arc<Self>, configured: Vec<(ChainName, Desired)>) -> Boxed<'a, Result<(), ControlError>> {
        boxed(async move {
            if let Some((first, _)) = configured.first() {
                self.node.set_first(first.clone());
            }
            let configured_before = self.registry.slots().into_iter().filter(|slot| slot.desired().origin == Origin::Config);
            for slot in configured_before.filter(|slot| !configured.iter().any(|(name, _)| *name == slot.name)) {
                let Some(_changing) = self.registry.lock(&slot).await else { continue };
                tracing::warn!(chain = %slot.name, "no longer in the configuration: it is stopped, and its data kept");
                if slot.desired().wanted != Wanted::Stopped {
                    self.change(&slot, |desired| desired.wanted = Wanted::Stopped).await?;
                }
            }
            for (name, desired) in configured {
                self.configure_one(name, desired).await?;
            }
            for slot in self.registry.slots() {
                let Some(_changing) = self.registry.lock(&slot).await else { continue };
                self.follow(&slot).await;
            }
            Ok(())
        })
    }

    pub(crate) async fn configure_one(self: &Arc<Self>, name: ChainName, desired: Desired) -> Result<(), ControlError> {
        if self.registry.is_damaged(&name) {
            // The others are to run all the same. Once it is deleted, the next reload makes it anew.
            self.node.set_absent(&name, Some(format!("chain {name} is damaged")));
            return Ok(());
        }
        match self.registry.reserve(&name, desired.clone(), Tables::Any)? {
            Reserved::New(slot, _changing) => {
                let registered = self.registry.register(&name, &slot.desired()).await;
                if registered.is_err() {
                    self.registry.remove(&name);
                }
                return registered;
            }
            Reserved::Existing(_) => {}
        }
        let (slot, _changing) = self.registry.changing(&name).await?;
        let before = slot.desired();
        let desired = Desired { id: desired.id.or(before.id), silent: before.silent, ..desired };
        if before.same_chain(&desired) && before.wanted == desired.wanted {
            return Ok(());
        }
        self.registry.check_id(&name, desired.id)?;
        self.registry.grants().grant(&name, desired.slice)?;
        let restarts = Desired { slice: before.slice, wanted: desired.wanted, retention: before.retention, ..desired.clone() };
        let restarts = !before.same_chain(&restarts);
        self.registry.change(&slot, desired.clone()).await?;
        match self.node.chain(&name) {
            Some(chain) if !restarts => apply(&chain, &desired).await?,
            Some(_) => self.close(&slot).await,
            None => {}
        }
        Ok(())
    }
}
