//! What an agreement among nodes needs of the host: a log, candidates that others can get and that outlast a restart, and blocks that others
//! decided.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use subnode_chain_core::{Manifest, wire::Asked};
use subnode_sandbox::{Beginning, BlockVerdict, Effect, Evidence, Input, Judged, Signer, Wanted};
use subnode_signer::SILENCE;
use subnode_storage::{ChainStore, StoreError, Table, Write};
use subnode_types::NodeId;
use tokio::{sync::oneshot, task::AbortHandle};

use crate::{
    OpenError, RpcError,
    actor::{Actor, Consensus, block_id},
    blocks::{self, BlockId, Candidate},
    checkpoints::Found,
    fetch::{self, Fetched},
    hindrance::{Trouble, unless_stopped},
    shared::Shared,
    state_sync::Gathered,
};

/// Rows of the log: entries by number, candidates by id, and what was signed.
const ENTRY_PREFIX: u8 = b'e';
const KEPT_PREFIX: u8 = b'k';
pub(crate) const GUARD_KEY: &[u8] = b"guard";
/// Set while the chain waits for a state in place of tables that are damaged.
pub(crate) const REPAIR_KEY: &[u8] = b"repair";
/// Of one entry, and of all since the last block.
const ENTRY_BYTES_MAX: usize = 256 << 10;
/// What an entry takes beside its bytes.
const ENTRY_BYTES: usize = 64;
const LOG_BYTES_MAX: usize = 64 << 20;
/// Bytes of entries that wait to be written.
const PENDING_BYTES_MAX: usize = 256 << 10;
/// Entries that have room there.
const ENTRIES_MAX: usize = LOG_BYTES_MAX / ENTRY_BYTES;
/// Candidates at once: those of the rounds that a committee may need in a bad hour. Each takes memory and storage of the chain's. None is
/// dropped to make room: one that members are bound to must stay somewhere.
const CANDIDATES_MAX: usize = 64;
/// Blocks of one proposer that are asked for at once: those of this round and of the next, two where it says two things.
const WANTED_PER_MEMBER: usize = 4;
/// What [`crate::ChainOptions::future_ms_max`] is unless said otherwise: as long as Ethereum's clients waited for one from the future.
pub const FUTURE_MS_MAX: u64 = 15_000;

/// A block that others decided.
pub(crate) struct Decided {
    pub(crate) height: u64,
    pub(crate) manifest: Manifest,
    pub(crate) block: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    /// Answered with whether it became the head; else why whoever sent it is wrong.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// What is written between blocks.
#[derive(Default)]
pub(crate) struct ConsensusLog {
    entries: u64,
    bytes: usize,
    kept: BTreeSet<BlockId>,
    /// Candidates to write before anything about them leaves.
    unwritten: BTreeSet<BlockId>,
    /// Entries to write before anything leaves that may follow from them, and their bytes.
    pending: Vec<Write>,
    pending_bytes: usize,
}

fn entry_key(number: u64) -> Vec<u8> {
    [&[ENTRY_PREFIX], number.to_be_bytes().as_slice()].concat()
}

fn kept_key(id: &BlockId) -> Vec<u8> {
    [&[KEPT_PREFIX], id.as_slice()].concat()
}

fn write(key: Vec<u8>, value: Option<Vec<u8>>) -> Write {
    Write { table: Table::Log, key, value }
}

impl ConsensusLog {
    /// What was appended since the head.
    pub(crate) fn load(&mut self, store: &Arc<ChainStore>) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = store.view().scan(Table::Log, &[ENTRY_PREFIX], Some(&[ENTRY_PREFIX + 1]), ENTRIES_MAX)?;
        let bytes = rows.iter().map(|row| row.value.len() + ENTRY_BYTES).sum();
        *self = Self { entries: rows.len() as u64, bytes, ..Self::default() };
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    /// What takes all of it out, with the block that is committed. Once it is, the log is another.
    fn cleared(&self) -> Vec<Write> {
        let entries = (0..self.entries).map(|number| write(entry_key(number), None));
        entries.chain(self.kept.iter().map(|id| write(kept_key(id), None))).collect()
    }

    fn append(&mut self, entry: Vec<u8>) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(entry.len() + ENTRY_BYTES);
        if entry.len() > ENTRY_BYTES_MAX || self.bytes > LOG_BYTES_MAX {
            return Err(format!("the consensus module logs {} bytes, {} since the last block", entry.len(), self.bytes));
        }
        self.pending_bytes += entry.len();
        self.pending.push(write(entry_key(self.entries), Some(entry)));
        self.entries += 1;
        Ok(())
    }
}

