//! How a chain's blocks and what belongs to them are laid out in its tables.

use std::{collections::BTreeMap, sync::Arc};

use subnode_chain_core::{Author, Checkpoints, Committees, Link, Manifest, Role, Summary, Upgrade, wire};
use subnode_sandbox::Change;
use subnode_signer::Voter;
use subnode_storage::{Batch, ChainStore, Head, StoreError, Table, View, Write};
use subnode_types::BlockRef;

use super::candidate::{Candidate, Offered};
use crate::statements::Matter;

/// Rows written with genesis: the hash of the spec, and what genesis stands for.
pub(super) const SPEC_KEY: &[u8] = b"spec";
pub(super) const GENESIS_KEY: &[u8] = b"genesis";
/// Who decides which block.
const COMMITTEES_KEY: &[u8] = b"committees";
/// Heights between two states that get a root; none where no state gets one.
pub(super) const CHECKPOINTS_KEY: &[u8] = b"checkpoints";
/// Before a height: the summary of its block, where other nodes may need it without the block.
const SUMMARY_PREFIX: &[u8] = b"summary";
/// Lists at the end of a summary that earlier versions do not write: attesters, upgrades.
const LATER_LISTS: usize = 2;
/// Before a role: the module that the chain went over to last, or goes over to.
const UPGRADE_PREFIX: &[u8] = b"upgrade ";
/// The last seed that an author drew; of genesis zeros. None where blocks have no authors.
const SEED_KEY: &[u8] = b"seed";
/// Before a height: the author of its block.
const AUTHOR_PREFIX: &[u8] = b"author";
/// Before a height: what shows that its block was decided.
const CERTIFICATE_PREFIX: &[u8] = b"certificate";
/// Written with genesis where its committee attests: heights between two blocks that are attested whatever they do, and the hash of that committee.
pub(super) const ATTESTING_KEY: &[u8] = b"attesting";
/// Of the log: what this node signed.
pub(crate) const GUARD_KEY: &[u8] = b"guard";
/// Of the log: what this host states until a block notes it.
const WANTED_KEY: &[u8] = b"wanted";
/// Of the log, while the chain waits for a state in place of tables that are damaged.
pub(crate) const REPAIR_KEY: &[u8] = b"repair";

pub(crate) fn encode_head(head: &BlockRef) -> Head {
    Head { height: head.height, data: [&head.timestamp_ms.to_be_bytes(), head.id.as_slice()].concat() }
}

pub(crate) fn decode_head(head: &Head) -> Result<BlockRef, StoreError> {
    let (timestamp, id) = head.data.split_first_chunk::<8>().ok_or_else(|| StoreError::Corrupt("head does not decode".into()))?;
    Ok(BlockRef { height: head.height, id: id.to_vec(), timestamp_ms: u64::from_be_bytes(*timestamp) })
}

pub(crate) fn writes(table: Table, changes: Vec<Change>) -> impl Iterator<Item = Write> {
    changes.into_iter().map(move |change| Write { table, key: change.key, value: change.value })
}

fn certificate_key(height: u64) -> Vec<u8> {
    [CERTIFICATE_PREFIX, &height.to_be_bytes()].concat()
}

fn upgrade_key(role: Role) -> Vec<u8> {
    [UPGRADE_PREFIX, role.name().as_bytes()].concat()
}

fn author_key(height: u64) -> Vec<u8> {
    [AUTHOR_PREFIX, &height.to_be_bytes()].concat()
}

fn summary_key(height: u64) -> Vec<u8> {
    [SUMMARY_PREFIX, &height.to_be_bytes()].concat()
}

pub(super) fn put(table: Table, key: &[u8], value: Vec<u8>) -> Write {
    Write { table, key: key.to_vec(), value: Some(value) }
}

