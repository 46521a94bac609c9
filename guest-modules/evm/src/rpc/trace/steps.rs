//! geth's struct logs: every opcode, with what it found. Each step is written as JSON at once: a record of all steps would be several times as
//! large as the answer.

use std::{collections::BTreeMap, fmt::Write};

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_rpc_types_trace::geth::GethDefaultTracingOptions;
use revm::{
    Inspector,
    bytecode::opcode::{self, OpCode},
    context::JournalTr,
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, InstructionResult, Interpreter, STACK_LIMIT,
        interpreter_types::{InputsTr, Jumps, LoopControl, ReturnData},
    },
};

use super::budget::{self, Budget};
use crate::machine::Surroundings;

/// The tracer that geth has where none is named.
pub struct StepTracer {
    options: GethDefaultTracingOptions,
    pub budget: Budget,
    /// The steps, with commas between them.
    json: String,
    steps: u64,
    /// The step that is being executed, as far as it is known before.
    begun: Option<Begun>,
    /// The slots that each contract used so far.
    storage: BTreeMap<Address, BTreeMap<B256, B256>>,
    /// What each frame has to be refunded, the outermost first.
    refunds: Vec<i64>,
}

struct Begun {
    json: String,
    opcode: OpCode,
    /// The rest of the step, which comes after its cost and its error.
    rest: String,
    gas: u64,
    stack_len: usize,
    depth: usize,
}

impl StepTracer {
    pub fn new(options: GethDefaultTracingOptions, budget: Budget) -> Self {
        Self { options, budget, json: String::new(), steps: 0, begun: None, storage: BTreeMap::new(), refunds: Vec::new() }
    }