impl Consensus {
    /// What the module starts from.
    pub(crate) fn beginning(&self, shared: &Shared, log: Vec<Vec<u8>>, kept: Vec<Judged>) -> Beginning {
        Beginning { config: self.config.clone(), head: shared.head(), ready: shared.pool.ready(), committee: shared.committee(), log, kept }
    }
}

/// A block that is asked for.
pub(crate) struct Fetching {
    /// How many were asked for before.
    number: u64,
    /// Who proposed it.
    first: Option<NodeId>,
    fetch: AbortHandle,
}

impl Actor {
    /// Executes the candidates that were kept.
    pub(crate) async fn load_kept(&mut self) -> Result<Vec<Judged>, OpenError> {
        let rows = self.shared.store.view().scan(Table::Log, &[KEPT_PREFIX], Some(&[KEPT_PREFIX + 1]), CANDIDATES_MAX)?;
        let mut kept = Vec::new();
        for row in rows {
            let Some(id) = block_id(&row.key[1..]) else { continue };
            self.log.kept.insert(id);
            kept.extend(self.judge(id, row.value).await);
        }
        self.log.unwritten.clear();
        Ok(kept)
    }

    /// Makes durable what a call signed, logged and shared, with all that its votes may be about; what else it asks for. What it logs of others' words
    /// waits until it says something itself: a synced write for each would let whoever sends many votes hold all others up.
    pub(crate) async fn remember(&mut self, effects: Vec<Effect>) -> Result<Vec<Effect>, Trouble> {
        let mut rest = Vec::with_capacity(effects.len());
        for effect in effects {
            match effect {
                Effect::AppendLog(entry) => self.log.append(entry).map_err(Trouble::Chain)?,
                Effect::Share(id) => {
                    self.log.unwritten.extend(block_id(&id).filter(|id| !self.log.kept.contains(id)));
                    rest.push(Effect::Share(id));
                }
                other => rest.push(other),
            }
        }
        let guard = self.shared.voter.unsaved();
        let refused = self.shared.voter.take_refused();
        if refused > 0 {
            tracing::error!(chain = %self.shared.name, refused, "the consensus module asked for signatures beside earlier ones: refused");
        }
        let leaves = |effect: &Effect| matches!(effect, Effect::Broadcast(_) | Effect::Share(_));
        if guard.is_none() && self.log.pending_bytes <= PENDING_BYTES_MAX && !rest.iter().any(leaves) {
            return Ok(rest);
        }
        let mut writes = std::mem::take(&mut self.log.pending);
        self.log.pending_bytes = 0;
        writes.extend(guard.map(|guard| write(GUARD_KEY.to_vec(), Some(guard))));
        for id in std::mem::take(&mut self.log.unwritten) {
            if let Some(candidate) = self.candidates.get(&id) {
                writes.push(write(kept_key(&id), Some(candidate.offered.block.clone())));
                self.log.kept.insert(id);
            }
        }
        if !writes.is_empty() {
            self.shared.store.log(writes).await?;
        }
        Ok(rest)
    }

    /// Holds a candidate that was built here. The one before it is dropped, unless it was shared.
    pub(crate) fn hold(&mut self, candidate: Candidate) {
        if let Some(before) = self.built.replace(candidate.id) {
            self.candidates.remove(&before);
        }
        self.candidates.insert(candidate.id, candidate);
    }

    /// Lets others have a candidate.
    pub(crate) fn share(&mut self, id: &[u8]) {
        let Some(id) = block_id(id) else { return };
        let Some(candidate) = self.candidates.get(&id) else {
            tracing::warn!(chain = %self.shared.name, "the consensus module shares a block that is not here");
            return;
        };
        if self.built == Some(id) {
            self.built = None;
        }
        self.shared.offer(id, candidate.offered.clone());
    }

