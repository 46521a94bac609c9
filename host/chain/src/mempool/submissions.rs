//! Transactions that wait to be checked: clients' first, those of other nodes in turn. Each takes its bytes from whoever sent it before it is queued.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use subnode_chain_core::OVERHEAD_BYTES;
use subnode_sandbox::{Lease, Tenant};
use subnode_types::NodeId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{error::RpcError, waiting::Waiting};

/// Of all clients; further ones wait. Requests are bounded by the port, which does not tell clients apart here.
const CLIENTS_MAX: usize = 4_096;
const CLIENTS_BYTES: usize = 32 << 20;
/// Of one node: two of the longest. What does not fit is dropped, as its sender has it.
const NODE_BYTES: usize = 2 << 20;
/// Of all nodes that are in no committee: members have room whatever these send.
const STRANGERS_BYTES: usize = 16 << 20;
/// Checked in one call; the contract's bound is 1024.
const BATCH_MAX: usize = 512;
/// The same in bytes, but for a single longer one: the guest has a copy, and the host another.
const BATCH_BYTES: usize = 4 << 20;
/// Of a batch, what other nodes sent has so many places where it waits: clients first does not mean clients alone.
const BATCH_OF_NODES: usize = BATCH_MAX / 4;

/// Where a transaction comes from.
pub(crate) enum Origin {
    /// A client of this node's, which is answered with the transaction's id.
    Client(oneshot::Sender<Result<Option<Vec<u8>>, RpcError>>),
    /// The same, where the runtime completed it. The answer is none where its sequence is taken, or the chain was reverted: it has to be completed
    /// anew.
    Completed(oneshot::Sender<Result<Option<Vec<u8>>, RpcError>>),
    /// Another node, which sent it to all it knows.
    Peer,
}

pub(crate) struct Submission {
    pub(crate) data: Vec<u8>,
    pub(crate) origin: Origin,
    pub(crate) charge: Charge,
}

/// What a transaction takes while it waits and is checked; given back when dropped.
pub(crate) struct Charge {
    _client: Option<OwnedSemaphorePermit>,
    _lease: Option<Lease>,
    strangers: Option<(Arc<AtomicUsize>, usize)>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some((strangers, bytes)) = &self.strangers {
            strangers.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

fn price(data: &[u8]) -> usize {
    data.len().saturating_add(OVERHEAD_BYTES)
}

/// Where transactions are handed in.
pub(crate) struct Submissions {
    tenant: Tenant,
    clients: mpsc::Sender<Submission>,
    clients_room: Arc<Semaphore>,
    nodes: Arc<OfNodes>,
}

struct OfNodes {
    /// Bound: [`NODE_BYTES`] bytes for each node, and [`STRANGERS_BYTES`] for all that are in no committee; the memory slice is charged for both.
    waiting: Mutex<Waiting<Submission>>,
    strangers: Arc<AtomicUsize>,
    more: Notify,
}

impl OfNodes {
    fn lock(&self) -> MutexGuard<'_, Waiting<Submission>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where they are taken out.
pub(crate) struct Submitted {
    clients: mpsc::Receiver<Submission>,
    nodes: Arc<OfNodes>,
}

/// An empty queue of a chain.
pub(super) fn queue(tenant: Tenant) -> (Submissions, Submitted) {
    // Bound: `CLIENTS_MAX` transactions of `CLIENTS_BYTES` together; their bytes are taken before they are queued.
    let (sender, clients) = mpsc::channel(CLIENTS_MAX);
    let strangers = Arc::default();
    let nodes = Arc::new(OfNodes { waiting: Mutex::new(Waiting::new(NODE_BYTES)), strangers, more: Notify::new() });
    let submissions = Submissions { tenant, clients: sender, clients_room: Arc::new(Semaphore::new(CLIENTS_BYTES)), nodes: nodes.clone() };
    (submissions, Submitted { clients, nodes })
}

impl Submissions {
    /// Queues a client's transaction, once there is room.
    ///
    /// # Errors
    /// Where the chain has stopped, or no room is that large.
    pub(crate) async fn submit(&self, data: Vec<u8>, origin: Origin) -> Result<(), RpcError> {
        let bytes = price(&data);
        let Some(permits) = u32::try_from(bytes).ok().filter(|_| bytes <= CLIENTS_BYTES) else {
            return Err(RpcError::limit("the transaction is longer than all that may wait to be checked"));
        };
        let room = self.clients_room.clone().acquire_many_owned(permits).await.map_err(|_| RpcError::closing())?;
        let charge = Charge { _client: Some(room), _lease: None, strangers: None };
        self.clients.send(Submission { data, origin, charge }).await.map_err(|_| RpcError::closing())
    }

    /// Queues what another node sent; false where there is no room for it. Nothing else of the chain's gives way to it.
    pub(crate) fn offer(&self, from: NodeId, member: bool, data: &[u8]) -> bool {
        let bytes = price(data);
        let strangers = &self.nodes.strangers;
        if !member {
            let take = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= STRANGERS_BYTES);
            if strangers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return false;
            }
        }
        let mut charge = Charge { _client: None, _lease: None, strangers: (!member).then(|| (strangers.clone(), bytes)) };
        if self.tenant.memory().free() < bytes as u64 {
            return false;
        }
        let Ok(lease) = self.tenant.lease(bytes as u64) else { return false };
        charge._lease = Some(lease);
        let submission = Submission { data: data.to_vec(), origin: Origin::Peer, charge };
        let taken = self.nodes.lock().push(from, member, bytes, submission);
        if taken {
            self.nodes.more.notify_one();
        }
        taken
    }
}

impl Submitted {
    /// Adds what is checked next to an empty batch, once there is something; false once nothing comes any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self, batch: &mut Vec<Submission>) -> bool {
        loop {
            self.fill(batch);
            if !batch.is_empty() {
                return true;
            }
            tokio::select! {
                one = self.clients.recv() => match one {
                    Some(one) => batch.push(one),
                    None => return false,
                },
                () = self.nodes.more.notified() => {}
            }
        }
    }

