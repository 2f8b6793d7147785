//! Of a few drawn at random, the one with fewest requests under way for its weight (power of two choices).

use std::sync::Arc;

use super::Cursor;
use super::weights::Part;
use crate::upstream::endpoint::Endpoint;

/// More draws than this cost more than they balance.
const MAX_CHOICES: u32 = 16;

pub(super) fn pick(
    part: &Part,
    choices: u32,
    cursor: &mut Cursor,
    endpoints: &[Arc<Endpoint>],
) -> Option<u32> {
    if let [only] = *part.members {
        return Some(only);
    }
    let mut best: Option<(u32, u64, u64)> = None;
    for _ in 0..choices.clamp(1, MAX_CHOICES) {
        let index = part.members.get(part.draw(cursor)?).copied()?;
        let endpoint = endpoints.get(index as usize)?;
        let (active, weight) = (u64::from(endpoint.active_requests()), u64::from(endpoint.weight()));
        // active / weight, compared without division.
        let better = best.is_none_or(|(_, least, of)| active * of < least * weight);
        if better {
            best = Some((index, active, weight));
        }
    }
    best.map(|(index, _, _)| index)
}
