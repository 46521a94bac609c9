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
//! which file has the input. An input that does not end within [`ABORTED_AFTER`] ends the process, once a file has it.
//!
//! [`peak_of`] measures the memory of one thread, [`peak_of_process`] that of all. Panics and the memory of all threads are the process's, and
//! tests run in parallel: runs take turns, and a test beside them that panics on purpose or allocates much takes its turn with [`alone`].
//!
//! Not here: the targets. They stand beside what they try where that is private to its crate, else in `tests/fuzz`.

mod alone;
mod meter;
mod mutator;
mod watch;

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

pub use alone::{Alone, alone};
pub use meter::{peak_of, peak_of_process};
pub use mutator::Random;
use mutator::mutate;
use watch::Watch;

/// No input of a few kilobytes takes as long, however busy the machine is.
pub const INPUT_WITHIN: Duration = Duration::from_secs(20);

/// An input that runs for so long does not end: the process does. A machine that stands still for a while is given [`INPUT_WITHIN`] thrice.
pub const ABORTED_AFTER: Duration = Duration::from_secs(60);

/// How long a target runs unless `SUBNODE_FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 2;
/// The most found inputs that are kept as samples, and their bytes together. Each mutation picks one sample, all with the same chance: a run of
/// some seconds mutates each of 4,096 a few times, and of more hardly any. The bytes bound the memory of targets with long inputs.
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
        let _alone = alone();
        count_panics();
        let name = self.name;
        let watch = Watch::start(ABORTED_AFTER, move |input| {
            eprintln!("{name}: {} bytes do not end within {ABORTED_AFTER:?}; they are in {}", input.len(), write(name, input));
            std::process::abort();
        });
        let seed = number("SUBNODE_FUZZ_SEED", 1);
        let until = Instant::now() + Duration::from_secs(number("SUBNODE_FUZZ_SECONDS", SECONDS));
        let mut random = Random::new(seed ^ kind(self.name));
        let mut kinds = HashSet::new();
        let (mut inputs, mut found, mut found_bytes) = (0_u64, 0, 0);
        for sample in self.corpus().into_iter().chain(self.samples.clone()) {
            kinds.insert(self.one(&sample, &watch, &mut target));
            inputs += 1;
        }
        while Instant::now() < until {
            let input = mutate(&mut random, &self.samples, &self.words, self.bytes_max);
            let kind = self.one(&input, &watch, &mut target);
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

    fn one(&self, input: &[u8], watch: &Watch, target: &mut impl FnMut(&[u8]) -> u64) -> u64 {
        let (before, began) = (PANICS.load(Ordering::SeqCst), Instant::now());
        watch.begin(input);
        let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
        watch.end();
        let took = began.elapsed();
        let why = match ended {
            Ok(_) if PANICS.load(Ordering::SeqCst) != before => "a thread panicked meanwhile",
            Ok(_) if took >= INPUT_WITHIN => "it took too long",
            Ok(kind) => return kind,
            Err(_) => "the target panicked",
        };
        panic!("{}: {} bytes fail after {took:?} ({why}); they are in {}", self.name, input.len(), write(self.name, input));
    }
}

/// Writes an input that failed: where it is.
fn write(name: &str, input: &[u8]) -> String {
    let path = std::env::temp_dir().join(format!("subnode-fuzz-{name}-{:016x}", kind(input)));
    match std::fs::write(&path, input) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("no file ({error}): {input:02x?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of a run that fails, and the input in the file that it names.
    fn failed(fuzz: Fuzz, target: impl FnMut(&[u8]) -> u64) -> (String, Vec<u8>) {
        let failed = catch_unwind(AssertUnwindSafe(|| fuzz.run(target)));
        let message = *failed.expect_err("it fails").downcast::<String>().expect("a text");
        let file = message.rsplit("they are in ").next().expect("a file");
        let input = std::fs::read(file).expect("is there");
        std::fs::remove_file(file).expect("is removed");
        (message, input)
    }

    // All panics on purpose are in this test: one in another test would count as one of whatever runs here.
    #[test]
    fn what_fails_is_reached_and_written_where_a_thread_swallows_its_panic_too() {
        // Byte by byte: no single mutation of the sample comes so far.
        let steps = |input: &[u8]| input.iter().zip(b"deep").take_while(|(one, other)| one == other).count();
        let (message, input) = failed(Fuzz::new("steps", 8).samples([*b"    "]).words(["d", "e", "p"]), |input| {
            assert!(steps(input) < 4, "found");
            steps(input) as u64
        });
        assert!(message.contains("the target panicked") && steps(&input) == 4, "{message}");

        let (message, input) = failed(Fuzz::new("swallowed", 8).samples(["four"]), |input| {
            let bad = input.len() > 3;
            drop(std::thread::spawn(move || assert!(!bad, "in a thread of its own")).join());
            0
        });
        assert!(message.contains("a thread panicked meanwhile") && input.len() > 3, "{message}");
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
