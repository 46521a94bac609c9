//! What a protocol adds to a member's life.

use super::{
    message::{Id, Message, Said},
    seat::Seat,
};
use crate::committee::{Committee, Key};

/// The rules of a protocol, with all that they remember of one height.
pub trait Rules: Sized + 'static {
    /// What its members say.
    type Said: Said;

    /// At the beginning of a height.
    fn new() -> Self;

    /// What a member says when a block is to be decided.
    fn vote(id: Id) -> Self::Said;

    /// Whether these are enough to decide.
    fn is_enough<'a>(committee: &Committee, members: impl Iterator<Item = &'a Key>) -> bool;

    /// Whether a message of this height is worth checking its signature. Its member is of the committee, and anyone may have made it up: this
    /// checks no signature, bounds what [`allows`](Self::allows) checks, and refuses what is known, as members say everything again.
    fn listens(&self, seat: &Seat<Self::Said>, message: &Message<Self::Said>) -> bool;

    /// Whether what a message brings along holds, such as others' signatures. It is genuine, and the rules listen to it.
    fn allows(&self, _seat: &Seat<Self::Said>, _message: &Message<Self::Said>) -> bool {
        true
    }

    /// Takes what a member said, perhaps this one, perhaps before the height has begun here. It is genuine and allowed.
    fn hear(&mut self, seat: &mut Seat<Self::Said>, message: Message<Self::Said>);

    /// Takes a [note](Seat::note) of before a restart.
    fn recall(&mut self, _note: &[u8]) {}

    /// Does all that what is known by now allows. The height has begun.
    fn go_on(&mut self, seat: &mut Seat<Self::Said>);

    /// What proposes a block that this host has built, in a view that this member leads; none where another one is to be proposed.
    fn propose(&self, seat: &Seat<Self::Said>, id: Id) -> Option<Self::Said>;

    /// The view took too long.
    fn is_late(&mut self, _seat: &mut Seat<Self::Said>) {}

    /// Says something, and hears it itself. False where this node has no vote, or has said another thing there.
    fn say(&mut self, seat: &mut Seat<Self::Said>, said: Self::Said) -> bool {
        seat.say(said).map(|message| self.hear(seat, message)).is_some()
    }
}
