//! One of several by weight and a random number.

use crate::plan::PlanError;

/// Cumulated weights.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    /// For every entry the sum of weights up to and including it.
    sums: Box<[u64]>,
    total: u64,
}

impl Weights {
    pub fn compile(weights: impl Iterator<Item = u32>) -> Result<Self, PlanError> {
        let mut total = 0_u64;
        let sums: Box<[u64]> = weights
            .map(|weight| {
                total += u64::from(weight);
                total
            })
            .collect();
        if total == 0 || total > u64::from(u32::MAX) {
            return Err(PlanError::new("", "weights must add up to 1 or more, and to less than 2^32"));
        }
        Ok(Self { sums, total })
    }

    /// Index of the entry; entries of weight 0 are never picked.
    pub fn pick(&self, random: u64) -> usize {
        let point = random % self.total;
        self.sums.partition_point(|&sum| sum <= point)
    }
}

/// A second random number out of the first (splitmix64's finalizer): shares and weights must not depend on each other.
pub(super) fn another(random: u64) -> u64 {
    let mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn over_all_points_each_entry_gets_its_weight(weights in proptest::collection::vec(0u32..50, 1..8)) {
            let total: u32 = weights.iter().sum();
            let Ok(made) = Weights::compile(weights.iter().copied()) else {
                prop_assert_eq!(total, 0);
                return Ok(());
            };
            let mut counts = vec![0; weights.len()];
            for point in 0..total {
                counts[made.pick(point.into())] += 1;
            }
            prop_assert_eq!(counts, weights);
        }
    }

    #[test]
    fn the_second_number_does_not_follow_the_first() {
        let low = (0..1_000u64).filter(|&random| another(random) % 100 < 50).count();
        assert!((400..600).contains(&low), "{low}");
    }
}
