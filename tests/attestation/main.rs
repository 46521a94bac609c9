//! The verifier `Attestations.sol` in revm: what it takes, and each way to deceive it.

use alloy::{
    primitives::{Address, B256, Bytes, Signature, U256, hex, keccak256},
    sol_types::{SolCall, SolInterface, SolValue},
};
use anyhow::{Context as _, bail, ensure};
use subnode_attestation::{
    Attestation, Collected, DoubleAttestation, Extra,
    contract::{self, Attestations, Attestations::AttestationsErrors as Refused},
};
use subnode_tests::{
    attesters::{Attesters, attestation, next_committee},
    native::{Called, Contracts},
};

const VERIFIER: Address = Address::repeat_byte(0xaa);

/// Changes a part of a call.
type Spoil<'a, Part> = &'a dyn Fn(&mut Part);

/// What the contract is for: 11 of 16 members.
const GAS_MAX: u64 = 60_000;

struct Verifier(Contracts);

impl Verifier {
    fn new() -> Self {
        let mut contracts = Contracts::default();
        contracts.place(VERIFIER, contract::runtime_code().clone());
        Self(contracts)
    }

    /// One that knows the committee of epoch 0, and under which id.
    fn anchored(attesters: &Attesters) -> anyhow::Result<(Self, B256)> {
        let mut verifier = Self::new();
        let (subject, committee) = (attestation(Extra::default()).subject(), attesters.committee.hash());
        let id = verifier.taken(contract::anchor_call(subject, 0, committee))?;
        ensure!(id == subject.anchor(0, committee), "another id");
        Ok((verifier, subject.anchor(0, committee)))
    }

    fn call(&mut self, data: Vec<u8>) -> anyhow::Result<Called> {
        self.0.call(VERIFIER, data)
    }

    /// The word that a call returned; 0 where it returned none.
    fn taken(&mut self, data: Vec<u8>) -> anyhow::Result<B256> {
        let output = self.call(data)?.output;
        let output = output.map_err(|error| anyhow::anyhow!("reverted with {error}: {:?}", Refused::abi_decode(&error)))?;
        Ok(B256::try_from(&output[..]).unwrap_or_default())
    }

    fn refused(&mut self, data: Vec<u8>) -> anyhow::Result<Refused> {
        match self.call(data)?.output {
            Ok(output) => bail!("taken, with {output}"),
            Err(error) => Refused::abi_decode(&error).with_context(|| format!("reverted with {error}")),
        }
    }

    /// Where the error comes from the decoder of calldata, which gives none.
    fn not_decoded(&mut self, data: Vec<u8>) -> anyhow::Result<()> {
        match self.call(data)?.output {
            Err(error) if error.is_empty() => Ok(()),
            other => bail!("not refused by the decoder: {other:?}"),
        }
    }
}

/// The call of a verification, with something else in it.
fn spoilt(id: B256, collected: &Collected, spoil: impl FnOnce(&mut Attestations::verifyCall)) -> Vec<u8> {
    let attestation = contract::attestation(collected.attestation());
    let mut call = Attestations::verifyCall { id, attestation, signed: contract::signed(collected) };
    spoil(&mut call);
    call.abi_encode()
}

/// The hash of what can be no committee, which [`subnode_attestation::Committee`] does not make.
fn committee_hash(signed: &Attestations::Signed) -> B256 {
    let type_hash = keccak256("Committee(bytes32[] keys,address[] attesters,uint64[] powers)");
    let hash = |words: &[U256]| keccak256(words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect::<Vec<_>>());
    keccak256((type_hash, signed.keysHash, hash(&signed.attesters), hash(&signed.powers)).abi_encode())
}

#[test]
fn chains_have_the_contract_that_is_tested_here() -> anyhow::Result<()> {
    let code = include_str!("../../guest-modules/evm/src/attesters/verifier.hex");
    ensure!(hex::decode(code.trim_end())? == contract::runtime_code()[..], "guest-modules/evm/src/attesters/verifier.hex is another");
    Ok(())
}

