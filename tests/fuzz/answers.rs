//! Modules that answer with any value of their contract's types, and with memory that is none: the host takes the answer, or calls it the guest's
//! fault. Each export is called by itself, and by a chain that does what its modules ask for.

use std::{sync::Arc, time::Duration};

use subnode_chain::{Chain, ChainOptions, ChainParts, OpenError, Session, TimeSource};
use subnode_devnet::{Signers, default_options, module_cache_dir};
use subnode_fuzzer::{Fuzz, alone, kind, kind_of_message, peak_of_process};
use subnode_sandbox::{
    Attributes, Beginning, CallError, ConsensusGuest, HostFault, Input, Lent, Limits, Membership, Module, Occurrence, RuntimeGuest,
    Sandbox, SandboxOptions, Scanned, Signer, StateReader, Table, Tenant, Unavailable,
};
use subnode_scheduler::Cores;
use subnode_storage::{MemoryStore, Retention, Store};
use subnode_tests::module::{WIT, importing_module};
use subnode_types::{BlockRef, NodeId, Parts, Position, Sealing};
use tokio::time::timeout;
use wit_parser::{Resolve, Type, WorldItem};

use crate::{
    on_this_thread,
    values::{Choices, Values},
};

/// Where an answer lies in the guest's memory, and how much of that is the test's.
const BASE: usize = 1024;
const ANSWER_BYTES: usize = 60_000;
const LIMITS: Limits = Limits { memory_bytes: 16 << 20, fuel: 20_000_000, transfer_bytes: 1 << 20, wall: Duration::from_secs(10) };
/// Memory that an answer takes in the host: what it hands over, as many times as the shortest elements are longer here than there, and besides.
const MEMORY_MAX: usize = 8 * LIMITS.transfer_bytes + (1 << 20);
/// What a chain has not done until then is given up, as clients give it up.
const PATIENCE: Duration = Duration::from_millis(100);
/// The row that a block is built of.
const ROW: &[u8] = b"answer";

/// Copies an answer to where it belongs, and frees all that was lent.
const ANSWER: &str = r#"
    (func $answer (param $from i32) (param $bytes i32)
        (memory.fill (i32.const 1024) (i32.const 0) (i32.const 60000))
        (memory.copy (i32.const 1024) (local.get $from) (select (local.get $bytes) (i32.const 60000)
            (i32.lt_u (local.get $bytes) (i32.const 60000))))
        (global.set $next (i32.const 65536)))"#;
/// Answers with the row of the state.
const ANSWER_WITH_ROW: &str = r#"
    (data (i32.const 512) "answer")
    ;; A chain gives a seed of 32 bytes: its answer is in the state.
    (func $answer-build (param $seed i32) (param $bytes i32)
        (if (i32.eq (local.get $bytes) (i32.const 32)) (then (call $answer-with-row)) (else (call $answer (local.get $seed) (local.get $bytes)))))
    (func $answer-with-row
        (call $get (i32.const 0) (i32.const 512) (i32.const 6) (i32.const 528))
        (call $answer (i32.load (i32.const 532)) (i32.load (i32.const 536))))"#;
/// Answers with the next of the texts that the configuration has, each behind its length.
const ANSWER_WITH_NEXT: &str = r#"
    (global $at (mut i32) (i32.const 0))
    (global $end (mut i32) (i32.const 0))
    (func $begin (param $from i32) (param $bytes i32)
        (memory.copy (i32.const 2097152) (local.get $from) (local.get $bytes))
        (global.set $at (i32.const 2097152))
        (global.set $end (i32.add (i32.const 2097152) (local.get $bytes)))
        (call $answer-with-next))
    (func $answer-with-next (local $bytes i32)
        (if (i32.lt_u (i32.add (global.get $at) (i32.const 4)) (global.get $end))
            (then
                (local.set $bytes (i32.load (global.get $at)))
                (call $answer (i32.add (global.get $at) (i32.const 4)) (local.get $bytes))
                (global.set $at (i32.add (i32.add (global.get $at) (i32.const 4)) (local.get $bytes))))
            (else (call $answer (i32.const 0) (i32.const 0)))))"#;

/// The types of what the exports of a world answer with, by name, and values of these.
fn exports(world: &str) -> (Values, Vec<(String, Type)>) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(WIT).unwrap();
    let id = resolve.select_world(&[package], Some(world)).unwrap();
    let exports = resolve.worlds[id].exports.values();
    let answers = exports.filter_map(|item| match item {
        WorldItem::Function(function) => Some((function.name.clone(), function.result?)),
        _ => None,
    });
    let answers = answers.collect();
    (Values::new(resolve, BASE), answers)
}

