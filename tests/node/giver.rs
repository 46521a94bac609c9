//! Nodes in this process that give a content, as they should or not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use subnode_chain_core::wire::{decode, encode};
use subnode_network::{ChainKey, Incoming, Network, NetworkOptions, NodeKey, Overlay};
use subnode_sandbox::ModuleHash;
use subnode_scheduler::Bandwidth;
use tokio::runtime::Runtime;

/// Bytes that are answered at once.
pub(crate) const PART_BYTES: usize = 128 << 10;

/// How a node gives a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Honestly,
    /// With another byte in the last part.
    Wrongly,
    /// As if it were as long as modules may be.
    Padded,
    /// As if it were longer than any module.
    Endlessly,
    /// As if it had nothing.
    Empty,
    /// With another size each time.
    Changing,
    /// A byte less of each part.
    Short,
    /// What does not decode.
    Garbage,
    /// The first two parts of each connection's life, and nothing after them.
    Stopping,
    /// Nothing.
    Silent,
}

/// A node that gives a content.
pub(crate) struct Giver {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    /// Offsets that were asked for.
    pub(crate) asked: Arc<Mutex<Vec<u64>>>,
    _overlay: Arc<Overlay>,
    _runtime: Arc<Runtime>,
}

/// What nodes know a content by.
pub(crate) fn key(content: ModuleHash) -> ChainKey {
    ChainKey(*ModuleHash::of(&[&b"subnode content 1"[..], content.as_bytes()].concat()).as_bytes())
}

/// An endpoint of the test network, on a free port.
pub(crate) fn endpoint(seed: u8) -> Network {
    let options = NetworkOptions { listen: ([127, 0, 0, 1], 0).into(), network: "testnet".into(), strangers_max: 64 };
    Network::open(NodeKey::from_secret([seed; 32]).unwrap(), options).unwrap()
}

fn answer(how: How, content: &[u8], offset: u64, answered: usize) -> Option<Vec<u8>> {
    let size = content.len() as u64;
    let start = usize::try_from(offset).unwrap().min(content.len());
    let part = &content[start..content.len().min(start + PART_BYTES)];
    let right = |size: u64, part: &[u8]| Some(encode(&(size, part)));
    match how {
        How::Honestly => right(size, part),
        How::Wrongly if start + PART_BYTES >= content.len() => {
            let mut part = part.to_vec();
            *part.last_mut()? ^= 1;
            right(size, &part)
        }
        How::Wrongly => right(size, part),
        How::Padded => {
            let size: u64 = 32 << 20;
            let length = usize::try_from(size - offset).unwrap().min(PART_BYTES);
            right(size, &vec![0; length])
        }
        How::Endlessly => right(u64::MAX, &[0; PART_BYTES]),
        How::Empty => right(0, &[]),
        How::Changing => right(size + answered as u64, part),
        How::Short => right(size, part.split_last()?.1),
        How::Garbage => Some(vec![0xff; 1 << 10]),
        How::Stopping => (answered < 2).then(|| encode(&(size, part))),
        How::Silent => None,
    }
}

impl Giver {
    /// A node with this key that gives the bytes as the content of a hash.
    pub(crate) fn new(
        runtime: &Arc<Runtime>,
        seed: u8,
        how: How,
        content: ModuleHash,
        bytes: &Arc<Vec<u8>>,
        bytes_per_second: u64,
    ) -> Self {
        let _entered = runtime.enter();
        let network = endpoint(seed);
        let (id, address) = (network.id().to_string(), network.address().unwrap());
        let overlay = Arc::new(Overlay::new(network, BTreeMap::new()));
        let (membership, mut inbox) = overlay.give(key(content), Arc::new(Bandwidth::new(bytes_per_second))).unwrap();
        let asked = Arc::<Mutex<Vec<u64>>>::default();
        let (noted, bytes, answered) = (asked.clone(), bytes.clone(), AtomicUsize::new(0));
        runtime.spawn(async move {
            let _membership = membership;
            while let Some(incoming) = inbox.next().await {
                let Incoming::Request(request) = incoming else { continue };
                let offset: u64 = decode(&request.frame).unwrap();
                noted.lock().unwrap().push(offset);
                if let Some(answer) = answer(how, &bytes, offset, answered.fetch_add(1, Ordering::Relaxed)) {
                    request.answer(answer.into());
                }
            }
        });
        Self { id, address, asked, _overlay: overlay, _runtime: runtime.clone() }
    }
}
