//! Properties of the whole: signatures by real keys, and each way to spoil them.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use proptest::prelude::*;
use secp256k1::{Message, SECP256K1, SecretKey};

use crate::*;

fn secret(number: u8) -> SecretKey {
    SecretKey::from_byte_array(keccak256([number]).0).expect("a number below the order")
}

fn address(secret: &SecretKey) -> Address {
    Address::from_word(keccak256(&secret.public_key(SECP256K1).serialize_uncompressed()[1..]))
}

fn sign(secret: &SecretKey, attestation: &Attestation) -> Signature {
    let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(attestation.digest().0), secret);
    let (parity, r_s) = signature.serialize_compact();
    Signature::new(r_s, i32::from(parity) == 1).expect("the library gives low s")
}

fn members(powers: &[u64]) -> Vec<Member> {
    let member = |(number, power): (u8, &u64)| Member { key: keccak256([1, number]), attester: address(&secret(number)), power: *power };
    (0..).zip(powers).map(member).collect()
}

fn committee(powers: &[u64]) -> Arc<Committee> {
    Arc::new(Committee::new(members(powers)).expect("sound"))
}

fn attestation() -> Attestation {
    Attestation {
        network: B256::repeat_byte(1),
        chain: 2,
        genesis: B256::repeat_byte(3),
        epoch: 4,
        height: 5,
        block_id: Bytes::from(vec![6; 32]),
        outbox_root: B256::repeat_byte(7),
        outbox_count: 8,
        time_ms: u64::MAX,
        extra: Extra::default().root(),
    }
}

/// Each differs from [`attestation`] in one field.
fn others() -> [Attestation; 12] {
    let one = attestation;
    let other = B256::repeat_byte(9);
    [
        Attestation { network: other, ..one() },
        Attestation { chain: 3, ..one() },
        Attestation { genesis: other, ..one() },
        Attestation { epoch: 5, ..one() },
        Attestation { height: 6, ..one() },
        Attestation { block_id: Bytes::from(vec![7; 32]), ..one() },
        Attestation { block_id: Bytes::from(vec![6; 33]), ..one() },
        // What stands for the id in the hash, as an id of its own.
        Attestation { block_id: Bytes::copy_from_slice(keccak256([6; 32]).as_slice()), ..one() },
        Attestation { outbox_root: other, ..one() },
        Attestation { outbox_count: 9, ..one() },
        Attestation { time_ms: 0, ..one() },
        Attestation { extra: other, ..one() },
    ]
}

/// Signed by these members.
fn collected(powers: &[u64], signers: impl IntoIterator<Item = u8>) -> Collected {
    let mut collected = Collected::new(attestation(), committee(powers));
    signers.into_iter().for_each(|signer| assert_eq!(collected.add(sign(&secret(signer), &attestation())), Ok(usize::from(signer))));
    collected
}

#[test]
fn the_hash_is_that_of_eip_712() {
    // By hand from the section "Definition of hashStruct", independent of the macro.
    let one = attestation();
    let domain = [keccak256("EIP712Domain(string name,string version)"), keccak256("Subnode attestation"), keccak256("1")].concat();
    let name = "Attestation(bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,uint64 height,bytes blockId,bytes32 outboxRoot,\
                uint64 outboxCount,uint64 timeMs,bytes32 extra)";
    let word = |number: u64| B256::from(U256::from(number));
    let fields = [
        keccak256(name),
        one.network,
        word(one.chain),
        one.genesis,
        word(one.epoch),
        word(one.height),
        keccak256(&one.block_id),
        one.outbox_root,
        word(one.outbox_count),
        word(one.time_ms),
        one.extra,
    ];
    let text = [&[0x19, 0x01][..], keccak256(domain).as_slice(), keccak256(fields.concat()).as_slice()].concat();
    assert_eq!(one.digest(), keccak256(text));
    let parts = Extra { delivered: word(1), next_committee: word(2), claims: word(3) };
    let name = keccak256("Extra(bytes32 delivered,bytes32 nextCommittee,bytes32 claims)");
    assert_eq!(parts.root(), keccak256([name, word(1), word(2), word(3)].concat()));
}

#[test]
fn an_anchor_leads_to_that_of_the_next_epoch() {
    let next = committee(&[4, 5]);
    let extra = Extra { next_committee: next.hash(), ..Extra::default() };
    let signed = |attestation: Attestation, extra| Signed::new(&Collected::new(attestation, committee(&[1])), extra);
    let last = signed(attestation(), extra);
    let following = Collected::new(Attestation { epoch: 5, height: 99, ..attestation() }, next);
    assert_eq!(last.next_anchor(), Some(Signed::new(&following, Extra::default()).anchor()));
    assert_eq!(signed(attestation(), Extra::default()).next_anchor(), None);
    assert_eq!(signed(Attestation { epoch: u64::MAX, ..attestation() }, extra).next_anchor(), None);
}

