//! Genesis: from a geth-style file to the first block and its state.
//!
//! A file that the host gives whole becomes a [`State`] in memory, as that of any block. A longer one is read in parts ([`genesis_stream`]). Both
//! make the same block and the same state. Of an address that is there twice the later account holds; the parts leave the code of the earlier one.

use std::io::BufReader;

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::{
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B256};
use alloy_trie::EMPTY_ROOT_HASH;

use crate::{
    bindings::{
        exports::{Built, CommitteeChange, Outcome},
        subnode::chain::types::Change,
    },
    block::built,
    body::Body,
    committee::Founders,
    genesis_file::{self, GenesisFile, Head, Sink, Watched},
    genesis_stream::{self, Accounts, SpecReader},
    spec::{Extension, Fork, SPEC_KEY, Spec},
    state::{Account, State, WholeAccount},
};

/// Contracts without which no block can be made from Prague on, and the EIPs that say so.
const PREDEPLOYS: [(Address, u16); 2] = [(WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 7002), (CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 7251)];

pub fn genesis(json: &[u8]) -> Result<Built, String> {
    if json.is_empty() && genesis_stream::is_given() { in_parts() } else { whole(json) }
}

fn whole(json: &[u8]) -> Result<Built, String> {
    let GenesisFile { head, alloc } = genesis_file::parse(json)?;
    let rules = Rules::of(&head.genesis)?;
    let mut state = State::default();
    for (address, account) in alloc {
        state.set_account(address, Account { nonce: account.nonce.unwrap_or_default(), balance: account.balance, ..Account::default() });
        if let Some(code) = account.code {
            state.set_code(address, code);
        }
        for (slot, value) in account.storage.into_iter().flatten() {
            if !value.is_zero() {
                state.set_storage(address, slot.into(), value.into());
            }
        }
    }
    rules.check_predeploys(|address| state.has_code(address))?;
    let committee = rules.found(&mut state)?;
    let (state_root, changes) = state.into_changes();
    first(head, &rules, state_root, changes, committee)
}

fn in_parts() -> Result<Built, String> {
    let mut accounts = Watched::new(Accounts::new(), PREDEPLOYS.map(|(address, _)| address));
    let head = genesis_file::read(BufReader::with_capacity(4096, SpecReader::default()), &mut accounts)?;
    let rules = Rules::of(&head.genesis)?;
    rules.check_predeploys(|address| accounts.has_code(address))?;
    let mut founders = State::default();
    let committee = rules.found(&mut founders)?;
    for WholeAccount { address, account, code, storage } in founders.into_accounts() {
        let code_hash = accounts.code(&code.unwrap_or_default());
        for (slot, word) in storage {
            accounts.slot(address, slot, word);
        }
        accounts.account(address, Account { code_hash, ..account });
    }
    let (state_root, changes) = accounts.into_inner().into_rows();
    first(head, &rules, state_root, changes, committee)
}

/// What a file says of the chain's rules.
struct Rules {
    spec: Spec,
    extension: Extension,
    /// The fork of the first block.
    fork: Fork,
}

impl Rules {
    fn of(genesis: &Genesis) -> Result<Self, String> {
        let spec = Spec::from_genesis(genesis)?;
        let fork = spec.fork(genesis.timestamp);
        Ok(Self { extension: Extension::from_genesis(genesis)?, fork, spec })
    }

