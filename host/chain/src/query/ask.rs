//! Asks the runtime, on an instance of its own.

use std::{sync::atomic::Ordering, time::Duration};

use subnode_sandbox::{Answer, CallError, HostFault, Lent, LogKind};
use tokio::time::Instant;

use crate::{error::RpcError, parts::Parts, reader::ViewReader};

/// A call is made again where the chain was reverted or moved on under it, for so long: most are answered in milliseconds.
pub(super) const MADE_AGAIN_FOR: Duration = Duration::from_secs(5);
/// Bytes of a method's name in the log. The longest of Ethereum's has 40.
const SHOWN_BYTES_MAX: usize = 64;

/// What an answer was made on.
#[derive(Clone, Copy)]
pub(super) struct Basis {
    pub(super) version: u64,
    /// How often blocks had been undone.
    pub(super) reverts: u64,
}

/// The runtime's answer, and what it was made on.
pub(super) async fn ask(parts: &Parts, method: &str, params: &[u8]) -> Result<(Answer, Basis), RpcError> {
    let place = parts.queries.enter().map_err(|most| {
        parts.counters.queries_refused.fetch_add(1, Ordering::Relaxed);
        RpcError::limit(format!("too many calls at once: {most} of this chain run or wait; retry"))
    })?;
    let _running = place.run().await.ok_or_else(RpcError::closing)?;
    parts.counters.queries.fetch_add(1, Ordering::Relaxed);
    let until = Instant::now() + MADE_AGAIN_FOR;
    loop {
        let mut guest = parts.guests.for_query().await.map_err(|error| RpcError::from_call(&error))?;
        let reverts = parts.feed.cursors.reverts();
        let (view, head) = parts.ledger.view();
        let basis = Basis { version: view.version(), reverts };
        let lent = Lent {
            status: Some(parts.status()),
            pool: Some(parts.mempool.pool().for_query()),
            query: Some(parts.query_lent()),
            ..Lent::of(ViewReader(view))
        };
        let answer = guest.query(&head, method, params, lent).await;
        parts.guests.give_back(guest);
        match answer {
            Ok(answer) => return answer.map(|answer| (answer, basis)).map_err(RpcError::from),
            Err(CallError::Host(HostFault::Reverted)) if Instant::now() < until => {
                drop(tokio::time::timeout_at(until, parts.ledger.settled()).await);
            }
            Err(fault) => {
                parts.counters.fault(&fault);
                if let Some(untold) = parts.tenant.may_log(LogKind::Query) {
                    tracing::warn!(chain = %parts.name, method = shown(method), %fault, untold, "a query failed");
                }
                return Err(RpcError::from_call(&fault));
            }
        }
    }
}

/// A method as the log has it: the client chose it.
fn shown(method: &str) -> &str {
    &method[..method.floor_char_boundary(SHOWN_BYTES_MAX)]
}
