//! The header block: one arena of bytes and small entries into it. To change is to append and mark the old entry removed.
//!
//! Fields of framed protocols are recorded as their peer wrote them (`record`), since most of them nobody asks for: a question for
//! one name looks for it among the spellings, and all that needs every field lowered and counted (`settle`) happens when
//! somebody looks at all of them or takes one out. Invariant: whatever is asked, and in whatever order, a block answers as if it had been settled
//! from the beginning.

mod lines;
mod recorder;
mod store;
#[cfg(test)]
mod tests;
mod values;

use std::cell::OnceCell;

use super::names::{Name, NameId, NameSet};
pub use lines::Lines;
pub use recorder::Recorder;
use recorder::Written;
pub use store::Span;
use store::{Entry, Store};
pub use values::Values;

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

/// Header fields in order. Names are lower-case; values are bytes as received, without surrounding blanks.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    store: Store,
    /// Of a head's fields, of which no codec takes so many.
    removed: u16,
    /// Names that may be here: most questions are about fields that are not, and need no look at the entries.
    names: NameSet,
    /// Bytes of names that lie outside the arena.
    outside: u32,
    /// Entries that are not settled.
    written: Written,
    /// This block settled, for those who look at all fields and may not change them; there only while `written` is not empty.
    settled: OnceCell<Box<HeaderBlock>>,
}

impl HeaderBlock {
    pub fn with_capacity(bytes: usize, fields: usize) -> Self {
        Self {
            store: Store::with_capacity(bytes, fields),
            removed: 0,
            names: NameSet::default(),
            outside: 0,
            written: Written::default(),
            settled: OnceCell::new(),
        }
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
        (self.removed, self.outside) = (0, 0);
        (self.names, self.written) = (NameSet::default(), Written::default());
        self.settled.take();
    }

    /// Bytes of all that was put here, removed fields included.
    pub fn bytes(&self) -> usize {
        self.store.arena.len() + self.outside as usize
    }

    /// Copies bytes into the arena that belong to no field (method, path, authority …).
    #[inline]
    pub fn stash(&mut self, bytes: &[u8]) -> Span {
        let span = Span { start: self.store.arena.len() as u32, length: bytes.len() as u32 };
        self.store.arena.extend_from_slice(bytes);
        span
    }

    /// As `stash`, for texts that are to stand behind each other.
    #[inline(always)]
    pub fn stash_parts<const N: usize>(&mut self, parts: [&[u8]; N]) -> Span {
        let start = self.store.arena.len();
        parts.iter().for_each(|part| self.store.arena.extend_from_slice(part));
        Span { start: start as u32, length: (self.store.arena.len() - start) as u32 }
    }

