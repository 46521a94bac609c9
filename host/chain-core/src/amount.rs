/// A number of 256 bits, as what a transaction may cost.
pub type Amount = ruint::aliases::U256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_carry_over_the_halves_and_stop_at_the_ends() {
        let (one, low) = (Amount::from(1), Amount::from(u128::MAX));
        let carried = low.saturating_add(one);
        assert!(carried > low);
        assert_eq!(carried.to_be_bytes::<32>()[15], 1);
        assert_eq!(carried.saturating_sub(one), low);
        assert_eq!(Amount::MAX.saturating_add(one), Amount::MAX);
        assert_eq!(one.saturating_sub(carried), Amount::default());
        assert_eq!(Amount::from_be_bytes(carried.to_be_bytes::<32>()), carried);
    }
}
