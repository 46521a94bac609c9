//! Gets the state that a later block vouches for, from several nodes at once, instead of all blocks up to it.
//!
//! Nothing that a node says is believed: each link from the head to the block that vouches for the state has the certificate of the committee that
//! this chain had by then, and the state's bytes are checked piece by piece against the root in it. What is gathered is kept through a restart.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use subnode_chain_core::{
    Checkpoints, Committees, Link,
    checkpoint::{GROUP_PIECES, Outline, PIECE_BYTES, piece_hash},
    wire::{self, Asked, Question},
};
use subnode_peers::Peers;
use subnode_storage::Stage;
use subnode_types::{NodeId, Purpose};
use tokio::task::JoinSet;

use crate::{
    exchange::{Fetched, Sources, fetch},
    guests::Checker,
    ledger::SyncedState,
    parts::Parts,
};

/// Pieces asked for at once, of all nodes together.
const PIECES_AT_ONCE: usize = 16;
/// Pieces written at once, to a file of their own.
const PIECES_WRITTEN: usize = 16;
/// Pieces on their way or waiting to be written.
const PIECES_HELD: usize = PIECES_AT_ONCE + PIECES_WRITTEN;
/// Answers with links that one node may give for one state.
const ANSWERS_MAX: usize = 256;

/// How long one node is asked for them: another may have the state at hand.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// A state to gather.
struct Target {
    /// The block whose state it is.
    link: Link,
    committees: Committees,
    root: [u8; 32],
}

/// Why no state came of it: what this host lacks, or what others answered.
type Refused = String;

/// Gathers the newest state that these nodes can show, if it is `worthwhile`: at that height or later.
pub(crate) async fn gather(
    parts: &Arc<Parts>,
    peers: &Arc<dyn Peers>,
    checker: &mut Checker,
    rule: Checkpoints,
    nodes: &[NodeId],
    worthwhile: u64,
) -> Result<Option<SyncedState>, Refused> {
    let mut target = None;
    for node in nodes {
        let shown = tokio::time::timeout(SHOWN_WITHIN, find_target(parts, peers, checker, rule, *node, worthwhile)).await;
        match shown.unwrap_or_else(|_| Err(format!("no state was shown within {SHOWN_WITHIN:?}"))) {
            Ok(None) => {}
            Ok(found) => {
                target = found;
                break;
            }
            Err(reason) => tracing::warn!(chain = %parts.name, peer = %node, reason, "a node showed a state that is not to be believed"),
        }
    }
    let Some(Target { link, committees, root }) = target else { return Ok(None) };
    let height = link.summary.height;
    let sources = Sources::new(parts.name.clone(), peers.clone(), Purpose::Snapshot, nodes);
    let transfer = Transfer { parts, sources, height };
    let outline = transfer.outline(root).await?;
    let room = parts.ledger.store().limit_bytes();
    if outline.bytes > room {
        return Err(format!("the state has {} bytes, and the chain's slice of storage {room}; resize the chain", outline.bytes));
    }
    tracing::info!(chain = %parts.name, height, bytes = outline.bytes, nodes = nodes.len(), "getting the state of a block");
    let mut found = None;
    for node in nodes {
        let fetched = fetch(peers, &parts.tenant, Asked::Decided(height), &[*node]).await;
        found = fetched.filter(|fetched| Some(fetched.manifest.id()) == link.id());
        if found.is_some() {
            break;
        }
    }
    let Fetched { block, memory: _memory, .. } = found.ok_or_else(|| format!("nobody has the block {height} that was decided"))?;
    let stage = parts.ledger.store().stage(root).map_err(|error| error.to_string())?;
    let stage = transfer.pieces(&outline, stage).await?;
    Ok(Some(SyncedState { stage, link, block, committees }))
}

