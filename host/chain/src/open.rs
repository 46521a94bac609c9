//! Opens a chain: makes its parts, starts its tasks, and watches over them.

use std::sync::Arc;

use subnode_peers::{Joined, Network};
use subnode_sandbox::{Membership, World};
use subnode_scheduler::Bandwidth;
use subnode_signer::{AttestKey, Voter};
use subnode_storage::Table;
use subnode_types::NodeId;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    actor::{Actor, Member},
    admission,
    attestations::Attestations,
    counters::Counters,
    error::OpenError,
    exchange::Exchange,
    feed::Feed,
    gossip,
    guests::{Checker, Guests, Queries},
    inbox,
    ledger::{self, Ledger, REPAIR_KEY, guard, load_or_create},
    mailbox::ActorHandle,
    mempool::Mempool,
    notifier,
    options::{ChainOptions, ChainParts, Ended},
    parts::Parts,
    presence::Presences,
    serve::{self, Questions},
    spec::Spec,
    standing::Standing,
    statements::Statements,
    sync::{self, Notices},
    traffic::ClientTraffic,
    upgrades::Upgrades,
};

/// A chain that runs.
pub(crate) struct Running {
    pub(crate) parts: Arc<Parts>,
    pub(crate) shutdown: CancellationToken,
    /// Ends it as a crash would.
    pub(crate) crash: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Why it has ended by itself, once it has.
    pub(crate) ended: watch::Receiver<Option<Ended>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Opens a chain: creates it from its spec if its store is empty, and starts it at its head. Needs a tokio runtime.
///
/// # Errors
/// [`OpenError`] says what is wrong with its modules, spec or store.
pub(crate) async fn open(parts: ChainParts, options: ChainOptions) -> Result<Running, OpenError> {
    let runtime_error = |error| OpenError::Module { which: "runtime", error };
    let consensus_error = |error| OpenError::Module { which: "consensus", error };
    parts.runtime.expect(World::Runtime).map_err(runtime_error)?;
    parts.consensus.expect(World::Consensus).map_err(consensus_error)?;
    parts.store.set_past_limit(options.past_bytes_max);
    let opened = load_or_create(&parts, &options).await?;
    let upgrades = Upgrades::new(ledger::upgrades(&parts.store)?, &parts.runtime, &parts.consensus);
    if let Some(upgrade) = upgrades.due(opened.head.height) {
        return Err(OpenError::Upgrade(upgrade));
    }
    let members: Vec<NodeId> = Vec::from_iter(opened.committees.members());
    let bandwidth = Arc::new(Bandwidth::new(options.bandwidth_bytes));
    let (peers, framed, inbox) = join(parts.network.as_deref(), opened.key, &members, &bandwidth)?
        .map_or((None, None, None), |joined| (Some(joined.peers), Some(joined.consensus), Some(joined.inbox)));
    let guard = guard(&parts.store, opened.key)?;
    let attest_key =
        parts.attest_secret.map(AttestKey::from_secret).transpose().map_err(|error| OpenError::AttestKey(error.to_string()))?;
    let voter = Voter::new(parts.vote_secret, opened.key.unwrap_or_default(), guard).with_attest_key(attest_key);
    let voter = Arc::new(voter);
    if options.silent {
        voter.be_silent();
    }

    let (actor, messages) = ActorHandle::new();
    // A runtime that takes none is never asked about them, and without a committee nobody makes any.
    let noted = opened.key.filter(|_| parts.runtime.takes_notes() && !members.is_empty());
    // Whoever has a developer's controls changes blocks that are committed.
    let attested = opened.key.filter(|_| !options.controls && !members.is_empty());
    let (mempool, submitted) = Mempool::new(options.pool, parts.tenant.clone());
    let (feed, told) = Feed::new(parts.tenant.clone());
    let repairing = parts.store.view().get(Table::Log, REPAIR_KEY)?.is_some();
    let made = Arc::new(Parts {
        name: parts.tenant.chain().clone(),
        standing: Standing::new(options.sealing, repairing),
        ledger: Ledger::new(parts.tenant.chain().clone(), parts.store, opened),
        guests: Guests::new(parts.runtime, parts.tenant.clone(), &options),
        queries: Queries::new(options.queries_max, options.queries_waiting_max),
        exchange: Exchange::new(peers.clone()),
        mempool,
        presences: Presences::new(options.patience),
        statements: Statements::new(noted, parts.tenant.clone()),
        attestations: Attestations::new(attested, parts.tenant.clone()),
        feed,
        authors: Arc::default(),
        actor,
        traffic: ClientTraffic::new(bandwidth.clone()),
        bandwidth,
        counters: Counters::default(),
        voter: voter.clone(),
        spec: if options.controls { parts.spec } else { Spec::default() },
        accounts: parts.accounts,
        tenant: parts.tenant.clone(),
        options,
    });
    made.ledger.retain(made.ledger.store().retention());
    let query = made.options.query;
    let checker = Checker::new(parts.consensus.clone(), parts.tenant.clone(), query, Membership { signer: voter.clone(), authors: None });
    let membership = Membership { signer: voter, authors: Some(made.authors.clone()) };
    let member = Member::new(parts.consensus, parts.consensus_config, &parts.tenant, query, membership).await?;
    let shutdown = CancellationToken::new();
    let mut actor = Actor::new(made.clone(), member, upgrades, messages, framed, shutdown.clone());
    actor.start().await?;

    let weak = Arc::downgrade(&made);
    parts.tenant.on_shortage(weak);
    let tasks = TaskTracker::new();
    let mut parts_of_it = JoinSet::new();
    parts_of_it.spawn(actor.run());
    spawn(&mut parts_of_it, &shutdown, "admission", admission::run(made.clone(), submitted));
    spawn(&mut parts_of_it, &shutdown, "the notifier", notifier::run(made.clone(), told));
    if let (Some(peers), Some(inbox)) = (peers, inbox) {
        spawn(&mut parts_of_it, &shutdown, "repeating statements", gossip::repeat(made.clone()));
        if made.attestations.chain().is_some() {
            spawn(&mut parts_of_it, &shutdown, "repeating attestations", gossip::repeat_attestations(made.clone()));
        }
        if !members.is_empty() {
            spawn(&mut parts_of_it, &shutdown, "saying that it is there", gossip::attend(made.clone()));
        }
        let notices = Arc::<Notices>::default();
        let questions = Arc::<Questions>::default();
        spawn(&mut parts_of_it, &shutdown, "the inbox", inbox::run(made.clone(), peers.clone(), inbox, notices.clone(), questions.clone()));
        spawn(&mut parts_of_it, &shutdown, "answering others", serve::run(made.clone(), questions));
        spawn(&mut parts_of_it, &shutdown, "catching up", sync::run(made.clone(), peers, checker, notices));
    }
    let (end, ended) = watch::channel(None);
    let crash = CancellationToken::new();
    let watched = watch_over(made.clone(), parts_of_it, shutdown.clone(), end);
    let crashed = crash.clone();
    tasks.spawn(async move { crashed.run_until_cancelled(watched).await.unwrap_or_default() });
    tasks.close();
    Ok(Running { parts: made, shutdown, crash, tasks, ended })
}

/// Joins the network where there is one.
fn join(
    network: Option<&dyn Network>,
    key: Option<[u8; 32]>,
    members: &[NodeId],
    bandwidth: &Arc<Bandwidth>,
) -> Result<Option<Joined>, OpenError> {
    let Some(network) = network else { return Ok(None) };
    let key = key.ok_or_else(|| OpenError::Network("it was made by a version that had none; export its state to a new chain".into()))?;
    network.join(key, members, bandwidth.clone()).map(Some).map_err(OpenError::Network)
}

/// Starts a part of a chain that ends with it.
fn spawn(
    tasks: &mut JoinSet<Result<(), Ended>>,
    shutdown: &CancellationToken,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stop = shutdown.clone();
    tasks.spawn(async move { stop.run_until_cancelled(task).await.map_or(Ok(()), |()| Err(Ended::Failed(format!("{what} ended")))) });
}

/// Waits for the tasks of a chain. When one ends before the chain is stopped, the others are stopped too.
async fn watch_over(
    parts: Arc<Parts>,
    mut tasks: JoinSet<Result<(), Ended>>,
    shutdown: CancellationToken,
    end: watch::Sender<Option<Ended>>,
) {
    let mut reason = None;
    while let Some(ended) = tasks.join_next().await {
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            // A bug of ours, kept to this chain.
            Err(panic) => Some(Ended::Failed(format!("a task of the chain failed: {panic}"))),
        };
        if !shutdown.is_cancelled() {
            reason = failure.or_else(|| Some(Ended::Failed("a task of the chain ended".into())));
            shutdown.cancel();
        }
    }
    parts.feed.subscriptions.clear();
    if let Some(reason) = reason {
        end.send_replace(Some(reason));
    }
}
