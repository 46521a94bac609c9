//! Roots of the chain's states: found beside everything else, vouched for by later blocks, and given to nodes that lack them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use subnode_chain_core::{
    Checkpoints, Link,
    checkpoint::{GROUP_PIECES, Outline, PIECE_BYTES, piece_hash},
    wire,
};
use subnode_sandbox::{HostFault, Tenant, charged};
use subnode_storage::{ChainStore, Place, StateStream, StoreError, Table, View, Write};
use tokio::task::JoinSet;

use super::rows;

/// Rows of the log: of the state at a height its outline, hashes of a group's pieces, where a piece begins.
const ROOT_PREFIX: u8 = b'c';
const OUTLINE: u8 = b'o';
const GROUP: u8 = b'g';
const PLACE: u8 = b'p';
/// States whose pieces can still be got: whoever gets one has two intervals for it.
const STATES: u64 = 3;
/// Rows read at once, and pairs of a state and the block that vouches for it in an answer.
const ROWS: usize = 4096;
/// So often for one question: summaries are read at some hundred a millisecond, and other nodes wait.
const LOOKS: usize = 16;
const PAIRS: usize = 2;
/// Of links in one answer; a frame has room for one more.
const LINKS_BYTES: usize = 700 << 10;

/// Finds the roots of a chain's states.
#[derive(Default)]
pub(crate) struct Roots {
    /// Bound: [`STATES`] roots of 40 bytes, and those found since the last was kept.
    known: BTreeMap<u64, [u8; 32]>,
    /// Bound: 8 bytes for each state that is looked through: two, as a block that has to vouch for a root waits for it.
    begun: BTreeSet<u64>,
    /// Bound: two states, of 32 bytes for each piece of 512 KiB and of some 300 for where it begins: a thousandth of the storage slice.
    work: JoinSet<(u64, Result<Found, StoreError>)>,
}

/// A state's root and what it stands for.
pub(crate) struct Found {
    outline: Outline,
    hashes: Vec<[u8; 32]>,
    places: Vec<Place>,
}

fn key(height: u64, kind: u8, index: u64) -> Vec<u8> {
    [&[ROOT_PREFIX], height.to_be_bytes().as_slice(), &[kind], &index.to_be_bytes()].concat()
}

impl Roots {
    /// Begins to find the root of the state at a height, unless it is known.
    pub(crate) fn begin(&mut self, store: &Arc<ChainStore>, tenant: &Tenant, height: u64) -> Result<(), StoreError> {
        if self.known.contains_key(&height) || self.begun.contains(&height) {
            return Ok(());
        }
        if let Some(outline) = outline(store, height)? {
            self.known.insert(height, outline.root());
            return Ok(());
        }
        let mut view = store.view();
        view.seek(height)?;
        self.begun.insert(height);
        let tenant = tenant.clone();
        self.work.spawn(async move { (height, find(&tenant, view).await) });
        Ok(())
    }

    /// What has been found next; pending while nothing is looked for.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> (u64, Result<Found, StoreError>) {
        match self.work.join_next().await {
            Some(Ok(found)) => found,
            // It was aborted with the chain, or its task failed, which the next that asks for it finds out.
            _ => std::future::pending().await,
        }
    }

    /// Keeps what was found, for this node and others.
    pub(crate) async fn keep(&mut self, store: &Arc<ChainStore>, rule: Checkpoints, height: u64, found: Found) -> Result<(), StoreError> {
        let Found { outline, hashes, places } = found;
        let mut rows = vec![(key(height, OUTLINE, 0), wire::encode(&outline))];
        rows.extend(hashes.chunks(GROUP_PIECES).zip(0..).map(|(group, index)| (key(height, GROUP, index), group.as_flattened().to_vec())));
        rows.extend(places.into_iter().zip(0..).map(|(place, index)| {
            let value = [place.offset.to_be_bytes().as_slice(), &place.key].concat();
            (key(height, PLACE, index), value)
        }));
        let mut writes: Vec<Write> = rows.into_iter().map(|(key, value)| Write { table: Table::Log, key, value: Some(value) }).collect();
        let kept = height.saturating_sub((STATES - 1) * rule.every());
        let (start, end) = (key(0, 0, 0), key(kept, 0, 0));
        let old = store.view().scan(Table::Log, &start, Some(&end), usize::MAX)?;
        writes.extend(old.into_iter().map(|row| Write { table: Table::Log, key: row.key, value: None }));
        store.log(writes).await?;
        self.begun.remove(&height);
        self.known = self.known.split_off(&kept);
        self.known.insert(height, outline.root());
        tracing::debug!(height, bytes = outline.bytes, "the state's root is found");
        Ok(())
    }

    /// The root of the state at a height, once it is found.
    pub(crate) async fn root(
        &mut self,
        store: &Arc<ChainStore>,
        tenant: &Tenant,
        rule: Checkpoints,
        height: u64,
    ) -> Result<[u8; 32], HostFault> {
        let fault = |error: StoreError| HostFault::Storage(error.to_string());
        loop {
            self.begin(store, tenant, height).map_err(fault)?;
            if let Some(root) = self.known.get(&height) {
                return Ok(*root);
            }
            let (found_at, found) = match self.work.join_next().await {
                Some(Ok(found)) => found,
                _ => {
                    self.begun.clear();
                    return Err(HostFault::Storage(format!("what looked for the root of state {height} was lost")));
                }
            };
            match found {
                Ok(found) => self.keep(store, rule, found_at, found).await.map_err(fault)?,
                Err(error) => {
                    self.failed(found_at);
                    return Err(fault(error));
                }
            }
        }
    }

    /// It could not be found: it is looked for again when it is asked for.
    pub(crate) fn failed(&mut self, height: u64) {
        self.begun.remove(&height);
    }
}

