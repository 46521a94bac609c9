//! The loop that executes bytecode: revm's instructions, with the common ones in place.
//!
//! revm calls every instruction through a table of functions, which in WebAssembly costs a checked indirect call each. Here the
//! instructions that most code consists of are arms of one `match`; all others go through revm's table. Costs are revm's own,
//! so the rules of a fork are in one place.

use revm::{
    bytecode::opcode,
    interpreter::{
        Host, InstructionContext, InstructionResult, Interpreter, InterpreterAction, STACK_LIMIT,
        instructions::{self, GasTable, InstructionTable},
        interpreter::EthInterpreter,
        interpreter_types::{Jumps, LoopControl},
    },
    primitives::{U256, hardfork::SpecId},
};

use crate::host::{keccak256_pair, keccak256_word};

/// Runs a frame until it returns, stops, or calls another.
pub fn run<H: Host>(
    interpreter: &mut Interpreter<EthInterpreter>,
    table: &InstructionTable<EthInterpreter, H>,
    costs: &GasTable,
    host: &mut H,
) -> InterpreterAction {
    let stop = steps(interpreter, table, costs, host);
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(stop);
    }
    interpreter.take_next_action()
}

/// Executes instructions until one ends the frame; answers why.
fn steps<H: Host>(
    interpreter: &mut Interpreter<EthInterpreter>,
    table: &InstructionTable<EthInterpreter, H>,
    costs: &GasTable,
    host: &mut H,
) -> InstructionResult {
    // Padded by revm, so that neither the last instruction nor what it pushes ends beyond it.
    let code = interpreter.bytecode.bytes();
    let code = code.as_ref();
    let mut pc = interpreter.bytecode.pc();
    let has_push0 = interpreter.runtime_flag.spec_id.is_enabled_in(SpecId::SHANGHAI);

    /// Ends the frame unless the instruction could be executed.
    macro_rules! ensure {
        ($executed:expr, $otherwise:ident) => {
            if !$executed {
                return InstructionResult::$otherwise;
            }
        };
    }
    macro_rules! binary {
        ($operation:expr) => {
            ensure!(binary(interpreter.stack.data_mut(), $operation), StackUnderflow)
        };
    }
    macro_rules! unary {
        ($operation:expr) => {
            ensure!(unary(interpreter.stack.data_mut(), $operation), StackUnderflow)
        };
    }
    macro_rules! jump {
        ($target:expr) => {{
            let target = usize::try_from($target).unwrap_or(usize::MAX);
            ensure!(interpreter.bytecode.is_valid_legacy_jump(target), InvalidJump);
            pc = target;
        }};
    }
    /// One of revm's instructions, which find the place in the code in the interpreter.
    macro_rules! instruction {
        ($instruction:expr) => {{
            interpreter.bytecode.absolute_jump(pc);
            if let Err(stop) = $instruction(InstructionContext { interpreter: &mut *interpreter, host: &mut *host }) {
                return stop;
            }
            pc = interpreter.bytecode.pc();
        }};
    }

    loop {
        let code_at_pc = code[pc];
        pc += 1;
        if interpreter.gas.record_cost_unsafe(u64::from(costs[usize::from(code_at_pc)])) {
            return InstructionResult::OutOfGas;
        }
        match code_at_pc {
            opcode::ADD => binary!(|a, b| a.wrapping_add(b)),
            opcode::MUL => binary!(multiply),
            opcode::SUB => binary!(|a, b| a.wrapping_sub(b)),
            opcode::LT => binary!(|a, b| U256::from(a < b)),
            opcode::GT => binary!(|a, b| U256::from(a > b)),
            opcode::EQ => binary!(|a, b| U256::from(a == b)),
            opcode::AND => binary!(|a, b| a & b),
            opcode::OR => binary!(|a, b| a | b),
            opcode::XOR => binary!(|a, b| a ^ b),
            opcode::SHL => binary!(|shift, value| shifted(shift).map_or(U256::ZERO, |shift| value << shift)),
            opcode::SHR => binary!(|shift, value| shifted(shift).map_or(U256::ZERO, |shift| value >> shift)),
            opcode::ISZERO => unary!(|a| U256::from(a.is_zero())),
            opcode::NOT => unary!(|a| !a),
            opcode::POP => ensure!(interpreter.stack.data_mut().pop().is_some(), StackUnderflow),
            opcode::JUMP => {
                let Some(target) = interpreter.stack.data_mut().pop() else { return InstructionResult::StackUnderflow };
                jump!(target);
            }
            opcode::JUMPI => {
                let stack = interpreter.stack.data_mut();
                let (Some(target), Some(condition)) = (stack.pop(), stack.pop()) else { return InstructionResult::StackUnderflow };
                if !condition.is_zero() {
                    jump!(target);
                }
            }
            opcode::JUMPDEST => {}
            opcode::PUSH0 if has_push0 => ensure!(push(interpreter.stack.data_mut(), U256::ZERO), StackOverflow),
            opcode::PUSH1 => {
                ensure!(push(interpreter.stack.data_mut(), U256::from(code[pc])), StackOverflow);
                pc += 1;
            }
            opcode::PUSH2 => {
                ensure!(push(interpreter.stack.data_mut(), U256::from(u16::from_be_bytes([code[pc], code[pc + 1]]))), StackOverflow);
                pc += 2;
            }
            opcode::PUSH3..=opcode::PUSH32 => {
                let len = usize::from(code_at_pc - opcode::PUSH1) + 1;
                ensure!(push(interpreter.stack.data_mut(), word(&code[pc..pc + len])), StackOverflow);
                pc += len;
            }
            opcode::DUP1..=opcode::DUP16 => {
                let depth = usize::from(code_at_pc - opcode::DUP1) + 1;
                let stack = interpreter.stack.data_mut();
                let Some(index) = stack.len().checked_sub(depth) else { return InstructionResult::StackUnderflow };
                let value = stack[index];
                ensure!(push(stack, value), StackOverflow);
            }
            opcode::SWAP1..=opcode::SWAP16 => {
                let depth = usize::from(code_at_pc - opcode::SWAP1) + 1;
                let stack = interpreter.stack.data_mut();
                let Some(index) = stack.len().checked_sub(depth + 1) else { return InstructionResult::StackUnderflow };
                stack.swap(index, index + depth);
            }
            opcode::MLOAD if load(interpreter) => {}
            opcode::MLOAD => instruction!(instructions::memory::mload),
            opcode::MSTORE if store(interpreter) => {}
            opcode::MSTORE => instruction!(instructions::memory::mstore),
            opcode::KECCAK256 => match hash(interpreter, host) {
                Some(true) => {}
                Some(false) => return InstructionResult::OutOfGas,
                None => instruction!(instructions::system::keccak256),
            },
            opcode::CALLDATALOAD => instruction!(instructions::system::calldataload),
            _ => instruction!(|context| table[usize::from(code_at_pc)].execute(context)),
        }
    }
}

