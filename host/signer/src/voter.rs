use std::sync::{Mutex, MutexGuard, PoisonError};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use subnode_sandbox::Signer;
use subnode_types::{NodeId, Position};

use crate::{
    AttestKey, AttestSignature, Guard,
    vrf::{self, PROOF_BYTES},
};

/// Before everything that is signed: no vote is a signature of anything else.
const DOMAIN: &[u8] = b"subnode vote 1\0";
/// Before what a seed is drawn from.
const SEED_DOMAIN: &[u8] = b"subnode seed 1\0";
/// Bytes of the point that the nonce of a drawn seed's proof comes from. A signature of a text of as many bytes could have the same nonce, and both
/// together would give the key away.
const POINT_BYTES: usize = 32;

/// Before what says that a member is there. It is signed as often as it is said: no two of them contradict each other.
const PRESENCE_DOMAIN: &[u8] = b"subnode presence 1\0";

/// Heights for which a host that may not be the only one with its key listens before it signs: a key that votes elsewhere is in most certificates.
pub const SILENCE: u64 = 32;
/// And how long it listens at least: of a fast chain, heights pass before a slow host's votes arrive.
const SILENCE_MS: u64 = 5_000;

/// Signs and checks the votes of one chain.
///
/// A signature may leave this host once [`Self::unsaved`] is durable, and not before.
pub struct Voter {
    key: Option<SigningKey>,
    attest_key: Option<AttestKey>,
    chain: [u8; 32],
    guarded: Mutex<Guarded>,
}

struct Guarded {
    guard: Guard,
    /// The guard as it is durable.
    saved: Guard,
    /// Signatures that were refused since this was last asked.
    refused: u64,
    silent: Option<Silence>,
    /// Signatures of its own key that another host made while it was silent.
    elsewhere: u64,
}

/// What a host waits for that does not sign yet.
struct Silence {
    /// Heights that must pass.
    heights: u64,
    /// When the first of them passed.
    since_ms: Option<u64>,
}

/// A text about something outside of the chain that a host vouches for. It begins as no vote does.
#[derive(Clone, Copy, Debug)]
pub struct Vouched<'a> {
    /// With the subject: what it is about.
    pub kind: u16,
    /// See `kind`.
    pub subject: [u8; 32],
    /// Of this matter, positions only grow.
    pub position: u64,
    /// All that is signed.
    pub text: &'a [u8],
}

/// The seed of a block, and what shows that its author could draw no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnSeed {
    /// Whose key it was drawn with.
    pub author: NodeId,
    /// See [`Voter::drawn`].
    pub proof: [u8; PROOF_BYTES],
    /// What was drawn.
    pub seed: [u8; 32],
}

impl Silence {
    const WHOLE: Self = Self { heights: SILENCE, since_ms: None };
}

