//! Fields as their peer wrote them: names in any letters, and perhaps one name several times.

use super::store::{Entry, Span, Store};
use super::{HeaderBlock, NameId, NameSet};
use crate::bytes::{equal_in_any_case, is_same};

/// Takes such fields for a block, one after another.
#[derive(Debug)]
pub struct Recorder<'a> {
    entries: &'a mut Vec<Entry>,
    /// Well-known names that theirs may be.
    like: NameSet,
    /// Their names' lengths as bits, modulo 32.
    lengths: u32,
    seen: Seen,
}

/// By the length and first letter of names: the place of the last entry with such a name, or `NOWHERE`.
#[derive(Debug)]
struct Seen([u8; 64]);

/// A block of as many entries has places that are no bytes.
const NOWHERE: u8 = u8::MAX;

impl Recorder<'_> {
    /// Both lie in the arena already. The name's first and last letters tell nothing of an empty one. Longer names than 65,535 bytes
    /// must not come.
    #[inline(always)]
    pub fn add(&mut self, name: Span, (first, last): (u8, u8), value: Span) {
        let length = name.length as usize;
        self.like.insert_like(length, last);
        self.lengths |= 1 << (length % 32);
        if let Some(place) = self.seen.0.get_mut(Seen::of(length, first)) {
            *place = self.entries.len() as u8;
        }
        self.entries.push(Entry::new(NameId::OTHER, name, value, false));
    }

    /// Fields of the block.
    #[inline(always)]
    pub fn fields(&self) -> usize {
        self.entries.len()
    }
}

/// See `HeaderBlock::record`.
#[inline(always)]
pub(super) fn record<'w, E>(
    block: &mut HeaderBlock,
    last_wins: bool,
    walk: impl FnOnce(&mut Recorder<'_>) -> Result<(), E>,
    wanted: impl Iterator<Item = &'w [u8]>,
    mut found: impl FnMut(usize, Span),
) -> Result<(), E> {
    let HeaderBlock { store: Store { arena, entries }, names, written, .. } = block;
    let before = entries.len();
    let mut recorder = Recorder { entries, like: *names, lengths: 0, seen: Seen([NOWHERE; 64]) };
    let walked = walk(&mut recorder);
    let Recorder { like, lengths, seen, .. } = recorder;
    if walked.is_err() {
        entries.truncate(before);
        return walked;
    }
    *names = like;
    // Beyond it no field can be one of those; nor has a frame so many.
    let place = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
    *written = Written { start: place(before), end: place(entries.len()), repeated: 0, last_wins, lengths };
    for (number, name) in wanted.enumerate() {
        if let Some(value) = seen.find(name, entries, before, arena, last_wins) {
            found(number, value);
        }
    }
    Ok(())
}

impl Seen {
    #[inline(always)]
    fn of(length: usize, first: u8) -> usize {
        (length + usize::from(first)) % 64
    }

    /// The value that counts for this name, as it is written, among entries behind `before` others.
    #[inline(always)]
    fn find(
        &self,
        name: &[u8],
        entries: &[Entry],
        before: usize,
        arena: &[u8],
        last_wins: bool,
    ) -> Option<Span> {
        if entries.len() <= usize::from(NOWHERE)
            && let [first, ..] = name
        {
            let place = Self::of(name.len(), *first);
            let place = self.0.get(place).copied().unwrap_or(NOWHERE);
            let entry = entries.get(usize::from(place))?;
            // Mostly it is the one.
            if last_wins && is_same(entry.spelling(arena), name) {
                return Some(Span { start: entry.value, length: entry.value_length });
            }
        }
        find(name, entries.get(before..)?, arena, last_wins)
    }
}

#[inline(never)]
fn find(name: &[u8], entries: &[Entry], arena: &[u8], last_wins: bool) -> Option<Span> {
    let is_it =
        |entry: &&Entry| usize::from(entry.name_length) == name.len() && entry.spelling(arena) == name;
    let found = if last_wins { entries.iter().rfind(is_it) } else { entries.iter().find(is_it) };
    found.map(|entry| Span { start: entry.value, length: entry.value_length })
}