/// Where `len` bytes are in memory that a frame has already: most are, and cost no more than the instruction.
#[inline(always)]
fn in_memory(offset: U256, len: usize, memory_len: usize) -> Option<usize> {
    usize::try_from(offset).ok().filter(|offset| offset.checked_add(len).is_some_and(|end| end <= memory_len))
}

/// MLOAD of a word that is there; false where nothing was done.
#[inline(always)]
fn load(interpreter: &mut Interpreter<EthInterpreter>) -> bool {
    let Some(top) = interpreter.stack.data_mut().last_mut() else { return false };
    let Some(offset) = in_memory(*top, 32, interpreter.memory.len()) else { return false };
    *top = U256::from_limbs(reversed(words(&interpreter.memory.slice_len(offset, 32))));
    true
}

/// MSTORE of a word where there is memory; false where nothing was done.
#[inline(always)]
fn store(interpreter: &mut Interpreter<EthInterpreter>) -> bool {
    let stack = interpreter.stack.data_mut();
    let [.., value, offset] = stack.as_slice() else { return false };
    let Some(offset) = in_memory(*offset, 32, interpreter.memory.len()) else { return false };
    let bytes = reversed(*value.as_limbs()).map(u64::to_le_bytes);
    interpreter.memory.set(offset, bytes.as_flattened());
    stack.truncate(stack.len() - 2);
    true
}

/// KECCAK256 of one or two words that are there, whether there was gas for it; none where nothing was done.
#[inline(always)]
fn hash<H: Host>(interpreter: &mut Interpreter<EthInterpreter>, host: &H) -> Option<bool> {
    let [.., len, offset] = interpreter.stack.data().as_slice() else { return None };
    let len = usize::try_from(*len).ok().filter(|len| [32, 64].contains(len))?;
    let offset = in_memory(*offset, len, interpreter.memory.len())?;
    if interpreter.gas.record_cost_unsafe(host.gas_params().keccak256_cost(len)) {
        return Some(false);
    }
    let hash = {
        let text = interpreter.memory.slice_len(offset, len);
        let first = words(&text[..32]);
        if len == 32 { keccak256_word(first) } else { keccak256_pair(first, words(&text[32..])) }
    };
    let stack = interpreter.stack.data_mut();
    stack.pop();
    *stack.last_mut()? = U256::from_limbs(reversed(hash));
    Some(true)
}

