//! Parts of lines that a worker keeps ready: what all calls of a connection say alike, and all calls of one course (route,
//! cluster, endpoint, outcome).
//!
//! In: facts. Out: texts of a log's neighbouring values. Invariant: a text is used only where its whole key is equal: the
//! log's number, which no other log ever has; and all that its values are made of, compared by value, or the number of the client's
//! connection, which no other connection of the worker ever has and whose peer and chain never change. So nothing has to be
//! thrown away when the configuration changes: what no call asks for any more gives way to others, and goes with the rest when no
//! line was written for a minute. Size: two tables of fixed length, and texts up to `LONGEST`: below 2 MiB a worker,
//! mostly a tenth of it.

use std::net::SocketAddr;

use super::facts::Facts;
use super::log_sheet::Sheet;
use crate::bytes::is_same;

/// Texts of connections, and of courses.
const CONNECTIONS: usize = 512;
const COURSES: usize = 256;
/// Pieces that a log has of one key at most.
pub(super) const PIECES: usize = 8;
/// Longer ones, bytes, are made for each line.
const LONGEST: usize = 1_024;
/// Seconds without a line after which all is forgotten.
const QUIET: u32 = 60;

/// What values of a connection are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionKey {
    log: u64,
    connection: u64,
    client: Option<SocketAddr>,
}

/// What values of a course are made of, beside names: numbers of which each has bits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CourseKey {
    log: u64,
    outcome: u64,
    upstream: Option<SocketAddr>,
}

/// Pieces of one key.
#[derive(Debug)]
struct Slot<K, const NAMES: usize> {
    key: K,
    /// The rest of the key, one name behind the other, and where each ends.
    names: Vec<u8>,
    name_ends: [u32; NAMES],
    pieces: Pieces,
}

/// Texts, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    text: Box<[u8]>,
    ends: [u32; PIECES],
}

impl Pieces {
    /// Of what `write` appends for one index after another, as long as it is true.
    pub fn made(mut write: impl FnMut(usize, &mut Sheet) -> bool) -> Self {
        let (mut sheet, mut ends) = (Sheet::default(), [0; PIECES]);
        for (index, end) in ends.iter_mut().enumerate() {
            if !write(index, &mut sheet) {
                break;
            }
            *end = sheet.len() as u32;
        }
        Self { text: sheet.as_bytes().into(), ends }
    }

    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or(&[])
    }
}

/// Finds a slot by a number that differs for neighbours; the key says whether it is the right one.
#[derive(Debug)]
struct Table<K, const NAMES: usize, const SLOTS: usize> {
    slots: Vec<Option<Box<Slot<K, NAMES>>>>,
}

impl<K, const NAMES: usize, const SLOTS: usize> Default for Table<K, NAMES, SLOTS> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<K: Copy + PartialEq, const NAMES: usize, const SLOTS: usize> Table<K, NAMES, SLOTS> {
    /// The pieces of this key, made by `make` if they are not here; `None` where they are too long.
    #[inline]
    fn find(
        &mut self,
        place: u64,
        key: K,
        names: [&[u8]; NAMES],
        make: impl FnOnce() -> Pieces,
    ) -> Option<&Pieces> {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let slot = self.slots.get_mut(place as usize % SLOTS)?;
        if !slot.as_ref().is_some_and(|slot| slot.key == key && slot.is_named(names)) {
            Slot::begin(slot, key, names, make);
        }
        slot.as_ref().map(|slot| &slot.pieces)
    }
}

impl<K: Copy, const NAMES: usize> Slot<K, NAMES> {
    #[inline]
    fn is_named(&self, names: [&[u8]; NAMES]) -> bool {
        let mut start = 0;
        names.iter().zip(self.name_ends).all(|(name, end)| {
            let known = self.names.get(start..end as usize);
            start = end as usize;
            known.is_some_and(|known| is_same(known, name))
        })
    }

    /// Makes the pieces of a key in place of those that were here.
    #[cold]
    fn begin(slot: &mut Option<Box<Self>>, key: K, names: [&[u8]; NAMES], make: impl FnOnce() -> Pieces) {
        if names.iter().map(|name| name.len()).sum::<usize>() > LONGEST {
            *slot = None;
            return;
        }
        let made = slot.get_or_insert_with(|| Box::new(Self::empty(key)));
        made.key = key;
        made.names.clear();
        made.name_ends = names.map(|name| {
            made.names.extend_from_slice(name);
            made.names.len() as u32
        });
        made.pieces = make();
        if made.pieces.text.len() > LONGEST {
            *slot = None;
        }
    }

    fn empty(key: K) -> Self {
        Self { key, names: Vec::new(), name_ends: [0; NAMES], pieces: Pieces::default() }
    }
}

/// A worker's.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub connections: Connections,
    pub courses: Courses,
    /// For values that are made before they are written.
    pub scratch: Vec<u8>,
    /// Seconds since the last line.
    quiet: u32,
}

impl Texts {
    /// A line is written.
    pub fn touch(&mut self) {
        self.quiet = 0;
    }

    /// Keys whose texts are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.connections.0.slots.iter().flatten().count() + self.courses.0.slots.iter().flatten().count()
    }

    /// A second has passed.
    pub fn tick(&mut self) {
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet == QUIET {
            *self = Self::default();
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Connections(Table<ConnectionKey, 0, CONNECTIONS>);

impl Connections {
    #[inline]
    pub fn find(&mut self, log: u64, facts: &Facts<'_>, make: impl FnOnce() -> Pieces) -> Option<&Pieces> {
        let key = ConnectionKey { log, connection: facts.connection_id, client: facts.client };
        let place = facts.connection_id.wrapping_add(log.wrapping_mul(CONNECTIONS as u64 / 8 + 1));
        self.0.find(place, key, [], make)
    }
}

#[derive(Debug, Default)]
pub(super) struct Courses(Table<CourseKey, 5, COURSES>);

impl Courses {
    #[inline]
    pub fn find(&mut self, log: u64, facts: &Facts<'_>, make: impl FnOnce() -> Pieces) -> Option<&Pieces> {
        let outcome = u64::from(facts.flags.0) << 32
            | u64::from(facts.status) << 16
            | u64::from(facts.rpc.is_some()) << 8
            | facts.protocol as u64;
        let key = CourseKey { log, outcome, upstream: facts.upstream };
        let names = [
            facts.route.as_bytes(),
            facts.cluster.as_bytes(),
            facts.details.as_bytes(),
            facts.upstream_failure.as_bytes(),
            facts.rpc.map_or(b"", |rpc| rpc.protocol.as_bytes()),
        ];
        // Where the names lie says nothing for sure, but is another for others.
        let place = [
            log,
            outcome,
            facts.route.as_ptr().addr() as u64,
            facts.cluster.as_ptr().addr() as u64,
            facts.details.as_ptr().addr() as u64,
            facts.upstream.map_or(0, number_of),
        ];
        let place = place
            .into_iter()
            .fold(0u64, |mixed, word| (mixed.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.0.find(place >> 48, key, names, make)
    }
}

/// Differs for most addresses.
fn number_of(address: SocketAddr) -> u64 {
    let ip = match address {
        SocketAddr::V4(address) => u64::from(address.ip().to_bits()),
        SocketAddr::V6(address) => address.ip().to_bits() as u64,
    };
    ip << 16 ^ u64::from(address.port())
}
