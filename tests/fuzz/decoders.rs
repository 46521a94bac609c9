//! Everything that decodes bytes of other nodes, of files and of modules, behind one signature.
//!
//! A decoder may refuse, and must neither panic nor take memory that its input does not account for. What it takes must be what it writes. It says
//! what it took: the search for inputs goes on from those that come further than others.

use std::task::{Context, Poll, Waker};

use subnode_attestation::{Extra, Signed};
use subnode_bft::message::{Certificate, Message};
use subnode_chain_core::{
    Committees, Link, Manifest, Summary, Turn,
    checkpoint::Outline,
    wire::{self, Asked, Notice, Question, Whole},
};
use subnode_fuzzer::{Fuzz, alone, kind, peak_of};
use subnode_sandbox::Description;
use subnode_signer::Guard;
use subnode_storage::{ArchiveReader, Frame, MemoryStore, Retention, Store};
use subnode_tests::attesters::{self, Attesters};

/// What a decoder took: a number that stands for a branch of it. None where it refused.
type Taken = Option<u64>;

/// Something that decodes, by its name.
type Decoder = (&'static str, fn(&[u8]) -> Taken);

/// All of them.
const ALL: [Decoder; 14] = [
    ("attestation", attestation),
    ("archive", archive),
    ("certificate", certificate),
    ("committees", committees),
    ("component", component),
    ("guard", guard),
    ("links", links),
    ("message", message),
    ("notice", notice),
    ("outline", outline),
    ("question", question),
    ("state", state),
    ("transactions", transactions),
    ("whole", whole),
];

/// How many there are, as far as that is another branch: none, one, and then by powers of two.
fn magnitude(count: usize) -> Option<u32> {
    count.checked_ilog2()
}

fn archive(bytes: &[u8]) -> Taken {
    let mut frames = None;
    if let Ok((mut reader, header)) = ArchiveReader::new(bytes) {
        assert!(header.payload().len() <= bytes.len());
        let mut count = 0;
        while let Ok(frame) = reader.next() {
            assert!(frame.payload().len() <= bytes.len());
            count += 1;
        }
        frames = Some(magnitude(count));
    }
    let frame = Frame::decode(bytes).is_ok();
    (frame || frames.is_some()).then(|| kind((frame, frames)))
}

/// An attestation in JSON, which comes from strangers.
fn attestation(bytes: &[u8]) -> Taken {
    let signed = serde_json::from_slice::<Signed>(bytes).ok()?;
    let text = serde_json::to_vec(&signed).unwrap();
    assert_eq!(serde_json::from_slice::<Signed>(&text).unwrap(), signed);
    // Whoever shows it does not choose what is trusted, yet here it is the best that there could be.
    let verified = signed.verify(signed.anchor());
    assert!(verified.is_err() || signed.signatures.len() <= signed.committee.members().len());
    let error = verified.err().map(|error| std::mem::discriminant(&error));
    Some(kind((error, magnitude(signed.committee.members().len()), magnitude(signed.signatures.len()))))
}

fn certificate(bytes: &[u8]) -> Taken {
    let certificate = subnode_sdk::codec::decode::<Certificate>(bytes)?;
    assert!(certificate.signatures.len() <= bytes.len());
    Some(kind(magnitude(certificate.signatures.len())))
}

fn message(bytes: &[u8]) -> Taken {
    let message = subnode_sdk::codec::decode::<Message>(bytes)?;
    let variant = kind(std::mem::discriminant(&message));
    let again = subnode_sdk::codec::encode(&message);
    assert_eq!(subnode_sdk::codec::decode::<Message>(&again), Some(message));
    Some(kind((variant, magnitude(again.len()))))
}

fn committees(bytes: &[u8]) -> Taken {
    let committees = Committees::decode(bytes)?;
    let members = committees.members().len();
    assert_eq!(Committees::decode(&committees.encode()), Some(committees));
    Some(kind(magnitude(members)))
}

fn component(bytes: &[u8]) -> Taken {
    Description::of(bytes).ok().map(|_| 0)
}

fn guard(bytes: &[u8]) -> Taken {
    let encoded = Guard::decode(bytes).ok()?.encode().len();
    assert!(encoded <= bytes.len());
    Some(kind(magnitude(encoded)))
}

fn links(bytes: &[u8]) -> Taken {
    let links = wire::decode::<Vec<Link>>(bytes)?;
    // How many have an id, and how many of these a change of committee that is one.
    let (mut sound, mut applied) = (0, 0);
    for link in &links {
        if link.id().is_some() {
            let mut committees = Committees::default();
            let is_applied = link.apply(&mut committees).is_ok();
            assert!(is_applied || committees.encode().len() <= bytes.len() * 2);
            sound += 1;
            applied += usize::from(is_applied);
        }
    }
    Some(kind((magnitude(links.len()), magnitude(sound), magnitude(applied))))
}

fn notice(bytes: &[u8]) -> Taken {
    let notice = wire::decode::<Notice>(bytes)?;
    let variant = kind(std::mem::discriminant(&notice));
    assert_eq!(wire::decode(&wire::encode(&notice)), Some(notice));
    Some(variant)
}

fn outline(bytes: &[u8]) -> Taken {
    let outline = wire::decode::<Outline>(bytes)?;
    if !outline.is_sound() {
        return Some(0);
    }
    assert!(outline.groups() <= bytes.len());
    drop(outline.group(0, bytes));
    Some(kind(magnitude(outline.groups())))
}

fn question(bytes: &[u8]) -> Taken {
    let question = wire::decode::<Question>(bytes)?;
    let variant = kind(std::mem::discriminant(&question));
    assert_eq!(wire::decode(&wire::encode(&question)), Some(question));
    Some(variant)
}

/// A piece of a state.
fn state(bytes: &[u8]) -> Taken {
    let chain = MemoryStore::default().open(&"fuzzed".parse().unwrap(), Retention::Archive).unwrap();
    let mut stage = chain.stage([0; 32]).unwrap();
    // A store in memory is done at once.
    let pieces = [bytes];
    let mut appended = std::pin::pin!(stage.append(&pieces));
    match appended.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(taken) => taken.ok().map(|_| 0),
        Poll::Pending => panic!("a store in memory that is not done at once"),
    }
}

