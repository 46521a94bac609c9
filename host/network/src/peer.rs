//! A connection to another node, and all that goes over it. Each chain has a stream for each purpose and direction, so that none waits for
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
use quinn::{Connection, RecvStream, SendStream};
use subnode_scheduler::TokenBucket;
use subnode_types::{NodeId, Purpose};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::{Chain, Received, Request, lock},
    frame::{ChainKey, FrameError, frame_bytes_max, priority, read_frame, read_header, write_frame, write_header},
    handshake::Reason,
    network::Shared,
};

/// Frames that wait to be sent to a peer, by purpose. What does not fit is dropped and counted: a peer that is slow catches up later.
const QUEUED: [usize; 4] = [256, 256, 64, 16];
/// Of consensus messages of one chain: a committee of a hundred that changes its view ten times a second needs a tenth of it.
const CONSENSUS_BYTES_PER_SECOND: u64 = 4 << 20;
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

    /// Counts a rule that the peer broke, and drops it after too many.
    pub(crate) fn fault(&self, shared: &Shared, error: &dyn std::fmt::Display) {
        tracing::debug!(peer = %self.id, %error, "a peer broke the protocol");
        if self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX {
            tracing::warn!(peer = %self.id, %error, "a peer broke the protocol too often and is left alone for a while");
            shared.shun(self.id);
            Reason::Misbehaved.close(&self.connection, "too many broken rules");
        }
    }

    /// Queues a frame.
    pub(crate) fn send(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        chain: &Arc<Chain>,
        purpose: Purpose,
        frame: Bytes,
    ) -> Result<(), SendError> {
        check_length(purpose, &frame)?;
        if !self.has(chain.key) || self.connection.close_reason().is_some() {
            return Err(SendError::NotConnected);
        }
        let mut queues = lock(&self.queues);
        let queue = queues.entry((chain.key, purpose)).or_insert_with(|| self.start_queue(shared, chain, purpose));
        if queue.is_closed() {
            // Its stream was stopped: the peer left the chain, and came back.
            *queue = self.start_queue(shared, chain, purpose);
        }
        queue.try_send(frame).map_err(|_| {
            chain.dropped();
            SendError::Busy
        })
    }

    fn start_queue(self: &Arc<Self>, shared: &Arc<Shared>, chain: &Arc<Chain>, purpose: Purpose) -> mpsc::Sender<Bytes> {
        let (queue, frames) = mpsc::channel(QUEUED[purpose as usize]);
        let (peer, chain) = (self.clone(), chain.clone());
        shared.tasks.spawn(async move {
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

    /// Takes what the peer sends, until the connection ends.
    pub(crate) async fn serve(self: &Arc<Self>, shared: &Arc<Shared>) -> quinn::ConnectionError {
        loop {
            tokio::select! {
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => self.spawn(shared, Self::take_frames, stream),
                    Err(error) => return error,
                },
                stream = self.connection.accept_bi() => match stream {
                    Ok(stream) => self.spawn(shared, Self::take_request, stream),
                    Err(error) => return error,
                },
            }
        }
    }

    fn spawn<S: Send + 'static, F: Future<Output = Result<(), FrameError>> + Send + 'static>(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        take: fn(Arc<Self>, Arc<Shared>, S) -> F,
        stream: S,
    ) {
        let (peer, shared) = (self.clone(), shared.clone());
        shared.clone().tasks.spawn(async move {
            let taken = tokio::select! {
                taken = take(peer.clone(), shared.clone(), stream) => taken,
                // A chain that does not read may keep a frame waiting for ever.
                _ = peer.connection.closed() => return,
            };
            if let Err(error) = taken
                && error.is_fault()
            {
                peer.fault(&shared, &error);
            }
        });
    }

    /// The chain that a stream is for, if it is here and the peer may speak for that purpose.
    fn chain_for(&self, shared: &Shared, key: ChainKey, purpose: Purpose) -> Option<Arc<Chain>> {
        // A chain that has just left is no fault of the peer's, nor is a member that is one no longer.
        let chain = shared.chain(key)?;
        (purpose != Purpose::Consensus || chain.is_member(self.id)).then_some(chain)
    }

    async fn take_frames(self: Arc<Self>, shared: Arc<Shared>, mut stream: RecvStream) -> Result<(), FrameError> {
        let (key, purpose) = read_header(&mut stream).await?;
        let Some(chain) = self.chain_for(&shared, key, purpose) else { return Ok(()) };
        let started = Instant::now();
        let mut budget = TokenBucket::new(CONSENSUS_BYTES_PER_SECOND, Duration::ZERO);
        while let Some(frame) = read_frame(&mut stream, frame_bytes_max(purpose)).await? {
            chain.received(frame.len());
            if purpose == Purpose::Consensus {
                // It does not wait for the chain's slice, so that a peer's other traffic does not stop it; each peer has a limit of its own.
                budget.spend(frame.len() as u64, started.elapsed());
                tokio::time::sleep(budget.debt(started.elapsed())).await;
            }
            if !chain.deliver(Received { from: self.id, purpose, frame }).await {
                return Ok(());
            }
            chain.may_pass(purpose).await;
        }
        Ok(())
    }

    async fn take_request(
        self: Arc<Self>,
        shared: Arc<Shared>,
        (mut send, mut receive): (SendStream, RecvStream),
    ) -> Result<(), FrameError> {
        let (key, purpose) = read_header(&mut receive).await?;
        let frame = read_frame(&mut receive, frame_bytes_max(purpose)).await?.ok_or(FrameError::Truncated)?;
        let Some(chain) = self.chain_for(&shared, key, purpose) else { return Ok(()) };
        chain.received(frame.len());
        set_priority(&send, purpose);
        let (answer, answered) = oneshot::channel();
        if !chain.ask(Request { from: self.id, purpose, frame, answer }) {
            return Ok(());
        }
        // One that is dropped is refused: the stream ends without a frame.
        let Ok(answer) = answered.await else { return Ok(()) };
        if answer.len() > frame_bytes_max(purpose) {
            tracing::error!(bytes = answer.len(), "an answer is longer than a frame may be");
            return Ok(());
        }
        chain.may_pass(purpose).await;
        chain.sent(answer.len());
        write_frame(&mut send, answer).await
    }
}

fn check_length(purpose: Purpose, frame: &Bytes) -> Result<(), SendError> {
    let max = frame_bytes_max(purpose);
    if frame.len() <= max { Ok(()) } else { Err(SendError::TooLong(frame.len(), max)) }
}

fn set_priority(stream: &SendStream, purpose: Purpose) {
    // A stream that is gone says so when it is written to.
    drop(stream.set_priority(priority(purpose)));
}
