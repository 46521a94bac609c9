//! Honest members in processes of their own, and how they fare: how many blocks they make, and how much memory they take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use anyhow::{Context, ensure};
use serde_json::json;
use subnode_tests::{http::Client, process::Run, testnet::Testnet, transfer::Sender};
use subnode_types::Sealing;

use crate::machine::resident_kib;

/// Members of a committee.
pub(crate) const NODES: usize = 4;
/// `subnode testnet` numbers its chains from here.
const FIRST_CHAIN_ID: u64 = 31_337;
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often the nodes are asked for their heights, and how often the system for their memory.
const ASKED_EVERY: Duration = Duration::from_millis(10);
const WEIGHED_EVERY: Duration = Duration::from_millis(100);
/// What a client sends meanwhile, that blocks are not empty: a transfer so often.
const TRANSFER_EVERY: Duration = Duration::from_millis(50);

/// What the honest members did in a turn.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Blocks that all of them have, each second.
    pub(crate) blocks_per_second: f64,
    /// The most that each had resident, in MiB.
    pub(crate) resident_mib: Vec<f64>,
    /// How long the first one took to say its height, in milliseconds.
    pub(crate) answers_ms: Vec<f64>,
}

/// Honest members that run.
pub(crate) struct Net {
    pub(crate) files: Testnet,
    nodes: Vec<Run>,
    clients: Vec<Client>,
    stop: Arc<AtomicBool>,
}

impl Drop for Net {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Net {
    /// Starts so many of a committee, the first.
    pub(crate) fn start(honest: usize, sealing: Sealing) -> anyhow::Result<Self> {
        let files = Testnet::new(NODES, &["--sealing", &sealing.to_string()])?;
        let nodes = (0..honest).map(|node| files.start(node)).collect::<anyhow::Result<_>>()?;
        let clients = (0..honest).map(|node| files.client(node, 0)).collect::<anyhow::Result<_>>()?;
        Ok(Self { files, nodes, clients, stop: Arc::default() })
    }

    /// Waits for the first blocks, and has a client send transfers from then on.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.height()? < 3 {
            ensure!(started.elapsed() < READY_WITHIN, "the committee makes no blocks within {READY_WITHIN:?}");
            std::thread::sleep(ASKED_EVERY);
        }
        let (mut client, stop) = (self.files.client(0, 0)?, self.stop.clone());
        std::thread::spawn(move || {
            let mut sender = Sender::on(FIRST_CHAIN_ID, 0);
            while !stop.load(Ordering::Relaxed) {
                let sent = sender.sign(Address::repeat_byte(7), 21_000, Vec::new()).and_then(|signed| {
                    // One that is refused leaves a gap, which ends the load; that it is lighter then changes no ratio.
                    client.call("eth_sendRawTransaction", &json!([signed]))
                });
                if let Err(error) = sent {
                    eprintln!("a transfer was not taken: {error:#}");
                    break;
                }
                std::thread::sleep(TRANSFER_EVERY);
            }
        });
        Ok(())
    }

    /// The height that all of them have reached.
    pub(crate) fn height(&mut self) -> anyhow::Result<u64> {
        let heights = self.clients.iter_mut().map(|client| client.quantity("eth_blockNumber", &json!([])));
        heights.collect::<anyhow::Result<Vec<_>>>()?.into_iter().min().context("a committee has members")
    }

    /// Watches them from one block to another, for so long at least, and until `done` as well. Where no block comes, twice as long at most.
    pub(crate) fn watch(&mut self, time: Duration, done: impl Fn() -> bool) -> anyhow::Result<Turn> {
        let mut answers_ms = Vec::new();
        let mut asked = |net: &mut Self| {
            std::thread::sleep(ASKED_EVERY);
            let asked = Instant::now();
            let height = net.height()?;
            answers_ms.push(asked.elapsed().as_secs_f64() * 1e3);
            anyhow::Ok(height)
        };
        let (mut height, arrived) = (asked(self)?, Instant::now());
        let mut first = height;
        while height == first && arrived.elapsed() < time {
            height = asked(self)?;
        }
        first = height;
        let (began, mut last, mut weighed) = (Instant::now(), (height, Instant::now()), Instant::now());
        let mut resident_mib = vec![0.0_f64; self.nodes.len()];
        loop {
            height = asked(self)?;
            if height > last.0 {
                last = (height, Instant::now());
            }
            if weighed.elapsed() >= WEIGHED_EVERY {
                weighed = Instant::now();
                for (most, node) in resident_mib.iter_mut().zip(&self.nodes) {
                    *most = most.max(resident_kib(node.id()) / 1024.0);
                }
            }
            let over = began.elapsed() >= time && done();
            // A turn ends with a block: otherwise a part of an interval would count.
            if over && (last.1.elapsed() < 2 * ASKED_EVERY || began.elapsed() >= 2 * time) {
                break;
            }
        }
        let blocks = u32::try_from(last.0 - first)?;
        Ok(Turn { blocks_per_second: f64::from(blocks) / began.elapsed().as_secs_f64(), resident_mib, answers_ms })
    }
}