/// Whether an ed25519 signature is that of a key over a message, by the strict rule.
fn is_signed(key: NodeId, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

impl Voter {
    /// A voter for the chain with this key among all of a network. Without a secret it only checks.
    #[must_use]
    pub fn new(secret: Option<[u8; 32]>, chain: [u8; 32], guard: Guard) -> Self {
        let key = secret.map(|secret| SigningKey::from_bytes(&secret));
        Self {
            key,
            attest_key: None,
            chain,
            guarded: Mutex::new(Guarded { saved: guard.clone(), guard, refused: 0, silent: None, elsewhere: 0 }),
        }
    }

    /// The same, with a key that attests.
    #[must_use]
    pub fn with_attest_key(self, attest_key: Option<AttestKey>) -> Self {
        Self { attest_key, ..self }
    }

    /// The point of the key that attests, x and y.
    #[must_use]
    pub fn attest_point(&self) -> Option<[u8; 64]> {
        self.attest_key.as_ref().map(AttestKey::point)
    }

    /// Signs what the block of a height attests, unless this host attested something else there, or a later block.
    #[must_use]
    pub fn attest(&self, height: u64, digest: [u8; 32]) -> Option<AttestSignature> {
        let key = self.attest_key.as_ref()?;
        let mut guarded = self.guarded();
        if guarded.silent.is_some() { None } else { guarded.guard.attest(key, height, digest) }
    }

    /// The key of its chain among all of a network.
    #[must_use]
    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }

    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, at: Position, text: &[u8]) -> Vec<u8> {
        [DOMAIN, &self.chain, &at.height.to_be_bytes(), &at.round.to_be_bytes(), &[at.step], text].concat()
    }

    /// What the seed of the block at a height is drawn from, after the seed of the block before it. There is no round in it: who proposes again at a
    /// height draws the same.
    fn lot(&self, height: u64, before: &[u8; 32]) -> Vec<u8> {
        [SEED_DOMAIN, &self.chain, &height.to_be_bytes(), before].concat()
    }

    /// Draws the seed of the block at a height, some 100 us; none without a secret.
    #[must_use]
    pub fn draw(&self, height: u64, before: &[u8; 32]) -> Option<DrawnSeed> {
        let key = self.key.as_ref()?;
        let (proof, output) = vrf::prove(key, &self.lot(height, before))?;
        Some(DrawnSeed { author: NodeId(key.verifying_key().to_bytes()), proof, seed: Sha256::digest(output).into() })
    }

    /// The seed that an author drew for the block at a height, if the proof holds; some 150 us.
    #[must_use]
    pub fn drawn(&self, author: NodeId, height: u64, before: &[u8; 32], proof: &[u8; PROOF_BYTES]) -> Option<[u8; 32]> {
        let output = vrf::verify(&author.0, &self.lot(height, before), proof)?;
        Some(Sha256::digest(output).into())
    }

    /// The seed of a proof that holds, as others know who checked it.
    #[must_use]
    pub fn seed_of(proof: &[u8; PROOF_BYTES]) -> Option<[u8; 32]> {
        Some(Sha256::digest(vrf::proven(proof)?).into())
    }

    /// Signs what this host vouches for, in more than 32 bytes, unless it said something else at this position, or anything at a later one.
    #[must_use]
    pub fn vouch(&self, vouched: &Vouched<'_>) -> Option<[u8; 64]> {
        let key = self.key.as_ref().filter(|_| vouched.text.len() > POINT_BYTES)?;
        let mut guarded = self.guarded();
        if guarded.silent.is_some() {
            return None;
        }
        let digest = Sha256::digest(vouched.text).into();
        guarded.guard.statements.sign((vouched.kind, vouched.subject), vouched.position, digest)?;
        Some(key.sign(vouched.text).to_bytes())
    }

    /// Whether `signature` is that of `key` over a text that was vouched for.
    #[must_use]
    pub fn has_vouched(key: NodeId, text: &[u8], signature: &[u8; 64]) -> bool {
        is_signed(key, text, signature)
    }

    /// Signs that this host is there, unless it is silent.
    #[must_use]
    pub fn sign_presence(&self, text: &[u8]) -> Option<[u8; 64]> {
        let key = self.key.as_ref().filter(|_| !self.is_silent())?;
        Some(key.sign(&[PRESENCE_DOMAIN, &self.chain, text].concat()).to_bytes())
    }

    /// Whether `key` signed that its host is there.
    #[must_use]
    pub fn is_presence(&self, key: NodeId, text: &[u8], signature: &[u8; 64]) -> bool {
        is_signed(key, &[PRESENCE_DOMAIN, &self.chain, text].concat(), signature)
    }

    /// The guard to make durable, if it is another than the one that is.
    #[must_use]
    pub fn unsaved(&self) -> Option<Vec<u8>> {
        let guarded = self.guarded();
        (guarded.guard != guarded.saved).then(|| guarded.guard.encode())
    }

    /// The guard is durable as it is.
    pub fn saved(&self) {
        let mut guarded = self.guarded();
        guarded.saved = guarded.guard.clone();
    }

    /// Forgets what was signed since the guard was durable: no signature has left this host since, and none of these will. A host that remembered them
    /// would refuse to sign what it says in their place, and its committee would wait for that.
    pub fn forget_unsaved(&self) {
        let mut guarded = self.guarded();
        guarded.guard = guarded.saved.clone();
    }

    /// The guard as it is.
    #[must_use]
    pub fn guard(&self) -> Vec<u8> {
        self.guarded().guard.encode()
    }

    /// The guard as it is once blocks before this height are committed.
    #[must_use]
    pub fn guard_from(&self, height: u64) -> Vec<u8> {
        let mut guard = self.guarded().guard.clone();
        guard.forget_before(height);
        guard.encode()
    }

    /// How many signatures were refused since this was last asked.
    #[must_use]
    pub fn take_refused(&self) -> u64 {
        std::mem::take(&mut self.guarded().refused)
    }

    /// Forgets what was signed for blocks before this height, which are committed.
    pub fn forget_before(&self, height: u64) {
        let mut guarded = self.guarded();
        guarded.guard.forget_before(height);
        guarded.saved.forget_before(height);
    }

    /// Signs nothing until [`SILENCE`] heights and five seconds have passed without a signature of this key's that another host made: of a chain that came from
    /// another host, which may still be there.
    pub fn be_silent(&self) {
        self.guarded().silent = Some(Silence::WHOLE);
    }

    /// Signs again: its owner knows that no other host does.
    pub fn speak(&self) {
        self.guarded().silent = None;
    }

    /// Whether it signs nothing yet.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.guarded().silent.is_some()
    }

    /// This host heard how a height was decided, at this time of a clock that only goes forward. Whether it signs from now on, and did not before.
    ///
    /// Blocks of the past that it gets from others do not count: who votes now is not in them.
    #[must_use]
    pub fn height_passed(&self, now_ms: u64) -> bool {
        let mut guarded = self.guarded();
        let Some(silence) = &mut guarded.silent else { return false };
        silence.heights = silence.heights.saturating_sub(1);
        let since_ms = *silence.since_ms.get_or_insert(now_ms);
        silence.heights == 0 && now_ms.saturating_sub(since_ms) >= SILENCE_MS && guarded.silent.take().is_some()
    }

    /// How many signatures of its own key another host made while it was silent.
    #[must_use]
    pub fn elsewhere(&self) -> u64 {
        self.guarded().elsewhere
    }

    /// Another host signs with this key, if the signature is good and not one that this host knows of: the silence begins anew.
    fn heard_itself(&self, at: Position, text: &[u8]) {
        let mut guarded = self.guarded();
        if guarded.silent.is_some() && !guarded.guard.has_signed(at, text) {
            guarded.elsewhere += 1;
            guarded.silent = Some(Silence::WHOLE);
        }
    }
}

