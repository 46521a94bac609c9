//! What `subnode dev` prints once it listens.

use std::{io::Write, net::SocketAddr, path::Path};

use alloy::primitives::hex;
use serde_json::json;
use subnode_devnet::Account;

use super::settings::{Settings, ether};

/// What there is to say.
pub struct Announcement<'a> {
    pub address: SocketAddr,
    /// The chains' ids.
    pub ids: &'a [u64],
    pub accounts: &'a [Account],
    pub mnemonic: &'a str,
    /// None where a genesis file said what the chains are.
    pub settings: Option<&'a Settings>,
    pub data_dir: Option<&'a Path>,
}

/// Chains that the banner lists.
const LISTED: usize = 20;

impl Announcement<'_> {
    /// One line of JSON.
    pub fn json(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { address, mnemonic, .. } = self;
        let accounts: Vec<_> = self.accounts.iter().map(|account| json!({ "address": account.address, "key": account.secret() })).collect();
        let chain = |(index, id): (usize, &u64)| {
            let name = format!("dev{}", index + 1);
            json!({ "name": name, "chainId": id, "url": format!("http://{address}/chain/{name}") })
        };
        let chains: Vec<_> = self.ids.iter().enumerate().map(chain).collect();
        let url = format!("http://{address}");
        let line = json!({ "listening": address.to_string(), "url": url, "chains": chains, "mnemonic": mnemonic, "accounts": accounts });
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// For people.
    pub fn banner(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { address, ids, accounts, mnemonic, .. } = self;
        writeln!(out, "Subnode {}\n", env!("CARGO_PKG_VERSION"))?;
        if let Some(settings) = self.settings {
            writeln!(out, "Available Accounts\n==================\n")?;
            for (index, account) in accounts.iter().enumerate() {
                writeln!(out, "({index}) {} ({} ETH)", account.address, ether(settings.balance))?;
            }
            writeln!(out, "\nPrivate Keys\n==================\n")?;
            for (index, account) in accounts.iter().enumerate() {
                writeln!(out, "({index}) {}", hex::encode_prefixed(account.secret()))?;
            }
            writeln!(out, "\nWallet\n==================\nMnemonic:          {mnemonic}\nDerivation path:   m/44'/60'/0'/0/")?;
            writeln!(out, "\nChain ID\n==================\n\n{}", settings.chain_id)?;
            writeln!(out, "\nBase Fee\n==================\n\n{}", settings.base_fee)?;
            writeln!(out, "\nGas Limit\n==================\n\n{}", settings.gas_limit)?;
            writeln!(out, "\nHardfork\n==================\n\n{}", settings.hardfork)?;
        }
        if let Some(dir) = self.data_dir {
            writeln!(out, "\nKept in\n==================\n\n{}", dir.display())?;
        }
        writeln!(out, "\nUse it\n==================\n")?;
        for (index, id) in ids.iter().enumerate().take(LISTED) {
            let path = if ids.len() == 1 { String::new() } else { format!("/chain/dev{}", index + 1) };
            writeln!(out, "chain {id}:  http://{address}{path}  and  ws://{address}{path}")?;
        }
        if ids.len() > LISTED {
            writeln!(out, "... up to /chain/dev{}", ids.len())?;
        }
        writeln!(out, "\n  cast block-number --rpc-url http://{address}")?;
        writeln!(out, "  curl -s http://{address} -H 'content-type: application/json' \\")?;
        writeln!(out, "    -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}}'")?;
        writeln!(out, "\nCtrl-C ends it.\n\nListening on {address}")?;
        out.flush()
    }
}
