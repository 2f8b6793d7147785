//! The memory of header blocks: an arena of bytes, entries into it, and what a thread keeps of both for the next heads.

use std::cell::RefCell;

use super::NameId;

/// A range of a block's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: u32,
    pub length: u32,
}

/// A field: sixteen bytes, so that four of them share a cache line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// In the arena, unless the name is well known: such a name is the id's text.
    pub name: u32,
    pub value: u32,
    pub value_length: u32,
    pub name_length: u16,
    pub id: NameId,
    /// `REMOVED`, `SECRET`, `LINE`.
    flags: u8,
}

const REMOVED: u8 = 1;
/// The peer forbade to compress the value (RFC 7541 §7.1.3), and so must whoever sends it on.
const SECRET: u8 = 2;
/// It stands in the arena as HTTP/1 writes it.
const LINE: u8 = 4;

impl Entry {
    #[inline]
    pub fn new(id: NameId, name: Span, value: Span, is_line: bool) -> Self {
        Self {
            name: name.start,
            value: value.start,
            value_length: value.length,
            name_length: name.length as u16,
            id,
            flags: if is_line { LINE } else { 0 },
        }
    }

    #[inline]
    pub fn is_removed(&self) -> bool {
        self.flags & REMOVED != 0
    }

    pub fn remove(&mut self) {
        self.flags |= REMOVED;
    }

    pub fn is_secret(&self) -> bool {
        self.flags & SECRET != 0
    }

    pub fn make_secret(&mut self) {
        self.flags |= SECRET;
    }

    pub fn is_line(&self) -> bool {
        self.flags & LINE != 0
    }

    #[inline]
    pub fn name<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        if self.id != NameId::OTHER {
            return self.id.text().as_bytes();
        }
        self.spelling(arena)
    }

    /// The name as it lies in the arena.
    #[inline]
    pub fn spelling<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        arena.get(self.name as usize..self.name as usize + usize::from(self.name_length)).unwrap_or(&[])
    }

    /// Behind its CRLF.
    pub fn end_of_line(&self) -> u32 {
        self.value + self.value_length + 2
    }

    #[inline]
    pub fn value<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        arena.get(self.value as usize..(self.value + self.value_length) as usize).unwrap_or(&[])
    }
}

/// The memory of a block.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub arena: Vec<u8>,
    pub entries: Vec<Entry>,
}

/// Stores kept by a thread for the next blocks that are no heads (trailers), or whose heads had none (`kept`).
const KEPT: usize = 64;
/// Larger arenas are given back, bytes.
const LARGEST_KEPT: usize = 2 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(Vec<u8>, Vec<Entry>)>> = const { RefCell::new(Vec::new()) };
}

impl Store {
    pub fn with_capacity(bytes: usize, fields: usize) -> Self {
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
