//! What a chain's tasks share. Each part keeps its own state, behind its own methods.

use std::sync::{Arc, atomic::Ordering};

use subnode_chain_core::Committees;
use subnode_sandbox::{Accounts, ChainStatus, LogKind, QueryLent, Shed, Tenant, convert};
use subnode_scheduler::Bandwidth;
use subnode_signer::Voter;
use subnode_types::{BlockRef, ChainName};

use crate::{
    attestations::Attestations,
    authors::CandidateAuthors,
    counters::Counters,
    exchange::Exchange,
    feed::Feed,
    guests::{Guests, Queries},
    ledger::Ledger,
    mailbox::ActorHandle,
    mempool::Mempool,
    options::ChainOptions,
    presence::Presences,
    spec::Spec,
    standing::Standing,
    statements::Statements,
    traffic::ClientTraffic,
};

/// See the module.
pub(crate) struct Parts {
    pub(crate) name: ChainName,
    pub(crate) tenant: Tenant,
    pub(crate) options: ChainOptions,
    /// What the chain began from, where its user may have it begin again; else empty.
    pub(crate) spec: Spec,
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) voter: Arc<Voter>,
    pub(crate) standing: Standing,
    pub(crate) ledger: Ledger,
    pub(crate) guests: Guests,
    pub(crate) queries: Queries,
    pub(crate) exchange: Exchange,
    pub(crate) mempool: Mempool,
    pub(crate) statements: Statements,
    pub(crate) presences: Presences,
    pub(crate) attestations: Attestations,
    pub(crate) feed: Feed,
    pub(crate) authors: Arc<CandidateAuthors>,
    pub(crate) actor: ActorHandle,
    pub(crate) bandwidth: Arc<Bandwidth>,
    pub(crate) traffic: ClientTraffic,
    pub(crate) counters: Counters,
}

impl Parts {
    /// Moves the head, and the committees where it changes them. Candidates for its height are gone.
    pub(crate) fn move_to(&self, head: BlockRef, committees: Option<Committees>) {
        let members = self.ledger.move_to(head, committees);
        self.exchange.moved(members.as_deref());
    }

    /// How many transactions and notes the next block could hold.
    pub(crate) fn ready(&self) -> u32 {
        self.mempool.pool().ready().saturating_add(self.statements.ready())
    }

    /// What a query is lent beside the state, the pool and the status.
    pub(crate) fn query_lent(&self) -> QueryLent {
        let cursors = self.feed.cursors.clone();
        QueryLent { accounts: Some(self.accounts.clone()), cursor: Box::new(move |id| cursors.get(id)) }
    }

    /// What the host knows of the chain.
    pub(crate) fn status(&self) -> ChainStatus {
        let clock = self.standing.clock();
        ChainStatus {
            now_ms: clock.next_timestamp(self.options.time.now_ms()),
            clock_offset_ms: clock.offset_ms(),
            sealing: convert::runtime_sealing(self.standing.sealing()),
            controls: self.options.controls,
            version: self.options.version.clone(),
        }
    }
}

impl Shed for Parts {
    /// Idle instances first, which only save time, then the transactions that are least likely to be mined.
    fn shed(&self, bytes: u64) {
        let before = self.tenant.memory().used();
        self.guests.drop_idle();
        let freed = before.saturating_sub(self.tenant.memory().used());
        if freed < bytes {
            let shed = self.mempool.lock().shed(usize::try_from(bytes - freed).unwrap_or(usize::MAX));
            self.counters.transactions_shed.fetch_add(shed as u64, Ordering::Relaxed);
            if shed > 0
                && let Some(untold) = self.tenant.may_log(LogKind::Shed)
            {
                tracing::warn!(chain = %self.name, transactions = shed, untold, "memory slice full: transactions were dropped from the pool");
            }
        }
    }
}
