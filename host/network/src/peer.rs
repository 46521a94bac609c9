//! A connection to another node, and what this node sends over it. Each chain has a stream for each purpose and direction, so that none waits for
//! another's lost packet or full mailbox.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quinn::Connection;
use subnode_types::{NodeId, Purpose};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::Chain,
    frame::{ChainKey, FrameError, QUESTION_BYTES_MAX, frame_bytes_max, read_frame, set_priority, write_frame, write_header},
    lane::{self, Lane},
    limits::{MEMBER_ANSWERS, PEER_ROOM, STRANGER_ANSWERS, lock, price, source},
    tasks::Tasks,
};

/// Broken rules after which a peer is dropped.
const FAULTS_MAX: u64 = 8;
/// How long a question waits for its answer.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection to it, or it does not have the chain.
    #[error("the node is not connected, or does not have the chain")]
    NotConnected,
    /// It takes frames more slowly than they come.
    #[error("too many frames wait for the node")]
    Busy,
    /// Longer than a frame may be.
    #[error("a frame of {0} bytes, at most {1}")]
    TooLong(usize, usize),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It could not be asked.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It did not answer in time.
    #[error("no answer within {ANSWERED_WITHIN:?}")]
    Timeout,
    /// It does not want to, or the connection ended.
    #[error("refused: {0}")]
    Refused(String),
}

/// A node that is connected.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) connection: Connection,
    /// Whether the node with the lesser id called: of two connections between two nodes, that one stays.
    pub(crate) preferred: bool,
    pub(crate) since: Instant,
    /// Bound: [`CHAINS_MAX`](crate::handshake::CHAINS_MAX) keys of 32 bytes, 128 KiB as they were sent.
    chains: Mutex<BTreeSet<ChainKey>>,
    /// Notified once the peer has other chains.
    pub(crate) told: Notify,
    /// Bound: four lanes of some 600 bytes for each chain that is here, one for each content; what goes through a lane has bounds of its own.
    lanes: Mutex<BTreeMap<(ChainKey, Purpose), Arc<Lane>>>,
    room: Arc<Semaphore>,
    answers: [Arc<Semaphore>; 2],
    faults: AtomicU64,
    /// Cancelled once it is not listed any more.
    pub(crate) unlisted: CancellationToken,
}

impl Peer {
    pub(crate) fn new(id: NodeId, connection: Connection, preferred: bool, chains: BTreeSet<ChainKey>) -> Self {
        Self {
            id,
            connection,
            preferred,
            since: Instant::now(),
            chains: Mutex::new(chains),
            told: Notify::new(),
            lanes: Mutex::default(),
            room: Arc::new(Semaphore::new(PEER_ROOM)),
            answers: [STRANGER_ANSWERS, MEMBER_ANSWERS].map(|places| Arc::new(Semaphore::new(places))),
            faults: AtomicU64::new(0),
            unlisted: CancellationToken::new(),
        }
    }

    pub(crate) fn chains(&self) -> BTreeSet<ChainKey> {
        lock(&self.chains).clone()
    }

    pub(crate) fn set_chains(&self, chains: BTreeSet<ChainKey>) {
        // The lanes stay: a peer that leaves a chain and comes back finds the room as it left it.
        lock(&self.lanes).iter().filter(|((key, _), _)| !chains.contains(key)).for_each(|(_, lane)| lane.close_queue());
        *lock(&self.chains) = chains;
        self.told.notify_one();
    }

    pub(crate) fn has(&self, chain: ChainKey) -> bool {
        lock(&self.chains).contains(&chain)
    }

    /// Forgets the lanes of a chain that has left: their streams end within seconds, whatever the peer reads.
    pub(crate) fn forget(&self, chain: ChainKey) {
        lock(&self.lanes).retain(|(key, _), _| *key != chain);
    }

    /// What the peer sends and is sent for a chain that is here.
    pub(crate) fn lane(&self, chain: ChainKey, purpose: Purpose) -> Arc<Lane> {
        lock(&self.lanes).entry((chain, purpose)).or_insert_with(|| Arc::new(Lane::new(purpose))).clone()
    }

    /// Room for a frame of the peer's, whatever chain it is for.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        lane::take(&self.room, bytes).await
    }

    #[cfg(test)]
    pub(crate) fn room_left(&self) -> usize {
        self.room.available_permits()
    }

    /// A place for an answer to the peer, whatever chain it asked.
    pub(crate) async fn answer(&self, member: bool) -> Option<OwnedSemaphorePermit> {
        let [strangers, members] = &self.answers;
        lane::take(if member { members } else { strangers }, 1).await
    }

    /// The address that it counts for among strangers.
    pub(crate) fn source(&self) -> IpAddr {
        source(self.connection.remote_address().ip())
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Counts a rule that the peer broke; whether these are too many.
    pub(crate) fn fault(&self) -> bool {
        self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX
    }

    /// Queues a frame.
    pub(crate) fn send(&self, tasks: &Tasks, chain: &Arc<Chain>, purpose: Purpose, frame: Bytes) -> Result<(), SendError> {
        check_length(&frame, frame_bytes_max(purpose))?;
        if !self.has(chain.key) || self.connection.close_reason().is_some() {
            return Err(SendError::NotConnected);
        }
        if self.lane(chain.key, purpose).send(tasks, &self.connection, chain, self.id, frame) {
            return Ok(());
        }
        chain.dropped();
        Err(SendError::Busy)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn request(&self, chain: &Chain, purpose: Purpose, frame: Bytes) -> Result<Bytes, RequestError> {
        check_length(&frame, QUESTION_BYTES_MAX)?;
        if !self.has(chain.key) {
            return Err(SendError::NotConnected.into());
        }
        let payer = chain.payer(purpose, self.id);
        let asked = async {
            let gone = |error: quinn::ConnectionError| FrameError::Gone(error.to_string());
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(gone)?;
            set_priority(&send, purpose);
            chain.pass(payer, price(frame.len())).await;
            chain.sent(frame.len());
            write_header(&mut send, chain.key, purpose).await?;
            write_frame(&mut send, frame).await?;
            drop(send.finish());
            let answer = read_frame(&mut receive, frame_bytes_max(purpose)).await?;
            answer.ok_or_else(|| FrameError::Gone("it has no answer".into()))
        };
        match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
            Ok(Ok(answer)) => {
                chain.pay(payer, price(answer.len()));
                chain.received(answer.len());
                Ok(answer)
            }
            Ok(Err(error)) => Err(RequestError::Refused(error.to_string())),
            Err(_) => Err(RequestError::Timeout),
        }
    }
}

fn check_length(frame: &Bytes, max: usize) -> Result<(), SendError> {
    if frame.len() <= max { Ok(()) } else { Err(SendError::TooLong(frame.len(), max)) }
}
