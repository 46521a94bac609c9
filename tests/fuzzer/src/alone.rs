//! One test at a time.

use std::{
    cell::Cell,
    sync::{Mutex, MutexGuard, PoisonError},
};

static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// How many [`Alone`] this thread has.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// No other thread has its turn while this one has one of these. Those of one thread may nest; the one that was made first is dropped last.
#[must_use]
#[derive(Debug)]
pub struct Alone(Option<MutexGuard<'static, ()>>);

/// Waits until no other test of this process has its turn.
pub fn alone() -> Alone {
    let depth = DEPTH.get();
    // A test that failed has poisoned it, which says nothing about the next one.
    let turn = (depth == 0).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    DEPTH.set(depth + 1);
    Alone(turn)
}

impl Drop for Alone {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        drop(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn threads_take_turns_and_a_turn_may_nest() {
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _outer = alone();
                        drop(alone());
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
