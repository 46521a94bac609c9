//! Everything that decodes bytes from elsewhere, behind one signature: what `tests/fuzz` runs under libFuzzer, and the test below for a moment.
//!
//! A decoder may refuse, and must neither panic nor take memory that its input does not account for. What it takes must be what it writes.

use subnode_bft::message::{Certificate, Message};
use subnode_chain_core::{
    Committees, Link, Manifest,
    checkpoint::Outline,
    wire::{self, Notice, Question, Whole},
};
use subnode_sandbox::Description;
use subnode_signer::Guard;
use subnode_storage::{ArchiveReader, Frame, MemoryStore, Retention, Store};

/// Something that decodes, by its name.
pub type Decoder = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Decoder; 12] = [
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
    use subnode_chain_core::{Summary, Turn, wire::Asked};

    use super::*;

    /// Inputs for each decoder: enough to try each bit of short ones.
    const INPUTS: u64 = 20_000;

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
            row,
        ]
    }

    #[test]
    fn no_decoder_panics_on_anything() {
        let samples = samples();
        let mut random = StdRng::seed_from_u64(1);
        for (name, decode) in ALL {
            for input in 0..INPUTS {
                let mut bytes = samples[random.random_range(0..samples.len())].clone();
                for _ in 0..random.random_range(0..4) {
                    if bytes.is_empty() {
                        break;
                    }
                    let at = random.random_range(0..bytes.len());
                    match random.random_range(0..5) {
                        0 => bytes[at] ^= 1 << random.random_range(0..8),
                        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
                        2 => bytes.truncate(at),
                        3 => random.fill_bytes(&mut bytes[at..]),
                        _ => bytes.insert(at, 0xff),
                    }
                }
                let ended = std::panic::catch_unwind(|| decode(&bytes));
                assert!(ended.is_ok(), "{name} on input {input}: {bytes:02x?}");
            }
        }
    }
}
