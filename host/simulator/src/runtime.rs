//! Tries a runtime module: every instance must come to the same result, and anything from elsewhere must get a
//! verdict.

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use std::sync::Arc;
use subnode_chain::ViewReader;
use subnode_sandbox::{Attributes, Built, CallError, Lent, Limits, Module, Outcome, RuntimeGuest, Tenant, convert};
use subnode_storage::{Batch, ChainStore, Head, MemoryStore, Retention, Store, Table, Write};
use subnode_types::BlockRef;

use crate::{Scenario, check::Profile};

/// Blocks that are built.
const BLOCKS: u64 = 10;
/// Damaged blocks and junk that are tried on the last of them.
const DAMAGED: usize = 200;
const START_MS: u64 = 1_700_000_000_000;
const BLOCK_MS: u64 = 1_000;

/// How a runtime module is checked.
#[derive(Clone, Debug)]
pub struct RuntimeCheck {
    /// What its chain starts from.
    pub spec: Vec<u8>,
    /// Bounds of each call.
    pub limits: Limits,
    /// Of the junk.
    pub seed: u64,
}

/// A chain that is tried.
struct Trial {
    module: Module,
    tenant: Tenant,
    limits: Limits,
    store: Arc<ChainStore>,
    profile: Profile,
}

/// Tries a runtime module, and tells of each scenario as it ends.
///
/// # Errors
/// Where this host cannot.
pub fn check_runtime(module: &Module, check: &RuntimeCheck, mut done: impl FnMut(Scenario)) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(|error| error.to_string())?;
    let name: subnode_types::ChainName = "checked".parse().map_err(|error| format!("{error}"))?;
    let store = MemoryStore::default().open(&name, Retention::Last(16)).map_err(|error| error.to_string())?;
    let (tenant, limits) = (Tenant::alone(name), check.limits);
    let trial = Trial { module: module.clone(), tenant, limits, store, profile: Profile::default() };
    runtime.block_on(async {
        let mut tell = |name, outcome: Result<String, String>| {
            let good = outcome.is_ok();
            done(Scenario::new(name, outcome));
            good
        };
        let genesis = trial.genesis(&check.spec).await;
        if !tell("genesis, twice the same", genesis.as_ref().map(|head| format!("{} bytes of id", head.id.len())).map_err(Clone::clone)) {
            return;
        }
        let Ok(genesis) = genesis else { return };
        let blocks = trial.blocks(genesis).await;
        if !tell(
            "blocks, built twice and executed, all the same",
            blocks.as_ref().map(|_| format!("{BLOCKS} blocks")).map_err(Clone::clone),
        ) {
            return;
        }
        let Ok((parent, last)) = blocks else { return };
        tell("blocks with damage get a verdict and no trap", trial.damaged(&parent, &last, check.seed).await);
        tell("transactions and calls that are junk are refused", trial.junk(&parent, check.seed).await);
        tell("profile", Ok(trial.profile.to_string()));
    });
    Ok(())
}

fn told(error: CallError) -> String {
    error.to_string()
}

impl Trial {
    async fn guest(&self) -> Result<RuntimeGuest, String> {
        let guest = RuntimeGuest::new(&self.module, &self.tenant, self.limits, &[]).await;
        guest.map_err(|error| error.to_string())?.map_err(told)
    }

    fn lent(&self) -> Lent {
        Lent::of(ViewReader(self.store.view()))
    }

    fn profile(&self, guest: &mut RuntimeGuest) {
        self.profile.add((guest.take_fuel_burnt(), guest.memory_bytes() as u64));
    }

    async fn genesis(&self, spec: &[u8]) -> Result<BlockRef, String> {
        let mut built = Vec::new();
        for _ in 0..2 {
            let mut guest = self.guest().await?;
            let lent = self.lent();
            built.push(guest.genesis(spec, lent).await.map_err(told)?.map_err(|reason| format!("the spec is refused: {reason}"))?);
            self.profile(&mut guest);
        }
        let (Some(one), Some(other)) = (built.pop(), built.pop()) else { return Err("no genesis".into()) };
        same(&one, &other)?;
        self.commit(one).await
    }

