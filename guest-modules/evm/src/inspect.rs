//! Execution under an inspector of revm's, for tracers. It is a path of its own: a block that nobody traces pays nothing for it.

use core::{cell::RefCell, convert::Infallible};

use alloy_primitives::{Address, B256, U256};
use revm::{
    Database, DatabaseRef, Inspector,
    bytecode::Bytecode,
    context::{ContextSetters, FrameStack, TxEnv, result::ResultAndState},
    handler::{
        EvmTr, FrameInitOrResult, FrameResult, MainnetHandler,
        evm::{ContextDbError, FrameInitResult},
    },
    inspector::{InspectorEvmTr, InspectorHandler},
    interpreter::interpreter_action::FrameInit,
    state::AccountInfo,
};

use crate::{
    machine::{Error, Frame, Instructions, Machine, Surroundings},
    precompiled::Precompiled,
    state::State,
};

/// A machine, and who watches it.
struct Inspected<'a, I> {
    machine: &'a mut Machine,
    inspector: &'a mut I,
}

impl<I> EvmTr for Inspected<'_, I> {
    type Context = Surroundings;
    type Instructions = Instructions;
    type Precompiles = Precompiled;
    type Frame = Frame;

    fn all(&self) -> (&Surroundings, &Instructions, &Precompiled, &FrameStack<Frame>) {
        self.machine.all()
    }

    fn all_mut(&mut self) -> (&mut Surroundings, &mut Instructions, &mut Precompiled, &mut FrameStack<Frame>) {
        self.machine.all_mut()
    }

    fn frame_init(&mut self, frame: FrameInit) -> Result<FrameInitResult<'_, Frame>, ContextDbError<Surroundings>> {
        self.machine.frame_init(frame)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<Surroundings>> {
        self.machine.frame_run()
    }

    fn frame_return_result(&mut self, result: FrameResult) -> Result<Option<FrameResult>, ContextDbError<Surroundings>> {
        self.machine.frame_return_result(result)
    }
}

impl<I: Inspector<Surroundings>> InspectorEvmTr for Inspected<'_, I> {
    type Inspector = I;

    fn all_inspector(&self) -> (&Surroundings, &Instructions, &Precompiled, &FrameStack<Frame>, &I) {
        let (context, instructions, precompiles, frames) = self.machine.all();
        (context, instructions, precompiles, frames, self.inspector)
    }

    fn all_mut_inspector(&mut self) -> (&mut Surroundings, &mut Instructions, &mut Precompiled, &mut FrameStack<Frame>, &mut I) {
        let (context, instructions, precompiles, frames) = self.machine.all_mut();
        (context, instructions, precompiles, frames, self.inspector)
    }
}

/// Executes a transaction under an inspector, on a machine whose journal is empty. The state stays as it was: what the transaction changes is
/// part of the answer.
pub fn transact<I: Inspector<Surroundings>>(machine: &mut Machine, transaction: TxEnv, inspector: &mut I) -> Result<ResultAndState, Error> {
    machine.surroundings().set_tx(transaction);
    let result: Result<_, Error> = MainnetHandler::default().inspect_run(&mut Inspected { machine, inspector });
    let state = machine.finalize();
    Ok(ResultAndState { result: result?, state })
}

/// A state as tracers read it: it remembers what it has read, and changes in nothing else.
pub struct Before<'a>(RefCell<&'a mut State>);

impl<'a> Before<'a> {
    pub fn new(state: &'a mut State) -> Self {
        Self(RefCell::new(state))
    }
}

impl DatabaseRef for Before<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.0.borrow_mut().basic(address)
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        self.0.borrow_mut().code_by_hash(hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        self.0.borrow_mut().storage(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        self.0.borrow_mut().block_hash(number)
    }
}
