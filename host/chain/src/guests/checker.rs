//! Checks certificates with an instance of the consensus module that is never started.

use subnode_sandbox::{CallError, ConsensusGuest, HostFault, Limits, Membership, Module, Tenant};
use subnode_types::Validator;

/// Checks certificates, and makes instances of the module.
pub(crate) struct Checker {
    module: Module,
    tenant: Tenant,
    limits: Limits,
    membership: Membership,
    guest: Option<ConsensusGuest>,
}

impl Checker {
    pub(crate) fn new(module: Module, tenant: Tenant, limits: Limits, membership: Membership) -> Self {
        Self { module, tenant, limits, membership, guest: None }
    }

    /// A fresh instance of the module.
    pub(crate) async fn instance(&mut self) -> Result<ConsensusGuest, CallError> {
        let made = ConsensusGuest::new(&self.module, &self.tenant, self.limits, self.membership.clone()).await;
        made.unwrap_or_else(|error| Err(HostFault::Instance(error.to_string()).into()))
    }

    /// Whether a certificate shows that a committee decided on a block, or why it does not.
    pub(crate) async fn check(
        &mut self,
        committee: &[Validator],
        height: u64,
        id: &[u8; 32],
        certificate: &[u8],
    ) -> Result<Result<(), String>, CallError> {
        if committee.is_empty() {
            return Ok(Err("nobody decides on this chain's blocks but its sequencer".into()));
        }
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.instance().await?,
        };
        // One that faulted is not used again.
        let checked = guest.check(committee, height, id, certificate).await?;
        self.guest = Some(guest);
        Ok(checked)
    }
}