    /// The whole trace of a transaction that used this gas.
    pub fn into_json(self, gas: u64, is_failed: bool, output: &Bytes) -> String {
        let head = format!(r#"{{"gas":{gas},"failed":{is_failed},"returnValue":"{output}","structLogs":["#);
        let mut whole = String::with_capacity(head.len() + self.json.len() + 2);
        whole.push_str(&head);
        whole.push_str(&self.json);
        whole.push_str("]}");
        whole
    }

    fn begin(&mut self, interpreter: &Interpreter, context: &mut Surroundings) -> Begun {
        let code = interpreter.bytecode.opcode();
        let opcode = OpCode::new_or_unknown(code);
        let stack = interpreter.stack.data();
        let mut json = String::new();
        put(&mut json, format_args!(r#"{{"pc":{},"op":"{}","gas":{}"#, interpreter.bytecode.pc(), name(code), interpreter.gas.remaining()));
        let mut rest = String::new();
        if !self.options.disable_stack.unwrap_or_default() {
            put_list(&mut rest, "stack", stack.iter().map(|word| format!("{word:#x}")));
        }
        let returned = interpreter.return_data.buffer();
        if self.options.is_return_data_enabled() && !returned.is_empty() {
            put(&mut rest, format_args!(r#","returnData":"{returned}""#));
        }
        if self.options.is_memory_enabled() && !interpreter.memory.is_empty() {
            let memory = interpreter.memory.context_memory();
            put_list(&mut rest, "memory", memory.chunks(32).map(hex::encode_prefixed));
        }
        if !self.options.disable_storage.unwrap_or_default()
            && let Some(slots) = self.used(interpreter, context)
        {
            rest.push_str(r#","storage":{"#);
            for (position, (slot, value)) in slots.iter().enumerate() {
                put(&mut rest, format_args!(r#"{}"{slot}":"{value}""#, if position > 0 { "," } else { "" }));
            }
            rest.push('}');
        }
        if let Some(own) = self.refunds.last_mut() {
            *own = interpreter.gas.refunded();
        }
        let refund: i64 = self.refunds.iter().sum();
        if refund > 0 {
            put(&mut rest, format_args!(r#","refund":{refund}"#));
        }
        let depth = context.journaled_state.depth();
        Begun { json, opcode, rest, gas: interpreter.gas.remaining(), stack_len: stack.len(), depth }
    }

    /// The slots of the contract that runs, with the one that this step reads or writes; none where it does neither.
    fn used(&mut self, interpreter: &Interpreter, context: &mut Surroundings) -> Option<&BTreeMap<B256, B256>> {
        let contract = interpreter.input.target_address();
        let (slot, value) = match (interpreter.bytecode.opcode(), interpreter.stack.data().as_slice()) {
            (opcode::SSTORE, [.., value, slot]) => (*slot, *value),
            (opcode::SLOAD, [.., slot]) => (*slot, word(context, contract, *slot)),
            _ => return None,
        };
        let slots = self.storage.entry(contract).or_default();
        slots.insert(slot.into(), value.into());
        Some(slots)
    }
}

/// A storage word at this moment. To read it warms nothing.
fn word(context: &mut Surroundings, contract: Address, slot: U256) -> U256 {
    let journal = &mut context.journaled_state;
    let known = journal.inner.state.get(&contract).and_then(|account| account.storage.get(&slot));
    match known {
        Some(slot) => slot.present_value,
        None if journal.inner.state.get(&contract).is_some_and(revm::state::Account::is_created) => U256::ZERO,
        None => {
            let Ok(value) = revm::Database::storage(&mut journal.database, contract, slot);
            value
        }
    }
}

fn put(out: &mut String, text: core::fmt::Arguments<'_>) {
    // Text can always be appended to text.
    let _ = out.write_fmt(text);
}

fn put_list(out: &mut String, name: &str, items: impl Iterator<Item = String>) {
    put(out, format_args!(r#","{name}":["#));
    for (position, item) in items.enumerate() {
        put(out, format_args!(r#"{}"{item}""#, if position > 0 { "," } else { "" }));
    }
    out.push(']');
}

/// An opcode as geth names it.
fn name(code: u8) -> String {
    match OpCode::new(code) {
        Some(known) => known.as_str().into(),
        None => format!("opcode {code:#x} not defined"),
    }
}

/// Why a step could not begin, as geth words it. What fails while it is executed is none of the step's.
fn error(result: InstructionResult, step: &Begun) -> Option<String> {
    let (inputs, outputs) = (usize::from(step.opcode.inputs()), usize::from(step.opcode.outputs()));
    match result {
        InstructionResult::OutOfGas | InstructionResult::MemoryOOG | InstructionResult::ReentrancySentryOOG => Some("out of gas".into()),
        InstructionResult::MemoryLimitOOG | InstructionResult::InvalidOperandOOG => Some("gas uint64 overflow".into()),
        InstructionResult::StackUnderflow => Some(format!("stack underflow ({} <=> {inputs})", step.stack_len)),
        InstructionResult::StackOverflow => Some(format!("stack limit reached {} ({})", step.stack_len, STACK_LIMIT + inputs - outputs)),
        _ => None,
    }
}

impl Inspector<Surroundings> for StepTracer {
    fn step(&mut self, interpreter: &mut Interpreter, context: &mut Surroundings) {
        if self.budget.is_spent() {
            budget::end(interpreter, context);
            return;
        }
        if self.options.limit.is_some_and(|limit| limit > 0 && self.steps >= limit) {
            return;
        }
        self.begun = Some(self.begin(interpreter, context));
    }

    fn step_end(&mut self, interpreter: &mut Interpreter, _context: &mut Surroundings) {
        let Some(step) = self.begun.take() else { return };
        self.steps += 1;
        let cost = step.gas.saturating_sub(interpreter.gas.remaining());
        let result = interpreter.bytecode.action().as_ref().and_then(|action| action.instruction_result());
        let before = self.json.len();
        if before > 0 {
            self.json.push(',');
        }
        put(&mut self.json, format_args!(r#"{},"gasCost":{cost},"depth":{}"#, step.json, step.depth));
        if let Some(error) = result.and_then(|result| error(result, &step)) {
            put(&mut self.json, format_args!(r#","error":"{error}""#));
        }
        self.json.push_str(&step.rest);
        self.json.push('}');
        self.budget.take(self.json.len() - before);
    }

    fn call(&mut self, _context: &mut Surroundings, _inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.refunds.push(0);
        None
    }

    fn call_end(&mut self, _context: &mut Surroundings, _inputs: &CallInputs, _outcome: &mut CallOutcome) {
        self.refunds.pop();
    }

    fn create(&mut self, _context: &mut Surroundings, _inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.refunds.push(0);
        None
    }

    fn create_end(&mut self, _context: &mut Surroundings, _inputs: &CreateInputs, _outcome: &mut CreateOutcome) {
        self.refunds.pop();
    }
}
