//! One writer for all chains: whatever waits goes into one synced write.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
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
}

impl Writer {
    pub(super) fn start(db: Arc<Db>) -> Self {
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("subnode-writer".into())
            .spawn(move || run(&db, &queue))
            .inspect_err(|error| tracing::error!(%error, "no thread for the writer"))
            .ok();
        Self { jobs: Some(Mutex::new(jobs)), thread }
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
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(db: &Db, queue: &mpsc::Receiver<Job>) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    while let Ok(first) = queue.recv() {
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
        for done in waiting {
            // A waiter that is gone does not need the answer.
            drop(done.send(written.clone()));
        }
    }
}