#[test]
fn more_than_two_thirds_are_taken_by_whoever_signs_and_no_less() -> anyhow::Result<()> {
    for (powers, signers, taken) in [
        (&[1; 4][..], &[0, 1, 3][..], true),
        (&[1; 4], &[1, 2], false),
        // Exactly two thirds.
        (&[1; 3], &[0, 2], false),
        (&[2, 2, 1, 1], &[0, 1], false),
        (&[2, 2, 1, 1], &[0, 1, 3], true),
        (&[(1 << 60) - 3, 1, 1], &[0], true),
        (&[(1 << 60) - 3, 1, 1], &[1, 2], false),
        (&[1], &[0], true),
        (&[1], &[], false),
    ] {
        let attesters = Attesters::new(powers)?;
        let (mut verifier, id) = Verifier::anchored(&attesters)?;
        let collected = attesters.signed(&attestation(Extra::default()), signers.iter().copied())?;
        ensure!(collected.is_complete() == taken, "{powers:?} {signers:?}");
        let by_hash = contract::verify_by_call(attesters.committee.hash(), &collected);
        for call in [contract::verify_call(id, &collected), by_hash] {
            if taken {
                ensure!(verifier.taken(call)? == collected.digest(), "another digest");
            } else {
                let refused = verifier.refused(call)?;
                let expected =
                    Attestations::TooLittlePower { power: U256::from(collected.power()), total: U256::from(attesters.committee.power()) };
                ensure!(refused == Refused::TooLittlePower(expected), "{powers:?} {signers:?}: {refused:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn eleven_of_sixteen_cost_less_than_their_bound() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 16])?;
    let (mut verifier, id) = Verifier::anchored(&attesters)?;
    let collected = attesters.signed(&attestation(Extra::default()), 5..16)?;
    let called = verifier.call(contract::verify_call(id, &collected))?;
    println!("11 of 16: {} gas, and {} for calldata", called.gas, called.calldata_gas);
    ensure!(called.output.is_ok() && called.gas <= GAS_MAX, "{called:?}");
    Ok(())
}

#[test]
fn the_largest_committee_is_taken_and_no_larger_one() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 128])?;
    let (mut verifier, id) = Verifier::anchored(&attesters)?;
    let collected = attesters.signed(&attestation(Extra::default()), 0..86)?;
    let called = verifier.call(contract::verify_call(id, &collected))?;
    println!("86 of 128: {} gas, and {} for calldata", called.gas, called.calldata_gas);
    ensure!(called.output.is_ok(), "refused");
    let spoils: [(usize, usize, Spoil<Attestations::Signed>); 4] = [
        (129, 129, &|signed| {
            signed.attesters.push(U256::ONE);
            signed.powers.push(U256::ONE);
        }),
        (0, 0, &|signed| {
            signed.attesters.clear();
            signed.powers.clear();
        }),
        (128, 127, &|signed| signed.powers.truncate(127)),
        (127, 128, &|signed| signed.attesters.truncate(127)),
    ];
    for (attesters, powers, spoil) in spoils {
        let refused = verifier.refused(spoilt(id, &collected, |call| spoil(&mut call.signed)))?;
        let expected = Attestations::MemberCount { attesters: U256::from(attesters), powers: U256::from(powers) };
        ensure!(refused == Refused::MemberCount(expected), "{refused:?}");
    }
    Ok(())
}

#[test]
fn signatures_are_each_member_s_own_and_in_order() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 4])?;
    let (mut verifier, id) = Verifier::anchored(&attesters)?;
    let attested = attestation(Extra::default());
    let collected = attesters.signed(&attested, [0, 1, 3])?;
    let spoils: [(u64, Spoil<Attestations::Signed>); 9] = [
        (0, &|signed| signed.signatures.swap(0, 1)),
        (1, &|signed| signed.signatures[1] = signed.signatures[0].clone()),
        (3, &|signed| signed.signatures[2] = signed.signatures[1].clone()),
        // The signature of 3 said to be that of 2, who did not sign.
        (2, &|signed| signed.signers = U256::from(0b0111)),
        (0, &|signed| signed.signatures[0].r = B256::ZERO),
        (0, &|signed| signed.signatures[0].vs = B256::ZERO),
        (0, &|signed| signed.signatures[0].r = B256::repeat_byte(0xff)),
        (1, &|signed| signed.signatures[1].vs ^= B256::with_last_byte(1)),
        // The other parity.
        (1, &|signed| signed.signatures[1].vs.0[0] ^= 0x80),
    ];
    for (at, (member, spoil)) in spoils.into_iter().enumerate() {
        let refused = verifier.refused(spoilt(id, &collected, |call| spoil(&mut call.signed)))?;
        let expected = Attestations::WrongSignature { member: U256::from(member) };
        ensure!(refused == Refused::WrongSignature(expected), "{at}: {refused:?}");
    }
    Ok(())
}