    fn fill(&mut self, batch: &mut Vec<Submission>) {
        let mut nodes = self.nodes.lock();
        let of_clients = if nodes.is_empty() { BATCH_MAX } else { BATCH_MAX - BATCH_OF_NODES };
        let mut bytes = batch.iter().map(|one| price(&one.data)).sum::<usize>();
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES {
            let client = if batch.len() < of_clients { self.clients.try_recv().ok() } else { None };
            let Some(one) = client.or_else(|| nodes.pop()) else { break };
            bytes += price(&one.data);
            batch.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use subnode_scheduler::Cores;
    use subnode_types::{ChainName, Parts};

    use super::*;

    fn tenant(memory_bytes: u64) -> Tenant {
        let name: ChainName = "demo".parse().expect("a name");
        Tenant::new(name, &Cores::new(1), Parts::ONE, memory_bytes)
    }

    fn node(seed: u8) -> NodeId {
        NodeId([seed; 32])
    }

    #[tokio::test]
    async fn junk_of_one_node_takes_neither_clients_room_nor_other_nodes() {
        let tenant = tenant(64 << 20);
        let (submissions, mut submitted) = queue(tenant.clone());
        let taken = (0..1_000_000).take_while(|_| submissions.offer(node(9), false, &[])).count();
        assert_eq!(taken, NODE_BYTES / OVERHEAD_BYTES, "an empty one has its price");
        assert_eq!(tenant.memory().used(), (taken * OVERHEAD_BYTES) as u64);
        assert!(submissions.offer(node(1), true, b"member") && submissions.offer(node(8), false, b"stranger"));
        let (done, _answer) = oneshot::channel();
        submissions.submit(b"client".to_vec(), Origin::Client(done)).await.expect("room");
        let mut batch = Vec::new();
        assert!(submitted.next(&mut batch).await);
        let first: Vec<_> = batch.iter().take(4).map(|one| &*one.data).collect();
        assert_eq!(first, [&b"client"[..], b"member", b"stranger", b""]);
        drop(batch);
        while tenant.memory().used() > 0 {
            let mut batch = Vec::new();
            assert!(submitted.next(&mut batch).await);
        }
    }

    #[tokio::test]
    async fn strangers_together_and_a_full_slice_are_bounded() {
        let tenant = tenant(17 << 20);
        let (submissions, _submitted) = queue(tenant.clone());
        let long = vec![1; 1 << 20];
        let taken = (10..200).filter(|seed| submissions.offer(node(*seed), false, &long)).count();
        assert_eq!(taken, STRANGERS_BYTES / price(&long));
        assert!(submissions.offer(node(1), true, &long), "members have their own");
        assert!(!submissions.offer(node(2), true, &long), "the slice is full, and nothing gives way");
        assert!(tenant.memory().used() <= 17 << 20);
    }

    #[tokio::test]
    async fn clients_that_flood_leave_other_nodes_a_part_of_each_batch() {
        let (submissions, mut submitted) = queue(tenant(64 << 20));
        for _ in 0..CLIENTS_MAX {
            let (done, _) = oneshot::channel();
            submissions.submit(vec![1], Origin::Client(done)).await.expect("room");
        }
        for _ in 0..200 {
            assert!(submissions.offer(node(1), true, &[2]));
        }
        let mut batch = Vec::new();
        assert!(submitted.next(&mut batch).await);
        let of_nodes = batch.iter().filter(|one| matches!(one.origin, Origin::Peer)).count();
        assert_eq!((batch.len(), of_nodes), (BATCH_MAX, BATCH_OF_NODES));
    }
}
