//! Tells subscribers, in order, beside the commit path.

use std::sync::Arc;

use subnode_sandbox::{CallError, Lent, LogKind, Occurrence, QueryLent, RuntimeGuest, Topic};
use tokio::sync::{mpsc, oneshot};

use crate::{
    feed::{Event, Subscriber, UndoneCursors},
    parts::Parts,
    reader::ViewReader,
};

pub(crate) async fn run(parts: Arc<Parts>, mut events: mpsc::Receiver<Event>) {
    let mut guest = None;
    let mut worked = false;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = parts.standing.swept() => {
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
        for subscriber in parts.feed.subscriptions.of(topic) {
            tell(&parts, &mut guest, &subscriber, &occurrence).await;
        }
        if let Some(done) = done {
            // The actor that waits has stopped.
            done.send(()).unwrap_or_default();
        }
        if parts.feed.subscriptions.is_empty() {
            guest = None;
        }
    }
}

/// What the runtime makes of an occurrence, on an instance that is kept for the next.
async fn notify(
    parts: &Parts,
    guest: &mut Option<RuntimeGuest>,
    filter: &[u8],
    occurrence: &Occurrence,
) -> Result<Vec<Vec<u8>>, CallError> {
    let mut instance = match guest.take() {
        Some(instance) => instance,
        None => parts.guests.for_query().await?,
    };
    let (view, head) = parts.ledger.view();
    // Nobody asked for it: nothing is signed.
    let query = QueryLent { accounts: None, ..parts.query_lent() };
    let lent = Lent {
        status: Some(parts.status()),
        pool: Some(parts.mempool.pool().for_query()),
        query: Some(query),
        ..Lent::of(ViewReader(view))
    };
    let texts = instance.notify(&head, filter, occurrence, lent).await;
    if !instance.faulted() {
        *guest = Some(instance);
    }
    texts
}

async fn tell(parts: &Parts, guest: &mut Option<RuntimeGuest>, subscriber: &Subscriber, occurrence: &Occurrence) {
    match notify(parts, guest, &subscriber.filter, occurrence).await {
        Ok(texts) => {
            if !texts.into_iter().all(|text| subscriber.send(text, &parts.tenant)) {
                parts.feed.subscriptions.remove_any(subscriber.id);
            }
        }
        Err(error) => {
            if let Some(untold) = parts.tenant.may_log(LogKind::Notification) {
                tracing::warn!(chain = %parts.name, %error, untold, "a subscriber could not be told");
            }
        }
    }
}

/// Tells subscribers of all blocks from `kept` to the head that they will be undone, the newest first. What cursors become where `lowest` is the
/// lowest block that is undone: it is below `kept` where blocks are dropped already, of which nothing can be told.
pub(crate) async fn tell_undone(parts: &Parts, lowest: u64, kept: u64) -> UndoneCursors {
    if !parts.feed.subscriptions.is_empty() {
        for height in (kept..=parts.ledger.head().height).rev() {
            let (done, told) = oneshot::channel();
            parts.feed.send_event(Event::Undone(height, done)).await;
            drop(told.await);
        }
    }
    undo_cursors(parts, lowest).await
}

/// What the cursors become that change when this block and all after it are undone: none of one that cannot be told, whose client has to open
/// another.
async fn undo_cursors(parts: &Parts, lowest: u64) -> UndoneCursors {
    let mut guest = None;
    let mut told = Vec::new();
    let (ids, opened) = parts.feed.cursors.ids();
    for id in ids {
        let Some(bytes) = parts.feed.cursors.look_at(id) else { continue };
        match notify(parts, &mut guest, &bytes, &Occurrence::Undone(lowest)).await {
            Ok(texts) => told.extend(texts.into_iter().next().map(|text| (id, parts.feed.cursors.told(text)))),
            Err(error) => {
                if let Some(untold) = parts.tenant.may_log(LogKind::Notification) {
                    tracing::warn!(chain = %parts.name, %error, untold, "a cursor could not be told what is undone, and is closed");
                }
                told.push((id, None));
            }
        }
    }
    UndoneCursors { told, opened: Some(opened) }
}
