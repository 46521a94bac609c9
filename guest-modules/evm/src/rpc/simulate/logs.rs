//! The logs of a simulated call: those of contracts, and where a client asks for them, one for each transfer of ether.

use alloy_primitives::{Address, B256, Log, LogData, U256, address, b256};
use revm::{
    Inspector,
    context::{ContextTr, JournalTr},
    interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome},
};

use crate::machine::Surroundings;

/// Where logs of transfers come from.
const EMITTER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Keeps logs, each with its number in the block. What reverts takes its logs along, but not their numbers.
pub struct Logs {
    with_transfers: bool,
    /// Of the frames that run, the outermost first.
    frames: Vec<Vec<(u64, Log)>>,
    count: u64,
}

impl Logs {
    pub fn new(with_transfers: bool) -> Self {
        Self { with_transfers, frames: Vec::new(), count: 0 }
    }

    /// The logs of the transaction that ended.
    pub fn take(&mut self) -> Vec<(u64, Log)> {
        core::mem::take(&mut self.frames).into_iter().next().unwrap_or_default()
    }

    fn begin(&mut self) {
        if self.frames.is_empty() {
            self.frames.push(Vec::new());
        }
        self.frames.push(Vec::new());
    }

    fn end(&mut self, is_ok: bool) {
        let logs = self.frames.pop().unwrap_or_default();
        if is_ok && let Some(outer) = self.frames.last_mut() {
            outer.extend(logs);
        }
    }

    fn keep(&mut self, log: Log) {
        if let Some(frame) = self.frames.last_mut() {
            frame.push((self.count, log));
            self.count += 1;
        }
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if self.with_transfers && !value.is_zero() {
            let data = LogData::new_unchecked(vec![TRANSFER, from.into_word(), to.into_word()], value.to_be_bytes::<32>().into());
            self.keep(Log { address: EMITTER, data });
        }
    }
}

impl Inspector<Surroundings> for Logs {
    fn log(&mut self, _context: &mut Surroundings, log: Log) {
        self.keep(log);
    }

    fn call(&mut self, _context: &mut Surroundings, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.begin();
        if let Some(value) = inputs.transfer_value() {
            self.transfer(inputs.transfer_from(), inputs.transfer_to(), value);
        }
        None
    }

    fn call_end(&mut self, _context: &mut Surroundings, _inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.end(outcome.result.result.is_ok());
    }

    fn create(&mut self, context: &mut Surroundings, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.begin();
        let Ok(creator) = context.journal_mut().load_account(inputs.caller());
        let nonce = creator.info.nonce;
        self.transfer(inputs.caller(), inputs.created_address(nonce), inputs.value());
        None
    }

    fn create_end(&mut self, _context: &mut Surroundings, _inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        self.end(outcome.result.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
