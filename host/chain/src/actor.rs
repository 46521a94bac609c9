//! Drives the consensus module: what it is told, what it asks for. The only writer of a chain's store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use subnode_chain_core::Timers;
use subnode_sandbox::{
    Attributes, CallError, Candidate as Proposal, ConsensusGuest, Effect, Input, Lent, Limits, Module, RuntimeGuest, Signer, Tenant,
};
use subnode_signer::{Guard, Voter};
use subnode_types::Purpose;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Ended, OpenError,
    agreement::{ConsensusLog, Fetching},
    blocks::{Basis, BlockId, Candidate},
    checker::Checker,
    checkpoints::Roots,
    fetch::Fetched,
    lend::ViewReader,
    message::Message,
    peers::{Inbox, PeerEvent},
    seals::Seals,
    shared::Shared,
    snapshots::Snapshots,
};

/// What a module sends to its committee at once.
const BROADCAST_BYTES_MAX: usize = 256 << 10;

/// Drives the consensus module and commits blocks.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) consensus: Consensus,
    messages: mpsc::Receiver<Message>,
    /// What members sent, and the module has not been told of: the network bounds it for each, and has them wait.
    frames: Option<Box<dyn Inbox>>,
    effects: VecDeque<Effect>,
    timers: Timers,
    started: Instant,
    pub(crate) candidates: BTreeMap<BlockId, Candidate>,
    /// The last that was built here, until it is shared.
    pub(crate) built: Option<BlockId>,
    pub(crate) fetches: JoinSet<Fetched>,
    /// What is being fetched for the next block, and how many fetches there were.
    pub(crate) wanted: BTreeMap<BlockId, Fetching>,
    pub(crate) asked: u64,
    pub(crate) log: ConsensusLog,
    pub(crate) roots: Roots,
    /// How many transactions a build may draw. Halved by each build that faults, so that a transaction that
    /// makes the runtime fault is found and dropped.
    pub(crate) draw_max: usize,
    pub(crate) snapshots: Snapshots,
    pub(crate) seals: Seals,
    /// When a block is built that waits for the chain's clock.
    pub(crate) waits_until: Option<Instant>,
    pub(crate) random: StdRng,
    /// When the block under way was due, where a timer asked for it.
    pub(crate) due: Option<Instant>,
    /// Why the chain cannot go on: it ends, and its owner decides what then.
    pub(crate) failure: Option<String>,
    /// The height of the state that took the place of the chain's: it ends, and is opened anew.
    pub(crate) renewed: Option<u64>,
}

/// The consensus module of a chain: the instance that runs it, and what further ones are made of.
pub(crate) struct Consensus {
    pub(crate) config: Vec<u8>,
    guest: ConsensusGuest,
    pub(crate) checker: Checker,
}

impl Consensus {
    pub(crate) async fn new(
        module: Module,
        config: Vec<u8>,
        tenant: &Tenant,
        limits: Limits,
        voter: Arc<dyn Signer>,
    ) -> Result<Self, OpenError> {
        let guest = ConsensusGuest::new(&module, tenant, limits, voter).await;
        let guest = guest.map_err(|error| OpenError::Module { which: "consensus", error })??;
        Ok(Self { checker: Checker::new(module), config, guest })
    }
}

/// Has a runtime build a block on the head, and drops it.
pub(crate) async fn try_block(shared: &Shared, runtime: &Module) -> Result<(), OpenError> {
    let options = &shared.options;
    let runtime_error = |error| OpenError::Module { which: "runtime", error };
    let (view, head) = shared.view();
    let mut guest = RuntimeGuest::new(runtime, &shared.tenant, options.block, &[]).await.map_err(runtime_error)??;
    let timestamp_ms = shared.clock().next_timestamp(options.time.now_ms());
    let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(shared.pool.for_build(0, Arc::default())), query: None };
    let built = guest.build(&head, &Attributes { timestamp_ms, seed: vec![0; 32] }, lent).await?;
    let built = built.map_err(|invalid| OpenError::NoBlock(invalid.reason))?;
    let basis = Basis { parent: Some(&head), committees: &shared.committees(), checkpoint: None };
    Candidate::new(&shared.tenant, basis, built.block, built.outcome).map_err(CallError::from)?;
    Ok(())
}

