//! Nodes that a content is got from, and those that are left alone for a while. Pure; the caller passes the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use subnode_network::NodeId;

/// How long a node is asked for nothing that gave what is wrong: its disk may be mended.
const DISTRUSTED_FOR: Duration = Duration::from_secs(600);
/// The same of one that gave nothing, doubled each time.
const RESTED_FOR: Duration = Duration::from_millis(500);
const RESTED_FOR_MAX: Duration = Duration::from_secs(8);

/// What is remembered of nodes.
#[derive(Default)]
pub(crate) struct Sources {
    /// Bound: 64 bytes for each node that the configuration names.
    known: BTreeMap<NodeId, Known>,
}

struct Known {
    until: Instant,
    rest: Duration,
    is_distrusted: bool,
}

impl Sources {
    /// The node to ask, of those that have the content: the one that is preferred, or the one that was left alone the longest time ago.
    pub(crate) fn next(&self, having: &[NodeId], now: Instant, is_preferred: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let is_free = |node: &NodeId| self.known.get(node).is_none_or(|known| known.until <= now);
        let when = |node: &NodeId| (!is_preferred(*node), self.known.get(node).map(|known| known.until));
        having.iter().copied().filter(is_free).min_by_key(when)
    }

    /// A node gave what is wrong.
    pub(crate) fn distrust(&mut self, node: NodeId, now: Instant) {
        self.known.insert(node, Known { until: now + DISTRUSTED_FOR, rest: RESTED_FOR, is_distrusted: true });
    }

    /// A node stopped to answer, after it gave something or not.
    pub(crate) fn rest(&mut self, node: NodeId, now: Instant, gave: bool) {
        let before = self.known.get(&node).map_or(Duration::ZERO, |known| known.rest);
        let rest = if gave { RESTED_FOR } else { (before * 2).clamp(RESTED_FOR, RESTED_FOR_MAX) };
        // One that gave something is asked again at once, after those that are free.
        let until = if gave { now } else { now + rest };
        self.known.insert(node, Known { until, rest, is_distrusted: false });
    }

    /// How many gave what is wrong lately.
    pub(crate) fn distrusted(&self, now: Instant) -> usize {
        self.known.values().filter(|known| known.is_distrusted && known.until > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_gave_nothing_are_asked_less_often_and_liars_not_for_a_while() {
        let [one, two, liar] = [1, 2, 3].map(|i| NodeId([i; 32]));
        let (mut sources, now) = (Sources::default(), Instant::now());
        let all = [one, two, liar];
        assert_eq!(sources.next(&all, now, |node| node == two), Some(two));
        sources.distrust(liar, now);
        sources.rest(one, now, false);
        assert_eq!((sources.next(&all, now, |_| false), sources.next(&[one, liar], now, |_| true)), (Some(two), None));
        sources.rest(two, now, true);
        assert_eq!(sources.next(&all, now + RESTED_FOR, |_| false), Some(two), "it waits longer than the other");
        let mut at = now;
        for _ in 0..10 {
            sources.rest(one, at, false);
            at += RESTED_FOR_MAX;
            assert_eq!(sources.next(&[one, liar], at, |_| false), Some(one));
        }
        assert_eq!(sources.distrusted(at), 1);
        assert_eq!((sources.next(&[liar], now + DISTRUSTED_FOR, |_| false), sources.distrusted(now + DISTRUSTED_FOR)), (Some(liar), 0));
    }
}
