//! In turn, by weight; each worker starts somewhere else.

use super::Cursor;
use super::weights::{Part, Weights};

pub(super) fn pick(part: &Part, cursor: &mut Cursor) -> Option<u32> {
    let place = match &part.weights {
        Weights::Equal => turn(part, cursor, part.members.len())?,
        Weights::Schedule(turns) => {
            turns.get(turn(part, cursor, turns.len())?).map(|&place| usize::from(place))?
        }
        Weights::Sums(_) => part.draw(cursor)?,
    };
    part.members.get(place).copied()
}

fn turn(part: &Part, cursor: &mut Cursor, length: usize) -> Option<usize> {
    (cursor.step(part.number) as usize).checked_rem(length)
}