impl Signer for Voter {
    fn key(&self) -> Option<NodeId> {
        self.key.as_ref().map(|key| NodeId(key.verifying_key().to_bytes()))
    }

    fn sign(&self, at: Position, text: &[u8]) -> Option<[u8; 64]> {
        let key = self.key.as_ref()?;
        let mut guarded = self.guarded();
        if guarded.silent.is_some() {
            return None;
        }
        if guarded.guard.sign(at, text).is_none() {
            guarded.refused += 1;
            return None;
        }
        Some(key.sign(&self.message(at, text)).to_bytes())
    }

    fn verify(&self, key: NodeId, at: Position, text: &[u8], signature: &[u8; 64]) -> bool {
        let good = is_signed(key, &self.message(at, text), signature);
        if good && self.key() == Some(key) {
            self.heard_itself(at, text);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: &[u8] = b"all that is vouched for is long: yes";
    const NO: &[u8] = b"all that is vouched for is long: no";

    #[test]
    fn a_seed_is_of_one_author_chain_height_and_seed_before_it() {
        let (one, other) = (Voter::new(Some([1; 32]), [7; 32], Guard::default()), Voter::new(Some([2; 32]), [7; 32], Guard::default()));
        let DrawnSeed { author, proof, seed } = one.draw(5, &[3; 32]).expect("a secret");
        assert_eq!(one.draw(5, &[3; 32]), Some(DrawnSeed { author, proof, seed }), "there is one seed");
        let outsider = Voter::new(None, [7; 32], Guard::default());
        assert_eq!((outsider.drawn(author, 5, &[3; 32], &proof), Voter::seed_of(&proof)), (Some(seed), Some(seed)));
        assert_eq!(outsider.draw(5, &[3; 32]), None);
        assert_eq!(outsider.drawn(other.key().expect("a key"), 5, &[3; 32], &proof), None, "another author");
        assert_eq!(outsider.drawn(author, 6, &[3; 32], &proof), None, "another height");
        assert_eq!(outsider.drawn(author, 5, &[4; 32], &proof), None, "another seed before it");
        assert_eq!(Voter::new(None, [8; 32], Guard::default()).drawn(author, 5, &[3; 32], &proof), None, "another chain");
        assert_ne!(other.draw(5, &[3; 32]).expect("a secret").seed, seed);
    }

    /// A signature of a text of 32 bytes and a proof whose point is written in the same 32 bytes would share their nonce. The key also signs for TLS,
    /// whose texts begin with 64 spaces (RFC 8446, section 4.4.3).
    #[test]
    fn all_that_the_key_signs_is_longer_than_a_point() {
        let voter = Voter::new(Some([1; 32]), [7; 32], Guard::default());
        assert!(voter.message(Position { height: 0, round: 0, step: 0 }, &[]).len() > POINT_BYTES);
        assert!(PRESENCE_DOMAIN.len() + voter.chain.len() > POINT_BYTES);
        let vouched = |position, text| Vouched { kind: 1, subject: [2; 32], position, text };
        assert_eq!(voter.vouch(&vouched(1, &[5; POINT_BYTES][..])), None);
        assert!(voter.vouch(&vouched(1, &[5; POINT_BYTES + 1][..])).is_some());
    }

    #[test]
    fn one_text_is_vouched_for_at_a_position() {
        let voter = Voter::new(Some([1; 32]), [7; 32], Guard::default());
        let vouched = |position, text| Vouched { kind: 1, subject: [2; 32], position, text };
        let signature = voter.vouch(&vouched(4, YES)).expect("the first");
        assert!(Voter::has_vouched(voter.key().expect("a key"), YES, &signature));
        assert!(!Voter::has_vouched(voter.key().expect("a key"), NO, &signature));
        assert_eq!((voter.vouch(&vouched(4, NO)), voter.vouch(&vouched(3, YES))), (None, None));
        let saved = voter.unsaved().expect("a change");
        let restarted = Voter::new(Some([1; 32]), [7; 32], Guard::decode(&saved).expect("encoded"));
        assert_eq!((restarted.vouch(&vouched(4, NO)), restarted.vouch(&vouched(4, YES))), (None, Some(signature)));
        restarted.be_silent();
        assert_eq!(restarted.vouch(&vouched(5, YES)), None, "silent");
        assert_eq!(Voter::new(None, [7; 32], Guard::default()).vouch(&vouched(5, YES)), None, "no key");
    }

    #[test]
    fn one_digest_is_attested_at_a_height_and_none_before() {
        let key = || AttestKey::from_secret([1; 32]).ok();
        let voter = Voter::new(None, [7; 32], Guard::default()).with_attest_key(key());
        let signature = voter.attest(4, [1; 32]).expect("the first");
        assert_eq!((voter.attest(4, [2; 32]), voter.attest(3, [1; 32]), voter.attest(4, [1; 32])), (None, None, Some(signature)));
        let saved = voter.unsaved().expect("a change");
        let restarted = Voter::new(None, [7; 32], Guard::decode(&saved).expect("encoded")).with_attest_key(key());
        assert_eq!(
            (restarted.attest(4, [2; 32]), restarted.attest(3, [3; 32]), restarted.attest(4, [1; 32])),
            (None, None, Some(signature))
        );
        restarted.be_silent();
        assert_eq!(restarted.attest(5, [1; 32]), None, "silent");
        assert_eq!(Voter::new(None, [7; 32], Guard::default()).attest(5, [1; 32]), None, "no key");
        assert!(AttestKey::from_secret([0; 32]).is_err() && AttestKey::from_secret([0xff; 32]).is_err());
    }

    #[test]
    fn a_presence_is_no_vote_and_of_one_chain() {
        let (voter, other) = (Voter::new(Some([1; 32]), [7; 32], Guard::default()), Voter::new(None, [8; 32], Guard::default()));
        let (key, signature) = (voter.key().expect("a key"), voter.sign_presence(b"here").expect("a key"));
        assert!(voter.is_presence(key, b"here", &signature) && !other.is_presence(key, b"here", &signature));
        assert!(!voter.is_presence(key, b"there", &signature) && voter.unsaved().is_none());
        voter.be_silent();
        assert_eq!(voter.sign_presence(b"here"), None);
    }

    #[test]
    fn signatures_are_of_one_chain_and_position() {
        let (first, second) = (Voter::new(Some([1; 32]), [7; 32], Guard::default()), Voter::new(None, [8; 32], Guard::default()));
        let at = Position { height: 1, round: 2, step: 3 };
        let key = first.key().expect("a key");
        let signature = first.sign(at, b"yes").expect("the first");
        assert!(first.verify(key, at, b"yes", &signature));
        assert!(!first.verify(key, at, b"no", &signature));
        assert!(!first.verify(key, Position { step: 4, ..at }, b"yes", &signature));
        assert!(!second.verify(key, at, b"yes", &signature), "another chain");
        assert_eq!((second.key(), second.sign(at, b"yes")), (None, None));
        assert_eq!((first.sign(at, b"no"), first.take_refused()), (None, 1));
        let saved = first.unsaved().expect("a change");
        first.saved();
        assert_eq!(first.unsaved(), None);
        let later = Position { round: 3, ..at };
        assert!(first.sign(later, b"yes").is_some() && first.unsaved().is_some());
        first.forget_unsaved();
        assert_eq!(first.unsaved(), None);
        assert!(first.sign(later, b"no").is_some(), "what never left this host binds nobody");
        first.forget_unsaved();
        let moved = Voter::new(Some([1; 32]), [7; 32], Guard::default());
        moved.be_silent();
        assert_eq!(moved.sign(Position { height: 9, ..at }, b"yes"), None, "silent");
        assert!((1..SILENCE).all(|height| !moved.height_passed(height * 1_000)));
        assert!(moved.verify(key, at, b"yes", &signature));
        assert_eq!(moved.elsewhere(), 1);
        assert!((1..SILENCE).all(|height| !moved.height_passed(40_000 + height * 10)), "the other host was heard");
        assert!((0..10).all(|_| !moved.height_passed(40_000 + SILENCE_MS)), "of a fast chain, it listens on");
        assert!(moved.height_passed(40_010 + SILENCE_MS) && !moved.is_silent() && !moved.height_passed(90_000));
        assert!(moved.sign(Position { height: 9, ..at }, b"yes").is_some());
        let restarted = Voter::new(Some([1; 32]), [7; 32], Guard::decode(&saved).expect("encoded"));
        assert_eq!((restarted.sign(at, b"no"), restarted.sign(at, b"yes")), (None, Some(signature)));
    }
}