/// A signature that `ecrecover` takes, with s at half of the group's order and just above it: its signer is a committee of one.
#[test]
fn only_the_lower_of_two_signatures_is_taken() -> anyhow::Result<()> {
    let order = U256::from_be_bytes(alloy::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let attested = attestation(Extra::default());
    for (s, taken) in [(order >> 1, true), ((order >> 1) + U256::ONE, false)] {
        let signer = Signature::new(U256::ONE, s, false).recover_address_from_prehash(&attested.digest())?;
        let signature = Attestations::Signature { r: B256::with_last_byte(1), vs: B256::from(s) };
        let signed = Attestations::Signed {
            keysHash: B256::ZERO,
            attesters: vec![signer.into_word().into()],
            powers: vec![U256::ONE],
            signers: U256::ONE,
            signatures: vec![signature],
        };
        let trusted = committee_hash(&signed);
        let call = Attestations::verifyByCall { trusted, attestation: contract::attestation(&attested), signed }.abi_encode();
        let output = Verifier::new().call(call)?.output.map_err(|error| Refused::abi_decode(&error));
        match output {
            Ok(_) => ensure!(taken, "a high s is taken"),
            Err(refused) => ensure!(!taken && matches!(refused, Ok(Refused::WrongSignature(_))), "{refused:?}"),
        }
    }
    Ok(())
}

#[test]
fn counts_that_do_not_fit_are_refused() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 4])?;
    let (mut verifier, id) = Verifier::anchored(&attesters)?;
    let collected = attesters.signed(&attestation(Extra::default()), [0, 1, 3])?;
    let more = verifier.refused(spoilt(id, &collected, |call| {
        let last = call.signed.signatures[2].clone();
        call.signed.signatures.push(last);
    }))?;
    ensure!(more == Refused::SignatureCount(Attestations::SignatureCount { count: U256::from(4) }), "{more:?}");
    let less = verifier.refused(spoilt(id, &collected, |call| call.signed.signatures.truncate(2)))?;
    ensure!(less == Refused::SignatureCount(Attestations::SignatureCount { count: U256::from(2) }), "{less:?}");
    for bit in [4, 5, 255] {
        let signers = collected.bitmap() | (U256::ONE << bit);
        let outside = verifier.refused(spoilt(id, &collected, |call| call.signed.signers = signers))?;
        ensure!(outside == Refused::NoSuchMember(Attestations::NoSuchMember { signers }), "{outside:?}");
    }
    // Calldata that ends early, at each word, and words that are no numbers of 64 bits.
    let whole = contract::verify_call(id, &collected);
    for length in (4..whole.len()).step_by(32) {
        verifier.not_decoded(whole[..length].to_vec()).with_context(|| format!("{length} of {} bytes", whole.len()))?;
    }
    for word in [2, 4, 5, 8, 9] {
        let mut wide = whole.clone();
        wide[4 + 32 * word + 23] = 1;
        verifier.not_decoded(wide).with_context(|| format!("word {word}"))?;
    }
    // Lists that begin or end beyond the calldata.
    for word in 11..whole.len() / 32 {
        let mut far = whole.clone();
        far[4 + 32 * word] = 0xff;
        ensure!(verifier.call(far)?.output.is_err(), "word {word}");
    }
    Ok(())
}

#[test]
fn what_is_of_another_committee_chain_genesis_or_epoch_is_refused() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 4])?;
    let (mut verifier, id) = Verifier::anchored(&attesters)?;
    let one = || attestation(Extra::default());
    let foreign = [
        Attestation { network: B256::ZERO, ..one() },
        Attestation { chain: 8, ..one() },
        Attestation { genesis: B256::ZERO, ..one() },
        Attestation { epoch: 1, ..one() },
        Attestation { epoch: u64::MAX, ..one() },
    ];
    for attested in foreign {
        let epoch = attested.epoch;
        let collected = attesters.signed(&attested, 0..4)?;
        let refused = verifier.refused(contract::verify_call(id, &collected))?;
        ensure!(refused == Refused::UnknownCommittee(Attestations::UnknownCommittee { id, epoch }), "{attested:?}: {refused:?}");
        // A signature of one is none of the other.
        let told = spoilt(id, &collected, |call| call.attestation = contract::attestation(&one()));
        ensure!(matches!(verifier.refused(told)?, Refused::WrongSignature(_)));
    }
    let collected = attesters.signed(&one(), 0..4)?;
    let unknown = verifier.refused(contract::verify_call(B256::ZERO, &collected))?;
    ensure!(unknown == Refused::UnknownCommittee(Attestations::UnknownCommittee { id: B256::ZERO, epoch: 0 }), "{unknown:?}");
    // Seats and keys of the committee, each changed.
    let spoils: [Spoil<Attestations::Signed>; 7] = [
        &|signed| signed.keysHash = B256::ZERO,
        &|signed| signed.powers[3] += U256::ONE,
        // What a number of 64 bits and an address do not hold.
        &|signed| signed.powers[3] |= U256::ONE << 64,
        &|signed| signed.attesters[3] |= U256::ONE << 160,
        &|signed| signed.attesters.swap(0, 1),
        &|signed| signed.attesters[3] = U256::ONE,
        &|signed| {
            signed.attesters.truncate(3);
            signed.powers.truncate(3);
            signed.signatures.truncate(3);
            signed.signers = U256::from(7);
        },
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let refused = verifier.refused(spoilt(id, &collected, |call| spoil(&mut call.signed)))?;
        ensure!(matches!(refused, Refused::OtherCommittee(ref error) if error.trusted == attesters.committee.hash()), "{at}: {refused:?}");
    }
    // Fields that the anchor does not hold.
    let spoils: [Spoil<Attestations::Attestation>; 6] = [
        &|attested| attested.height += 1,
        &|attested| attested.blockIdHash = B256::ZERO,
        &|attested| attested.outboxRoot = B256::ZERO,
        &|attested| attested.outboxCount += 1,
        &|attested| attested.timeMs += 1,
        &|attested| attested.extra = B256::ZERO,
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let refused = verifier.refused(spoilt(id, &collected, |call| spoil(&mut call.attestation)))?;
        ensure!(matches!(refused, Refused::WrongSignature(_)), "{at}: {refused:?}");
    }
    Ok(())
}

