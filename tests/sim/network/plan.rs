//! The plan of a run, by its seed.

use std::time::Duration;

use rand::{
    Rng, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use subnode_network::Purpose;

use super::{
    attacks::{Attack, Misdeed},
    datagrams::Weather,
};

/// Members of a large run, and strangers.
pub(super) const MEMBERS_MAX: usize = 16;
pub(super) const STRANGERS_MAX: usize = 64;

/// What a run is like.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub members: usize,
    /// The members of each chain.
    pub chains: Vec<Vec<usize>>,
    pub weather: Weather,
    /// Bytes per second of a chain, and of a member's and a stranger's link.
    pub slice: u64,
    pub member_link: u64,
    pub stranger_link: u64,
    /// Strangers, by what they do.
    pub strangers: Vec<Attack>,
    /// How many members the strangers attack.
    pub victims: usize,
    /// Members that break the rules, the last ones.
    pub misdeeds: Vec<Misdeed>,
    /// How many members are cut off from the others, and for how long.
    pub island: Option<(usize, Duration)>,
    /// How long the attack lasts, beside that.
    pub attacked: Duration,
}

impl Plan {
    /// The plan of a seed. One of sixteen is of the greatest size.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x9e70);
        let large = seed.is_multiple_of(16);
        let members = if large { MEMBERS_MAX } else { random.random_range(4..=7) };
        let strangers = if large { STRANGERS_MAX } else { random.random_range(4..=16) };
        // All do the same, or each something else.
        let same = *Attack::ALL.choose(&mut random).unwrap();
        let alike = random.random_bool(0.5);
        let strangers = (0..strangers).map(|_| if alike { same } else { *Attack::ALL.choose(&mut random).unwrap() }).collect();
        let bad = if random.random_bool(0.5) { random.random_range(1..=(members - 1) / 3) } else { 0 };
        let misdeeds = (0..bad).map(|_| *Misdeed::ALL.choose(&mut random).unwrap()).collect();
        let mut others: Vec<_> = (0..members).collect();
        others.shuffle(&mut random);
        let chains = vec![(0..members).collect(), others[..members.div_ceil(2)].to_vec(), others[members / 2..].to_vec()];
        let island = random.random_bool(0.25).then(|| {
            let seconds = [4, 14, 20].choose(&mut random).copied().unwrap();
            (random.random_range(1..=members / 2), Duration::from_secs(seconds))
        });
        let lossy = random.random_bool(0.4);
        let weather = Weather {
            latency_ms: *[(1, 3), (2, 40), (20, 90)].choose(&mut random).unwrap(),
            lost: if lossy { random.random_range(1..=30) } else { 0 },
            doubled: if lossy { random.random_range(0..=30) } else { 0 },
            bytes_max: *[1_452, 8_972].choose(&mut random).unwrap(),
        };
        Self {
            members,
            chains,
            weather,
            slice: 400_000,
            member_link: 12_500_000,
            stranger_link: 100_000,
            strangers,
            victims: if large { 4 } else { 2 },
            misdeeds,
            island,
            attacked: Duration::from_secs(5),
        }
    }

    /// The same without anybody who attacks.
    pub(crate) fn calm(seed: u64) -> Self {
        Self { strangers: Vec::new(), misdeeds: Vec::new(), island: None, ..Self::of(seed) }
    }

    /// Few members of chains with small slices in good weather, and strangers that all do the same.
    pub(crate) fn against(seed: u64, attack: Attack, strangers: usize) -> Self {
        let weather = Weather { latency_ms: (2, 40), lost: 0, doubled: 0, bytes_max: 1_452 };
        Self {
            members: 4,
            chains: vec![(0..4).collect(), (0..2).collect(), (2..4).collect()],
            weather,
            slice: 100_000,
            strangers: vec![attack; strangers],
            victims: 2,
            misdeeds: Vec::new(),
            island: None,
            ..Self::of(seed)
        }
    }

    /// Few members in good weather, of which one does this.
    pub(crate) fn beside(seed: u64, misdeed: Misdeed) -> Self {
        Self { misdeeds: vec![misdeed], strangers: Vec::new(), slice: 400_000, ..Self::against(seed, Attack::Frames(Purpose::Blocks), 0) }
    }

    /// The same with a time in which one member that is attacked is cut off, for longer than a connection lives in
    /// silence.
    #[allow(dead_code, reason = "the program of the countermeasures runs it")]
    pub(crate) fn cut(self) -> Self {
        Self { island: Some((1, Duration::from_secs(14))), ..self }
    }

    /// By the name of an attack or a misdeed; `cut` before it, or alone.
    #[allow(dead_code, reason = "the program of the countermeasures runs it")]
    pub(crate) fn named(name: &str, seed: u64) -> Option<Self> {
        let (cut, name) = name.strip_prefix("cut").map_or((false, name), |rest| (true, rest.trim()));
        let attack = Attack::ALL.into_iter().find(|attack| format!("{attack:?}") == name);
        let misdeed = Misdeed::ALL.into_iter().find(|misdeed| format!("{misdeed:?}") == name);
        let plan = match (attack, misdeed) {
            // So many hosts that nearly every place that comes free is taken at once.
            (Some(Attack::HalfOpen), _) => Self::against(seed, Attack::HalfOpen, 48),
            (Some(attack), _) => Self::against(seed, attack, 16),
            (None, Some(misdeed)) => Self::beside(seed, misdeed),
            (None, None) if name.is_empty() => Self::against(seed, Attack::Silent, 0),
            (None, None) => return None,
        };
        Some(if cut { plan.cut() } else { plan })
    }

    pub(crate) fn honest(&self) -> usize {
        self.members - self.misdeeds.len()
    }
}
