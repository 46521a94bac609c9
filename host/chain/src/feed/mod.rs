//! What clients are told: subscriptions, and cursors that clients poll.

mod cursor;
mod subscription;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use subnode_sandbox::{LogKind, Tenant};
use tokio::sync::{mpsc, oneshot};

pub use self::subscription::Notification;
pub(crate) use self::{
    cursor::{Cursors, NotKept, UndoneCursors},
    subscription::{Sink, Subscriber, Subscriptions},
};

/// Events that wait. A chain that outruns its subscribers by more waits for them at a revert only; blocks and transactions
/// beyond it are not told, and the log says so.
const EVENTS: usize = 4096;

/// What subscribers may want to hear of.
pub(crate) enum Event {
    Block(u64),
    Transaction(Vec<u8>),
    /// Answered when it has been told, before the block is undone.
    Undone(u64, oneshot::Sender<()>),
}

/// See the module.
pub(crate) struct Feed {
    tenant: Tenant,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) cursors: Arc<Cursors>,
    events: mpsc::Sender<Event>,
    next_subscription: AtomicU64,
}

impl Feed {
    /// The feed, and where events come out to be told.
    pub(crate) fn new(tenant: Tenant) -> (Self, mpsc::Receiver<Event>) {
        // Bound: `EVENTS` events, of which an id has 64 bytes at most: 512 KiB.
        let (events, told) = mpsc::channel(EVENTS);
        let (subscriptions, cursors) = (Subscriptions::new(tenant.clone()), Arc::new(Cursors::new(tenant.clone())));
        (Self { tenant, subscriptions, cursors, events, next_subscription: AtomicU64::new(1) }, told)
    }

    pub(crate) fn next_subscription(&self) -> u64 {
        self.next_subscription.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues an event, or drops it where subscribers are told too slowly.
    pub(crate) fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err()
            && let Some(untold) = self.tenant.may_log(LogKind::Events)
        {
            tracing::warn!(chain = %self.tenant.chain(), untold, "subscribers are told too slowly; an event was dropped");
        }
    }

    /// Queues an event, once there is room.
    pub(crate) async fn send_event(&self, event: Event) {
        // An error means the notifier is gone, and with it every subscriber.
        drop(self.events.send(event).await);
    }
}
