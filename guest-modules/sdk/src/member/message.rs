//! What members say and sign, as it is sent, logged and shown in a certificate.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    codec::encode,
    committee::Key,
    consensus::{Position, signing},
};

/// A block's id.
pub type Id = [u8; 32];
/// A member's signature.
pub type Signature = Vec<u8>;

/// What a member says in a view.
pub trait Said: Clone + Serialize + DeserializeOwned + 'static {
    /// Which kind it is, counted in the order in which a view's are said.
    fn step(&self) -> u8;

    /// What of it is signed.
    fn text(&self) -> Vec<u8> {
        encode(self)
    }
}

/// What a member sends to all, and logs of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<S> {
    /// The height of the block that it is about.
    pub height: u64,
    /// The attempt.
    pub view: u32,
    /// What is said.
    pub said: S,
    /// By whom.
    pub member: Key,
    /// Shows that.
    pub signature: Signature,
}

impl<S: Said> Message<S> {
    pub(super) fn signed(height: u64, view: u32, said: &S) -> (Position, Vec<u8>) {
        (Position { height, round: view, step: said.step() }, said.text())
    }

    /// Whether its member has signed it.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let (at, text) = Self::signed(self.height, self.view, &self.said);
        signing::verify(&self.member, at, &text, &self.signature)
    }
}

/// An entry of the log.
#[derive(Serialize, Deserialize)]
pub(super) enum Entry<S> {
    Said(Message<S>),
    Note(Vec<u8>),
}

/// What shows that a block was decided: who said so in this view.
#[derive(Serialize, Deserialize)]
pub(super) struct Certificate {
    pub(super) view: u32,
    pub(super) votes: Vec<(Key, Signature)>,
}
