//! What the actor holds. It alone writes a chain's store.

use std::{collections::VecDeque, sync::Arc};

use rand::{SeedableRng, rngs::StdRng};
use subnode_chain_core::Timers;
use subnode_peers::Inbox;
use subnode_sandbox::Effect;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{hindrance::Hindrance, member::Member, proposals::Proposals, seals::Seals, snapshots::Snapshots, trouble::Trouble};
use crate::{
    error::RpcError,
    ledger::{ConsensusLog, checkpoints::Roots},
    mailbox::Message,
    parts::Parts,
    upgrades::Upgrades,
};

/// Drives the consensus module and commits blocks.
pub(crate) struct Actor {
    pub(super) parts: Arc<Parts>,
    pub(super) member: Member,
    pub(super) messages: mpsc::Receiver<Message>,
    /// What members sent, and the module has not been told of: the network bounds it for each, and has them wait.
    pub(super) frames: Option<Box<dyn Inbox>>,
    /// Calls of modules end with it: one may take as long as it has fuel.
    pub(super) shutdown: CancellationToken,
    /// What the module asked for and was not done yet.
    /// Bound: 1,024 effects of 128 MiB together; a module that asks for more ends its chain.
    pub(super) effects: VecDeque<Effect>,
    pub(super) timers: Timers,
    started: Instant,
    pub(super) proposals: Proposals,
    pub(super) log: ConsensusLog,
    pub(super) roots: Roots,
    /// How many transactions a build may draw. Halved by each build that faults, so that a transaction that
    /// makes the runtime fault is found and dropped.
    pub(super) draw_max: usize,
    pub(super) snapshots: Snapshots,
    pub(super) seals: Seals,
    /// Who waits until what the retention does not keep is gone.
    pub(super) prunes: Vec<oneshot::Sender<Result<(), RpcError>>>,
    pub(super) hindrance: Hindrance,
    /// When a block is built that waits for the chain's clock.
    pub(super) waits_until: Option<Instant>,
    pub(super) random: StdRng,
    /// When the block under way was due, where a timer asked for it.
    pub(super) due: Option<Instant>,
    /// Why the chain cannot go on: it ends, and its owner decides what then.
    pub(super) failure: Option<String>,
    /// The height of the state that took the place of the chain's: it ends, and is opened anew.
    pub(super) adopted: Option<u64>,
    pub(super) upgrades: Upgrades,
    /// The height that a module decides which does not run: the chain ends, and is opened anew with that one.
    pub(super) upgraded: Option<u64>,
}

impl Actor {
    pub(crate) fn new(
        parts: Arc<Parts>,
        member: Member,
        upgrades: Upgrades,
        messages: mpsc::Receiver<Message>,
        frames: Option<Box<dyn Inbox>>,
        shutdown: CancellationToken,
    ) -> Self {
        let random = parts.options.seed.map_or_else(StdRng::from_os_rng, StdRng::from_seed);
        Self {
            member,
            messages,
            frames,
            shutdown,
            effects: VecDeque::new(),
            timers: Timers::default(),
            started: Instant::now(),
            proposals: Proposals::new(parts.authors.clone()),
            log: ConsensusLog::default(),
            roots: Roots::default(),
            draw_max: usize::MAX,
            snapshots: Snapshots::default(),
            seals: Seals::default(),
            prunes: Vec::new(),
            hindrance: Hindrance::default(),
            waits_until: None,
            random,
            due: None,
            failure: None,
            adopted: None,
            upgrades,
            upgraded: None,
            parts,
        }
    }

    /// Whether the consensus module is told nothing for now.
    pub(super) fn is_paused(&self) -> bool {
        self.parts.standing.is_paused() || self.parts.standing.is_repairing() || self.hindrance.until.is_some()
    }

    /// Milliseconds since the chain was started: consensus timers do not follow a clock that can be moved.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment of so many milliseconds since the chain was started.
    pub(super) fn moment(&self, ms: u64) -> Instant {
        self.started + std::time::Duration::from_millis(ms)
    }

    /// Ends the chain.
    pub(super) fn fail(&mut self, reason: String) {
        self.effects.clear();
        self.failure = Some(reason);
    }

    /// Stands still for a while, or ends the chain.
    pub(super) fn stop_for(&mut self, trouble: Trouble) {
        let reason = match trouble {
            Trouble::Host(reason) => reason,
            Trouble::Chain(reason) => return self.fail(reason),
        };
        let wait = self.hindrance.begin();
        tracing::warn!(chain = %self.parts.name, reason, again_in = ?wait, "this host hinders the chain, which stands still");
        self.parts.standing.set_stuck(Some(reason));
        self.miss();
    }

    /// The consensus module is not told of something: what it asked for is void, and what it signed for that.
    pub(super) fn miss(&mut self) {
        self.hindrance.missed = true;
        self.parts.voter.forget_unsaved();
        self.effects.clear();
        self.timers = Timers::default();
        self.waits_until = None;
        self.proposals.clear();
    }
}
