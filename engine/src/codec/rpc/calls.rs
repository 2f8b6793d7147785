//! The calls of a connection: their numbers, what is remembered of each, and the bytes that each keeps us from letting go of.
//!
//! Invariant: `held` and `gathered` are the sums over the calls that are there, so what a call held is free again when it ends,
//! however it ends.

use std::collections::HashMap;

use super::attachments::Edit;
use super::shape::Layout;
use crate::message::{BodyLength, QuickHash};

/// What is kept of a request, to answer it from here: its numbers, mostly a few dozen bytes.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Inline(u8, [u8; 30]),
    Boxed(Box<[u8]>),
}

impl Kept {
    pub fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; 30];
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

#[derive(Debug)]
pub(super) struct Call {
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
    /// Bytes of its body that are gathered in the draft.
    gathered: u32,
    pub kept: Kept,
    pub draft: Option<Draft>,
}

impl Call {
    pub fn new(id: u64, shape: u16, one_way: bool, kept: Kept) -> Self {
        Self { id, shape, one_way, answered: false, waits: false, held: 0, gathered: 0, kept, draft: None }
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
    calls: HashMap<u32, Call, QuickHash>,
    /// The last number given to a call, or to a heartbeat.
    number: u32,
    /// Ones over the bits that our ids have.
    mask: u32,
    held: usize,
    gathered: usize,
}

impl Calls {
    /// `width`: bytes of the ids that we give.
    pub fn new(width: u8) -> Self {
        let mask = u32::MAX >> (32 - 8 * u32::from(width.clamp(1, 4)));
        Self { calls: HashMap::default(), number: 0, mask, held: 0, gathered: 0 }
    }

    /// The next number will be one behind this.
    #[cfg(test)]
    pub fn count_from(&mut self, number: u32) {
        self.number = number;
    }

    /// A number that no call has.
    pub fn next_number(&mut self) -> u32 {
        loop {
            self.number = self.number.wrapping_add(1) & self.mask;
            // 0 means "no id" to some peers.
            if self.number != 0 && !self.calls.contains_key(&self.number) {
                return self.number;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// No further call may come: `most` of them are there, or there is no number left.
    pub fn are_full(&self, most: u32) -> bool {
        self.calls.len() as u64 >= u64::from(self.mask - 1).min(u64::from(most))
    }

    #[inline]
    pub fn get(&self, stream: u32) -> Option<&Call> {
        self.calls.get(&stream)
    }

    #[inline]
    pub fn get_mut(&mut self, stream: u32) -> Option<&mut Call> {
        self.calls.get_mut(&stream)
    }

    pub fn insert(&mut self, stream: u32, call: Call) {
        self.calls.insert(stream, call);
    }

    pub fn remove(&mut self, stream: u32) -> Option<Call> {
        let call = self.calls.remove(&stream)?;
        self.held -= call.held as usize;
        self.gathered -= call.gathered as usize;
        Some(call)
    }

    /// All of them, the lowest last.
    pub fn drain(&mut self) -> Vec<u32> {
        (self.held, self.gathered) = (0, 0);
        let mut streams: Vec<_> = self.calls.drain().map(|(stream, _)| stream).collect();
        streams.sort_unstable_by(|one, other| other.cmp(one));
        streams
    }

    /// Bytes of this call's body were handed over.
    #[inline]
    pub fn hand_over(&mut self, stream: u32, bytes: usize) {
        if let Some(call) = self.calls.get_mut(&stream) {
            call.held += bytes as u32;
            self.held += bytes;
        }
    }

    /// Bytes of this call's body have left our hands.
    #[inline]
    pub fn grant(&mut self, stream: u32, bytes: usize) {
        if let Some(call) = self.calls.get_mut(&stream) {
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
        if let Some(call) = self.calls.get_mut(&stream) {
            call.gathered += bytes as u32;
            self.gathered += bytes;
        }
    }

    /// The message that this call is to send, which goes out now.
    pub fn take_draft(&mut self, stream: u32) -> Option<Draft> {
        let call = self.calls.get_mut(&stream)?;
        self.gathered -= std::mem::take(&mut call.gathered) as usize;
        call.draft.take()
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
            calls.insert(last, call());
            calls.insert(1, call());
            assert_eq!([(); 3].map(|()| calls.next_number()), [last - 1, 2, 3], "{width}");
        }
    }

    #[test]
    fn a_connection_is_full_when_no_number_is_left() {
        let mut calls = Calls::new(1);
        while !calls.are_full(1_000) {
            let number = calls.next_number();
            calls.insert(number, call());
        }
        assert_eq!(calls.len(), 254);
        assert!(calls.are_full(1_000) && !Calls::new(4).are_full(1));
    }

    #[test]
    fn what_a_call_held_is_free_when_it_ends() {
        let mut calls = Calls::new(4);
        calls.insert(1, call());
        calls.insert(2, call());
        calls.hand_over(1, 700);
        calls.hand_over(2, 50);
        calls.gather(1, 30);
        calls.grant(1, 200);
        calls.grant(2, 9_999);
        assert_eq!((calls.held(), calls.gathered()), (500, 30));
        calls.remove(1);
        calls.grant(1, 500);
        calls.hand_over(1, 5);
        assert_eq!((calls.held(), calls.gathered()), (0, 0));
    }
}
