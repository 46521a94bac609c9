//! An aggregate BLS signature checked by the precompiles of EIP-2537: keys in G1, signatures in G2.
//!
//! The program is made for a number of members and signers, without a loop or a look at a bitmap. What it does is what any verifier has
//! to do: it compares the hash of all members' keys with the stored one, hashes the message to G2 (RFC 9380: SHA-256, SSWU), adds the
//! signers' keys, and checks the pairing.

use alloy::{
    hex,
    primitives::{Address, B256, Bytes, keccak256},
};
use anyhow::{Context as _, ensure};
use subnode_tests::native::{Called, Contracts};

const PROGRAM: Address = Address::repeat_byte(0xbb);
/// Bytes of a point of G1, of one of G2, and of an element of the base field with its padding.
const G1: usize = 128;
const G2: usize = 256;
const FIELD: usize = 64;

const SHA256: u8 = 0x02;
const MODEXP: u8 = 0x05;
const G1_ADD: u8 = 0x0b;
const G1_MSM: u8 = 0x0c;
const G2_ADD: u8 = 0x0d;
const G2_MSM: u8 = 0x0e;
const PAIRING: u8 = 0x0f;
const MAP_TO_G2: u8 = 0x11;

const MODULUS: [u8; 48] = hex!("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab");
const GENERATOR_X: [u8; 48] = hex!("17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb");
const GENERATOR_Y: [u8; 48] = hex!("08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1");
/// Of the generator's opposite.
const OPPOSITE_Y: [u8; 48] = hex!("114d1d6855d545a8aa7d76c8cf2e21f267816aef1db507c96655b9d5caac42364e6f38ba0ecb751bad54dcd6b939c2ca");
/// The suite's name and its length, which end what is hashed.
const SUITE: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_\x2b";

/// Checks a signature of the first `signers` of `members`.
pub(super) fn verified(members: usize, signers: usize) -> anyhow::Result<Called> {
    let mut contracts = Contracts::default();
    let mut precompile = |number: u8, input: &[u8]| {
        let output = contracts.call(Address::with_last_byte(number), input.to_vec())?.output;
        output.ok().with_context(|| format!("precompile {number:#x}"))
    };
    let generator = point(&GENERATOR_X, &GENERATOR_Y);
    let scalar = |number: usize| B256::left_padding_from(&number.to_be_bytes());
    // Member i has the secret key i + 1.
    let keys = (1..=members).map(|secret| precompile(G1_MSM, &[&generator[..], scalar(secret).as_slice()].concat()));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?.concat();
    let message = keccak256("attestation");
    let input = |signature: &[u8]| [&keys[..], signature, message.as_slice()].concat();

    // The same program says what the message is hashed to.
    contracts.place(PROGRAM, hash_to_curve_only(members));
    let hashed = contracts.call(PROGRAM, input(&[0; G2]))?.output.ok().context("hash to G2")?;
    let secrets = scalar((1..=signers).sum());
    let signature = contracts.call(Address::with_last_byte(G2_MSM), [&hashed[..], secrets.as_slice()].concat())?;
    let signature = signature.output.ok().context("sign")?;

    contracts.place(PROGRAM, program(members, signers, keccak256(&keys)));
    let forged = contracts.call(PROGRAM, input(&hashed))?;
    ensure!(forged.output.is_err(), "another signature is taken: {forged:?}");
    let called = contracts.call(PROGRAM, input(&signature))?;
    ensure!(called.output.is_ok(), "{called:?}");
    Ok(called)
}

fn point(x: &[u8; 48], y: &[u8; 48]) -> [u8; G1] {
    let mut point = [0; G1];
    point[16..64].copy_from_slice(x);
    point[80..].copy_from_slice(y);
    point
}

