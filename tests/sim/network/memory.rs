//! Counts what the code of a run holds in memory, by whom it was allocated. A run is one thread, so the counts are
//! those of its thread. The default owner of a run is the code that is tested; all else says so.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

/// Who allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Whatever runs in no simulation.
    Nobody,
    /// The network's own code, on the members.
    Members,
    /// Those who attack.
    Strangers,
    /// The simulation itself: datagrams on their way, what is noted.
    Simulation,
}

const OWNERS: usize = 4;

// Of types that need no destructor, so that they are there for as long as a thread allocates.
thread_local! {
    static OWNER: Cell<u8> = const { Cell::new(Owner::Nobody as u8) };
    static HELD: [Cell<isize>; OWNERS] = const { [const { Cell::new(0) }; OWNERS] };
}

/// Says who allocates on this thread until it is dropped.
pub(super) struct Scope(u8);

impl Scope {
    pub(super) fn of(owner: Owner) -> Self {
        Self(OWNER.replace(owner as u8))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        OWNER.set(self.0);
    }
}

/// Forgets what was counted on this thread.
pub(super) fn reset() {
    HELD.with(|held| held.iter().for_each(|held| held.set(0)));
}

/// Bytes that an owner holds.
pub(super) fn held(owner: Owner) -> isize {
    HELD.with(|held| held[owner as usize].get())
}

/// A future of an owner's.
pub(super) struct Owned<F> {
    owner: Owner,
    future: Pin<Box<F>>,
}

pub(super) fn owned<F: Future>(owner: Owner, future: F) -> Owned<F> {
    Owned { owner, future: Box::pin(future) }
}

impl<F: Future> Future for Owned<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _scope = Scope::of(self.owner);
        self.future.as_mut().poll(context)
    }
}

/// The system's allocator, with a byte before each allocation that says whose it is.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many bytes are put before an allocation, and what is allocated in all.
fn whole(layout: Layout) -> Option<(usize, Layout)> {
    let align = layout.align().max(16);
    Some((align, Layout::from_size_align(layout.size().checked_add(align)?, align).ok()?))
}

fn count(owner: u8, bytes: isize) {
    let owner = usize::from(owner) % OWNERS;
    HELD.with(|held| held[owner].set(held[owner].get().wrapping_add(bytes)));
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

impl Counting {
    fn begun(start: *mut u8, head: usize, layout: Layout) -> *mut u8 {
        if start.is_null() {
            return start;
        }
        let owner = OWNER.get();
        count(owner, signed(layout.size()));
        let place = start.wrapping_add(head);
        #[expect(unsafe_code, reason = "marks whose an allocation is")]
        // SAFETY: the `head` bytes before `place` are this allocator's own.
        unsafe {
            place.sub(1).write(owner);
        }
        place
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: each allocation is the system's, of `head` bytes more than asked, and aligned to at least what is asked;
// `head` is a multiple of the alignment, and follows from the layout alone, so that what is freed is what was
// allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((head, all)) = whole(layout) else { return std::ptr::null_mut() };
        // SAFETY: `all` is not of size zero.
        Self::begun(unsafe { System.alloc(all) }, head, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((head, all)) = whole(layout) else { return std::ptr::null_mut() };
        // SAFETY: as above.
        Self::begun(unsafe { System.alloc_zeroed(all) }, head, layout)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let Some((head, all)) = whole(layout) else { return };
        // SAFETY: `place` came from `alloc` with this layout.
        unsafe {
            count(place.sub(1).read(), -signed(layout.size()));
            System.dealloc(place.sub(head), all);
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some((head, all)), Some(grown)) = (whole(layout), size.checked_add(layout.align().max(16))) else {
            return std::ptr::null_mut();
        };
        // SAFETY: as above. The bytes before `place` are moved with the rest, and its owner with them.
        unsafe {
            let start = System.realloc(place.sub(head), all, grown);
            if start.is_null() {
                return start;
            }
            let owner = start.add(head - 1).read();
            count(owner, signed(size) - signed(layout.size()));
            start.add(head)
        }
    }
}
