//! Runs code that takes foreign bytes on inputs that nobody thought of.
//!
//! A *target* takes bytes, asserts what must hold whatever they are, and returns the *kind* of what they came to: a number that stands for a
//! branch (which error, how many parts). [`Fuzz`] mutates samples, and takes an input whose kind it has not seen into its samples. So it reaches
//! the branches behind others without an instrumented compiler, on the stable one that builds the host.
//!
//! | variable | what it sets | default |
//! |---|---|---|
//! | `SUBNODE_FUZZ_SECONDS` | how long each target runs | 2 |
//! | `SUBNODE_FUZZ_SEED` | the seed of all choices | 1 |
//!
//! One seed gives one sequence of inputs, and the time says how far it goes. Files in `tests/fuzzer/corpus/TARGET` are run before all else, each as
//! it is; an input that failed belongs there with the mend of what it found.
//!
//! A run fails where the target panics, where any other thread does meanwhile, or where an input takes longer than [`INPUT_WITHIN`]. It then says
//! which file has the input. [`peak_of`] measures memory.
//!
//! Not here: the targets. They stand beside what they try where that is private to its crate, else in `tests/fuzz`.

mod meter;
mod mutator;

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

pub use meter::peak_of;
pub use mutator::Random;
use mutator::mutate;

/// No input of a few kilobytes takes as long, however busy the machine is.
pub const INPUT_WITHIN: Duration = Duration::from_secs(20);

/// How long a target runs unless `SUBNODE_FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 2;
/// Samples that are kept of those that were found, and their bytes together.
const FOUND_MAX: usize = 4_096;
const FOUND_BYTES_MAX: usize = 64 << 20;

/// A number of the environment.
fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is no number")),
        Err(_) => otherwise,
    }
}

/// Panics of all threads since the first target of this process began.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics, those that a task's runtime catches too.
fn count_panics() {
    static COUNTING: Once = Once::new();
    COUNTING.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

/// The kind of anything that tells two branches apart.
#[must_use]
pub fn kind(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The kind of a message, whatever numbers and quoted texts it has.
#[must_use]
pub fn kind_of_message(message: &str) -> u64 {
    let mut quoted = false;
    let rest: String = message
        .chars()
        .take(200)
        .filter(|letter| {
            quoted ^= matches!(letter, '`' | '"');
            !quoted && letter.is_alphabetic()
        })
        .collect();
    kind(rest)
}

/// A target's samples, and what its inputs are made of.
pub struct Fuzz {
    name: &'static str,
    samples: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    bytes_max: usize,
}

impl Fuzz {
    /// Of a target of this name, with inputs of so many bytes at most, but for samples that are longer.
    #[must_use]
    pub fn new(name: &'static str, bytes_max: usize) -> Self {
        Self { name, samples: vec![Vec::new()], words: Vec::new(), bytes_max }
    }

    /// Inputs to begin from.
    #[must_use]
    pub fn samples(mut self, samples: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.samples.extend(samples.into_iter().map(Into::into));
        self
    }

    /// What inputs are strewn with: names and marks of the format.
    #[must_use]
    pub fn words(mut self, words: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// Runs the target on the files of its corpus, on its samples, and on mutations of these and of what it finds.
    ///
    /// # Panics
    /// Where an input fails: the message names a file that has it.
    pub fn run(mut self, mut target: impl FnMut(&[u8]) -> u64) {
        count_panics();
        let seed = number("SUBNODE_FUZZ_SEED", 1);
        let until = Instant::now() + Duration::from_secs(number("SUBNODE_FUZZ_SECONDS", SECONDS));
        let mut random = Random::new(seed ^ kind(self.name));
        let mut kinds = HashSet::new();
        let (mut inputs, mut found, mut found_bytes) = (0_u64, 0, 0);
        for sample in self.corpus().into_iter().chain(self.samples.clone()) {
            kinds.insert(self.one(&sample, &mut target));
            inputs += 1;
        }
        while Instant::now() < until {
            let input = mutate(&mut random, &self.samples, &self.words, self.bytes_max);
            let kind = self.one(&input, &mut target);
            inputs += 1;
            if kinds.insert(kind) && found < FOUND_MAX && found_bytes < FOUND_BYTES_MAX {
                (found, found_bytes) = (found + 1, found_bytes + input.len());
                self.samples.push(input);
            }
        }
        println!("{}: {inputs} inputs of {} kinds, seed {seed}", self.name, kinds.len());
    }

    /// Inputs that failed once.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).collect()
    }

    fn one(&self, input: &[u8], target: &mut impl FnMut(&[u8]) -> u64) -> u64 {
        let (before, began) = (PANICS.load(Ordering::SeqCst), Instant::now());
        let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
        let took = began.elapsed();
        match ended {
            Ok(kind) if PANICS.load(Ordering::SeqCst) == before && took < INPUT_WITHIN => kind,
            _ => panic!("{}: {} bytes fail after {took:?}; they are in {}", self.name, input.len(), self.write(input)),
        }
    }

    /// Writes an input that failed: where it is.
    fn write(&self, input: &[u8]) -> String {
        let path = std::env::temp_dir().join(format!("subnode-fuzz-{}-{:016x}", self.name, kind(input)));
        match std::fs::write(&path, input) {
            Ok(()) => path.display().to_string(),
            Err(error) => format!("no file ({error}): {input:02x?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_behind_others_are_reached_and_what_fails_there_is_written() {
        // Byte by byte: no single mutation of the sample comes so far.
        let steps = |input: &[u8]| input.iter().zip(b"deep").take_while(|(one, other)| one == other).count();
        let fuzz = || Fuzz::new("steps", 8).samples([*b"    "]).words(["d", "e", "p"]);
        let failed = catch_unwind(|| {
            fuzz().run(|input| {
                assert!(steps(input) < 4, "found");
                steps(input) as u64
            });
        });
        let message = failed.expect_err("it is found").downcast::<String>().expect("a text");
        let file = message.rsplit("they are in ").next().expect("a file");
        assert_eq!(steps(&std::fs::read(file).expect("is there")), 4, "{message}");
        std::fs::remove_file(file).expect("is removed");
    }

    #[test]
    fn a_panic_that_a_thread_swallows_fails_the_input_too() {
        let swallowed = |input: &[u8]| {
            let bad = input.len() > 3;
            drop(std::thread::spawn(move || assert!(!bad, "in a thread of its own")).join());
            0
        };
        let failed = catch_unwind(|| Fuzz::new("swallowed", 8).samples(["four"]).run(swallowed));
        let message = failed.expect_err("it is noticed").downcast::<String>().expect("a text");
        std::fs::remove_file(message.rsplit("they are in ").next().expect("a file")).expect("is removed");
    }

    #[test]
    fn one_seed_gives_one_sequence_of_inputs() {
        let some = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| mutate(&mut random, &[b"a sample".to_vec()], &[b"word".to_vec()], 64)).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(3).iter().all(|input| input.len() <= 64));
    }
}
