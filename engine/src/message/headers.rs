//! The header block: one arena of bytes and small entries into it. To change is to append and mark the old entry removed.

use std::cell::RefCell;

use super::names::{Name, NameId, NameSet};

/// A range of a block's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub length: u32,
}

/// A state of a block: tells later whether fields were added or taken out since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    entries: u32,
    removed: u32,
}

impl Mark {
    /// Fields ever added, those taken out included.
    pub fn fields(self) -> u32 {
        self.entries
    }

    /// Fields taken out.
    pub fn removed(self) -> u32 {
        self.removed
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// In the arena, unless the name is well known: such a name is the id's text.
    name: u32,
    value: u32,
    value_length: u32,
    name_length: u16,
    id: NameId,
    removed: bool,
    /// The peer forbade to compress the value (RFC 7541 §7.1.3), and so must whoever sends it on.
    secret: bool,
    /// It stands in the arena as HTTP/1 writes it.
    is_line: bool,
}

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

/// The memory of a block.
#[derive(Debug, Clone, Default)]
struct Store {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Stores kept by a thread for the next blocks that are no heads (trailers), or whose heads had none (`kept`).
const KEPT: usize = 64;
/// Larger arenas are given back, bytes.
const LARGEST_KEPT: usize = 2 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(Vec<u8>, Vec<Entry>)>> = const { RefCell::new(Vec::new()) };
}

impl Store {
    fn with_capacity(bytes: usize, fields: usize) -> Self {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        let (mut arena, mut entries) = spare.ok().flatten().unwrap_or_default();
        arena.reserve(bytes);
        entries.reserve(fields);
        Self { arena, entries }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.arena.capacity() == 0 || self.arena.capacity() > LARGEST_KEPT {
            return;
        }
        let (mut arena, mut entries) = (std::mem::take(&mut self.arena), std::mem::take(&mut self.entries));
        arena.clear();
        entries.clear();
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push((arena, entries));
            }
        });
    }
}

/// Header fields in order. Names are lower-case; values are bytes as received, without surrounding blanks.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    store: Store,
    removed: u32,
    /// Names that may be here: most questions are about fields that are not, and need no look at the entries.
    names: NameSet,
    /// Bytes of names that lie outside the arena.
    outside: u32,
}

impl HeaderBlock {
    pub fn with_capacity(bytes: usize, fields: usize) -> Self {
        Self { store: Store::with_capacity(bytes, fields), ..Self::default() }
    }

    /// Sees to it that so much can be put here without an allocation.
    pub fn make_room(&mut self, bytes: usize, fields: usize) {
        if self.store.arena.capacity() == 0 {
            self.store = Store::with_capacity(bytes, fields);
        } else {
            self.store.arena.reserve(bytes);
            self.store.entries.reserve(fields);
        }
    }

    /// Bytes of the arena.
    pub fn room(&self) -> usize {
        self.store.arena.capacity()
    }

    /// Forgets everything but keeps the memory, for pooled heads.
    pub fn clear(&mut self) {
        self.store.arena.clear();
        self.store.entries.clear();
        (self.removed, self.outside, self.names) = (0, 0, NameSet::default());
    }

    /// Bytes of all that was put here, removed fields included.
    pub fn bytes(&self) -> usize {
        self.store.arena.len() + self.outside as usize
    }

    /// Copies bytes into the arena that belong to no field (method, path, authority …).
    pub fn stash(&mut self, bytes: &[u8]) -> Span {
        let span = Span { start: self.store.arena.len() as u32, length: bytes.len() as u32 };
        self.store.arena.extend_from_slice(bytes);
        span
    }

