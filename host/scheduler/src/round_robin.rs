use std::collections::{BTreeMap, VecDeque};

/// A queue that serves its senders in turn. What one of them has in it is bounded in bytes, and holds nobody else's up by more than one item.
#[derive(Debug)]
pub struct RoundRobin<K, T> {
    senders: BTreeMap<K, Waiting<T>>,
    /// Whose turn was last.
    last: Option<K>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<K: Ord + Copy, T> RoundRobin<K, T> {
    /// An empty queue with so many bytes for each sender.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { senders: BTreeMap::new(), last: None, bytes_max }
    }

    /// Takes what a sender wants to queue at the price of so many bytes, which should be more than none.
    ///
    /// # Errors
    /// Gives it back where the sender has no room.
    pub fn push(&mut self, sender: K, bytes: usize, item: T) -> Result<(), T> {
        let taken = self.senders.get(&sender).map_or(0, |waiting| waiting.bytes);
        let Some(sum) = taken.checked_add(bytes).filter(|sum| *sum <= self.bytes_max) else { return Err(item) };
        let waiting = self.senders.entry(sender).or_insert_with(|| Waiting { items: VecDeque::new(), bytes: 0 });
        waiting.items.push_back((bytes, item));
        waiting.bytes = sum;
        Ok(())
    }

    /// The oldest item of the sender whose turn is next. O(log senders).
    pub fn pop(&mut self) -> Option<(K, T)> {
        let behind = self.last.and_then(|last| {
            let after = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.senders.range(after).next().map(|(sender, _)| *sender)
        });
        let sender = behind.or_else(|| self.senders.keys().next().copied())?;
        self.last = Some(sender);
        let waiting = self.senders.get_mut(&sender)?;
        let (bytes, item) = waiting.items.pop_front()?;
        waiting.bytes -= bytes;
        if waiting.items.is_empty() {
            self.senders.remove(&sender);
        }
        Some((sender, item))
    }

    /// Takes all that a sender has in the queue.
    pub fn take(&mut self, sender: &K) -> impl Iterator<Item = T> + use<K, T> {
        self.senders.remove(sender).into_iter().flat_map(|waiting| waiting.items).map(|(_, item)| item)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_fills_its_room_is_refused_and_delays_another_by_one_item() {
        let mut queue = RoundRobin::new(100);
        let taken = (0..1_000).filter(|item| queue.push(1, 10, *item).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(queue.push(2, 101, 0), Err(0));
        assert_eq!(queue.push(2, usize::MAX, 0), Err(0));
        assert_eq!((queue.push(2, 100, 7_000), queue.push(0, 100, 8_000)), (Ok(()), Ok(())));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order[..4], [(0, 8_000), (1, 0), (2, 7_000), (1, 1)]);
        assert_eq!((order.len(), queue.is_empty()), (12, true));
        assert_eq!(queue.push(1, 100, 1), Ok(()), "the room is there again");
        assert_eq!(queue.push(2, 100, 2), Ok(()));
        assert_eq!((queue.take(&1).collect::<Vec<_>>(), queue.pop(), queue.pop()), (vec![1], Some((2, 2)), None));
    }
}
