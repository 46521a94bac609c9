//! Blocks that clients asked for and wait for.

use std::{collections::VecDeque, sync::atomic::Ordering};

use subnode_sandbox::{Input, Sealed};
use tokio::sync::oneshot;

use crate::{RpcError, actor::Actor};

/// Calls whose blocks are being sealed; further ones are refused.
const SEALS_MAX: usize = 1024;

/// What is left of each call. They take turns block by block, so that one that wants many keeps no other waiting.
#[derive(Default)]
pub(crate) struct Seals(VecDeque<Seal>);

struct Seal {
    wanted: Sealed,
    sealed: u32,
    done: oneshot::Sender<Result<(), RpcError>>,
}

impl Seals {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Actor {
    /// Takes a call's wish on.
    pub(crate) fn seal(&mut self, wanted: Sealed, done: oneshot::Sender<Result<(), RpcError>>) {
        if self.seals.0.len() >= SEALS_MAX {
            drop(done.send(Err(RpcError::limit(format!("{SEALS_MAX} calls wait for their blocks; retry")))));
        } else {
            self.seals.0.push_back(Seal { wanted, sealed: 0, done });
        }
    }

    /// The chain went back: what calls wanted was wanted of another chain.
    pub(crate) fn end_seals(&mut self) {
        for Seal { wanted, sealed, done } in self.seals.0.drain(..) {
            let text = format!("{sealed} of {} blocks were sealed; then the chain went back", wanted.count);
            drop(done.send(Err(RpcError::rejected(text))));
        }
    }

    /// Seals the next block that a call waits for.
    pub(crate) async fn seal_next(&mut self) {
        let Some(mut seal) = self.seals.0.pop_front() else { return };
        if seal.done.is_closed() {
            // Its client left.
            return;
        }
        match self.seal_one(&seal).await {
            Ok(()) => seal.sealed = seal.sealed.saturating_add(1),
            // A client that left does not need its answer.
            Err(error) => return drop(seal.done.send(Err(error))),
        }
        if seal.sealed < seal.wanted.count {
            self.seals.0.push_back(seal);
            // In memory a block waits for nothing, and its thread has others to serve.
            tokio::task::yield_now().await;
        } else {
            drop(seal.done.send(Ok(())));
        }
    }

    async fn seal_one(&mut self, seal: &Seal) -> Result<(), RpcError> {
        if self.shared.paused.load(Ordering::Relaxed) {
            return Err(RpcError::paused());
        }
        let Sealed { count, spacing_ms, timestamp_ms } = seal.wanted;
        if seal.sealed >= count {
            return Ok(());
        }
        let parent = self.shared.head();
        match timestamp_ms {
            Some(timestamp_ms) if seal.sealed == 0 => self.shared.clock().set_next(timestamp_ms),
            _ if seal.sealed > 0 && spacing_ms > 0 => self.shared.clock().set_next(parent.timestamp_ms.saturating_add(spacing_ms)),
            _ => {}
        }
        if self.stop_waiting() {
            self.build_and_go_on().await;
        } else {
            self.input(Input::Seal).await;
        }
        if self.shared.head().height == parent.height {
            let full = self.shared.full().map(|error| error.message);
            let reason = full.or_else(|| self.shared.stuck()).unwrap_or_else(|| "the consensus module gave none more".to_owned());
            return Err(RpcError::rejected(format!("{} of {count} blocks were sealed: {reason}", seal.sealed)));
        }
        Ok(())
    }
}
