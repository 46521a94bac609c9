//! Says again and again what other members must know: what this host states and attests, and that it is there.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use subnode_chain_core::{presence::Presence, statement::Kind};
use subnode_types::NodeId;
use tokio::time::Instant;

use crate::{attestations::Heard, ledger::attested_at, parts::Parts};

/// How often a host repeats what it states: frames may be lost.
const REPEAT: Duration = Duration::from_secs(1);

/// Repeats what this host states, for as long as it does.
pub(crate) async fn repeat(parts: Arc<Parts>) {
    loop {
        tokio::time::sleep(REPEAT).await;
        for frame in parts.statements.own().await {
            parts.exchange.state(frame);
        }
    }
}

/// Repeats what this host attests, while others may not have heard it.
pub(crate) async fn repeat_attestations(parts: Arc<Parts>) {
    loop {
        tokio::time::sleep(REPEAT).await;
        for frame in parts.attestations.own().await {
            parts.exchange.state(frame);
        }
    }
}

/// Takes what another node attests.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn hear_attestation(parts: &Parts, from: NodeId, frame: &Bytes) -> Result<(), String> {
    // A row that cannot be read is as good as none here: nobody is blamed for it.
    let kept = |height| attested_at(parts.ledger.store(), height).ok().flatten();
    if let Heard::Double(member) = parts.attestations.take(from, frame, kept)? {
        parts.counters.evidence.fetch_add(1, Ordering::Relaxed);
        tracing::error!(chain = %parts.name, %member, "a member of the committee attested one height twice: `subnode attestation proofs` shows the proof");
    }
    Ok(())
}

/// Says that this host is there, passes on who else is, and states which members are silent.
pub(crate) async fn attend(parts: Arc<Parts>) {
    loop {
        let members = parts.ledger.committee().len();
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(parts.presences.every_ms(members))).await;
        let height = parts.ledger.head().height;
        // A paused host does not vote: to its committee it is not there.
        let own = (!parts.standing.is_paused()).then(|| Presence { at_ms: parts.options.time.now_ms(), height, view_age_s: None });
        if let Some(frame) = parts.presences.say(&parts.voter, own) {
            parts.exchange.state(frame.into());
        }
        state_silence(&parts, height).await;
    }
}

/// States which members are silent, and withdraws what it stated of members that are heard again.
async fn state_silence(parts: &Parts, height: u64) {
    if !parts.statements.are_noted() || parts.standing.is_paused() {
        return;
    }
    let kind = Kind::Silence as u16;
    let silent: BTreeSet<[u8; 32]> = parts.presences.silent(height).into_iter().map(|member| member.0).collect();
    let stated: BTreeSet<[u8; 32]> =
        parts.statements.wanted().into_keys().filter(|(of, _)| *of == kind).map(|(_, subject)| subject).collect();
    for subject in silent.difference(&stated) {
        // A chain that is closing states nothing.
        drop(parts.actor.state((kind, *subject), Some(Vec::new())).await);
    }
    for subject in stated.difference(&silent) {
        drop(parts.actor.state((kind, *subject), None).await);
    }
}