/// The state to get, as a node shows it: the one that was begun before a restart, or the newest.
async fn find_target(
    parts: &Parts,
    peers: &Arc<dyn Peers>,
    checker: &mut Checker,
    rule: Checkpoints,
    node: NodeId,
    worthwhile: u64,
) -> Result<Option<Target>, Refused> {
    let begun = parts.ledger.store().staged().map_err(|error| error.to_string())?;
    let mut committees = parts.ledger.committees().clone();
    let mut after = parts.ledger.head().height;
    let mut states: BTreeMap<u64, (Link, Committees)> = BTreeMap::new();
    let mut best = None;
    for _ in 0..ANSWERS_MAX {
        let answer = peers.ask(node, Purpose::Snapshot, wire::encode(&Question::Links(after)).into()).await?;
        let links: Vec<Link> = wire::decode(&answer).ok_or("links that do not decode")?;
        if links.is_empty() {
            break;
        }
        for link in links {
            let height = link.summary.height;
            if height <= after {
                return Err("links that are out of order".into());
            }
            let id = link.id().ok_or("a summary that is not its block's")?;
            checker.check(committees.at(height), height, &id, &link.certificate).await.map_err(|fault| fault.to_string())??;
            link.apply(&mut committees).map_err(|error| error.to_string())?;
            after = height;
            if let (Some(root), Some(shown)) = (link.summary.checkpoint, rule.shown_at(height))
                && let Some((link, committees)) = states.remove(&shown).filter(|_| shown >= worthwhile)
            {
                let found = Target { link, committees, root };
                if begun == Some(root) {
                    return Ok(Some(found));
                }
                best = Some(found);
            }
            if rule.is_at(height) {
                states.insert(height, (link, committees.clone()));
            }
        }
    }
    Ok(best)
}

/// A state that is being got.
struct Transfer<'a> {
    parts: &'a Arc<Parts>,
    sources: Sources,
    height: u64,
}

impl Transfer<'_> {
    async fn outline(&self, root: [u8; 32]) -> Result<Outline, Refused> {
        let right = move |answer: &Bytes| wire::decode::<Outline>(answer).filter(|outline| outline.is_sound() && outline.root() == root);
        let outline = self.sources.ask(0, &Question::Outline(self.height), right).await;
        outline.ok_or_else(|| format!("nobody has the outline of state {}", self.height))
    }

    async fn group(&self, outline: &Outline, index: usize) -> Result<Vec<[u8; 32]>, Refused> {
        let of = outline.clone();
        let question = Question::Group(self.height, u32::try_from(index).unwrap_or(u32::MAX));
        let group = self.sources.ask(index, &question, move |answer| of.group(index, answer)).await;
        group.ok_or_else(|| format!("nobody has group {index} of state {}", self.height))
    }

    /// All pieces that the stage lacks.
    async fn pieces(&self, outline: &Outline, mut stage: Stage) -> Result<Stage, Refused> {
        let (height, pieces) = (self.height, outline.pieces());
        let memory = self.parts.tenant.lease((PIECES_HELD * PIECE_BYTES) as u64);
        let _memory = memory.map_err(|fault| fault.to_string())?;
        let progress = self.parts.standing.gathering(pieces);
        let mut next = stage.next_piece();
        let mut group: Option<(usize, Vec<[u8; 32]>)> = None;
        let mut asking = JoinSet::new();
        let mut here: BTreeMap<u64, Bytes> = BTreeMap::new();
        while stage.next_piece() < pieces {
            progress.reached(stage.next_piece());
            while asking.len() < PIECES_AT_ONCE && asking.len() + here.len() < PIECES_HELD && next < pieces {
                let (of, within) = (next / GROUP_PIECES as u64, next % GROUP_PIECES as u64);
                let (of, within) = (usize::try_from(of).unwrap_or(usize::MAX), usize::try_from(within).unwrap_or(usize::MAX));
                if group.as_ref().is_none_or(|(known, _)| *known != of) {
                    group = Some((of, self.group(outline, of).await?));
                }
                let hash = group.as_ref().and_then(|(_, hashes)| hashes.get(within).copied()).ok_or("a group that lacks a piece")?;
                let right = move |answer: &Bytes| (piece_hash(answer) == hash).then(|| answer.clone());
                let ask = self.sources.ask(within, &Question::Piece(height, next), right);
                let index = next;
                asking.spawn(async move { (index, ask.await) });
                next += 1;
            }
            let (index, piece) = match asking.join_next().await {
                Some(Ok(asked)) => asked,
                _ => return Err("a task was lost".into()),
            };
            here.insert(index, piece.ok_or_else(|| format!("nobody has piece {index} of state {height}"))?);
            let ready = (stage.next_piece()..).take_while(|index| here.contains_key(index)).count();
            let due = ready >= PIECES_WRITTEN || stage.next_piece() + ready as u64 == pieces;
            if due || asking.is_empty() {
                let some: Vec<Bytes> = (0..ready).filter_map(|_| here.pop_first().map(|(_, piece)| piece)).collect();
                stage.append(&some).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(stage)
    }
}
