//! What nodes of a chain tell and ask each other about blocks and states, beside their consensus.

use serde::{Deserialize, Serialize};

use crate::Manifest;

/// Sent to all connected nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The height of the sender's head.
    Head(u64),
}

/// A question to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// About a block: answered by [`Whole`].
    Block(Asked),
    /// A part of a block: answered by its bytes.
    Part(Asked, u32),
    /// What it takes to believe the newest state that has a root: answered by a list of [`Link`](crate::Link)s after this height, in order. It has the blocks
    /// that changed who decides, up to the length of a frame; and last, if it is whole, the block of that state and the one that vouches for it.
    Links(u64),
    /// The state at a height: answered by its [`Outline`](crate::checkpoint::Outline).
    Outline(u64),
    /// The hashes of a group of its pieces, 32 bytes each.
    Group(u64, u32),
    /// A piece of it.
    Piece(u64, u64),
}

/// Which block is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Asked {
    /// One that is not decided, by its id.
    Candidate([u8; 32]),
    /// The one at a height.
    Decided(u64),
}

/// What there is to know of a block before its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// What its id stands for.
    pub manifest: Manifest,
    /// What shows that it was decided; empty for a candidate.
    pub certificate: Vec<u8>,
    /// Its first part: most blocks have no other.
    pub first: Vec<u8>,
}

/// Writes one of these.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing to memory what has lengths and no maps does not fail.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// Reads one; none where the bytes are none, or more follow.
#[must_use]
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// The transactions of a frame, which is a list of them, one after the other and without a copy: a frame of empty ones takes no more memory than
/// others. Ends with none where what follows is no transaction, or more follows.
pub fn transactions(frame: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let (mut left, mut rest) = match postcard::take_from_bytes::<u64>(frame) {
        Ok((count, rest)) => (count, Some(rest)),
        Err(_) => (1, None),
    };
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended || left == 0 && rest.is_some_and(<[u8]>::is_empty) {
            return None;
        }
        let next = rest.filter(|_| left > 0).and_then(|rest| postcard::take_from_bytes::<&[u8]>(rest).ok());
        ended = next.is_none();
        left = left.saturating_sub(1);
        rest = next.map(|(_, rest)| rest);
        Some(next.map(|(transaction, _)| transaction))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_round_trip() {
        let question = Question::Part(Asked::Decided(7), 3);
        assert_eq!(decode(&encode(&question)), Some(question));
        assert_eq!(decode::<Question>(&[encode(&question), vec![0]].concat()), None, "something follows");
        assert_eq!(decode(&encode(&Notice::Head(u64::MAX))), Some(Notice::Head(u64::MAX)));
        let manifest = Manifest::of(&[1; 100], [2; 32]).expect("short enough");
        let whole = Whole { manifest, certificate: vec![3], first: vec![1; 100] };
        assert_eq!(decode(&encode(&whole)), Some(whole));
    }

    #[test]
    fn transactions_come_one_by_one_and_what_is_none_ends_them() {
        let list: Vec<Vec<u8>> = vec![vec![1, 2], Vec::new(), vec![3; 200]];
        let frame = encode(&list);
        let read: Vec<_> = transactions(&frame).collect();
        assert_eq!(read, [Some(&[1, 2][..]), Some(&[]), Some(&[3; 200])]);
        assert_eq!(transactions(&encode(&Vec::<Vec<u8>>::new())).count(), 0);
        for broken in [&frame[..frame.len() - 1], &[&frame[..], &[0]].concat(), &[], &encode(&u64::MAX)] {
            let read: Vec<_> = transactions(broken).collect();
            assert_eq!(read.iter().position(Option::is_none), Some(read.len() - 1), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            if let Some(whole) = decode::<Whole>(&bytes) {
                prop_assert!(whole.certificate.len() + whole.first.len() + whole.manifest.parts() * 32 <= bytes.len());
            }
        }
    }
}
