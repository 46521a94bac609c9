//! Drives the consensus module and commits blocks. The only writer of a chain's store.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use subnode_chain_core::{ChainClock, Timers};
use subnode_sandbox::{
    Attributes, Built, CallError, Candidate, Change, ConsensusGuest, Effect, GuestFault, Input, Lent, Module, RuntimeGuest, Sealed, border,
    charged,
};
use subnode_storage::{Batch, Head, StoreError, Table, Write};
use subnode_types::{BlockRef, Sealing};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{ChainOptions, ChainParts, OpenError, RpcError, chain::Shared, lend::ViewReader, message::Message, notifier::Event};

/// Ids of blocks: the contract's bounds.
const ID_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Snapshots kept; the oldest makes room.
const SNAPSHOTS_MAX: usize = 4096;
/// Of its interval, a block of a timer waits a twelfth at most to share a synced write: 128 chains of a second then need a tenth of
/// the writes, and every block is there within a tenth of a second.
const PATIENT_PART: u32 = 12;
const PATIENCE_MAX: Duration = Duration::from_millis(80);
/// Versions dropped with one write when the past is shortened.
const PRUNED_AT_ONCE: u64 = 64;
/// Key of the spec's hash in the store, written with genesis.
const SPEC_KEY: &[u8] = b"spec";

/// The chain's head, after creating the chain if its store is empty.
pub(crate) async fn load_or_create(parts: &ChainParts, options: &ChainOptions) -> Result<BlockRef, OpenError> {
    let spec_hash = subnode_sandbox::ModuleHash::of(&parts.spec);
    if let Some(head) = parts.store.head() {
        let known = parts.store.view().get(Table::Meta, SPEC_KEY)?;
        // An empty spec asks for the chain as it is.
        return if parts.spec.is_empty() || known.is_none_or(|known| known == spec_hash.as_bytes()) {
            Ok(decode_head(&head)?)
        } else {
            Err(OpenError::OtherSpec)
        };
    }
    let guest = RuntimeGuest::new(&parts.runtime, &parts.tenant, options.block, &[]).await;
    let mut guest = guest.map_err(|error| OpenError::Module { which: "runtime", error })??;
    let lent = Lent { state: Box::new(ViewReader(parts.store.view())), pool: None, query: None };
    let built = guest.genesis(&parts.spec, lent).await?.map_err(OpenError::Spec)?;
    let head = border::block_ref(&built.outcome);
    check_id(&head)?;
    let mut batch = batch(built);
    batch.writes.push(Write { table: Table::Meta, key: SPEC_KEY.to_vec(), value: Some(spec_hash.as_bytes().to_vec()) });
    parts.store.commit(batch).await?;
    Ok(head)
}

/// Has other modules build a block on the head and start there, and drops what they say.
pub(crate) async fn try_modules(shared: &Shared, runtime: &Module, consensus: &Module, config: &[u8]) -> Result<(), OpenError> {
    let options = &shared.options;
    let runtime_error = |error| OpenError::Module { which: "runtime", error };
    let consensus_error = |error| OpenError::Module { which: "consensus", error };
    let (view, head) = shared.view();
    let mut guest = RuntimeGuest::new(runtime, &shared.tenant, options.block, &[]).await.map_err(runtime_error)??;
    let timestamp_ms = shared.clock().next_timestamp(options.time.now_ms());
    let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(shared.pool.for_build(0, Arc::default())), query: None };
    let built = guest.build(&head, &Attributes { timestamp_ms, seed: vec![0; 32] }, lent).await?;
    let built = built.map_err(|invalid| OpenError::Spec(format!("no block can be built on the head: {}", invalid.reason)))?;
    let next = border::block_ref(&built.outcome);
    check_id(&next)?;
    if next.height != head.height + 1 {
        return Err(OpenError::Spec(format!("a block of height {} was built on {}", next.height, head.height)));
    }
    let mut guest = ConsensusGuest::new(consensus, &shared.tenant, options.query, &[]).await.map_err(consensus_error)??;
    guest.start(config, &head, 0).await?.map_err(OpenError::Consensus)?;
    Ok(())
}