/// Where things are in memory, after the calldata: keys, signature, message.
struct Layout {
    signature: usize,
    message: usize,
    /// 64 zeros, the message, its lengths and the suite.
    first: usize,
    /// A hash, a counter and the suite.
    further: usize,
    /// Lengths, a number of 64 bytes, the exponent 1 and the modulus.
    modexp: usize,
    b0: usize,
    /// Eight hashes.
    uniform: usize,
    /// Two elements of Fp2.
    elements: usize,
    /// What these are mapped to.
    mapped: usize,
    pairing: usize,
    end: usize,
}

impl Layout {
    fn new(members: usize) -> Self {
        let mut at = 0;
        let mut take = |bytes: usize| {
            at += bytes.next_multiple_of(32);
            at - bytes.next_multiple_of(32)
        };
        take(members * G1);
        Self {
            signature: take(G2),
            message: take(32),
            first: take(first_template().len()),
            further: take(further_template().len()),
            modexp: take(modexp_template().len()),
            b0: take(32),
            uniform: take(8 * 32),
            elements: take(4 * FIELD),
            mapped: take(2 * G2),
            pairing: take(2 * (G1 + G2)),
            end: take(0),
        }
    }
}

fn first_template() -> Vec<u8> {
    [&[0; 64 + 32][..], &[1, 0, 0], SUITE].concat()
}

fn further_template() -> Vec<u8> {
    [&[0; 32 + 1][..], SUITE].concat()
}

fn modexp_template() -> Vec<u8> {
    let length = |bytes: u8| B256::with_last_byte(bytes).0;
    [&length(64)[..], &length(1), &length(48), &[0; 64], &[1], &MODULUS].concat()
}

/// Instructions, and data behind them.
#[derive(Default)]
struct Assembler {
    code: Vec<u8>,
    /// Where in the code the offset of data has to be put, and the data.
    data: Vec<(usize, Vec<u8>)>,
    /// Where the address of the end that reverts has to be put.
    fails: Vec<usize>,
}

impl Assembler {
    fn op(&mut self, operation: u8) {
        self.code.push(operation);
    }

    fn push(&mut self, number: usize) {
        let bytes = number.to_be_bytes();
        let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..];
        self.code.push(0x5f + u8::try_from(bytes.len()).unwrap_or(8));
        self.code.extend_from_slice(bytes);
    }

    /// A number of two bytes that is known later.
    fn push_later(&mut self) -> usize {
        self.code.extend_from_slice(&[0x61, 0, 0]);
        self.code.len() - 2
    }

    fn copy_data(&mut self, to: usize, data: Vec<u8>) {
        self.push(data.len());
        let at = self.push_later();
        self.data.push((at, data));
        self.push(to);
        self.op(0x39); // CODECOPY
    }

    fn copy(&mut self, to: usize, from: usize, length: usize) {
        self.push(length);
        self.push(from);
        self.push(to);
        self.op(0x5e); // MCOPY
    }

    fn load(&mut self, from: usize) {
        self.push(from);
        self.op(0x51); // MLOAD
    }

    fn store(&mut self, to: usize) {
        self.push(to);
        self.op(0x52); // MSTORE
    }

    /// Reverts where the word on the stack is 0.
    fn require(&mut self) {
        self.op(0x15); // ISZERO
        let at = self.push_later();
        self.fails.push(at);
        self.op(0x57); // JUMPI
    }

    fn call(&mut self, precompile: u8, input: (usize, usize), output: (usize, usize)) {
        for number in [output.1, output.0, input.1, input.0, usize::from(precompile)] {
            self.push(number);
        }
        self.op(0x5a); // GAS
        self.op(0xfa); // STATICCALL
        self.require();
    }

    fn finish(mut self) -> Bytes {
        let put = |code: &mut Vec<u8>, at: usize, number: usize| {
            code[at..at + 2].copy_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
        };
        let revert = self.code.len();
        self.code.extend_from_slice(&[0x5b, 0x5f, 0x5f, 0xfd]); // JUMPDEST, and REVERT of nothing
        for at in self.fails {
            put(&mut self.code, at, revert);
        }
        for (at, data) in self.data {
            let begin = self.code.len();
            put(&mut self.code, at, begin);
            self.code.extend_from_slice(&data);
        }
        self.code.into()
    }
}

