//! One writer for all chains: whatever waits goes into one synced write.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rocksdb::{WriteBatchWithTransaction, WriteOptions};
use tokio::sync::oneshot;

use super::{Db, store_error};
use crate::{StoreError, rows::Op};

/// Most bytes gathered into one write, so that a large block does not make small ones wait for more than itself.
const GATHERED_BYTES_MAX: usize = 8 << 20;

struct Job {
    family: String,
    ops: Vec<Op>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

pub(super) struct Writer {
    /// None once the writer is being dropped. One job per chain at a time, which bounds the queue.
    jobs: Option<Mutex<mpsc::Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
    guard: Arc<DiskGuard>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    synced_writes: AtomicU64,
    batches: AtomicU64,
}

impl Writer {
    pub(super) fn start(db: Arc<Db>, guard: DiskGuard) -> Self {
        let (jobs, queue) = mpsc::channel();
        let (guard, counts) = (Arc::new(guard), Arc::<Counts>::default());
        let thread = {
            let (guard, counts) = (guard.clone(), counts.clone());
            std::thread::Builder::new().name("subnode-writer".into()).spawn(move || run(&db, &queue, &guard, &counts))
        };
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no thread for the writer")).ok();
        Self { jobs: Some(Mutex::new(jobs)), thread, guard, counts }
    }

    /// Queues a batch. An answer that never comes means the writer is gone.
    pub(super) fn submit(&self, family: String, ops: Vec<Op>) -> oneshot::Receiver<Result<(), StoreError>> {
        let (done, answer) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // A failed send drops `done`, which the waiter sees.
            drop(jobs.lock().unwrap_or_else(PoisonError::into_inner).send(Job { family, ops, done }));
        }
        answer
    }

    pub(super) fn guard(&self) -> &DiskGuard {
        &self.guard
    }

    /// Synced writes so far, and the batches that were in them.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.counts.synced_writes.load(Ordering::Relaxed), self.counts.batches.load(Ordering::Relaxed))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Looks at what the disk has left.
pub(super) struct DiskGuard {
    path: PathBuf,
    free_bytes_min: u64,
}

impl DiskGuard {
    pub(super) fn new(path: PathBuf, free_bytes_min: u64) -> Self {
        Self { path, free_bytes_min }
    }

    /// What the disk has left for this user, where the system tells.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        rustix::fs::statvfs(&self.path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes of the store's files.
    pub(super) fn used_bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.free_bytes() {
            Some(free) if free < self.free_bytes_min => {
                Err(StoreError::Full(format!("{free} bytes are left, of which {} are kept free", self.free_bytes_min)))
            }
            _ => Ok(()),
        }
    }
}

/// How long a look at the disk is believed.
const GUARD_EVERY: Duration = Duration::from_millis(200);

fn run(db: &Db, queue: &mpsc::Receiver<Job>, guard: &DiskGuard, counts: &Counts) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let mut looked = None;
    let mut room = Ok(());
    while let Ok(first) = queue.recv() {
        if looked.is_none_or(|looked: Instant| looked.elapsed() > GUARD_EVERY) {
            looked = Some(Instant::now());
            room = guard.check();
        }
        if let Err(full) = &room {
            // A waiter that is gone does not need the answer.
            drop(first.done.send(Err(full.clone())));
            continue;
        }
        let mut batch = WriteBatchWithTransaction::<false>::default();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match db.cf_handle(&job.family) {
                Some(family) => {
                    for (key, value) in &job.ops {
                        match value {
                            Some(value) => batch.put_cf(&family, key, value),
                            None => batch.delete_cf(&family, key),
                        }
                    }
                    waiting.push(job.done);
                }
                None => drop(job.done.send(Err(StoreError::Closed))),
            }
            next = if batch.size_in_bytes() < GATHERED_BYTES_MAX { queue.try_recv().ok() } else { None };
        }
        let written = db.write_opt(batch, &synced).map_err(store_error);
        counts.synced_writes.fetch_add(1, Ordering::Relaxed);
        counts.batches.fetch_add(waiting.len() as u64, Ordering::Relaxed);
        for done in waiting {
            drop(done.send(written.clone()));
        }
    }
}
