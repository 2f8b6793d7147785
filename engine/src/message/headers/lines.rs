//! Fields as HTTP/1 writes them: what came in neighbouring lines, and is unchanged, is one piece.

use super::store::{Entry, Store};
use super::{HeaderBlock, NameId, NameSet};

/// Fields as HTTP/1 writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines<'a> {
    /// One or more whole lines, with their ends.
    Ready(&'a [u8]),
    Field {
        name: &'a [u8],
        value: &'a [u8],
    },
}

impl HeaderBlock {
    /// Fields in order, but for those named, to be written by HTTP/1: what came in neighbouring lines, and is unchanged, is
    /// one piece.
    pub fn lines(&self, left_out: NameSet) -> impl Iterator<Item = Lines<'_>> {
        let wanted = move |entry: &Entry| {
            !entry.is_removed() && (entry.id == NameId::OTHER || !left_out.contains(entry.id))
        };
        let Store { arena, entries } = &self.plain().store;
        let mut rest = entries.as_slice();
        std::iter::from_fn(move || {
            let first = loop {
                let (first, behind) = rest.split_first()?;
                rest = behind;
                if wanted(first) {
                    break first;
                }
            };
            if !first.is_line() {
                return Some(Lines::Field { name: first.name(arena), value: first.value(arena) });
            }
            let mut end = first.end_of_line();
            while let Some((next, behind)) = rest.split_first()
                && next.is_line()
                && next.name == end
                && wanted(next)
            {
                (end, rest) = (next.end_of_line(), behind);
            }
            Some(Lines::Ready(arena.get(first.name as usize..end as usize).unwrap_or(&[])))
        })
    }
}
