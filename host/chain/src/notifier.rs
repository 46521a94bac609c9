//! Tells subscribers, in order, beside the commit path.

use std::sync::Arc;

use subnode_sandbox::{Lent, Occurrence, RuntimeGuest, Topic};
use tokio::sync::{mpsc, oneshot};

use crate::{lend::ViewReader, shared::Shared, subscription::Subscriber};

/// Events that wait. A chain that outruns its subscribers by more waits for them at a revert only; blocks and transactions
/// beyond it are not told, and the log says so.
pub(crate) const EVENTS: usize = 4096;

pub(crate) enum Event {
    Block(u64),
    Transaction(Vec<u8>),
    /// Answered when it has been told, before the block is undone.
    Undone(u64, oneshot::Sender<()>),
}

pub(crate) async fn run(shared: Arc<Shared>, mut events: mpsc::Receiver<Event>) {
    let mut guest = None;
    let mut worked = false;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = shared.sweep.notified() => {
                if !std::mem::take(&mut worked) {
                    guest = None;
                }
                continue;
            }
        };
        let Some(event) = event else { break };
        worked = true;
        let (topic, occurrence, done) = match event {
            Event::Block(height) => (Topic::Blocks, Occurrence::Block(height), None),
            Event::Transaction(id) => (Topic::Transactions, Occurrence::Transaction(id), None),
            Event::Undone(height, done) => (Topic::Blocks, Occurrence::Undone(height), Some(done)),
        };
        for subscriber in shared.subscriptions.of(topic) {
            tell(&shared, &mut guest, &subscriber, &occurrence).await;
        }
        if let Some(done) = done {
            // The actor that waits has stopped.
            done.send(()).unwrap_or_default();
        }
        if shared.subscriptions.is_empty() {
            guest = None;
        }
    }
}

async fn tell(shared: &Shared, guest: &mut Option<RuntimeGuest>, subscriber: &Subscriber, occurrence: &Occurrence) {
    let instance = match guest.take() {
        Some(instance) => Ok(instance),
        None => shared.query_guest().await,
    };
    let texts = match instance {
        Err(error) => Err(error),
        Ok(mut instance) => {
            let (view, head) = shared.view();
            let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(shared.pool.for_query()), query: Some(shared.query_lent()) };
            let texts = instance.notify(&head, &subscriber.filter, occurrence, lent).await;
            if !instance.faulted() {
                *guest = Some(instance);
            }
            texts
        }
    };
    match texts {
        Ok(texts) => {
            if !texts.into_iter().all(|text| subscriber.send(text)) {
                shared.subscriptions.remove_any(subscriber.id);
            }
        }
        Err(error) => tracing::warn!(chain = %shared.name, %error, "a subscriber could not be told"),
    }
}
