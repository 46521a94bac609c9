//! What Malachite's core asks for, done or handed to the host.
#![allow(clippy::result_large_err, reason = "the core's own error")]

use std::collections::{BTreeMap, BTreeSet};

use malachite::{ConsensusMsg, Effect, LivenessMsg, Resumable, Resume};
use malachite_types::{
    CertificateError, CommitCertificate, NilOrVal, PolkaCertificate, RoundCertificate, SignedMessage, SigningProvider, SigningProviderExt,
    ThresholdParams, Timeout, TimeoutKind, ValidatorSet as _,
};
use subnode_sdk::{
    codec::encode,
    consensus::{self as sdk, Decision},
};

use crate::{
    context::{Bft, BlockId, Committee, Key, Proposal, Signature, Vote},
    message::{Certificate, Entry, Message, timeout, timer},
    patience::Patience,
    signing::Host,
};

/// How far a member takes messages ahead of the last round that some honest member has reached. Each round of each member takes memory, and each
/// message a row of the log.
const ROUNDS_AHEAD: u32 = 2;

/// Steps of a round.
const PROPOSAL: u8 = 0;
const PREVOTE: u8 = 1;
const PRECOMMIT: u8 = 2;

fn step(vote: &Vote) -> u8 {
    if vote.precommit { PRECOMMIT } else { PREVOTE }
}

/// What the core asked for while it worked on an input.
pub struct Desk {
    pub effects: Vec<sdk::Effect>,
    /// How long a proposal is waited for in the first round.
    pub timeout_ms: u64,
    /// What is in the log already, while it is gone through again.
    pub logged: BTreeSet<Vec<u8>>,
    /// Proposals of this height that were found genuine since this was last looked at.
    pub genuine: Vec<Proposal>,
    /// The round that a block is to be built for.
    pub wanted: Option<u32>,
    /// Since the host started the module.
    pub now_ms: u64,
    round: u32,
    round_began_ms: u64,
    /// Whose turn it is in this round.
    proposer: Key,
    /// Whether a valid block of the proposer's is here.
    given: bool,
    patience: Patience,
    timers: BTreeSet<u64>,
    committee: Committee,
    /// Set where a message was of too late a round.
    pub early: bool,
    /// The last round of this height that each member was heard in.
    heard: BTreeMap<Key, u32>,
    /// Whose votes are ours.
    key: Key,
    /// What each member signed at each step of this height, two at most: a second one is a broken rule, and a third shows nothing new.
    signed: BTreeMap<(Key, u32, u8), Vec<Message>>,
    /// Certificates that are logged: for one block a round, where less than a third breaks the rules.
    polkas: BTreeSet<(u32, BlockId)>,
    /// The block that more than two thirds precommitted to, and the round in which they did.
    decided: Option<(BlockId, u32)>,
    /// Whether the host was told so.
    done: bool,
}

impl Desk {
    pub fn new(timeout_ms: u64, key: Key) -> Self {
        Self {
            key,
            effects: Vec::new(),
            timeout_ms,
            logged: BTreeSet::new(),
            genuine: Vec::new(),
            wanted: None,
            now_ms: 0,
            round: 0,
            round_began_ms: 0,
            proposer: key,
            given: false,
            patience: Patience::default(),
            timers: BTreeSet::new(),
            committee: Committee::default(),
            early: false,
            heard: BTreeMap::new(),
            signed: BTreeMap::new(),
            polkas: BTreeSet::new(),
            decided: None,
            done: false,
        }
    }

    /// Forgets the last height. Its timers must not run out in the next one: the core knows them by their rounds alone.
    pub fn clear(&mut self) {
        self.stop_all();
        self.genuine.clear();
        self.wanted = None;
        self.round = 0;
        self.heard.clear();
        self.signed.clear();
        self.polkas.clear();
        (self.decided, self.done) = (None, false);
    }

