//! revm, with this runtime's interpreter loop and EIP-7610.

use core::convert::Infallible;

use alloy_primitives::{Address, Bytes};
use revm::{
    Context, Journal,
    context::{
        BlockEnv, CfgEnv, ContextSetters, Evm, FrameStack, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction},
    },
    handler::{
        EthFrame, EvmTr, FrameInitOrResult, FrameResult, Handler, ItemOrResult, MainnetHandler, SYSTEM_ADDRESS, SystemCallTx,
        evm::{ContextDbError, FrameInitResult},
        instructions::{EthInstructions, InstructionProvider},
    },
    interpreter::{FrameInput, InstructionResult, InterpreterAction, interpreter::EthInterpreter, interpreter_action::FrameInit},
    state::EvmState,
};

use crate::{
    console::{self, Console},
    deployers, interpreter,
    precompiled::Precompiled,
    state::State,
};

/// revm's surroundings of a transaction: block, rules, state.
pub type Surroundings = Context<BlockEnv, TxEnv, CfgEnv, State, Journal<State>, ()>;
/// A call or a creation that is being executed.
pub type Frame = EthFrame<EthInterpreter>;
/// The instructions of a fork.
pub type Instructions = EthInstructions<EthInterpreter, Surroundings>;
/// Why a transaction could not be executed.
pub type Error = EVMError<Infallible, InvalidTransaction>;

/// Gas of a call by the system (EIP-4788, EIP-2935, EIP-7002, EIP-7251). revm's own limit is that of EIP-8037, which no fork here has.
const SYSTEM_CALL_GAS: u64 = 30_000_000;

/// An EVM on a [`State`].
pub struct Machine {
    evm: Evm<Surroundings, (), Instructions, Precompiled, Frame>,
    destroyed: bool,
    /// What contracts printed, where somebody reads it.
    console: Option<Console>,
    /// Whether [`deployers`] says who creates contracts.
    listed_create: bool,
}

impl Machine {
    pub fn new(surroundings: Surroundings) -> Self {
        let fork = surroundings.cfg.spec;
        let instructions = EthInstructions::new_mainnet_with_spec(fork);
        let evm = Evm::new(surroundings, instructions, Precompiled::new(fork));
        Self { evm, destroyed: false, console: None, listed_create: false }
    }

    /// Has contracts created for those alone that the chain's list has.
    pub fn with_listed_create(self, listed_create: bool) -> Self {
        Self { listed_create, ..self }
    }

    pub fn surroundings(&mut self) -> &mut Surroundings {
        &mut self.evm.ctx
    }

    pub fn state(&mut self) -> &mut State {
        &mut self.evm.ctx.journaled_state.database
    }

    pub fn into_state(self) -> State {
        self.evm.ctx.journaled_state.database
    }

    pub fn precompiles(&self) -> &Precompiled {
        &self.evm.precompiles
    }

    pub fn set_precompiles(&mut self, precompiles: Precompiled) {
        self.evm.precompiles = precompiles;
    }

    /// Keeps what contracts print from now on (Hardhat's `console.log`).
    pub fn hear_console(&mut self) {
        self.console = Some(Console::default());
    }

    /// The lines that contracts printed since this was asked last.
    pub fn take_printed(&mut self) -> Vec<String> {
        self.console.as_mut().map(Console::take).unwrap_or_default()
    }

    /// Executes a transaction. What it changes waits in the journal.
    pub fn transact(&mut self, transaction: TxEnv) -> Result<ExecutionResult<HaltReason>, Error> {
        self.evm.ctx.set_tx(transaction);
        MainnetHandler::default().run(self)
    }

    /// Executes a call by the system, which pays for nothing.
    pub fn system_call(&mut self, contract: Address, input: Bytes) -> Result<ExecutionResult<HaltReason>, Error> {
        let call = TxEnv::new_system_tx_with_caller(SYSTEM_ADDRESS, contract, input);
        self.evm.ctx.set_tx(TxEnv { gas_limit: SYSTEM_CALL_GAS, ..call });
        MainnetHandler::default().run_system_call(self)
    }

    /// Whether a contract destroyed itself since this was asked last, even if that was undone.
    pub fn take_destroyed(&mut self) -> bool {
        core::mem::take(&mut self.destroyed)
    }

    /// What the journal holds, which is then empty.
    pub fn finalize(&mut self) -> EvmState {
        self.evm.ctx.journaled_state.finalize()
    }

    /// The address a frame creates a contract at, if that has storage and nothing else: EIP-7610 has such a creation fail, as for an
    /// account with a nonce or code. revm knows those two alone.
    fn storage_in_the_way(&mut self, frame: &FrameInit) -> Option<Address> {
        let FrameInput::Create(inputs) = &frame.frame_input else { return None };
        let journal = &mut self.evm.ctx.journaled_state;
        let Ok(caller) = journal.load_account(inputs.caller());
        let nonce = caller.info.nonce;
        let address = inputs.created_address(nonce);
        journal.database.has_only_storage(address).then_some(address)
    }

    fn set_nonce(&mut self, address: Address, nonce: u64) {
        let journal = &mut self.evm.ctx.journaled_state;
        let Ok(_) = journal.load_account(address);
        if let Some(account) = journal.inner.state.get_mut(&address) {
            account.info.nonce = nonce;
        }
    }
}

impl EvmTr for Machine {
    type Context = Surroundings;
    type Instructions = Instructions;
    type Precompiles = Precompiled;
    type Frame = Frame;

    fn all(&self) -> (&Surroundings, &Self::Instructions, &Precompiled, &FrameStack<Frame>) {
        self.evm.all()
    }

    fn all_mut(&mut self) -> (&mut Surroundings, &mut Self::Instructions, &mut Precompiled, &mut FrameStack<Frame>) {
        self.evm.all_mut()
    }

    fn frame_init(&mut self, frame: FrameInit) -> Result<FrameInitResult<'_, Frame>, ContextDbError<Surroundings>> {
        if let Some(console) = &mut self.console
            && let FrameInput::Call(inputs) = &frame.frame_input
            && inputs.target_address == console::ADDRESS
        {
            console.hear(&inputs.input.bytes(&self.evm.ctx));
        }
        if self.listed_create
            && let FrameInput::Create(inputs) = &frame.frame_input
            && let Some(refused) = deployers::refused(&mut self.evm.ctx.journaled_state, self.evm.ctx.tx.caller, inputs)
        {
            return Ok(ItemOrResult::Result(FrameResult::Create(refused)));
        }
        let Some(address) = self.storage_in_the_way(&frame) else { return self.evm.frame_init(frame) };
        // A nonce is in the way as storage is.
        self.set_nonce(address, 1);
        let failed = self.evm.frame_init(frame).map(|outcome| match outcome {
            ItemOrResult::Result(result) => result,
            ItemOrResult::Item(_) => panic!("a contract was created at {address}, which has a nonce"),
        });
        self.set_nonce(address, 0);
        failed.map(ItemOrResult::Result)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<Surroundings>> {
        let (context, instructions, _, frames) = self.evm.all_mut();
        let frame = frames.get();
        let action = interpreter::run(&mut frame.interpreter, instructions.instruction_table(), instructions.gas_table(), context);
        self.destroyed |= matches!(&action, InterpreterAction::Return(result) if result.result == InstructionResult::SelfDestruct);
        frame.process_next_action(context, action).inspect(|next| {
            if next.is_result() {
                frame.set_finished(true);
            }
        })
    }

    fn frame_return_result(&mut self, result: FrameResult) -> Result<Option<FrameResult>, ContextDbError<Surroundings>> {
        self.evm.frame_return_result(result)
    }
}
