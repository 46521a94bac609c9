//! What committees attest of their blocks, for operators, who hand it to outsiders.

use serde::Deserialize;
use serde_json::{Value, json};
use subnode_chain::{Chain, Signed};

use super::{
    Admin,
    failure::{Failure, REFUSED},
    params::{Name, chain_name, params},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    name: String,
    #[serde(default)]
    height: Option<u64>,
}

/// Answers one of the methods of this file; none where it is none of them.
pub(super) fn call(admin: &Admin, method: &str, given: Value) -> Option<Result<Value, Failure>> {
    let named = |given: Value| running(admin, &params::<Name>(given)?.name);
    Some(match method {
        "attestation_show" => params(given).and_then(|Shown { name, height }| {
            let signed = running(admin, &name)?.attestation(height)?;
            signed.map_or(Ok(Value::Null), |signed| json_of(&signed))
        }),
        "attestation_list" => named(given).and_then(|chain| Ok(chain.last_attestations()?.iter().map(listed).collect())),
        "attestation_proofs" => named(given).and_then(|chain| {
            let proofs = chain.double_attestations()?;
            proofs.iter().map(|(member, proof)| Ok(json!({ "member": member.to_string(), "proof": json_of(proof)? }))).collect()
        }),
        "attestation_anchor" => named(given).map(|chain| chain.anchor().map_or(Value::Null, |anchor| hex(&anchor).into())),
        _ => return None,
    })
}

/// A chain that runs: one that does not has no tables that could be asked.
fn running(admin: &Admin, name: &str) -> Result<Chain, Failure> {
    let chain = admin.supervisor.show(&chain_name(name)?)?.chain;
    chain.ok_or_else(|| Failure { code: REFUSED, message: format!("chain {name} does not run; subnode chain start {name}") })
}

impl From<subnode_chain::RpcError> for Failure {
    fn from(error: subnode_chain::RpcError) -> Self {
        Self { code: REFUSED, message: error.message }
    }
}

fn json_of(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure { code: REFUSED, message: error.to_string() })
}

fn listed(signed: &Signed) -> Value {
    let (power, total) = signed.power();
    json!({
        "height": signed.attestation.height,
        "epoch": signed.attestation.epoch,
        "blockId": hex(&signed.attestation.block_id),
        "nextCommittee": hex(signed.extra.next_committee.as_slice()),
        "signatures": signed.signatures.len(),
        "power": power,
        "totalPower": total,
        "complete": signed.is_complete(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
