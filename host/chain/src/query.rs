//! Clients' calls: answered by the runtime, on an instance of their own, and carried out where the answer is an action.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use subnode_sandbox::{Action, Answer, CallError, Change, HostFault, Lent, border};
use subnode_types::{Hex, Sealing};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    Chain, RpcError,
    cursor::NotKept,
    lend::ViewReader,
    message::{Amendment, Message},
    shared::Shared,
    submissions::Origin,
    subscription::{Notification, Sink},
};

/// A call is made again where the chain was reverted or moved on under it, for so long: most are answered in milliseconds.
const MADE_AGAIN_FOR: Duration = Duration::from_secs(5);
/// Blocks one request may seal.
const SEALED_MAX: u32 = 100_000;

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// JSON text as it is.
    Json(Vec<u8>),
    /// Bytes.
    Id(Vec<u8>),
    /// A number.
    Number(u64),
    /// Whether it was so.
    Truth(bool),
    /// Done.
    Null,
}

/// A client that can be told things. Dropping it ends its subscriptions.
pub struct Session {
    id: u64,
    sink: Sink,
    chains: std::sync::Mutex<Vec<Arc<Shared>>>,
}

impl Session {
    /// A session whose notifications arrive at the receiver; a client that lets `capacity` of them wait is told no more.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Notification>) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let (sink, receiver) = mpsc::channel(capacity);
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (Self { id, sink, chains: std::sync::Mutex::default() }, receiver)
    }

    fn remember(&self, chain: &Arc<Shared>) {
        let mut chains = self.chains.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !chains.iter().any(|known| Arc::ptr_eq(known, chain)) {
            chains.push(chain.clone());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for chain in self.chains.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner) {
            chain.subscriptions.remove_session(self.id);
        }
    }
}

impl Chain {
    /// Answers a client's call. `params` is JSON or empty; without a session a client cannot subscribe.
    ///
    /// # Errors
    /// The runtime's, or this host's, for the client.
    pub async fn query(&self, method: &str, params: &[u8], session: Option<&Session>) -> Result<Reply, RpcError> {
        self.begin_query(method, params, session).await?.wait().await
    }

