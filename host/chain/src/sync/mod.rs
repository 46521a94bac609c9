//! Keeps up with the other nodes: by blocks, or by the state of a later block.

mod follow;
mod gather;
mod notices;

pub(crate) use self::{follow::run, notices::Notices};
