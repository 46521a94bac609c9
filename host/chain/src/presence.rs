//! Which members of the committee are there, as this host hears it from them and from others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use subnode_chain_core::{
    Committees,
    presence::{Attendance, Patience, Presence, Signed, decode, encode},
};
use subnode_sandbox::Signer;
use subnode_signer::Voter;
use subnode_types::NodeId;
use tokio::time::Instant;

/// How a frame begins that has presences.
pub(crate) const PRESENCES: u8 = 1;
/// How often a member says that it is there: for each member so many milliseconds, so that a host hears as many bytes of a great committee as of a small
/// one, and at least so many.
const MEMBER_MS: u64 = 1_000;
const EVERY_MS_MIN: u64 = 5_000;
/// Times that a member must not be heard to be shown as absent.
const MISSED: u64 = 3;

/// See the module.
pub(crate) struct Presences {
    patience: Patience,
    started: Instant,
    attendance: Mutex<Attendance>,
}

/// A member of the committee, as it was heard.
#[derive(Clone, Copy, Debug)]
pub struct MemberStats {
    /// Its key.
    pub node: NodeId,
    /// Milliseconds since it was heard.
    pub heard_ms: u64,
    /// Whether that is longer than it should be.
    pub absent: bool,
    /// The height that it said it is at; none where it has said nothing yet.
    pub height: Option<u64>,
    /// How old it said its view of another network is, in seconds; none where it has none.
    pub view_age_s: Option<u32>,
}

impl Presences {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, started: Instant::now(), attendance: Mutex::default() }
    }

    fn attendance(&self) -> MutexGuard<'_, Attendance> {
        self.attendance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Who decides the next block, on a head of this height.
    pub(crate) fn seat(&self, height: u64, committees: &Committees) {
        self.attendance().seat(committees.at(height + 1), self.now_ms(), height);
    }

    /// How often a member of so many says that it is there.
    pub(crate) fn every_ms(&self, members: usize) -> u64 {
        (members as u64).saturating_mul(MEMBER_MS).max(EVERY_MS_MIN).min((self.patience.ms / 4).max(1))
    }

    /// A member said something over its own connection.
    pub(crate) fn heard(&self, member: NodeId, height: u64) {
        self.attendance().heard(member, self.now_ms(), height);
    }

    /// Says that this host is there, where it is, and who else is whom it heard: the frame for all others. None where there is nothing to say.
    pub(crate) fn say(&self, voter: &Voter, own: Option<Presence>) -> Option<Vec<u8>> {
        let (now_ms, mut attendance) = (self.now_ms(), self.attendance());
        if let (Some(key), Some(presence)) = (voter.key(), own)
            && let Some(signature) = voter.sign_presence(&presence.text())
        {
            attendance.take((key, Signed { presence, signature }), now_ms, presence.height, self.patience, |_| true);
        }
        let fresh = attendance.take_fresh();
        (!fresh.is_empty()).then(|| [&[PRESENCES], encode(&fresh).as_slice()].concat())
    }

    /// Takes the presences of a frame.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&self, voter: &Voter, height: u64, frame: &[u8]) -> Result<(), &'static str> {
        let all = frame.strip_prefix(&[PRESENCES]).and_then(decode).ok_or("presences that do not decode")?;
        for (member, signed) in all {
            let is_signed = |signed: &Signed| voter.is_presence(member, &signed.presence.text(), &signed.signature);
            let taken = self.attendance().take((member, signed), self.now_ms(), height, self.patience, is_signed);
            taken.ok_or("a presence whose signature is wrong")?;
        }
        Ok(())
    }

    /// Members that nobody heard for as long as this host is patient.
    pub(crate) fn silent(&self, height: u64) -> Vec<NodeId> {
        self.attendance().silent(self.now_ms(), height, self.patience)
    }

    /// A block noted that a member is silent.
    pub(crate) fn noted(&self, member: NodeId, height: u64) {
        self.attendance().noted(member, self.now_ms(), height);
    }

    /// The members of the committee, but for this host's own.
    pub(crate) fn members(&self, own: Option<NodeId>) -> Vec<MemberStats> {
        let attendance = self.attendance();
        let members: Vec<_> = attendance.members(self.now_ms()).collect();
        let late_ms = self.every_ms(members.len()).saturating_mul(MISSED);
        let others = members.into_iter().filter(|(node, ..)| Some(*node) != own);
        let stats = |(node, last, heard_ms): (NodeId, Option<Presence>, u64)| MemberStats {
            node,
            heard_ms,
            absent: heard_ms > late_ms,
            height: last.map(|last| last.height),
            view_age_s: last.and_then(|last| last.view_age_s),
        };
        others.map(stats).collect()
    }
}