#[test]
fn a_digest_stands_for_every_field() {
    let mut digests: Vec<_> = others().iter().map(Attestation::digest).chain([attestation().digest()]).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), others().len() + 1);
}

#[test]
fn a_committee_s_hash_stands_for_every_key_address_power_and_the_order() {
    let whole = members(&[1, 2, 3]);
    let spoilt = |spoil: &dyn Fn(&mut Vec<Member>)| {
        let mut members = whole.clone();
        spoil(&mut members);
        Committee::new(members).expect("sound").hash()
    };
    let hash = spoilt(&|_| ());
    assert_ne!(hash, spoilt(&|members| members[1].key = B256::ZERO));
    assert_ne!(hash, spoilt(&|members| members[1].attester = Address::repeat_byte(1)));
    assert_ne!(hash, spoilt(&|members| members[1].power = 9));
    assert_ne!(hash, spoilt(&|members| members.swap(0, 1)));
    assert_ne!(hash, spoilt(&|members| members.truncate(2)));
}

#[test]
fn what_is_no_committee_is_refused() {
    let spoilt = |spoil: &dyn Fn(&mut Vec<Member>)| {
        let mut members = members(&[1, 1]);
        spoil(&mut members);
        Committee::new(members).expect_err("spoilt")
    };
    let (first, second) = (members(&[1, 1])[0], members(&[1, 1])[1]);
    assert_eq!(spoilt(&|members| members.clear()), CommitteeError::Members(0));
    assert_eq!(spoilt(&|members| members.resize(129, first)), CommitteeError::Members(129));
    assert_eq!(spoilt(&|members| members[1].key = first.key), CommitteeError::KeyTwice(first.key));
    assert_eq!(spoilt(&|members| members[1].attester = first.attester), CommitteeError::AttesterTwice(first.attester));
    assert_eq!(spoilt(&|members| members[1].attester = Address::ZERO), CommitteeError::NoAttester(second.key));
    for power in [0, POWER_MAX - 1, u64::MAX] {
        assert_eq!(spoilt(&|members| members[1].power = power), CommitteeError::Power);
    }
    assert!(Committee::new(members(&[1, POWER_MAX - 2])).is_ok());
    assert_eq!(committee(&[1; MEMBERS_MAX]).power(), 128);
}

#[test]
fn exactly_two_thirds_are_too_little() {
    for (powers, signers, complete) in
        [(&[1, 1, 1][..], 2, false), (&[1, 1, 1], 3, true), (&[2, 2, 2, 1], 2, false), (&[3, 2, 1, 1], 2, true), (&[1; 128], 86, true)]
    {
        assert_eq!(collected(powers, 0..signers).is_complete(), complete, "{signers} of {powers:?}");
    }
    assert!(!collected(&[(POWER_MAX - 3) / 3 * 2, (POWER_MAX - 3) / 3], [0]).is_complete(), "no sum overflows");
}

#[test]
fn a_member_counts_once_and_a_stranger_never() {
    let mut all = collected(&[1; 4], [2]);
    let before = (all.power(), all.bitmap());
    assert_eq!(all.add(sign(&secret(2), &attestation())), Err(AddError::Duplicate(2)));
    assert_eq!(all.add(sign(&secret(4), &attestation())), Err(AddError::Stranger(address(&secret(4)))));
    for other in others() {
        assert!(matches!(all.add(sign(&secret(1), &other)), Err(AddError::Stranger(_))), "a signature of {other:?}");
    }
    assert_eq!((all.power(), all.bitmap()), before);
    assert_eq!((all.has(2), all.has(1), all.has(999)), (true, false, false));
}

#[test]
fn a_signature_has_one_form() {
    let signature = sign(&secret(1), &attestation());
    let [r_s @ .., v] = signature.rsv();
    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let mut negated = r_s;
    negated[32..].copy_from_slice(&(order - U256::from_be_slice(&r_s[32..])).to_be_bytes::<32>());
    assert_eq!(Signature::new(negated, v == 27), Err(SignatureError::HighS));
    let highest = |s: U256| Signature::new([[1; 32], s.to_be_bytes()].concat().try_into().expect("64 bytes"), false);
    assert!(highest(order >> 1).is_ok());
    assert_eq!(highest((order >> 1) + U256::ONE), Err(SignatureError::HighS));
    for wrong in [2, 26, 29, 255] {
        assert_eq!(Signature::from_rsv([&r_s[..], &[wrong]].concat().try_into().expect("65 bytes")), Err(SignatureError::V(wrong)));
    }
    for nobody in
        [[0; 64], [[0; 32], [1; 32]].concat().try_into().expect("64 bytes"), [[1; 32], [0; 32]].concat().try_into().expect("64 bytes")]
    {
        assert_eq!(Signature::new(nobody, false).expect("low").signer(attestation().digest()), Err(SignatureError::NoKey));
    }
}