    /// Begins a height.
    pub fn enter(&mut self, committee: Committee) {
        self.clear();
        self.patience.keep(|member| committee.has(*member));
        self.committee = committee;
    }

    /// The last round that this member or another honest one has reached: more than a third of all votes come from such rounds or later ones.
    fn reached(&self) -> u32 {
        let mut heard: Vec<_> = self.heard.iter().map(|(key, round)| (*round, self.committee.power(*key))).collect();
        heard.sort_unstable_by(|one, other| other.cmp(one));
        let total = u128::from(self.committee.total_voting_power());
        let mut power = 0;
        let honest = heard.into_iter().find(|(_, of_one)| {
            power += u128::from(*of_one);
            power * 3 > total
        });
        honest.map_or(self.round, |(round, _)| round.max(self.round))
    }

    pub fn broadcast(&mut self, message: &Message) {
        self.effects.push(sdk::Effect::Broadcast(encode(message)));
    }

    /// This host found a block of this height valid, or not, which a member proposed in a round.
    pub fn judged(&mut self, round: u32, proposer: Key, valid: bool) {
        if (round, proposer) != (self.round, self.proposer) || proposer == self.key {
            return;
        }
        if valid {
            let took_ms = self.now_ms.saturating_sub(self.round_began_ms);
            self.patience.gave(proposer, took_ms);
            self.given = true;
        } else {
            self.patience.missed(proposer);
        }
    }

    /// A height is decided: proposers that missed their turns are waited for a little longer again.
    pub fn decided(&mut self, height: u64) {
        self.patience.decided(height);
    }

    /// Precommits to a block in a round. Of one that precommits to two blocks, each counts for its block: less than a third do.
    fn precommits(&self, round: u32, block: BlockId) -> impl Iterator<Item = (Key, Signature)> {
        let said = self.signed.iter().filter(move |((_, of, step), _)| (*of, *step) == (round, PRECOMMIT)).flat_map(|(_, said)| said);
        said.filter_map(move |said| match said {
            Message::Vote(vote, signature) if vote.block == NilOrVal::Val(block) => Some((vote.voter, *signature)),
            _ => None,
        })
    }

    /// Notes a decision, once enough have precommitted.
    fn count(&mut self, round: u32, block: BlockId) {
        let power: u128 = self.precommits(round, block).map(|(key, _)| u128::from(self.committee.power(key))).sum();
        if power * 3 > u128::from(self.committee.total_voting_power()) * 2 {
            self.decided = Some((block, round));
        }
    }

    /// The block that is decided, and what shows it; none once the host knows.
    pub fn decision(&self) -> Option<(BlockId, Certificate)> {
        let (block, round) = self.decided.filter(|_| !self.done)?;
        Some((block, Certificate { round, signatures: self.precommits(round, block).collect() }))
    }

    /// Has the host commit a block.
    pub fn decide(&mut self, block: BlockId, certificate: &Certificate) {
        self.done = true;
        self.effects.push(sdk::Effect::Decide(Decision { id: block.0.to_vec(), certificate: encode(certificate) }));
    }

    fn start(&mut self, timeout: Timeout) {
        // Once its block is here a proposer has done its part: all have time to vote.
        let patient = self.given && timeout.kind != TimeoutKind::Propose;
        let timeout_ms = if patient { self.timeout_ms } else { self.patience.timeout_ms(self.proposer, self.timeout_ms) };
        let round = u64::from(timeout.round.as_u32().unwrap_or(0));
        // Rounds get longer until they are as long as the network is slow (Tendermint, section III-A).
        let longer = round.saturating_mul(self.timeout_ms / 6);
        let after_ms = match timeout.kind {
            TimeoutKind::Propose => timeout_ms.saturating_add(longer),
            TimeoutKind::Prevote | TimeoutKind::Precommit => (timeout_ms / 3).saturating_add(longer),
            TimeoutKind::Rebroadcast => (self.timeout_ms / 3).max(1),
        };
        self.timers.insert(timer(timeout));
        self.effects.push(sdk::Effect::SetTimer((timer(timeout), after_ms.max(1))));
    }

