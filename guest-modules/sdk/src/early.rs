//! Messages of the next height, which members who are there already send to those who are not.

use std::collections::BTreeMap;

use crate::committee::Key;

/// Messages of one member that are kept: what it says in one round, and some that follow.
const MESSAGES_MAX: usize = 8;
/// Bytes of them: a proposal brings signatures of a committee along.
const BYTES_MAX: usize = 64 << 10;

/// What members said of the next height. Each has room of its own, so that none takes another's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Early(BTreeMap<Key, Vec<Vec<u8>>>);

impl Early {
    /// Whether a message would be kept: it is not yet, and its member has room left. Asking costs less than the check of
    /// the signature, which the caller does then.
    #[must_use]
    pub fn would_keep(&self, member: &Key, message: &[u8]) -> bool {
        let kept = self.0.get(member).map_or(&[][..], Vec::as_slice);
        let bytes: usize = kept.iter().map(Vec::len).sum();
        kept.len() < MESSAGES_MAX && bytes.saturating_add(message.len()) <= BYTES_MAX && !kept.iter().any(|known| known == message)
    }

    /// Keeps a message, unless its member has no room left; members say everything again. The caller knows that a
    /// member of the committee has signed it.
    pub fn keep(&mut self, member: Key, message: Vec<u8>) {
        if self.would_keep(&member, &message) {
            self.0.entry(member).or_default().push(message);
        }
    }

    /// Takes all, the next height having begun.
    pub fn take(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        std::mem::take(&mut self.0).into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_takes_anothers_room() {
        let mut early = Early::default();
        for number in 0..1_000_u32 {
            early.keep([1; 32], number.to_be_bytes().to_vec());
            early.keep([2; 32], vec![0; 40 << 10]);
        }
        early.keep([2; 32], vec![1; 40 << 10]);
        early.keep([3; 32], vec![7]);
        let kept: Vec<_> = early.take().collect();
        assert_eq!(kept.len(), MESSAGES_MAX + 2);
        assert!(kept.contains(&vec![7]) && kept.iter().map(Vec::len).sum::<usize>() <= 3 * BYTES_MAX);
        assert_eq!(early, Early::default());
    }
}
