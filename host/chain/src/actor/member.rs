//! The consensus module of a chain: the instance that runs it, and what further ones are made of.

use subnode_sandbox::{Beginning, CallError, ConsensusGuest, Judged, Limits, Membership, Module, Tenant};

use crate::{error::OpenError, guests::Checker, parts::Parts};

/// See the module.
pub(crate) struct Member {
    config: Vec<u8>,
    pub(super) guest: ConsensusGuest,
    pub(super) checker: Checker,
}

impl Member {
    pub(crate) async fn new(
        module: Module,
        config: Vec<u8>,
        tenant: &Tenant,
        limits: Limits,
        membership: Membership,
    ) -> Result<Self, OpenError> {
        let guest = ConsensusGuest::new(&module, tenant, limits, membership.clone()).await;
        let guest = guest.map_err(|error| OpenError::Module { which: "consensus", error })??;
        Ok(Self { checker: Checker::new(module, tenant.clone(), limits, membership), config, guest })
    }

    /// What the module starts from.
    pub(super) fn beginning(&self, parts: &Parts, log: Vec<Vec<u8>>, kept: Vec<Judged>) -> Beginning {
        let (config, head, ready) = (self.config.clone(), parts.ledger.head(), parts.ready());
        Beginning { config, head, ready, committee: parts.ledger.committee(), log, kept }
    }

    /// Puts a fresh instance in the place of the one that runs.
    pub(super) async fn restart(&mut self) -> Result<(), CallError> {
        self.guest = self.checker.instance().await?;
        Ok(())
    }
}
