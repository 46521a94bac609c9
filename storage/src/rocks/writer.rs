//! One writer for all chains: whatever waits goes into one synced write.

use std::{
    collections::VecDeque,
    io,
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

use super::{Db, alive::Alive, store_error};
use crate::{
    StoreError,
    rows::{Op, Purpose},
};

/// Most bytes gathered into one write, so that a large block does not make small ones wait for more than itself.
const GATHERED_BYTES_MAX: usize = 8 << 20;

/// When so many patient orders came within the last second, the next one waits for others: below, nobody is likely to come.
const COMPANY: usize = 12;
/// How long an order counts as company.
const RECENT: Duration = Duration::from_secs(1);

/// A batch to write.
pub(super) struct Order {
    pub(super) family: String,
    pub(super) alive: Arc<Alive>,
    pub(super) ops: Vec<Op>,
    pub(super) purpose: Purpose,
    /// How long it may wait for others to share a synced write with.
    pub(super) patience: Duration,
}

struct Job {
    order: Order,
    bytes: usize,
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
    /// # Errors
    /// Where the system has no thread for it: without one every write would wait for ever.
    pub(super) fn start(db: Arc<Db>, guard: DiskGuard) -> io::Result<Self> {
        // Bound: one job for each chain at a time, with the bytes of its batch.
        let (jobs, queue) = mpsc::channel();
        let (guard, counts) = (Arc::new(guard), Arc::<Counts>::default());
        let thread = {
            let (guard, counts) = (guard.clone(), counts.clone());
            std::thread::Builder::new().name("subnode-writer".into()).spawn(move || run(&db, &queue, &guard, &counts))?
        };
        Ok(Self { jobs: Some(Mutex::new(jobs)), thread: Some(thread), guard, counts })
    }

    /// Queues a batch. An answer that never comes means the writer is gone.
    pub(super) fn submit(&self, order: Order) -> oneshot::Receiver<Result<(), StoreError>> {
        let (done, answer) = oneshot::channel();
        let bytes = order.ops.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        if let Some(jobs) = &self.jobs {
            // A failed send drops `done`, which the waiter sees.
            drop(jobs.lock().unwrap_or_else(PoisonError::into_inner).send(Job { order, bytes, done }));
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

    /// Looks.
    pub(super) fn room(&self) -> Room {
        Room { free_bytes: self.free_bytes(), free_bytes_min: self.free_bytes_min }
    }
}

/// What a look at the disk found.
#[derive(Clone, Copy)]
pub(super) struct Room {
    free_bytes: Option<u64>,
    free_bytes_min: u64,
}

impl Room {
    /// Whether there is room for a write.
    ///
    /// Blocks are refused once less is left than is kept free. Half of what is kept free is for what members of committees sign meanwhile,
    /// within each chain's slice: a node that cannot remember what it signed cannot vote. Another three eighths are for what makes room, which
    /// writes marks where rows were. The last eighth is RocksDB's, which needs space to write files anew without these rows.
    pub(super) fn check(&self, purpose: Purpose) -> Result<(), StoreError> {
        let kept = match purpose {
            Purpose::Data => self.free_bytes_min,
            Purpose::Log => self.free_bytes_min / 2,
            Purpose::Release => self.free_bytes_min / 8,
        };
        match self.free_bytes {
            Some(free) if free < kept => {
                Err(StoreError::Full(format!("{free} bytes are left, of which {} are kept free", self.free_bytes_min)))
            }
            _ => Ok(()),
        }
    }
}

/// How long a look at the disk is believed.
const GUARD_EVERY: Duration = Duration::from_millis(200);

/// Patient orders of late.
#[derive(Default)]
struct Company {
    /// Bound: the synced writes of one second, with 16 bytes each.
    recent: VecDeque<Instant>,
}

impl Company {
    /// Until when an order may wait for others, where others are likely to come.
    fn wait_until(&mut self, patience: Duration) -> Option<Instant> {
        let now = Instant::now();
        if patience.is_zero() {
            return None;
        }
        self.recent.retain(|order| now.duration_since(*order) < RECENT);
        self.recent.push_back(now);
        (self.recent.len() > COMPANY).then(|| now + patience)
    }
}

/// The orders of one write: the first, and those that come while it is patient, or wait already.
fn gather(first: Job, queue: &mpsc::Receiver<Job>, company: &mut Company) -> Vec<Job> {
    let mut until = company.wait_until(first.order.patience);
    let mut bytes = first.bytes;
    let mut jobs = vec![first];
    while bytes < GATHERED_BYTES_MAX {
        let left = until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
        let next = match left {
            Some(left) => queue.recv_timeout(left).ok(),
            None => queue.try_recv().ok(),
        };
        let Some(job) = next else {
            if left.is_some() {
                // Waited long enough; what has come meanwhile still goes along.
                until = None;
                continue;
            }
            break;
        };
        // One that is in a hurry takes all others along.
        until = until.and_then(|until| Some(until.min(company.wait_until(job.order.patience)?)));
        bytes += job.bytes;
        jobs.push(job);
    }
    jobs
}

fn run(db: &Db, queue: &mpsc::Receiver<Job>, guard: &DiskGuard, counts: &Counts) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let mut looked = Instant::now();
    let mut room = guard.room();
    let mut company = Company::default();
    while let Ok(first) = queue.recv() {
        let jobs = gather(first, queue, &mut company);
        if looked.elapsed() > GUARD_EVERY {
            (looked, room) = (Instant::now(), guard.room());
        }
        let mut batch = WriteBatchWithTransaction::<false>::default();
        let mut waiting = Vec::new();
        let (orders, answers): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.order, job.done)).unzip();
        let mut held = Vec::new();
        for (order, done) in orders.iter().zip(answers) {
            if let Err(full) = room.check(order.purpose) {
                // A waiter that is gone does not need the answer.
                drop(done.send(Err(full)));
                continue;
            }
            // Held until the batch is written: a family is not emptied for another chain before.
            let Some((family, alive)) = db.cf_handle(&order.family).zip(order.alive.hold()) else {
                drop(done.send(Err(StoreError::Closed)));
                continue;
            };
            for (key, value) in &order.ops {
                match value {
                    Some(value) => batch.put_cf(&family, key, value),
                    None => batch.delete_cf(&family, key),
                }
            }
            held.push(alive);
            waiting.push(done);
        }
        if waiting.is_empty() {
            continue;
        }
        let written = db.write_opt(batch, &synced).map_err(store_error);
        drop(held);
        counts.synced_writes.fetch_add(1, Ordering::Relaxed);
        counts.batches.fetch_add(waiting.len() as u64, Ordering::Relaxed);
        for done in waiting {
            drop(done.send(written.clone()));
        }
    }
}
