//! Where a member is, what it has said, and what it asks of its host.

use std::collections::BTreeMap;

use super::{
    message::{Certificate, Entry, Id, Message, Said, Signature},
    views::VIEWS_KEPT,
};
use crate::{
    codec::encode,
    committee::{Committee, Key},
    consensus::{Decision, Effect, Wanted, authors, signing},
};

/// Timers: the next height, the end of a view, saying everything again, building again.
pub(super) const START: u64 = 0;
pub(super) const VIEW: u64 = 1;
pub(super) const REPEAT: u64 = 2;
pub(super) const RETRY: u64 = 3;
/// Each view is longer than the one before by a third of the first, until one is 16 times as long (1 + 45 / 3): some view is as long as the network
/// is slow.
const STRETCH_MAX: u64 = 45;
/// Members of a committee. In as many views, each of them leads.
const MEMBERS_MAX: u32 = 128;

/// Where a member is, and through what its rules act.
pub struct Seat<S> {
    /// Its own key; none where this node has no vote.
    pub key: Option<Key>,
    /// Who decides.
    pub committee: Committee,
    /// The height of the block that is looked for.
    pub height: u64,
    /// The attempt.
    pub view: u32,
    /// What is to be done next, in this order.
    pub effects: Vec<Effect>,
    pub(super) timeout_ms: u64,
    pub(super) building: bool,
    /// Blocks that this host has executed, and whether they are valid.
    pub(super) judged: BTreeMap<Id, bool>,
    /// What it said itself in this view and in the one before.
    pub(super) said: Vec<Message<S>>,
}

impl<S: Said> Seat<S> {
    /// Whose turn it is in a view.
    #[must_use]
    pub fn leader(&self, view: u32) -> Key {
        self.committee.at_turn(self.height.wrapping_add(view.into()))
    }

    /// Whether it is this member's turn.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.key == Some(self.leader(self.view))
    }

    /// Whether a member keeps what is said in a view.
    #[must_use]
    pub fn is_near(&self, view: u32) -> bool {
        view.abs_diff(self.view) <= VIEWS_KEPT
    }

    pub(super) fn say(&mut self, said: S) -> Option<Message<S>> {
        let member = self.key.filter(|key| self.committee.has(key))?;
        let (at, text) = Message::signed(self.height, self.view, &said);
        let signature = signing::sign(at, &text)?;
        let message = Message { height: self.height, view: self.view, said, member, signature };
        // Whoever forgot what it said could say another thing: it is in the log before anyone hears it.
        self.effects.push(Effect::AppendLog(encode(&Entry::Said(message.clone()))));
        self.effects.push(Effect::Broadcast(encode(&message)));
        self.said.push(message.clone());
        Some(message)
    }

    /// Logs something, to be [recalled](Rules::recall) at this height after a restart.
    pub fn note(&mut self, note: Vec<u8>) {
        self.effects.push(Effect::AppendLog(encode(&Entry::<S>::Note(note))));
    }

    /// Has the host build a block, unless it does.
    pub fn build(&mut self) {
        if !std::mem::replace(&mut self.building, true) {
            self.effects.push(Effect::Build);
        }
    }

    /// Whether a block is valid here; none where that is not known yet, and it is asked for, from this member first.
    pub fn is_valid(&mut self, id: Id, from: Key) -> Option<bool> {
        let known = self.judged.get(&id).copied();
        if known.is_none() {
            self.effects.push(Effect::Obtain(Wanted { id: id.to_vec(), member: from.to_vec() }));
        }
        known
    }

    /// Whether a block that the leader of this view proposes is to be voted for; none where that is not known yet. It must be valid, and made by the
    /// leader of this view or of an earlier one of this height: whoever proposes a block again that may be decided did not make it. A leader that could
    /// propose anyone's block would choose among their seeds.
    pub fn may_vote(&mut self, id: Id) -> Option<bool> {
        let valid = self.is_valid(id, self.leader(self.view))?;
        let led = |author: Vec<u8>| (self.view.saturating_sub(MEMBERS_MAX)..=self.view).any(|view| self.leader(view)[..] == author[..]);
        Some(valid && authors::author(&id).is_none_or(led))
    }

    /// Decides on a block by these votes of a view.
    pub fn decide(&mut self, id: Id, view: u32, votes: Vec<(Key, Signature)>) {
        self.effects.push(Effect::Decide(Decision { id: id.to_vec(), certificate: encode(&Certificate { view, votes }) }));
    }

    /// Gives this view up for a later one.
    pub fn move_to(&mut self, view: u32) {
        (self.view, self.building) = (view, false);
        self.forget_earlier();
        self.set_view_timer();
    }

    /// Forgets what it said before this view and the one before it: nobody is told that again.
    pub(super) fn forget_earlier(&mut self) {
        self.said.retain(|message| message.view.saturating_add(1) >= self.view);
    }

    pub(super) fn set_view_timer(&mut self) {
        let longer = u64::from(self.view).min(STRETCH_MAX).saturating_mul(self.timeout_ms / 3);
        self.effects.push(Effect::SetTimer((VIEW, self.timeout_ms.saturating_add(longer))));
    }

    /// Says again what it said in this view and in the one before: messages are lost.
    pub(super) fn repeat(&mut self) {
        self.effects.extend(self.said.iter().map(|message| Effect::Broadcast(encode(message))));
        self.set_repeat_timer();
    }

    pub(super) fn set_repeat_timer(&mut self) {
        self.effects.push(Effect::SetTimer((REPEAT, self.timeout_ms / 3 + 1)));
    }

    /// The next height, of which nothing is known yet.
    pub(super) fn next(&mut self, height: u64, committee: Committee) {
        (self.height, self.committee, self.view, self.building) = (height, committee, 0, false);
        self.judged.clear();
        self.said.clear();
        self.effects.extend([VIEW, REPEAT, RETRY].map(Effect::CancelTimer));
    }
}