fn whole(bytes: &[u8]) -> Taken {
    let whole = wire::decode::<Whole>(bytes)?;
    assert!(whole.manifest.parts() <= bytes.len());
    let is_sound = whole.manifest.is_sound();
    if is_sound {
        drop(Manifest::of(&whole.first, whole.manifest.outcome()));
    }
    Some(kind((is_sound, magnitude(whole.manifest.parts()))))
}

/// Transactions that another node sends on: as many as are in the bytes, however many the bytes say there are.
fn transactions(bytes: &[u8]) -> Taken {
    let (mut count, mut read) = (0, 0);
    let mut is_whole = true;
    for transaction in wire::transactions(bytes) {
        count += usize::from(transaction.is_some());
        read += transaction.map_or(0, |transaction| transaction.len() + 1);
        is_whole &= transaction.is_some();
    }
    assert!(read <= bytes.len());
    // What is no list has none of them.
    (is_whole || count > 0).then(|| kind((is_whole, magnitude(count))))
}

/// Memory that decoding takes for each byte, and besides: a list that says that it is long gets a MiB before its elements come (serde's bound), and
/// so may a list in it.
const MEMORY_PER_BYTE: usize = 64;
const MEMORY_BESIDE: usize = 4 << 20;

/// Bytes that some decoder takes.
fn samples() -> Vec<Vec<u8>> {
    let summary = Summary {
        height: 7,
        id: vec![5; 32],
        timestamp_ms: 1,
        transactions: 3,
        changes: [4; 32],
        committee: Some(Turn { from: 9, members: vec![([1; 32], 2), ([2; 32], 1)] }),
        checkpoint: Some([6; 32]),
        attesters: vec![[8; 20]],
        upgrades: Vec::new(),
    };
    let manifest = Manifest::of(&[1; 100], summary.digest()).unwrap();
    let mut committees = Committees::default();
    committees.change(0, 1, summary.committee.as_ref().unwrap().validators()).unwrap();
    let mut guard = Guard::default();
    guard.sign(subnode_types::Position { height: 1, round: 2, step: 3 }, b"text").unwrap();
    let row = [&3_u32.to_be_bytes()[..], &4_u32.to_be_bytes(), b"key", b"text"].concat();
    let attested = Attesters::new(&[1, 2, 3]).unwrap().signed(&attesters::attestation(Extra::default()), 0..3).unwrap();
    vec![
        serde_json::to_vec(&Signed::new(&attested, Extra::default())).unwrap(),
        wire::encode(&Notice::Head(7)),
        wire::encode(&Question::Part(Asked::Decided(7), 3)),
        wire::encode(&Question::Piece(7, 3)),
        wire::encode(&Whole { manifest: manifest.clone(), certificate: vec![3; 9], first: vec![1; 100] }),
        wire::encode(&vec![Link { manifest, summary, certificate: vec![1; 9] }]),
        wire::encode(&Outline::of(700_000, &[[1; 32], [2; 32]])),
        committees.encode(),
        guard.encode(),
        Frame::header(b"about".to_vec()).encode(),
        subnode_sdk::codec::encode(&Certificate { round: 1, signatures: Vec::new() }),
        subnode_modules::by_name("solo").unwrap()[..4_000].to_vec(),
        wire::encode(&vec![vec![1_u8; 3], vec![2; 9]]),
        row,
    ]
}

#[test]
fn fuzzed_bytes_are_decoded_or_refused() {
    let _alone = alone();
    let samples = samples();
    let choices = u8::try_from(ALL.len()).unwrap();
    let inputs = samples.iter().flat_map(|bytes| (0..choices).map(move |choice| [&[choice], &bytes[..]].concat()));
    Fuzz::new("decoders", 16 << 10).samples(inputs).run(|input| {
        let Some((choice, bytes)) = input.split_first() else { return 0 };
        let (name, decode) = ALL[usize::from(choice % choices)];
        let (taken, peak) = peak_of(|| decode(bytes));
        assert!(peak <= MEMORY_PER_BYTE * bytes.len() + MEMORY_BESIDE, "{name}: {peak} bytes of memory for {}", bytes.len());
        kind((name, taken, peak.checked_ilog2()))
    });
}
