//! Takes what a peer sends: a task for each of its streams. What a frame takes is found and paid before the frame is read; until then it is in the
//! windows of the connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use subnode_peers::{Incoming, Received, Request};
use subnode_types::Purpose;

use crate::{
    chain::Chain,
    frame::{
        ChainKey, FrameError, QUESTION_BYTES_MAX, frame_bytes_max, read_bytes, read_frame, read_header, read_length, set_priority,
        write_frame,
    },
    handshake::Reason,
    lane::Lane,
    limits::{FRAME_WITHIN, MEMBER_FRAME_WITHIN, price},
    mailbox::Held,
    peer::{ANSWERED_WITHIN, Peer},
    registry::Registry,
};

/// Counts a rule that a peer broke, and drops it after too many.
pub(crate) fn fault(registry: &Registry, peer: &Peer, error: &dyn std::fmt::Display) {
    tracing::debug!(peer = %peer.id, %error, "a peer broke the protocol");
    if peer.fault() {
        tracing::warn!(peer = %peer.id, %error, "a peer broke the protocol too often and is left alone for a while");
        registry.shun(peer.id);
        Reason::Misbehaved.close(&peer.connection, "too many broken rules");
    }
}

/// Takes what the peer sends, until the connection ends.
pub(crate) async fn serve(registry: &Arc<Registry>, peer: &Arc<Peer>) -> quinn::ConnectionError {
    let frames = async {
        loop {
            match peer.connection.accept_uni().await {
                Ok(stream) => spawn(registry, peer, take_frames, stream),
                Err(error) => return error,
            }
        }
    };
    let requests = async {
        loop {
            match peer.connection.accept_bi().await {
                Ok(stream) => spawn(registry, peer, take_request, stream),
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        biased;
        ended = frames => ended,
        ended = requests => ended,
    }
}

fn spawn<S: Send + 'static, F: Future<Output = Result<(), FrameError>> + Send + 'static>(
    registry: &Arc<Registry>,
    peer: &Arc<Peer>,
    take: fn(Arc<Peer>, Arc<Registry>, S) -> F,
    stream: S,
) {
    let (peer, registry) = (peer.clone(), registry.clone());
    registry.clone().tasks.spawn(async move {
        let taken = tokio::select! {
            biased;
            taken = take(peer.clone(), registry.clone(), stream) => taken,
            // A chain that does not read may keep a frame waiting for ever.
            _ = peer.connection.closed() => return,
        };
        if let Err(error) = taken
            && error.is_fault()
        {
            fault(&registry, &peer, &error);
        }
    });
}

/// The chain that a stream is for, if it is here and the peer may speak for that purpose.
fn chain_for(registry: &Registry, peer: &Peer, key: ChainKey, purpose: Purpose) -> Option<Arc<Chain>> {
    // A chain that has just left is no fault of the peer's, nor is a member that is one no longer.
    let chain = registry.chain(key)?;
    chain.hears(peer.id, purpose).then_some(chain)
}

async fn within<T>(time: Duration, read: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    tokio::time::timeout(time, read).await.unwrap_or(Err(FrameError::Late))
}

async fn take_frames(peer: Arc<Peer>, registry: Arc<Registry>, mut stream: RecvStream) -> Result<(), FrameError> {
    let (key, purpose) = within(FRAME_WITHIN, read_header(&mut stream)).await?;
    let Some(chain) = chain_for(&registry, &peer, key, purpose) else { return Ok(()) };
    if purpose == Purpose::Content {
        // It has no room: a frame would wait for ever.
        return Ok(());
    }
    let lane = peer.lane(key, purpose);
    let another = lane.listen();
    tokio::select! {
        biased;
        () = another.cancelled() => Ok(()),
        () = chain.left() => Ok(()),
        taken = frames(&peer, &chain, &lane, purpose, stream) => taken,
    }
}

async fn frames(peer: &Peer, chain: &Chain, lane: &Lane, purpose: Purpose, mut stream: RecvStream) -> Result<(), FrameError> {
    while let Some(length) = read_length(&mut stream, frame_bytes_max(purpose)).await? {
        if !chain.hears(peer.id, purpose) {
            return Ok(());
        }
        let mut room = Vec::with_capacity(2);
        if purpose == Purpose::Consensus && !chain.pace(peer.id, price(length)).await {
            return Ok(());
        }
        chain.pass(chain.payer(purpose, peer.id), price(length)).await;
        chain.received(length);
        room.extend(lane.room(price(length)).await);
        if purpose != Purpose::Consensus {
            room.extend(peer.room(price(length)).await);
        }
        let time = if chain.is_member(peer.id) { MEMBER_FRAME_WITHIN } else { FRAME_WITHIN };
        let frame = within(time, read_bytes(&mut stream, length)).await?;
        let frame = Bytes::from_owner(Held::new(frame, room));
        if !deliver(peer, chain, Incoming::Frame(Received { from: peer.id, purpose, frame })) {
            return Ok(());
        }
    }
    Ok(())
}

/// Hands what a peer sent to the chain. False where the chain has left, or a stranger is gone.
fn deliver(peer: &Peer, chain: &Chain, incoming: Incoming) -> bool {
    let delivered = chain.deliver(incoming);
    // What a stranger sent was dropped when its connection ended, perhaps just before.
    let gone = !chain.is_member(peer.id) && peer.connection.close_reason().is_some();
    if gone {
        chain.gone(&peer.id);
    }
    delivered && !gone
}

async fn take_request(
    peer: Arc<Peer>,
    registry: Arc<Registry>,
    (mut send, mut receive): (SendStream, RecvStream),
) -> Result<(), FrameError> {
    let asked = async {
        let (key, purpose) = read_header(&mut receive).await?;
        Ok((key, purpose, read_frame(&mut receive, QUESTION_BYTES_MAX).await?.ok_or(FrameError::Truncated)?))
    };
    let (key, purpose, frame) = within(FRAME_WITHIN, asked).await?;
    let Some(chain) = chain_for(&registry, &peer, key, purpose) else { return Ok(()) };
    set_priority(&send, purpose);
    tokio::select! {
        biased;
        () = chain.left() => Ok(()),
        // Whoever asked has given up by then.
        answered = within(ANSWERED_WITHIN, answer(&peer, &chain, purpose, frame, &mut send)) => answered,
    }
}

async fn answer(peer: &Peer, chain: &Chain, purpose: Purpose, frame: Bytes, send: &mut SendStream) -> Result<(), FrameError> {
    let payer = chain.payer(purpose, peer.id);
    chain.pass(payer, price(frame.len())).await;
    chain.received(frame.len());
    // Held until the answer is written, or it is known that there is none.
    let _places = (peer.lane(chain.key, purpose).answer().await, peer.answer(chain.is_member(peer.id)).await);
    let (request, answered) = Request::new(peer.id, purpose, frame);
    if !deliver(peer, chain, Incoming::Request(request)) {
        return Ok(());
    }
    // One that is dropped is refused: the stream ends without a frame.
    let Ok(answer) = answered.await else { return Ok(()) };
    if answer.len() > frame_bytes_max(purpose) {
        tracing::error!(bytes = answer.len(), "an answer is longer than a frame may be");
        return Ok(());
    }
    chain.pass(payer, price(answer.len())).await;
    chain.sent(answer.len());
    write_frame(send, answer).await
}
