use std::collections::BTreeMap;

/// Matters remembered. A statement of another one is refused unless its position is later than that of any that was forgotten.
const REMEMBERED: usize = 256;
/// Of a record: kind, subject, position, digest.
const RECORD_BYTES: usize = 2 + 32 + 8 + 32;

/// What a statement is about: its kind and subject.
pub(crate) type Matter = (u16, [u8; 32]);

/// What statements were signed: of each matter one value at a position, and none before the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatementGuard {
    /// No statement is signed at this position or before it, unless its matter is remembered.
    floor: u64,
    /// Bound: [`REMEMBERED`] matters of 74 bytes.
    signed: BTreeMap<Matter, (u64, [u8; 32])>,
}

impl StatementGuard {
    /// Reads what [`Self::encode`] wrote; none where it did not.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (floor, records) = bytes.split_first_chunk()?;
        let (records, []) = records.as_chunks::<RECORD_BYTES>() else { return None };
        let record = |record: &[u8; RECORD_BYTES]| {
            let (kind, rest) = record.split_first_chunk()?;
            let (subject, rest) = rest.split_first_chunk()?;
            let (position, digest) = rest.split_first_chunk()?;
            Some(((u16::from_be_bytes(*kind), *subject), (u64::from_be_bytes(*position), digest.try_into().ok()?)))
        };
        Some(Self { floor: u64::from_be_bytes(*floor), signed: records.iter().map(record).collect::<Option<_>>()? })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let record = |((kind, subject), (position, digest)): (&Matter, &(u64, [u8; 32]))| {
            [&kind.to_be_bytes(), subject.as_slice(), &position.to_be_bytes(), digest].concat()
        };
        self.floor.to_be_bytes().into_iter().chain(self.signed.iter().flat_map(record)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floor == 0 && self.signed.is_empty()
    }

    /// Whether a value may be signed at a position, which it then is. None is the answer to another value, or before the last position. Else it says
    /// whether that is new.
    pub(crate) fn sign(&mut self, matter: Matter, position: u64, digest: [u8; 32]) -> Option<bool> {
        match self.signed.get(&matter) {
            Some((last, known)) if *last == position => return (*known == digest).then_some(false),
            Some((last, _)) if position < *last => return None,
            None if position <= self.floor => return None,
            Some(_) | None => {}
        }
        self.signed.insert(matter, (position, digest));
        if self.signed.len() > REMEMBERED
            && let Some((oldest, position)) =
                self.signed.iter().map(|(matter, (position, _))| (*matter, *position)).min_by_key(|(_, at)| *at)
        {
            self.signed.remove(&oldest);
            self.floor = self.floor.max(position);
        }
        Some(true)
    }

    /// The stricter of both records of each matter.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        for (matter, (position, digest)) in other.signed {
            if self.signed.get(&matter).is_none_or(|(known, _)| *known < position) {
                self.signed.insert(matter, (position, digest));
            }
        }
        Self { floor: self.floor.max(other.floor), signed: self.signed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_at_each_position_and_none_before_the_last() {
        let (mut guard, matter) = (StatementGuard::default(), (1, [7; 32]));
        assert_eq!(guard.sign(matter, 5, [1; 32]), Some(true));
        assert_eq!(guard.sign(matter, 5, [1; 32]), Some(false), "the same again");
        assert_eq!(guard.sign(matter, 5, [2; 32]), None, "another value");
        assert_eq!(guard.sign(matter, 4, [1; 32]), None, "before the last");
        assert_eq!(guard.sign((2, [7; 32]), 4, [1; 32]), Some(true), "another matter");
        assert_eq!(guard.sign(matter, 6, [2; 32]), Some(true));
    }

    #[test]
    fn forgotten_matters_are_signed_at_later_positions_alone() {
        let mut guard = StatementGuard::default();
        let matter = |number: u64| (1, std::array::from_fn(|at| number.to_be_bytes()[at % 8]));
        for number in 1..=1_000 {
            assert_eq!(guard.sign(matter(number), number, [0; 32]), Some(true));
        }
        assert_eq!(guard.signed.len(), REMEMBERED);
        assert_eq!(guard.sign(matter(1), 744, [0; 32]), None);
        assert_eq!(guard.sign(matter(1), 745, [0; 32]), Some(true));
    }

    proptest! {
        #[test]
        fn nothing_is_signed_twice_whatever_is_merged(
            asked in prop::collection::vec((0_u8..3, 0_u64..6, 0_u8..2, any::<bool>()), 0..60),
        ) {
            let (mut guard, mut former) = (StatementGuard::default(), StatementGuard::default());
            let mut signed = BTreeMap::new();
            for (subject, position, value, moved) in asked {
                if moved {
                    former = StatementGuard::decode(&guard.encode()).expect("encoded").merge(former);
                    guard = former.clone();
                }
                if guard.sign((1, [subject; 32]), position, [value; 32]).is_some() {
                    prop_assert_eq!(*signed.entry((subject, position)).or_insert(value), value);
                }
            }
        }
    }
}
