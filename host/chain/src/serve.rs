//! Answers what other nodes ask: blocks, and what it takes to get a state.
//!
//! In a task of its own, one question after another and the nodes in turn: one that asks much, or for what takes long to find, keeps neither the
//! consensus module nor other nodes waiting for longer than one answer takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use subnode_chain_core::{
    PART_BYTES,
    wire::{self, Asked, Question, Whole},
};
use subnode_peers::Request;
use subnode_sandbox::charged;
use subnode_storage::StoreError;
use tokio::sync::Notify;

use crate::{
    ledger::{self, Offered, checkpoints},
    parts::Parts,
    waiting::Waiting,
};

/// Questions of one node that wait, each at the price of the bytes that it takes here; further ones are refused. A node that gets a block or a state
/// asks for eight parts at once.
const QUESTION_BYTES: usize = 128;
const WAITING_PER_NODE: usize = 64;

/// Questions that wait for their answers.
pub(crate) struct Questions {
    /// Bound: [`WAITING_PER_NODE`] questions of [`QUESTION_BYTES`] bytes for each node, 8 KiB.
    waiting: Mutex<Waiting<(Question, Request)>>,
    more: Notify,
}

impl Default for Questions {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting::new(WAITING_PER_NODE * QUESTION_BYTES)), more: Notify::new() }
    }
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Waiting<(Question, Request)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a question of a node, or refuses it.
    pub(crate) fn ask(&self, member: bool, question: Question, request: Request) {
        if self.lock().push(request.from, member, QUESTION_BYTES, (question, request)) {
            self.more.notify_one();
        }
    }

    /// The oldest question of the node whose turn is next.
    fn take(&self) -> Option<(Question, Request)> {
        self.lock().pop()
    }
}

/// Answers until the chain ends.
pub(crate) async fn run(parts: Arc<Parts>, questions: Arc<Questions>) {
    let mut server = Server::default();
    loop {
        let Some((question, request)) = questions.take() else {
            questions.more.notified().await;
            continue;
        };
        match charged(&parts.tenant, server.find(&parts, question)).await {
            Ok(Some(found)) => request.answer(found),
            // One that is dropped is refused.
            Ok(None) => {}
            Err(error) => tracing::warn!(chain = %parts.name, %error, ?question, "another node asks for what cannot be read"),
        }
        tokio::task::yield_now().await;
    }
}

/// A block, and what shows that it was decided, if it was.
type Shown = (Arc<Offered>, Vec<u8>);

#[derive(Default)]
struct Server {
    turns: checkpoints::Turns,
    /// The decided block that was asked for last, by its height: its parts are asked for one by one, and cutting it hashes all of it.
    last: Option<(u64, Shown)>,
}

impl Server {
    async fn find(&mut self, parts: &Parts, question: Question) -> Result<Option<Bytes>, StoreError> {
        let store = parts.ledger.store();
        Ok(match question {
            Question::Block(asked) => self.block(parts, asked)?.map(|(offered, certificate)| {
                let first = offered.block.chunks(PART_BYTES).next().unwrap_or_default().to_vec();
                wire::encode(&Whole { manifest: offered.manifest.clone(), certificate, first }).into()
            }),
            Question::Part(asked, index) => self
                .block(parts, asked)?
                .and_then(|(offered, _)| offered.block.chunks(PART_BYTES).nth(usize::try_from(index).ok()?).map(Bytes::copy_from_slice)),
            Question::Links(after) => match parts.ledger.rule() {
                Some(rule) => checkpoints::links(store, rule, after, &mut self.turns).await?.map(|links| wire::encode(&links).into()),
                None => None,
            },
            Question::Outline(height) => checkpoints::outline(store, height)?.map(|outline| wire::encode(&outline).into()),
            Question::Group(height, index) => checkpoints::group(store, height, index)?.map(Bytes::from),
            Question::Piece(height, index) => checkpoints::piece(store, height, index)?.map(Bytes::from),
        })
    }

    fn block(&mut self, parts: &Parts, asked: Asked) -> Result<Option<Shown>, StoreError> {
        let height = match asked {
            Asked::Candidate(id) => return Ok(parts.exchange.offered(&id).map(|offered| (offered, Vec::new()))),
            Asked::Decided(height) => height,
        };
        if let Some((last, shown)) = &self.last
            && *last == height
        {
            return Ok(Some(shown.clone()));
        }
        let found = ledger::decided(parts.ledger.store(), height)?.map(|(offered, certificate)| (Arc::new(offered), certificate));
        self.last = found.clone().map(|shown| (height, shown));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use subnode_types::{NodeId, Purpose};

    use super::*;

    #[test]
    fn nodes_are_answered_in_turn_and_one_that_asks_much_is_refused() {
        let questions = Questions::default();
        let (much, little) = (NodeId([1; 32]), NodeId([2; 32]));
        let request = |from| Request::new(from, Purpose::Blocks, Bytes::new()).0;
        for height in 0..1_000 {
            questions.ask(false, Question::Outline(height), request(much));
        }
        questions.ask(true, Question::Outline(7_000), request(little));
        let taken: Vec<_> = std::iter::from_fn(|| questions.take()).map(|(question, _)| question).collect();
        assert_eq!(taken.len(), WAITING_PER_NODE + 1);
        assert!(taken[..1].contains(&Question::Outline(7_000)), "{:?}", &taken[..1]);
    }
}
