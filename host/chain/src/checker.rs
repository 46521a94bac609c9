//! Checks certificates with an instance of the consensus module that is never started.

use subnode_sandbox::{CallError, ConsensusGuest, HostFault, Module};
use subnode_types::Validator;

use crate::{blocks::BlockId, shared::Shared};

/// Checks certificates.
pub(crate) struct Checker {
    module: Module,
    guest: Option<ConsensusGuest>,
}

impl Checker {
    pub(crate) fn new(module: Module) -> Self {
        Self { module, guest: None }
    }

    /// A fresh instance of the module.
    pub(crate) async fn instance(&mut self, shared: &Shared) -> Result<ConsensusGuest, CallError> {
        let made = ConsensusGuest::new(&self.module, &shared.tenant, shared.options.query, shared.voter.clone()).await;
        made.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    /// Whether a certificate shows that a committee decided on a block, or why it does not.
    pub(crate) async fn check(
        &mut self,
        shared: &Shared,
        committee: &[Validator],
        height: u64,
        id: &BlockId,
        certificate: &[u8],
    ) -> Result<Result<(), String>, CallError> {
        if committee.is_empty() {
            return Ok(Err("nobody decides on this chain's blocks but its sequencer".into()));
        }
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.instance(shared).await?,
        };
        // One that faulted is not used again.
        let checked = guest.check(committee, height, id, certificate).await?;
        self.guest = Some(guest);
        Ok(checked)
    }
}
