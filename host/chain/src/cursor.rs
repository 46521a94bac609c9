//! Bytes kept for clients that poll.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use subnode_sandbox::{Lease, Tenant};

/// Cursors a chain keeps at once; the one used longest ago makes room.
const CURSORS_MAX: usize = 1024;
/// A longer one is refused.
const CURSOR_BYTES_MAX: usize = 64 << 10;
/// A client that does not poll for so long has gone (geth's value).
const IDLE_MAX: Duration = Duration::from_secs(300);

/// What a cursor is charged: few are longer than some hundred bytes.
const CURSOR_BYTES: u64 = 1 << 10;

/// Bytes kept for clients that poll, by id.
pub(crate) struct Cursors {
    inner: Mutex<Inner>,
    tenant: Tenant,
}

#[derive(Default)]
struct Inner {
    next: u64,
    kept: BTreeMap<u64, (Instant, Vec<u8>, Lease)>,
}

impl Cursors {
    pub(crate) fn new(tenant: Tenant) -> Self {
        Self { inner: Mutex::default(), tenant }
    }

    /// Keeps bytes; none where they are too long, or the chain's memory is used up.
    pub(crate) fn open(&self, bytes: Vec<u8>) -> Option<u64> {
        if bytes.len() > CURSOR_BYTES_MAX {
            return None;
        }
        let lease = self.tenant.lease(CURSOR_BYTES).ok()?;
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kept.retain(|_, (used, ..)| now.duration_since(*used) < IDLE_MAX);
        if inner.kept.len() >= CURSORS_MAX
            && let Some(oldest) = inner.kept.iter().min_by_key(|(_, (used, ..))| *used).map(|(id, _)| *id)
        {
            inner.kept.remove(&oldest);
        }
        inner.next += 1;
        let id = inner.next;
        inner.kept.insert(id, (now, bytes, lease));
        Some(id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<Vec<u8>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, bytes, _) = inner.kept.get_mut(&id)?;
        if used.elapsed() >= IDLE_MAX {
            return None;
        }
        *used = Instant::now();
        Some(bytes.clone())
    }

    pub(crate) fn update(&self, id: u64, bytes: Vec<u8>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kept, _)) = inner.kept.get_mut(&id)
            && bytes.len() <= CURSOR_BYTES_MAX
        {
            *kept = bytes;
        }
    }

    pub(crate) fn close(&self, id: u64) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).kept.remove(&id).is_some()
    }
}
