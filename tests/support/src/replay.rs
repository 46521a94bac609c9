use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use alloy::{
    consensus::{Transaction as _, TxEnvelope},
    eips::Encodable2718,
    primitives::Address,
};
use subnode_devnet::Signers;
use subnode_sandbox::{
    Action, Attributes, Built, CallError, ChainStatus, Entry, HostFault, Invalid, Lent, Limits, ListLimit, Module, Occupancy, Outcome,
    PoolReader, Pooled, QueryLent, Ready, RpcError, RuntimeGuest, Scanned, StateReader, Table, Tenant, Unavailable, convert,
};
use subnode_types::{BlockRef, Sealing};

/// Bounds that no block of a test meets.
pub const LIMITS: Limits = Limits { memory_bytes: 1 << 30, fuel: u64::MAX / 2, transfer_bytes: 1 << 30, wall: Duration::from_secs(600) };

/// Blocks whose state can still be read, at most.
const PAST_MAX: usize = 64;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a block's rows of state were before it, or none where there were none.
#[derive(Clone)]
struct Undo {
    height: u64,
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A transaction as admission lays it into the pool.
#[must_use]
pub fn pooled(transaction: &TxEnvelope, sender: Address) -> Pooled {
    Pooled {
        id: transaction.tx_hash().to_vec(),
        sender: sender.to_vec(),
        sequence: transaction.nonce(),
        data: transaction.encoded_2718(),
        ready: true,
    }
}

/// A runtime guest's tables in memory, and the calls that move them on: a chain without host around it.
pub struct Replay {
    module: Module,
    tenant: Tenant,
    state: Arc<Rows>,
    index: Arc<Rows>,
    blocks: Arc<Rows>,
    /// Of the last blocks, the newest first.
    past: Arc<VecDeque<Undo>>,
    head: BlockRef,
    /// Fuel that the last call burnt.
    pub fuel_burnt: u64,
}

impl Replay {
    /// A chain from its spec.
    ///
    /// # Errors
    /// Where the guest faults; the inner error is what it says of the spec.
    pub async fn genesis(module: &Module, spec: &[u8]) -> Result<Result<Self, String>, CallError> {
        let head = BlockRef { height: 0, id: Vec::new(), timestamp_ms: 0 };
        let name = "replay".parse().map_err(|error| HostFault::Instance(format!("{error:?}")))?;
        let tenant = Tenant::alone(name);
        let mut replay = Self {
            module: module.clone(),
            tenant,
            state: Arc::default(),
            index: Arc::default(),
            blocks: Arc::default(),
            past: Arc::default(),
            head,
            fuel_burnt: 0,
        };
        let built = replay.guest().await?.genesis(spec, replay.lent(None)).await?;
        Ok(built.map(|built| {
            replay.commit(&built.block, &built.outcome);
            replay
        }))
    }

    async fn guest(&self) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::new(&self.module, &self.tenant, LIMITS, &[]).await;
        guest.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    async fn block_guest(&self) -> Result<RuntimeGuest, CallError> {
        let guest = RuntimeGuest::for_block(&self.module, &self.tenant, LIMITS, &[]).await;
        guest.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    fn lent(&self, pool: Option<Queue>) -> Lent {
        let reader = Reader {
            state: self.state.clone(),
            index: self.index.clone(),
            blocks: self.blocks.clone(),
            past: self.past.clone(),
            head: self.head.height,
        };
        Lent { pool: pool.map(|pool| Box::new(pool) as Box<dyn PoolReader>), ..Lent::of(reader) }
    }

    /// The last block.
    #[must_use]
    pub fn head(&self) -> &BlockRef {
        &self.head
    }

    /// Turns on the cores that all calls took so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.tenant.share().usage().turns
    }

    /// A block of these transactions, in this order, as far as they are valid.
    ///
    /// # Errors
    /// Where the guest faults; the inner error is its verdict.
    pub async fn build(&mut self, transactions: Vec<Pooled>, attributes: &Attributes) -> Result<Result<Built, Invalid>, CallError> {
        let mut guest = self.block_guest().await?;
        let built = guest.build(&self.head, attributes, self.lent(Some(Queue { waiting: transactions.into() }))).await;
        self.fuel_burnt = guest.take_fuel_burnt();
        built
    }

    /// What a block on the head does.
    ///
    /// # Errors
    /// Where the guest faults; the inner error is its verdict.
    pub async fn execute(&mut self, block: &[u8]) -> Result<Result<Outcome, Invalid>, CallError> {
        let mut guest = self.block_guest().await?;
        let outcome = guest.execute(&self.head, block, self.lent(None)).await;
        self.fuel_burnt = guest.take_fuel_burnt();
        outcome
    }

