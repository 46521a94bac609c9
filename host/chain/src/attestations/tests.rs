use proptest::prelude::*;
use subnode_attestation::{Member, address};
use subnode_scheduler::Cores;
use subnode_signer::{AttestKey, Guard, Voter};
use subnode_types::Parts;

use super::*;

const CHAIN: [u8; 32] = [5; 32];

fn node(member: u8) -> NodeId {
    NodeId([member + 1; 32])
}

fn key(member: u8) -> AttestKey {
    AttestKey::from_secret([member + 1; 32]).expect("a key")
}

fn validators() -> Vec<Validator> {
    (0..4).map(|member| Validator { node: node(member), power: 1 }).collect()
}

fn attested(height: u64, block: u8) -> Attested {
    let member = |member| Member { key: node(member).0.into(), attester: address(&key(member).point()), power: 1 };
    let committee = Committee::new((0..4).map(member).collect()).expect("sound");
    let extra = Extra::default();
    let attestation = Attestation {
        network: Default::default(),
        chain: 0,
        genesis: CHAIN.into(),
        epoch: 0,
        height,
        block_id: vec![block; 32].into(),
        outbox_root: Default::default(),
        outbox_count: 0,
        time_ms: 7,
        extra: extra.root(),
    };
    Attested { attestation, extra, committee: committee.into() }
}

fn signature(member: u8, attestation: &Attestation) -> Signature {
    let voter = Voter::new(None, CHAIN, Guard::default()).with_attest_key(Some(key(member)));
    let signed = voter.attest(attestation.height, attestation.digest().0).expect("the first");
    Signature::new(signed.r_s, signed.y_is_odd).expect("low s")
}

fn frame(member: u8, attested: &Attested) -> Bytes {
    encode(&attested.attestation, signature(member, &attested.attestation))
}

fn tenant(memory_bytes: u64) -> Tenant {
    Tenant::new("demo".parse().expect("a name"), &Cores::new(1), Parts::ONE, memory_bytes)
}

/// Of a chain whose head is at a height.
fn at(height: u64) -> Attestations {
    let attestations = Attestations::new(Some(CHAIN), tenant(1 << 20));
    assert!(attestations.moved(height, &validators(), None).is_empty());
    attestations
}

fn hear(attestations: &Attestations, member: u8, attested: &Attested) -> Result<Heard, String> {
    attestations.take(node(member), &frame(member, attested), |_| None)
}

#[test]
fn more_than_two_thirds_make_a_row_that_verifies() {
    let (attestations, block) = (at(8), attested(9, 1));
    attestations.moved(9, &validators(), Some(&block));
    for member in [0, 2] {
        assert_eq!(hear(&attestations, member, &block), Ok(Heard::Signature));
        assert_eq!(hear(&attestations, member, &block), Ok(Heard::Nothing), "repeated");
    }
    assert!(attestations.take_rows().is_empty());
    attestations.signed(&block.attestation, signature(3, &block.attestation));
    let rows = attestations.take_rows();
    let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
    let signed: Signed = wire::decode(row.value.as_ref().expect("a row")).expect("a signed attestation");
    assert!(signed.verify(signed.anchor()).is_ok() && signed.is_complete());
    assert_eq!(row, &attested_row(&signed));
    assert_eq!(hear(&attestations, 1, &block), Ok(Heard::Signature), "late");
    assert!(attestations.take_rows().is_empty(), "it is written once");
    attestations.put_back(rows);
    assert_eq!(attestations.take_rows().len(), 1);
}

#[test]
fn signatures_of_blocks_that_come_next_wait_for_them() {
    let attestations = at(8);
    for height in (9..=20).rev() {
        assert_eq!(hear(&attestations, 1, &attested(height, 1)), Ok(Heard::Nothing));
    }
    assert_eq!(attestations.held().early[&node(1)].keys().copied().collect::<Vec<_>>(), [9, 10, 11, 12], "the nearest");
    assert_eq!(attestations.take(node(9), &frame(1, &attested(9, 1)), |_| None), Ok(Heard::Nothing));
    assert!(!attestations.held().early.contains_key(&node(9)), "of a stranger");
    assert_eq!(attestations.moved(9, &validators(), None).len(), 1);
    assert_eq!(attestations.moved(11, &validators(), None).len(), 1, "those of blocks before are gone");
    assert_eq!(attestations.moved(12, &validators()[2..], None).len(), 1);
    assert!(attestations.held().early.is_empty());
}

#[test]
fn who_attests_a_height_twice_is_proved_once_whichever_comes_first() {
    for (first, second) in [(1, 2), (2, 1)] {
        let (attestations, block) = (at(8), attested(9, 1));
        attestations.moved(9, &validators(), Some(&block));
        assert_eq!(hear(&attestations, 1, &attested(9, first)), Ok(Heard::Signature));
        assert_eq!(hear(&attestations, 1, &attested(9, second)), Ok(Heard::Double(node(1))));
        assert_eq!(hear(&attestations, 1, &attested(9, 3)), Ok(Heard::Nothing), "once is enough");
        let rows = attestations.take_rows();
        let proof: DoubleAttestation = wire::decode(rows[0].value.as_ref().expect("a row")).expect("a proof");
        assert_eq!((rows.len(), proof.signer()), (1, Ok(address(&key(1).point()))));
    }
}