fn check_id(head: &BlockRef) -> Result<(), CallError> {
    if ID_BYTES.contains(&head.id.len()) { Ok(()) } else { Err(GuestFault::Bound(format!("block id of {} bytes", head.id.len())).into()) }
}

fn encode_head(head: &BlockRef) -> Head {
    Head { height: head.height, data: [&head.timestamp_ms.to_be_bytes(), head.id.as_slice()].concat() }
}

fn decode_head(head: &Head) -> Result<BlockRef, StoreError> {
    let (timestamp, id) = head.data.split_first_chunk::<8>().ok_or_else(|| StoreError::Corrupt("head does not decode".into()))?;
    Ok(BlockRef { height: head.height, id: id.to_vec(), timestamp_ms: u64::from_be_bytes(*timestamp) })
}

fn writes(table: Table, changes: Vec<Change>) -> impl Iterator<Item = Write> {
    changes.into_iter().map(move |change| Write { table, key: change.key, value: change.value })
}

fn batch(built: Built) -> Batch {
    let head = border::block_ref(&built.outcome);
    let height = head.height.to_be_bytes().to_vec();
    let mut all: Vec<Write> = writes(Table::State, built.outcome.state).chain(writes(Table::Index, built.outcome.index)).collect();
    all.push(Write { table: Table::Block, key: head.id.clone(), value: Some(height.clone()) });
    all.push(Write { table: Table::Block, key: height, value: Some(built.block) });
    Batch { head: encode_head(&head), writes: all }
}

struct Snapshot {
    id: u64,
    version: u64,
    clock: ChainClock,
}

/// Drives the consensus module and commits blocks.
pub(crate) struct Actor {
    shared: Arc<Shared>,
    consensus: ConsensusGuest,
    config: Vec<u8>,
    messages: mpsc::Receiver<Message>,
    effects: VecDeque<Effect>,
    timers: Timers,
    started: Instant,
    built: Option<Built>,
    /// How many transactions a build may draw. Halved by each build that faults, so that a transaction that
    /// makes the runtime fault is found and dropped.
    draw_max: usize,
    snapshots: VecDeque<Snapshot>,
    next_snapshot: u64,
    random: StdRng,
    /// When the block under way was due, where a timer asked for it.
    due: Option<Instant>,
    /// Why the chain cannot go on: it ends, and its owner decides what then.
    failure: Option<String>,
}

impl Actor {
    pub(crate) fn new(shared: Arc<Shared>, consensus: ConsensusGuest, config: Vec<u8>, messages: mpsc::Receiver<Message>) -> Self {
        let random = shared.options.seed.map_or_else(StdRng::from_os_rng, StdRng::from_seed);
        Self {
            shared,
            consensus,
            config,
            messages,
            effects: VecDeque::new(),
            timers: Timers::default(),
            started: Instant::now(),
            built: None,
            draw_max: usize::MAX,
            snapshots: VecDeque::new(),
            next_snapshot: 0,
            random,
            due: None,
            failure: None,
        }
    }