#[test]
fn the_fewest_signatures_are_those_of_the_most_powerful() {
    let all = collected(&[1, 5, 1, 5, 4, 4], [0, 1, 2, 3, 4]);
    let fewest = all.fewest();
    assert_eq!(fewest.signatures().map(|(member, _)| member).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!((fewest.power(), fewest.is_complete(), fewest.bitmap()), (14, true, U256::from(0b11010)));
    let short = collected(&[1; 4], [0, 1]);
    assert_eq!((short.fewest().bitmap(), short.fewest().is_complete()), (short.bitmap(), false));
}

#[test]
fn who_attests_a_height_twice_is_proved_and_nobody_else() {
    let proof = |other: Attestation, signer: u8, other_signer: u8| {
        let signatures = [sign(&secret(signer), &attestation()), sign(&secret(other_signer), &other)];
        DoubleAttestation { attestations: [attestation(), other], signatures }.signer()
    };
    let provable = others().into_iter().filter(|other| attestation().is_of_the_height_of(other));
    assert_eq!(provable.clone().count(), 8);
    for other in provable {
        assert_eq!(proof(other.clone(), 1, 1), Ok(address(&secret(1))), "{other:?}");
        assert_eq!(proof(other, 1, 2), Err(DoubleError::Signers(address(&secret(1)), address(&secret(2)))));
    }
    for other in others().into_iter().filter(|other| !attestation().is_of_the_height_of(other)) {
        assert_eq!(proof(other, 1, 1), Err(DoubleError::Height));
    }
    assert_eq!(proof(attestation(), 1, 1), Err(DoubleError::Same));
}

/// What the text of a signed attestation becomes where it is spoilt; the error's text where it cannot be read.
fn verified(signed: &Signed, spoil: impl FnOnce(&mut serde_json::Value)) -> Result<Result<u64, SignedError>, String> {
    let mut json = serde_json::to_value(signed).expect("JSON");
    spoil(&mut json);
    let read: Signed = serde_json::from_str(&json.to_string()).map_err(|error| error.to_string())?;
    Ok(read.verify(signed.anchor()).map(|collected| collected.power()))
}

#[test]
fn a_signed_attestation_survives_json_and_a_spoilt_one_is_refused() {
    let signed = Signed::new(&collected(&[1, 2, 3, 4], [1, 3, 2]), Extra::default());
    assert_eq!(verified(&signed, |_| ()), Ok(Ok(9)));
    let error = |spoil: &dyn Fn(&mut serde_json::Value)| verified(&signed, |json| spoil(json)).expect("readable").expect_err("spoilt");
    assert!(matches!(error(&|json| json["committee"][0]["power"] = "5".into()), SignedError::Anchor { .. }));
    assert!(matches!(error(&|json| json["extra"]["claims"] = B256::repeat_byte(1).to_string().into()), SignedError::Extra { .. }));
    assert_eq!(error(&|json| json["signatures"][1]["member"] = 1.into()), SignedError::Order(1));
    assert_eq!(error(&|json| json["signatures"].as_array_mut().expect("a list").swap(0, 1)), SignedError::Order(1));
    assert_eq!(error(&|json| json["signatures"][0]["member"] = 0.into()), SignedError::Member { said: 0, found: 1 });
    assert_eq!(error(&|json| drop(json["signatures"].as_array_mut().expect("a list").pop())), SignedError::Power { power: 5, total: 10 });
    let stranger = |error| matches!(error, SignedError::Signature { member: 1, error: AddError::Stranger(_) });
    for field in ["chain", "epoch"] {
        assert!(matches!(error(&|json| json["attestation"][field] = "77".into()), SignedError::Anchor { .. }), "{field}");
    }
    for field in ["network", "genesis"] {
        let spoil = |json: &mut serde_json::Value| json["attestation"][field] = B256::repeat_byte(0x77).to_string().into();
        assert!(matches!(error(&spoil), SignedError::Anchor { .. }), "{field}");
    }
    for field in ["height", "outboxCount", "timeMs"] {
        assert!(stranger(error(&|json| json["attestation"][field] = "77".into())), "{field}");
    }
    for field in ["blockId", "outboxRoot"] {
        assert!(stranger(error(&|json| json["attestation"][field] = B256::repeat_byte(0x77).to_string().into())), "{field}");
    }
}

#[test]
fn json_of_another_form_is_refused_by_name() {
    let signed = Signed::new(&collected(&[1; 4], [0, 1, 2]), Extra::default());
    let error = |spoil: &dyn Fn(&mut serde_json::Value)| verified(&signed, |json| spoil(json)).expect_err("not readable");
    for number in [5.into(), "05".into(), "+5".into(), "".into(), "0x5".into(), "18446744073709551616".into(), "5".repeat(1_000).into()] {
        let number: serde_json::Value = number;
        let error = error(&|json| json["attestation"]["height"] = number.clone());
        assert!(error.len() < 200 && (error.contains("is no number") || error.contains("expected a string")), "{error}");
    }
    let refused = |part: &str, spoil: &dyn Fn(&mut serde_json::Value)| assert!(error(spoil).contains(part), "{}", error(spoil));
    refused("a block id of 15 bytes", &|json| json["attestation"]["blockId"] = format!("0x{}", "00".repeat(15)).into());
    refused("a block id of 65 bytes", &|json| json["attestation"]["blockId"] = format!("0x{}", "00".repeat(65)).into());
    refused("a signature of 64 bytes", &|json| json["signatures"][0]["signature"] = format!("0x{}", "00".repeat(64)).into());
    refused("more than half", &|json| json["signatures"][0]["signature"] = format!("0x{}1b", "ff".repeat(64)).into());
    refused("a committee of 0 members", &|json| json["committee"] = serde_json::json!([]));
    refused("unknown field", &|json| json["attestation"]["heigth"] = "5".into());
    refused("129 signatures", &|json| {
        let one = json["signatures"][0].clone();
        json["signatures"] = vec![one; 129].into();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order in which signatures come, and whichever are repeated.
    #[test]
    fn what_is_collected_is_what_its_members_signed(
        powers in prop::collection::vec(1_u64..1 << 40, 1..20),
        arrivals in prop::collection::vec(0_u8..24, 0..40),
    ) {
        let mut collected = Collected::new(attestation(), committee(&powers));
        let mut signed = std::collections::BTreeSet::new();
        for arrival in arrivals {
            let added = collected.add(sign(&secret(arrival), &attestation()));
            let member = usize::from(arrival);
            let expected = if member >= powers.len() {
                Err(AddError::Stranger(address(&secret(arrival))))
            } else if signed.insert(member) {
                Ok(member)
            } else {
                Err(AddError::Duplicate(member))
            };
            prop_assert_eq!(added, expected);
        }
        let power: u64 = signed.iter().map(|member| powers[*member]).sum();
        let total: u64 = powers.iter().sum();
        prop_assert_eq!(collected.power(), power);
        prop_assert_eq!(collected.is_complete(), u128::from(power) * 3 > u128::from(total) * 2);
        prop_assert_eq!(collected.signatures().map(|(member, _)| member).collect::<Vec<_>>(), signed.into_iter().collect::<Vec<_>>());
        let fewest = collected.fewest();
        prop_assert_eq!(fewest.is_complete(), collected.is_complete());
        let signed = Signed::new(&fewest, Extra::default());
        let verified = signed.verify(signed.anchor());
        prop_assert_eq!(verified.is_ok(), fewest.is_complete());
    }

    #[test]
    fn signatures_keep_their_signer_in_both_forms(number in any::<u8>(), height in any::<u64>()) {
        let attestation = Attestation { height, ..attestation() };
        let signature = sign(&secret(number), &attestation);
        prop_assert_eq!(signature.signer(attestation.digest()), Ok(address(&secret(number))));
        prop_assert_eq!(Signature::from_compact(signature.compact()), Ok(signature));
        prop_assert_eq!(Signature::from_rsv(signature.rsv()), Ok(signature));
    }

    /// No bytes recover to a member by chance, and none makes recovery panic.
    #[test]
    fn bytes_that_nobody_signed_count_for_nobody(r_s in prop::array::uniform32(any::<u8>()), s in prop::array::uniform32(any::<u8>())) {
        let compact: [u8; 64] = [r_s, s].concat().try_into().expect("64 bytes");
        if let Ok(signature) = Signature::from_compact(compact) {
            prop_assert!(collected(&[1; 4], []).add(signature).is_err());
        }
    }
}
