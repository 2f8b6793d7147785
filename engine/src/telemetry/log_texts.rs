//! Texts of lines that a worker keeps ready: what all calls of a connection say alike, and the lines of a course (route, cluster,
//! endpoint, outcome).
//!
//! In: facts. Out: texts of a log. Invariant: a text is used only where its whole key is equal: the
//! log's number, which no other log ever has; and all that its values are made of, compared by value, or the number of the client's
//! connection, which no other connection of the worker ever has and whose peer and chain never change. So nothing has to be
//! thrown away when the configuration changes: what no call asks for any more gives way to others, and goes with the rest when no
//! line was written for a minute. Size: two tables of fixed length, texts of connections up to `LONGEST` and lines as long as
//! `Ready` makes them: below 3 MiB a worker, mostly a tenth of it.

use std::net::SocketAddr;

use super::facts::Facts;
use super::log_line::Line;
use super::log_ready::Ready;
use super::log_sheet::Sheet;
use crate::bytes::is_same;

/// Texts of connections, and lines of courses.
const CONNECTIONS: usize = 512;
const COURSES: usize = 512;
/// Pieces that a log has of one key at most.
pub(super) const PIECES: usize = 8;
/// Longer ones, bytes, are made for each line.
const LONGEST: usize = 1_024;
/// After so many lines it is asked anew what calls of a course say alike: one odd call is not remembered for ever.
const LEARNT: u32 = 16_384;
/// So many calls of others must have asked for a course's place, and none of its own in between, before it gives way: where courses
/// are more than places (thousands of endpoints), lines are not made for one call each.
const PATIENCE: u8 = 16;
/// Seconds without a line after which all is forgotten.
const QUIET: u32 = 60;

/// What values of a connection are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionKey {
    log: u64,
    connection: u64,
    client: Option<SocketAddr>,
}

/// What values of a course are made of, beside names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CourseKey {
    log: u64,
    /// Numbers of which each has bits of its own.
    outcome: u64,
    /// Nothing is made of it, but methods of a service have lines of their own.
    method: u64,
    upstream: Option<SocketAddr>,
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
        let is_kept = |course: &&Course| course.line.is_some();
        self.connections.0.iter().flatten().count()
            + self.courses.slots.iter().flatten().map(AsRef::as_ref).filter(is_kept).count()
    }

    /// Times that a line of a course was made.
    #[cfg(test)]
    pub fn made(&self) -> u32 {
        self.courses.made
    }

    /// A second has passed.
    pub fn tick(&mut self) {
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet == QUIET {
            *self = Self::default();
        }
    }
}

/// Finds a slot by a number that differs for neighbours; the key says whether it is the right one.
#[derive(Debug, Default)]
pub(super) struct Connections(Vec<Option<Box<(ConnectionKey, Pieces)>>>);

impl Connections {
    /// The pieces of this key, made by `make` if they are not here; `None` where they are too long.
    #[inline]
    pub fn find(&mut self, log: u64, facts: &Facts<'_>, make: impl FnOnce() -> Pieces) -> Option<&Pieces> {
        let key = ConnectionKey { log, connection: facts.connection_id, client: facts.client };
        let place = facts.connection_id.wrapping_add(log.wrapping_mul(CONNECTIONS as u64 / 8 + 1));
        let slot = slot(&mut self.0, place, CONNECTIONS)?;
        if !slot.as_ref().is_some_and(|slot| slot.0 == key) {
            begin(slot, key, make);
        }
        slot.as_ref().map(|slot| &slot.1)
    }
}

#[cold]
fn begin(slot: &mut Option<Box<(ConnectionKey, Pieces)>>, key: ConnectionKey, make: impl FnOnce() -> Pieces) {
    let pieces = make();
    *slot = (pieces.text.len() <= LONGEST).then(|| Box::new((key, pieces)));
}

#[inline]
fn slot<T>(slots: &mut Vec<Option<T>>, place: u64, count: usize) -> Option<&mut Option<T>> {
    if slots.is_empty() {
        slots.resize_with(count, || None);
    }
    slots.get_mut(place as usize % count)
}

/// As `Connections`.
#[derive(Debug, Default)]
pub(super) struct Courses {
    slots: Vec<Option<Box<Course>>>,
    #[cfg(test)]
    made: u32,
}