/// Rows of a decided block, beside what it changes. An empty certificate is none.
fn block_rows(summary: &Summary, manifest: &Manifest, block: Vec<u8>, certificate: &[u8], rule: Option<Checkpoints>) -> Vec<Write> {
    let height = summary.height.to_be_bytes().to_vec();
    let mut rows = vec![put(Table::Block, &height, block), put(Table::Block, &summary.id, height)];
    if !certificate.is_empty() {
        rows.push(put(Table::Meta, &certificate_key(summary.height), [manifest.outcome().as_slice(), certificate].concat()));
        rows.extend(manifest.author().map(|author| put(Table::Meta, &author_key(summary.height), author.to_bytes())));
    }
    rows.extend(summary.upgrades.iter().map(|upgrade| put(Table::Meta, &upgrade_key(upgrade.role), upgrade.encode())));
    if summary.committee.is_some() || !summary.upgrades.is_empty() || rule.is_some_and(|rule| rule.is_at(summary.height)) {
        rows.push(put(Table::Meta, &summary_key(summary.height), wire::encode(summary)));
    }
    rows
}

/// What is written of a decided block.
pub(crate) fn batch(candidate: Candidate, certificate: &[u8], rule: Option<Checkpoints>) -> Batch {
    let head = candidate.head();
    let Candidate { offered, outcome, summary, committees, seed, .. } = candidate;
    let mut all: Vec<Write> = writes(Table::State, outcome.state).chain(writes(Table::Index, outcome.index)).collect();
    all.extend(block_rows(&summary, &offered.manifest, offered.block.clone(), certificate, rule));
    all.extend(seed.map(|seed| seed_row(&seed)));
    all.extend(committees.map(|committees| put(Table::Meta, COMMITTEES_KEY, committees.encode())));
    Batch { head: encode_head(&head), writes: all }
}

/// What is written beside a state that came from elsewhere: its block, and what this chain knew of itself before.
pub(crate) fn adoption(
    store: &Arc<ChainStore>,
    link: &Link,
    block: Vec<u8>,
    committees: &Committees,
    rule: Option<Checkpoints>,
) -> Result<(Head, Vec<Write>), StoreError> {
    let summary = &link.summary;
    let mut all = block_rows(summary, &link.manifest, block, &link.certificate, rule);
    all.push(put(Table::Meta, COMMITTEES_KEY, committees.encode()));
    for key in [SPEC_KEY, GENESIS_KEY, CHECKPOINTS_KEY, ATTESTING_KEY] {
        let value = store.view().get(Table::Meta, key)?;
        all.push(Write { table: Table::Meta, key: key.to_vec(), value });
    }
    // The committee vouches for the author, and the proof tells the seed.
    all.extend(link.manifest.author().and_then(|author| Voter::seed_of(&author.proof())).map(|seed| seed_row(&seed)));
    let head = BlockRef { height: summary.height, id: summary.id.clone(), timestamp_ms: summary.timestamp_ms };
    Ok((encode_head(&head), all))
}

/// The row with the last seed that was drawn.
pub(super) fn seed_row(seed: &[u8; 32]) -> Write {
    put(Table::Meta, SEED_KEY, seed.to_vec())
}

/// The last seed that an author drew; none where the chain's blocks have no authors.
pub(crate) fn last_seed(view: &View) -> Result<Option<[u8; 32]>, StoreError> {
    let seed = view.get(Table::Meta, SEED_KEY)?.map(|row| row.try_into());
    seed.transpose().map_err(|_| StoreError::Corrupt("the last seed does not decode".into()))
}

/// A candidate as it is kept until the next block.
pub(crate) fn kept(offered: &Offered) -> Vec<u8> {
    let author = offered.manifest.author().map_or_else(Vec::new, Author::to_bytes);
    [author, offered.block.clone()].concat()
}

/// The author and the block of a candidate that was kept, where blocks have `authors` or have not.
pub(crate) fn unkept(mut kept: Vec<u8>, authors: bool) -> Option<(Option<Author>, Vec<u8>)> {
    if !authors {
        return Some((None, kept));
    }
    let author = Author::from_bytes(kept.first_chunk()?);
    kept.drain(..Author::BYTES);
    Some((Some(author), kept))
}

/// Summaries that are kept, of heights from `start` to before `end`.
pub(crate) fn summaries(store: &Arc<ChainStore>, start: u64, end: u64, limit: usize) -> Result<Vec<Summary>, StoreError> {
    let rows = store.view().scan(Table::Meta, &summary_key(start), Some(&summary_key(end)), limit)?;
    rows.into_iter().map(|row| decode_summary(row.value)).collect()
}