/// Nobody has the key of address 0, and `ecrecover` answers 0 for what is no signature.
#[test]
fn a_seat_without_an_address_is_signed_for_by_nobody() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 4])?;
    let collected = attesters.signed(&attestation(Extra::default()), [0, 1, 3])?;
    let mut signed = contract::signed(&collected);
    signed.attesters[0] = U256::ZERO;
    signed.signatures[0] = Attestations::Signature { r: B256::ZERO, vs: B256::ZERO };
    let trusted = committee_hash(&signed);
    let attestation = contract::attestation(collected.attestation());
    let refused = Verifier::new().refused(Attestations::verifyByCall { trusted, attestation, signed }.abi_encode())?;
    ensure!(refused == Refused::WrongSignature(Attestations::WrongSignature { member: U256::ZERO }), "{refused:?}");
    Ok(())
}

#[test]
fn each_epoch_is_learned_from_the_one_before_and_never_overwritten() -> anyhow::Result<()> {
    let committees = [Attesters::new(&[1; 4])?, Attesters::new(&[2, 1, 1, 1, 1])?, Attesters::new(&[5; 3])?];
    let (mut verifier, id) = Verifier::anchored(&committees[0])?;
    let subject = attestation(Extra::default()).subject();
    let naming = |epoch: usize, extra: Extra| -> anyhow::Result<Collected> {
        let signers = &committees[epoch];
        signers.signed(&Attestation { epoch: epoch as u64, ..attestation(extra) }, 0..signers.committee.members().len())
    };
    let extra = |epoch: usize| next_committee(committees[epoch].committee.hash());
    for epoch in [0, 1] {
        let collected = naming(epoch, extra(epoch + 1))?;
        let unknown = verifier.refused(contract::verify_call(id, &naming(epoch + 1, Extra::default())?))?;
        ensure!(matches!(unknown, Refused::UnknownCommittee(_)), "{unknown:?}");
        verifier.taken(contract::advance_call(id, &collected, extra(epoch + 1)))?;
        verifier.taken(contract::advance_call(id, &collected, extra(epoch + 1))).context("a second call changes nothing")?;
        let known = verifier.taken(contract::committee_call(id, subject, epoch as u64 + 1))?;
        ensure!(known == committees[epoch + 1].committee.hash(), "epoch {}", epoch + 1);
        verifier.taken(contract::verify_call(id, &naming(epoch + 1, Extra::default())?))?;
    }
    // The committee of epoch 1 neither speaks for epoch 0 nor for what epoch 0 said.
    let late = committees[1].signed(&attestation(extra(2)), 0..5)?;
    ensure!(matches!(verifier.refused(contract::advance_call(id, &late, extra(2)))?, Refused::OtherCommittee(_)));
    // Two next committees of one epoch.
    let refused = verifier.refused(contract::advance_call(id, &naming(0, extra(2))?, extra(2)))?;
    let (first, second) = (committees[1].committee.hash(), committees[2].committee.hash());
    ensure!(refused == Refused::TwoNextCommittees(Attestations::TwoNextCommittees { first, second }), "{refused:?}");
    // Parts that are not attested, and an attestation that names none.
    let refused = verifier.refused(contract::advance_call(id, &naming(0, extra(1))?, extra(2)))?;
    ensure!(matches!(refused, Refused::OtherExtra(_)), "{refused:?}");
    let refused = verifier.refused(contract::advance_call(id, &naming(0, Extra::default())?, Extra::default()))?;
    ensure!(matches!(refused, Refused::NoNextCommittee(_)), "{refused:?}");
    // Too few.
    let few = committees[0].signed(&attestation(extra(1)), [0, 1])?;
    ensure!(matches!(verifier.refused(contract::advance_call(id, &few, extra(1)))?, Refused::TooLittlePower(_)));
    // The last epoch that a number holds has none behind it: epoch 0 would be it.
    let last = Attestation { epoch: u64::MAX, ..attestation(extra(1)) };
    verifier.taken(contract::anchor_call(subject, u64::MAX, committees[0].committee.hash()))?;
    let far = subject.anchor(u64::MAX, committees[0].committee.hash());
    let overflow = verifier.call(contract::advance_call(far, &committees[0].signed(&last, 0..4)?, extra(1)))?;
    ensure!(overflow.output.is_err(), "epoch 2^64");
    Ok(())
}

