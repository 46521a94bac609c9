//! Everything that decodes bytes of other nodes, of files and of modules, behind one signature.
//!
//! A decoder may refuse, and must neither panic nor take memory that its input does not account for. What it takes must be what it writes.

use subnode_bft::message::{Certificate, Message};
use subnode_chain_core::{
    Committees, Link, Manifest, Summary, Turn,
    checkpoint::Outline,
    wire::{self, Asked, Notice, Question, Whole},
};
use subnode_fuzzer::{Fuzz, kind, peak_of};
use subnode_sandbox::Description;
use subnode_signer::Guard;
use subnode_storage::{ArchiveReader, Frame, MemoryStore, Retention, Store};

/// Something that decodes, by its name.
type Decoder = (&'static str, fn(&[u8]));

/// All of them.
const ALL: [Decoder; 13] = [
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

fn archive(bytes: &[u8]) {
    if let Ok((mut reader, header)) = ArchiveReader::new(bytes) {
        assert!(header.payload().len() <= bytes.len());
        while let Ok(frame) = reader.next() {
            assert!(frame.payload().len() <= bytes.len());
        }
    }
    drop(Frame::decode(bytes));
}

fn certificate(bytes: &[u8]) {
    if let Some(certificate) = subnode_sdk::codec::decode::<Certificate>(bytes) {
        assert!(certificate.signatures.len() <= bytes.len());
    }
}

fn message(bytes: &[u8]) {
    if let Some(message) = subnode_sdk::codec::decode::<Message>(bytes) {
        let again = subnode_sdk::codec::encode(&message);
        assert_eq!(subnode_sdk::codec::decode::<Message>(&again), Some(message));
    }
}

fn committees(bytes: &[u8]) {
    if let Some(committees) = Committees::decode(bytes) {
        assert_eq!(Committees::decode(&committees.encode()), Some(committees));
    }
}

fn component(bytes: &[u8]) {
    drop(Description::of(bytes));
}

fn guard(bytes: &[u8]) {
    if let Ok(guard) = Guard::decode(bytes) {
        assert!(guard.encode().len() <= bytes.len());
    }
}

fn links(bytes: &[u8]) {
    for link in wire::decode::<Vec<Link>>(bytes).unwrap_or_default() {
        if link.id().is_some() {
            let mut committees = Committees::default();
            let applied = link.apply(&mut committees);
            assert!(applied.is_ok() || committees.encode().len() <= bytes.len() * 2);
        }
    }
}

fn notice(bytes: &[u8]) {
    if let Some(notice) = wire::decode::<Notice>(bytes) {
        assert_eq!(wire::decode(&wire::encode(&notice)), Some(notice));
    }
}

fn outline(bytes: &[u8]) {
    if let Some(outline) = wire::decode::<Outline>(bytes).filter(Outline::is_sound) {
        assert!(outline.groups() <= bytes.len());
        drop(outline.group(0, bytes));
    }
}

fn question(bytes: &[u8]) {
    if let Some(question) = wire::decode::<Question>(bytes) {
        assert_eq!(wire::decode(&wire::encode(&question)), Some(question));
    }
}

/// A piece of a state.
fn state(bytes: &[u8]) {
    let Ok(name) = "fuzzed".parse() else { return };
    let Ok(chain) = MemoryStore::default().open(&name, Retention::Archive) else { return };
    let Ok(mut stage) = chain.stage([0; 32]) else { return };
    // A store in memory is done at once.
    let pieces = [bytes];
    let mut appended = std::pin::pin!(stage.append(&pieces));
    let waker = std::task::Waker::noop();
    assert!(appended.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready());
}

fn whole(bytes: &[u8]) {
    if let Some(whole) = wire::decode::<Whole>(bytes) {
        assert!(whole.manifest.parts() <= bytes.len());
        if whole.manifest.is_sound() {
            drop(Manifest::of(&whole.first, whole.manifest.outcome()));
        }
    }
}

/// Transactions that another node sends on: as many as are in the bytes, however many the bytes say there are.
fn transactions(bytes: &[u8]) {
    let read: usize = wire::transactions(bytes).flatten().map(|transaction| transaction.len() + 1).sum();
    assert!(read <= bytes.len());
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
    };
    let manifest = Manifest::of(&[1; 100], summary.digest()).unwrap();
    let mut committees = Committees::default();
    committees.change(0, 1, summary.committee.as_ref().unwrap().validators()).unwrap();
    let mut guard = Guard::default();
    guard.sign(subnode_types::Position { height: 1, round: 2, step: 3 }, b"text").unwrap();
    let row = [&3_u32.to_be_bytes()[..], &4_u32.to_be_bytes(), b"key", b"text"].concat();
    vec![
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
    let samples = samples();
    let choices = u8::try_from(ALL.len()).unwrap();
    let inputs = samples.iter().flat_map(|bytes| (0..choices).map(move |choice| [&[choice], &bytes[..]].concat()));
    Fuzz::new("decoders", 16 << 10).samples(inputs).run(|input| {
        let Some((choice, bytes)) = input.split_first() else { return 0 };
        let (name, decode) = ALL[usize::from(choice % choices)];
        let ((), peak) = peak_of(|| decode(bytes));
        assert!(peak <= MEMORY_PER_BYTE * bytes.len() + MEMORY_BESIDE, "{name}: {peak} bytes of memory for {}", bytes.len());
        kind((name, peak.checked_ilog2()))
    });
}