    /// As `stash`, for bytes that are made while they are written (Huffman codes, say).
    pub fn stash_with<T, E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>) -> Result<Span, E> {
        let start = self.store.arena.len();
        write(&mut self.store.arena)?;
        Ok(Span { start: start as u32, length: self.store.arena.len().saturating_sub(start) as u32 })
    }

    pub fn slice(&self, span: Span) -> &[u8] {
        self.store.arena.get(span.start as usize..(span.start + span.length) as usize).unwrap_or(&[])
    }

    /// Mutable view of a stashed range: a codec lowers names in place.
    pub fn slice_mut(&mut self, span: Span) -> &mut [u8] {
        self.store.arena.get_mut(span.start as usize..(span.start + span.length) as usize).unwrap_or(&mut [])
    }

    /// Adds a field whose name and value already lie in the arena. The name must be lower-case already.
    pub fn push_spans(&mut self, name: Span, value: Span) {
        self.push_known(NameId::of(self.slice(name)), name, value);
    }

    /// As `push_spans`, for a codec that has looked the name up already.
    pub fn push_known(&mut self, id: NameId, name: Span, value: Span) {
        self.add(id, name, value, false);
    }

    /// As `push_known`, for a field that stands in the arena as `name: value` with CRLF behind it.
    pub fn push_line(&mut self, id: NameId, name: Span, value: Span) {
        self.add(id, name, value, true);
    }

    fn add(&mut self, id: NameId, name: Span, value: Span, is_line: bool) {
        self.names.insert(id);
        self.store.entries.push(Entry {
            name: name.start,
            name_length: name.length as u16,
            value: value.start,
            value_length: value.length,
            id,
            removed: false,
            secret: false,
            is_line,
        });
    }

    /// Marks the field added last as one that no compression may put in a table.
    pub fn mark_secret(&mut self) {
        if let Some(entry) = self.store.entries.last_mut() {
            entry.secret = true;
        }
    }

    /// As `iter`, with the mark of `mark_secret`.
    pub fn iter_marked(&self) -> impl Iterator<Item = (NameId, &[u8], &[u8], bool)> {
        self.store
            .entries
            .iter()
            .filter(|entry| !entry.removed)
            .map(|entry| (entry.id, self.name_of(entry), self.value_of(entry), entry.secret))
    }

    /// Adds a field at the end. The name is lowered.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name = self.stash(name);
        self.slice_mut(name).make_ascii_lowercase();
        let value = self.stash(value);
        self.push_spans(name, value);
    }

    pub fn push_id(&mut self, id: NameId, value: &[u8]) {
        let value = self.stash(value);
        self.outside += id.text().len() as u32;
        self.push_known(id, Span::default(), value);
    }

    /// As `push`, for a name that was prepared.
    pub fn push_name(&mut self, name: &Name, value: &[u8]) {
        if name.id != NameId::OTHER {
            return self.push_id(name.id, value);
        }
        let (name, value) = (self.stash(name.as_bytes()), self.stash(value));
        self.push_known(NameId::OTHER, name, value);
    }

    /// Fields in order, but for those named, to be written by HTTP/1: what came in neighbouring lines, and is unchanged, is
    /// one piece.
    pub fn lines(&self, left_out: NameSet) -> impl Iterator<Item = Lines<'_>> {
        let wanted = move |entry: &Entry| {
            !entry.removed && (entry.id == NameId::OTHER || !left_out.contains(entry.id))
        };
        let mut rest = self.store.entries.as_slice();
        std::iter::from_fn(move || {
            let first = loop {
                let (first, behind) = rest.split_first()?;
                rest = behind;
                if wanted(first) {
                    break first;
                }
            };
            if !first.is_line {
                return Some(Lines::Field { name: self.name_of(first), value: self.value_of(first) });
            }
            let mut end = first.end_of_line();
            while let Some((next, behind)) = rest.split_first()
                && next.is_line
                && next.name == end
                && wanted(next)
            {
                (end, rest) = (next.end_of_line(), behind);
            }
            Some(Lines::Ready(self.store.arena.get(first.name as usize..end as usize).unwrap_or(&[])))
        })
    }

    /// Fields in order: id, name, value.
    pub fn iter(&self) -> impl Iterator<Item = (NameId, &[u8], &[u8])> {
        self.store
            .entries
            .iter()
            .filter(|entry| !entry.removed)
            .map(|entry| (entry.id, self.name_of(entry), self.value_of(entry)))
    }

    pub fn mark(&self) -> Mark {
        Mark { entries: self.store.entries.len() as u32, removed: self.removed }
    }

    /// Takes out the fields of this lower-case name, but for the first `spared` ever added.
    pub fn remove_behind(&mut self, spared: usize, name: &[u8]) {
        let Store { arena, entries } = &mut self.store;
        let live = entries.iter_mut().skip(spared).filter(|entry| !entry.removed);
        for entry in live {
            if entry.name(arena) == name {
                entry.removed = true;
                self.removed += 1;
            }
        }
    }

    /// Takes out the field added last.
    pub fn remove_last(&mut self) {
        if let Some(entry) = self.store.entries.last_mut().filter(|entry| !entry.removed) {
            entry.removed = true;
            self.removed += 1;
        }
    }

    /// Every field ever added, in order; `None` for those taken out.
    pub fn iter_with_removed(&self) -> impl Iterator<Item = Option<(NameId, &[u8], &[u8])>> {
        self.store
            .entries
            .iter()
            .map(|entry| (!entry.removed).then(|| (entry.id, self.name_of(entry), self.value_of(entry))))
    }

    pub fn len(&self) -> usize {
        self.store.entries.len() - self.removed as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First value of a well-known field.
    #[inline]
    pub fn get_id(&self, id: NameId) -> Option<&[u8]> {
        if !self.names.contains(id) {
            return None;
        }
        self.store
            .entries
            .iter()
            .find(|entry| entry.id == id && !entry.removed)
            .map(|entry| self.value_of(entry))
    }

    /// First value of a field.
    pub fn get(&self, name: &Name) -> Option<&[u8]> {
        if !self.names.contains(name.id) {
            return None;
        }
        self.store.entries.iter().find(|entry| self.is_named(entry, name)).map(|entry| self.value_of(entry))
    }

    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &Name) -> impl Iterator<Item = &'a [u8]> {
        self.looked_through(name.id)
            .iter()
            .filter(move |entry| self.is_named(entry, name))
            .map(|entry| self.value_of(entry))
    }

    pub fn all_id(&self, id: NameId) -> impl Iterator<Item = &[u8]> {
        self.looked_through(id)
            .iter()
            .filter(move |entry| entry.id == id && !entry.removed)
            .map(|entry| self.value_of(entry))
    }

    pub fn contains_id(&self, id: NameId) -> bool {
        self.get_id(id).is_some()
    }

    #[inline]
    pub fn remove_id(&mut self, id: NameId) -> bool {
        self.remove_ids(NameSet::of(&[id]))
    }

    /// Removes all fields of these well-known names; true if there was one.
    #[inline]
    pub fn remove_ids(&mut self, ids: NameSet) -> bool {
        if !self.names.meets(ids) {
            return false;
        }
        self.names.remove(ids);
        self.remove_where(|id, _, _| ids.contains(id))
    }

    /// One of these well-known fields may be here.
    pub fn may_contain(&self, ids: NameSet) -> bool {
        self.names.meets(ids)
    }

    pub fn remove(&mut self, name: &Name) -> bool {
        let (id, text) = (name.id, name.as_bytes());
        if id != NameId::OTHER {
            self.remove_id(id)
        } else {
            self.names.contains(id) && self.remove_where(|entry_id, found, _| entry_id == id && found == text)
        }
    }

    /// Removes the fields for which `unwanted(id, name, value)` holds; true if there was one.
    pub fn remove_where(&mut self, unwanted: impl Fn(NameId, &[u8], &[u8]) -> bool) -> bool {
        let mut found = 0;
        let Store { arena, entries } = &mut self.store;
        for entry in entries.iter_mut().filter(|entry| !entry.removed) {
            if unwanted(entry.id, entry.name(arena), entry.value(arena)) {
                entry.removed = true;
                found += 1;
            }
        }
        self.removed += found;
        found > 0
    }

    /// Replaces every occurrence by one field at the end.
    pub fn set(&mut self, name: &Name, value: &[u8]) {
        self.remove(name);
        self.push_name(name, value);
    }

    pub fn set_id(&mut self, id: NameId, value: &[u8]) {
        self.remove_id(id);
        self.push_id(id, value);
    }

    /// The entries among which a field of this name would be.
    fn looked_through(&self, id: NameId) -> &[Entry] {
        if self.names.contains(id) { &self.store.entries } else { &[] }
    }

    fn is_named(&self, entry: &Entry, name: &Name) -> bool {
        entry.id == name.id
            && !entry.removed
            && (entry.id != NameId::OTHER
                || (usize::from(entry.name_length) == name.as_bytes().len()
                    && self.name_of(entry) == name.as_bytes()))
    }

    fn name_of(&self, entry: &Entry) -> &[u8] {
        entry.name(&self.store.arena)
    }

    fn value_of(&self, entry: &Entry) -> &[u8] {
        entry.value(&self.store.arena)
    }
}