    fn stop(&mut self, number: u64) {
        if self.timers.remove(&number) {
            self.effects.push(sdk::Effect::CancelTimer(number));
        }
    }

    fn stop_all(&mut self) {
        for number in std::mem::take(&mut self.timers) {
            self.effects.push(sdk::Effect::CancelTimer(number));
        }
    }

    /// Sends again what this member said in this round and the one before. The core remembers only what it said since it was started, and
    /// then not the proposal: whoever missed a message that is not said again waits for ever where too few others are left.
    pub fn repeat(&mut self) {
        let rounds = self.round.saturating_sub(1)..=self.round;
        let said = |((key, round, _), said): (&(Key, u32, u8), &Vec<Message>)| {
            (*key == self.key && rounds.contains(round)).then(|| said.first().cloned()).flatten()
        };
        let again: Vec<_> = self.signed.iter().filter_map(said).collect();
        again.iter().for_each(|message| self.broadcast(message));
    }

    /// Notes that a timer has run out. A proposer that nothing was heard of at this height is absent until something is: its next turns cost less.
    pub fn ran_out(&mut self, number: u64) {
        self.timers.remove(&number);
        let missed =
            timeout(number).is_some_and(|timeout| timeout.kind == TimeoutKind::Propose && timeout.round.as_u32() == Some(self.round));
        if missed && self.proposer != self.key && !self.given {
            if self.signed.keys().any(|(key, ..)| *key == self.proposer) {
                self.patience.missed(self.proposer);
            } else {
                self.patience.absent(self.proposer);
            }
        }
    }

    /// Notes what a member signed: whether that is new. None where it signed two other things at that step already.
    fn sign(&mut self, key: Key, round: u32, step: u8, said: &Message) -> Option<bool> {
        let signed = self.signed.entry((key, round, step)).or_default();
        if signed.contains(said) {
            return Some(false);
        }
        match signed.as_slice() {
            [] => {}
            [first] => {
                let proof = encode(&(first, said));
                self.effects.push(sdk::Effect::Evidence(sdk::Evidence { member: key.0.to_vec(), proof }));
            }
            _ => return None,
        }
        signed.push(said.clone());
        if let Message::Vote(Vote { precommit: true, block: NilOrVal::Val(block), .. }, _) = said {
            self.count(round, *block);
        }
        Some(true)
    }

    /// Logs a certificate that two thirds voted for a block. The core logs votes that come one by one, and no certificates: a member that this one locks
    /// would have forgotten that after a restart, and vote for another block.
    fn log_polka(&mut self, polka: PolkaCertificate<Bft>) {
        if self.polkas.insert((polka.round.as_u32().unwrap_or(0), polka.value_id)) {
            self.log(Entry::Message(LivenessMsg::PolkaCertificate(polka).into()));
        }
    }

    /// Logs the votes of a certificate of a round, each once, for the same reason.
    fn log_round(&mut self, certificate: RoundCertificate<Bft>) {
        let Message::Round { votes, .. } = Message::from(certificate) else { return };
        for (vote, signature) in votes {
            let (voter, round, step, said) = (vote.voter, vote.round, step(&vote), Message::Vote(vote, signature));
            if self.sign(voter, round, step, &said) == Some(true) {
                self.log(Entry::Message(said));
            }
        }
    }

