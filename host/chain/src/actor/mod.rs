//! Drives the consensus module: what it is told, what it asks for. The only writer of a chain's store.
//!
//! [`Actor::run`] is the loop. What it does with each thing that happens is in a file of its own: requests of users ([`controls`], [`sealing`],
//! [`returning`]), what the consensus module asks for ([`effects`], [`build`], [`commit`]), what other nodes send ([`decided`]), and states that are
//! shown to others or come from them ([`recovery`]).

mod attestations;
mod author;
mod build;
mod commit;
mod controls;
mod decided;
mod effects;
mod hindrance;
mod member;
mod proposals;
mod recovery;
mod returning;
mod sealing;
mod seals;
mod snapshots;
mod state;
mod statements;
mod trial;
mod trouble;

use std::time::Duration;

use bytes::Bytes;
use subnode_peers::{Inbox, Incoming, Received};
use subnode_sandbox::Input;
use subnode_types::NodeId;
use tokio::time::Instant;

use self::trouble::Trouble;
pub(crate) use self::{
    member::Member,
    state::Actor,
    trial::{try_block, try_modules},
};
use crate::{
    error::OpenError,
    ledger::{ConsensusLog, Logged, unkept},
    options::Ended,
};

impl Actor {
    /// Starts the consensus module at the head.
    pub(crate) async fn start(&mut self) -> Result<(), OpenError> {
        if let Some(last) = self.parts.ledger.rule().and_then(|rule| rule.last(self.parts.ledger.head().height)) {
            self.find_root(last);
        }
        self.take_statements_up().await?;
        self.take_attestations_up().await?;
        let (log, Logged { entries, kept }) = ConsensusLog::load(self.parts.ledger.store())?;
        self.log = log;
        let mut judged = Vec::new();
        let (view, head) = self.parts.ledger.view();
        let authors = self.seed_before(&view, &head)?.is_some();
        drop(view);
        for (id, bytes) in kept {
            if let Some((author, block)) = unkept(bytes, authors) {
                judged.extend(self.judge(id, author.as_ref(), block).await);
            }
        }
        let beginning = self.member.beginning(&self.parts, entries, judged);
        let started = self.member.guest.start(beginning).await;
        self.parts.counters.profile(&mut self.member.guest);
        let effects = started?.map_err(OpenError::Consensus)?;
        self.take(effects).await;
        self.failure.take().map_or(Ok(()), |failure| Err(OpenError::Consensus(failure)))
    }

    /// Starts the consensus module anew, from the head and its log.
    async fn start_again(&mut self) {
        self.hindrance.missed = false;
        let begun = async {
            self.member.restart().await?;
            self.start().await
        };
        match begun.await {
            Ok(()) => drop(self.parts.standing.set_stuck(None)),
            Err(error) => self.stop_for(Trouble::from(error).of("the consensus module did not start")),
        }
    }

    /// Runs until the chain is stopped.
    ///
    /// # Errors
    /// Where the consensus module fails: the chain cannot go on with this instance of it.
    pub(crate) async fn run(mut self) -> Result<(), Ended> {
        let shutdown = self.shutdown.clone();
        loop {
            if let Some(height) = self.adopted {
                return Err(Ended::Adopted(height));
            }
            if let Some(height) = self.upgraded {
                return Err(Ended::Upgraded(height));
            }
            if let Some(failure) = self.failure.take() {
                return Err(Ended::Failed(failure));
            }
            let paused = self.is_paused();
            if !paused && self.hindrance.missed && !shutdown.is_cancelled() {
                self.start_again().await;
                continue;
            }
            let parts = self.parts.clone();
            let due = self.timers.next_due_ms().map(|due| Duration::from_millis(due.saturating_sub(self.now_ms())));
            let (waits_until, hindered_until) = (self.waits_until, self.hindrance.until);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                message = self.messages.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
                () = std::future::ready(()), if !self.seals.is_empty() => self.seal_next().await,
                // After messages: a chain whose pool never empties listens to its user all the same.
                () = std::future::ready(()), if !paused && !self.effects.is_empty() => {
                    self.perform().await;
                    // What a module asks for may never end, nor wait for anything: its thread has others to serve.
                    tokio::task::yield_now().await;
                }
                () = sleep(due.unwrap_or_default()), if !paused && due.is_some() => {
                    self.due = self.timers.next_due_ms().map(|due| self.moment(due));
                    // Those that are set meanwhile run out in a later turn of this loop, however soon: its user is heard in between.
                    let now_ms = self.now_ms();
                    for id in self.timers.due(now_ms) {
                        if self.timers.take(id, now_ms) {
                            self.input(Input::Timer(id)).await;
                        }
                    }
                    self.due = None;
                    tokio::task::yield_now().await;
                }
                () = tokio::time::sleep_until(hindered_until.unwrap_or_else(Instant::now)), if hindered_until.is_some() => {
                    self.hindrance.until = None;
                }
                () = tokio::time::sleep_until(waits_until.unwrap_or_else(Instant::now)), if !paused && waits_until.is_some() => {
                    self.waits_until = None;
                    self.build_and_go_on().await;
                }
                Some((wanted, fetched)) = self.proposals.next_fetched(), if !paused => self.fetched(wanted, fetched).await,
                () = parts.attestations.wait_for_rows() => self.write_attestations().await,
                (height, found) = self.roots.next() => self.root_found(height, found).await,
                // A paused chain drops consensus frames. Waiting would block their senders, and every frame queued behind.
                Some((from, frame)) = next_frame(&mut self.frames) => {
                    self.parts.presences.heard(from, self.parts.ledger.head().height);
                    if !paused {
                        self.input(Input::Message(frame.to_vec())).await;
                    }
                },
                () = parts.mempool.to_tell(), if !paused => {
                    let ready = parts.ready();
                    if ready > 0 {
                        self.input(Input::Ready(ready)).await;
                    }
                }
                // Last: whatever makes blocks goes before.
                () = std::future::ready(()), if !self.prunes.is_empty() => self.prune_some().await,
            }
        }
        Ok(())
    }
}

/// What the member sent whose turn is next; none once the chain has left the network.
async fn next_frame(frames: &mut Option<Box<dyn Inbox>>) -> Option<(NodeId, Bytes)> {
    let Some(frames) = frames else { return std::future::pending().await };
    loop {
        if let Incoming::Frame(Received { from, frame, .. }) = frames.next().await? {
            return Some((from, frame));
        }
    }
}

async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
