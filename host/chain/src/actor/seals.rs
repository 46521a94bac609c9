//! Blocks that clients asked for and wait for.

use std::collections::VecDeque;

use subnode_sandbox::Sealed;
use tokio::sync::oneshot;

use crate::error::RpcError;

/// Calls whose blocks are being sealed; further ones are refused. A waiting call takes a hundred bytes.
const SEALS_MAX: usize = 1024;

/// What is left of each call. They take turns block by block, so that one that wants many keeps no other waiting.
#[derive(Default)]
/// Bound: [`SEALS_MAX`] calls of some 100 bytes, 100 KiB.
pub(crate) struct Seals(VecDeque<Seal>);

/// A call.
pub(super) struct Seal {
    pub(super) wanted: Sealed,
    pub(super) sealed: u32,
    pub(super) done: oneshot::Sender<Result<(), RpcError>>,
}

impl Seals {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a call on.
    pub(super) fn add(&mut self, wanted: Sealed, done: oneshot::Sender<Result<(), RpcError>>) {
        if self.0.len() >= SEALS_MAX {
            drop(done.send(Err(RpcError::limit(format!("{SEALS_MAX} calls wait for their blocks; retry")))));
        } else {
            self.0.push_back(Seal { wanted, sealed: 0, done });
        }
    }

    /// The next call whose client still waits.
    pub(super) fn next(&mut self) -> Option<Seal> {
        while let Some(seal) = self.0.pop_front() {
            if !seal.done.is_closed() {
                return Some(seal);
            }
        }
        None
    }

    /// A block of this call was sealed. Whether it waits for more.
    pub(super) fn sealed(&mut self, mut seal: Seal) -> bool {
        seal.sealed = seal.sealed.saturating_add(1);
        let more = seal.sealed < seal.wanted.count;
        if more {
            self.0.push_back(seal);
        } else {
            drop(seal.done.send(Ok(())));
        }
        more
    }

    /// The chain went back: what calls wanted was wanted of another chain.
    pub(super) fn end(&mut self) {
        for Seal { wanted, sealed, done } in self.0.drain(..) {
            let text = format!("{sealed} of {} blocks were sealed; then the chain went back", wanted.count);
            drop(done.send(Err(RpcError::rejected(text))));
        }
    }
}
