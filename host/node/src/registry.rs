//! The chains that the node knows, by name, and what is written of them.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, PoisonError, RwLock},
};

use subnode_scheduler::Capacity;
use subnode_storage::Store;
use subnode_types::{ChainName, Slice};
use tokio::sync::OwnedMutexGuard;

use crate::{
    ControlError, Desired,
    blocking::blocking,
    grants::{Grants, Hold},
    slot::{Slot, lock},
};

/// The chains that the node knows.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    grants: Arc<Grants>,
    slots: RwLock<Slots>,
}

/// Bound: some KiB for each chain that operators made, of which the store has a row.
type Slots = BTreeMap<ChainName, Arc<Slot>>;

/// What came of taking a name.
pub(crate) enum Reserved {
    /// It is taken. Nobody else changes the chain while the guard is held.
    New(Arc<Slot>, OwnedMutexGuard<()>),
    /// It was taken before.
    Existing(Arc<Slot>),
}

/// For what a name is taken.
#[derive(Clone, Copy)]
pub(crate) enum Tables<'a> {
    /// For a chain that is to be made: there must be no tables under this name.
    New,
    /// For a chain of the configuration, which may have tables without a record.
    Any,
    /// For an import that has ended and holds the name's slice, unless a later one does.
    Imported(&'a Hold),
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn Store>, capacity: Capacity) -> Self {
        Self { store, grants: Grants::new(capacity), slots: RwLock::default() }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// All, by name.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn slot(&self, name: &ChainName) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn known(&self, name: &ChainName) -> Result<Arc<Slot>, ControlError> {
        self.slot(name).ok_or_else(|| ControlError::Unknown(name.clone()))
    }

    /// A chain that nobody else changes while the guard is held.
    pub(crate) async fn changing(&self, name: &ChainName) -> Result<(Arc<Slot>, OwnedMutexGuard<()>), ControlError> {
        let slot = self.known(name)?;
        let changing = self.lock(&slot).await.ok_or_else(|| ControlError::Unknown(name.clone()))?;
        Ok((slot, changing))
    }

    /// The same of a slot; none where the chain was deleted meanwhile: to write of it would make it anew.
    pub(crate) async fn lock(&self, slot: &Arc<Slot>) -> Option<OwnedMutexGuard<()>> {
        let changing = slot.changing.clone().lock_owned().await;
        self.is_known(slot).then_some(changing)
    }

    /// The same without waiting; none where somebody changes the chain.
    pub(crate) fn try_lock(&self, slot: &Arc<Slot>) -> Option<OwnedMutexGuard<()>> {
        let changing = slot.changing.clone().try_lock_owned().ok()?;
        self.is_known(slot).then_some(changing)
    }

    fn is_known(&self, slot: &Arc<Slot>) -> bool {
        self.slot(&slot.name).is_some_and(|known| Arc::ptr_eq(&known, slot))
    }

    pub(crate) fn insert(&self, slot: Arc<Slot>) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.name.clone(), slot);
    }

    /// Whether what the store knows of a chain is damaged.
    pub(crate) fn is_damaged(&self, name: &ChainName) -> bool {
        self.store.damaged().iter().any(|(damaged, _)| damaged == name)
    }

    /// Gives a name and its slice back.
    pub(crate) fn remove(&self, name: &ChainName) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.grants.release(name);
    }

    pub(crate) fn check_id(&self, name: &ChainName, id: Option<NonZeroU64>) -> Result<(), ControlError> {
        check_id(&self.slots.read().unwrap_or_else(PoisonError::into_inner), name, id)
    }

    /// Takes a name, a number and a slice for a chain, all or none.
    pub(crate) fn reserve(&self, name: &ChainName, desired: Desired, tables: Tables<'_>) -> Result<Reserved, ControlError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(name) {
            return Ok(Reserved::Existing(slot.clone()));
        }
        let is_there = || self.store.names().contains(name) || self.store.unfinished().contains(name);
        let is_taken = match tables {
            Tables::New => self.grants.is_held(name) || is_there() || self.is_damaged(name),
            Tables::Any => self.grants.is_held(name),
            Tables::Imported(hold) => !hold.is_current(),
        };
        if is_taken {
            return Err(ControlError::Exists(name.clone()));
        }
        check_id(&slots, name, desired.id)?;
        self.grants.grant(name, desired.slice)?;
        let last = slots.values().filter_map(|slot| slot.desired().id).max();
        let next = last.map_or(NonZeroU64::MIN, |last| last.saturating_add(1));
        let slot = Slot::new(name.clone(), Desired { id: desired.id.or(Some(next)), ..desired });
        let Ok(changing) = slot.changing.clone().try_lock_owned() else { return Err(ControlError::Exists(name.clone())) };
        slots.insert(name.clone(), slot.clone());
        Ok(Reserved::New(slot, changing))
    }

    /// Takes a slice for an import under a name that no chain has.
    pub(crate) fn hold(&self, name: &ChainName, slice: Slice) -> Result<Hold, ControlError> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        if slots.contains_key(name) { Err(ControlError::Exists(name.clone())) } else { self.grants.hold(name, slice) }
    }

    /// Writes what a chain should be.
    pub(crate) async fn register(&self, name: &ChainName, desired: &Desired) -> Result<(), ControlError> {
        let (store, name, record) = (self.store.clone(), name.clone(), desired.encode());
        blocking(move || store.register(&name, &record)).await
    }

    /// Changes what a chain should be, on disk first. Only whoever holds the slot's `changing` may: what is changed in between would be lost.
    pub(crate) async fn change(&self, slot: &Slot, desired: Desired) -> Result<(), ControlError> {
        self.register(&slot.name, &desired).await?;
        *lock(&slot.desired) = desired;
        Ok(())
    }
}

fn check_id(slots: &Slots, name: &ChainName, id: Option<NonZeroU64>) -> Result<(), ControlError> {
    let Some(id) = id else { return Ok(()) };
    match slots.values().find(|slot| slot.name != *name && slot.desired().id == Some(id)) {
        Some(slot) => Err(ControlError::IdTaken { id: id.get(), name: slot.name.clone() }),
        None => Ok(()),
    }
}
