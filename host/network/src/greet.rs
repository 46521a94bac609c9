//! From a secured connection to a peer: greetings, admission, and what the greeting's stream says later.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;

use crate::{
    frame::FrameError,
    handshake::{HandshakeError, Reason, hear_chains, tell_chains},
    identity::peer_of,
    limits::HANDSHAKE_WITHIN,
    peer::Peer,
    registry::Registry,
    streams,
};

/// Greets whoever is at the other end, and serves it until it leaves.
pub(crate) async fn greet(registry: &Arc<Registry>, connection: Connection, called: bool) {
    let Some(id) = peer_of(&connection) else { return Reason::Misbehaved.close(&connection, "no identity") };
    if registry.is_shunned(id) {
        return Reason::Misbehaved.close(&connection, "broke the protocol too often; try again later");
    }
    let changes = registry.changes();
    let hello = registry.hello();
    let exchanged = tokio::time::timeout(HANDSHAKE_WITHIN, hello.exchange(&connection, called)).await;
    let (theirs, mut tell, mut hear) = match exchanged {
        Ok(Ok(exchanged)) => exchanged,
        Ok(Err(error)) => {
            let reason = match &error {
                HandshakeError::Version(_) => Reason::Version,
                HandshakeError::Network { .. } => Reason::Network,
                HandshakeError::Gone(_) | HandshakeError::Frame(FrameError::Gone(_)) => {
                    return tracing::debug!(peer = %id, %error, "a node left before it was greeted");
                }
                HandshakeError::Malformed | HandshakeError::Frame(_) => Reason::Misbehaved,
            };
            tracing::warn!(peer = %id, %error, "a node is refused");
            return reason.close(&connection, &error.to_string());
        }
        Err(_) => return Reason::Misbehaved.close(&connection, "no greeting"),
    };
    let preferred = called == (registry.id() < id);
    let peer = Arc::new(Peer::new(id, connection, preferred, theirs.chains));
    if let Err((reason, text)) = registry.admit(&peer) {
        return reason.close(&peer.connection, text);
    }
    let _unlisted = peer.unlisted.clone().drop_guard();
    tracing::info!(peer = %id, address = %peer.connection.remote_address(), "connected");
    let ended = tokio::select! {
        ended = streams::serve(registry, &peer) => ended,
        never = tell_changes(registry, &mut tell, changes) => never,
        never = hear_changes(registry, &mut hear, &peer) => never,
    };
    tracing::info!(peer = %id, %ended, "disconnected");
    registry.remove(&peer);
}

/// Tells a peer which chains are here, whenever that changes.
async fn tell_changes<T>(registry: &Registry, stream: &mut SendStream, mut changes: watch::Receiver<u64>) -> T {
    while changes.changed().await.is_ok() {
        if tell_chains(stream, &registry.hello().chains).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Hears which chains a peer has.
async fn hear_changes<T>(registry: &Registry, stream: &mut RecvStream, peer: &Peer) -> T {
    loop {
        match hear_chains(stream).await {
            Ok(Some(chains)) => peer.set_chains(chains),
            Ok(None) => break,
            Err(error) => {
                streams::fault(registry, peer, &error);
                break;
            }
        }
    }
    std::future::pending().await
}
