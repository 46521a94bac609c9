//! Gets a block from other nodes, part by part. Each part is checked against the block's id as it comes, so a node that sends anything else
//! costs one answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use subnode_chain_core::{
    Manifest,
    wire::{self, Asked, Question, Whole},
};
use subnode_sandbox::Tenant;
use subnode_types::{NodeId, Purpose};
use tokio::task::JoinSet;

use crate::peers::Peers;

/// Parts asked for at once, of all nodes together.
const PARTS_AT_ONCE: usize = 8;
/// Waits between attempts, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A block that has the id, or the height, that was asked for.
pub(crate) struct Fetched {
    pub(crate) manifest: Manifest,
    pub(crate) block: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    /// Who said that this is the block.
    pub(crate) from: NodeId,
}

/// Gets a block from whoever has it, `first` before others, until it is here.
pub(crate) async fn persistently(peers: Arc<dyn Peers>, tenant: Tenant, asked: Asked, first: Option<NodeId>) -> Fetched {
    let mut wait = RETRY_MIN;
    loop {
        let mut nodes = peers.connected();
        nodes.sort_by_key(|node| Some(*node) != first);
        if let Some(fetched) = fetch(&peers, &tenant, asked, &nodes).await {
            return fetched;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Asks these nodes, in their order.
pub(crate) async fn fetch(peers: &Arc<dyn Peers>, tenant: &Tenant, asked: Asked, nodes: &[NodeId]) -> Option<Fetched> {
    for node in nodes {
        let question = wire::encode(&Question::Block(asked));
        let Ok(answer) = peers.ask(*node, Purpose::Blocks, question.into()).await else { continue };
        let Some(whole) = wire::decode::<Whole>(&answer).filter(|whole| is_answer(whole, asked)) else {
            tracing::warn!(peer = %node, "a node answered with what is not the block it was asked for");
            continue;
        };
        let Ok(_memory) = tenant.lease(whole.manifest.block_bytes() as u64) else { return None };
        let Whole { manifest, certificate, first } = whole;
        let manifest = Arc::new(manifest);
        if let Some(block) = rest(peers, asked, &manifest, first, *node, nodes).await {
            let manifest = Arc::unwrap_or_clone(manifest);
            return Some(Fetched { manifest, block, certificate, from: *node });
        }
    }
    None
}

fn is_answer(whole: &Whole, asked: Asked) -> bool {
    let right = match asked {
        Asked::Candidate(id) => whole.manifest.id() == id,
        // The certificate shows it, which is checked later.
        Asked::Decided(_) => true,
    };
    let first = whole.manifest.parts() == 0 && whole.first.is_empty() || whole.manifest.has_part(0, &whole.first);
    right && whole.manifest.is_sound() && first
}

/// The parts after the first, several at a time.
async fn rest(
    peers: &Arc<dyn Peers>,
    asked: Asked,
    manifest: &Arc<Manifest>,
    first: Vec<u8>,
    from: NodeId,
    nodes: &[NodeId],
) -> Option<Vec<u8>> {
    let mut parts: Vec<Option<Bytes>> = vec![None; manifest.parts()];
    let mut missing = 1..manifest.parts();
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < PARTS_AT_ONCE
            && let Some(index) = missing.next()
        {
            let (peers, manifest) = (peers.clone(), manifest.clone());
            // From all of them, whoever has it; in the end from who is known to have it.
            let mut order: Vec<_> = (0..nodes.len()).map(|i| nodes[(index + i) % nodes.len()]).collect();
            order.push(from);
            asking.spawn(async move { (index, part(&*peers, asked, &manifest, index, &order).await) });
        }
        match asking.join_next().await {
            None => break,
            Some(Ok((index, Some(part)))) => parts[index] = Some(part),
            Some(_) => return None,
        }
    }
    let mut block = first;
    block.reserve(manifest.block_bytes().saturating_sub(block.len()));
    for part in parts.iter().skip(1) {
        block.extend_from_slice(part.as_deref()?);
    }
    (block.len() == manifest.block_bytes()).then_some(block)
}

async fn part(peers: &dyn Peers, asked: Asked, manifest: &Manifest, index: usize, nodes: &[NodeId]) -> Option<Bytes> {
    let question = Bytes::from(wire::encode(&Question::Part(asked, u32::try_from(index).ok()?)));
    for node in nodes {
        match peers.ask(*node, Purpose::Blocks, question.clone()).await {
            Ok(part) if manifest.has_part(index, &part) => return Some(part),
            Ok(_) => tracing::warn!(peer = %node, "a node sent a part that is not the block's"),
            Err(_) => {}
        }
    }
    None
}