    /// The same, up to the point from where on the client's next call can begin: a submitted transaction is admitted meanwhile,
    /// together with those that follow it.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn begin_query(&self, method: &str, params: &[u8], session: Option<&Session>) -> Result<Begun, RpcError> {
        let mut turn = None;
        let mut standing = None;
        let mut refused = false;
        let mut until = Instant::now() + MADE_AGAIN_FOR;
        while Instant::now() < until {
            let mark = self.shared().pool_mark.load(Ordering::Acquire);
            let (answer, basis) = ask(self.shared(), method, params).await?;
            let Answer { json, action } = answer;
            if action.as_ref().is_some_and(needs_controls) && !self.shared().options.controls {
                return Err(RpcError::not_allowed());
            }
            // For anything else the chain goes on.
            let still = standing.take().filter(|_| matches!(action, Some(Action::Amend(_))));
            let outcome = match action {
                None => Some(Reply::Null),
                Some(Action::Submit(data)) => {
                    let submitted = Submitted::send(self.shared().clone(), data, Origin::Client).await?;
                    return Ok(Begun { reply: json.map(Reply::Json), sent: Some(Sent::Submitted(submitted)) });
                }
                Some(Action::SubmitCompleted(data)) => {
                    // Where others were admitted meanwhile the sequence may be taken: it is completed anew, and nobody else completes one then.
                    if turn.is_none() {
                        let Ok(held) = self.shared().completing.try_lock() else {
                            // Who waits keeps nothing.
                            drop(data);
                            turn = Some(self.shared().completing.lock().await);
                            // The wait is for others.
                            until = Instant::now() + MADE_AGAIN_FOR;
                            continue;
                        };
                        turn = Some(held);
                        if self.shared().pool.lock().mark() != mark {
                            continue;
                        }
                    }
                    match Submitted::send(self.shared().clone(), data, Origin::Completed).await?.admitted().await {
                        Ok(Some(admitted)) => return Ok(Begun { reply: json.map(Reply::Json), sent: Some(Sent::Admitted(admitted)) }),
                        Ok(None) => {
                            self.shared().settled().await;
                            continue;
                        }
                        // A block may have come between.
                        Err(_) if !refused && self.shared().store.version() != basis.version => {
                            refused = true;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Some(Action::Amend(changes)) => {
                    let amended = amend(self.shared(), changes, basis.version, still).await?;
                    if !amended {
                        standing = Some(stand_still(self.shared()).await?);
                        until = Instant::now() + MADE_AGAIN_FOR;
                    }
                    amended.then_some(Reply::Null)
                }
                Some(action) => perform(self.shared(), action, basis, session).await?,
            };
            if let Some(outcome) = outcome {
                return Ok(Begun { reply: Some(json.map_or(outcome, Reply::Json)), sent: None });
            }
        }
        Err(RpcError::outrun())
    }
}

/// A call that is answered, or waits for its transaction.
pub struct Begun {
    /// None where the outcome is the answer.
    reply: Option<Reply>,
    sent: Option<Sent>,
}

/// A transaction whose block a client may wait for.
enum Sent {
    Submitted(Submitted),
    Admitted(Admitted),
}

impl Begun {
    /// Bytes of the answer that is there already.
    pub fn bytes(&self) -> usize {
        match &self.reply {
            Some(Reply::Json(json)) => json.len(),
            Some(Reply::Id(id)) => id.len(),
            Some(Reply::Number(_) | Reply::Truth(_) | Reply::Null) | None => 0,
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// Where the transaction is refused.
    pub async fn wait(self) -> Result<Reply, RpcError> {
        let outcome = match self.sent {
            None => Reply::Null,
            Some(Sent::Submitted(submitted)) => Reply::Id(submitted.admitted().await?.ok_or_else(RpcError::outrun)?.mined().await?),
            Some(Sent::Admitted(admitted)) => Reply::Id(admitted.mined().await?),
        };
        Ok(self.reply.unwrap_or(outcome))
    }
}

/// What an answer was made on.
#[derive(Clone, Copy)]
struct Basis {
    version: u64,
    /// How often blocks had been undone.
    reverts: u64,
}

/// The runtime's answer, and what it was made on.
async fn ask(shared: &Shared, method: &str, params: &[u8]) -> Result<(Answer, Basis), RpcError> {
    let _place = Place::take(shared)?;
    let _permit = shared.query_permits.acquire().await.map_err(|_| RpcError::closing())?;
    shared.counters.queries.fetch_add(1, Ordering::Relaxed);
    let until = Instant::now() + MADE_AGAIN_FOR;
    loop {
        let mut guest = shared.query_guest().await.map_err(|error| RpcError::from_call(&error))?;
        let reverts = shared.cursors.reverts();
        let (view, head) = shared.view();
        let basis = Basis { version: view.version(), reverts };
        let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(shared.pool.for_query()), query: Some(shared.query_lent()) };
        let answer = guest.query(&head, method, params, lent).await;
        shared.return_query_guest(guest);
        match answer {
            Ok(answer) => return answer.map(|answer| (answer, basis)).map_err(RpcError::from),
            Err(CallError::Host(HostFault::Reverted)) if Instant::now() < until => {
                drop(tokio::time::timeout_at(until, shared.settled()).await);
            }
            Err(fault) => {
                shared.counters.fault(&fault);
                tracing::warn!(chain = %shared.name, %method, %fault, "a query failed");
                return Err(RpcError::from_call(&fault));
            }
        }
    }
}

/// A query's place among those that run or wait.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Result<Self, RpcError> {
        let place = Self(shared);
        let most = (shared.options.queries_max + shared.options.queries_waiting_max) as u64;
        if shared.queries_begun.fetch_add(1, Ordering::Relaxed) >= most {
            shared.counters.queries_refused.fetch_add(1, Ordering::Relaxed);
            return Err(RpcError::limit(format!("too many calls at once: {most} of this chain run or wait; retry")));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.queries_begun.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Carries out an action. None where it was computed on a state that is not the chain's any more.
async fn perform(shared: &Arc<Shared>, action: Action, basis: Basis, session: Option<&Session>) -> Result<Option<Reply>, RpcError> {
    let reply = match action {
        Action::Submit(_) | Action::SubmitCompleted(_) | Action::Amend(_) => unreachable!("begin_query carries these out"),
        Action::OpenCursor(bytes) => match shared.cursors.open(bytes, basis.reverts) {
            Ok(id) => Reply::Number(id),
            Err(NotKept::Reverted) => return Ok(None),
            Err(NotKept::TooLarge) => return Err(RpcError::limit("filter too large")),
        },
        Action::UpdateCursor((id, bytes)) => match shared.cursors.update(id, bytes, basis.reverts) {
            Ok(()) => Reply::Null,
            Err(NotKept::Reverted) => return Ok(None),
            Err(NotKept::TooLarge) => return Err(RpcError::limit("filter too large")),
        },
        Action::CloseCursor(id) => Reply::Truth(shared.cursors.close(id)),
        Action::Subscribe(wanted) => {
            let session = session.ok_or_else(RpcError::no_session)?;
            let id = shared.next_subscription();
            if !shared.subscriptions.add(id, session.id, session.sink.clone(), wanted) {
                return Err(RpcError::limit("too many subscriptions"));
            }
            session.remember(shared);
            Reply::Number(id)
        }
        Action::Unsubscribe(id) => Reply::Truth(session.is_some_and(|session| shared.subscriptions.remove(id, session.id))),
        Action::Seal(sealed) if sealed.count > SEALED_MAX => {
            return Err(RpcError::limit(format!("{} blocks at once; at most {SEALED_MAX}", sealed.count)));
        }
        Action::Seal(sealed) => {
            call(shared, |done| Message::Seal { sealed, done }).await?;
            Reply::Null
        }
        Action::SetSealing(sealing) => {
            let sealing = border::sealing(sealing);
            call(shared, |done| Message::SetSealing { sealing, done }).await?;
            Reply::Null
        }
        Action::ShiftClock(ms) => {
            shared.clock().shift(ms);
            Reply::Null
        }
        Action::SetNextTimestamp(ms) => {
            shared.clock().set_next(ms);
            Reply::Null
        }
        Action::Snapshot => Reply::Number(call(shared, |done| Message::Snapshot { done }).await?),
        Action::Revert(id) => Reply::Truth(call(shared, |done| Message::Revert { id, done }).await?),
        Action::DropTransaction(id) => {
            let was_there = shared.pool.lock().remove(&id);
            shared.wake_clients();
            Reply::Truth(was_there)
        }
        Action::DropTransactions => {
            shared.pool.lock().clear();
            shared.wake_clients();
            Reply::Null
        }
        Action::Reset => {
            call(shared, |done| Message::Reset { done }).await?;
            Reply::Null
        }
    };
    Ok(Some(reply))
}

/// Whether only a developer may do this.
fn needs_controls(action: &Action) -> bool {
    match action {
        Action::Submit(_)
        | Action::SubmitCompleted(_)
        | Action::OpenCursor(_)
        | Action::UpdateCursor(_)
        | Action::CloseCursor(_)
        | Action::Subscribe(_)
        | Action::Unsubscribe(_) => false,
        Action::Seal(_)
        | Action::SetSealing(_)
        | Action::ShiftClock(_)
        | Action::SetNextTimestamp(_)
        | Action::Snapshot
        | Action::Revert(_)
        | Action::Amend(_)
        | Action::DropTransaction(_)
        | Action::DropTransactions
        | Action::Reset => true,
    }
}

/// Changes the state. False where it is not that of `version` any more, which cannot be while the chain stands still; it stands still for some
/// seconds at most.
async fn amend(shared: &Shared, changes: Vec<Change>, version: u64, still: Option<oneshot::Sender<Amendment>>) -> Result<bool, RpcError> {
    let Some(still) = still else {
        return call(shared, |done| Message::Amend(Amendment { version, changes, done })).await;
    };
    let (done, answer) = oneshot::channel();
    if still.send(Amendment { version, changes, done }).is_err() {
        return Err(RpcError::outrun());
    }
    answer.await.unwrap_or_else(|_| Err(RpcError::closing()))
}

/// Has the chain seal nothing until an amendment is sent, or this sender is dropped.
async fn stand_still(shared: &Shared) -> Result<oneshot::Sender<Amendment>, RpcError> {
    let (still, amendment) = oneshot::channel();
    call(shared, |standing| Message::StandStill { standing, amendment }).await?;
    Ok(still)
}

pub(crate) async fn call<T>(shared: &Shared, message: impl FnOnce(oneshot::Sender<Result<T, RpcError>>) -> Message) -> Result<T, RpcError> {
    let (done, answer) = oneshot::channel();
    shared.mailbox.send(message(done)).await.map_err(|_| RpcError::closing())?;
    answer.await.unwrap_or_else(|_| Err(RpcError::closing()))
}

/// Where its client is told of a transaction's admission.
type Admitting = oneshot::Sender<Result<Option<Vec<u8>>, RpcError>>;

/// A transaction on its way into the pool.
struct Submitted {
    shared: Arc<Shared>,
    answer: oneshot::Receiver<Result<Option<Vec<u8>>, RpcError>>,
    commits: watch::Receiver<u64>,
    /// Until when its client waits for a block.
    until: Instant,
}

/// How long a client that wants its transaction mined waits for that. One that no block takes is answered all the same: it is in the pool.
const MINED_WITHIN: Duration = Duration::from_secs(10);

impl Submitted {
    async fn send(shared: Arc<Shared>, data: Vec<u8>, origin: fn(Admitting) -> Origin) -> Result<Self, RpcError> {
        if shared.paused.load(Ordering::Relaxed) {
            return Err(RpcError::paused());
        }
        if let Some(full) = shared.full() {
            return Err(full);
        }
        let (done, answer) = oneshot::channel();
        let commits = shared.commits.subscribe();
        shared.submissions.from_client(data, origin(done)).await?;
        Ok(Self { shared, answer, commits, until: Instant::now() + MINED_WITHIN })
    }

    /// The same once it is in the pool; none where it has to be completed anew.
    async fn admitted(self) -> Result<Option<Admitted>, RpcError> {
        let Self { shared, answer, commits, until } = self;
        let id = answer.await.unwrap_or_else(|_| Err(RpcError::closing()))?;
        Ok(id.map(|id| Admitted { shared, id, commits, until }))
    }
}

/// A transaction in the pool, or already in a block.
struct Admitted {
    shared: Arc<Shared>,
    id: Vec<u8>,
    commits: watch::Receiver<u64>,
    until: Instant,
}

impl Admitted {
    /// Its id: at once, or where the chain is run so and seals by itself, once a block has the transaction. Then it is an error where the
    /// runtime says that the transaction failed there.
    async fn mined(mut self) -> Result<Vec<u8>, RpcError> {
        if !self.shared.options.answer_after_mining {
            return Ok(self.id);
        }
        let mined = async {
            while self.shared.sealing() != Sealing::Manual && self.shared.pool.lock().get(&self.id).is_some_and(|(_, ready)| ready) {
                if self.commits.changed().await.is_err() {
                    break;
                }
            }
        };
        drop(tokio::time::timeout_at(self.until, mined).await);
        match ask(&self.shared, OUTCOME, format!("[\"0x{}\"]", Hex(&self.id)).as_bytes()).await {
            Err(error) if error.data.is_some() => Err(error),
            // It failed nowhere yet, or the runtime has nothing to say of it.
            _ => Ok(self.id),
        }
    }
}

/// The method that tells how a transaction ended (wit/runtime.wit).
const OUTCOME: &str = "subnode_outcome";
