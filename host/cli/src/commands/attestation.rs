//! `subnode attestation`: what committees say to outsiders about their blocks.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use subnode_attestation::{B256, Signed};

use crate::{
    args::{AttestationArgs, AttestationCommand, NodeArgs},
    client::Client,
    output::table::table,
};

/// The longest attestation that is read: one of 128 members has some 50 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub fn run(args: &AttestationArgs) -> anyhow::Result<()> {
    let ask = |node: &NodeArgs, method: &str, params: Value| Client::connect(node)?.call(method, &params);
    match &args.command {
        AttestationCommand::Show { chain, height, node } => {
            let shown = ask(node, "attestation_show", json!({ "name": chain.as_str(), "height": height }))?;
            if shown.is_null() {
                bail!("{}", none(chain.as_str(), *height));
            }
            if node.json {
                println!("{shown}");
                return Ok(());
            }
            show(&serde_json::from_value(shown).context("the node's answer is no attestation")?);
        }
        AttestationCommand::List { chain, node } => {
            let all = ask(node, "attestation_list", json!({ "name": chain.as_str() }))?;
            if node.json {
                println!("{all}");
                return Ok(());
            }
            let rows: Vec<_> = all.as_array().into_iter().flatten().map(row).collect();
            print!("{}", table(&["HEIGHT", "EPOCH", "BLOCK", "SIGNED", "ATTESTED"], &rows));
        }
        AttestationCommand::Proofs { chain, node } => {
            let proofs = ask(node, "attestation_proofs", json!({ "name": chain.as_str() }))?;
            if node.json {
                println!("{proofs}");
                return Ok(());
            }
            let all = proofs.as_array().map(Vec::as_slice).unwrap_or_default();
            if all.is_empty() {
                println!("no member of {chain} was seen to attest a height twice");
            }
            for proof in all {
                let height = proof["proof"]["attestations"][0]["height"].as_str().unwrap_or_default();
                println!("member {} attested height {height} twice; --json prints the proof", proof["member"].as_str().unwrap_or_default());
            }
        }
        AttestationCommand::Anchor { chain, node } => {
            let anchor = ask(node, "attestation_anchor", json!({ "name": chain.as_str() }))?;
            match anchor.as_str() {
                Some(text) if !node.json => println!("{text}"),
                Some(text) => println!("{}", json!({ "anchor": text })),
                None => bail!("the genesis of {chain} names no attest addresses: its committee attests nothing that begins there"),
            }
        }
        AttestationCommand::Verify { anchor, file, json } => verify(*anchor, file, *json)?,
    }
    Ok(())
}

fn none(chain: &str, height: Option<u64>) -> String {
    match height {
        Some(height) => format!("nothing is attested of block {height} of {chain} here; subnode attestation list {chain} shows what is"),
        None => format!("no block of {chain} is attested by more than two thirds here; subnode attestation list {chain} shows who signed"),
    }
}

fn show(signed: &Signed) {
    let Signed { attestation, extra, .. } = signed;
    let (power, total) = signed.power();
    println!("height     {}", attestation.height);
    println!("block      {}", attestation.block_id);
    println!("epoch      {}", attestation.epoch);
    println!("time       {} ms", attestation.time_ms);
    println!("chain      {}", attestation.genesis);
    println!("anchor     {}", signed.anchor());
    match signed.next_anchor() {
        Some(next) => println!("next       {next}, whose committee is {}", extra.next_committee),
        None => println!("next       the same committee, as far as this says"),
    }
    let enough = if signed.is_complete() { "attested" } else { "not attested: more than two thirds are needed" };
    println!("signed by  {power} of {total} of the power: {enough}");
    for one in &signed.signatures {
        if let Some(member) = signed.committee.members().get(one.member) {
            println!("           {} by {}", member.key, member.attester);
        }
    }
}

fn row(one: &Value) -> Vec<String> {
    let text = |name: &str| one[name].as_str().map_or_else(|| one[name].to_string(), str::to_owned);
    let signed = format!("{} of {}", text("power"), text("totalPower"));
    vec![text("height"), text("epoch"), text("blockId"), signed, if one["complete"] == true { "yes" } else { "no" }.into()]
}

fn verify(anchor: B256, file: &Path, json: bool) -> anyhow::Result<()> {
    let mut text = String::new();
    let opened = File::open(file).with_context(|| format!("read {}", file.display()))?;
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(|| format!("read {}", file.display()))?;
    if read as u64 > FILE_BYTES_MAX {
        bail!("{} has more than {FILE_BYTES_MAX} bytes: it is no attestation", file.display());
    }
    let signed: Signed = serde_json::from_str(&text).with_context(|| format!("{} is no attestation", file.display()))?;
    let collected = signed.verify(anchor).with_context(|| format!("{} does not hold", file.display()))?;
    let (attestation, next) = (collected.attestation(), signed.next_anchor());
    if json {
        let next = next.map(|next| next.to_string());
        println!("{}", json!({ "height": attestation.height, "blockId": attestation.block_id.to_string(), "nextAnchor": next }));
    } else {
        let next = next.map_or_else(|| "none".into(), |next| next.to_string());
        println!("valid: block {} at height {}, next anchor {next}", attestation.block_id, attestation.height);
    }
    Ok(())
}
