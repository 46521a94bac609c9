//! Byzantine fault-tolerant consensus: Tendermint (Buchman, Kwon, Milosevic 2018) by Malachite's core, which this
//! module drives.
//!
//! Configuration: `instant` (a block as soon as a transaction is ready; also the meaning of an empty configuration) or
//! `interval MILLISECONDS`, then perhaps `timeout MILLISECONDS`: how long a member waits for a proposal in the first
//! round (3000). A member waits a third of that for votes.
//!
//! Whose turn it is depends on committee, height and round alone, as Malachite's core requires. How long a member waits
//! for a proposer depends on the blocks that the proposer gave before (`patience`).
//!
//! The host signs, checks, logs and fetches blocks; the core decides. After a restart the core goes through everything
//! again that it logged.

pub mod context;
mod desk;
pub mod message;
mod patience;
pub mod signing;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use malachite::{Input as CoreInput, LocallyProposedValue, Params, State, ThresholdParams, ValuePayload};
use malachite_types::{Round, TimeoutKind};
use subnode_sdk::{
    codec::decode,
    consensus::{Beginning, Committed, Consensus, Effect, Input, Judged, Validator, Verdict, Wanted, authors, signing as host},
    pace::{self, Pace},
};

use crate::{
    context::{Bft, BlockId, Committee, Height, Key, Proposal},
    desk::{Desk, check_commit, is_genuine},
    message::{Certificate, Entry, Message, judged, timeout},
    words::Fit,
};

/// Timers beside the core's, whose numbers are of 34 bits.
const START_TIMER: u64 = 1 << 40;
const RETRY_TIMER: u64 = START_TIMER + 1;
const BACKLOG_TIMER: u64 = START_TIMER + 2;
/// Effects of a call after which messages that wait are left for the next one. A call has 256, and a message some ten.
const EFFECTS: usize = 200;
/// How long the module waits after a block could not be built before it asks again.
const RETRY_MS: u64 = 500;
/// Messages of one member that wait for the next height: a proposal, and votes of two rounds.
const WAITING_PER_MEMBER: usize = 5;
/// Bytes of messages of this height that are remembered, so that a repetition is not checked again: what a committee of
/// a hundred says in twenty rounds. Beyond that, each repetition costs a check, as a new message does.
const SEEN_BYTES_MAX: usize = 4 << 20;
/// Blocks that are asked for after a restart, of those that were proposed: one of each member of a large committee would be for nothing.
const OBTAINED: usize = 16;

/// A height that has not begun.
struct Next {
    height: u64,
    committee: Committee,
    /// Messages that came early, by member.
    waiting: BTreeMap<Key, Vec<Message>>,
}

/// Whether a proposer made the block that it proposes first. One that could propose another's would choose between two seeds. A block that is proposed
/// again keeps its author.
fn is_own(proposal: &Proposal) -> bool {
    proposal.proven_round.is_some() || authors::author(&proposal.block.0).is_none_or(|author| author[..] == proposal.proposer.0[..])
}

/// A member of a committee.
pub struct Member {
    state: Option<State<Bft>>,
    desk: Desk,
    /// Nobody's where this node has no vote.
    key: Key,
    pace: Pace,
    next: Next,
    /// Blocks of this height that this host has executed, and whether they are valid.
    judged: BTreeMap<BlockId, bool>,
    /// Genuine proposals of this height.
    proposals: Vec<Proposal>,
    /// Proposals that wait for what proves them, the last of each member.
    held: BTreeMap<Key, Message>,
    /// Messages that came before this height began, and wait for their turn.
    backlog: VecDeque<Message>,
    seen: BTreeSet<Vec<u8>>,
    seen_bytes: usize,
}

fn committee(members: &[Validator]) -> Result<Committee, String> {
    Committee::new(members).ok_or_else(|| "a member's key has 32 bytes".into())
}

