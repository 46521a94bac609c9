//! What one peer sends and is sent for one chain and purpose: room, answers, and the queue towards it. A lane lasts as long as the connection,
//! whatever streams the peer opens and whatever chains it leaves and joins.
//!
//! The queue has one writer, which has one stream at a time. A peer that leaves the chain has its stream reset and the frames that wait dropped;
//! what is sent after it has come back waits, within the bounds of the same queue, until the peer has acknowledged the reset. A peer that reads
//! nothing, or acknowledges nothing, so makes this node hold one queue and one stream, however often it leaves and comes back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use quinn::{Connection, SendStream, VarInt};
use subnode_scheduler::Quota;
use subnode_types::{NodeId, Purpose};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    chain::Chain,
    frame::{FrameError, set_priority, write_frame, write_header},
    limits::{LANE_ANSWERS, lane_room, lock, price, queue_max},
    tasks::Tasks,
};

/// How soon it is asked whether a stream's reset was acknowledged, which quinn does not tell, and how often at last: twice as long each time. A
/// peer that left and came back waits so much longer.
const RESET_POLL: Duration = Duration::from_millis(20);
const RESET_POLL_MAX: Duration = Duration::from_secs(2);
/// What waits when a chain leaves goes out within this time, or is dropped.
const LEFT_WITHIN: Duration = Duration::from_secs(5);

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
    queue: Mutex<Queue>,
    /// Notified once a frame is queued.
    queued: Notify,
    /// Bytes of the frames that are queued or being written.
    bytes: Quota,
}

/// Frames that wait to be sent.
#[derive(Default)]
struct Queue {
    /// Bound: [`queue_max`] frames and bytes; bytes are taken before a frame is queued.
    frames: VecDeque<Bytes>,
    /// Ends the stream that they go by.
    stream: CancellationToken,
    /// Whether there is a writer.
    written: bool,
}

impl Lane {
    pub(crate) fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            room: Arc::new(Semaphore::new(lane_room(purpose))),
            answers: Arc::new(Semaphore::new(LANE_ANSWERS)),
            listened: Mutex::default(),
            queue: Mutex::default(),
            queued: Notify::new(),
            bytes: Quota::new(queue_max(purpose).1),
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

    /// Drops what waits to be sent, and resets the stream towards the peer.
    pub(crate) fn close_queue(&self) {
        let mut queue = lock(&self.queue);
        let dropped = queue.frames.drain(..).map(|frame| price(frame.len()) as u64).sum();
        self.bytes.give(dropped);
        std::mem::take(&mut queue.stream).cancel();
    }

    /// Queues a frame; false where too many wait.
    pub(crate) fn send(self: &Arc<Self>, tasks: &Tasks, connection: &Connection, chain: &Arc<Chain>, to: NodeId, frame: Bytes) -> bool {
        let mut queue = lock(&self.queue);
        let (frames_max, _) = queue_max(self.purpose);
        if queue.frames.len() >= frames_max || self.bytes.take(price(frame.len()) as u64).is_err() {
            return false;
        }
        queue.frames.push_back(frame);
        if !std::mem::replace(&mut queue.written, true) {
            let (lane, connection, chain) = (self.clone(), connection.clone(), chain.clone());
            tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = lane.write(&connection, &chain, to) => {}
                    _ = connection.closed() => {}
                    () = lane.close_after(&chain) => {}
                }
            });
        }
        self.queued.notify_one();
        true
    }

    /// Once the chain has left: drops what did not go out since. Never ends.
    async fn close_after(&self, chain: &Chain) {
        chain.left().await;
        tokio::time::sleep(LEFT_WITHIN).await;
        self.close_queue();
        std::future::pending().await
    }

    /// Sends what is queued on one stream after another, until the connection ends, or the chain has left and nothing waits.
    async fn write(&self, connection: &Connection, chain: &Chain, to: NodeId) {
        while let Some(open) = self.waiting(chain).await {
            let Some(opened) = open.run_until_cancelled(connection.open_uni()).await else { continue };
            let Ok(mut stream) = opened else { return };
            set_priority(&stream, self.purpose);
            let mut writing = 0;
            let written = open.run_until_cancelled(self.write_frames(&mut stream, chain, to, &open, &mut writing)).await;
            match written {
                Some(Ok(())) => return,
                Some(Err(error)) => tracing::debug!(peer = %to, %error, "a stream ended"),
                None => {}
            }
            // What is written and not acknowledged is dropped with it. It was reset already where the peer stopped it.
            drop(stream.reset(VarInt::from_u32(0)));
            let mut poll = RESET_POLL;
            while stream.priority().is_ok() {
                tokio::time::sleep(poll).await;
                poll = (poll * 2).min(RESET_POLL_MAX);
            }
            self.bytes.give(writing);
        }
    }

    /// Waits for a frame; what ends the stream that it is to go by. None once the chain has left.
    async fn waiting(&self, chain: &Chain) -> Option<CancellationToken> {
        loop {
            {
                let mut queue = lock(&self.queue);
                if !queue.frames.is_empty() {
                    return Some(queue.stream.clone());
                }
                if chain.has_left() {
                    queue.written = false;
                    return None;
                }
            }
            tokio::select! {
                biased;
                () = self.queued.notified() => {}
                () = chain.left() => {}
            }
        }
    }

    /// Sends what is queued until the chain has left and nothing waits, or the peer stops the stream. `writing` are the bytes of the frame that is
    /// being written.
    async fn write_frames(
        &self,
        stream: &mut SendStream,
        chain: &Chain,
        to: NodeId,
        open: &CancellationToken,
        writing: &mut u64,
    ) -> Result<(), FrameError> {
        write_header(stream, chain.key, self.purpose).await?;
        let mut first = true;
        while self.waiting(chain).await.is_some() {
            let Some(frame) = self.next(open) else { std::future::pending().await };
            let bytes = price(frame.len());
            *writing = bytes as u64;
            chain.pass(chain.payer(self.purpose, to), bytes).await;
            chain.sent(frame.len());
            if let Err(error) = write_frame(stream, frame.clone()).await {
                // The peer left the chain and came back, of which its list says nothing where that was quick. It takes the frame on another stream,
                // unless it takes none for this purpose.
                if !first && self.put_back(open, frame) {
                    *writing = 0;
                }
                return Err(error);
            }
            first = false;
            self.bytes.give(std::mem::take(writing));
        }
        Ok(())
    }

    /// The frame that waits longest, if it is to go by this stream.
    fn next(&self, open: &CancellationToken) -> Option<Bytes> {
        let mut queue = lock(&self.queue);
        // Cancelled under the same lock.
        if open.is_cancelled() { None } else { queue.frames.pop_front() }
    }

    /// Has a frame sent first on the next stream; false where it was queued for none but this one.
    fn put_back(&self, open: &CancellationToken, frame: Bytes) -> bool {
        let mut queue = lock(&self.queue);
        let wanted = !open.is_cancelled();
        if wanted {
            queue.frames.push_front(frame);
        }
        wanted
    }
}
