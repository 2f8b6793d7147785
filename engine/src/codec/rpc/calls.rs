//! The calls of a connection: their numbers, what is remembered of each, and the bytes that each keeps us from letting go of.
//!
//! Invariant: `held` and `gathered` are the sums over the calls that are there, so what a call held is free again when it ends,
//! however it ends. A call has the place in the table that its number modulo the table's length says: numbers are ours to give,
//! and one whose place is taken is not given. At most half of the places are taken, or all numbers have one, so the next free one is near.

use super::attachments::Edit;
use super::layout::Layout;
use crate::message::BodyLength;

/// What is kept of a request, to answer it from here: its numbers, mostly a few dozen bytes.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// So many of these bytes.
    Inline(u8, [u8; INLINE]),
    Boxed(Box<[u8]>),
}

/// Bytes that are kept without memory of their own.
const INLINE: usize = 30;

impl Kept {
    pub fn new(bytes: &[u8]) -> Self {
        Self::of(bytes, bytes.len())
    }

    /// The first `length` bytes of a frame.
    #[inline(always)]
    pub fn of(frame: &[u8], length: usize) -> Self {
        match frame.first_chunk() {
            // As many for each, whatever the length, which costs less than to copy those that count.
            Some(first) if length <= INLINE => Self::Inline(length as u8, *first),
            _ => Self::copy(frame.get(..length).unwrap_or(frame)),
        }
    }

    fn copy(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(target) => {
                target.copy_from_slice(bytes);
                Self::Inline(bytes.len() as u8, inline)
            }
            None => Self::Boxed(bytes.into()),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(&[]),
            Self::Boxed(bytes) => bytes,
        }
    }
}

/// What an answer from here must know of the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub shape: u16,
    pub front: &'a [u8],
    pub id: u64,
}

/// One cache line.
#[derive(Debug)]
pub(super) struct Call {
    /// Ours.
    number: u32,
    /// The peer's id (server role).
    pub id: u64,
    /// Shape of the request.
    pub shape: u16,
    pub one_way: bool,
    /// Its response is whole, though its request is not (client role).
    pub answered: bool,
    /// It is among those that wait for room.
    pub waits: bool,
    /// Bytes of its body that were handed over and for which no credit has come back.
    held: u32,
    pub kept: Kept,
    outgoing: Option<Box<Outgoing>>,
}

#[derive(Debug)]
struct Outgoing {
    draft: Draft,
    /// Bytes of the body that are gathered in the draft.
    gathered: usize,
}

const _: () = assert!(size_of::<Option<Call>>() <= 64);

impl Call {
    #[inline(always)]
    pub fn new(id: u64, shape: u16, one_way: bool, kept: Kept) -> Self {
        Self { number: 0, id, shape, one_way, answered: false, waits: false, held: 0, kept, outgoing: None }
    }

    pub fn draft(&mut self) -> Option<&mut Draft> {
        self.outgoing.as_deref_mut().map(|outgoing| &mut outgoing.draft)
    }

    pub fn set_draft(&mut self, draft: Draft) {
        let gathered = self.outgoing.take().map_or(0, |before| before.gathered);
        self.outgoing = Some(Box::new(Outgoing { draft, gathered }));
    }

    pub fn asked(&self) -> Asked<'_> {
        Asked { shape: self.shape, front: self.kept.bytes(), id: self.id }
    }
}

/// A message that is going out, until it is whole.
#[derive(Debug)]
pub(super) enum Draft {
    Frame {
        shape: u16,
        layout: Layout,
        /// All in front of the body, then what there is of it.
        bytes: Vec<u8>,
        body: BodyLength,
        /// What is yet to be done to its body.
        edit: Option<Box<Edit>>,
    },
    /// A reply of ours: HTTP status and text.
    Reply { status: u16, message: Vec<u8> },
}

#[derive(Debug)]
pub(super) struct Calls {
    /// A power of two of them, or none.
    places: Box<[Option<Call>]>,
    count: usize,
    /// The last number given to a call, or to a heartbeat.
    number: u32,
    /// Ones over the bits that our ids have.
    mask: u32,
    held: usize,
    gathered: usize,
}