    /// Gets a block from others, unless it is here.
    pub(crate) fn obtain(&mut self, wanted: &Wanted) {
        let Some(id) = block_id(&wanted.id) else { return };
        let Some(peers) = self.shared.peers.clone() else { return };
        if self.candidates.contains_key(&id) || self.wanted.contains_key(&id) {
            return;
        }
        let first = wanted.member.as_slice().try_into().ok().map(NodeId);
        // Blocks that nobody has would be asked for until the next one is decided: the latest proposals are the likelier ones.
        if self.wanted.values().filter(|other| other.first == first).count() >= WANTED_PER_MEMBER {
            self.give_up(|other| other.first == first);
        } else if self.wanted.len() + self.candidates.len() >= CANDIDATES_MAX {
            self.give_up(|_| true);
        }
        if self.wanted.len() + self.candidates.len() >= CANDIDATES_MAX {
            tracing::warn!(chain = %self.shared.name, "{CANDIDATES_MAX} blocks were executed for one height: no more are taken");
            return;
        }
        let fetch = self.fetches.spawn(fetch::persistently(peers, self.shared.tenant.clone(), Asked::Candidate(id), first));
        self.wanted.insert(id, Fetching { number: self.asked, first, fetch });
        self.asked += 1;
    }

    /// Gives the oldest of some fetches up.
    fn give_up(&mut self, which: impl Fn(&Fetching) -> bool) {
        let oldest = self.wanted.iter().filter(|(_, fetching)| which(fetching)).min_by_key(|(_, fetching)| fetching.number);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(fetching) = self.wanted.remove(&id)
        {
            fetching.fetch.abort();
        }
    }

    /// Executes a block that others sent, and tells the module what this host makes of it.
    pub(crate) async fn fetched(&mut self, fetched: Fetched) {
        let id = fetched.manifest.id();
        self.wanted.remove(&id);
        // Where nothing is told of it, the module may ask for it again, and this host try again.
        if let Some(judged) = self.judge(id, fetched.block).await {
            self.input(Input::Judged(judged)).await;
        }
    }

    /// Executes a candidate of others, and holds it if it is valid. None where this host can say nothing of it.
    async fn judge(&mut self, id: BlockId, block: Vec<u8>) -> Option<Judged> {
        let verdict = match self.execute_as(id, block).await {
            Ok(Ok(candidate)) if candidate.summary.timestamp_ms > self.latest_ms() => {
                let timestamp_ms = candidate.summary.timestamp_ms;
                // Another host's clock may say otherwise, so this is no verdict: the module may ask again once its time has come.
                tracing::warn!(chain = %self.shared.name, timestamp_ms, "a proposed block is of a later time than this host's clock can be wrong by");
                return None;
            }
            Ok(Ok(candidate)) => {
                self.shared.offer(id, candidate.offered.clone());
                self.candidates.insert(id, candidate);
                self.log.unwritten.insert(id);
                BlockVerdict::Valid
            }
            Ok(Err(reason)) => BlockVerdict::Invalid(reason),
            Err(fault) => {
                self.shared.counters.fault(&fault);
                tracing::warn!(chain = %self.shared.name, %fault, "a proposed block could not be executed");
                return None;
            }
        };
        if let BlockVerdict::Invalid(reason) = &verdict {
            tracing::warn!(chain = %self.shared.name, reason, "a proposed block is invalid");
        }
        Some(Judged { id: id.to_vec(), verdict })
    }

    /// The latest time that a proposed block may be of.
    fn latest_ms(&self) -> u64 {
        let Shared { options, .. } = &*self.shared;
        // A runtime that counts in seconds needs another one for each block, and more than one block a second runs ahead of the clock.
        let next_second = self.shared.head().timestamp_ms.saturating_add(1_000);
        options.time.now_ms().saturating_add(options.future_ms_max).max(next_second)
    }