/// A row of an earlier version ends before the lists that it does not know: it has none of them.
fn decode_summary(mut row: Vec<u8>) -> Result<Summary, StoreError> {
    for _ in 0..=LATER_LISTS {
        if let Some(summary) = wire::decode(&row) {
            return Ok(summary);
        }
        row.push(0);
    }
    Err(StoreError::Corrupt("a summary does not decode".into()))
}

/// The modules that the chain went over to, or goes over to at a later height.
pub(crate) fn upgrades(store: &Arc<ChainStore>) -> Result<Vec<Upgrade>, StoreError> {
    let view = store.view();
    let rows = Role::ALL.into_iter().map(|role| view.get(Table::Meta, &upgrade_key(role)));
    let decode = |row: Vec<u8>| Upgrade::decode(&row).ok_or_else(|| StoreError::Corrupt("an upgrade does not decode".into()));
    rows.filter_map(|row| row.transpose().map(|row| row.and_then(decode))).collect()
}

/// The author of the decided block at a height, if it is kept and has one.
pub(crate) fn author(view: &View, height: u64) -> Result<Option<Author>, StoreError> {
    let Some(row) = view.get(Table::Meta, &author_key(height))? else { return Ok(None) };
    let bytes = row.try_into().map_err(|_| StoreError::Corrupt(format!("the author of block {height} does not decode")))?;
    Ok(Some(Author::from_bytes(&bytes)))
}

/// A decided block with its certificate, if it is here and has one.
pub(crate) fn decided(store: &Arc<ChainStore>, height: u64) -> Result<Option<(Offered, Vec<u8>)>, StoreError> {
    let view = store.view();
    let Some(shown) = view.get(Table::Meta, &certificate_key(height))? else { return Ok(None) };
    let Some(block) = view.get(Table::Block, &height.to_be_bytes())? else { return Ok(None) };
    let corrupt = || StoreError::Corrupt(format!("the certificate of block {height} does not decode"));
    let (outcome, certificate) = shown.split_first_chunk().ok_or_else(corrupt)?;
    let offered = Offered::decided(block, *outcome, author(&view, height)?).map_err(|_| corrupt())?;
    Ok(Some((offered, certificate.to_vec())))
}

/// A row of the log, or none in its place.
pub(crate) fn log_write(key: Vec<u8>, value: Option<Vec<u8>>) -> Write {
    Write { table: Table::Log, key, value }
}

/// The row of the log with what this host states: for each matter its kind, its subject, the length of the value, and the value.
pub(crate) fn wanted_row(wanted: &BTreeMap<Matter, Vec<u8>>) -> Write {
    let one = |((kind, subject), value): (&Matter, &Vec<u8>)| {
        // A value is short (`statements`).
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        [&kind.to_be_bytes(), subject.as_slice(), &length.to_be_bytes(), value].concat()
    };
    log_write(WANTED_KEY.to_vec(), (!wanted.is_empty()).then(|| wanted.iter().flat_map(one).collect()))
}

/// What that row says.
pub(crate) fn load_wanted(store: &Arc<ChainStore>) -> Result<BTreeMap<Matter, Vec<u8>>, StoreError> {
    let row = store.view().get(Table::Log, WANTED_KEY)?.unwrap_or_default();
    let mut rest = row.as_slice();
    let mut next = || {
        let (kind, others) = rest.split_first_chunk()?;
        let (subject, others) = others.split_first_chunk()?;
        let (length, others) = others.split_first_chunk()?;
        let (value, others) = others.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = others;
        Some(((u16::from_be_bytes(*kind), *subject), value.to_vec()))
    };
    let wanted = std::iter::from_fn(&mut next).collect();
    if rest.is_empty() { Ok(wanted) } else { Err(StoreError::Corrupt("what this host states does not decode".into())) }
}

pub(crate) fn load_committees(store: &Arc<ChainStore>) -> Result<Committees, StoreError> {
    match store.view().get(Table::Meta, COMMITTEES_KEY)? {
        None => Ok(Committees::default()),
        Some(row) => Committees::decode(&row).ok_or_else(|| StoreError::Corrupt("committees do not decode".into())),
    }
}