/// Reads all of the state that a view sees.
async fn find(tenant: &Tenant, view: View) -> Result<Found, StoreError> {
    let mut stream = StateStream::new(view, Place::default());
    let (mut bytes, mut hashes, mut places) = (0, Vec::new(), Vec::new());
    let mut next = || stream.next_piece(PIECE_BYTES).map(|next| next.map(|(place, piece)| (place, piece_hash(&piece), piece.len())));
    while let Some((place, hash, length)) = charged(tenant, async { next() }).await? {
        bytes += length as u64;
        hashes.push(hash);
        places.push(place);
        tokio::task::yield_now().await;
    }
    Ok(Found { outline: Outline::of(bytes, &hashes), hashes, places })
}

/// What the root of the state at a height stands for, if that is known here.
pub(crate) fn outline(store: &Arc<ChainStore>, height: u64) -> Result<Option<Outline>, StoreError> {
    let row = store.view().get(Table::Log, &key(height, OUTLINE, 0))?;
    Ok(row.and_then(|row| wire::decode(&row)))
}

/// The hashes of a group's pieces.
pub(crate) fn group(store: &Arc<ChainStore>, height: u64, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
    store.view().get(Table::Log, &key(height, GROUP, index.into()))
}

/// A piece of the state at a height.
pub(crate) fn piece(store: &Arc<ChainStore>, height: u64, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut view = store.view();
    let Some(row) = view.get(Table::Log, &key(height, PLACE, index))? else { return Ok(None) };
    let Some((offset, key)) = row.split_first_chunk() else { return Ok(None) };
    view.seek(height)?;
    let place = Place { key: key.to_vec(), offset: u64::from_be_bytes(*offset) };
    Ok(StateStream::new(view, place).next_piece(PIECE_BYTES)?.map(|(_, piece)| piece))
}

/// Heights at which the committee was changed, as far as they were looked for.
#[derive(Default)]
pub(crate) struct Turns {
    /// Bound: some 16 bytes for each block that changed the committee, of which the storage slice has several hundred.
    heights: BTreeSet<u64>,
    /// The last height that was looked at.
    seen: u64,
}

impl Turns {
    /// Looks at the next heights up to this one. Whether all are known then: of a long chain it takes some calls.
    async fn look(&mut self, store: &Arc<ChainStore>, last: u64) -> Result<bool, StoreError> {
        for _ in 0..LOOKS {
            if self.seen >= last {
                return Ok(true);
            }
            let summaries = rows::summaries(store, self.seen + 1, last + 1, ROWS)?;
            self.heights.extend(summaries.iter().filter(|summary| summary.committee.is_some()).map(|summary| summary.height));
            self.seen = if summaries.len() < ROWS { last } else { summaries.last().map_or(last, |summary| summary.height) };
            tokio::task::yield_now().await;
        }
        Ok(self.seen >= last)
    }
}

/// What it takes to believe the newest states that have a root and are here, for a node that believes the block at `after`. None where that is not
/// known yet: it is once this was asked often enough.
pub(crate) async fn links(
    store: &Arc<ChainStore>,
    rule: Checkpoints,
    after: u64,
    turns: &mut Turns,
) -> Result<Option<Vec<Link>>, StoreError> {
    let head = store.head().map_or(0, |head| head.height);
    let newest = rule.last(head).unwrap_or_default();
    // The last of them that vouches for a state that can be read here.
    let mut vouching = Vec::new();
    for back in 0..STATES {
        let Some(at) = newest.checked_sub(back * rule.every()).filter(|at| *at > after) else { break };
        if let Some(shown) = rule.shown_at(at)
            && shown > after
            && vouching.len() < PAIRS
            && outline(store, shown)?.is_some()
        {
            vouching.push(at);
        }
    }
    let Some(last) = vouching.first().copied() else { return Ok(Some(Vec::new())) };
    if !turns.look(store, last).await? {
        return Ok(None);
    }
    let paired = vouching.iter().flat_map(|at| [Some(*at), rule.shown_at(*at)]).flatten();
    let heights: BTreeSet<u64> = turns.heights.range(after + 1..=last).copied().chain(paired).collect();
    let (mut links, mut bytes) = (Vec::new(), 0);
    for height in heights {
        let Some(summary) = rows::summaries(store, height, height + 1, 1)?.pop() else { continue };
        // One that came with a state and not as a block has no certificate: nobody here can show it.
        let Some((decided, certificate)) = rows::decided(store, height)? else { return Ok(Some(Vec::new())) };
        let link = Link { manifest: decided.manifest, summary, certificate };
        bytes += wire::encode(&link).len();
        if bytes > LINKS_BYTES && !links.is_empty() {
            break;
        }
        links.push(link);
        tokio::task::yield_now().await;
    }
    Ok(Some(links))
}