#[test]
fn an_anchor_is_nobody_else_s_to_spoil() -> anyhow::Result<()> {
    let (ours, theirs) = (Attesters::new(&[1; 4])?, Attesters::new(&[3; 3])?);
    let (mut verifier, id) = Verifier::anchored(&ours)?;
    let subject = attestation(Extra::default()).subject();
    // Another committee for the same chain and epoch has another id, and what is learned under it stays there.
    verifier.taken(contract::anchor_call(subject, 0, theirs.committee.hash()))?;
    let extra = next_committee(theirs.committee.hash());
    let other = subject.anchor(0, theirs.committee.hash());
    verifier.taken(contract::advance_call(other, &theirs.signed(&attestation(extra), 0..3)?, extra))?;
    ensure!(verifier.taken(contract::committee_call(id, subject, 1))? == B256::ZERO, "learned from a foreign committee");
    // Again, after it moved on.
    verifier.taken(contract::anchor_call(subject, 0, theirs.committee.hash()))?;
    ensure!(verifier.taken(contract::committee_call(id, subject, 0))? == ours.committee.hash());
    verifier.taken(contract::verify_call(id, &ours.signed(&attestation(Extra::default()), 0..3)?))?;
    let refused = verifier.refused(contract::verify_call(id, &theirs.signed(&attestation(Extra::default()), 0..3)?))?;
    ensure!(matches!(refused, Refused::OtherCommittee(_)), "{refused:?}");
    Ok(())
}

#[test]
fn the_contract_finds_who_attested_a_height_twice_as_the_library_does() -> anyhow::Result<()> {
    let attesters = Attesters::new(&[1; 4])?;
    let mut verifier = Verifier::new();
    let one = attestation(Extra::default());
    let others = [
        Attestation { epoch: 1, ..one.clone() },
        Attestation { time_ms: 1, ..one.clone() },
        Attestation { block_id: Bytes::from(vec![1; 16]), ..one.clone() },
        Attestation { height: 1, ..one.clone() },
        Attestation { network: B256::ZERO, ..one.clone() },
        Attestation { chain: 1, ..one.clone() },
        Attestation { genesis: B256::ZERO, ..one.clone() },
        one.clone(),
    ];
    for other in others {
        for second in [2, 3] {
            let signatures = [attesters.sign(2, &one)?, attesters.sign(second, &other)?];
            let proof = DoubleAttestation { attestations: [one.clone(), other.clone()], signatures };
            let call = contract::double_call(&proof);
            match proof.signer() {
                Ok(signer) => {
                    ensure!(verifier.taken(call)? == signer.into_word(), "{other:?}");
                    ensure!(signer == attesters.committee.members()[2].attester);
                }
                Err(error) => {
                    let refused = verifier.refused(call)?;
                    ensure!(matches!(refused, Refused::NotDouble(_) | Refused::OtherSigner(_)), "{error}: {refused:?}");
                }
            }
        }
    }
    // Two texts that nobody signed have one signer, 0, which proves nothing.
    let proof = DoubleAttestation {
        attestations: [one.clone(), Attestation { time_ms: 1, ..one }],
        signatures: [subnode_attestation::Signature::from_compact([0; 64])?; 2],
    };
    ensure!(matches!(verifier.refused(contract::double_call(&proof))?, Refused::OtherSigner(_)));
    Ok(())
}
