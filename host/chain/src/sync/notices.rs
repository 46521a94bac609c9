//! What other nodes say of how far they are.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use subnode_chain_core::wire::Notice;
use subnode_types::NodeId;
use tokio::sync::Notify;

/// Nodes whose notices wait; those of further ones are dropped. Each says it again within a second.
const NODES_MAX: usize = 512;

/// What nodes said last, until it is looked at: a node that says much waits in place of what it said before, and in nobody else's.
#[derive(Default)]
pub(crate) struct Notices {
    /// Bound: [`NODES_MAX`] notices of 48 bytes, 24 KiB.
    last: Mutex<BTreeMap<NodeId, Notice>>,
    more: Notify,
}

impl Notices {
    pub(crate) fn push(&self, from: NodeId, notice: Notice) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() < NODES_MAX || last.contains_key(&from) {
            last.insert(from, notice);
            self.more.notify_one();
        }
    }

    /// All that waits, once there is something.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn take(&self) -> BTreeMap<NodeId, Notice> {
        loop {
            let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
            if !last.is_empty() {
                return last;
            }
            self.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_says_much_keeps_nobody_else_from_being_heard() {
        let notices = Notices::default();
        for height in 0..10_000 {
            notices.push(NodeId([1; 32]), Notice::Head(height));
        }
        notices.push(NodeId([2; 32]), Notice::Head(7));
        let said = notices.take().await;
        assert_eq!(said, BTreeMap::from([(NodeId([1; 32]), Notice::Head(9_999)), (NodeId([2; 32]), Notice::Head(7))]));
    }
}