    /// Starts the consensus module at the head.
    pub(crate) async fn start(&mut self) -> Result<(), OpenError> {
        let head = self.shared.head();
        let ready = self.shared.pool.ready();
        let effects = self.consensus.start(&self.config, &head, ready).await?.map_err(OpenError::Consensus)?;
        self.effects.extend(effects);
        Ok(())
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Where the consensus module fails: the chain cannot go on with this instance of it.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), String> {
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            let paused = self.shared.paused.load(Ordering::Relaxed);
            let shared = self.shared.clone();
            let now = self.now_ms();
            let due = self.timers.next_due_ms().map(|due| Duration::from_millis(due.saturating_sub(now)));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                message = self.messages.recv() => match message {
                    Some(message) => self.handle(message, &shutdown).await,
                    None => break,
                },
                // After messages: a chain whose pool never empties listens to its user all the same.
                () = std::future::ready(()), if !paused && !self.effects.is_empty() => self.perform().await,
                () = shared.ready.notified(), if !paused => {
                    let ready = shared.pool.ready();
                    if ready > 0 {
                        self.input(Input::Ready(ready)).await;
                    }
                }
                () = sleep(due.unwrap_or_default()), if !paused && due.is_some() => {
                    self.due = self.timers.next_due_ms().map(|due| self.started + Duration::from_millis(due));
                    while let Some(id) = self.timers.take_due(self.now_ms()) {
                        self.input(Input::Timer(id)).await;
                    }
                    self.due = None;
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
    async fn input(&mut self, input: Input) {
        self.tell_consensus(input).await;
        self.perform().await;
    }

    async fn tell_consensus(&mut self, input: Input) {
        if self.failure.is_some() {
            return;
        }
        match self.consensus.handle(self.now_ms(), input).await {
            Ok(effects) => self.effects.extend(effects),
            Err(fault) => {
                self.shared.counters.fault(&fault);
                self.effects.clear();
                self.failure = Some(format!("the consensus module failed: {fault}"));
            }
        }
    }

    /// Does what the consensus module asks for, until it asks for nothing or a block is committed.
    async fn perform(&mut self) {
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::SetTimer((id, after_ms)) => self.timers.set(id, self.now_ms().saturating_add(after_ms)),
                Effect::CancelTimer(id) => self.timers.cancel(id),
                Effect::Build => {
                    let input = match self.build().await {
                        Some(built) => {
                            let candidate = Candidate { bytes: built.block.len() as u64, transactions: built.transactions };
                            self.built = Some(built);
                            Input::Built(candidate)
                        }
                        None => Input::BuildFailed,
                    };
                    self.tell_consensus(input).await;
                }
                Effect::Decide => {
                    let Some(built) = self.built.take() else {
                        tracing::warn!(chain = %self.shared.name, "the consensus module decided a block that was not built");
                        continue;
                    };
                    let input = match self.commit(built).await {
                        Ok(head) => border::committed(&head, self.shared.pool.ready()),
                        Err(error) => {
                            tracing::error!(chain = %self.shared.name, %error, "a block could not be committed; it is built anew");
                            Input::BuildFailed
                        }
                    };
                    self.tell_consensus(input).await;
                    break;
                }
            }
        }
    }

