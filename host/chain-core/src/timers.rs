use std::collections::BTreeMap;

/// Timers a module may have at once; a further one replaces none and is dropped.
const TIMERS_MAX: usize = 64;

/// A consensus module's timers, by id.
#[derive(Debug, Default)]
pub struct Timers {
    /// Bound: [`TIMERS_MAX`] timers of 16 bytes, 1 KiB.
    due_ms: BTreeMap<u64, u64>,
}

impl Timers {
    /// Sets a timer, in place of an earlier one of this id.
    pub fn set(&mut self, id: u64, due_ms: u64) {
        if self.due_ms.len() < TIMERS_MAX || self.due_ms.contains_key(&id) {
            self.due_ms.insert(id, due_ms);
        }
    }

    /// Forgets a timer.
    pub fn cancel(&mut self, id: u64) {
        self.due_ms.remove(&id);
    }

    /// When the next one runs out.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due_ms.values().min().copied()
    }

    /// Those that have run out, the earliest first.
    pub fn due(&self, now_ms: u64) -> Vec<u64> {
        let mut due: Vec<_> = self.due_ms.iter().filter(|(_, due)| **due <= now_ms).map(|(id, due)| (*due, *id)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// Takes one, if it has run out and nobody has moved or cancelled it since.
    pub fn take(&mut self, id: u64, now_ms: u64) -> bool {
        let is_due = self.due_ms.get(&id).is_some_and(|due| *due <= now_ms);
        is_due && self.due_ms.remove(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_run_out_in_order_and_can_be_moved() {
        let mut timers = Timers::default();
        timers.set(1, 20);
        timers.set(2, 10);
        timers.set(3, 5);
        timers.cancel(3);
        assert_eq!(timers.next_due_ms(), Some(10));
        assert_eq!(timers.due(9), []);
        timers.set(2, 30);
        assert_eq!(timers.due(40), [1, 2]);
        assert!(timers.take(1, 40) && !timers.take(1, 40));
        timers.set(2, 50);
        assert!(!timers.take(2, 40), "moved meanwhile");
        assert_eq!(timers.due(40), []);
    }
}