impl Member {
    /// Has the core work on an input, and on all that follows from it.
    fn process(&mut self, input: CoreInput<Bft>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(state) = &mut self.state else { return };
            let desk = &mut self.desk;
            let done: Result<(), malachite::Error<Bft>> =
                malachite::process!(input: input, state: state, metrics: &(), with: effect => desk.perform(effect));
            if let Err(error) = done {
                eprintln!("the core refuses an input: {error}");
            }
            for proposal in std::mem::take(&mut self.desk.genuine) {
                inputs.extend(self.proposed(proposal));
            }
        }
    }

    /// Takes a message of this height.
    fn take(&mut self, message: Message) {
        let message = match message {
            // Of two signatures of one vote, the core would take both, and fail.
            Message::Round { height, round, skip, mut votes } => {
                for (vote, signature) in &mut votes {
                    *signature = self.desk.words.signature(vote).unwrap_or(*signature);
                }
                Message::Round { height, round, skip, votes }
            }
            Message::Proposal(proposal, signature) => {
                let fit = self.desk.words.fit(&proposal);
                let message = Message::Proposal(proposal, signature);
                if fit != Fit::Now {
                    self.desk.refused = true;
                    if fit == Fit::Later
                        && let Some(key) = is_genuine(&message).filter(|key| self.next.committee.has(*key))
                    {
                        self.held.insert(key, message);
                    }
                    return;
                }
                message
            }
            other => other,
        };
        self.process(message.into_input());
        // It may have proven one that waits.
        let fits = |held: &Message| matches!(held, Message::Proposal(proposal, _) if self.desk.words.fit(proposal) == Fit::Now);
        if let Some(key) = self.held.iter().find(|(_, held)| fits(held)).map(|(key, _)| *key)
            && let Some(held) = self.held.remove(&key)
        {
            self.process(held.into_input());
        }
        self.decide();
    }

    /// Takes messages that wait: as many as a call has effects for.
    fn work(&mut self) {
        while let Some(message) = self.backlog.pop_front() {
            self.take(message);
            if self.desk.effects.len() > EFFECTS {
                self.desk.effects.push(Effect::SetTimer((BACKLOG_TIMER, 1)));
                break;
            }
        }
        self.build();
    }

    /// Decides on a block to which enough have precommitted, where the core does not. The core waits for the proposal too, and nobody may say that
    /// again: its proposer may break the rules, and the others repeat what is theirs.
    fn decide(&mut self) {
        let Some((block, certificate)) = self.desk.decision() else { return };
        match (self.judged.get(&block), certificate.signatures.first()) {
            (Some(true), _) => self.desk.decide(block, &certificate),
            (None, Some((voter, _))) => {
                self.desk.effects.push(Effect::Obtain(Wanted { id: block.0.to_vec(), member: voter.0.to_vec() }));
            }
            _ => {}
        }
    }

    /// A genuine proposal: its block is judged already, or has to be had.
    fn proposed(&mut self, proposal: Proposal) -> Option<CoreInput<Bft>> {
        if self.proposals.contains(&proposal) {
            return None;
        }
        let known = self.judged.get(&proposal.block).copied();
        if known.is_none() {
            let wanted = Wanted { id: proposal.block.0.to_vec(), member: proposal.proposer.0.to_vec() };
            self.desk.effects.push(Effect::Obtain(wanted));
        }
        let value = known.and_then(|valid| self.verdict(&proposal, valid));
        self.proposals.push(proposal);
        value
    }

    /// What this host makes of a proposal, for the core. It is logged, as what the core does next depends on when it knew.
    fn verdict(&mut self, proposal: &Proposal, valid: bool) -> Option<CoreInput<Bft>> {
        let valid = valid && is_own(proposal);
        self.desk.judged(proposal.round, proposal.proposer, valid);
        if self.desk.words.fit(proposal) != Fit::Now {
            return None;
        }
        let Proposal { round, proven_round, proposer, block, .. } = *proposal;
        self.desk.log(Entry::Judged { round, proven_round, proposer, block, valid });
        Some(judged(proposal, valid))
    }

    /// This host has judged a block.
    fn judge(&mut self, id: BlockId, valid: bool) {
        self.judged.insert(id, valid);
        let of_block: Vec<_> = self.proposals.iter().filter(|proposal| proposal.block == id).cloned().collect();
        for proposal in of_block {
            if let Some(value) = self.verdict(&proposal, valid) {
                self.process(value);
            }
        }
        self.decide();
    }

    /// Begins the next height if its time has come and there is something to do.
    fn go_on(&mut self, now_ms: u64) {
        if self.pace.may_begin(!self.next.waiting.is_empty()) && !self.next.committee.is_empty() {
            self.begin(now_ms);
        }
    }

    fn begin(&mut self, now_ms: u64) {
        self.pace.begin(now_ms);
        self.judged.clear();
        self.enter();
        self.backlog = std::mem::take(&mut self.next.waiting).into_values().flatten().collect();
        self.work();
    }

    /// Has the core work on the next height.
    fn enter(&mut self) {
        self.proposals.clear();
        self.held.clear();
        self.backlog.clear();
        self.seen.clear();
        self.seen_bytes = 0;
        let (height, committee) = (Height(self.next.height), self.next.committee.clone());
        self.desk.enter(committee.clone());
        if self.state.is_none() {
            let params = Params {
                initial_height: height,
                initial_validator_set: committee.clone(),
                address: self.key,
                threshold_params: ThresholdParams::default(),
                value_payload: ValuePayload::ProposalAndParts,
            };
            // Nothing waits in the core: it gets messages of its own height alone.
            self.state = Some(State::new(Bft, params, 1));
        }
        self.process(CoreInput::StartHeight(height, committee));
    }

    /// Has the host build a block if the core still waits for it.
    fn build(&mut self) {
        if !self.desk.is_done() && self.desk.wanted.is_some() && self.state.as_ref().is_some_and(|state| state.driver.step_is_propose()) {
            self.desk.effects.push(Effect::Build);
        }
    }

    fn built(&mut self, id: &[u8]) {
        let Some(block) = id.try_into().ok().map(BlockId) else { return };
        let Some(round) = self.desk.wanted.take() else { return };
        self.judged.insert(block, true);
        self.desk.effects.push(Effect::Share(block.0.to_vec()));
        let height = Height(self.next.height);
        self.process(CoreInput::Propose(LocallyProposedValue { height, round: Round::new(round), value: block }));
    }

    /// A block is the head: its height is done with, however that came.
    fn committed(&mut self, now_ms: u64, committed: Committed) {
        let Ok(committee) = committee(&committed.committee) else { return };
        let wait_ms = self.pace.end(now_ms, committed.ready);
        self.backlog.clear();
        self.desk.clear();
        self.desk.decided(committed.block.height);
        self.next = Next { height: committed.block.height + 1, committee, waiting: BTreeMap::new() };
        match wait_ms {
            Some(wait_ms) => self.desk.effects.push(Effect::SetTimer((START_TIMER, wait_ms))),
            None => self.go_on(now_ms),
        }
    }

    fn receive(&mut self, now_ms: u64, bytes: Vec<u8>) {
        let Some(message) = decode::<Message>(&bytes) else { return };
        if self.pace.idle() {
            if message.height() == self.next.height {
                self.wait(message);
                if self.pace.is_instant() {
                    self.go_on(now_ms);
                }
            }
        } else if message.height() == self.next.height {
            if self.seen.contains(&bytes) {
                return;
            }
            self.take(message);
            // One that is too early is said again, and may not be then. One that is not genuine takes no room.
            if !std::mem::take(&mut self.desk.refused) && self.seen_bytes + bytes.len() <= SEEN_BYTES_MAX {
                self.seen_bytes += bytes.len();
                self.seen.insert(bytes);
            }
            self.build();
        }
    }

    /// Keeps a message of a height that has not begun here.
    fn wait(&mut self, message: Message) {
        let Some(key) = is_genuine(&message).filter(|key| self.next.committee.has(*key)) else { return };
        let waiting = self.next.waiting.entry(key).or_default();
        if waiting.len() < WAITING_PER_MEMBER && !waiting.contains(&message) {
            waiting.push(message);
        }
    }

    /// Goes through the log again.
    fn replay(&mut self, log: Vec<Vec<u8>>) {
        if log.is_empty() || self.next.committee.is_empty() {
            return;
        }
        self.pace.begin(0);
        self.enter();
        let height = Height(self.next.height);
        let entries: Vec<Entry> = log.iter().filter_map(|entry| decode(entry)).collect();
        self.desk.logged = log.into_iter().collect();
        for entry in entries {
            match entry {
                Entry::Message(message) => self.take(message),
                Entry::Timeout { .. } | Entry::Judged { .. } => {
                    if let Entry::Judged { block, valid, .. } = entry {
                        self.judged.entry(block).or_insert(valid);
                    }
                    if let Some(input) = entry.into_input(height) {
                        self.process(input);
                    }
                }
            }
        }
        self.desk.logged.clear();
    }

    /// Goes on where the log ends, with blocks that this host has kept.
    fn resume(&mut self, kept: Vec<(BlockId, bool)>) {
        for (block, valid) in kept {
            // The log has what was made of a proposal: a valid block may have been proposed by another than its author.
            if self.judged.insert(block, valid).is_none() {
                self.judge(block, valid);
            }
        }
        if !self.pace.idle() {
            self.desk.settle();
            let unjudged: Vec<_> = self.proposals.iter().filter(|proposal| !self.judged.contains_key(&proposal.block)).collect();
            // The latest: a call has 256 effects.
            for proposal in unjudged.into_iter().rev().take(OBTAINED) {
                let wanted = Wanted { id: proposal.block.0.to_vec(), member: proposal.proposer.0.to_vec() };
                self.desk.effects.push(Effect::Obtain(wanted));
            }
            self.decide();
            self.build();
        }
    }
}

