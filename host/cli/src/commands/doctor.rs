//! `subnode doctor`: measures what a part of this machine is worth, instead of trusting data sheets.

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use alloy::{
    consensus::{SignableTransaction, TxLegacy},
    eips::Encodable2718,
    primitives::{TxKind, U256, hex},
    signers::SignerSync,
};
use anyhow::{Context, anyhow};
use serde_json::json;
use subnode_devnet::{DevGenesis, Devnet};
use subnode_node::Machine;
use subnode_types::{ByteSize, PARTS_OF_A_NODE};

use crate::{args::DoctorArgs, output::table::table};

/// Synced writes that are timed.
const SYNCS: usize = 200;
/// Transfers of a block that is timed, and how many blocks.
const TRANSFERS: u64 = 200;
const BLOCKS: u64 = 10;
/// Chains that are opened to see what one takes.
const CHAINS: u32 = 64;
/// What a chain of a busy but small network does each second: one block of so many transfers.
const TYPICAL_TRANSFERS: f64 = 20.0;
/// Memory that a chain needs to make blocks, beside what it keeps when idle: an instance for the block, one for admission, some for queries.
const WORKING_BYTES: u64 = 24 << 20;

/// What was measured.
struct Measured {
    machine: Machine,
    fuel_per_second: f64,
    transfer_us: f64,
    chain_bytes: u64,
    sync_ms: (f64, f64),
    clock_drift_ms: f64,
}

pub async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    super::log("error");
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    let machine = Machine::of(&args.data_dir);
    let sync_ms = syncs(&args.data_dir).with_context(|| format!("measure {}", args.data_dir.display()))?;
    let (fuel_per_second, transfer_us) = Box::pin(transfers()).await?;
    let chain_bytes = Box::pin(idle_chain()).await?;
    let passed = SystemTime::now().duration_since(wall).unwrap_or_default();
    let clock_drift_ms = (passed.as_secs_f64() - monotonic.elapsed().as_secs_f64()).abs() * 1e3;
    let measured = Measured { machine, fuel_per_second, transfer_us, chain_bytes, sync_ms, clock_drift_ms };
    if args.json {
        println!("{}", as_json(&measured));
    } else {
        print!("{}", describe(&measured));
    }
    Ok(())
}

/// Median and 99th percentile of a synced write.
fn syncs(dir: &Path) -> anyhow::Result<(f64, f64)> {
    let path = dir.join(".subnode-doctor");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    drop(file);
    std::fs::remove_file(&path)?;
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok((ms(times[SYNCS / 2]), ms(times[SYNCS * 99 / 100])))
}

/// Fuel a core burns in a second, and CPU time of a transfer from its admission to its block.
async fn transfers() -> anyhow::Result<(f64, f64)> {
    let net = Devnet::builder().manual_sealing().answer_before_mining().gas_limit(1_000_000_000).spawn().await?;
    let chain = net.chain(0).chain();
    let signer = &net.chain(0).accounts()[0].signer;
    let mut signed = Vec::new();
    for nonce in 0..TRANSFERS * BLOCKS {
        let transaction = TxLegacy {
            chain_id: Some(DevGenesis::DEFAULT_CHAIN_ID),
            nonce,
            gas_price: 2_000_000_000,
            gas_limit: 21_000,
            to: TxKind::Call(net.chain(0).accounts()[1].address),
            value: U256::ONE,
            ..TxLegacy::default()
        };
        let signature = signer.sign_hash_sync(&transaction.signature_hash())?;
        let envelope: alloy::consensus::TxEnvelope = transaction.into_signed(signature).into();
        signed.push(json!([hex::encode_prefixed(envelope.encoded_2718())]).to_string());
    }
    let before = chain.stats().usage;
    for block in signed.chunks(usize::try_from(TRANSFERS)?) {
        for transfer in block {
            let sent = chain.query("eth_sendRawTransaction", transfer.as_bytes(), None).await;
            sent.map_err(|error| anyhow!("a transfer was refused: {}", error.message))?;
        }
        chain.query("evm_mine", b"[]", None).await.map_err(|error| anyhow!("no block: {}", error.message))?;
    }
    let after = chain.stats().usage;
    #[expect(clippy::cast_precision_loss, reason = "rates need no more digits")]
    let since = |after: u64, before: u64| (after - before) as f64;
    let seconds = since(after.ran_ns, before.ran_ns) / 1e9;
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    let count = (TRANSFERS * BLOCKS) as f64;
    Ok((since(after.fuel, before.fuel) / seconds, seconds * 1e6 / count))
}

