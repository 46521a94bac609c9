//! How much a tracer may record, and how much many calls may answer: a trace can be larger than all that it is about.

use alloy_primitives::{Address, Log, U256};
use revm::{
    Inspector,
    context::ContextTr,
    context_interface::ContextError,
    interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter},
};

use super::super::error;
use crate::{bindings::exports::RpcError, machine::Surroundings};

/// Bytes of JSON that one answer's traces, or what its calls return, have at most, about.
pub const BYTES_MAX: usize = 32 << 20;

/// What ends an execution whose trace is too long. It shows nowhere: [`too_long`] is answered in its place.
const ENDED: &str = "the trace is too long";

/// What is left of an answer, in bytes.
#[derive(Clone, Copy)]
pub struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: BYTES_MAX }
    }
}

impl Budget {
    /// A smaller one, for tests.
    #[cfg(test)]
    pub fn of(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// Takes bytes; false where there are not so many.
    pub fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Bytes that can still be taken.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether nothing is left, or more was asked for.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }
}

/// The answer in place of a trace that is too long.
pub fn too_long() -> RpcError {
    error::rejected(&format!(
        "the trace has more than {BYTES_MAX} bytes; of opcodes, \"limit\", \"disableStack\" and \"disableStorage\" leave some out, \
         \"enableMemory\" and \"enableReturnData\" add to them; \"callTracer\" with \"onlyTopCall\" and fewer transactions are shorter"
    ))
}

/// The answer in place of what calls returned, where that is too long.
pub fn answers_too_long() -> RpcError {
    error::rejected(&format!("the calls answer more than {BYTES_MAX} bytes; make fewer at once"))
}

/// Ends the frame that runs, and with it the transaction.
pub fn end(interpreter: &mut Interpreter, context: &mut Surroundings) {
    if context.error().is_ok() {
        *context.error() = Err(ContextError::Custom(ENDED.into()));
    }
    interpreter.halt_fatal();
}

/// A tracer that records no more than its budget allows.
pub struct Bounded<I> {
    /// Who records.
    pub tracer: I,
    /// What is left for it.
    pub budget: Budget,
    /// What a step adds to the trace.
    step_bytes: usize,
    /// Whether calls and logs add to it.
    has_calls: bool,
}

/// Of a call in JSON, without what it was called with and what it returned.
const CALL_BYTES: usize = 512;
/// Of a log, without its data.
const LOG_BYTES: usize = 512;
/// Of a step in a vmTrace.
pub const VM_STEP_BYTES: usize = 400;

impl<I> Bounded<I> {
    /// A tracer that records calls, and steps of these bytes each.
    pub fn new(tracer: I, budget: Budget, step_bytes: usize) -> Self {
        Self { tracer, budget, step_bytes, has_calls: true }
    }

    /// A tracer whose trace no call makes longer.
    pub fn flat(tracer: I, budget: Budget) -> Self {
        Self { tracer, budget, step_bytes: 0, has_calls: false }
    }

    fn take(&mut self, bytes: usize) {
        if self.has_calls {
            self.budget.take(bytes);
        }
    }
}

impl<I: Inspector<Surroundings>> Inspector<Surroundings> for Bounded<I> {
    fn initialize_interp(&mut self, interpreter: &mut Interpreter, context: &mut Surroundings) {
        // A trace of steps begins with the code.
        if self.step_bytes > 0 {
            self.budget.take(2 * interpreter.bytecode.bytes().len());
        }
        self.tracer.initialize_interp(interpreter, context);
    }

    fn step(&mut self, interpreter: &mut Interpreter, context: &mut Surroundings) {
        if self.step_bytes > 0 {
            self.budget.take(self.step_bytes);
        }
        self.tracer.step(interpreter, context);
        if self.budget.is_spent() {
            end(interpreter, context);
        }
    }

    fn step_end(&mut self, interpreter: &mut Interpreter, context: &mut Surroundings) {
        self.tracer.step_end(interpreter, context);
    }

    fn log(&mut self, context: &mut Surroundings, log: Log) {
        self.take(LOG_BYTES + 2 * log.data.data.len());
        self.tracer.log(context, log);
    }

    fn call(&mut self, context: &mut Surroundings, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.take(CALL_BYTES + 2 * inputs.input.len());
        self.tracer.call(context, inputs)
    }

    fn call_end(&mut self, context: &mut Surroundings, inputs: &CallInputs, outcome: &mut CallOutcome) {
        self.take(2 * outcome.result.output.len());
        self.tracer.call_end(context, inputs, outcome);
    }

    fn create(&mut self, context: &mut Surroundings, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.take(CALL_BYTES + 2 * inputs.init_code().len());
        self.tracer.create(context, inputs)
    }

    fn create_end(&mut self, context: &mut Surroundings, inputs: &CreateInputs, outcome: &mut CreateOutcome) {
        self.take(2 * outcome.result.output.len());
        self.tracer.create_end(context, inputs, outcome);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.take(CALL_BYTES);
        Inspector::<Surroundings>::selfdestruct(&mut self.tracer, contract, target, value);
    }
}
