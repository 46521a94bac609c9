use rand::{Rng, SeedableRng, rngs::StdRng};
use subnode_chain::{CHECKPOINT_EVERY, FUTURE_MS_MAX, PATIENCE, Patience};
use subnode_sandbox::Module;

use crate::{Bad, Weather};

/// What a run's chain is made of. The runtime is `kv`, which the clients of a run write to.
#[derive(Clone)]
pub struct Modules {
    /// `kv`.
    pub runtime: Module,
    /// What is tried.
    pub consensus: Module,
}

/// What a run is like.
#[derive(Clone)]
pub struct Plan {
    /// The modules.
    pub modules: Modules,
    /// Powers of the members; without any, one node runs the chain by itself.
    pub powers: Vec<u64>,
    /// How bad the network is.
    pub weather: Weather,
    /// Of a thousand moments in which something could happen to a node.
    pub crashes: u32,
    /// The same for the network to fall apart.
    pub partitions: u32,
    /// The same for a slice of storage to fill: that of one node, or of all.
    pub fills: u32,
    /// Heights between states that others can catch up by.
    pub checkpoint_every: u64,
    /// How long a write takes at most.
    pub disk_ms: u64,
    /// How far clocks are apart.
    pub skew_ms: u64,
    /// How far ahead of its clock a node takes a block.
    pub future_ms_max: u64,
    /// The consensus module's configuration.
    pub config: &'static str,
    /// For how long a member must not be heard before others state that it is silent.
    pub patience: Patience,
    /// A consensus module that the chain goes over to.
    pub next_consensus: Option<Module>,
    /// Whether members state what they saw outside of the chain, for blocks to note.
    pub facts: bool,
    /// How the first member breaks the rules.
    pub bad: Option<Bad>,
    /// Whether the last member comes only when that is over.
    pub late: bool,
    /// How long all of that lasts, in simulated milliseconds.
    pub troubled_ms: u64,
}

impl Plan {
    /// The plan of a seed: 1 to 7 members in some weather, that crash or are cut off from each other.
    #[must_use]
    pub fn of(seed: u64, modules: Modules) -> Self {
        /// Some blocks, some crashes.
        const TROUBLED_MS: u64 = 8_000;
        let mut random = StdRng::seed_from_u64(seed);
        let members = random.random_range(1..=7);
        let slow = random.random_bool(0.3);
        let one_of = |random: &mut StdRng, choices: [u32; 3]| choices[random.random_range(0..3)];
        let (lost, doubled) = (one_of(&mut random, [0, 10, 100]), one_of(&mut random, [0, 20, 200]));
        let (crashes, partitions) = (one_of(&mut random, [0, 30, 150]), one_of(&mut random, [0, 50, 150]));
        let (disk_ms, skew_ms) = (one_of(&mut random, [0, 2, 80]).into(), one_of(&mut random, [0, 500, 10_000]).into());
        let config =
            ["interval 200 timeout 600", "instant timeout 600", "interval 1000 timeout 900"][one_of(&mut random, [0, 1, 2]) as usize];
        let late = members >= 4 && random.random_bool(0.3);
        let powers = (0..members).map(|_| if random.random_bool(0.7) { 1 } else { random.random_range(1..=4) }).collect();
        Self {
            modules,
            powers,
            fills: one_of(&mut random, [0, 20, 80]),
            weather: Weather { latency_ms: if slow { (5, 300) } else { (1, 40) }, lost, doubled },
            crashes,
            partitions,
            // So often that some nodes of a run are left further behind.
            checkpoint_every: 4,
            disk_ms,
            skew_ms,
            future_ms_max: FUTURE_MS_MAX,
            config,
            patience: PATIENCE,
            next_consensus: None,
            facts: members > 1,
            bad: None,
            late,
            // For so long that whoever comes late is far behind.
            troubled_ms: if late { 2 * TROUBLED_MS } else { TROUBLED_MS },
        }
    }

    /// The plan of a seed with a bad member, which has less than a third of the power.
    #[must_use]
    pub fn beside(bad: Bad, seed: u64, modules: Modules) -> Self {
        Self { powers: vec![1; 4 + usize::from(seed.is_multiple_of(2)) * 3], bad: Some(bad), ..Self::of(seed, modules) }
    }

    /// Members that are there, on a network that is well.
    #[must_use]
    pub fn calm(members: usize, modules: Modules) -> Self {
        Self {
            powers: vec![1; members],
            weather: Weather { latency_ms: (1, 20), lost: 0, doubled: 0 },
            crashes: 0,
            partitions: 0,
            fills: 0,
            checkpoint_every: CHECKPOINT_EVERY,
            disk_ms: 0,
            skew_ms: 0,
            late: false,
            facts: false,
            config: "interval 200 timeout 600",
            ..Self::of(0, modules)
        }
    }
}