/// The line of one course.
#[derive(Debug)]
struct Course {
    key: CourseKey,
    /// The rest of the key, one name behind the other, and how long each is.
    names: Box<[u8]>,
    lengths: [u32; NAMES],
    /// Unless it is too long.
    line: Option<Box<Ready>>,
    /// Lines until it is learnt anew.
    left: u32,
    /// Calls of others that it stays for.
    patience: u8,
}

/// Names of a course.
const NAMES: usize = 5;

impl Courses {
    /// The line of these facts but for what is their own; `None` where it is too long.
    #[inline]
    pub fn find(&mut self, line: &Line, facts: &Facts<'_>, scratch: &mut Vec<u8>) -> Option<&Ready> {
        let outcome = u64::from(facts.flags.0) << 32
            | u64::from(facts.status) << 16
            | u64::from(facts.rpc.is_some()) << 8
            | facts.protocol as u64;
        let method = facts.rpc.map_or(0, |rpc| sample(rpc.method));
        let key = CourseKey { log: line.id, outcome, method, upstream: facts.upstream };
        let names = [
            facts.route.as_bytes(),
            facts.cluster.as_bytes(),
            facts.details.as_bytes(),
            facts.upstream_failure.as_bytes(),
            facts.rpc.map_or(b"", |rpc| rpc.protocol.as_bytes()),
        ];
        // Where the names lie says nothing for sure, but is another for others.
        let place = [
            line.id,
            outcome,
            method,
            facts.route.as_ptr().addr() as u64,
            facts.cluster.as_ptr().addr() as u64,
            facts.details.as_ptr().addr() as u64,
            facts.upstream.map_or(0, number_of),
        ];
        let place = place
            .into_iter()
            .fold(0u64, |mixed, word| (mixed.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let slot = slot(&mut self.slots, place >> 48, COURSES)?;
        match slot {
            Some(course) if course.key == key && course.is_named(names) => {}
            Some(course) if course.patience > 0 => {
                course.patience -= 1;
                return None;
            }
            _ => *slot = Course::begun(key, names),
        }
        let course = slot.as_deref_mut()?;
        course.patience = PATIENCE;
        if let Some(own) = course.outdated(line, facts, scratch) {
            course.learn(line, facts, own);
            #[cfg(test)]
            {
                self.made += 1;
            }
        }
        course.line.as_deref()
    }
}

impl Course {
    #[inline]
    fn is_named(&self, names: [&[u8]; NAMES]) -> bool {
        let mut rest = &*self.names;
        names.iter().zip(&self.lengths).all(|(name, length)| {
            let Some((known, behind)) = rest.split_at_checked(*length as usize) else { return false };
            rest = behind;
            is_same(known, name)
        })
    }

    /// Knows nothing of its line. `None`: its names are too long.
    #[cold]
    fn begun(key: CourseKey, names: [&[u8]; NAMES]) -> Option<Box<Self>> {
        let begun = Self {
            key,
            names: names.concat().into(),
            lengths: names.map(|name| name.len() as u32),
            line: None,
            left: 0,
            patience: PATIENCE,
        };
        (begun.names.len() <= LONGEST).then(|| Box::new(begun))
    }

    /// The steady parts that are to be each call's own, if the line is to be made again; 0 where it is to be learnt anew.
    #[inline]
    fn outdated(&mut self, line: &Line, facts: &Facts<'_>, scratch: &mut Vec<u8>) -> Option<u32> {
        if self.left == 0 {
            return Some(0);
        }
        self.left -= 1;
        self.line.as_ref()?.changed(line, facts, scratch)
    }

    /// `own`: as of `outdated`.
    #[cold]
    fn learn(&mut self, line: &Line, facts: &Facts<'_>, own: u32) {
        self.line = Ready::made(line, facts, own);
        if own == 0 {
            self.left = LEARNT - 1;
        }
    }
}

/// Differs for most texts.
#[inline]
fn sample(text: &[u8]) -> u64 {
    let end = match text.last_chunk() {
        Some(end) => u64::from_le_bytes(*end),
        None => text.iter().fold(0, |mixed, &byte| mixed << 8 | u64::from(byte)),
    };
    end.wrapping_add(text.len() as u64)
}

/// Differs for most addresses.
fn number_of(address: SocketAddr) -> u64 {
    let ip = match address {
        SocketAddr::V4(address) => u64::from(address.ip().to_bits()),
        SocketAddr::V6(address) => address.ip().to_bits() as u64,
    };
    ip << 16 ^ u64::from(address.port())
}