/// A state of one row, in which there is nothing.
pub(crate) struct NoState;

impl StateReader for NoState {
    fn read(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<(), HostFault> {
        Ok(())
    }

    fn scan(&self, _: Table, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Scanned, HostFault> {
        Ok(Scanned::default())
    }

    fn seek(&mut self, _: u64) -> Result<Result<(), Unavailable>, HostFault> {
        Ok(Ok(()))
    }
}

struct NoVote;

impl Signer for NoVote {
    fn key(&self) -> Option<NodeId> {
        None
    }

    fn sign(&self, _: Position, _: &[u8]) -> Option<[u8; 64]> {
        None
    }

    fn verify(&self, _: NodeId, _: Position, _: &[u8], _: &[u8; 64]) -> bool {
        false
    }
}

fn runtime() -> Vec<u8> {
    let answer = |from: usize| format!("(call $answer (local.get {from}) (local.get {}))", from + 1);
    let first = "(if (local.get 5) (then (call $answer (i32.load (local.get 4)) (i32.load offset=4 (local.get 4)))))";
    let bodies = [
        ("genesis", &*answer(0)),
        ("admit", first),
        ("build", "(call $answer-build (local.get 5) (local.get 6))"),
        ("execute", &*answer(4)),
        ("query", &*answer(6)),
        ("notify", &*answer(4)),
    ];
    let get = r#"(import "subnode:chain/state@0.1.2" "get" (func $get (param i32 i32 i32 i32)))"#;
    importing_module("runtime", get, &bodies, &[ANSWER, ANSWER_WITH_ROW].concat()).unwrap()
}

/// A consensus that answers a message with it, or whatever it is told with the next text of its configuration.
fn consensus() -> Vec<u8> {
    // The first of the parameters of an input that are not its case are as wide as the widest of all inputs'.
    let message = "(if (i32.eq (local.get 1) (i32.const 7))
        (then (call $answer (i32.wrap_i64 (local.get 2)) (i32.wrap_i64 (local.get 3))))
        (else (call $answer-with-next)))";
    let bodies = [
        ("start", "(call $begin (local.get 0) (local.get 1))"),
        ("handle", message),
        ("check", "(call $answer (local.get 5) (local.get 6))"),
    ];
    importing_module("consensus", "", &bodies, &[ANSWER, ANSWER_WITH_NEXT].concat()).unwrap()
}

/// Modules that answer as they are told, and what their exports answer with.
struct Guests {
    sandbox: Sandbox,
    runtime: Module,
    consensus: Module,
    runtime_answers: (Values, Vec<(String, Type)>),
    consensus_answers: (Values, Vec<(String, Type)>),
}

impl Guests {
    fn new() -> Self {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: module_cache_dir() }).unwrap();
        let [runtime, consensus] = [runtime(), consensus()].map(|module| sandbox.load(&module).unwrap());
        Self { sandbox, runtime, consensus, runtime_answers: exports("runtime"), consensus_answers: exports("consensus") }
    }

    /// A chain of the runtime and this consensus, in memory.
    async fn chain(&self, consensus: Module, spec: Vec<u8>, consensus_config: Vec<u8>) -> Result<Chain, OpenError> {
        let name = "answering".parse().unwrap();
        let parts = ChainParts {
            tenant: tenant(256 << 20),
            runtime: self.runtime.clone(),
            consensus,
            store: MemoryStore::default().open(&name, Retention::Archive).unwrap(),
            spec: spec.into(),
            consensus_config,
            accounts: Arc::new(Signers::default()),
            network: None,
            vote_secret: None,
            attest_secret: None,
        };
        let defaults = default_options(Sealing::Manual, TimeSource::Wall);
        Box::pin(Chain::open(parts, ChainOptions { block: LIMITS, query: LIMITS, ..defaults })).await
    }

    /// An answer of an export, with some bytes of it flipped where the choices say so.
    fn answer(&self, name: &str, choices: &mut Choices<'_>) -> Vec<u8> {
        let all = [&self.runtime_answers, &self.consensus_answers];
        let known = all.iter().find_map(|(values, of)| of.iter().find(|(known, _)| known == name).map(|(_, of)| (values, of)));
        let (values, of) = known.unwrap();
        let mut answer = values.lay(of, choices);
        for _ in 0..choices.byte().saturating_sub(0xf0) {
            let at = usize::from(choices.byte()) % answer.len().max(1);
            if let Some(byte) = answer.get_mut(at) {
                *byte = choices.byte();
            }
        }
        answer.truncate(ANSWER_BYTES);
        answer
    }
}

