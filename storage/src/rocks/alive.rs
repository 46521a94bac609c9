use std::sync::{
    PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicBool, Ordering},
};

/// Whether a family belongs to the chain that was given it, and what is being written to it.
///
/// A chain's family is emptied for the next chain once the first is deleted. Writes run on threads of their own and outlive whoever asked for
/// them, so each holds this while it runs, and the family is emptied once none does.
#[derive(Debug)]
pub(super) struct Alive {
    alive: AtomicBool,
    writes: RwLock<()>,
}

impl Alive {
    pub(super) fn new() -> Self {
        Self { alive: AtomicBool::new(true), writes: RwLock::default() }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Keeps the family the chain's while the guard is held; none once it is retired. Never waits: only [`Self::drain`] takes the lock for itself,
    /// which follows [`Self::retire`].
    pub(super) fn hold(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.writes.try_read().ok().filter(|_| self.is_alive())
    }

    /// Lets no further write begin.
    pub(super) fn retire(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// Waits for the writes that have begun. To be called after [`Self::retire`], on a thread that may wait.
    pub(super) fn drain(&self) {
        drop(self.writes.write().unwrap_or_else(PoisonError::into_inner));
    }
}