/// Resident memory of a chain that has nothing to do.
async fn idle_chain() -> anyhow::Result<u64> {
    let first = Devnet::builder().spawn().await?;
    let before = Machine::resident_bytes();
    let more = Devnet::builder().chains(CHAINS).spawn().await?;
    let grown = Machine::resident_bytes().saturating_sub(before);
    drop((first, more));
    Ok(grown / u64::from(CHAINS))
}

/// Chains of a number of parts that the machine carries, and what limits it.
fn carries(measured: &Measured, parts: u32) -> (u64, &'static str) {
    let by_parts = u64::from(PARTS_OF_A_NODE / parts);
    let memory = measured.machine.memory_bytes / 4 * 3;
    let by_memory = memory / (measured.chain_bytes + WORKING_BYTES);
    let limits = [(by_parts, "parts"), (by_memory, "memory")];
    limits.into_iter().min().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "as in transfers()")]
fn transfers_per_second(measured: &Measured, parts: u32) -> f64 {
    let cores = measured.machine.cores as f64 * f64::from(parts) / f64::from(PARTS_OF_A_NODE);
    cores * 1e6 / measured.transfer_us
}

const CLASSES: [(&str, u32); 4] = [("large", 128), ("medium", 4), ("test", 4), ("small", 1)];

fn as_json(measured: &Measured) -> serde_json::Value {
    let classes: Vec<_> = CLASSES
        .iter()
        .map(|(class, parts)| {
            let (chains, limit) = carries(measured, *parts);
            json!({ "class": class, "parts": parts, "chains": chains, "limitedBy": limit, "transfersPerSecond": transfers_per_second(measured, *parts) })
        })
        .collect();
    json!({
        "cores": measured.machine.cores,
        "memoryBytes": measured.machine.memory_bytes,
        "diskFreeBytes": measured.machine.disk_free_bytes,
        "fuelPerSecond": measured.fuel_per_second,
        "transferMicros": measured.transfer_us,
        "idleChainBytes": measured.chain_bytes,
        "syncMsMedian": measured.sync_ms.0,
        "syncMsP99": measured.sync_ms.1,
        "clockDriftMs": measured.clock_drift_ms,
        "classes": classes,
    })
}

fn describe(measured: &Measured) -> String {
    let machine = &measured.machine;
    let rows: Vec<Vec<String>> = CLASSES
        .iter()
        .map(|(class, parts)| {
            let (chains, limit) = carries(measured, *parts);
            let rate = transfers_per_second(measured, *parts);
            let memory = ByteSize(machine.memory_bytes / 4 * 3 / u64::from(PARTS_OF_A_NODE) * u64::from(*parts));
            vec![(*class).to_owned(), parts.to_string(), memory.to_string(), format!("{rate:.0}"), chains.to_string(), limit.to_owned()]
        })
        .collect();
    let mut text = format!(
        "cores         {}, each {:.2} G fuel/s: {:.0} us of it for a transfer\n\
         memory        {}, an idle chain takes {}\n\
         disk          {} free, a synced write takes {:.2} ms (99 of 100 under {:.2} ms)\n\
         clock         drifted {:.1} ms while this was measured\n\n",
        machine.cores,
        measured.fuel_per_second / 1e9,
        measured.transfer_us,
        ByteSize(machine.memory_bytes),
        ByteSize(measured.chain_bytes),
        ByteSize(machine.disk_free_bytes),
        measured.sync_ms.0,
        measured.sync_ms.1,
        measured.clock_drift_ms,
    );
    text += &table(&["CLASS", "PARTS", "MEMORY", "TRANSFERS/S", "CHAINS", "LIMITED BY"], &rows);
    let blocks = transfers_per_second(measured, 1) / TYPICAL_TRANSFERS;
    if blocks < 1.0 {
        text += &format!(
            "\nA part is too small for a block of {TYPICAL_TRANSFERS} transfers each second while all others are busy: give chains more parts.\n"
        );
    }
    if measured.sync_ms.1 > 100.0 {
        text += "\nThe disk is slow: blocks of a second will often be late. Use an SSD that is not shared.\n";
    }
    if measured.clock_drift_ms > 50.0 {
        text += "\nThe clock was moved while this ran: see that one time service, and only one, keeps it.\n";
    }
    text
}