/// Has other modules build a block on the head and start there, and drops what they say.
pub(crate) async fn try_modules(shared: &Shared, runtime: &Module, consensus: &Module, config: &[u8]) -> Result<(), OpenError> {
    try_block(shared, runtime).await?;
    // It is only tried: it signs nothing.
    let voter = Arc::new(Voter::new(None, [0; 32], Guard::default()));
    let mut tried = Consensus::new(consensus.clone(), config.to_vec(), &shared.tenant, shared.options.query, voter).await?;
    let beginning = tried.beginning(shared, Vec::new(), Vec::new());
    tried.guest.start(beginning).await?.map_err(OpenError::Consensus)?;
    Ok(())
}

impl Actor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        consensus: Consensus,
        messages: mpsc::Receiver<Message>,
        frames: Option<Box<dyn Inbox>>,
    ) -> Self {
        let random = shared.options.seed.map_or_else(StdRng::from_os_rng, StdRng::from_seed);
        Self {
            shared,
            consensus,
            messages,
            frames,
            effects: VecDeque::new(),
            timers: Timers::default(),
            started: Instant::now(),
            candidates: BTreeMap::new(),
            built: None,
            fetches: JoinSet::new(),
            wanted: BTreeMap::new(),
            asked: 0,
            log: ConsensusLog::default(),
            roots: Roots::default(),
            draw_max: usize::MAX,
            snapshots: Snapshots::default(),
            seals: Seals::default(),
            waits_until: None,
            random,
            due: None,
            failure: None,
            renewed: None,
        }
    }

    /// Starts the consensus module at the head.
    pub(crate) async fn start(&mut self) -> Result<(), OpenError> {
        let shared = self.shared.clone();
        if let Some(last) = shared.rule.and_then(|rule| rule.last(shared.head().height)) {
            self.find_root(last);
        }
        let kept = self.load_kept().await?;
        let log = self.log.load(&self.shared.store)?;
        let beginning = self.consensus.beginning(&self.shared, log, kept);
        let started = self.consensus.guest.start(beginning).await;
        self.shared.counters.profile(&mut self.consensus.guest);
        let effects = started?.map_err(OpenError::Consensus)?;
        self.take(effects).await;
        self.failure.take().map_or(Ok(()), |failure| Err(OpenError::Consensus(failure)))
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Where the consensus module fails: the chain cannot go on with this instance of it.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Ended> {
        loop {
            if let Some(height) = self.renewed {
                return Err(Ended::Renewed(height));
            }
            if let Some(failure) = self.failure.take() {
                return Err(Ended::Failed(failure));
            }
            let paused = self.shared.paused.load(Ordering::Relaxed) || self.shared.state_sync.wanted.load(Ordering::Relaxed);
            let shared = self.shared.clone();
            let due = self.timers.next_due_ms().map(|due| Duration::from_millis(due.saturating_sub(self.now_ms())));
            let waits_until = self.waits_until;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                message = self.messages.recv() => match message {
                    Some(message) => self.handle(message, &shutdown).await,
                    None => break,
                },
                () = std::future::ready(()), if !self.seals.is_empty() => self.seal_next().await,
                // After messages: a chain whose pool never empties listens to its user all the same.
                () = std::future::ready(()), if !paused && !self.effects.is_empty() => self.perform().await,
                () = sleep(due.unwrap_or_default()), if !paused && due.is_some() => {
                    self.due = self.timers.next_due_ms().map(|due| self.started + Duration::from_millis(due));
                    while let Some(id) = self.timers.take_due(self.now_ms()) {
                        self.input(Input::Timer(id)).await;
                    }
                    self.due = None;
                }
                () = tokio::time::sleep_until(waits_until.unwrap_or_else(Instant::now)), if !paused && waits_until.is_some() => {
                    self.waits_until = None;
                    self.build_and_go_on().await;
                }
                Some(fetched) = self.fetches.join_next(), if !paused => if let Ok(fetched) = fetched {
                    self.fetched(fetched).await;
                },
                (height, found) = self.roots.next() => self.root_found(height, found).await,
                // Of a chain that is paused they are lost: whoever sends them must not wait, nor what comes behind them.
                Some(frame) = next_frame(&mut self.frames) => if !paused {
                    self.input(Input::Message(frame.to_vec())).await;
                },
                () = shared.ready.notified(), if !paused => {
                    let ready = shared.pool.ready();
                    if ready > 0 {
                        self.input(Input::Ready(ready)).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Milliseconds since the chain was started: consensus timers do not follow a clock that can be moved.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Gives the consensus module an input, and does what it asks for, up to the next block.
    pub(crate) async fn input(&mut self, input: Input) {
        self.tell_consensus(input).await;
        self.perform().await;
    }

    pub(crate) async fn tell_consensus(&mut self, input: Input) {
        if self.failure.is_some() {
            return;
        }
        let handled = self.consensus.guest.handle(self.now_ms(), input).await;
        self.shared.counters.profile(&mut self.consensus.guest);
        match handled {
            Ok(effects) => self.take(effects).await,
            Err(fault) => {
                self.shared.counters.fault(&fault);
                self.fail(format!("the consensus module failed: {fault}"));
            }
        }
    }

    pub(crate) fn fail(&mut self, reason: String) {
        self.effects.clear();
        self.failure = Some(reason);
    }

    /// Takes what a call asks for, once what it signed and logged is durable.
    async fn take(&mut self, effects: Vec<Effect>) {
        match self.remember(effects).await {
            Ok(effects) => self.effects.extend(effects),
            Err(error) => self.fail(format!("what the consensus module signed and logged could not be written: {error}")),
        }
    }

    /// Builds a block that was waited with, or that a client does not wait for.
    pub(crate) async fn build_and_go_on(&mut self) {
        self.build_and_tell().await;
        self.perform().await;
    }

    async fn build_and_tell(&mut self) {
        let input = match self.build().await {
            Some(candidate) => {
                let (bytes, transactions) = (candidate.offered.block.len() as u64, candidate.outcome.transactions);
                let proposal = Proposal { id: candidate.id.to_vec(), bytes, transactions };
                self.hold(candidate);
                Input::Built(proposal)
            }
            None => Input::BuildFailed,
        };
        self.tell_consensus(input).await;
    }

    /// Does what the consensus module asks for, until it asks for nothing or a block is committed.
    async fn perform(&mut self) {
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::SetTimer((id, after_ms)) => self.timers.set(id, self.now_ms().saturating_add(after_ms)),
                Effect::CancelTimer(id) => self.timers.cancel(id),
                Effect::Build => match self.early() {
                    Some(early) => self.waits_until = Some(Instant::now() + early),
                    None => self.build_and_tell().await,
                },
                Effect::Decide(decision) => {
                    let Some(candidate) = block_id(&decision.id).and_then(|id| self.candidates.remove(&id)) else {
                        tracing::warn!(chain = %self.shared.name, "the consensus module decided a block that is not here");
                        continue;
                    };
                    let input = match self.commit(candidate, decision.certificate).await {
                        Ok(committed) => committed,
                        Err(error) if self.shared.committee().is_empty() => {
                            tracing::error!(chain = %self.shared.name, %error, "a block could not be committed; it is built anew");
                            self.shared.set_stuck(Some(error.to_string()));
                            Input::BuildFailed
                        }
                        // Others have it by now: there is no other block of this height.
                        Err(error) => return self.fail(format!("a decided block could not be committed: {error}")),
                    };
                    self.tell_consensus(input).await;
                    break;
                }
                Effect::Broadcast(bytes) if bytes.len() > BROADCAST_BYTES_MAX => {
                    self.fail(format!("the consensus module broadcasts {} bytes, at most {BROADCAST_BYTES_MAX}", bytes.len()));
                }
                Effect::Broadcast(bytes) => {
                    if let Some(peers) = &self.shared.peers {
                        peers.broadcast(Purpose::Consensus, bytes.into());
                    }
                }
                Effect::Share(id) => self.share(&id),
                Effect::Obtain(wanted) => self.obtain(&wanted),
                Effect::Evidence(evidence) => self.report(&evidence),
                // Taken out before.
                Effect::AppendLog(_) => {}
            }
        }
    }
}

/// What the member sent whose turn is next; none once the chain has left the network.
async fn next_frame(frames: &mut Option<Box<dyn Inbox>>) -> Option<Bytes> {
    let Some(frames) = frames else { return std::future::pending().await };
    loop {
        if let PeerEvent::Frame { frame, .. } = frames.next().await? {
            return Some(frame);
        }
    }
}

pub(crate) fn block_id(bytes: &[u8]) -> Option<BlockId> {
    bytes.try_into().ok()
}

async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
