/// A number of 256 bits, as what a transaction may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    // Compared first.
    high: u128,
    low: u128,
}

impl Amount {
    /// The largest.
    pub const MAX: Self = Self { high: u128::MAX, low: u128::MAX };

    /// The number that these bytes are, the most significant first.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        let half = |at: usize| u128::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self { high: half(0), low: half(16) }
    }

    /// Its bytes, the most significant first.
    pub fn to_be_bytes(self) -> [u8; 32] {
        let (high, low) = (self.high.to_be_bytes(), self.low.to_be_bytes());
        std::array::from_fn(|i| if i < 16 { high[i] } else { low[i - 16] })
    }

    /// The sum, or the largest number there is.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high).and_then(|high| high.checked_add(u128::from(carry)));
        high.map_or(Self::MAX, |high| Self { high, low })
    }

    /// The difference, or nothing.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let high = self.high.checked_sub(other.high).and_then(|high| high.checked_sub(u128::from(borrow)));
        high.map_or(Self::default(), |high| Self { high, low })
    }
}

impl From<u128> for Amount {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry_over_the_halves_and_stop_at_the_ends() {
        let (one, low) = (Amount::from(1), Amount::from(u128::MAX));
        let carried = low.saturating_add(one);
        assert!(carried > low);
        assert_eq!(carried.to_be_bytes()[15], 1);
        assert_eq!(carried.saturating_sub(one), low);
        assert_eq!(Amount::MAX.saturating_add(one), Amount::MAX);
        assert_eq!(one.saturating_sub(carried), Amount::default());
        assert_eq!(Amount::from_be_bytes(carried.to_be_bytes()), carried);
    }
}