/// Copies the calldata to memory and hashes the message to G2, which is where `mapped` begins.
fn hash_to_curve(assembler: &mut Assembler, layout: &Layout) {
    assembler.op(0x36); // CALLDATASIZE
    assembler.push(0);
    assembler.push(0);
    assembler.op(0x37); // CALLDATACOPY
    assembler.copy_data(layout.first, first_template());
    assembler.copy_data(layout.further, further_template());
    assembler.copy_data(layout.modexp, modexp_template());
    // expand_message_xmd (RFC 9380, section 5.3.1).
    assembler.copy(layout.first + 64, layout.message, 32);
    assembler.call(SHA256, (layout.first, first_template().len()), (layout.b0, 32));
    for block in 0..8 {
        assembler.load(layout.b0);
        if block > 0 {
            assembler.load(layout.uniform + 32 * (block - 1));
            assembler.op(0x18); // XOR
        }
        assembler.store(layout.further);
        assembler.push(block + 1);
        assembler.push(layout.further + 32);
        assembler.op(0x53); // MSTORE8
        assembler.call(SHA256, (layout.further, further_template().len()), (layout.uniform + 32 * block, 32));
    }
    for element in 0..4 {
        assembler.copy(layout.modexp + 96, layout.uniform + 64 * element, 64);
        assembler.call(MODEXP, (layout.modexp, modexp_template().len()), (layout.elements + FIELD * element + 16, 48));
    }
    for half in 0..2 {
        assembler.call(MAP_TO_G2, (layout.elements + 2 * FIELD * half, 2 * FIELD), (layout.mapped + G2 * half, G2));
    }
    assembler.call(G2_ADD, (layout.mapped, 2 * G2), (layout.mapped, G2));
}

fn hash_to_curve_only(members: usize) -> Bytes {
    let (mut assembler, layout) = (Assembler::default(), Layout::new(members));
    hash_to_curve(&mut assembler, &layout);
    assembler.push(G2);
    assembler.push(layout.mapped);
    assembler.op(0xf3); // RETURN
    assembler.finish()
}

fn program(members: usize, signers: usize, committee: B256) -> Bytes {
    let (mut assembler, layout) = (Assembler::default(), Layout::new(members));
    hash_to_curve(&mut assembler, &layout);
    // The committee's hash costs what it costs to read it from storage, where it would be.
    assembler.push(0);
    assembler.op(0x54); // SLOAD
    assembler.op(0x50); // POP
    assembler.push(members * G1);
    assembler.push(0);
    assembler.op(0x20); // KECCAK256
    assembler.op(0x7f); // PUSH32
    assembler.code.extend_from_slice(committee.as_slice());
    assembler.op(0x14); // EQ
    assembler.require();
    // The sum of two neighbours takes the place of the second.
    for signer in 1..signers {
        assembler.call(G1_ADD, (G1 * (signer - 1), 2 * G1), (G1 * signer, G1));
    }
    // e(-G, signature) e(sum of keys, message) = 1.
    assembler.copy_data(layout.pairing, point(&GENERATOR_X, &OPPOSITE_Y).to_vec());
    assembler.copy(layout.pairing + G1, layout.signature, G2);
    assembler.copy(layout.pairing + G1 + G2, G1 * (signers - 1), G1);
    assembler.copy(layout.pairing + 2 * G1 + G2, layout.mapped, G2);
    assembler.call(PAIRING, (layout.pairing, 2 * (G1 + G2)), (layout.end, 32));
    assembler.load(layout.end);
    assembler.require();
    assembler.op(0x00); // STOP
    assembler.finish()
}
