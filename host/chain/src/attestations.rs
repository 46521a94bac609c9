//! What members of the committee attest of committed blocks, until members with more than two thirds of the power have signed it.
//!
//! A host attests each block that it commits of those that [`Attesting`](crate::ledger::Attesting) says, and sends its signature to all. It repeats that for a
//! while, as frames may be lost and others may commit the block later. Signatures of blocks that come next wait for this host to commit them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use subnode_attestation::{AddError, Attestation, Collected, Committee, DoubleAttestation, Extra, Signature, Signed};
use subnode_chain_core::wire;
use subnode_sandbox::{Lease, Tenant};
use subnode_storage::Write;
use subnode_types::{NodeId, Validator};
use tokio::sync::Notify;

use crate::ledger::{Attested, attested_row, proof_row};

/// How a frame begins that has a signature of an attestation.
pub(crate) const ATTESTATION: u8 = 2;
/// What follows: an attestation of 344 bytes at most, and a signature.
const FRAME_BYTES_MAX: usize = 512;
/// Blocks whose signatures are collected, or were: those before are done with.
pub(crate) const HELD_MAX: usize = 16;
/// Of those that are not complete, so many are repeated.
const REPEATED_MAX: usize = 4;
/// Times that a signature is repeated though this host has enough: others may be behind.
const REPEATS_MIN: u32 = 5;
/// Blocks ahead of this host's head whose signatures wait for it, of each member.
const EARLY_MAX: usize = 4;
/// What a block's signatures take, beside those of each member: two, and another attestation.
const HELD_BYTES: u64 = 1 << 10;
const MEMBER_BYTES: u64 = 768;

/// See the module.
pub(crate) struct Attestations {
    /// The chain, where its blocks are attested.
    chain: Option<[u8; 32]>,
    tenant: Tenant,
    held: Mutex<Held>,
    /// This host has something to repeat.
    speaks: Notify,
    /// Rows wait to be written.
    unwritten: Notify,
}

#[derive(Default)]
struct Held {
    head: u64,
    /// Who decides the next block.
    /// Bound: 128 keys of 32 bytes.
    members: BTreeSet<NodeId>,
    /// Bound: [`HELD_MAX`] of 1 KiB, and 768 bytes for each member: 1.6 MiB, charged to the memory slice.
    blocks: BTreeMap<u64, Block>,
    /// Frames of blocks that are not committed here.
    /// Bound: [`EARLY_MAX`] frames of [`FRAME_BYTES_MAX`] bytes of each member, 256 KiB.
    early: BTreeMap<NodeId, BTreeMap<u64, Bytes>>,
    /// Against whom there is a proof.
    /// Bound: 32 bytes for each member that the chain ever had and that broke this rule.
    proved: BTreeSet<NodeId>,
    /// Rows to write, by their keys.
    /// Bound: one of each block that is held, of 14,000 bytes, and one of 1,000 bytes against each of its members.
    unwritten: BTreeMap<Vec<u8>, Write>,
}

/// A block that is attested.
struct Block {
    collected: Collected,
    extra: Extra,
    /// What members signed in place of it.
    /// Bound: one of 512 bytes of each member.
    others: BTreeMap<usize, (Attestation, Signature)>,
    /// This host's own signature, and how often it was repeated.
    own: Option<(Bytes, u32)>,
    _memory: Option<Lease>,
}

/// What a frame came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A signature that counts.
    Signature,
    /// The proof that a member attested a height twice.
    Double(NodeId),
    /// Nothing new.
    Nothing,
}

impl Block {
    fn new(attestation: Attestation, extra: Extra, committee: std::sync::Arc<Committee>, memory: Option<Lease>) -> Self {
        Self { collected: Collected::new(attestation, committee), extra, others: BTreeMap::new(), own: None, _memory: memory }
    }

    /// Of what is kept: signatures that do not count are left out.
    fn of(signed: Signed, memory: Option<Lease>) -> Self {
        let Signed { attestation, extra, committee, signatures } = signed;
        let mut block = Self::new(attestation, extra, committee.into(), memory);
        for one in signatures {
            if let Err(error) = block.collected.add(one.signature) {
                tracing::warn!(%error, member = one.member, "a signature of an attestation that is kept does not count");
            }
        }
        block
    }

    fn signed(&self) -> Signed {
        Signed::new(&self.collected, self.extra)
    }

    fn seat(&self, node: NodeId) -> Option<usize> {
        self.collected.committee().members().iter().position(|member| member.key.0 == node.0)
    }

