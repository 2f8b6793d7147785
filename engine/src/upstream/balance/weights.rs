//! Endpoints of one part with their weights, in the form the balancer steps through.

use std::cmp::Reverse;

use super::Cursor;

/// Longest schedule of weighted turns; heavier sums are drawn at random instead.
const MAX_SCHEDULE: u64 = 4_096;

/// Endpoints that are balanced among themselves: those of one priority, rank and, if asked for, locality.
#[derive(Debug)]
pub(crate) struct Part {
    /// Index of the cursor's position for this part.
    pub number: u32,
    /// Indices into the set's endpoints.
    pub members: Box<[u32]>,
    pub weights: Weights,
}

#[derive(Debug)]
pub(crate) enum Weights {
    Equal,
    /// Members (by place in `members`) in smooth weighted turns: in one round each comes as often as its weight says.
    Schedule(Box<[u16]>),
    /// Running sums, for a draw by binary search.
    Sums(Box<[u64]>),
}

impl Part {
    /// `steps`: the balancer takes turns, so that a schedule is worth its memory.
    pub fn new(number: u32, members: Vec<u32>, weights: &[u32], steps: bool) -> Self {
        let weights = if weights.windows(2).all(|pair| pair.first() == pair.last()) {
            Weights::Equal
        } else {
            schedule(weights).filter(|_| steps).unwrap_or_else(|| Weights::Sums(sums(weights)))
        };
        Self { number, members: members.into(), weights }
    }

    /// A member's place, drawn by weight; `None` if there is no member.
    pub fn draw(&self, cursor: &mut Cursor) -> Option<usize> {
        match &self.weights {
            Weights::Equal if self.members.is_empty() => None,
            Weights::Equal => Some(cursor.below(self.members.len() as u64) as usize),
            Weights::Schedule(turns) => {
                turns.get(cursor.below(turns.len() as u64) as usize).map(|&place| usize::from(place))
            }
            Weights::Sums(sums) => {
                let point = cursor.below(*sums.last()?);
                Some(sums.partition_point(|&sum| sum <= point))
            }
        }
    }
}

fn sums(weights: &[u32]) -> Box<[u64]> {
    let mut sum = 0;
    weights
        .iter()
        .map(|&weight| {
            sum += u64::from(weight);
            sum
        })
        .collect()
}

fn gcd(mut left: u32, mut right: u32) -> u32 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// Smooth weighted turns: at each turn everyone gains its weight, who has most is chosen and pays the sum.
fn schedule(weights: &[u32]) -> Option<Weights> {
    let divisor = weights.iter().copied().reduce(gcd).filter(|&divisor| divisor > 0)?;
    let shares: Vec<i64> = weights.iter().map(|&weight| i64::from(weight / divisor)).collect();
    let sum: i64 = shares.iter().sum();
    let cost = (sum as u64).saturating_mul(shares.len() as u64);
    // The second bound keeps building a table within about a millisecond.
    if sum as u64 > MAX_SCHEDULE || shares.len() > usize::from(u16::MAX) || cost > 2_000_000 {
        return None;
    }
    let mut credit = vec![0_i64; shares.len()];
    let mut turns = Vec::with_capacity(sum as usize);
    for _ in 0..sum {
        for (credit, share) in credit.iter_mut().zip(&shares) {
            *credit += share;
        }
        // The first of those with most credit, so that a round looks the same everywhere.
        let best = credit.iter().enumerate().max_by_key(|&(place, &credit)| (credit, Reverse(place)))?.0;
        if let Some(credit) = credit.get_mut(best) {
            *credit -= sum;
        }
        turns.push(best as u16);
    }
    Some(Weights::Schedule(turns.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(weights: &[u32]) -> Vec<u32> {
        let Some(Weights::Schedule(turns)) = schedule(weights) else { panic!("no schedule for {weights:?}") };
        let mut counts = vec![0; weights.len()];
        for &turn in &turns {
            counts[usize::from(turn)] += 1;
        }
        counts
    }

    #[test]
    fn weighted_turns_are_spread_not_bunched() {
        let Some(Weights::Schedule(turns)) = schedule(&[50, 10, 10]) else { panic!() };
        assert_eq!(*turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn sums_too_long_for_turns_are_drawn() {
        assert!(schedule(&[100_000, 1]).is_none());
        let part = Part::new(0, vec![0, 1], &[100_000, 1], true);
        let mut cursor = Cursor::new(7);
        let light = (0..20_000).filter(|_| part.draw(&mut cursor) == Some(1)).count();
        assert!(light < 10, "{light}");
    }

    proptest! {
        #[test]
        fn a_round_gives_each_its_weight(weights in proptest::collection::vec(1u32..20, 1..12)) {
            let divisor = weights.iter().copied().reduce(gcd).unwrap();
            let shares: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
            prop_assert_eq!(counted(&weights), shares);
        }

        #[test]
        fn draws_follow_weights(weights in proptest::collection::vec(1u32..20, 1..6), seed: u64) {
            let part = Part::new(0, (0..weights.len() as u32).collect(), &weights, false);
            let mut cursor = Cursor::new(seed);
            let mut counts = vec![0_u32; weights.len()];
            for _ in 0..20_000 {
                counts[part.draw(&mut cursor).unwrap()] += 1;
            }
            let sum: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = 20_000.0 * f64::from(*weight) / f64::from(sum);
                prop_assert!((f64::from(*count) - expected).abs() < 6.0 * expected.sqrt() + 20.0);
            }
        }
    }
}