    /// Refuses a chain that could make no block. A chain that reaches Prague later can get the contracts by transactions: it is warned of them.
    fn check_predeploys(&self, mut has_code: impl FnMut(Address) -> bool) -> Result<(), String> {
        let Some((_, begins)) = self.spec.forks.iter().find(|(fork, _)| *fork == Fork::Prague).filter(|_| !self.spec.dev) else {
            return Ok(());
        };
        let missing: Vec<_> = PREDEPLOYS
            .into_iter()
            .filter(|(address, _)| !has_code(*address))
            .map(|(address, eip)| format!("EIP-{eip}'s contract at {address}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (missing, begun) = (missing.join(" and "), self.fork >= Fork::Prague);
        let from = if begun { String::new() } else { format!(" from the time {begins} on") };
        let said = format!(
            "config.pragueTime: no block can be made{from} without {missing}; put the code into alloc (`subnode config genesis` prints a file that has it)"
        );
        if begun {
            return Err(said);
        }
        eprintln!("{said}");
        Ok(())
    }

    /// Puts the contracts that the file asks for into a state; who decides the first block, where a committee does.
    fn found(&self, state: &mut State) -> Result<Option<CommitteeChange>, String> {
        match &self.extension.deployers {
            None => {}
            Some(_) if self.fork < Fork::Shanghai => {
                return Err("config.subnode.deployers: its contract needs Shanghai; set config.shanghaiTime to 0".into());
            }
            Some(deployers) => deployers.found(state)?,
        }
        match &self.extension.committee {
            None => Ok(None),
            Some(_) if self.fork < Fork::Shanghai => {
                Err("config.subnode.committee: its contract needs Shanghai; set config.shanghaiTime to 0".into())
            }
            Some(_) if self.spec.foreign => {
                Err("config.subnode.committee: a foreign chain has none: its blocks may hold what no committee saw; leave config.subnode.foreign out".into())
            }
            Some(founders) => founders.found(state, self.spec.genesis_number).map(Some),
        }
    }
}

/// The block, and what it does.
fn first(
    Head { genesis, extra }: Head,
    Rules { spec, fork, extension }: &Rules,
    state_root: B256,
    mut changes: Vec<Change>,
    committee: Option<CommitteeChange>,
) -> Result<Built, String> {
    changes.push(Change { key: SPEC_KEY.to_vec(), value: Some(spec.to_row()) });
    let fork = *fork;
    let base_fee = spec.fees.genesis_base_fee(genesis.base_fee_per_gas)?;
    let header = Header {
        parent_hash: genesis.parent_hash.unwrap_or_default(),
        ommers_hash: extra.uncle_hash.unwrap_or(EMPTY_OMMER_ROOT_HASH),
        beneficiary: genesis.coinbase,
        state_root,
        transactions_root: extra.transactions_trie.unwrap_or(EMPTY_ROOT_HASH),
        receipts_root: extra.receipt_trie.unwrap_or(EMPTY_ROOT_HASH),
        logs_bloom: extra
            .bloom
            .filter(|bloom| bloom.len() == 256)
            .map(|bloom| alloy_primitives::Bloom::from_slice(&bloom))
            .unwrap_or_default(),
        difficulty: genesis.difficulty,
        number: spec.genesis_number,
        gas_limit: genesis.gas_limit,
        gas_used: extra.gas_used.unwrap_or_default().try_into().map_err(|_| "gasUsed: too large".to_owned())?,
        timestamp: genesis.timestamp,
        extra_data: genesis.extra_data.clone(),
        mix_hash: genesis.mix_hash,
        nonce: genesis.nonce.into(),
        base_fee_per_gas: Some(base_fee),
        withdrawals_root: (fork >= Fork::Shanghai).then(|| extra.withdrawals_root.unwrap_or(EMPTY_ROOT_HASH)),
        blob_gas_used: (fork >= Fork::Cancun).then(|| genesis.blob_gas_used.unwrap_or_default()),
        excess_blob_gas: (fork >= Fork::Cancun).then(|| genesis.excess_blob_gas.unwrap_or_default()),
        parent_beacon_block_root: (fork >= Fork::Cancun).then(|| extra.parent_beacon_block_root.unwrap_or_default()),
        requests_hash: (fork >= Fork::Prague).then(|| extra.requests_hash.unwrap_or(EMPTY_REQUESTS_HASH)),
        ..Header::default()
    };
    let Built { block, outcome } = built(&header, Body::default(), changes, &[]);
    extension.committee.iter().for_each(Founders::declare);
    Ok(Built { block, outcome: Outcome { committee, ..outcome } })
}
