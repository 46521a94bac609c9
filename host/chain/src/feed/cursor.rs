//! Bytes kept for clients that poll.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use subnode_sandbox::{Lease, Tenant};

/// Cursors a chain keeps at once; the one used longest ago makes room.
const CURSORS_MAX: usize = 1024;
/// A longer one is refused.
const CURSOR_BYTES_MAX: usize = 64 << 10;
/// What one may grow to when it is told what was undone; a longer one is closed.
const TOLD_BYTES_MAX: usize = 1 << 20;
/// A client that does not poll for so long has gone (geth's value).
const IDLE_MAX: Duration = Duration::from_secs(300);

/// What a cursor is charged beside its bytes.
const OVERHEAD_BYTES: u64 = 256;

/// Bytes kept for clients that poll, by id.
pub(crate) struct Cursors {
    inner: Mutex<Inner>,
    tenant: Tenant,
}

#[derive(Default)]
struct Inner {
    /// How many were opened.
    opened: u64,
    /// Bound: [`CURSORS_MAX`] of [`CURSOR_BYTES_MAX`] bytes, or of [`TOLD_BYTES_MAX`] after a revert; the memory slice is charged for their
    /// bytes.
    kept: BTreeMap<u64, Cursor>,
    /// How often blocks were undone.
    reverts: u64,
}

pub(crate) struct Cursor {
    /// How many had been opened before.
    number: u64,
    used: Instant,
    bytes: Vec<u8>,
    /// Dropped with the bytes it is for.
    _memory: Lease,
}

/// Why bytes are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// They were computed on blocks that were undone meanwhile.
    Reverted,
    /// They are too long, or the chain's memory is used up.
    TooLarge,
}

/// What cursors become where blocks are undone.
#[derive(Default)]
pub(crate) struct UndoneCursors {
    /// Each that was told; none where it is to be closed.
    pub(crate) told: Vec<(u64, Option<Cursor>)>,
    /// How many had been opened then; none where no block is undone.
    pub(crate) opened: Option<u64>,
}

impl Cursors {
    pub(crate) fn new(tenant: Tenant) -> Self {
        Self { inner: Mutex::default(), tenant }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cursor(&self, bytes: Vec<u8>, bytes_max: usize) -> Option<Cursor> {
        if bytes.len() > bytes_max {
            return None;
        }
        let memory = self.tenant.lease(bytes.len() as u64 + OVERHEAD_BYTES).ok()?;
        Some(Cursor { number: 0, used: Instant::now(), bytes, _memory: memory })
    }

    /// How often blocks were undone: to be asked before a view is taken that bytes are computed on.
    pub(crate) fn reverts(&self) -> u64 {
        self.lock().reverts
    }

    /// Keeps bytes that were computed after so many reverts. Whoever knows the id can read and close it, so that it is one that nobody guesses.
    pub(crate) fn open(&self, bytes: Vec<u8>, reverts: u64) -> Result<u64, NotKept> {
        let mut cursor = self.cursor(bytes, CURSOR_BYTES_MAX).ok_or(NotKept::TooLarge)?;
        let mut inner = self.lock();
        if inner.reverts != reverts {
            return Err(NotKept::Reverted);
        }
        inner.kept.retain(|_, other| cursor.used.duration_since(other.used) < IDLE_MAX);
        if inner.kept.len() >= CURSORS_MAX
            && let Some(oldest) = inner.kept.iter().min_by_key(|(_, other)| other.used).map(|(id, _)| *id)
        {
            inner.kept.remove(&oldest);
        }
        cursor.number = inner.opened;
        inner.opened += 1;
        let id = rand::random();
        inner.kept.insert(id, cursor);
        Ok(id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        let cursor = inner.kept.get_mut(&id)?;
        if cursor.used.elapsed() >= IDLE_MAX {
            return None;
        }
        cursor.used = Instant::now();
        Some(cursor.bytes.clone())
    }

    /// Puts bytes that were computed after so many reverts in the place of a cursor's.
    pub(crate) fn update(&self, id: u64, bytes: Vec<u8>, reverts: u64) -> Result<(), NotKept> {
        let cursor = self.cursor(bytes, CURSOR_BYTES_MAX).ok_or(NotKept::TooLarge)?;
        let mut inner = self.lock();
        if inner.reverts != reverts {
            return Err(NotKept::Reverted);
        }
        if let Some(kept) = inner.kept.get_mut(&id) {
            *kept = Cursor { number: kept.number, ..cursor };
        }
        Ok(())
    }

    pub(crate) fn close(&self, id: u64) -> bool {
        self.lock().kept.remove(&id).is_some()
    }

    /// Those that are open, and how many were opened so far.
    pub(crate) fn ids(&self) -> (Vec<u64>, u64) {
        let mut inner = self.lock();
        inner.kept.retain(|_, cursor| cursor.used.elapsed() < IDLE_MAX);
        (inner.kept.keys().copied().collect(), inner.opened)
    }

    /// A cursor's bytes, which its client did not ask for.
    pub(crate) fn look_at(&self, id: u64) -> Option<Vec<u8>> {
        self.lock().kept.get(&id).map(|cursor| cursor.bytes.clone())
    }

    /// What a cursor has become that was told what is undone, charged to the chain; none where it is too long.
    pub(crate) fn told(&self, bytes: Vec<u8>) -> Option<Cursor> {
        self.cursor(bytes, TOLD_BYTES_MAX)
    }

    /// Blocks were undone, and these cursors were told: what each has become, or none where it is to be closed. A poll that was answered since they
    /// were told is taken back, and its client hears of what it had heard then once more, but not of what was undone. One that was opened since
    /// then, on blocks that are gone, is closed.
    pub(crate) fn reverted(&self, UndoneCursors { told, opened }: UndoneCursors) {
        let mut inner = self.lock();
        inner.reverts += 1;
        if let Some(opened) = opened {
            inner.kept.retain(|_, cursor| cursor.number < opened);
        }
        for (id, cursor) in told {
            let Some((number, used)) = inner.kept.get(&id).map(|cursor| (cursor.number, cursor.used)) else { continue };
            match cursor {
                Some(cursor) => drop(inner.kept.insert(id, Cursor { number, used, ..cursor })),
                None => drop(inner.kept.remove(&id)),
            }
        }
    }
}
