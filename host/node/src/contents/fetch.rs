//! Gets a content from other nodes.
//!
//! The parts come in order, from one node at a time, and their hash is taken as they come. Where the whole has another hash and one node gave all of it,
//! that node gave what is wrong, and is asked no more. Where several gave parts, nobody can be blamed: the content is got anew, and from then on a node
//! that takes another's place begins at the start. So each liar costs one download.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use subnode_network::{Membership, NodeId, Overlay, Purpose};
use subnode_sandbox::ModuleHash;
use subnode_scheduler::Bandwidth;
use tokio::{task::JoinSet, time::Instant};

use super::{
    key,
    sources::Sources,
    wire::{Asked, PART_BYTES, Part, decode, encode},
};
use crate::{
    blocking::blocking,
    control_error::ControlError,
    download::Download,
    modules::{Modules, ModulesError},
};

/// Parts that are asked for at once. The last of them is answered within the ten seconds that a question has where the nodes' slices are 52 KB/s.
const PARTS_AT_ONCE: usize = 4;
/// How often it is looked whether a node is connected that has the content.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How much is here, and what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    pub(crate) bytes: u64,
    /// None until a node has said it.
    pub(crate) of: Option<u64>,
    pub(crate) what: String,
}

/// Why a content does not come, whoever gives it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// It is what was asked for, and no module.
    #[error("{0}")]
    Module(ModulesError),
    /// This host cannot take it now.
    #[error("{0}")]
    Host(String),
}

impl From<ControlError> for FetchError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Module(error @ ModulesError::Module { .. }) => Self::Module(error),
            other => Self::Host(other.to_string()),
        }
    }
}

/// What came of asking a node.
enum Taken {
    /// All of it is here, as far as this node says.
    End,
    /// It does not answer any more, after it gave something or not.
    Stopped(bool),
    /// It answered what cannot be.
    Wrong,
}

/// A content that is got.
pub(crate) struct Fetch<'a> {
    modules: Modules,
    content: ModuleHash,
    network: &'a Overlay,
    membership: Arc<Membership>,
    sources: Sources,
    /// Whether a node that takes another's place begins at the start.
    is_alone: bool,
    tell: &'a (dyn Fn(Here) + Send + Sync),
}

impl<'a> Fetch<'a> {
    /// Takes part in getting a content, which `bandwidth` pays for.
    pub(crate) fn new(
        modules: &Modules,
        content: ModuleHash,
        network: &'a Overlay,
        bandwidth: Arc<Bandwidth>,
        tell: &'a (dyn Fn(Here) + Send + Sync),
    ) -> Result<Self, FetchError> {
        let membership = Arc::new(network.seek(key(content), bandwidth).map_err(FetchError::Host)?);
        Ok(Self { modules: modules.clone(), content, network, membership, sources: Sources::default(), is_alone: false, tell })
    }

    /// Gets it, checks and compiles it, and keeps it. Waits until a node has it.
    ///
    /// # Errors
    /// Where it is no module, or this host cannot keep it.
    ///
    /// # Cancel safety
    /// What is here stays, and the next one goes on with it.
    pub(crate) async fn run(mut self) -> Result<(), FetchError> {
        let (modules, content) = (self.modules.clone(), self.content);
        let mut download = blocking(move || Download::open(&modules, content)).await?;
        while !download.is_whole() {
            let Some(node) = self.next(&download) else {
                let what = self.nobody();
                self.say(&download, None, what);
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            if self.is_alone && !download.is_of(node) {
                download = cleared(download).await?;
            }
            let (back, taken) = self.take(node, download).await?;
            download = back;
            match taken {
                Taken::End if download.is_whole() => {}
                Taken::End if download.is_of(node) => {
                    self.distrust(node, "a content that has another hash");
                    download = cleared(download).await?;
                }
                Taken::End => {
                    tracing::info!(module = %content, "what several nodes gave is not the module; it is got anew from one at a time");
                    self.is_alone = true;
                    download = cleared(download).await?;
                }
                Taken::Stopped(gave) => self.sources.rest(node, Instant::now().into_std(), gave),
                Taken::Wrong => self.distrust(node, "an answer that is no part of a content"),
            }
        }
        let size = download.bytes();
        self.say(&download, Some(size), "it is checked and compiled".into());
        Ok(blocking(move || download.keep()).await?)
    }

    fn say(&self, download: &Download, of: Option<u64>, what: String) {
        (self.tell)(Here { bytes: download.bytes(), of, what });
    }

    /// Connected nodes that have the content, and that the configuration names.
    fn having(&self) -> Vec<NodeId> {
        let connected = self.membership.connected();
        self.network.configured().filter(|node| connected.contains(node)).collect()
    }

    fn next(&self, download: &Download) -> Option<NodeId> {
        self.sources.next(&self.having(), Instant::now().into_std(), |node| download.is_of(node))
    }

    /// Why nobody is asked.
    fn nobody(&self) -> String {
        let distrusted = self.sources.distrusted(Instant::now().into_std());
        if self.network.configured().all(|node| node == self.network.id()) {
            "[network.peers] names no node to get it from".into()
        } else if self.having().is_empty() {
            "no node of [network.peers] is connected and has it".into()
        } else if distrusted > 0 {
            format!("{distrusted} of the nodes that say they have it gave something else, and no other gives it")
        } else {
            "the connected nodes of [network.peers] do not give it".into()
        }
    }

    fn distrust(&mut self, node: NodeId, what: &str) {
        tracing::warn!(module = %self.content, peer = %node, what, "this node is not asked for the module any more");
        self.membership.fault(node, what);
        self.sources.distrust(node, Instant::now().into_std());
    }

    /// Takes what a node gives, from where the download is.
    async fn take(&self, node: NodeId, mut download: Download) -> Result<(Download, Taken), FetchError> {
        // Bound: as many parts together as are asked for at once, each of a frame's length at most.
        let (mut asking, mut early) = (JoinSet::new(), BTreeMap::<u64, Bytes>::new());
        let (mut next, mut size) = (download.bytes(), None);
        let began = next;
        let taken = loop {
            while asking.is_empty() || size.is_some_and(|size| next < size && asking.len() + early.len() < PARTS_AT_ONCE) {
                let (membership, asked) = (self.membership.clone(), Asked { offset: next });
                asking.spawn(async move { (asked, membership.request(node, Purpose::Content, encode(&asked).into()).await) });
                next += PART_BYTES as u64;
            }
            let Some(Ok((asked, Ok(answer)))) = asking.join_next().await else { break Taken::Stopped(download.bytes() > began) };
            match decode::<Part<'_>>(&answer) {
                Some(part) if part.answers(asked, size) => size = Some(part.size),
                Some(_) | None => break Taken::Wrong,
            }
            early.insert(asked.offset, answer);
            while let Some(answer) = early.remove(&download.bytes()) {
                download = blocking(move || {
                    let part = decode::<Part<'_>>(&answer).map_or(&[][..], |part| part.bytes);
                    download.append(node, part)?;
                    Ok::<_, ModulesError>(download)
                })
                .await?;
                self.say(&download, size, format!("node {node} gives it"));
            }
            if size.is_some_and(|size| size <= download.bytes()) {
                break Taken::End;
            }
        };
        // They hold the membership, which ends with the fetch.
        asking.shutdown().await;
        Ok((download, taken))
    }
}

async fn cleared(mut download: Download) -> Result<Download, FetchError> {
    let cleared = blocking(move || {
        download.clear()?;
        Ok::<_, ModulesError>(download)
    });
    Ok(cleared.await?)
}
