//! What a block has of one name: mostly nothing, or one value, which costs less to tell than all values in order.

use super::store::{Entry, Store};
use super::{HeaderBlock, Name, NameId};
use crate::bytes::is_same;

/// The values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values<'a> {
    None,
    One(&'a [u8]),
    /// `HeaderBlock::all` tells them.
    Several,
}

impl HeaderBlock {
    #[inline]
    pub fn values(&self, name: &Name) -> Values<'_> {
        if !self.names.contains(name.id) {
            return Values::None;
        }
        let Store { arena, entries } = &self.store;
        let (front, counted, behind) = self.written.split(entries, arena, name.as_bytes());
        let mut found = counted;
        for entries in [front, behind] {
            for entry in entries {
                if is_named(entry, arena, name) && found.replace(entry).is_some() {
                    return Values::Several;
                }
            }
        }
        match found {
            Some(entry) => Values::One(entry.value(arena)),
            None => Values::None,
        }
    }
}

#[inline(always)]
fn is_named(entry: &Entry, arena: &[u8], name: &Name) -> bool {
    if entry.id != name.id || entry.is_removed() {
        return false;
    }
    let text = name.as_bytes();
    name.id != NameId::OTHER
        || usize::from(entry.name_length) == text.len() && is_same(entry.spelling(arena), text)
}