    /// Commits a block that others decided, if its certificate shows that they did.
    pub(crate) async fn decided(&mut self, decided: Decided) {
        let Decided { height, manifest, block, certificate, done } = decided;
        let head = self.shared.head().height;
        if height != head + 1 || self.failure.is_some() {
            // It came another way meanwhile.
            drop(done.send(Ok(())));
            return;
        }
        if self.hindrance.until.is_some() {
            drop(done.send(Err("this host cannot commit it for now".into())));
            return;
        }
        let id = manifest.id();
        let committee = self.shared.committee();
        let shutdown = self.shutdown.clone();
        let checked = self.consensus.checker.check(&self.shared, &committee, height, &id, &certificate);
        let refused = match unless_stopped(&shutdown, checked).await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(fault) => {
                self.shared.counters.fault(&fault);
                Some(format!("the certificate could not be checked: {fault}"))
            }
        };
        if let Some(reason) = refused {
            drop(done.send(Err(reason)));
            return;
        }
        let candidate = match self.candidates.remove(&id) {
            Some(candidate) => Ok(candidate),
            None => match self.execute_as(id, block).await {
                Ok(executed) => executed,
                Err(fault) => {
                    self.shared.counters.fault(&fault);
                    tracing::warn!(chain = %self.shared.name, %fault, height, "a decided block could not be executed; it is tried again");
                    drop(done.send(Err(fault.to_string())));
                    return;
                }
            },
        };
        let committed = match candidate {
            Ok(candidate) => self.commit(candidate, certificate).await.map_err(Trouble::from),
            Err(reason) => Err(Trouble::Chain(reason)),
        };
        match committed {
            Ok(committed) => {
                if self.is_paused() {
                    // It would begin the next height.
                    self.miss();
                } else {
                    self.input(committed).await;
                }
                drop(done.send(Ok(())));
            }
            // Not the sender's fault: the committee has spoken, and this node cannot follow.
            Err(trouble) => self.stop_for(trouble.of(&format!("block {height}, which the committee decided, cannot be committed here"))),
        }
    }

    /// Begins to find the root of the state at a height.
    pub(crate) fn find_root(&mut self, height: u64) {
        if let Err(error) = self.roots.begin(&self.shared, height) {
            tracing::warn!(chain = %self.shared.name, %error, height, "the root of the state is looked for later");
        }
    }

    /// Keeps a root that was found.
    pub(crate) async fn root_found(&mut self, height: u64, found: Result<Found, StoreError>) {
        let Some(rule) = self.shared.rule else { return };
        let kept = match found {
            Ok(found) => self.roots.keep(&self.shared.store, rule, height, found).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            self.roots.failed(height);
            tracing::warn!(chain = %self.shared.name, %error, height, "the root of the state is looked for again");
        }
    }

    /// Stands still from now on, until a state has taken the place of the chain's.
    pub(crate) async fn repair(&mut self) -> Result<(), RpcError> {
        let remembered = self.shared.store.log(vec![write(REPAIR_KEY.to_vec(), Some(Vec::new()))]).await;
        remembered.map_err(|error| RpcError::rejected(error.to_string()))?;
        self.shared.state_sync.wanted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Puts a state that was gathered in the place of this chain's. What this node signed stays signed.
    pub(crate) async fn renew(&mut self, gathered: Gathered) -> Result<(), String> {
        let Gathered { stage, link, block, committees } = gathered;
        let (shared, voter) = (&self.shared, &self.shared.voter);
        let (height, head) = (link.summary.height, shared.head().height);
        if height <= head && !shared.state_sync.wanted.load(Ordering::Relaxed) {
            return Err(format!("the state is of block {height}, and the chain is at block {head} by now"));
        }
        let renewed = async {
            let (head, mut writes) = blocks::renewal(&shared.store, &link, block, &committees, shared.rule)?;
            if voter.key().is_some() {
                writes.push(write(GUARD_KEY.to_vec(), Some(voter.guard())));
            }
            shared.store.adopt(stage, head, writes).await
        };
        renewed.await.map_err(|error| error.to_string())?;
        self.renewed = Some(height);
        Ok(())
    }

    /// Reports that a member of the committee broke the rules.
    pub(crate) fn report(&self, evidence: &Evidence) {
        let member = evidence.member.as_slice().try_into().map_or_else(|_| "no member".into(), |key| NodeId(key).to_string());
        self.shared.counters.evidence.fetch_add(1, Ordering::Relaxed);
        tracing::error!(chain = %self.shared.name, member, proof_bytes = evidence.proof.len(), "a member of the committee broke the rules");
    }

    /// What a committed block leaves to write beside it: nothing of the log, and the guard.
    pub(crate) fn log_after(&self, height: u64) -> Vec<Write> {
        let mut writes = self.log.cleared();
        let voter = &self.shared.voter;
        if voter.key().is_some() {
            writes.push(write(GUARD_KEY.to_vec(), Some(voter.guard_from(height + 1))));
        }
        writes
    }

    /// They were written.
    pub(crate) fn log_was_cleared(&mut self, height: u64) {
        self.log = ConsensusLog::default();
        self.shared.voter.forget_before(height + 1);
    }

    /// The consensus module heard how the head was decided, and whoever else votes with this host's key.
    pub(crate) fn heard_height(&self) {
        if self.shared.voter.height_passed(self.now_ms()) {
            tracing::info!(chain = %self.shared.name, "no other host has voted with this key for {SILENCE} heights: this one votes");
        }
    }
}
