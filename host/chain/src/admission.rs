//! Checks transactions, as many as wait at once, and puts them into the pool.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use subnode_chain_core::{Amount, OVERHEAD_BYTES, PoolError, Transaction};
use subnode_sandbox::{Admission, CallError, HostFault, Lent, RuntimeGuest};

use crate::{
    RpcError,
    lend::{Reserved, ViewReader},
    notifier::Event,
    post,
    shared::Shared,
    submissions::{Origin, Submission, Submitted},
};

/// What the runtime says of a transaction, and what that may cost its sender.
type Checked = Result<Result<(Admission, Amount), RpcError>, CallError>;

pub(crate) async fn run(shared: Arc<Shared>, mut submitted: Submitted) {
    let mut guest = None;
    let mut batch = Vec::new();
    let mut worked = false;
    loop {
        tokio::select! {
            biased;
            more = submitted.next(&mut batch) => if !more { break },
            () = shared.sweep.notified() => {
                if !std::mem::take(&mut worked) {
                    guest = None;
                }
                continue;
            }
        }
        worked = true;
        while !batch.is_empty() {
            shared.settled().await;
            batch = admit_all(&shared, &mut guest, batch).await;
        }
    }
}

/// Has a batch checked, and what is lawful pooled. Those that the chain was reverted under are to be checked again.
async fn admit_all(shared: &Shared, guest: &mut Option<RuntimeGuest>, batch: Vec<Submission>) -> Vec<Submission> {
    let (data, origins): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.data, (one.origin, one.charge))).unzip();
    let reverts = shared.cursors.reverts();
    let checked = check(shared, guest, &data).await;
    let mut pooled = false;
    let mut fresh = Vec::new();
    let mut again = Vec::new();
    for ((data, checked), (origin, charge)) in data.into_iter().zip(checked).zip(origins) {
        let completed = matches!(origin, Origin::Completed(_));
        let answer = match checked {
            Ok(Ok((admission, cost))) => insert(shared, admission, cost, &data, reverts, completed),
            Ok(Err(error)) => Some(Err(error)),
            Err(CallError::Host(HostFault::Reverted)) => None,
            Err(fault) => {
                shared.counters.fault(&fault);
                tracing::warn!(chain = %shared.name, %fault, "a transaction could not be checked");
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
        let counters = &shared.counters;
        let counter = if answer.is_ok() { &counters.transactions_admitted } else { &counters.transactions_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Origin::Client(done) | Origin::Completed(done) = origin {
            if shared.peers.is_some() && answer.is_ok() {
                fresh.push(data);
            }
            // A client that left does not need the answer; its transaction stays.
            drop(done.send(answer.map(Some)));
        }
    }
    post::gossip(shared, fresh);
    if pooled {
        shared.ready.notify_one();
    }
    again
}

async fn check(shared: &Shared, guest: &mut Option<RuntimeGuest>, data: &[Vec<u8>]) -> Vec<Checked> {
    match admit(shared, guest, data).await {
        Ok(all) => all.into_iter().map(Ok).collect(),
        Err(fault @ CallError::Host(HostFault::Reverted)) => data.iter().map(|_| Err(fault.clone())).collect(),
        Err(fault) if data.len() == 1 => vec![Err(fault)],
        // One of them does it: find out which, so that its company is not refused with it.
        Err(_) => {
            let mut checked = Vec::with_capacity(data.len());
            for one in data.chunks(1) {
                checked.push(admit(shared, guest, one).await.and_then(|mut one| {
                    one.pop().ok_or_else(|| subnode_sandbox::GuestFault::Bound("no answer for a transaction".into()).into())
                }));
            }
            checked
        }
    }
}

async fn admit(
    shared: &Shared,
    guest: &mut Option<RuntimeGuest>,
    data: &[Vec<u8>],
) -> Result<Vec<Result<(Admission, Amount), RpcError>>, CallError> {
    let mut instance = match guest.take() {
        Some(instance) => instance,
        None => shared.admission_guest().await?,
    };
    let (view, head) = shared.view();
    let reserved = Reserved::default();
    let pool = shared.pool.for_admission(reserved.clone());
    let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(pool), query: None };
    let admitted = instance.admit(&head, data, lent).await;
    if !instance.faulted() && instance.memory_bytes() <= shared.options.idle_memory_bytes {
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
    shared: &Shared,
    admission: Admission,
    cost: Amount,
    data: &[u8],
    reverts: u64,
    completed: bool,
) -> Option<Result<Vec<u8>, RpcError>> {
    let bytes = (data.len() + OVERHEAD_BYTES) as u64;
    if shared.tenant.memory().free() < bytes {
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
        let mut pool = shared.pool.lock();
        // Counted before a revert empties the pool.
        if shared.cursors.reverts() != reverts || completed && pool.has(&transaction.sender, transaction.sequence) {
            return None;
        }
        let inserted = pool.insert(transaction, admission.next_sequence);
        shared.pool_mark.store(pool.mark(), Ordering::Release);
        inserted
    };
    Some(match inserted {
        Ok(()) => {
            if !shared.subscriptions.is_empty() {
                shared.tell(Event::Transaction(id.clone()));
            }
            Ok(id)
        }
        Err(PoolError::Stale) if completed => return None,
        Err(PoolError::Stale) => Err(RpcError::rejected("nonce too low")),
        Err(error) => Err(RpcError::rejected(error.to_string())),
    })
}
