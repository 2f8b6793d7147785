//! Large frames, as they come: what is behind their beginning, which `receive` handles.
//!
//! In: bytes of a body, and of what is behind it. Out: pieces of the body, or nothing, where nobody waits for it any more. Invariant: the
//! last piece of a body goes out when its checksum is right, and with it the next frame may begin.

use super::broken;
use super::connection::{Incoming, State};
use super::receive::Seen;
use super::summing::Summing;
use crate::codec::contract::{ConnectionFault, Event, Input, StreamId};
use crate::message::Tick;

impl State {
    /// What comes behind the beginning of a large frame.
    #[inline(never)]
    pub fn next_of_large<'b>(
        &mut self,
        input: &mut Input<'b>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let Incoming::Skip(left) = self.incoming else { return self.next_piece(input, now) };
        self.skip(left, input);
        self.expect_more(matches!(self.incoming, Incoming::Skip(_)), now);
        Ok(None)
    }

    /// Consumes all in front of the body of a large frame, and gives none of it. Says whether it was all.
    #[cold]
    pub fn take_front_of_large<'b>(
        &mut self,
        seen: &Seen<'_>,
        stream: u32,
        input: &mut Input<'b>,
    ) -> (&'b [u8], bool) {
        let layout = seen.layout;
        let front = input.take(layout.body_start());
        if layout.body_length() == 0 {
            input.take(layout.tail);
            return (&[], true);
        }
        let verifies = seen.shape.checksum.as_ref().is_some_and(|sum| sum.verify);
        self.incoming = Incoming::Body {
            stream,
            left: layout.body_length(),
            tail: layout.tail,
            summing: if verifies { Summing::begin(seen.shape, front, layout) } else { None },
        };
        (&[], false)
    }

    /// The next bytes of a body.
    fn next_piece<'b>(
        &mut self,
        input: &mut Input<'b>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let Incoming::Body { stream, left, tail, summing } = &mut self.incoming else {
            return Ok(None);
        };
        let (stream, available) = (*stream, input.rest().len());
        if self.calls.get(stream).is_none() {
            // Answered already, or given up.
            self.incoming = Incoming::Skip(*left + *tail);
            return self.next_of_large(input, now);
        }
        // The last byte waits for the checksum behind it, so that the end is told with the verdict; the rest is not held up.
        let count = if available < *left + *tail { available.min(left.saturating_sub(1)) } else { *left };
        if count == 0 {
            return Ok(None);
        }
        let (end, tail) = (count == *left, *tail);
        if let Some(summing) = summing {
            summing.update(input.rest().get(..count).unwrap_or(&[]));
        }
        *left -= count;
        let verdict = summing.filter(|_| end);
        let bytes = &*input.take(count);
        if end {
            let behind = input.take(tail);
            if verdict.is_some_and(|summing| summing.tail().bytes() != behind) {
                return Err(self.fault(broken("a checksum is wrong")));
            }
            self.incoming = Incoming::Frame;
        }
        self.expect_more(!end, now);
        if end && self.is_client {
            self.answered(stream);
        } else {
            self.calls.hand_over(stream, bytes.len());
        }
        Ok(Some(Event::DataReceived { stream: StreamId(stream), bytes, end }))
    }
}
