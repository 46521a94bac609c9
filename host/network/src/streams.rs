//! Takes what a peer sends: a task for each of its streams.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{RecvStream, SendStream};
use subnode_scheduler::TokenBucket;
use subnode_types::Purpose;
use tokio::sync::oneshot;

use crate::{
    chain::{Chain, Received, Request},
    frame::{ChainKey, FrameError, frame_bytes_max, read_frame, read_header, write_frame},
    handshake::Reason,
    peer::{Peer, set_priority},
    registry::Registry,
};

/// Of consensus messages of one chain: a committee of a hundred that changes its view ten times a second needs a tenth of it.
const CONSENSUS_BYTES_PER_SECOND: u64 = 4 << 20;

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
    loop {
        tokio::select! {
            stream = peer.connection.accept_uni() => match stream {
                Ok(stream) => spawn(registry, peer, take_frames, stream),
                Err(error) => return error,
            },
            stream = peer.connection.accept_bi() => match stream {
                Ok(stream) => spawn(registry, peer, take_request, stream),
                Err(error) => return error,
            },
        }
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
    (purpose != Purpose::Consensus || chain.is_member(peer.id)).then_some(chain)
}

async fn take_frames(peer: Arc<Peer>, registry: Arc<Registry>, mut stream: RecvStream) -> Result<(), FrameError> {
    let (key, purpose) = read_header(&mut stream).await?;
    let Some(chain) = chain_for(&registry, &peer, key, purpose) else { return Ok(()) };
    let started = Instant::now();
    let mut budget = TokenBucket::new(CONSENSUS_BYTES_PER_SECOND, Duration::ZERO);
    while let Some(frame) = read_frame(&mut stream, frame_bytes_max(purpose)).await? {
        chain.received(frame.len());
        if purpose == Purpose::Consensus {
            // It does not wait for the chain's slice, so that a peer's other traffic does not stop it; each peer has a limit of its own.
            budget.spend(frame.len() as u64, started.elapsed());
            tokio::time::sleep(budget.debt(started.elapsed())).await;
        }
        if !chain.deliver(Received { from: peer.id, purpose, frame }).await {
            return Ok(());
        }
        chain.may_pass(purpose).await;
    }
    Ok(())
}

async fn take_request(
    peer: Arc<Peer>,
    registry: Arc<Registry>,
    (mut send, mut receive): (SendStream, RecvStream),
) -> Result<(), FrameError> {
    let (key, purpose) = read_header(&mut receive).await?;
    let frame = read_frame(&mut receive, frame_bytes_max(purpose)).await?.ok_or(FrameError::Truncated)?;
    let Some(chain) = chain_for(&registry, &peer, key, purpose) else { return Ok(()) };
    chain.received(frame.len());
    set_priority(&send, purpose);
    let (answer, answered) = oneshot::channel();
    if !chain.ask(Request { from: peer.id, purpose, frame, answer }) {
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
