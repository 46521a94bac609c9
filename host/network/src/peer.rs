//! A connection to another node, and what this node sends over it. Each chain has a stream for each purpose and direction, so that none waits for
//! another's lost packet or full mailbox.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::{Connection, SendStream};
use subnode_types::{NodeId, Purpose};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chain::{Chain, lock},
    frame::{ChainKey, FrameError, frame_bytes_max, priority, read_frame, write_frame, write_header},
};

/// Frames that wait to be sent to a peer, by purpose. What does not fit is dropped and counted: a peer that is slow catches up later.
const QUEUED: [usize; 4] = [256, 256, 64, 16];
/// Broken rules after which a peer is dropped.
const FAULTS_MAX: u64 = 8;
/// How long a question waits for its answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

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
    chains: Mutex<BTreeSet<ChainKey>>,
    queues: Mutex<BTreeMap<(ChainKey, Purpose), mpsc::Sender<Bytes>>>,
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
            queues: Mutex::default(),
            faults: AtomicU64::new(0),
            unlisted: CancellationToken::new(),
        }
    }

    pub(crate) fn chains(&self) -> BTreeSet<ChainKey> {
        lock(&self.chains).clone()
    }

    pub(crate) fn set_chains(&self, chains: BTreeSet<ChainKey>) {
        *lock(&self.chains) = chains;
    }

    pub(crate) fn has(&self, chain: ChainKey) -> bool {
        lock(&self.chains).contains(&chain)
    }

    /// Ends the streams of a chain that has left.
    pub(crate) fn forget(&self, chain: ChainKey) {
        lock(&self.queues).retain(|(key, _), _| *key != chain);
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Counts a rule that the peer broke; whether these are too many.
    pub(crate) fn fault(&self) -> bool {
        self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX
    }

    /// Queues a frame.
    pub(crate) fn send(self: &Arc<Self>, tasks: &TaskTracker, chain: &Arc<Chain>, purpose: Purpose, frame: Bytes) -> Result<(), SendError> {
        check_length(purpose, &frame)?;
        if !self.has(chain.key) || self.connection.close_reason().is_some() {
            return Err(SendError::NotConnected);
        }
        let mut queues = lock(&self.queues);
        let queue = queues.entry((chain.key, purpose)).or_insert_with(|| self.start_queue(tasks, chain, purpose));
        if queue.is_closed() {
            // Its stream was stopped: the peer left the chain, and came back.
            *queue = self.start_queue(tasks, chain, purpose);
        }
        queue.try_send(frame).map_err(|_| {
            chain.dropped();
            SendError::Busy
        })
    }

    fn start_queue(self: &Arc<Self>, tasks: &TaskTracker, chain: &Arc<Chain>, purpose: Purpose) -> mpsc::Sender<Bytes> {
        let (queue, frames) = mpsc::channel(QUEUED[purpose as usize]);
        let (peer, chain) = (self.clone(), chain.clone());
        tasks.spawn(async move {
            // The queue outlives the connection where nothing more is sent: its end is what ends this.
            tokio::select! {
                written = peer.write(&chain, purpose, frames) => if let Err(error) = written {
                    tracing::debug!(peer = %peer.id, %error, "a stream ended");
                },
                _ = peer.connection.closed() => {}
            }
        });
        queue
    }

    async fn write(&self, chain: &Chain, purpose: Purpose, mut frames: mpsc::Receiver<Bytes>) -> Result<(), FrameError> {
        let mut stream = self.connection.open_uni().await.map_err(|error| FrameError::Gone(error.to_string()))?;
        set_priority(&stream, purpose);
        write_header(&mut stream, chain.key, purpose).await?;
        while let Some(frame) = frames.recv().await {
            chain.may_pass(purpose).await;
            chain.sent(frame.len());
            write_frame(&mut stream, frame).await?;
        }
        Ok(())
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn request(&self, chain: &Chain, purpose: Purpose, frame: Bytes) -> Result<Bytes, RequestError> {
        check_length(purpose, &frame)?;
        if !self.has(chain.key) {
            return Err(SendError::NotConnected.into());
        }
        let asked = async {
            let gone = |error: quinn::ConnectionError| FrameError::Gone(error.to_string());
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(gone)?;
            set_priority(&send, purpose);
            chain.may_pass(purpose).await;
            chain.sent(frame.len());
            write_header(&mut send, chain.key, purpose).await?;
            write_frame(&mut send, frame).await?;
            drop(send.finish());
            let answer = read_frame(&mut receive, frame_bytes_max(purpose)).await?;
            answer.ok_or_else(|| FrameError::Gone("it has no answer".into()))
        };
        match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
            Ok(Ok(answer)) => {
                chain.received(answer.len());
                Ok(answer)
            }
            Ok(Err(error)) => Err(RequestError::Refused(error.to_string())),
            Err(_) => Err(RequestError::Timeout),
        }
    }
}

fn check_length(purpose: Purpose, frame: &Bytes) -> Result<(), SendError> {
    let max = frame_bytes_max(purpose);
    if frame.len() <= max { Ok(()) } else { Err(SendError::TooLong(frame.len(), max)) }
}

pub(crate) fn set_priority(stream: &SendStream, purpose: Purpose) {
    // A stream that is gone says so when it is written to.
    drop(stream.set_priority(priority(purpose)));
}