fn tenant(memory_bytes: u64) -> Tenant {
    Tenant::new("answering".parse().unwrap(), &Cores::new(1), Parts::ONE, memory_bytes)
}

fn lent() -> Lent {
    Lent::of(NoState)
}

/// The kind of what a call came to: an answer, or a fault of the guest's. Nothing that a guest answers is the host's fault.
fn came<T>(answered: Result<T, CallError>) -> u64 {
    match answered {
        Ok(_) => 0,
        Err(CallError::Guest(fault)) => kind_of_message(&fault.to_string()),
        Err(CallError::Host(fault)) => panic!("the host's fault: {fault}"),
    }
}

/// Calls an export that answers with this.
async fn ask(guests: &Guests, export: &str, answer: &[u8]) -> u64 {
    let (tenant, head) = (tenant(64 << 20), BlockRef { height: 0, id: vec![7; 32], timestamp_ms: 0 });
    if guests.consensus_answers.1.iter().any(|(known, _)| known == export) {
        let guest = ConsensusGuest::new(&guests.consensus, &tenant, LIMITS, Membership { signer: Arc::new(NoVote), authors: None }).await;
        let mut guest = guest.unwrap().unwrap();
        let mut beginning = Beginning { config: Vec::new(), head, ready: 0, committee: Vec::new(), log: Vec::new(), kept: Vec::new() };
        return match export {
            "start" => {
                beginning.config = [&u32::try_from(answer.len()).unwrap().to_le_bytes(), answer].concat();
                came(guest.start(beginning).await)
            }
            "handle" => came(guest.handle(0, Input::Message(answer.to_vec())).await),
            _ => came(guest.check(&[], 1, &[7; 32], answer).await),
        };
    }
    let mut guest = RuntimeGuest::new(&guests.runtime, &tenant, LIMITS, &[]).await.unwrap().unwrap();
    match export {
        "genesis" => came(guest.genesis(answer, lent()).await),
        "admit" => came(guest.admit(&head, &[answer.to_vec()], lent()).await),
        "build" => came(guest.build(&head, &Attributes { timestamp_ms: 0, seed: answer.to_vec() }, lent()).await),
        "execute" => came(guest.execute(&head, answer, lent()).await),
        "query" => came(guest.query(&head, "method", answer, lent()).await),
        _ => came(guest.notify(&head, answer, &Occurrence::Block(1), lent()).await),
    }
}

#[test]
fn fuzzed_answers_are_taken_or_the_guests_fault() {
    let _alone = alone();
    let (runtime, guests) = (on_this_thread(), Guests::new());
    let names: Vec<_> = [&guests.runtime_answers, &guests.consensus_answers].iter().flat_map(|(_, of)| of).map(|(name, _)| name).collect();
    assert_eq!(names.len(), 9, "the exports of both worlds");
    let samples = (0..9).flat_map(|export| [vec![export], vec![export; 64], [&[export, 0][..], &[1; 300]].concat()]);
    Fuzz::new("answers", 4 << 10).samples(samples).run(|input| {
        let mut choices = Choices(input);
        let name = names[usize::from(choices.byte()) % names.len()];
        let answer = guests.answer(name, &mut choices);
        let (came, peak) = peak_of_process(|| runtime.block_on(ask(&guests, name, &answer)));
        assert!(peak <= MEMORY_MAX, "{name}: {peak} bytes of memory");
        kind((name, came))
    });
}

/// An answer to genesis that every chain begins with: of a block without a byte.
fn genesis() -> Vec<u8> {
    let mut answer = vec![0; 256];
    // The id: 32 bytes behind all else.
    answer[24..32].copy_from_slice(&[&u32::try_from(BASE + 200).unwrap().to_le_bytes()[..], &[32, 0, 0, 0]].concat());
    answer
}

