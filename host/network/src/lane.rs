//! What one peer sends and is sent for one chain and purpose: room, answers, and the queue towards it. A lane lasts as long as the connection,
//! whatever streams the peer opens and whatever chains it leaves and joins.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quinn::Connection;
use subnode_scheduler::Quota;
use subnode_types::{NodeId, Purpose};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chain::Chain,
    frame::{FrameError, set_priority, write_frame, write_header},
    limits::{LANE_ANSWERS, lane_room, lock, price, queue_max},
};

/// Takes so many bytes of room, once they are there.
pub(crate) async fn take(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    room.clone().acquire_many_owned(u32::try_from(bytes).ok()?).await.ok()
}

pub(crate) struct Lane {
    purpose: Purpose,
    room: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// Ends the stream that is listened to.
    listened: Mutex<CancellationToken>,
    queue: Mutex<Option<Queue>>,
}

/// Frames that wait to be sent.
#[derive(Clone)]
struct Queue {
    frames: mpsc::Sender<Bytes>,
    bytes: Arc<Quota>,
}

impl Lane {
    pub(crate) fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            room: Arc::new(Semaphore::new(lane_room(purpose))),
            answers: Arc::new(Semaphore::new(LANE_ANSWERS)),
            listened: Mutex::default(),
            queue: Mutex::default(),
        }
    }

    /// Begins to listen to a stream, in place of the one before: a peer has one for each chain and purpose. Cancelled once another begins.
    pub(crate) fn listen(&self) -> CancellationToken {
        let token = CancellationToken::new();
        std::mem::replace(&mut *lock(&self.listened), token.clone()).cancel();
        token
    }

    /// Room for a frame, until its chain has dealt with it.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        take(&self.room, bytes).await
    }

    #[cfg(test)]
    pub(crate) fn room_left(&self) -> usize {
        self.room.available_permits()
    }

    #[cfg(test)]
    pub(crate) fn answers_left(&self) -> usize {
        self.answers.available_permits()
    }

    /// A place for an answer.
    pub(crate) async fn answer(&self) -> Option<OwnedSemaphorePermit> {
        take(&self.answers, 1).await
    }

    /// Ends the stream towards the peer, once what waits is sent.
    pub(crate) fn close_queue(&self) {
        *lock(&self.queue) = None;
    }

    /// Queues a frame; false where too many wait.
    pub(crate) fn send(&self, tasks: &TaskTracker, connection: &Connection, chain: &Arc<Chain>, to: NodeId, frame: Bytes) -> bool {
        let mut queue = lock(&self.queue);
        // One that is closed had its stream stopped: the peer left the chain, and came back.
        let queue = match &*queue {
            Some(open) if !open.frames.is_closed() => open.clone(),
            _ => queue.insert(self.start(tasks, connection, chain, to)).clone(),
        };
        let bytes = price(frame.len()) as u64;
        if queue.bytes.take(bytes).is_err() {
            return false;
        }
        let sent = queue.frames.try_send(frame).is_ok();
        if !sent {
            queue.bytes.give(bytes);
        }
        sent
    }

    fn start(&self, tasks: &TaskTracker, connection: &Connection, chain: &Arc<Chain>, to: NodeId) -> Queue {
        let (frames_max, bytes_max) = queue_max(self.purpose);
        // Bound: `frames_max` frames of `bytes_max` bytes together; bytes are taken before a frame is queued.
        let (frames, waiting) = mpsc::channel(frames_max);
        let bytes = Arc::new(Quota::new(bytes_max));
        let (connection, chain, purpose, queued) = (connection.clone(), chain.clone(), self.purpose, bytes.clone());
        tasks.spawn(async move {
            // The queue outlives the connection where nothing more is sent: its end is what ends this.
            tokio::select! {
                biased;
                written = write(&connection, &chain, to, purpose, waiting, &queued) => if let Err(error) = written {
                    tracing::debug!(peer = %to, %error, "a stream ended");
                },
                _ = connection.closed() => {}
            }
        });
        Queue { frames, bytes }
    }
}

/// Sends what is queued, until the queue is dropped or the peer stops the stream.
async fn write(
    connection: &Connection,
    chain: &Chain,
    to: NodeId,
    purpose: Purpose,
    mut frames: mpsc::Receiver<Bytes>,
    queued: &Quota,
) -> Result<(), FrameError> {
    let mut stream = connection.open_uni().await.map_err(|error| FrameError::Gone(error.to_string()))?;
    set_priority(&stream, purpose);
    write_header(&mut stream, chain.key, purpose).await?;
    let mut stopped = std::pin::pin!(stream.stopped());
    loop {
        let frame = tokio::select! {
            biased;
            _ = &mut stopped => return Ok(()),
            frame = frames.recv() => frame,
        };
        let Some(frame) = frame else { return Ok(()) };
        let bytes = frame.len();
        chain.pass(chain.payer(purpose, to), price(bytes)).await;
        chain.sent(bytes);
        write_frame(&mut stream, frame).await?;
        queued.give(price(bytes) as u64);
    }
}
