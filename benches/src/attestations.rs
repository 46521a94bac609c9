//! What it costs a contract to verify an attestation, by the number of members: by `ecrecover` and by BLS signatures.
//!
//! Both are measured in revm, with real signatures of the fewest members of equal power that have more than two thirds. The first is
//! `Attestations.sol` as it is. The second is the shortest program that does it with the precompiles of EIP-2537: a lower bound of what
//! a contract would cost.

mod bls;

use alloy::primitives::{Address, keccak256};
use anyhow::ensure;
use subnode_attestation::{Extra, contract};
use subnode_tests::{
    attesters::{Attesters, attestation},
    native::{Called, Contracts},
};

use crate::report::{Cell, Report};

const VERIFIER: Address = Address::repeat_byte(0xaa);
/// The numbers of members; the issue is where the two schemes cross.
const SEATS: [usize; 4] = [4, 16, 32, 64];
/// What any transaction costs.
const TRANSACTION_GAS: u64 = 21_000;

/// What 11 of 16 may cost by `ecrecover`, beyond the transaction.
const TARGET: (usize, u64) = (16, 60_000);

/// Prints the table.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn run() -> anyhow::Result<()> {
    let columns = &[
        "members",
        "signers",
        "ecrecover",
        "ecrecover, calldata",
        "BLS",
        "BLS, calldata",
        "ecrecover / BLS",
        "ecrecover / BLS, whole transactions",
    ];
    let mut report = Report::new("Verifying an attestation in a contract", columns);
    for seats in SEATS {
        let signers = seats * 2 / 3 + 1;
        let (ours, theirs) = (by_ecrecover(seats, signers)?, bls::verified(seats, signers)?);
        let whole = |called: &Called| (TRANSACTION_GAS + called.calldata_gas + called.gas) as f64;
        let figure = |gas: u64| Cell::Figure(gas as f64, 0, "gas");
        report.row(&[
            seats.to_string().as_str().into(),
            signers.to_string().as_str().into(),
            if seats == TARGET.0 { Cell::Result(ours.gas as f64, 0, "gas") } else { figure(ours.gas) },
            figure(ours.calldata_gas),
            figure(theirs.gas),
            figure(theirs.calldata_gas),
            Cell::Figure(ours.gas as f64 / theirs.gas as f64, 2, ""),
            Cell::Figure(whole(&ours) / whole(&theirs), 2, ""),
        ]);
        ensure!(seats != TARGET.0 || ours.gas <= TARGET.1, "{} of {seats} members cost {} gas, {} at most", signers, ours.gas, TARGET.1);
    }
    report.finish();
    Ok(())
}

/// The contract's cost with its committee in storage.
fn by_ecrecover(seats: usize, signers: usize) -> anyhow::Result<Called> {
    let attesters = Attesters::new(&vec![1; seats])?;
    let attested = attestation(Extra { claims: keccak256("claims"), ..Extra::default() });
    let collected = attesters.signed(&attested, seats - signers..seats)?;
    ensure!(collected.is_complete(), "{signers} of {seats}");
    let mut contracts = Contracts::default();
    contracts.place(VERIFIER, contract::runtime_code().clone());
    let committee = attesters.committee.hash();
    let anchored = contracts.call(VERIFIER, contract::anchor_call(attested.subject(), 0, committee))?;
    ensure!(anchored.output.is_ok(), "{anchored:?}");
    let called = contracts.call(VERIFIER, contract::verify_call(attested.subject().anchor(0, committee), &collected))?;
    ensure!(called.output.as_ref().is_ok_and(|digest| digest[..] == collected.digest()[..]), "{called:?}");
    Ok(called)
}