#[test]
fn another_attestation_of_a_block_long_done_is_a_proof_too() {
    let (attestations, block) = (at(99), attested(9, 1));
    let mut collected = Collected::new(block.attestation.clone(), block.committee.clone());
    for member in 0..3 {
        collected.add(signature(member, &block.attestation)).expect("counts");
    }
    let kept = |height| (height == 9).then(|| Signed::new(&collected, block.extra));
    let take = |member: u8, of: &Attested| attestations.take(node(member), &frame(member, of), kept);
    assert_eq!(take(1, &block), Ok(Heard::Nothing), "late");
    assert_eq!(take(3, &attested(9, 2)), Ok(Heard::Signature), "what it signed before is not known here");
    assert_eq!(take(1, &attested(10, 2)), Ok(Heard::Nothing), "not attested");
    assert_eq!(attestations.take(node(7), &frame(1, &attested(9, 2)), kept), Ok(Heard::Nothing), "a stranger says it");
    assert_eq!(take(1, &attested(9, 2)), Ok(Heard::Double(node(1))));
    assert_eq!(take(1, &attested(9, 3)), Ok(Heard::Nothing), "proved");
    assert_eq!(attestations.take_rows().len(), 1);
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let (attestations, block) = (at(8), attested(9, 1));
    attestations.moved(9, &validators(), Some(&block));
    let take =
        |member: u8, frame: &[u8]| attestations.take(node(member), &Bytes::copy_from_slice(frame), |_| None).expect_err("it is refused");
    for cut in [1, 20, 100] {
        assert!(take(1, &frame(1, &block)[..cut]).contains("does not decode"));
    }
    assert!(take(1, &[frame(1, &block).as_ref(), &[0; 512]].concat()).contains("does not decode"));
    let mut foreign = block.clone();
    foreign.attestation.genesis = [6; 32].into();
    assert!(take(1, &frame(1, &foreign)).contains("another chain"));
    foreign = block.clone();
    foreign.attestation.chain = 1;
    assert!(take(1, &frame(1, &foreign)).contains("another chain"));
    assert!(take(1, &frame(9, &block)).contains("no attest address"));
    assert!(take(1, &frame(2, &attested(9, 2))).contains("not this member's"), "somebody else's other attestation proves nothing");
    assert!(attestations.take_rows().is_empty());
    assert_eq!(hear(&attestations, 1, &block), Ok(Heard::Signature));
}

#[test]
fn a_restart_takes_up_what_was_collected() {
    let (attestations, block) = (at(9), attested(9, 1));
    let mut collected = Collected::new(block.attestation.clone(), block.committee.clone());
    collected.add(signature(1, &block.attestation)).expect("counts");
    let incomplete = attestations.take_up(vec![Signed::new(&collected, block.extra)], [node(3)]);
    assert_eq!(incomplete.len(), 1);
    assert_eq!((hear(&attestations, 2, &block), hear(&attestations, 3, &block)), (Ok(Heard::Signature), Ok(Heard::Signature)));
    assert_eq!(attestations.take_rows().len(), 1);
    assert_eq!(hear(&attestations, 3, &attested(9, 2)), Ok(Heard::Nothing), "it was proved before");
    assert!(attestations.take_up(vec![Signed::new(&collected, block.extra)], []).is_empty(), "it is held");
    assert!(attestations.held().blocks[&9].collected.is_complete());
}

#[test]
fn what_is_held_is_bounded_and_paid_for() {
    let attestations = at(0);
    for height in 1..100 {
        attestations.moved(height, &validators(), Some(&attested(height, 1)));
        attestations.signed(&attested(height, 1).attestation, signature(0, &attested(height, 1).attestation));
    }
    assert_eq!(attestations.held().blocks.len(), HELD_MAX);
    let used = attestations.tenant.memory().used();
    assert_eq!(used, HELD_MAX as u64 * (HELD_BYTES + 4 * MEMBER_BYTES));
    for _ in 0..REPEATS_MIN {
        assert_eq!(attestations.due().len(), HELD_MAX);
    }
    assert_eq!(attestations.due().len(), REPEATED_MAX, "the last that are not complete");
    let poor = Attestations::new(Some(CHAIN), tenant(1_000));
    poor.moved(9, &validators(), Some(&attested(9, 1)));
    assert!(poor.held().blocks.is_empty(), "the chain's memory is full");
}

#[test]
fn a_complete_attestation_is_repeated_for_a_while() {
    let (attestations, block) = (at(8), attested(9, 1));
    attestations.moved(9, &validators(), Some(&block));
    attestations.signed(&block.attestation, signature(0, &block.attestation));
    for member in 1..4 {
        assert_eq!(hear(&attestations, member, &block), Ok(Heard::Signature));
    }
    assert_eq!((0..9).map(|_| attestations.due().len()).sum::<usize>(), REPEATS_MIN as usize);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever comes in whatever order: what is written verifies, and proofs are against those who signed twice.
    #[test]
    fn rows_are_sound(heard in prop::collection::vec((0_u8..5, 8_u64..11, 1_u8..3), 0..40)) {
        let attestations = at(8);
        for height in 9..11 {
            for (from, frame) in attestations.moved(height, &validators(), Some(&attested(height, 1))) {
                drop(attestations.take(from, &frame, |_| None));
            }
            for (member, at, block) in &heard {
                drop(hear(&attestations, *member, &attested(*at, *block)));
            }
        }
        let signed = |member: u8, height: u64, block: u8| heard.contains(&(member, height, block));
        let doubled = |member: u8| (9..11).any(|height| signed(member, height, 1) && signed(member, height, 2));
        let twice = (0..4).filter(|member| doubled(*member));
        let complete = (9..11).filter(|height| (0..4).filter(|member| signed(*member, *height, 1)).count() >= 3).count();
        prop_assert_eq!(attestations.take_rows().len(), twice.count() + complete);
    }

    #[test]
    fn any_bytes_are_refused_or_taken(bytes: Vec<u8>) {
        drop(at(8).take(node(1), &[&[ATTESTATION], bytes.as_slice()].concat().into(), |_| None));
    }
}