    /// Whether a message is genuine and worth having.
    fn verify(&mut self, message: SignedMessage<Bft, ConsensusMsg<Bft>>, key: &Key) -> bool {
        let SignedMessage { message, signature } = message;
        let (genuine, round, step, said) = match message {
            ConsensusMsg::Vote(vote) => {
                let genuine = Host.verify_signed_vote(&vote, &signature, key);
                (genuine, vote.round, step(&vote), Message::Vote(vote, signature))
            }
            ConsensusMsg::Proposal(proposal) => {
                let genuine = Host.verify_signed_proposal(&proposal, &signature, key);
                (genuine, proposal.round, PROPOSAL, Message::Proposal(proposal, signature))
            }
        };
        if !genuine {
            return false;
        }
        self.patience.heard(*key);
        let last = self.heard.entry(*key).or_default();
        *last = round.max(*last);
        // Whoever is there says it again, until enough others are there too.
        self.early = round > self.round.saturating_add(ROUNDS_AHEAD) && round > self.reached().saturating_add(ROUNDS_AHEAD);
        if self.early {
            return false;
        }
        if self.sign(*key, round, step, &said).is_none() {
            return false;
        }
        if let Message::Proposal(proposal, _) = said
            && !self.genuine.contains(&proposal)
        {
            self.genuine.push(proposal);
        }
        true
    }

    /// Does what the core asks for, and answers it.
    pub fn perform(&mut self, effect: Effect<Bft>) -> Result<Resume<Bft>, String> {
        Ok(match effect {
            Effect::ResetTimeouts(resume) | Effect::SyncValue(_, resume) => resume.resume_with(()),
            Effect::CancelAllTimeouts(resume) => {
                self.stop_all();
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                // Once a certificate has brought it to a round, the core stops repeating what it says there. Where a vote was lost, nobody goes on then.
                if timeout.kind != TimeoutKind::Rebroadcast || timeout.round.as_u32() != Some(self.round) {
                    self.stop(timer(timeout));
                }
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                self.start(timeout);
                resume.resume_with(())
            }
            // It is known of the height that is worked on alone; messages of others wait for theirs.
            Effect::GetValidatorSet(_, resume) => resume.resume_with(None),
            Effect::StartRound(_, round, proposer, _, resume) => {
                (self.round, self.proposer) = (round.as_u32().unwrap_or(0), proposer);
                (self.round_began_ms, self.given) = (self.now_ms, false);
                resume.resume_with(())
            }
            Effect::PublishConsensusMsg(message, resume) => {
                self.publish(message.into());
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                self.publish(message.into());
                resume.resume_with(())
            }
            // With all else that was said in the round: `repeat`.
            Effect::RepublishVote(_, resume) => resume.resume_with(()),
            Effect::RepublishRoundCertificate(certificate, resume) => {
                self.publish(certificate.into());
                resume.resume_with(())
            }
            Effect::GetValue(_, round, _, resume) => {
                self.wanted = round.as_u32();
                resume.resume_with(())
            }
            Effect::RestreamProposal(_, _, _, _, BlockId(id), resume) => {
                self.effects.push(sdk::Effect::Share(id.to_vec()));
                resume.resume_with(())
            }
            Effect::Decide(certificate, _, resume) => {
                if certificate.round.as_u32() == Some(self.round) {
                    self.patience.used_its_turn(self.proposer);
                }
                self.decide(certificate.value_id, &Certificate::of(&certificate));
                resume.resume_with(())
            }
            Effect::SignVote(vote, resume) => resume.resume_with(Host.sign_vote(vote)),
            Effect::SignProposal(proposal, resume) => resume.resume_with(Host.sign_proposal(proposal)),
            Effect::VerifySignature(message, key, resume) => resume.resume_with(self.verify(message, &key)),
            Effect::VerifyCommitCertificate(certificate, committee, thresholds, resume) => {
                resume.resume_with(check_commit(&certificate, &committee, thresholds))
            }
            Effect::VerifyPolkaCertificate(certificate, committee, thresholds, resume) => {
                let checked = check_polka(&certificate, &committee, thresholds);
                if checked.is_ok() {
                    self.log_polka(certificate);
                }
                resume.resume_with(checked)
            }
            Effect::VerifyRoundCertificate(certificate, committee, thresholds, resume) => {
                let checked = check_round(&certificate, &committee, thresholds);
                if checked.is_ok() {
                    self.log_round(certificate);
                }
                resume.resume_with(checked)
            }
            Effect::WalAppend(entry, resume) => {
                self.log(entry.into());
                resume.resume_with(())
            }
            Effect::ExtendVote(_, _, _, resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, resume) => {
                resume.resume_with(Err(malachite::VoteExtensionError::InvalidVoteExtension))
            }
        })
    }

