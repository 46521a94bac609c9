//! Gives contents to other nodes: the modules of chains that run here. A content is given as long as a chain uses it, and these chains pay in turn.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use subnode_network::{Incoming, Membership, Overlay, Part as Inbox};
use subnode_sandbox::ModuleHash;
use subnode_scheduler::Bandwidth;
use subnode_types::ChainName;
use tokio_util::task::TaskTracker;

use super::{
    key,
    wire::{Asked, PART_BYTES, Part, decode, encode},
};
use crate::{modules::Modules, slot::lock};

/// Chains that use a content.
/// Bound: some 100 bytes for each chain that runs.
type Users = BTreeMap<ChainName, Arc<Bandwidth>>;

/// What this node gives.
pub(crate) struct Given {
    modules: Modules,
    tasks: TaskTracker,
    /// Bound: two contents of some KiB for each chain that runs.
    contents: Mutex<BTreeMap<ModuleHash, Content>>,
}

struct Content {
    users: Arc<Mutex<Users>>,
    /// None where the network did not take it. The content is given until this is dropped.
    membership: Option<Arc<Membership>>,
}

impl Given {
    pub(crate) fn new(modules: Modules, tasks: TaskTracker) -> Self {
        Self { modules, tasks, contents: Mutex::default() }
    }

    /// Gives a content that a chain uses.
    pub(crate) fn add(&self, network: &Overlay, content: ModuleHash, chain: &ChainName, bandwidth: &Arc<Bandwidth>) {
        let mut contents = lock(&self.contents);
        let given = contents.entry(content).or_insert_with(|| Content { users: Arc::default(), membership: None });
        lock(&given.users).insert(chain.clone(), bandwidth.clone());
        if given.membership.is_some() {
            return;
        }
        match network.give(key(content), bandwidth.clone()) {
            Ok((membership, inbox)) => {
                let membership = Arc::new(membership);
                let giving = give(self.modules.clone(), content, given.users.clone(), Arc::downgrade(&membership), inbox);
                self.tasks.spawn(giving);
                given.membership = Some(membership);
            }
            Err(reason) => tracing::warn!(%chain, module = %content, reason, "other nodes cannot get this module here"),
        }
    }

    /// A chain uses none any more.
    pub(crate) fn remove(&self, chain: &ChainName) {
        lock(&self.contents).retain(|_, content| {
            let mut users = lock(&content.users);
            users.remove(chain);
            !users.is_empty()
        });
    }

    /// Gives nothing any more.
    pub(crate) fn clear(&self) {
        lock(&self.contents).clear();
    }
}

/// Answers questions, one after the other and the nodes in turn, until nobody uses the content.
async fn give(modules: Modules, content: ModuleHash, users: Arc<Mutex<Users>>, membership: Weak<Membership>, mut inbox: Inbox) {
    let mut turn = 0_usize;
    while let Some(incoming) = inbox.next().await {
        // Nobody sends frames for a content.
        let Incoming::Request(request) = incoming else { continue };
        let Some(asked) = decode::<Asked>(&request.frame) else {
            if let Some(membership) = membership.upgrade() {
                membership.fault(request.from, "a question for a content that does not decode");
            }
            continue;
        };
        turn = turn.wrapping_add(1);
        let payer = {
            let users = lock(&users);
            users.values().nth(turn % users.len().max(1)).cloned()
        };
        if let (Some(payer), Some(membership)) = (payer, membership.upgrade()) {
            membership.set_bandwidth(payer);
        }
        let modules = modules.clone();
        let read = tokio::task::spawn_blocking(move || modules.part(content, asked.offset, PART_BYTES)).await;
        match read {
            Ok(Ok(Some((size, bytes)))) => request.answer(encode(&Part { size, bytes: &bytes }).into()),
            // A question that is dropped is refused.
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(module = %content, %error, "another node asks for a module that cannot be read"),
        }
    }
}