/// 32 bytes as four little-endian numbers.
#[inline(always)]
fn words(bytes: &[u8]) -> [u64; 4] {
    core::array::from_fn(|word| bytes[word * 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// The bytes of a word in the opposite order: WebAssembly has no instruction that swaps the bytes of a number, but shuffles vectors.
#[inline(always)]
fn reversed([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    #[cfg(target_arch = "wasm32")]
    {
        use core::arch::wasm32::{i8x16_shuffle, u64x2, u64x2_extract_lane, v128};
        let reverse = |half: v128| i8x16_shuffle::<15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0>(half, half);
        let (low, high) = (reverse(u64x2(c, d)), reverse(u64x2(a, b)));
        [u64x2_extract_lane::<0>(low), u64x2_extract_lane::<1>(low), u64x2_extract_lane::<0>(high), u64x2_extract_lane::<1>(high)]
    }
    #[cfg(not(target_arch = "wasm32"))]
    [d, c, b, a].map(u64::swap_bytes)
}

#[inline(always)]
fn push(stack: &mut Vec<U256>, value: U256) -> bool {
    let fits = stack.len() < STACK_LIMIT;
    if fits {
        stack.push(value);
    }
    fits
}

/// Replaces the top two words by one. The first operand is the top.
#[inline(always)]
fn binary(stack: &mut Vec<U256>, operation: impl FnOnce(U256, U256) -> U256) -> bool {
    let Some(top) = stack.pop() else { return false };
    let Some(below) = stack.last_mut() else { return false };
    *below = operation(top, *below);
    true
}

#[inline(always)]
fn unary(stack: &mut [U256], operation: impl FnOnce(U256) -> U256) -> bool {
    let Some(top) = stack.last_mut() else { return false };
    *top = operation(*top);
    true
}

/// A shift, unless it leaves nothing.
#[inline(always)]
fn shifted(by: U256) -> Option<usize> {
    usize::try_from(by).ok().filter(|by| *by < 256)
}

/// The number that at most 32 bytes write.
#[inline(always)]
fn word(bytes: &[u8]) -> U256 {
    let mut padded = [0; 32];
    padded[32 - bytes.len()..].copy_from_slice(bytes);
    U256::from_limbs(reversed(words(&padded)))
}

/// The lower 256 bits of a product, in digits of 32 bits: WebAssembly multiplies 64 bits into 64, so that 32-bit digits are the
/// largest whose products it has whole.
fn multiply(a: U256, b: U256) -> U256 {
    let digits = |value: U256| -> [u64; 8] {
        let limbs = value.into_limbs();
        core::array::from_fn(|index| if index % 2 == 0 { limbs[index / 2] & 0xffff_ffff } else { limbs[index / 2] >> 32 })
    };
    // The operand that is a row per digit is the smaller: rows of zero are skipped.
    let (rows, columns) = if a < b { (digits(a), digits(b)) } else { (digits(b), digits(a)) };
    let mut product = [0u64; 8];
    for (shift, row) in rows.into_iter().enumerate() {
        if row == 0 {
            continue;
        }
        let mut carry = 0;
        for (digit, column) in product[shift..].iter_mut().zip(columns) {
            // At most (2^32 - 1)^2 + 2 (2^32 - 1), which is 2^64 - 1.
            let sum = row.wrapping_mul(column).wrapping_add(*digit).wrapping_add(carry);
            *digit = sum & 0xffff_ffff;
            carry = sum >> 32;
        }
    }
    U256::from_limbs(core::array::from_fn(|index| product[index * 2] | product[index * 2 + 1] << 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_reversed_both_ways() {
        let bytes: [u8; 32] = core::array::from_fn(|index| index as u8 * 7 + 1);
        let value = U256::from_limbs(reversed(words(&bytes)));
        assert_eq!(value, U256::from_be_bytes(bytes));
        assert_eq!(reversed(*value.as_limbs()), words(&bytes));
    }

    #[test]
    fn products_wrap_as_they_should() {
        let mut seed = U256::from(0x9e37_79b9_7f4a_7c15_u64);
        let mut next = || {
            seed = seed.wrapping_mul(U256::from(6_364_136_223_846_793_005_u64)).wrapping_add(U256::from(1_442_695_040_888_963_407_u64));
            seed ^ (seed << 77)
        };
        let mut operands = vec![U256::ZERO, U256::ONE, U256::MAX, U256::from(u64::MAX), U256::from(u128::MAX), U256::ONE << 255];
        operands.extend((0..200).map(|index| next() >> (index % 256)));
        for a in &operands {
            for b in &operands {
                assert_eq!(multiply(*a, *b), a.wrapping_mul(*b), "{a} * {b}");
            }
        }
    }
}