impl Entry {
    fn name<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        if self.id != NameId::OTHER {
            return self.id.text().as_bytes();
        }
        arena.get(self.name as usize..self.name as usize + self.name_length as usize).unwrap_or(&[])
    }

    /// Behind its CRLF.
    fn end_of_line(&self) -> u32 {
        self.value + self.value_length + 2
    }

    fn value<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        arena.get(self.value as usize..(self.value + self.value_length) as usize).unwrap_or(&[])
    }
}

impl PartialEq for HeaderBlock {
    fn eq(&self, other: &Self) -> bool {
        self.iter()
            .map(|(_, name, value)| (name, value))
            .eq(other.iter().map(|(_, name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_changes_append() {
        let mut block = HeaderBlock::default();
        block.push(b"Accept", b"a");
        block.push(b"X-Mine", b"1");
        block.push(b"accept", b"b");
        assert_eq!(block.all_id(NameId::ACCEPT).collect::<Vec<_>>(), [b"a", b"b"]);
        block.set(&Name::new("Accept"), b"c");
        let names: Vec<_> = block.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
        assert_eq!(names, [(b"x-mine".to_vec(), b"1".to_vec()), (b"accept".to_vec(), b"c".to_vec())]);
        assert!(block.remove(&Name::new("x-mine")) && !block.remove(&Name::new("x-mine")));
        assert_eq!(block.len(), 1);
    }

    #[test]
    fn neighbouring_lines_are_written_as_one() {
        let mut block = HeaderBlock::default();
        block.stash(b"via: a\r\nx-b: c\r\nx-d:  e\r\nx-f: g\r\nx-h: i\r\n");
        let at = |start, length| Span { start, length };
        block.push_line(NameId::VIA, at(0, 3), at(5, 1));
        block.push_line(NameId::OTHER, at(8, 3), at(13, 1));
        block.push_known(NameId::OTHER, at(16, 3), at(22, 1));
        block.push_line(NameId::OTHER, at(25, 3), at(30, 1));
        block.push_line(NameId::OTHER, at(33, 3), at(38, 1));
        block.push_id(NameId::DATE, b"now");
        let field = |name, value| Lines::Field { name, value };
        let (spaced, date) = (field(&b"x-d"[..], &b"e"[..]), field(b"date", b"now"));
        let last = Lines::Ready(b"x-f: g\r\nx-h: i\r\n");
        let all: Vec<_> = block.lines(NameSet::default()).collect();
        assert_eq!(all, [Lines::Ready(b"via: a\r\nx-b: c\r\n"), spaced, last, date]);
        block.remove(&Name::new("x-f"));
        let some: Vec<_> = block.lines(NameSet::of(&[NameId::VIA])).collect();
        assert_eq!(some, [Lines::Ready(b"x-b: c\r\n"), spaced, Lines::Ready(b"x-h: i\r\n"), date]);
    }

    #[test]
    fn memory_that_is_used_again_holds_nothing_of_before() {
        for _ in 0..2 {
            let mut block = HeaderBlock::with_capacity(100, 4);
            assert!(block.is_empty() && block.bytes() == 0 && !block.contains_id(NameId::ACCEPT));
            block.push(b"accept", b"secret");
        }
    }

    #[test]
    fn a_field_that_was_removed_can_come_again() {
        let mut block = HeaderBlock::default();
        let gone = NameSet::of(&[NameId::ACCEPT, NameId::VIA]);
        assert!(!block.may_contain(gone) && !block.remove_ids(gone));
        block.push_id(NameId::ACCEPT, b"a");
        block.push_name(&Name::new("x-mine"), b"1");
        assert_eq!(block.bytes(), b"acceptax-mine1".len());
        assert!(block.remove_ids(gone) && !block.contains_id(NameId::ACCEPT));
        block.push_name(&Name::new("Accept"), b"b");
        let fields: Vec<_> = block.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(fields, [(&b"x-mine"[..], &b"1"[..]), (b"accept", b"b")]);
    }

    #[test]
    fn a_mark_tells_whether_fields_changed() {
        let mut block = HeaderBlock::default();
        block.push(b"a", b"1");
        let mark = block.mark();
        assert_eq!(block.mark(), mark);
        block.remove(&Name::new("a"));
        assert_ne!(block.mark(), mark);
        assert_eq!(block.iter_with_removed().collect::<Vec<_>>(), [None]);
    }
}