    /// What a member signed.
    fn take(&mut self, from: NodeId, attestation: Attestation, signature: Signature) -> Result<Heard, String> {
        // Whoever left before, and came later, attests nothing here.
        let Some(seat) = self.seat(from) else { return Ok(Heard::Nothing) };
        if attestation == *self.collected.attestation() {
            if self.collected.has(seat) {
                return Ok(Heard::Nothing);
            }
            match self.collected.add(signature) {
                Ok(_) => {}
                Err(AddError::Duplicate(_)) => return Ok(Heard::Nothing),
                Err(error) => return Err(format!("a signature of an attestation is refused: {error}")),
            }
        } else if !self.others.contains_key(&seat) {
            let signer = signature.signer(attestation.digest()).map_err(|error| error.to_string())?;
            if signer != self.collected.committee().members()[seat].attester {
                return Err(format!("an attestation is signed by {signer}, which is not this member's address"));
            }
            self.others.insert(seat, (attestation, signature));
        } else {
            return Ok(Heard::Nothing);
        }
        Ok(if self.proof(seat).is_some() { Heard::Double(from) } else { Heard::Signature })
    }

    /// The proof that a member attested this height twice, if it did.
    fn proof(&self, seat: usize) -> Option<DoubleAttestation> {
        let (other, other_signature) = self.others.get(&seat)?.clone();
        let (_, signature) = self.collected.signatures().find(|(member, _)| *member == seat)?;
        Some(DoubleAttestation { attestations: [self.collected.attestation().clone(), other], signatures: [signature, other_signature] })
    }
}

