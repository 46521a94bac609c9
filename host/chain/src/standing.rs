//! What a chain is doing: as its user wants it, and as it turns out. The actor and the developer's controls write it, all read it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use subnode_chain_core::ChainClock;
use subnode_types::Sealing;
use tokio::sync::Notify;

/// See the module.
pub(crate) struct Standing {
    paused: AtomicBool,
    /// The tables are damaged: the chain waits for a state in their place, however far that is.
    repairing: AtomicBool,
    sealing: Mutex<Sealing>,
    clock: Mutex<ChainClock>,
    /// Why no block could be made when one was last wanted; none once one is.
    stuck: Mutex<Option<String>>,
    sweep: Notify,
    /// Pieces here of a state that is being gathered, and in all; 0 while there is none.
    pieces: (AtomicU64, AtomicU64),
}

impl Standing {
    pub(crate) fn new(sealing: Sealing, repairing: bool) -> Self {
        Self {
            paused: AtomicBool::new(false),
            repairing: AtomicBool::new(repairing),
            sealing: Mutex::new(sealing),
            clock: Mutex::default(),
            stuck: Mutex::default(),
            sweep: Notify::new(),
            pieces: (AtomicU64::new(0), AtomicU64::new(0)),
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_repairing(&self) -> bool {
        self.repairing.load(Ordering::Relaxed)
    }

    pub(crate) fn repair(&self) {
        self.repairing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn sealing(&self) -> Sealing {
        *self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_sealing(&self, sealing: Sealing) {
        *self.sealing.lock().unwrap_or_else(PoisonError::into_inner) = sealing;
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, ChainClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no block could be made when one was last wanted.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the reason; whether it is another one than before.
    pub(crate) fn set_stuck(&self, reason: Option<String>) -> bool {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *stuck != reason;
        *stuck = reason;
        changed
    }

    /// Fires at every sweep. A task that was idle since the last one drops its guest instance.
    pub(crate) async fn swept(&self) {
        self.sweep.notified().await;
    }

    pub(crate) fn sweep(&self) {
        self.sweep.notify_waiters();
    }

    /// Pieces here and in all, while a state is being gathered.
    pub(crate) fn pieces(&self) -> Option<(u64, u64)> {
        let all = self.pieces.1.load(Ordering::Relaxed);
        (all > 0).then(|| (self.pieces.0.load(Ordering::Relaxed), all))
    }

    /// Shows a state of so many pieces as being gathered, until the answer is dropped.
    pub(crate) fn gathering(&self, pieces: u64) -> Gathering<'_> {
        self.pieces.1.store(pieces, Ordering::Relaxed);
        Gathering(self)
    }
}

/// A state that is shown as being gathered.
pub(crate) struct Gathering<'a>(&'a Standing);

impl Gathering<'_> {
    /// So many pieces are here.
    pub(crate) fn reached(&self, pieces: u64) {
        self.0.pieces.0.store(pieces, Ordering::Relaxed);
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.0.pieces.1.store(0, Ordering::Relaxed);
    }
}
