//! Calls members until they answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use quinn::{ClientConfig, Connection, Endpoint};
use rand::{Rng, rngs::StdRng};
use subnode_types::NodeId;
use tokio::time::Instant;

use crate::{
    greet,
    identity::NodeKey,
    limits::{HANDSHAKE_WITHIN, lock, transport},
    registry::Registry,
};

/// Waits between calls of a node that does not answer, doubled each time; half of each is random, that nodes do not call in step.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Calls for a node.
pub(crate) struct Dialer {
    pub(crate) key: NodeKey,
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: Arc<Registry>,
    /// Of the waits between calls.
    pub(crate) random: Mutex<StdRng>,
}

impl Dialer {
    /// Sees that each member with an address is called, and that peers hear of chains that came or went.
    pub(crate) fn reconcile(self: &Arc<Self>) {
        for id in self.registry.uncalled() {
            let dialer = self.clone();
            self.registry.tasks.spawn(async move { dialer.registry.shutdown.run_until_cancelled(dialer.keep_calling(id)).await });
        }
        self.registry.changed();
    }

    /// Keeps a node connected as long as it is wanted.
    async fn keep_calling(&self, id: NodeId) {
        let mut backoff = BACKOFF_MIN;
        if id < self.key.id() {
            // Of two connections the other's would stay: it has the first try.
            tokio::time::sleep(backoff).await;
        }
        while let Some(address) = self.registry.calls(id) {
            if let Some(peer) = self.registry.peer(id) {
                // Not until its connection is closed, which it may be while it is still listed: nothing would be waited for here.
                peer.unlisted.cancelled().await;
                backoff = BACKOFF_MIN;
                continue;
            }
            match self.call(id, address).await {
                Ok(connection) => {
                    let began = Instant::now();
                    greet::call(&self.registry, connection).await;
                    if began.elapsed() > BACKOFF_MAX {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(error) => tracing::debug!(peer = %id, %address, %error, "cannot connect"),
            }
            let half = backoff / 2;
            let wait = half + lock(&self.random).random_range(Duration::ZERO..=half);
            tokio::time::sleep(wait).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    pub(crate) async fn call(&self, id: NodeId, address: SocketAddr) -> Result<Connection, String> {
        let mut config = ClientConfig::new(Arc::new(self.key.client(id).map_err(|error| error.to_string())?));
        config.transport_config(Arc::new(transport(0)));
        let connecting = self.endpoint.connect_with(config, address, "subnode").map_err(|error| error.to_string())?;
        match tokio::time::timeout(HANDSHAKE_WITHIN, connecting).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {HANDSHAKE_WITHIN:?}")),
        }
    }
}
