//! From a secured connection to a peer: greetings, admission, and what the greeting's stream says later.

use std::{collections::BTreeSet, sync::Arc};

use quinn::{Connection, RecvStream, SendStream};
use subnode_scheduler::TokenBucket;
use subnode_types::NodeId;
use tokio::{sync::watch, time::Instant};

use crate::{
    frame::{ChainKey, FrameError},
    handshake::{HandshakeError, Reason, hear_chains, tell_chains},
    identity::peer_of,
    limits::{HANDSHAKE_WITHIN, LISTS_BYTES_PER_SECOND, Place, price},
    peer::Peer,
    registry::Registry,
    streams,
};

/// The greeting's stream, and what was told on it.
struct Control {
    tell: SendStream,
    hear: RecvStream,
    changes: watch::Receiver<u64>,
    /// Bound: [`CHAINS_MAX`](crate::handshake::CHAINS_MAX) keys of 32 bytes, 128 KiB.
    told: BTreeSet<ChainKey>,
}

/// Greets a node that was called, and serves it until it leaves.
pub(crate) async fn call(registry: &Arc<Registry>, connection: Connection) {
    let Some(id) = identify(registry, &connection) else { return };
    let changes = registry.changes();
    let hello = registry.hello(None);
    let theirs = match tokio::time::timeout(HANDSHAKE_WITHIN, hello.call(&connection)).await {
        Ok(Ok(theirs)) => theirs,
        Ok(Err(error)) => return refuse(registry, id, &connection, &error),
        Err(_) => return Reason::Misbehaved.close(&connection, "no greeting"),
    };
    let (theirs, tell, hear) = theirs;
    let preferred = registry.id() < id;
    let peer = Arc::new(Peer::new(id, connection, preferred, theirs.chains));
    match registry.admit(&peer) {
        Ok(()) => serve(registry, &peer, None, Control { tell, hear, changes, told: hello.chains }).await,
        Err((reason, text)) => reason.close(&peer.connection, text),
    }
}

/// Greets a caller, and serves it until it leaves. It gives its place up once it is admitted or refused.
pub(crate) async fn answer(registry: &Arc<Registry>, connection: Connection, place: Place) {
    let Some(id) = identify(registry, &connection) else { return };
    let changes = registry.changes();
    let heard = async { registry.hello(None).answer(&connection).await };
    let (theirs, mut tell, hear) = match tokio::time::timeout(HANDSHAKE_WITHIN, heard).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(error)) => return refuse(registry, id, &connection, &error),
        Err(_) => return Reason::Misbehaved.close(&connection, "no greeting"),
    };
    let preferred = id < registry.id();
    let peer = Arc::new(Peer::new(id, connection, preferred, theirs.chains));
    if let Err((reason, text)) = registry.admit(&peer) {
        return reason.close(&peer.connection, text);
    }
    drop(place);
    // What the caller does not know already is told to nobody before this line.
    let hello = registry.hello(Some(&peer));
    let answered = tokio::time::timeout(HANDSHAKE_WITHIN, hello.tell(&mut tell)).await;
    if answered.is_ok_and(|told| told.is_ok()) {
        serve(registry, &peer, Some(&peer), Control { tell, hear, changes, told: hello.chains }).await;
    } else {
        let _unlisted = peer.unlisted.clone().drop_guard();
        Reason::Misbehaved.close(&peer.connection, "the greeting was not taken");
        registry.remove(&peer);
    }
}

fn identify(registry: &Registry, connection: &Connection) -> Option<NodeId> {
    let Some(id) = peer_of(connection) else {
        Reason::Misbehaved.close(connection, "no identity");
        return None;
    };
    if registry.is_shunned(id) {
        Reason::Misbehaved.close(connection, "broke the protocol too often; try again later");
        return None;
    }
    Some(id)
}

fn refuse(registry: &Registry, id: NodeId, connection: &Connection, error: &HandshakeError) {
    let reason = match error {
        HandshakeError::Version(_) => Reason::Version,
        HandshakeError::Network { .. } => Reason::Network,
        HandshakeError::Gone(_) | HandshakeError::Frame(FrameError::Gone(_)) => {
            return tracing::debug!(peer = %id, %error, "a node left before it was greeted");
        }
        HandshakeError::Malformed | HandshakeError::Frame(_) => Reason::Misbehaved,
    };
    if registry.is_member(id) {
        tracing::warn!(peer = %id, %error, "a node is refused");
    } else {
        // Anybody can cause this, as often as connections are greeted.
        tracing::debug!(peer = %id, %error, "a stranger is refused");
    }
    reason.close(connection, &error.told());
}

/// Serves a peer that is admitted.
async fn serve(registry: &Arc<Registry>, peer: &Arc<Peer>, caller: Option<&Peer>, control: Control) {
    let _unlisted = peer.unlisted.clone().drop_guard();
    tracing::info!(peer = %peer.id, address = %peer.connection.remote_address(), "connected");
    let Control { mut tell, mut hear, changes, told } = control;
    let ended = tokio::select! {
        biased;
        ended = streams::serve(registry, peer) => ended,
        never = tell_changes(registry, &mut tell, peer, caller, changes, told) => never,
        never = hear_changes(registry, &mut hear, peer) => never,
    };
    tracing::info!(peer = %peer.id, %ended, "disconnected");
    registry.remove(peer);
}

/// Tells a peer which chains are here, whenever that changes, or what a caller has changes.
async fn tell_changes<T>(
    registry: &Registry,
    stream: &mut SendStream,
    peer: &Peer,
    caller: Option<&Peer>,
    mut changes: watch::Receiver<u64>,
    mut told: BTreeSet<ChainKey>,
) -> T {
    loop {
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() { break },
            () = peer.told.notified() => {}
        }
        let chains = registry.hello(caller).chains;
        if chains == told {
            continue;
        }
        if tell_chains(stream, &chains).await.is_err() {
            break;
        }
        told = chains;
    }
    std::future::pending().await
}

/// Hears which chains a peer has.
async fn hear_changes<T>(registry: &Registry, stream: &mut RecvStream, peer: &Peer) -> T {
    let began = Instant::now();
    let mut pace = TokenBucket::new(LISTS_BYTES_PER_SECOND, began.elapsed());
    loop {
        match hear_chains(stream).await {
            Ok(Some(chains)) => {
                pace.spend(price(32 * chains.len()) as u64, began.elapsed());
                registry.heard(peer, chains);
                tokio::time::sleep(pace.debt(began.elapsed())).await;
            }
            Ok(None) => break,
            Err(error) => {
                streams::fault(registry, peer, &error);
                break;
            }
        }
    }
    std::future::pending().await
}
