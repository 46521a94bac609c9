//! A chain's place on the node: what the chain should be, and what it is doing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subnode_chain::Chain;
use subnode_types::ChainName;
use tokio_util::sync::CancellationToken;

use crate::{Desired, State, lifecycle::Failures};

/// A chain's place.
pub(crate) struct Slot {
    pub(crate) name: ChainName,
    /// Held while the chain is changed.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) desired: Mutex<Desired>,
    pub(crate) state: Mutex<State>,
    pub(crate) failures: Mutex<Failures>,
    /// Ends the task that waits for the running chain to fail.
    pub(crate) watch: Mutex<CancellationToken>,
}

/// A chain as an operator sees it.
#[derive(Clone)]
pub struct ChainInfo {
    /// Its name.
    pub name: ChainName,
    /// What it should be.
    pub desired: Desired,
    /// What it is doing.
    pub state: State,
    /// How often it failed since the node was started.
    pub failures: u64,
    /// The chain itself, where it answers.
    pub chain: Option<Chain>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    pub(crate) fn new(name: ChainName, desired: Desired) -> Arc<Self> {
        Arc::new(Self {
            name,
            changing: Arc::default(),
            desired: Mutex::new(desired),
            state: Mutex::new(State::Stopped),
            failures: Mutex::default(),
            watch: Mutex::default(),
        })
    }

    pub(crate) fn desired(&self) -> Desired {
        lock(&self.desired).clone()
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.state).clone()
    }
}