    /// Builds, executes and commits some blocks. The last is not committed: its parent and its bytes.
    async fn blocks(&self, genesis: BlockRef) -> Result<(BlockRef, Vec<u8>), String> {
        let mut parent = genesis;
        for number in 1..=BLOCKS {
            let attributes =
                Attributes { timestamp_ms: START_MS + number * BLOCK_MS, seed: vec![u8::try_from(number % 256).unwrap_or(0); 32] };
            let mut built = Vec::new();
            for _ in 0..2 {
                let mut guest = self.guest().await?;
                let lent = self.lent();
                built.push(
                    guest
                        .build(&parent, &attributes, lent)
                        .await
                        .map_err(told)?
                        .map_err(|invalid| format!("block {number}: {}", invalid.reason))?,
                );
                self.profile(&mut guest);
            }
            let (Some(one), Some(other)) = (built.pop(), built.pop()) else { return Err("no block".into()) };
            same(&one, &other)?;
            let mut guest = self.guest().await?;
            let lent = self.lent();
            let executed = guest.execute(&parent, &one.block, lent).await.map_err(told)?;
            let executed = executed.map_err(|invalid| format!("block {number} is invalid to who executes it: {}", invalid.reason))?;
            self.profile(&mut guest);
            if !same_outcome(&executed, &one.outcome) {
                return Err(format!("block {number} does something else where it is executed than where it was built"));
            }
            if number == BLOCKS {
                return Ok((parent, one.block));
            }
            parent = self.commit(one).await?;
        }
        Err("no blocks".into())
    }

    async fn commit(&self, built: Built) -> Result<BlockRef, String> {
        let head = convert::block_ref(&built.outcome);
        let writes = [(Table::State, built.outcome.state), (Table::Index, built.outcome.index)];
        let writes = writes
            .into_iter()
            .flat_map(|(table, changes)| changes.into_iter().map(move |change| Write { table, key: change.key, value: change.value }));
        let batch = Batch { head: Head { height: head.height, data: Vec::new() }, writes: writes.collect() };
        self.store.commit(batch).await.map_err(|error| error.to_string())?;
        Ok(head)
    }

    async fn damaged(&self, parent: &BlockRef, block: &[u8], seed: u64) -> Result<String, String> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut invalid = 0;
        for _ in 0..DAMAGED {
            let mut bytes = block.to_vec();
            match random.random_range(0..4) {
                0 => bytes.truncate(random.random_range(0..=block.len())),
                1 => bytes.extend_from_slice(&[0; 3]),
                2 => random.fill_bytes(&mut bytes),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] ^= 1 << random.random_range(0..8);
                }
            }
            let mut guest = self.guest().await?;
            let lent = self.lent();
            let verdict = guest.execute(parent, &bytes, lent).await.map_err(|fault| format!("on a damaged block: {fault}"))?;
            invalid += usize::from(verdict.is_err());
            self.profile(&mut guest);
        }
        Ok(format!("{DAMAGED} blocks, {invalid} of them invalid"))
    }

    async fn junk(&self, head: &BlockRef, seed: u64) -> Result<String, String> {
        let mut random = StdRng::seed_from_u64(seed ^ 1);
        let mut transactions = vec![Vec::new(), vec![0]];
        for _ in 0..62 {
            let mut bytes = vec![0; random.random_range(0..4_096)];
            random.fill_bytes(&mut bytes);
            transactions.push(bytes);
        }
        let mut guest = self.guest().await?;
        let lent = self.lent();
        let admitted = guest.admit(head, &transactions, lent).await.map_err(|fault| format!("on junk transactions: {fault}"))?;
        self.profile(&mut guest);
        if admitted.len() != transactions.len() {
            return Err(format!("{} answers to {} transactions", admitted.len(), transactions.len()));
        }
        match admitted.iter().filter(|answer| answer.is_ok()).count() {
            0 => {}
            some => return Err(format!("{some} transactions of random bytes are admitted")),
        }
        for params in [&b""[..], b"null", b"[", b"[{\"a\":[[[[1]]]]}]", b"\xff\xfe"] {
            let mut guest = self.guest().await?;
            let lent = self.lent();
            let answer =
                guest.query(head, "there_isNoSuchMethod", params, lent).await.map_err(|fault| format!("on a junk call: {fault}"))?;
            if answer.is_ok() {
                return Err("a method that there cannot be is answered".into());
            }
        }
        Ok(format!("{} transactions, 5 calls", transactions.len()))
    }
}

fn same(one: &Built, other: &Built) -> Result<(), String> {
    let same = one.block == other.block && same_outcome(&one.outcome, &other.outcome);
    if same {
        Ok(())
    } else {
        Err("two instances built two different blocks of the same: the module does not depend on its inputs alone".into())
    }
}

fn same_outcome(one: &Outcome, other: &Outcome) -> bool {
    // The generated types have no equality; their text is all that they hold.
    format!("{one:?}") == format!("{other:?}")
}
