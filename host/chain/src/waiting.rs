use subnode_scheduler::RoundRobin;
use subnode_types::NodeId;

/// What other nodes sent and is not dealt with yet. Each node has bytes of its own here; nodes are served in turn, and members of the committee get
/// every second turn at least, as there may be more strangers than members.
pub(crate) struct Waiting<T> {
    /// Bound: so many bytes for each member.
    members: RoundRobin<NodeId, T>,
    /// Bound: so many bytes for each node that is in no committee; who puts them here bounds them together.
    strangers: RoundRobin<NodeId, T>,
    member_was_last: bool,
}

impl<T> Waiting<T> {
    /// With so many bytes for each node.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { members: RoundRobin::new(bytes_max), strangers: RoundRobin::new(bytes_max), member_was_last: false }
    }

    /// Takes what a node sent, or drops it where the node has no room; whether it was taken.
    pub(crate) fn push(&mut self, from: NodeId, member: bool, bytes: usize, item: T) -> bool {
        let queue = if member { &mut self.members } else { &mut self.strangers };
        queue.push(from, bytes, item).is_ok()
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let stranger = !self.strangers.is_empty() && self.member_was_last || self.members.is_empty();
        self.member_was_last = !stranger;
        let queue = if stranger { &mut self.strangers } else { &mut self.members };
        queue.pop().map(|(_, item)| item)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.strangers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_get_every_second_turn_however_many_strangers_there_are() {
        let mut waiting = Waiting::new(10);
        for stranger in 10..60 {
            assert!(waiting.push(NodeId([stranger; 32]), false, 10, stranger));
        }
        assert!(waiting.push(NodeId([1; 32]), true, 5, 1) && waiting.push(NodeId([1; 32]), true, 5, 2));
        assert!(!waiting.push(NodeId([1; 32]), true, 1, 3));
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(order[..4], [1, 10, 2, 11]);
        assert_eq!((order.len(), waiting.is_empty()), (52, true));
    }
}