    /// Sends a message, unless the host did not sign it.
    fn publish(&mut self, message: Message) {
        let signed = match &message {
            Message::Vote(_, signature) | Message::Proposal(_, signature) => *signature != Signature::NONE,
            Message::Polka { .. } | Message::Round { .. } => true,
        };
        if signed {
            self.broadcast(&message);
        }
    }

    fn log(&mut self, entry: Entry) {
        let entry = encode(&entry);
        if !self.logged.contains(&entry) {
            self.effects.push(sdk::Effect::AppendLog(entry));
        }
    }
}

// The core counts the good signatures of a certificate, and passes over bad ones. It then takes all votes of a round certificate as votes:
// one bad signature among enough good ones would be a vote that nobody cast. Hence each has to be good here.

/// Refuses more signatures than members before any is checked, which takes its time.
fn each_once<'a>(signers: impl Iterator<Item = &'a Key>, committee: &Committee) -> Result<(), CertificateError<Bft>> {
    let mut seen = BTreeSet::new();
    for key in signers {
        if !committee.has(*key) {
            return Err(CertificateError::UnknownValidator(*key));
        }
        if !seen.insert(key) {
            return Err(CertificateError::DuplicateVote(*key));
        }
    }
    Ok(())
}

pub fn check_commit(
    certificate: &CommitCertificate<Bft>,
    committee: &Committee,
    thresholds: ThresholdParams,
) -> Result<(), CertificateError<Bft>> {
    each_once(certificate.commit_signatures.iter().map(|one| &one.address), committee)?;
    for one in &certificate.commit_signatures {
        let member = committee.get_by_address(&one.address).ok_or(CertificateError::UnknownValidator(one.address))?;
        Host.verify_commit_signature(&Bft, certificate, one, member)?;
    }
    Host.verify_commit_certificate(&Bft, certificate, committee, thresholds)
}

fn check_polka(
    certificate: &PolkaCertificate<Bft>,
    committee: &Committee,
    thresholds: ThresholdParams,
) -> Result<(), CertificateError<Bft>> {
    each_once(certificate.polka_signatures.iter().map(|one| &one.address), committee)?;
    for one in &certificate.polka_signatures {
        let member = committee.get_by_address(&one.address).ok_or(CertificateError::UnknownValidator(one.address))?;
        Host.verify_polka_signature(&Bft, certificate, one, member)?;
    }
    Host.verify_polka_certificate(&Bft, certificate, committee, thresholds)
}

fn check_round(
    certificate: &RoundCertificate<Bft>,
    committee: &Committee,
    thresholds: ThresholdParams,
) -> Result<(), CertificateError<Bft>> {
    each_once(certificate.round_signatures.iter().map(|one| &one.address), committee)?;
    for one in &certificate.round_signatures {
        let member = committee.get_by_address(&one.address).ok_or(CertificateError::UnknownValidator(one.address))?;
        Host.verify_round_signature(&Bft, certificate, one, member)?;
    }
    Host.verify_round_certificate(&Bft, certificate, committee, thresholds)
}

/// Whether anyone could have signed a message that waits for its height: it is checked again then.
pub fn is_genuine(message: &Message) -> Option<Key> {
    let (key, genuine) = match message {
        Message::Vote(vote, signature) => (vote.voter, Host.verify_signed_vote(vote, signature, &vote.voter)),
        Message::Proposal(proposal, signature) => (proposal.proposer, Host.verify_signed_proposal(proposal, signature, &proposal.proposer)),
        Message::Polka { .. } | Message::Round { .. } => return None,
    };
    genuine.then_some(key)
}
