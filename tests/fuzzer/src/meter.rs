//! What a thread has allocated, or all threads. The allocator of every program that links this crate.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicIsize, Ordering},
};

use crate::alone;

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

thread_local! {
    /// Bytes that this thread has allocated and not freed; negative where it freed what others had allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most of these since a measurement began.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Whether all threads are measured.
static MEASURING: AtomicBool = AtomicBool::new(false);
/// Bytes that all threads have allocated and not freed since that began, and the most of these.
static ALL_HELD: AtomicIsize = AtomicIsize::new(0);
static ALL_PEAK: AtomicIsize = AtomicIsize::new(0);

/// No allocation is longer than `isize::MAX`.
fn note(more: usize, less: usize) {
    if MEASURING.load(Ordering::Relaxed) {
        let change = 0_isize.wrapping_add_unsigned(more).wrapping_sub_unsigned(less);
        let held = ALL_HELD.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        ALL_PEAK.fetch_max(held, Ordering::Relaxed);
    }
    // A thread that ends has nothing to measure any more.
    let held = HELD.try_with(|held| {
        held.set(held.get().wrapping_add_unsigned(more).wrapping_sub_unsigned(less));
        held.get()
    });
    if let (Ok(held), Ok(peak)) = (held, PEAK.try_with(Cell::get)) {
        PEAK.set(peak.max(held));
    }
}

// SAFETY: it hands all calls on as they are, and counts without allocating.
#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes, layout.size());
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// What work comes to, and the most bytes that this thread had allocated for it at once, on top of what it had before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    let outer = PEAK.replace(before);
    let done = work();
    let peak = PEAK.get();
    PEAK.set(outer.max(peak));
    (done, usize::try_from(peak - before).unwrap_or(0))
}

/// The same of all threads of the process together, while no other test has its turn. Not within itself.
pub fn peak_of_process<T>(work: impl FnOnce() -> T) -> (T, usize) {
    /// Ends the measurement where the work panics too.
    struct Measured;

    impl Drop for Measured {
        fn drop(&mut self) {
            MEASURING.store(false, Ordering::SeqCst);
        }
    }

    let _alone = alone();
    assert!(!MEASURING.load(Ordering::SeqCst), "a measurement of all threads within another");
    ALL_HELD.store(0, Ordering::SeqCst);
    ALL_PEAK.store(0, Ordering::SeqCst);
    MEASURING.store(true, Ordering::SeqCst);
    let measured = Measured;
    let done = work();
    drop(measured);
    (done, usize::try_from(ALL_PEAK.load(Ordering::SeqCst)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_was_held_at_once_is_told() {
        let ((), peak) = peak_of(|| {
            for _ in 0..3 {
                drop(std::hint::black_box(vec![0_u8; 100_000]));
            }
            let ((), inner) = peak_of(|| drop(std::hint::black_box(vec![0_u8; 50_000])));
            assert!((50_000..60_000).contains(&inner), "{inner}");
        });
        assert!((100_000..110_000).contains(&peak), "{peak}");
        let ((), peak) = peak_of(|| {
            let mut grown = Vec::new();
            for byte in 0..200_000_u32 {
                grown.push(byte);
            }
            drop(std::hint::black_box(grown));
        });
        assert!(peak >= 800_000, "{peak}");
    }

    #[test]
    fn what_another_thread_holds_counts_for_the_process_alone() {
        let elsewhere = || std::thread::spawn(|| drop(std::hint::black_box(vec![0_u8; 10_000_000]))).join().expect("ends");
        let ((), of_thread) = peak_of(elsewhere);
        let ((), of_process) = peak_of_process(elsewhere);
        assert!(of_thread < 1_000_000 && of_process >= 9_000_000, "{of_thread}, {of_process}");
    }
}
