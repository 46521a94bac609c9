//! What Malachite's core asks for, done or handed to the host.
#![allow(clippy::result_large_err, reason = "the core's own error")]

use std::collections::{BTreeMap, BTreeSet};

use malachite::{ConsensusMsg, Effect, LivenessMsg, Resumable, Resume};
use malachite_types::{
    CertificateError, CommitCertificate, PolkaCertificate, RoundCertificate, SignedMessage, SigningProvider, SigningProviderExt,
    ThresholdParams, Timeout, TimeoutKind, ValidatorSet as _,
};
use subnode_sdk::{
    codec::encode,
    consensus::{self as sdk, Decision},
};

use crate::{
    context::{Bft, BlockId, Committee, Key, Proposal, Signature},
    message::{Certificate, Entry, Message, timeout, timer},
    patience::Patience,
    signing::Host,
    words::{Noted, Words},
};

/// How far a member takes messages ahead of the last round that some honest member has reached. Each round of each member takes memory, and each
/// message a row of the log.
const ROUNDS_AHEAD: u32 = 2;

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
    /// Set where a message was not genuine, or of too late a round.
    pub refused: bool,
    /// The last round of this height that each member was heard in.
    heard: BTreeMap<Key, u32>,
    /// Whose votes are ours.
    key: Key,
    /// What members signed at this height.
    pub words: Words,
    /// Certificates that two thirds voted for a block, which are logged. Bound: one a round while less than a third is bad.
    certificates: BTreeSet<(u32, BlockId)>,
    /// Verdicts that are logged, each once. Bound: one for each proposal, of which a member has two a round.
    verdicts: BTreeSet<Vec<u8>>,
    /// Whether the host was told which block is decided.
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
            refused: false,
            heard: BTreeMap::new(),
            words: Words::default(),
            certificates: BTreeSet::new(),
            verdicts: BTreeSet::new(),
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
        (self.words, self.done) = (Words::default(), false);
        self.certificates.clear();
        self.verdicts.clear();
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

    /// The block that is decided, and what shows it; none once the host knows.
    pub fn decision(&self) -> Option<(BlockId, Certificate)> {
        let (block, round, signatures) = self.words.decision().filter(|_| !self.done)?;
        Some((block, Certificate { round, signatures: signatures.into_iter().collect() }))
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Has the host commit a block.
    pub fn decide(&mut self, block: BlockId, certificate: &Certificate) {
        self.done = true;
        self.effects.push(sdk::Effect::Decide(Decision { id: block.0.to_vec(), certificate: encode(certificate) }));
    }

    fn start(&mut self, timeout: Timeout) {
        // Once its block is here a proposer has done its part: all have time to vote.
        let patient = self.given && timeout.kind != TimeoutKind::Propose && self.patience.trusts(self.proposer);
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
        let again = self.words.said_by(self.key, self.round.saturating_sub(1)..=self.round);
        again.iter().for_each(|message| self.broadcast(message));
    }

    /// Leaves of what the core asked for, while it went through a log, what is still to be done: a call has 256 effects, and a height that took many rounds
    /// asks for more. What the member said is said again.
    pub fn settle(&mut self) {
        let (mut timers, mut shared, mut rest) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                sdk::Effect::SetTimer((number, after_ms)) => drop(timers.insert(number, after_ms)),
                sdk::Effect::CancelTimer(number) => drop(timers.remove(&number)),
                sdk::Effect::Broadcast(_) | sdk::Effect::Evidence(_) | sdk::Effect::Obtain(_) => {}
                sdk::Effect::Share(id) if !shared.insert(id.clone()) => {}
                other => rest.push(other),
            }
        }
        self.effects = rest;
        self.effects.extend(timers.into_iter().map(sdk::Effect::SetTimer));
        self.repeat();
    }

    /// Notes that a timer has run out. A proposer that nothing was heard of at this height is absent until something is: its next turns cost less.
    pub fn ran_out(&mut self, number: u64) {
        self.timers.remove(&number);
        let missed =
            timeout(number).is_some_and(|timeout| timeout.kind == TimeoutKind::Propose && timeout.round.as_u32() == Some(self.round));
        if missed && self.proposer != self.key && !self.given {
            if self.words.has_heard(self.proposer) {
                self.patience.missed(self.proposer);
            } else {
                self.patience.absent(self.proposer);
            }
        }
    }

    /// Notes what a member signed, and whether it is worth having.
    fn note(&mut self, key: Key, said: &Message) -> bool {
        match self.words.note(said, &self.committee) {
            Noted::New | Noted::Known => true,
            Noted::Contradiction(first) => {
                let proof = encode(&(first, said));
                self.effects.push(sdk::Effect::Evidence(sdk::Evidence { member: key.0.to_vec(), proof }));
                self.patience.lied(key);
                true
            }
            Noted::Surplus => false,
        }
    }

    /// Notes and logs a certificate that two thirds voted for a block. The core logs votes that come one by one, and no certificates: a member that is
    /// locked by one would not be locked after a restart, and vote for another block.
    fn note_polka(&mut self, polka: PolkaCertificate<Bft>) {
        let (round, block) = (polka.round.as_u32().unwrap_or(0), polka.value_id);
        self.words.add_polka(round, block);
        if self.certificates.insert((round, block)) {
            self.log(Entry::Message(LivenessMsg::PolkaCertificate(polka).into()));
        }
    }

    /// Notes and logs the votes of a certificate of a round, for the same reason.
    fn note_round(&mut self, certificate: RoundCertificate<Bft>) {
        let Message::Round { votes, .. } = Message::from(certificate) else { return };
        for (vote, signature) in votes {
            let (voter, said) = (vote.voter, Message::Vote(vote, signature));
            if self.note(voter, &said) {
                self.log(Entry::Message(said));
            }
        }
    }

    /// Whether the log is gone through again.
    fn is_replaying(&self) -> bool {
        !self.logged.is_empty()
    }

    /// Whether a message is genuine and worth having.
    fn verify(&mut self, message: SignedMessage<Bft, ConsensusMsg<Bft>>, key: &Key) -> bool {
        let SignedMessage { message, signature } = message;
        let (genuine, round, said) = match message {
            ConsensusMsg::Vote(vote) => (Host.verify_signed_vote(&vote, &signature, key), vote.round, Message::Vote(vote, signature)),
            ConsensusMsg::Proposal(proposal) => {
                (Host.verify_signed_proposal(&proposal, &signature, key), proposal.round, Message::Proposal(proposal, signature))
            }
        };
        self.refused = !genuine;
        if !genuine {
            return false;
        }
        self.patience.heard(*key);
        let last = self.heard.entry(*key).or_default();
        *last = round.max(*last);
        // What is in the log was not too early when it came, perhaps in a certificate. Whoever is there says it again, until enough others are there too.
        let ahead = |of: u32| round > of.saturating_add(ROUNDS_AHEAD);
        self.refused = !self.is_replaying() && ahead(self.round) && ahead(self.reached());
        if self.refused || !self.note(*key, &said) {
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
                self.refused = checked.is_err();
                if checked.is_ok() {
                    self.note_polka(certificate);
                }
                resume.resume_with(checked)
            }
            Effect::VerifyRoundCertificate(certificate, committee, thresholds, resume) => {
                let checked = check_round(&certificate, &committee, thresholds);
                self.refused = checked.is_err();
                if checked.is_ok() {
                    self.note_round(certificate);
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

    /// Logs what happened, once: whoever says a thing again and again would fill the log.
    pub fn log(&mut self, entry: Entry) {
        let bytes = encode(&entry);
        let new = match &entry {
            Entry::Message(Message::Polka { .. } | Message::Round { .. }) => true,
            Entry::Message(said) => self.words.take_unlogged(said),
            Entry::Judged { .. } => self.verdicts.insert(bytes.clone()),
            Entry::Timeout { .. } => true,
        };
        if new && !self.logged.contains(&bytes) {
            self.effects.push(sdk::Effect::AppendLog(bytes));
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