/// Which entries of a block are as their peer wrote them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    start: u16,
    pub end: u16,
    /// Of those that were settled: taken out, since another of the same name counts.
    pub repeated: u16,
    /// Of equal names the last one counts, not the first.
    last_wins: bool,
    /// The lengths of their names as bits: most names that are asked for have none of them.
    lengths: u32,
}

impl Written {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Settled entries in front of them, the one among them that counts for this lower-case name, settled ones behind them.
    #[inline]
    pub fn split<'a>(
        &self,
        entries: &'a [Entry],
        arena: &[u8],
        name: &[u8],
    ) -> (&'a [Entry], Option<&'a Entry>, &'a [Entry]) {
        if self.is_empty() {
            return (entries, None, &[]);
        }
        let (front, behind) = entries.split_at_checked(usize::from(self.end)).unwrap_or((entries, &[]));
        let (front, written) = front.split_at_checked(usize::from(self.start)).unwrap_or((front, &[]));
        if self.lengths >> (name.len() % 32) & 1 == 0 {
            return (front, None, behind);
        }
        (front, self.find(written, arena, name), behind)
    }

    /// The one that counts among equal names. Most names are written small.
    #[inline]
    fn find<'a>(&self, written: &'a [Entry], arena: &[u8], name: &[u8]) -> Option<&'a Entry> {
        let is_named = |entry: &&Entry| {
            usize::from(entry.name_length) == name.len() && {
                let spelling = entry.spelling(arena);
                is_same(spelling, name) || equal_in_any_case(spelling, name)
            }
        };
        if self.last_wins { written.iter().rfind(is_named) } else { written.iter().find(is_named) }
    }

    /// Settled entries.
    pub fn others<'a>(&self, entries: &'a mut [Entry]) -> impl Iterator<Item = &'a mut Entry> {
        let (start, end) = (usize::from(self.start), usize::from(self.end));
        let (front, behind) = entries.split_at_mut(end.min(entries.len()));
        let front = front.get_mut(..if start == end { end } else { start }).unwrap_or(&mut []);
        front.iter_mut().chain(behind)
    }

    /// Whether one of them has one of these well-known names.
    pub fn has_one_of(&self, ids: NameSet, store: &Store) -> bool {
        let written = store.entries.get(usize::from(self.start)..usize::from(self.end)).unwrap_or(&[]);
        written.iter().any(|entry| {
            let name = entry.spelling(&store.arena);
            let mut like = NameSet::default();
            like.insert_like(name.len(), name.last().copied().unwrap_or(0));
            like.meets(ids) && ids.contains(NameId::of(&name.to_ascii_lowercase()))
        })
    }

    /// Makes them entries like all others.
    pub fn settle(&mut self, store: &mut Store) {
        let (mut repeated, mut seen) = (0, 0u64);
        for index in usize::from(self.start)..usize::from(self.end) {
            let Some((settled, rest)) = store.entries.split_at_mut_checked(index) else { break };
            let Some(entry) = rest.first_mut() else { break };
            if entry.spelling(&store.arena).iter().any(u8::is_ascii_uppercase) {
                let lower = entry.spelling(&store.arena).to_ascii_lowercase();
                entry.name = store.arena.len() as u32;
                store.arena.extend_from_slice(&lower);
            }
            let name = entry.spelling(&store.arena);
            let (id, hash) = NameId::hashed(name);
            let before = seen;
            seen |= 1 << (hash % 64);
            if seen == before
                && let Some(earlier) = settled.get_mut(usize::from(self.start)..)
                && let Some(known) = earlier
                    .iter_mut()
                    .find(|known| !known.is_removed() && known.spelling(&store.arena) == name)
            {
                if self.last_wins {
                    known.remove()
                } else {
                    entry.remove()
                }
                repeated += 1;
            }
            entry.id = id;
        }
        *self = Self { repeated, ..Self::default() };
    }
}
