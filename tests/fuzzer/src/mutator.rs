//! Makes inputs of samples.

/// Choices that a seed decides (splitmix64).
pub struct Random(u64);

impl Random {
    /// Of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One of the numbers below `bound`, and 0 where there are none.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// One of some things; none of none.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// Numbers at whose sides code takes another way.
const EDGES: [u64; 16] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX / 2,
    u64::MAX / 2 + 1,
    u64::MAX,
];

/// Bytes that a repeated piece may take: depth and length are what a short sample lacks.
const REPEATED_MAX: usize = 1 << 16;

/// An input: a sample that was changed in some places.
pub(crate) fn mutate(random: &mut Random, samples: &[Vec<u8>], words: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut input = random.one(samples).cloned().unwrap_or_default();
    for _ in 0..=random.below(6) {
        change(random, &mut input, samples, words, bytes_max);
    }
    input.truncate(bytes_max);
    input
}

/// A range of the input, a short one mostly.
fn range(random: &mut Random, input: &[u8]) -> std::ops::Range<usize> {
    let start = random.below(input.len());
    let longest = if random.below(4) == 0 { input.len() } else { 16 };
    let end = start + random.below(longest.min(input.len() - start) + 1);
    start..end
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: impl IntoIterator<Item = u8>) {
    drop(input.splice(at..at, bytes));
}

fn change(random: &mut Random, input: &mut Vec<u8>, samples: &[Vec<u8>], words: &[Vec<u8>], bytes_max: usize) {
    let at = random.below(input.len() + 1);
    let byte = |random: &mut Random| random.number().to_le_bytes()[0];
    match random.below(13) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = byte(random),
        2 => input.truncate(at),
        3 => drop(input.drain(range(random, input))),
        4 => {
            let some = byte(random);
            insert(input, at, [some]);
        }
        5 | 6 => {
            let word = random.one(words).cloned().unwrap_or_default();
            insert(input, at, word);
        }
        // In place of what is there.
        7 => {
            let word = random.one(words).cloned().unwrap_or_default();
            let end = input.len().min(at + word.len());
            drop(input.splice(at..end, word));
        }
        8 => {
            let edge = random.one(&EDGES).copied().unwrap_or_default();
            let bytes = if random.below(2) == 0 { edge.to_le_bytes() } else { edge.to_be_bytes() };
            let length = 1 << random.below(4);
            let bytes = if bytes[0] == 0 { &bytes[8 - length..] } else { &bytes[..length] };
            let end = input.len().min(at + length);
            drop(input.splice(at..end, bytes.iter().copied()));
        }
        // A number in digits.
        9 => {
            let edge = random.one(&EDGES).copied().unwrap_or_default();
            let end = at + input[at..].iter().take_while(|digit| digit.is_ascii_digit()).count();
            drop(input.splice(at..end, edge.to_string().into_bytes()));
        }
        // The same again, and again.
        10 => {
            let piece = input[range(random, input)].to_vec();
            let longest = REPEATED_MAX.min(bytes_max.saturating_sub(input.len()));
            let times = if random.below(8) == 0 { longest / piece.len().max(1) } else { random.below(8) };
            insert(input, at, piece.repeat(times.min(longest)));
        }
        // What another sample has.
        11 => {
            let other = random.one(samples).map(Vec::as_slice).unwrap_or_default();
            let piece = other[range(random, other)].to_vec();
            insert(input, at, piece);
        }
        _ => {
            for place in range(random, input) {
                input[place] = byte(random);
            }
        }
    }
}
