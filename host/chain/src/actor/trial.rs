//! Tries modules on the head of a chain, which stays as it is.

use std::sync::Arc;

use subnode_sandbox::{Attributes, CallError, Declaring, Lent, Membership, Module, RuntimeGuest};
use subnode_signer::{Guard, Voter};

use super::member::Member;
use crate::{
    error::OpenError,
    ledger::{Basis, Candidate, last_seed},
    parts::Parts,
    reader::ViewReader,
};

/// Has a runtime build a block on the head, and drops it.
pub(crate) async fn try_block(parts: &Parts, runtime: &Module) -> Result<(), OpenError> {
    let options = &parts.options;
    let runtime_error = |error| OpenError::Module { which: "runtime", error };
    let (view, head) = parts.ledger.view();
    // Beside the chain, which goes on: it is not to lose its pool to a trial.
    let tenant = parts.tenant.trial();
    let mut guest = RuntimeGuest::new(runtime, &tenant, options.block, &[]).await.map_err(runtime_error)??;
    let timestamp_ms = parts.standing.clock().next_timestamp(options.time.now_ms());
    let authors = last_seed(&view)?.is_some();
    let declaring = Declaring::default();
    let lent = Lent {
        declared: Some(declaring.clone()),
        pool: Some(parts.mempool.pool().for_build(0, Arc::default())),
        ..Lent::of(ViewReader(view))
    };
    let seed = [0; 32];
    let built = guest.build(&head, &Attributes { timestamp_ms, seed: seed.to_vec() }, lent).await?;
    let built = built.map_err(|invalid| OpenError::NoBlock(invalid.reason))?;
    let basis = Basis { parent: Some(&head), committees: &parts.ledger.committees(), checkpoint: None, drawn: None };
    let declared = declaring.take();
    if authors && declared.seed.is_some_and(|declared| declared != seed) {
        return Err(OpenError::NoBlock("the runtime uses another seed than it is given".into()));
    }
    Candidate::new(&tenant, basis, built.block, built.outcome, declared).map_err(CallError::from)?;
    Ok(())
}

/// Has other modules build a block on the head and start there, and drops what they say.
pub(crate) async fn try_modules(parts: &Parts, runtime: &Module, consensus: &Module, config: &[u8]) -> Result<(), OpenError> {
    try_block(parts, runtime).await?;
    // It is only tried: it signs nothing.
    let voter = Arc::new(Voter::new(None, [0; 32], Guard::default()));
    let membership = Membership { signer: voter, authors: None };
    let mut tried = Member::new(consensus.clone(), config.to_vec(), &parts.tenant.trial(), parts.options.query, membership).await?;
    let beginning = tried.beginning(parts, Vec::new(), Vec::new());
    tried.guest.start(beginning).await?.map_err(OpenError::Consensus)?;
    Ok(())
}
