//! Prints the blocks of dev chains, beside the chains: a terminal that is slow, or that nobody reads, holds up none of them.
//!
//! A task for each chain asks the chain about its new blocks and hands texts to one thread, which writes them. What does not fit is left out, and
//! counted in the next text.

use std::{
    fmt::Write as _,
    io::Write as _,
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    time::Duration,
};

use alloy::primitives::{Address, B256, U64};
use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use subnode_chain::{Chain, Reply};
use subnode_types::BlockRef;
use tokio::task::JoinSet;

/// Texts that wait to be written.
const TEXTS_MAX: usize = 64;
/// Blocks of a chain that wait to be asked about. Older ones are left out.
const BEHIND_MAX: u64 = 1_000;
/// Transactions of a block that are shown. Of a block with more it is said how many there are.
const TRANSACTIONS_MAX: usize = 100;
/// Blocks of a chain that are asked about in a row. A pause follows: chains that are busy need the CPU for other things.
const IN_A_ROW: u64 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// How blocks are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Text,
    /// A line of JSON for each block.
    Json,
}

/// Prints the chains' blocks from now on, until what is returned is dropped.
pub fn print(chains: Vec<Chain>, form: Form) -> anyhow::Result<JoinSet<()>> {
    // Bound: `TEXTS_MAX` texts of `TRANSACTIONS_MAX` transactions of 300 bytes at most: 2 MB.
    let (texts, given) = mpsc::sync_channel(TEXTS_MAX);
    std::thread::Builder::new().name("blocks".into()).spawn(move || write(&given)).context("start a thread")?;
    let is_alone = chains.len() == 1;
    let mut tasks = JoinSet::new();
    for chain in chains {
        let printer = Printer { form, is_alone, shown: chain.head(), omitted: 0, texts: texts.clone(), chain };
        tasks.spawn(printer.run());
    }
    Ok(tasks)
}

fn write(texts: &Receiver<String>) {
    let mut out = std::io::stdout();
    // Whoever closed our standard output does not want to read it.
    while let Ok(text) = texts.recv()
        && out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    {}
}

/// Nobody reads what is printed.
struct Unread;

/// Prints the blocks of one chain.
struct Printer {
    chain: Chain,
    form: Form,
    /// Whether it is the only chain, which needs no name.
    is_alone: bool,
    /// The last block that was shown or left out.
    shown: BlockRef,
    /// Blocks that were left out since one was shown.
    omitted: u64,
    texts: SyncSender<String>,
}

impl Printer {
    async fn run(mut self) {
        let mut commits = self.chain.commits();
        loop {
            let head = self.chain.head();
            let done = if head.height > self.shown.height {
                let done = self.show_up_to(head).await;
                tokio::time::sleep(PAUSE).await;
                done
            } else if head != self.shown {
                self.shown = head;
                self.hand_over(|printer| printer.returned())
            } else if commits.changed().await.is_err() {
                return;
            } else {
                Ok(())
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Shows the next blocks, some at once.
    async fn show_up_to(&mut self, head: BlockRef) -> Result<(), Unread> {
        let next = self.shown.height + 1;
        let first = next.max((head.height + 1).saturating_sub(BEHIND_MAX));
        let last = head.height.min(first + IN_A_ROW - 1);
        self.omitted += first - next;
        for height in first..=last {
            // None where it was undone meanwhile.
            if let Some(block) = self.ask(height).await {
                self.hand_over(|printer| printer.block(&block))?;
            }
        }
        self.shown = if last == head.height { head } else { BlockRef { height: last, ..head } };
        Ok(())
    }

    async fn ask(&self, height: u64) -> Option<Block> {
        let mut block: Block = self.answer("eth_getBlockByNumber", &json!([format!("{height:#x}"), false])).await?;
        block.height = height;
        if (1..=TRANSACTIONS_MAX).contains(&block.transactions.len()) {
            block.receipts = self.answer("eth_getBlockReceipts", &json!([block.hash])).await?;
        }
        Some(block)
    }

    async fn answer<T: for<'de> Deserialize<'de>>(&self, method: &str, params: &Value) -> Option<T> {
        match self.chain.query(method, params.to_string().as_bytes(), None).await {
            Ok(Reply::Json(json)) => serde_json::from_slice(&json).ok(),
            Ok(_) | Err(_) => None,
        }
    }

    /// Gives a text to the thread that writes, if there is room.
    fn hand_over(&mut self, text: impl FnOnce(&Self) -> String) -> Result<(), Unread> {
        let text = self.left_out() + &text(self);
        match self.texts.try_send(text) {
            Ok(()) => self.omitted = 0,
            Err(TrySendError::Full(_)) => self.omitted += 1,
            Err(TrySendError::Disconnected(_)) => return Err(Unread),
        }
        Ok(())
    }

    fn left_out(&self) -> String {
        match (self.omitted, self.form) {
            (0, _) => String::new(),
            (omitted, Form::Text) => format!("{}{omitted} blocks are not shown\n", self.prefix()),
            (omitted, Form::Json) => format!("{}\n", json!({ "chain": self.chain.name().as_str(), "omittedBlocks": omitted })),
        }
    }

    fn returned(&self) -> String {
        let height = self.shown.height;
        match self.form {
            Form::Text => format!("{}Returned to block {height}\n", self.prefix()),
            Form::Json => format!("{}\n", json!({ "chain": self.chain.name().as_str(), "returnedTo": height })),
        }
    }

    fn block(&self, block: &Block) -> String {
        let Block { height, hash, gas_used, transactions, receipts } = block;
        let count = transactions.len();
        if self.form == Form::Json {
            let receipts: Vec<_> = receipts.iter().map(Receipt::json).collect();
            let line = json!({
                "chain": self.chain.name().as_str(), "block": height, "hash": hash, "gasUsed": gas_used.to::<u64>(),
                "transactionCount": count, "transactions": receipts,
            });
            return format!("{line}\n");
        }
        let plural = if count == 1 { "" } else { "s" };
        let mut text = format!("{}Block {height}  {hash}  {count} transaction{plural}, {gas_used} gas\n", self.prefix());
        for receipt in receipts {
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "  Transaction {receipt}");
        }
        text
    }

    fn prefix(&self) -> String {
        if self.is_alone { String::new() } else { format!("{}: ", self.chain.name()) }
    }
}

/// What of a block is shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    #[serde(skip)]
    height: u64,
    hash: B256,
    gas_used: U64,
    transactions: Vec<B256>,
    #[serde(skip)]
    receipts: Vec<Receipt>,
}

/// What of a transaction is shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    transaction_hash: B256,
    gas_used: U64,
    status: U64,
    contract_address: Option<Address>,
}

impl Receipt {
    fn is_success(&self) -> bool {
        !self.status.is_zero()
    }

    /// The contract that was created.
    fn created(&self) -> Option<Address> {
        self.contract_address.filter(|_| self.is_success())
    }

    fn json(&self) -> Value {
        json!({
            "hash": self.transaction_hash, "gasUsed": self.gas_used.to::<u64>(), "success": self.is_success(), "contract": self.created(),
        })
    }
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}  {} gas", self.transaction_hash, self.gas_used)?;
        match self.created() {
            Some(contract) => write!(f, ", created {contract}"),
            None if self.is_success() => Ok(()),
            None => f.write_str(", failed"),
        }
    }
}