impl Consensus for Member {
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String> {
        let (sealing, timeout_ms) = pace::parse(&beginning.config)?;
        let committee = committee(&beginning.committee)?;
        if committee.is_empty() {
            return Err("nobody decides on this chain's blocks: name a committee in its genesis".into());
        }
        let key = host::key().and_then(|key| key.try_into().ok()).map_or(Key([0; 32]), Key);
        let judged = |Judged { id, verdict }: &Judged| Some((BlockId(id.as_slice().try_into().ok()?), matches!(verdict, Verdict::Valid)));
        let kept = beginning.kept.iter().filter_map(judged).collect();
        let mut member = Self {
            state: None,
            desk: Desk::new(timeout_ms, key),
            key,
            pace: Pace::new(sealing, beginning.ready),
            next: Next { height: beginning.head.height + 1, committee, waiting: BTreeMap::new() },
            judged: BTreeMap::new(),
            proposals: Vec::new(),
            held: BTreeMap::new(),
            backlog: VecDeque::new(),
            seen: BTreeSet::new(),
            seen_bytes: 0,
        };
        member.replay(beginning.log);
        member.resume(kept);
        if member.pace.idle() {
            member.desk.effects.push(Effect::SetTimer((START_TIMER, 0)));
        }
        let effects = std::mem::take(&mut member.desk.effects);
        Ok((member, effects))
    }

    fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        self.desk.now_ms = now_ms;
        match input {
            Input::Ready(count) => {
                self.pace.set_ready(count);
                if self.pace.is_instant() {
                    self.go_on(now_ms);
                }
            }
            Input::Timer(START_TIMER) => self.go_on(now_ms),
            Input::Timer(RETRY_TIMER) => self.build(),
            Input::Timer(BACKLOG_TIMER) => self.work(),
            // One of the height that is done with ran out meanwhile.
            Input::Timer(_) if self.pace.idle() => {}
            Input::Timer(number) => {
                self.desk.ran_out(number);
                if let Some(timeout) = timeout(number) {
                    self.process(CoreInput::TimeoutElapsed(timeout));
                    if timeout.kind == TimeoutKind::Rebroadcast {
                        self.desk.repeat();
                        // Its block may not have come.
                        self.decide();
                    }
                    self.build();
                }
            }
            Input::Built(candidate) => self.built(&candidate.id),
            Input::BuildFailed => self.desk.effects.push(Effect::SetTimer((RETRY_TIMER, RETRY_MS))),
            Input::Committed(committed) => self.committed(now_ms, committed),
            Input::Seal => {
                if self.pace.idle() && !self.next.committee.is_empty() {
                    self.begin(now_ms);
                }
            }
            Input::SetSealing(sealing) => {
                self.pace.set_sealing(sealing);
                self.go_on(now_ms);
            }
            Input::Message(bytes) => self.receive(now_ms, bytes),
            Input::Judged(Judged { id, verdict }) => {
                if let Ok(id) = id.as_slice().try_into() {
                    self.judge(BlockId(id), matches!(verdict, Verdict::Valid));
                    self.build();
                }
            }
        }
        std::mem::take(&mut self.desk.effects)
    }

    fn check(members: Vec<Validator>, height: u64, id: Vec<u8>, certificate: Vec<u8>) -> Result<(), String> {
        let committee = committee(&members)?;
        let certificate: Certificate = decode(&certificate).ok_or("it does not decode")?;
        let id = id.as_slice().try_into().map_err(|_| "a block's id has 32 bytes")?;
        check_commit(&certificate.on(height, BlockId(id)), &committee, ThresholdParams::default()).map_err(|error| error.to_string())
    }
}

subnode_sdk::consensus!(Member);

#[cfg(test)]
mod tests;