/// Places of a connection's first call.
const FEWEST_PLACES: usize = 8;

impl Calls {
    /// `width`: bytes of the ids that we give.
    pub fn new(width: u8) -> Self {
        let mask = u32::MAX >> (32 - 8 * u32::from(width.clamp(1, 4)));
        Self { places: Box::default(), count: 0, number: 0, mask, held: 0, gathered: 0 }
    }

    /// The next number will be one behind this.
    #[cfg(test)]
    pub fn count_from(&mut self, number: u32) {
        self.number = number;
    }

    /// A number that no call has, and whose place is free.
    pub fn next_number(&mut self) -> u32 {
        loop {
            self.number = self.number.wrapping_add(1) & self.mask;
            // 0 means "no id" to some peers.
            if self.number != 0 && self.places.get(self.place(self.number)).is_none_or(Option::is_none) {
                return self.number;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// No further call may come: `most` of them are there, or there is no number left.
    pub fn are_full(&self, most: u32) -> bool {
        self.count as u64 >= u64::from(self.mask - 1).min(u64::from(most))
    }

    #[inline]
    fn place(&self, stream: u32) -> usize {
        stream as usize & self.places.len().wrapping_sub(1)
    }

    #[inline]
    pub fn get(&self, stream: u32) -> Option<&Call> {
        self.places.get(self.place(stream))?.as_ref().filter(|call| call.number == stream)
    }

    #[inline]
    pub fn get_mut(&mut self, stream: u32) -> Option<&mut Call> {
        let place = self.place(stream);
        self.places.get_mut(place)?.as_mut().filter(|call| call.number == stream)
    }

    /// `stream`: from `next_number`.
    // A call that is handed over would be written twice.
    #[inline(always)]
    pub fn insert(&mut self, stream: u32, call: impl FnOnce() -> Call) {
        if 2 * self.count >= self.places.len() {
            self.grow();
        }
        let place = self.place(stream);
        if let Some(free) = self.places.get_mut(place) {
            self.count += usize::from(free.is_none());
            *free = Some(Call { number: stream, ..call() });
        }
    }

    /// Numbers with places of their own have them in a longer table, too.
    #[cold]
    fn grow(&mut self) {
        let length = (2 * self.places.len()).max(FEWEST_PLACES);
        let before = std::mem::replace(&mut self.places, (0..length).map(|_| None).collect());
        for call in before.into_iter().flatten() {
            let place = self.place(call.number);
            if let Some(free) = self.places.get_mut(place) {
                *free = Some(call);
            }
        }
    }

    pub fn remove(&mut self, stream: u32) -> Option<Call> {
        let place = self.place(stream);
        let call = self.places.get_mut(place)?.take_if(|call| call.number == stream)?;
        self.count -= 1;
        self.held -= call.held as usize;
        self.gathered -= call.outgoing.as_ref().map_or(0, |outgoing| outgoing.gathered);
        Some(call)
    }

    /// As `remove`, for a call that nobody wants to look at any more: it ends where it lies.
    #[inline]
    pub fn end(&mut self, stream: u32) {
        let place = self.place(stream);
        if let Some(taken) = self.places.get_mut(place)
            && let Some(call) = taken.as_ref().filter(|call| call.number == stream)
        {
            self.count -= 1;
            self.held -= call.held as usize;
            self.gathered -= call.outgoing.as_ref().map_or(0, |outgoing| outgoing.gathered);
            *taken = None;
        }
    }

    /// All of them, the lowest last.
    pub fn drain(&mut self) -> Vec<u32> {
        (self.held, self.gathered, self.count) = (0, 0, 0);
        let places = std::mem::take(&mut self.places);
        let mut streams: Vec<_> = places.into_iter().flatten().map(|call| call.number).collect();
        streams.sort_unstable_by(|one, other| other.cmp(one));
        streams
    }

    /// Bytes of this call's body were handed over.
    #[inline]
    pub fn hand_over(&mut self, stream: u32, bytes: usize) {
        if let Some(call) = self.get_mut(stream) {
            call.held += bytes as u32;
            self.held += bytes;
        }
    }

    /// Bytes of this call's body have left our hands.
    #[inline]
    pub fn grant(&mut self, stream: u32, bytes: usize) {
        if let Some(call) = self.get_mut(stream) {
            let bytes = bytes.min(call.held as usize);
            call.held -= bytes as u32;
            self.held -= bytes;
        }
    }

    /// Bytes handed over for which no credit has come back.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes have joined this call's draft.
    pub fn gather(&mut self, stream: u32, bytes: usize) {
        if let Some(outgoing) = self.get_mut(stream).and_then(|call| call.outgoing.as_mut()) {
            outgoing.gathered += bytes;
            self.gathered += bytes;
        }
    }

    /// The message that this call is to send, which goes out now.
    pub fn take_draft(&mut self, stream: u32) -> Option<Draft> {
        let Outgoing { draft, gathered } = *self.get_mut(stream)?.outgoing.take()?;
        self.gathered -= gathered;
        Some(draft)
    }

    /// Bytes of bodies in drafts.
    pub fn gathered(&self) -> usize {
        self.gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call::new(0, 0, false, Kept::new(&[]))
    }

    #[test]
    fn numbers_wrap_around_those_that_are_taken() {
        for (width, last) in [(4, u32::MAX), (2, 0xffff), (1, 0xff)] {
            let mut calls = Calls::new(width);
            calls.count_from(last - 2);
            calls.insert(last, call);
            calls.insert(1, call);
            assert_eq!([(); 3].map(|()| calls.next_number()), [last - 1, 2, 3], "{width}");
        }
    }

    #[test]
    fn a_connection_is_full_when_no_number_is_left() {
        let mut calls = Calls::new(1);
        while !calls.are_full(1_000) {
            let number = calls.next_number();
            calls.insert(number, call);
        }
        assert_eq!(calls.len(), 254);
        assert!(calls.are_full(1_000) && !Calls::new(4).are_full(1));
    }

    #[test]
    fn old_calls_keep_their_numbers_while_new_ones_come_and_go() {
        let mut calls = Calls::new(2);
        let mut all = std::collections::BTreeMap::new();
        for round in 0..100_000u64 {
            let number = calls.next_number();
            assert!(all.insert(number, round).is_none());
            calls.insert(number, || Call::new(round, 0, false, Kept::new(&[])));
            // One of five stays for long, the others leave after a few.
            let gone = all.iter().find(|(_, born)| round - **born > if **born % 5 == 0 { 900 } else { 3 });
            if let Some(number) = gone.map(|(number, _)| *number) {
                let (before, born) = (calls.len(), all.remove(&number));
                if round % 2 == 0 {
                    calls.end(number);
                    calls.end(number);
                } else {
                    assert_eq!(calls.remove(number).map(|call| call.id), born);
                }
                assert!(calls.get(number).is_none() && calls.remove(number).is_none());
                assert_eq!(calls.len(), before - 1);
            }
            assert_eq!(calls.len(), all.len());
        }
        assert!(all.iter().all(|(number, born)| calls.get(*number).is_some_and(|call| call.id == *born)));
        assert!(calls.drain().into_iter().rev().eq(all.into_keys()) && calls.is_empty());
    }

    #[test]
    fn what_a_call_held_is_free_when_it_ends() {
        let mut calls = Calls::new(4);
        calls.insert(1, call);
        calls.insert(2, call);
        calls.hand_over(1, 700);
        calls.hand_over(2, 50);
        let reply = Draft::Reply { status: 0, message: Vec::new() };
        calls.get_mut(1).unwrap().set_draft(reply);
        calls.gather(1, 30);
        calls.grant(1, 200);
        calls.grant(2, 9_999);
        assert_eq!((calls.held(), calls.gathered()), (500, 30));
        calls.end(1);
        calls.grant(1, 500);
        calls.hand_over(1, 5);
        assert_eq!((calls.held(), calls.gathered()), (0, 0));
    }
}
