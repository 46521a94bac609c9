//! What a chain's user asks of its actor: the developer's controls, pruning, pausing.

use std::{collections::VecDeque, sync::atomic::Ordering};

use subnode_chain_core::ChainClock;
use subnode_sandbox::{Change, Input, Sealed, border};
use subnode_storage::{Batch, StoreError, Table};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    RpcError,
    actor::Actor,
    blocks::{decode_head, encode_head, load_committees, writes},
    message::Message,
    notifier::Event,
};

/// Snapshots kept; the oldest makes room.
const SNAPSHOTS_MAX: usize = 4096;
/// Versions dropped with one write when the past is shortened.
const PRUNED_AT_ONCE: u64 = 64;

/// Moments to return to.
#[derive(Default)]
pub(crate) struct Snapshots {
    kept: VecDeque<Snapshot>,
    next: u64,
}

struct Snapshot {
    id: u64,
    version: u64,
    clock: ChainClock,
}

impl Actor {
    pub(crate) async fn handle(&mut self, message: Message, shutdown: &CancellationToken) {
        // A client that left does not need its answer.
        match message {
            Message::Seal { sealed, done } => drop(done.send(self.seal(&sealed, shutdown).await)),
            Message::SetSealing { sealing, done } => {
                self.shared.set_sealing(sealing);
                self.shared.wake_clients();
                self.input(border::set_sealing(sealing)).await;
                drop(done.send(Ok(())));
            }
            Message::Snapshot { done } => drop(done.send(Ok(self.snapshot()))),
            Message::Revert { id, done } => drop(done.send(self.revert(id).await)),
            Message::Amend { version, changes, done } => drop(done.send(self.amend(version, changes).await)),
            Message::Reset { done } => drop(done.send(self.reset().await)),
            // The flag is read before anything else is begun.
            Message::SetPaused { done } => drop(done.send(Ok(()))),
            Message::Prune { done } => drop(done.send(self.prune(shutdown).await)),
            Message::Decided(decided) => self.decided(decided).await,
            Message::Repair { done } => drop(done.send(self.repair().await)),
            Message::Renew { gathered, done } => {
                drop(done.send(self.renew(*gathered).await));
            }
        }
    }

    async fn seal(&mut self, wanted: &Sealed, shutdown: &CancellationToken) -> Result<(), RpcError> {
        if self.shared.paused.load(Ordering::Relaxed) {
            return Err(RpcError::paused());
        }
        let Sealed { count, spacing_ms, timestamp_ms } = *wanted;
        if let Some(timestamp_ms) = timestamp_ms {
            self.shared.clock().set_next(timestamp_ms);
        }
        for sealed in 0..count {
            if shutdown.is_cancelled() {
                return Err(RpcError::closing());
            }
            let parent = self.shared.head();
            if sealed > 0 && spacing_ms > 0 {
                self.shared.clock().set_next(parent.timestamp_ms.saturating_add(spacing_ms));
            }
            self.input(Input::Seal).await;
            if self.shared.head().height == parent.height {
                return Err(RpcError::rejected(format!("{sealed} of {count} blocks were sealed; the log says why not more")));
            }
        }
        Ok(())
    }

    async fn prune(&mut self, shutdown: &CancellationToken) -> Result<(), RpcError> {
        while !shutdown.is_cancelled() && self.shared.store.prune(PRUNED_AT_ONCE).await? {}
        Ok(())
    }

    fn snapshot(&mut self) -> u64 {
        if self.snapshots.kept.len() >= SNAPSHOTS_MAX {
            self.snapshots.kept.pop_front();
        }
        let id = self.snapshots.next;
        self.snapshots.next += 1;
        let clock = self.shared.clock().clone();
        self.snapshots.kept.push_back(Snapshot { id, version: self.shared.store.version(), clock });
        id
    }

    async fn revert(&mut self, id: u64) -> Result<bool, RpcError> {
        let Some(position) = self.snapshots.kept.iter().position(|snapshot| snapshot.id == id) else { return Ok(false) };
        let Some(snapshot) = self.snapshots.kept.split_off(position).into_iter().next() else { return Ok(false) };
        self.revert_to(snapshot.version).await?;
        *self.shared.clock() = snapshot.clock;
        Ok(true)
    }

    async fn reset(&mut self) -> Result<(), RpcError> {
        // Version 1 is genesis.
        self.revert_to(1).await?;
        self.snapshots.kept.clear();
        *self.shared.clock() = ChainClock::default();
        Ok(())
    }

    async fn revert_to(&mut self, version: u64) -> Result<(), RpcError> {
        let before = self.shared.head();
        if version < self.shared.store.oldest_version() {
            return Err(RpcError::rejected("that state is no longer kept; keep more history to return further"));
        }
        if !self.shared.subscriptions.is_empty() {
            let mut height = before.height;
            while height > 0 && self.shared.store.version_at(height - 1)?.is_some_and(|ended| ended >= version) {
                let (done, told) = oneshot::channel();
                self.shared.tell_surely(Event::Undone(height, done)).await;
                drop(told.await);
                height -= 1;
            }
        }
        self.shared.store.revert_to(version).await?;
        let head = self.shared.store.head().ok_or_else(|| StoreError::Corrupt("no head after a revert".into()))?;
        self.shared.set_head(decode_head(&head)?, Some(load_committees(&self.shared.store)?));
        self.shared.pool.lock().clear();
        self.shared.drop_idle_guests();
        self.shared.commits.send_modify(|commits| *commits += 1);
        Ok(())
    }

    async fn amend(&mut self, version: u64, changes: Vec<Change>) -> Result<bool, RpcError> {
        if self.shared.store.version() != version {
            return Ok(false);
        }
        let head = self.shared.head();
        let writes = writes(Table::State, changes).collect();
        self.shared.store.commit(Batch { head: encode_head(&head), writes }).await?;
        self.shared.pool.lock().forget_progress();
        Ok(true)
    }
}
