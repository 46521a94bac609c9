//! Checks transactions, as many as wait at once, and puts them into the pool.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use subnode_chain_core::{Amount, OVERHEAD_BYTES, PoolError, Transaction};
use subnode_sandbox::{Admission, CallError, HostFault, Lent, RuntimeGuest};

use crate::{
    error::RpcError,
    feed::Event,
    mempool::{Origin, Reserved, Submission, Submitted},
    parts::Parts,
    reader::ViewReader,
};

/// What the runtime says of a transaction, and what that may cost its sender.
type Checked = Result<Result<(Admission, Amount), RpcError>, CallError>;

pub(crate) async fn run(parts: Arc<Parts>, mut submitted: Submitted) {
    let mut guest = None;
    let mut batch = Vec::new();
    let mut worked = false;
    loop {
        tokio::select! {
            biased;
            more = submitted.next(&mut batch) => if !more { break },
            () = parts.standing.swept() => {
                if !std::mem::take(&mut worked) {
                    guest = None;
                }
                continue;
            }
        }
        worked = true;
        while !batch.is_empty() {
            parts.ledger.settled().await;
            batch = admit_all(&parts, &mut guest, batch).await;
        }
    }
}

/// Has a batch checked, and what is lawful pooled. Those that the chain was reverted under are to be checked again.
async fn admit_all(parts: &Parts, guest: &mut Option<RuntimeGuest>, batch: Vec<Submission>) -> Vec<Submission> {
    let (data, origins): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.data, (one.origin, one.charge))).unzip();
    let reverts = parts.feed.cursors.reverts();
    let checked = check(parts, guest, &data).await;
    let mut pooled = false;
    let mut fresh = Vec::new();
    let mut again = Vec::new();
    for ((data, checked), (origin, charge)) in data.into_iter().zip(checked).zip(origins) {
        let completed = matches!(origin, Origin::Completed(_));
        let answer = match checked {
            Ok(Ok((admission, cost))) => insert(parts, admission, cost, &data, reverts, completed),
            Ok(Err(error)) => Some(Err(error)),
            Err(CallError::Host(HostFault::Reverted)) => None,
            Err(fault) => {
                parts.counters.fault(&fault);
                tracing::warn!(chain = %parts.name, %fault, "a transaction could not be checked");
                Some(Err(RpcError::from_call(&fault)))
            }
        };
        let (answer, origin) = match (answer, origin) {
            (Some(answer), origin) => (answer, origin),
            (None, Origin::Completed(done)) => {
                drop(done.send(Ok(None)));
                continue;
            }
            (None, origin) => {
                again.push(Submission { data, origin, charge });
                continue;
            }
        };
        pooled |= answer.is_ok();
        let counters = &parts.counters;
        let counter = if answer.is_ok() { &counters.transactions_admitted } else { &counters.transactions_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Origin::Client(done) | Origin::Completed(done) = origin {
            if parts.exchange.peers().is_some() && answer.is_ok() {
                fresh.push(data);
            }
            // A client that left does not need the answer; its transaction stays.
            drop(done.send(answer.map(Some)));
        }
    }
    parts.exchange.gossip(fresh);
    if pooled {
        parts.mempool.tell_ready();
    }
    again
}

async fn check(parts: &Parts, guest: &mut Option<RuntimeGuest>, data: &[Vec<u8>]) -> Vec<Checked> {
    match admit(parts, guest, data).await {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(fault @ CallError::Host(HostFault::Reverted)) => data.iter().map(|_| Err(fault.clone())).collect(),
        Err(fault) if data.len() == 1 => vec![Err(fault)],
        // One of them does it: find out which, so that its company is not refused with it.
        Err(_) => {
            let mut checked = Vec::with_capacity(data.len());
            for one in data.chunks(1) {
                checked.push(admit(parts, guest, one).await.and_then(|mut one| {
                    one.pop().ok_or_else(|| subnode_sandbox::GuestFault::Bound("no answer for a transaction".into()).into())
                }));
            }
            checked
        }
    }
}

async fn admit(
    parts: &Parts,
    guest: &mut Option<RuntimeGuest>,
    data: &[Vec<u8>],
) -> Result<Vec<Result<(Admission, Amount), RpcError>>, CallError> {
    let mut instance = match guest.take() {
        Some(instance) => instance,
        None => parts.guests.fresh().await?,
    };
    let (view, head) = parts.ledger.view();
    let reserved = Reserved::default();
    let pool = parts.mempool.pool().for_admission(reserved.clone());
    let lent = Lent { status: Some(parts.status()), pool: Some(pool), ..Lent::of(ViewReader(view)) };
    let admitted = instance.admit(&head, data, lent).await;
    if parts.guests.is_reusable(&instance) {
        *guest = Some(instance);
    }
    let admitted = admitted?;
    if admitted.len() != data.len() {
        return Err(subnode_sandbox::GuestFault::Bound(format!("{} answers for {} transactions", admitted.len(), data.len())).into());
    }
    let reserved = reserved.lock().unwrap_or_else(PoisonError::into_inner);
    let costed = |one: Admission| {
        let cost = reserved.cost(&one.sender, one.sequence);
        (one, cost)
    };
    Ok(admitted.into_iter().map(|one| one.map(costed).map_err(RpcError::from)).collect())
}

/// Puts a transaction into the pool; its id. None where blocks were undone since `reverts` was read, or the sequence of one that was completed is
/// taken: what was said of it holds no more.
fn insert(
    parts: &Parts,
    admission: Admission,
    cost: Amount,
    data: &[u8],
    reverts: u64,
    completed: bool,
) -> Option<Result<Vec<u8>, RpcError>> {
    let bytes = (data.len() + OVERHEAD_BYTES) as u64;
    if parts.tenant.memory().free() < bytes {
        return Some(Err(RpcError::limit("the chain's slice of memory is full; retry, or have its operator resize it")));
    }
    let id = admission.id.clone();
    let transaction = Transaction {
        id: admission.id,
        sender: admission.sender,
        sequence: admission.sequence,
        priority: admission.priority,
        cap: admission.cap,
        cost,
        data: data.to_vec(),
    };
    let inserted = {
        let mut pool = parts.mempool.lock();
        // Counted before a revert empties the pool.
        if parts.feed.cursors.reverts() != reverts || completed && pool.has(&transaction.sender, transaction.sequence) {
            return None;
        }
        let inserted = pool.insert(transaction, admission.next_sequence);
        parts.mempool.note_mark(&pool);
        inserted
    };
    Some(match inserted {
        Ok(()) => {
            if !parts.feed.subscriptions.is_empty() {
                parts.feed.tell(Event::Transaction(id.clone()));
            }
            Ok(id)
        }
        Err(PoolError::Stale) if completed => return None,
        Err(PoolError::Stale) => Err(RpcError::rejected("nonce too low")),
        Err(error) => Err(RpcError::rejected(error.to_string())),
    })
}