/// A chain of these modules that answers clients, and what came of it.
async fn live(guests: &Guests, choices: &mut Choices<'_>) -> u64 {
    let hostile_consensus = choices.byte().is_multiple_of(3);
    let spec = if choices.byte().is_multiple_of(4) { guests.answer("genesis", choices) } else { genesis() };
    let (consensus, config) = if hostile_consensus {
        let texts = (0..choices.byte() % 8).map(|call| guests.answer(if call == 0 { "start" } else { "handle" }, choices));
        let framed = |text: Vec<u8>| [&u32::try_from(text.len()).unwrap().to_le_bytes(), &text[..]].concat();
        (guests.consensus.clone(), texts.flat_map(framed).collect())
    } else {
        (guests.sandbox.load(subnode_modules::SOLO).unwrap(), b"manual".to_vec())
    };
    let chain = match guests.chain(consensus, spec, config).await {
        Ok(chain) => chain,
        Err(error) => return kind_of_message(&error.to_string()),
    };
    let (session, mut notifications) = Session::new(4, 1 << 16);
    let mut came = Vec::new();
    for _ in 0..choices.byte() % 6 {
        let asked = match choices.byte() % 4 {
            // What the next block is, on the head that there is.
            0 => {
                let mut built = guests.answer("build", choices);
                if built.len() > 24 && built[0] == 0 && choices.byte() < 0xc0 {
                    built[16..24].copy_from_slice(&(chain.head().height + 1).to_le_bytes());
                }
                timeout(PATIENCE, chain.query("amend", &amended(&built), None)).await
            }
            1 => timeout(PATIENCE, chain.query("seal", &sealed(), None)).await,
            _ => {
                let answer = guests.answer("query", choices);
                timeout(PATIENCE, chain.query("method", &answer, Some(&session))).await
            }
        };
        match asked {
            Ok(Ok(_)) => came.push(0),
            Ok(Err(error)) => came.push(kind_of_message(&error.message)),
            // How long a machine takes is no kind: one seed would not give one sequence of inputs.
            Err(_) => {}
        }
        while notifications.try_recv().is_ok() {}
    }
    chain.stop().await;
    came.sort_unstable();
    came.dedup();
    kind((hostile_consensus, &came[..came.len().min(2)]))
}

/// An answer to a query without JSON: an action of this case and value. The case lies at 32, its value behind 40.
fn action(case: u8, value: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; 40];
    (answer[24], answer[32]) = (1, case);
    [&answer, value].concat()
}

/// The action that writes the row which blocks are built of.
fn amended(built: &[u8]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    // One change at 48, its key at 68, its value behind that.
    let list = [word(BASE + 48), word(1)].concat();
    let change = [word(BASE + 68), word(ROW.len()), word(1), word(BASE + 68 + ROW.len()), word(built.len())].concat();
    action(13, &[&list, &change, ROW, built].concat())
}

/// The action that seals two blocks.
fn sealed() -> Vec<u8> {
    action(7, &[&[2][..], &[0; 31]].concat())
}

/// A chain of these modules whose row is a block seals that, whatever chains there were before it in this sandbox.
async fn seals(guests: &Guests) {
    let solo = guests.sandbox.load(subnode_modules::SOLO).unwrap();
    let chain = guests.chain(solo, genesis(), b"manual".to_vec()).await.unwrap();
    let mut built = genesis();
    built[16] = 1;
    chain.query("amend", &amended(&built), None).await.unwrap();
    // The second block would be of the same height.
    let error = chain.query("seal", &sealed(), None).await.unwrap_err();
    assert!(
        error.message.contains("1 of 2 blocks were sealed: guest failed: out of bounds: a block of height 1 on 1"),
        "{}",
        error.message
    );
    assert_eq!(chain.head().height, 1);
    chain.stop().await;
}

#[test]
fn fuzzed_modules_run_a_chain_or_end_it() {
    let _alone = alone();
    let (runtime, guests) = (on_this_thread(), Guests::new());
    runtime.block_on(seals(&guests));
    let samples =
        (0..12_u8).flat_map(|byte| [vec![byte; 40], [&[1, 1, 5, 0, 0][..], &[byte; 60]].concat(), [&[0, 1, 7][..], &[byte; 60]].concat()]);
    Fuzz::new("chain", 4 << 10).samples(samples).run(|input| runtime.block_on(live(&guests, &mut Choices(input))));
    runtime.block_on(seals(&guests));
}

#[test]
fn a_chain_seals_the_block_that_its_row_says() {
    let _alone = alone();
    on_this_thread().block_on(seals(&Guests::new()));
}
