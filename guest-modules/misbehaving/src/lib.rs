//! A consensus module for tests of the host. It does what its configuration names, which no consensus should do.
//!
//! Most behaviours repeat each time their timer runs out. Two never leave the host without work: `builds` asks for a
//! block whenever it gets a block or hears that none could be built, and `no-time` sets a timer of 0 ms whenever a
//! timer runs out.

use subnode_sdk::consensus::{Beginning, Consensus, Decision, Effect, Evidence, Input, Position, Validator, signing};

struct Misbehaving(String);

impl Misbehaving {
    fn misbehave(&self) -> Vec<Effect> {
        match self.0.as_str() {
            "trap" => panic!("as it was told"),
            "loop" => loop {
                std::hint::black_box(());
            },
            "memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; 1 << 20]);
                }
            }
            "effects" => vec![Effect::Build; 1_000_000],
            "log" => vec![Effect::AppendLog(vec![0; 250 << 10]); 100],
            "broadcast" => vec![Effect::Broadcast(vec![0; 1 << 20])],
            "evidence" => vec![Effect::Evidence(Evidence { member: vec![7; 1_000], proof: vec![7; 100_000] }); 256],
            "builds" => vec![Effect::Build],
            "no-time" => vec![Effect::SetTimer((1, 0))],
            "timers" => (0..256).map(|timer| Effect::SetTimer((timer, 1))).collect(),
            "nonsense" => vec![
                Effect::Decide(Decision { id: vec![1; 32], certificate: Vec::new() }),
                Effect::Share(vec![2; 5]),
                Effect::Share(vec![2; 32]),
                Effect::CancelTimer(u64::MAX),
            ],
            "sign-twice" => {
                let at = Position { height: 1, round: 0, step: 0 };
                let (one, again, other) = (signing::sign(at, b"one"), signing::sign(at, b"one"), signing::sign(at, b"other"));
                assert!(one.is_some() && one == again, "a signature is the same when it is asked for again");
                assert!(other.is_none(), "the host has signed two texts at one position");
                assert!(signing::sign(Position { height: 0, ..at }, b"one").is_none(), "the host has signed before what it signed");
                Vec::new()
            }
            // Decides nothing.
            _ => Vec::new(),
        }
    }
}

impl Consensus for Misbehaving {
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String> {
        Ok((Self(String::from_utf8_lossy(&beginning.config).into_owned()), vec![Effect::SetTimer((0, 100))]))
    }

    fn handle(&mut self, _now_ms: u64, input: Input) -> Vec<Effect> {
        match input {
            Input::Timer(_) => {
                let mut effects = self.misbehave();
                effects.truncate(if self.0 == "effects" { usize::MAX } else { 255 });
                effects.push(Effect::SetTimer((0, 100)));
                effects
            }
            Input::Built(_) | Input::BuildFailed if self.0 == "builds" => vec![Effect::Build],
            _ => Vec::new(),
        }
    }

    fn check(_: Vec<Validator>, _: u64, _: Vec<u8>, _: Vec<u8>) -> Result<(), String> {
        Err("it decides nothing".into())
    }
}

subnode_sdk::consensus!(Misbehaving);
