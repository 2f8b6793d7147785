//! By chance, by weight.

use super::Cursor;
use super::weights::Part;

pub(super) fn pick(part: &Part, cursor: &mut Cursor) -> Option<u32> {
    part.members.get(part.draw(cursor)?).copied()
}
