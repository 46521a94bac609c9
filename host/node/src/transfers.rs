//! Exports and imports under way. Whoever asked takes or brings one frame at a time, and may come back after an interruption.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use subnode_storage::{Export, Import};
use subnode_types::ChainName;

use crate::{ControlError, Desired, grants::Hold, slot::lock};

/// Exports and imports at once. Each keeps a frame of 80 MiB in memory at most.
const TRANSFERS_MAX: usize = 8;
/// How long one is kept for somebody who does not come back: an export holds files that compaction would free, an import its slice.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Exports and imports under way.
#[derive(Default)]
pub(crate) struct Transfers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    exports: Kept<Exporting>,
    imports: Kept<Importing>,
}

/// Transfers by number, and when each was used last.
/// Bound: [`TRANSFERS_MAX`] of 80 MiB each, of both kinds together.
type Kept<T> = BTreeMap<u64, (Instant, Arc<tokio::sync::Mutex<T>>)>;

pub(crate) struct Exporting {
    pub(crate) export: Option<Export>,
    /// The last frame and its place, for somebody who did not get it.
    pub(crate) last: (u64, Vec<u8>),
}

pub(crate) struct Importing {
    pub(crate) name: ChainName,
    pub(crate) desired: Desired,
    pub(crate) import: Option<Import>,
    /// What the chain is to have: granted before the first row is written.
    pub(crate) hold: Hold,
}

impl Transfers {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Ends those that nobody has used for a while.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.exports.retain(|_, (used, _)| now.duration_since(*used) < IDLE_MAX);
        inner.imports.retain(|_, (used, _)| now.duration_since(*used) < IDLE_MAX);
    }

    /// Ends imports under this name.
    pub(crate) fn forget(&self, name: &ChainName) {
        self.inner().imports.retain(|_, (_, importing)| importing.try_lock().is_ok_and(|importing| importing.name != *name));
    }

    /// Whether there is room for one more.
    pub(crate) fn check_room(&self) -> Result<(), ControlError> {
        self.inner().check_room()
    }

    /// Keeps an export; its number.
    pub(crate) fn keep_export(&self, exporting: Exporting) -> Result<u64, ControlError> {
        let mut inner = self.inner();
        let number = inner.number()?;
        inner.exports.insert(number, (Instant::now(), Arc::new(tokio::sync::Mutex::new(exporting))));
        Ok(number)
    }

    /// Keeps an import; its number.
    pub(crate) fn keep_import(&self, importing: Importing) -> Result<u64, ControlError> {
        let mut inner = self.inner();
        let number = inner.number()?;
        inner.imports.insert(number, (Instant::now(), Arc::new(tokio::sync::Mutex::new(importing))));
        Ok(number)
    }

    pub(crate) fn export(&self, number: u64) -> Result<Arc<tokio::sync::Mutex<Exporting>>, ControlError> {
        used(&mut self.inner().exports, number).ok_or(ControlError::NoTransfer("export"))
    }

    pub(crate) fn import(&self, number: u64) -> Result<Arc<tokio::sync::Mutex<Importing>>, ControlError> {
        used(&mut self.inner().imports, number).ok_or(ControlError::NoTransfer("import"))
    }

    pub(crate) fn end_export(&self, number: u64) {
        self.inner().exports.remove(&number);
    }

    pub(crate) fn end_import(&self, number: u64) {
        self.inner().imports.remove(&number);
    }
}

impl Inner {
    fn check_room(&self) -> Result<(), ControlError> {
        let under_way = self.exports.len() + self.imports.len();
        if under_way < TRANSFERS_MAX { Ok(()) } else { Err(ControlError::TooManyTransfers(TRANSFERS_MAX)) }
    }

    fn number(&mut self) -> Result<u64, ControlError> {
        self.check_room()?;
        self.next += 1;
        Ok(self.next)
    }
}

/// The transfer of a number, which somebody uses now.
fn used<T>(transfers: &mut Kept<T>, number: u64) -> Option<Arc<tokio::sync::Mutex<T>>> {
    let (used, transfer) = transfers.get_mut(&number)?;
    *used = Instant::now();
    Some(transfer.clone())
}