    /// As `stash`, for bytes that are made while they are written (Huffman codes, say).
    pub fn stash_with<T, E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>) -> Result<Span, E> {
        let start = self.store.arena.len();
        write(&mut self.store.arena)?;
        Ok(Span { start: start as u32, length: self.store.arena.len().saturating_sub(start) as u32 })
    }

    #[inline]
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
    #[inline]
    pub fn push_known(&mut self, id: NameId, name: Span, value: Span) {
        self.add(id, name, value, false);
    }

    /// As `push_known`, for a field that stands in the arena as `name: value` with CRLF behind it.
    pub fn push_line(&mut self, id: NameId, name: Span, value: Span) {
        self.add(id, name, value, true);
    }

    /// Adds what `field` makes of each of these, with their values in the arena: id, name and value. All their ids are among `names`.
    #[inline(always)]
    pub fn push_each<T>(
        &mut self,
        names: NameSet,
        items: &[T],
        mut field: impl FnMut(&mut Vec<u8>, &T) -> Option<(NameId, Span, Span)>,
    ) {
        let Store { arena, entries } = &mut self.store;
        for item in items {
            if let Some((id, name, value)) = field(arena, item) {
                entries.push(Entry::new(id, name, value, false));
            }
        }
        self.names.insert_all(names);
        self.unsettle();
    }

    #[inline]
    fn add(&mut self, id: NameId, name: Span, value: Span, is_line: bool) {
        self.names.insert(id);
        self.store.entries.push(Entry::new(id, name, value, is_line));
        self.unsettle();
    }

    /// Something has changed: a settled copy no longer tells.
    #[inline]
    fn unsettle(&mut self) {
        if self.settled.get().is_some() {
            self.settled.take();
        }
    }

    /// Takes fields whose names and values lie in the arena as their peer wrote them, in any letters: `walk` adds them, or none if it
    /// fails. Of equal names the last one counts, or the first. For each name in `wanted`, as it is written, that came: `found` learns
    /// its number, and where the value that counts lies. A block takes such fields once, and in front of those that are added to them.
    #[inline(always)]
    pub fn record<'w, E>(
        &mut self,
        last_wins: bool,
        walk: impl FnOnce(&mut Recorder<'_>) -> Result<(), E>,
        wanted: impl Iterator<Item = &'w [u8]>,
        found: impl FnMut(usize, Span),
    ) -> Result<(), E> {
        self.settle();
        recorder::record(self, last_wins, walk, wanted, found)
    }

    /// Marks the field added last as one that no compression may put in a table.
    pub fn mark_secret(&mut self) {
        if let Some(entry) = self.store.entries.last_mut() {
            entry.make_secret();
        }
        self.settled.take();
    }

    /// As `iter`, with the mark of `mark_secret`.
    pub fn iter_marked(&self) -> impl Iterator<Item = (NameId, &[u8], &[u8], bool)> {
        let Store { arena, entries } = &self.plain().store;
        let live = entries.iter().filter(|entry| !entry.is_removed());
        live.map(|entry| (entry.id, entry.name(arena), entry.value(arena), entry.is_secret()))
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

    /// Fields in order: id, name, value.
    pub fn iter(&self) -> impl Iterator<Item = (NameId, &[u8], &[u8])> {
        self.iter_with_removed().flatten()
    }

    /// Every field ever added, in order; `None` for those taken out.
    pub fn iter_with_removed(&self) -> impl Iterator<Item = Option<(NameId, &[u8], &[u8])>> {
        self.plain().added_behind(0)
    }

    /// As `iter_with_removed`, behind the fields that were there at this mark.
    pub fn iter_since(&self, mark: Mark) -> impl Iterator<Item = Option<(NameId, &[u8], &[u8])>> {
        let block = if mark.entries < u32::from(self.written.end) { self.plain() } else { self };
        block.added_behind(mark.entries as usize)
    }

    fn added_behind(&self, fields: usize) -> impl Iterator<Item = Option<(NameId, &[u8], &[u8])>> {
        let Store { arena, entries } = &self.store;
        let each = |entry: &Entry| (entry.id, entry.name(arena), entry.value(arena));
        let added = entries.get(fields..).unwrap_or(&[]);
        added.iter().map(move |entry| (!entry.is_removed()).then(|| each(entry)))
    }

    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { entries: self.store.entries.len() as u32, removed: u32::from(self.removed) }
    }

    /// Fields that were not there from the beginning, since another of the same name counts; `removed` of no mark has them.
    pub fn repeated(&self) -> usize {
        usize::from(self.plain().written.repeated)
    }

    pub fn len(&self) -> usize {
        self.store.entries.len() - usize::from(self.removed) - self.repeated()
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
        if self.written.is_empty() {
            let found = self.store.entries.iter().find(|entry| entry.id == id && !entry.is_removed());
            return found.map(|entry| entry.value(&self.store.arena));
        }
        self.all_named(id, id.text().as_bytes()).next()
    }

    /// First value of a field.
    #[inline]
    pub fn get(&self, name: &Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// All values of a field, in order.
    #[inline]
    pub fn all<'a>(&'a self, name: &Name) -> impl Iterator<Item = &'a [u8]> {
        self.all_named(name.id, name.as_bytes())
    }

    pub fn all_id(&self, id: NameId) -> impl Iterator<Item = &[u8]> {
        self.all_named(id, id.text().as_bytes())
    }

    #[inline]
    fn all_named<'a>(&'a self, id: NameId, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let Store { arena, entries } = &self.store;
        let looked_through = if self.names.contains(id) { entries.as_slice() } else { &[] };
        let (front, counted, behind) = self.written.split(looked_through, arena, name);
        let is_named = move |entry: &&Entry| {
            entry.id == id
                && !entry.is_removed()
                && (id != NameId::OTHER
                    || usize::from(entry.name_length) == name.len() && entry.spelling(arena) == name)
        };
        let found = front.iter().filter(is_named).chain(counted).chain(behind.iter().filter(is_named));
        found.map(|entry| entry.value(arena))
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
        if self.written.has_one_of(ids, &self.store) {
            self.settle();
        }
        self.names.remove(ids);
        self.take_out(|id, _, _| ids.contains(id))
    }

    /// A field of this name may be here: where not, it need not be looked for.
    #[inline]
    pub fn may_have(&self, name: &Name) -> bool {
        self.names.contains(name.id)
    }

    /// One of these well-known fields may be here.
    pub fn may_contain(&self, ids: NameSet) -> bool {
        self.names.meets(ids)
    }

    pub fn remove(&mut self, name: &Name) -> bool {
        let (id, text) = (name.id, name.as_bytes());
        if id != NameId::OTHER {
            return self.remove_id(id);
        }
        self.get(name).is_some() && self.remove_where(|entry_id, found, _| entry_id == id && found == text)
    }

    /// Removes the fields for which `unwanted(id, name, value)` holds; true if there was one.
    pub fn remove_where(&mut self, unwanted: impl Fn(NameId, &[u8], &[u8]) -> bool) -> bool {
        self.settle();
        self.take_out(unwanted)
    }

    /// As `remove_where`, among settled fields.
    fn take_out(&mut self, unwanted: impl Fn(NameId, &[u8], &[u8]) -> bool) -> bool {
        let mut found = 0;
        let Store { arena, entries } = &mut self.store;
        for entry in self.written.others(entries).filter(|entry| !entry.is_removed()) {
            if unwanted(entry.id, entry.name(arena), entry.value(arena)) {
                entry.remove();
                found += 1;
            }
        }
        self.removed = self.removed.saturating_add(found);
        self.settled.take();
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

    /// This block with all fields settled.
    #[inline]
    fn plain(&self) -> &Self {
        if self.written.is_empty() { self } else { self.settled_copy() }
    }

    #[cold]
    fn settled_copy(&self) -> &Self {
        self.settled.get_or_init(|| {
            let mut copy = Box::new(Self { settled: OnceCell::new(), store: self.store.clone(), ..*self });
            copy.settle();
            copy
        })
    }

    /// Lowers the names of fields as they were written, and takes out those that do not count.
    #[inline]
    fn settle(&mut self) {
        if !self.written.is_empty() {
            self.settle_written();
        }
    }

    #[cold]
    fn settle_written(&mut self) {
        self.settled.take();
        self.written.settle(&mut self.store);
    }
}

impl PartialEq for HeaderBlock {
    fn eq(&self, other: &Self) -> bool {
        self.iter()
            .map(|(_, name, value)| (name, value))
            .eq(other.iter().map(|(_, name, value)| (name, value)))
    }
}