    /// What the runtime answers a client. A transaction that it would have the host submit is admitted, and its id
    /// answered.
    ///
    /// # Errors
    /// Where the guest faults; the inner error is its answer.
    pub async fn query(&self, method: &str, params: &str) -> Result<Result<String, RpcError>, CallError> {
        let status = ChainStatus {
            now_ms: self.head.timestamp_ms,
            clock_offset_ms: 0,
            sealing: convert::runtime_sealing(Sealing::Manual),
            version: "test".into(),
            controls: false,
        };
        let query = QueryLent { accounts: Some(Arc::new(Signers::default())), cursor: Box::new(|_| None) };
        let lent = Lent { status: Some(status), query: Some(query), ..self.lent(None) };
        let answer = match self.guest().await?.query(&self.head, method, params.as_bytes(), lent).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(Action::Submit(transaction)) = answer.action {
            let admitted = self.guest().await?.admit(&self.head, &[transaction], self.lent(None)).await?;
            let ids =
                admitted.into_iter().map(|admission| admission.map(|admission| format!("\"0x{}\"", alloy::hex::encode(admission.id))));
            return Ok(ids.collect::<Result<Vec<_>, _>>().map(|ids| ids.concat()));
        }
        Ok(Ok(String::from_utf8_lossy(&answer.json.unwrap_or_default()).into_owned()))
    }

    /// The rows of the state table.
    #[must_use]
    pub fn state_rows(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.state
    }

    /// Keeps a block and what it does.
    pub fn commit(&mut self, block: &[u8], outcome: &Outcome) {
        let before = apply(&mut self.state, outcome.state.iter().map(|change| (change.key.clone(), change.value.clone())));
        apply(&mut self.index, outcome.index.iter().map(|change| (change.key.clone(), change.value.clone())));
        self.head = convert::block_ref(outcome);
        let past = Arc::make_mut(&mut self.past);
        past.push_front(Undo { height: self.head.height, rows: before });
        past.truncate(PAST_MAX);
        let height = self.head.height.to_be_bytes().to_vec();
        let blocks = Arc::make_mut(&mut self.blocks);
        blocks.insert(self.head.id.clone(), height.clone());
        blocks.insert(height, block.to_vec());
    }
}

/// Writes rows, and answers what they were before.
fn apply(rows: &mut Arc<Rows>, changes: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let rows = Arc::make_mut(rows);
    let apply = |(key, value): (Vec<u8>, Option<Vec<u8>>)| {
        let before = match value {
            Some(value) => rows.insert(key.clone(), value),
            None => rows.remove(&key),
        };
        (key, before)
    };
    changes.map(apply).collect()
}

struct Reader {
    state: Arc<Rows>,
    index: Arc<Rows>,
    blocks: Arc<Rows>,
    past: Arc<VecDeque<Undo>>,
    head: u64,
}

impl Reader {
    fn rows(&self, table: Table) -> &Rows {
        match table {
            Table::State => &self.state,
            Table::Index => &self.index,
            Table::Block => &self.blocks,
        }
    }
}

impl StateReader for Reader {
    fn read(&self, table: Table, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), HostFault> {
        if let Some(value) = self.rows(table).get(key) {
            found(value);
        }
        Ok(())
    }

    fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Scanned, HostFault> {
        let mut from = self.rows(table).range(start.to_vec()..).take_while(|(key, _)| end.is_none_or(|end| key.as_slice() < end));
        let rows = from.by_ref().take(limit).map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect();
        Ok(Scanned { rows, next: from.next().map(|(key, _)| key.clone()), passed: 0 })
    }

    fn seek(&mut self, height: u64) -> Result<Result<(), Unavailable>, HostFault> {
        let oldest = self.past.back().map_or(self.head, |undo| undo.height);
        if height < oldest || height > self.head {
            return Ok(Err(Unavailable { oldest, newest: self.head }));
        }
        for Undo { rows, .. } in self.past.iter().take_while(|undo| undo.height > height) {
            apply(&mut self.state, rows.iter().cloned());
        }
        Ok(Ok(()))
    }
}

struct Queue {
    waiting: VecDeque<Pooled>,
}

impl PoolReader for Queue {
    fn next(&mut self, mut limit: ListLimit, found: &mut dyn FnMut(Ready<'_>)) {
        while limit.count > 0 && limit.bytes > 0 {
            let Some(Pooled { id, sender, sequence, data, .. }) = self.waiting.pop_front() else { break };
            limit = ListLimit { count: limit.count - 1, bytes: limit.bytes.saturating_sub(data.len()) };
            found(Ready { id: &id, sender: &sender, sequence, data: &data });
        }
    }

    fn rank(&mut self, _floor: u64) -> usize {
        0
    }

    fn discard(&mut self, _id: &[u8]) {}

    fn reserve(&mut self, _sender: &[u8], _sequence: u64, _cost: [u8; 32], _funds: [u8; 32]) -> Option<[u8; 32]> {
        None
    }

    fn skip_sender(&mut self, sender: &[u8]) {
        self.waiting.retain(|pooled| pooled.sender != sender);
    }

    fn get(&self, _id: &[u8]) -> Option<Pooled> {
        None
    }

    fn by_sender(&self, _sender: &[u8], _limit: ListLimit) -> Vec<Pooled> {
        Vec::new()
    }

    fn all(&self, _limit: ListLimit) -> Vec<Pooled> {
        Vec::new()
    }

    fn next_sequence(&self, _sender: &[u8]) -> Option<u64> {
        None
    }

    fn counts(&self) -> Occupancy {
        Occupancy { ready: 0, waiting: 0 }
    }

    fn since(&self, mark: u64, _limit: usize) -> (Vec<Vec<u8>>, u64) {
        (Vec::new(), mark)
    }
}