    async fn build(&mut self) -> Option<Built> {
        if self.shared.store.full().is_some() {
            // Its own slice keeps it from committing: building on is for nothing until it is resized or pruned.
            return None;
        }
        let started = Instant::now();
        let mut seed = vec![0; 32];
        self.random.fill_bytes(&mut seed);
        let (view, parent) = self.shared.view();
        let timestamp_ms = self.shared.clock().next_timestamp(self.shared.options.time.now_ms());
        let drawn = Arc::default();
        let pool = self.shared.pool.for_build(self.draw_max, Arc::clone(&drawn));
        let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(pool), query: None };
        let built = match self.shared.fresh_guest(self.shared.options.block, &seed).await {
            Ok(mut guest) => guest.build(&parent, &Attributes { timestamp_ms, seed }, lent).await,
            Err(error) => Err(error),
        };
        match built {
            Ok(Ok(built)) => {
                let head = border::block_ref(&built.outcome);
                if head.height != parent.height + 1 || !ID_BYTES.contains(&head.id.len()) {
                    tracing::error!(chain = %self.shared.name, "the runtime built a block of height {} on {}", head.height, parent.height);
                    return None;
                }
                self.draw_max = self.draw_max.saturating_mul(2);
                self.shared.counters.build_us.fetch_add(micros(started.elapsed()), Ordering::Relaxed);
                Some(built)
            }
            Ok(Err(invalid)) => {
                tracing::error!(chain = %self.shared.name, reason = %invalid.reason, "no block can be built on the head");
                None
            }
            Err(fault) => {
                self.shared.counters.fault(&fault);
                let drawn = drawn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                tracing::warn!(chain = %self.shared.name, %fault, transactions = drawn.len(), "building a block failed");
                if let (CallError::Guest(_), [only]) = (&fault, drawn.as_slice()) {
                    tracing::warn!(chain = %self.shared.name, "the transaction that makes the runtime fail is dropped");
                    self.shared.pool.lock().remove(only);
                }
                self.draw_max = (drawn.len() / 2).max(1);
                None
            }
        }
    }

    /// How long a block may wait to share a synced write: one that a timer asked for, a part of its interval.
    fn patience(&self) -> Duration {
        match self.shared.sealing() {
            Sealing::Interval(ms) if self.due.is_some() => (Duration::from_millis(ms.get()) / PATIENT_PART).min(PATIENCE_MAX),
            Sealing::Interval(_) | Sealing::Instant | Sealing::Manual => Duration::ZERO,
        }
    }

    async fn commit(&mut self, built: Built) -> Result<BlockRef, StoreError> {
        let head = border::block_ref(&built.outcome);
        let progress = built.outcome.progress.clone();
        let started = Instant::now();
        let transactions = u64::from(built.transactions);
        let patience = self.patience();
        charged(&self.shared.tenant, self.shared.store.commit_within(batch(built), patience)).await?;
        let counters = &self.shared.counters;
        counters.blocks.fetch_add(1, Ordering::Relaxed);
        counters.transactions.fetch_add(transactions, Ordering::Relaxed);
        counters.commit_us.fetch_add(micros(started.elapsed()), Ordering::Relaxed);
        if let Some(due) = self.due {
            let late = micros(due.elapsed());
            counters.late_us.fetch_add(late, Ordering::Relaxed);
            counters.late_us_max.fetch_max(late, Ordering::Relaxed);
        }
        self.shared.set_head(head.clone());
        self.shared.pool.lock().advance(progress.iter().map(|one| (one.sender.as_slice(), one.next_sequence)));
        self.shared.clock().stamped(head.timestamp_ms, self.shared.options.time.now_ms());
        self.shared.commits.send_modify(|commits| *commits += 1);
        tracing::debug!(chain = %self.shared.name, height = head.height, "committed a block");
        if !self.shared.subscriptions.is_empty() {
            self.shared.tell(Event::Block(head.height));
        }
        Ok(head)
    }

    async fn handle(&mut self, message: Message, shutdown: &CancellationToken) {
        // A client that left does not need its answer.
        match message {
            Message::Seal { sealed, done } => drop(done.send(self.seal(&sealed, shutdown).await)),
            Message::SetSealing { sealing, done } => {
                self.shared.set_sealing(sealing);
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
        if self.snapshots.len() >= SNAPSHOTS_MAX {
            self.snapshots.pop_front();
        }
        let id = self.next_snapshot;
        self.next_snapshot += 1;
        let clock = self.shared.clock().clone();
        self.snapshots.push_back(Snapshot { id, version: self.shared.store.version(), clock });
        id
    }

    async fn revert(&mut self, id: u64) -> Result<bool, RpcError> {
        let Some(position) = self.snapshots.iter().position(|snapshot| snapshot.id == id) else { return Ok(false) };
        let Some(snapshot) = self.snapshots.split_off(position).into_iter().next() else { return Ok(false) };
        self.revert_to(snapshot.version).await?;
        *self.shared.clock() = snapshot.clock;
        Ok(true)
    }

    async fn reset(&mut self) -> Result<(), RpcError> {
        // Version 1 is genesis.
        self.revert_to(1).await?;
        self.snapshots.clear();
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
        self.shared.set_head(decode_head(&head)?);
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

async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
