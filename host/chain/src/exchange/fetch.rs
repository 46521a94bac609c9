//! Gets a block from other nodes, part by part. Each part is checked against the block's id as it comes, so a node that sends anything else
//! costs one answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use subnode_chain_core::{
    Manifest,
    wire::{self, Asked, Question, Whole},
};
use subnode_peers::Peers;
use subnode_sandbox::{Lease, Tenant};
use subnode_types::{NodeId, Purpose};
use tokio::task::JoinSet;

use super::sources::Sources;

/// Parts asked for at once, of all nodes together.
const PARTS_AT_ONCE: usize = 8;
/// A node that has not answered by then is not waited for alone: one that was cut off a moment ago is asked as if it were there, and its time to
/// answer is longer than a committee's to decide.
const NEXT_AFTER: Duration = Duration::from_millis(500);
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
    /// What the block takes until it is given on.
    pub(crate) memory: Lease,
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
    let (mut waiting, mut asking) = (nodes.iter().copied(), JoinSet::new());
    loop {
        // The next one, where nobody is asked, or nobody answers.
        if let Some(node) = waiting.next() {
            let (peers, question) = (peers.clone(), wire::encode(&Question::Block(asked)));
            asking.spawn(async move { (node, peers.ask(node, Purpose::Blocks, question.into()).await) });
        }
        let answer = if waiting.len() == 0 {
            asking.join_next().await?
        } else {
            match tokio::time::timeout(NEXT_AFTER, asking.join_next()).await {
                Ok(answer) => answer?,
                Err(_) => continue,
            }
        };
        let Ok((node, Ok(answer))) = answer else { continue };
        let Some(whole) = wire::decode::<Whole>(&answer).filter(|whole| is_answer(whole, asked)) else {
            tracing::warn!(peer = %node, "a node answered with what is not the block it was asked for");
            continue;
        };
        let Ok(memory) = tenant.lease(whole.manifest.block_bytes() as u64) else { return None };
        let Whole { manifest, certificate, first } = whole;
        let manifest = Arc::new(manifest);
        let sources = Sources::new(tenant.chain().clone(), peers.clone(), Purpose::Blocks, nodes);
        if let Some(block) = rest(&sources, asked, &manifest, first).await {
            let manifest = Arc::unwrap_or_clone(manifest);
            return Some(Fetched { manifest, block, certificate, from: node, memory });
        }
    }
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

/// The parts after the first, several at a time, from whoever has them.
async fn rest(sources: &Sources, asked: Asked, manifest: &Arc<Manifest>, first: Vec<u8>) -> Option<Vec<u8>> {
    let mut parts: Vec<Option<Bytes>> = vec![None; manifest.parts()];
    let mut missing = 1..manifest.parts();
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < PARTS_AT_ONCE
            && let Some(index) = missing.next()
        {
            let of = manifest.clone();
            let right = move |part: &Bytes| of.has_part(index, part).then(|| part.clone());
            let part = sources.ask(index, &Question::Part(asked, u32::try_from(index).ok()?), right);
            asking.spawn(async move { (index, part.await) });
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