impl Attestations {
    /// Of a chain whose blocks are attested, or of any other.
    pub(crate) fn new(chain: Option<[u8; 32]>, tenant: Tenant) -> Self {
        Self { chain, tenant, held: Mutex::default(), speaks: Notify::new(), unwritten: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain, where its blocks are attested.
    pub(crate) fn chain(&self) -> Option<[u8; 32]> {
        self.chain
    }

    /// Takes up what was collected before a restart. What is not complete and whose committee this address is of is signed again: the guard has it.
    pub(crate) fn take_up(&self, last: Vec<Signed>, proved: impl IntoIterator<Item = NodeId>) -> Vec<Attested> {
        let mut held = self.held();
        held.proved.extend(proved);
        let mut incomplete = Vec::new();
        for signed in last.into_iter().rev() {
            // Where the consensus module alone was restarted, more may have been heard than was written.
            if held.blocks.contains_key(&signed.attestation.height) {
                continue;
            }
            let Some(memory) = self.pay(signed.committee.members().len()) else { continue };
            let block = Block::of(signed, Some(memory));
            if !block.collected.is_complete() {
                let (attestation, committee) = (block.collected.attestation().clone(), block.collected.committee().clone());
                incomplete.push(Attested { attestation, extra: block.extra, committee });
            }
            held.blocks.insert(block.collected.attestation().height, block);
        }
        incomplete
    }

    fn pay(&self, members: usize) -> Option<Lease> {
        self.tenant.lease(HELD_BYTES + MEMBER_BYTES * members as u64).ok()
    }

    /// The head is of this height now, and these decide the next block. A block that is attested is collected from now on, unless the chain's memory is
    /// full. The frames about it that were here before.
    pub(crate) fn moved(&self, height: u64, members: &[Validator], attested: Option<&Attested>) -> Vec<(NodeId, Bytes)> {
        if self.chain.is_none() {
            return Vec::new();
        }
        let mut held = self.held();
        held.head = height;
        if held.members.len() != members.len() || members.iter().any(|member| !held.members.contains(&member.node)) {
            held.members = members.iter().map(|member| member.node).collect();
        }
        let mut early = Vec::new();
        let Held { members, early: waiting, .. } = &mut *held;
        for (member, frames) in waiting.iter_mut() {
            early.extend(frames.remove(&height).map(|frame| (*member, frame)));
            frames.retain(|of, _| *of > height);
        }
        waiting.retain(|member, frames| !frames.is_empty() && members.contains(member));
        if let Some(Attested { attestation, extra, committee }) = attested
            && let Some(memory) = self.pay(committee.members().len())
        {
            held.blocks.insert(height, Block::new(attestation.clone(), *extra, committee.clone(), Some(memory)));
            while held.blocks.len() > HELD_MAX {
                held.blocks.pop_first();
            }
        }
        early
    }

    /// This host has signed what a block attests: the frame to send.
    pub(crate) fn signed(&self, attestation: &Attestation, signature: Signature) -> Bytes {
        let frame = encode(attestation, signature);
        let mut held = self.held();
        if let Some(block) = held.blocks.get_mut(&attestation.height) {
            // Its own may have come back from a host that had it before this one was restarted.
            if let Err(error) = block.collected.add(signature) {
                tracing::debug!(%error, "this host's own signature is there");
            }
            block.own = Some((frame.clone(), 0));
        }
        self.complete(&mut held, attestation.height);
        drop(held);
        self.speaks.notify_one();
        frame
    }

    /// Has a block written once it is complete.
    fn complete(&self, held: &mut Held, height: u64) {
        if let Some(block) = held.blocks.get(&height).filter(|block| block.collected.is_complete()) {
            let row = attested_row(&block.signed());
            held.unwritten.insert(row.key.clone(), row);
            self.unwritten.notify_one();
        }
    }

    /// Takes a signature of another node. `kept` finds what was attested of a block that is not held any more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&self, from: NodeId, frame: &Bytes, kept: impl FnOnce(u64) -> Option<Signed>) -> Result<Heard, String> {
        let Some(chain) = self.chain else { return Ok(Heard::Nothing) };
        let (attestation, signature) = decode(frame).ok_or("a signature of an attestation that does not decode")?;
        if attestation.genesis.0 != chain || attestation.chain != 0 || !attestation.network.is_zero() {
            return Err(format!("an attestation of another chain: {}", attestation.genesis));
        }
        let height = attestation.height;
        let mut held = self.held();
        if height > held.head {
            if held.members.contains(&from) {
                let waiting = held.early.entry(from).or_default();
                // The nearest are needed first.
                waiting.insert(height, frame.clone());
                if waiting.len() > EARLY_MAX {
                    waiting.pop_last();
                }
            }
            return Ok(Heard::Nothing);
        }
        if let Some(block) = held.blocks.get_mut(&height) {
            let was_complete = block.collected.is_complete();
            let heard = block.take(from, attestation, signature)?;
            let proof = block.seat(from).and_then(|seat| block.proof(seat));
            if !was_complete {
                self.complete(&mut held, height);
            }
            return Ok(self.prove(&mut held, from, heard, proof));
        }
        if !held.members.contains(&from) {
            return Ok(Heard::Nothing);
        }
        drop(held);
        // A late signature is nothing new, but another attestation is.
        let Some(mut block) = kept(height).map(|signed| Block::of(signed, None)) else { return Ok(Heard::Nothing) };
        if *block.collected.attestation() == attestation {
            return Ok(Heard::Nothing);
        }
        let heard = block.take(from, attestation, signature)?;
        let proof = block.seat(from).and_then(|seat| block.proof(seat));
        Ok(self.prove(&mut self.held(), from, heard, proof))
    }

    /// Has a proof written, if it is the first against that member.
    fn prove(&self, held: &mut Held, member: NodeId, heard: Heard, proof: Option<DoubleAttestation>) -> Heard {
        match proof.filter(|_| heard == Heard::Double(member)) {
            Some(proof) if held.proved.insert(member) => {
                let row = proof_row(member, &proof);
                held.unwritten.insert(row.key.clone(), row);
                self.unwritten.notify_one();
                heard
            }
            Some(_) => Heard::Nothing,
            None => heard,
        }
    }

    /// Resolves once rows wait to be written.
    pub(crate) async fn wait_for_rows(&self) {
        self.unwritten.notified().await;
    }

    /// The rows that wait to be written.
    pub(crate) fn take_rows(&self) -> Vec<Write> {
        std::mem::take(&mut self.held().unwritten).into_values().collect()
    }

    /// These could not be written: they are again with the next.
    pub(crate) fn put_back(&self, rows: Vec<Write>) {
        let mut held = self.held();
        for row in rows {
            held.unwritten.entry(row.key.clone()).or_insert(row);
        }
    }

    /// The frames to repeat, once there are some.
    pub(crate) async fn own(&self) -> Vec<Bytes> {
        loop {
            let frames = self.due();
            if !frames.is_empty() {
                return frames;
            }
            self.speaks.notified().await;
        }
    }

    fn due(&self) -> Vec<Bytes> {
        let mut held = self.held();
        let mut incomplete = 0;
        let mut frames = Vec::new();
        for block in held.blocks.values_mut().rev() {
            let complete = block.collected.is_complete();
            let Some((frame, repeats)) = &mut block.own else { continue };
            incomplete += usize::from(!complete);
            if *repeats < REPEATS_MIN || (!complete && incomplete <= REPEATED_MAX) {
                *repeats = repeats.saturating_add(1);
                frames.push(frame.clone());
            }
        }
        frames
    }
}

fn encode(attestation: &Attestation, signature: Signature) -> Bytes {
    [&[ATTESTATION], wire::encode(&(attestation, signature)).as_slice()].concat().into()
}

fn decode(frame: &[u8]) -> Option<(Attestation, Signature)> {
    let body = frame.strip_prefix(&[ATTESTATION])?;
    if body.len() > FRAME_BYTES_MAX { None } else { wire::decode(body) }
}

#[cfg(test)]
mod tests;
