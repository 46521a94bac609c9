use serde::{Deserialize, Serialize};

/// How far ahead an upgrade may be declared.
const AHEAD_MAX: u64 = 1 << 20;

/// Which of a chain's two modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// What blocks mean.
    Runtime,
    /// Which block is next.
    Consensus,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Runtime, Self::Consensus];

    /// As people name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Consensus => "consensus",
        }
    }
}

/// A module that a chain goes over to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Which module it takes the place of.
    pub role: Role,
    /// The first block that it decides.
    pub height: u64,
    /// The SHA-256 of its component.
    pub sha256: [u8; 32],
    /// The component's size in bytes.
    pub size: u64,
}

impl Upgrade {
    /// Bytes of a statement's value that stands for it.
    pub const BYTES: usize = 1 + 8 + 32 + 8;

    /// Whether a block of a height may declare it.
    #[must_use]
    pub fn may_follow(&self, height: u64) -> bool {
        self.height > height && self.height - height <= AHEAD_MAX
    }

    /// The value of a statement that asks for it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&[self.role as u8], self.height.to_be_bytes().as_slice(), &self.sha256, &self.size.to_be_bytes()].concat()
    }

    /// Reads what [`Self::encode`] wrote; none where it did not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (role, rest) = bytes.split_first()?;
        let (height, rest) = rest.split_first_chunk()?;
        let (sha256, size) = rest.split_first_chunk()?;
        Some(Self {
            role: *Role::ALL.get(usize::from(*role))?,
            height: u64::from_be_bytes(*height),
            sha256: *sha256,
            size: u64::from_be_bytes(size.try_into().ok()?),
        })
    }

    /// What a statement that asks for it is about: its role.
    #[must_use]
    pub fn subject(role: Role) -> [u8; 32] {
        let mut subject = [0; 32];
        subject[31] = role as u8;
        subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_round_trips_and_is_of_a_later_height() {
        let upgrade = Upgrade { role: Role::Consensus, height: 100, sha256: [7; 32], size: 1_000 };
        let bytes = upgrade.encode();
        assert_eq!((bytes.len(), Upgrade::decode(&bytes)), (Upgrade::BYTES, Some(upgrade)));
        assert_eq!((Upgrade::decode(&bytes[1..]), Upgrade::decode(&[&bytes[..], &[0]].concat())), (None, None));
        let may = |height| upgrade.may_follow(height);
        assert!(may(99) && !may(100) && !Upgrade { height: u64::MAX, ..upgrade }.may_follow(99));
    }
}
