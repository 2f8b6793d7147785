//! From bytes to events, one frame after another.
//!
//! A frame of up to `WHOLE` bytes waits in the carry until it is whole: then its checksum is verified and nothing can go wrong with
//! it any more. Of a larger one the first `WHOLE` bytes are waited for, which hold its head; the rest passes as it comes, with a
//! running checksum whose verdict is in before the last piece is handed over.

use super::calls::{Call, Kept};
use super::connection::{First, Incoming, State};
use super::description::{Description, Located};
use super::head::Reading;
use super::layout::Layout;
use super::shape::Shape;
use super::summing::{Checksum, Summing};
use super::window::WINDOW;
use super::write::{self, Telling};
use super::{Broken, FRAME_TIMEOUT, WHOLE, broken, spoilt};
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Ending, Event, Input, StreamId};
use crate::message::{ResetReason, Tick};
use crate::plan::RpcKind;

/// What came of a look at the next frame.
pub(super) enum Step<'b> {
    Event(Event<'b>),
    Again,
    Wait,
}

/// A frame that lies in the input: whole, or its first bytes.
pub(super) struct Seen<'a> {
    pub located: Located,
    pub shape: &'a Shape,
    pub layout: &'a Layout,
}

/// What the next bytes are.
enum Look<'a> {
    Seen(Located, &'a Shape),
    /// So many bytes, to be handled or to know more.
    Needs(usize),
}

impl State {
    pub fn next_event<'b>(
        &mut self,
        description: &Description,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if self.writable && out.room() > 0 {
            if let Some(stream) = self.waiting.pop_front() {
                if let Some(call) = self.calls.get_mut(stream) {
                    call.waits = false;
                }
                return Ok(Some(Event::StreamWritable { stream: StreamId(stream) }));
            }
            self.writable = false;
        }
        loop {
            if self.over.is_some() {
                return Ok(None);
            }
            if input.rest().is_empty() {
                return self.at_end(input);
            }
            match &mut self.incoming {
                Incoming::Frame => match self.next_frame(description, input, out, now)? {
                    Step::Event(event) => return Ok(Some(event)),
                    Step::Again => {}
                    Step::Wait => return self.at_end(input),
                },
                Incoming::Skip(left) => {
                    *left -= input.take(*left).len();
                    let is_over = *left == 0;
                    if is_over {
                        self.incoming = Incoming::Frame;
                    }
                    self.expect_more(!is_over, now);
                }
                Incoming::Body { .. } => match self.next_piece(input, now)? {
                    Step::Event(event) => return Ok(Some(event)),
                    Step::Again => {}
                    Step::Wait => return self.at_end(input),
                },
            }
        }
    }

    /// The rest of the frame must go on coming, if there is a rest.
    #[inline]
    fn expect_more(&mut self, is_left: bool, now: Tick) {
        self.frame_due = is_left.then(|| now.after_milliseconds(FRAME_TIMEOUT));
    }

    /// More bytes are needed; perhaps none will come.
    fn at_end<'b>(&mut self, input: &Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        if !input.ended || self.parked || self.end_reported {
            return Ok(None);
        }
        self.end_reported = true;
        if !input.rest().is_empty() || !matches!(self.incoming, Incoming::Frame) {
            let what = "the connection ended within a frame";
            return Err(self.fault(Broken { reason: ResetReason::ConnectionClosed, ..broken(what) }));
        }
        self.over = Some(Ending::Closed);
        Ok(Some(Event::InputEnded))
    }

    // Within the caller's loop, the words of its faults would be made ready for each event.
    #[inline(never)]
    fn next_frame<'b>(
        &mut self,
        description: &Description,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, ConnectionFault> {
        // Answers that nobody reads must not pile up.
        self.parked = !self.is_client && out.room() == 0;
        if self.parked {
            return Ok(Step::Wait);
        }
        let mut layout = Layout::default();
        let seen = match look(description, input.rest(), &mut layout) {
            Ok(Look::Seen(located, shape)) => Seen { located, shape, layout: &layout },
            Ok(Look::Needs(bytes)) => {
                if self.frame_due.is_none() {
                    self.frame_due = Some(now.after_milliseconds(FRAME_TIMEOUT));
                }
                if !self.is_client {
                    self.gather.reserve(bytes);
                }
                return Ok(Step::Wait);
            }
            Err(broken) => return self.spoilt(description, input, broken, out),
        };
        self.frame_due = None;
        self.gather.release();
        self.heart.note_life(now);
        let taken = match seen.located.kind {
            RpcKind::Request | RpcKind::OneWay if !self.is_client => {
                return self.begin_request(description, &seen, input, out);
            }
            RpcKind::Response if self.is_client => {
                self.heart.note_traffic(description, now);
                return self.begin_response(description, &seen, input, out);
            }
            RpcKind::Request => {
                // Nobody here serves a server.
                self.answer(description, &seen, input.rest(), 404, "no such service here", out);
                Step::Again
            }
            RpcKind::Heartbeat => {
                self.answer_heartbeat(description, &seen, input.rest(), out);
                Step::Again
            }
            RpcKind::GoAway if self.is_client && !std::mem::replace(&mut self.told_to_go, true) => {
                Step::Event(Event::GoAwayReceived { last: StreamId(u32::MAX), reason: ResetReason::NoError })
            }
            RpcKind::GoAway | RpcKind::HeartbeatAnswer | RpcKind::Response | RpcKind::OneWay => Step::Again,
        };
        self.skip(&seen, input);
        Ok(taken)
    }

    fn skip(&mut self, seen: &Seen<'_>, input: &mut Input<'_>) {
        let left = seen.layout.size - input.take(seen.layout.size).len();
        self.incoming = if left == 0 { Incoming::Frame } else { Incoming::Skip(left) };
    }

    fn begin_request<'b>(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
    ) -> Result<Step<'b>, ConnectionFault> {
        let (frame, layout) = (input.rest(), seen.layout);
        let one_way = seen.located.kind == RpcKind::OneWay;
        if self.calls.len() >= description.limits.calls as usize {
            if !one_way {
                self.answer(description, seen, frame, 503, "too many calls on this connection", out);
            }
            self.skip(seen, input);
            return Ok(Step::Again);
        }
        let head = match reading(description, seen, frame).request(one_way) {
            Ok(head) => head,
            Err(broken) => return Err(self.refuse(description, frame, broken, out)),
        };
        let remembered = if description.remembers_parts { layout.body_start() } else { seen.shape.fixed };
        let kept = Kept::of(frame, remembered);
        let (id, pin) = head.frame.as_ref().map_or((0, 0), |frame| (frame.number, frame.pin));
        if self.first.is_none() {
            self.first = Some(First { shape: seen.located.shape, pin, kept: kept.clone() });
        }
        let stream = self.calls.next_number();
        self.calls.insert(stream, Call::new(id, seen.located.shape, one_way, kept));
        let (body, end) = self.take_front(seen, stream, input);
        Ok(Step::Event(Event::RequestReceived { stream: StreamId(stream), head, body, end }))
    }

    fn begin_response<'b>(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
    ) -> Result<Step<'b>, ConnectionFault> {
        let frame = input.rest();
        let id = seen.shape.id.read(frame, seen.layout);
        let stream = id
            .and_then(|id| u32::try_from(id).ok())
            .filter(|stream| self.calls.get(*stream).is_some_and(|call| !call.answered));
        let Some(stream) = stream else {
            // Too late: its call is over.
            self.skip(seen, input);
            return Ok(Step::Again);
        };
        let head = match reading(description, seen, frame).response() {
            Ok(head) => head,
            Err(broken) => return self.spoilt(description, input, broken, out),
        };
        let (body, end) = self.take_front(seen, stream, input);
        if end {
            self.answered(stream);
        }
        Ok(Step::Event(Event::ResponseReceived { stream: StreamId(stream), head, body, end }))
    }

    /// A response is whole: its call is over, unless its request is still being written.
    fn answered(&mut self, stream: u32) {
        if self.is_writing(stream)
            && let Some(call) = self.calls.get_mut(stream)
        {
            call.answered = true;
        } else {
            self.calls.remove(stream);
        }
    }

    /// Consumes the frame and gives its body, or all in front of the body if the frame is not whole. Says whether it was all.
    #[inline]
    fn take_front<'b>(&mut self, seen: &Seen<'_>, stream: u32, input: &mut Input<'b>) -> (&'b [u8], bool) {
        let layout = seen.layout;
        if layout.size <= WHOLE {
            let frame = &*input.take(layout.size);
            let body = frame.get(layout.body_start()..layout.body_start() + layout.body_length());
            return (body.unwrap_or(&[]), true);
        }
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

    fn next_piece<'b>(&mut self, input: &mut Input<'b>, now: Tick) -> Result<Step<'b>, ConnectionFault> {
        let Incoming::Body { stream, left, tail, summing } = &mut self.incoming else {
            return Ok(Step::Again);
        };
        let (stream, available) = (*stream, input.rest().len());
        if self.calls.get(stream).is_none() {
            // Answered already, or given up.
            self.incoming = Incoming::Skip(*left + *tail);
            return Ok(Step::Again);
        }
        // The last byte waits for the checksum behind it, so that the end is told with the verdict; the rest is not held up.
        let count = if available < *left + *tail { available.min(left.saturating_sub(1)) } else { *left };
        if count == 0 {
            return Ok(Step::Wait);
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
        Ok(Step::Event(Event::DataReceived { stream: StreamId(stream), bytes, end }))
    }

    fn answer_heartbeat(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        frame: &[u8],
        out: &mut Out<'_>,
    ) {
        let front = frame.get(..seen.layout.body_start()).unwrap_or(&[]);
        let mut answer = self.buffer();
        let telling = Telling { id: seen.shape.id.read(frame, seen.layout), ..Telling::default() };
        if write::make(
            description,
            &description.heartbeat_answers,
            seen.located.shape,
            front,
            telling,
            &mut answer,
        ) {
            self.put_whole(answer, out);
        }
    }
}

fn reading<'a>(description: &'a Description, seen: &'a Seen<'_>, frame: &'a [u8]) -> Reading<'a> {
    let frame = frame.get(..seen.layout.size).unwrap_or(frame);
    Reading { description, index: seen.located.shape, shape: seen.shape, frame, layout: seen.layout }
}

/// The next frame, if enough of it is there to be handled.
fn look<'a>(description: &'a Description, bytes: &[u8], layout: &mut Layout) -> Result<Look<'a>, Broken> {
    let Some(located) = description.locate(bytes)? else { return Ok(Look::Needs(WINDOW)) };
    let shape = description.shape(located.shape).ok_or(broken("no such frame"))?;
    let Some(size) = shape.measure(bytes, layout)? else { return Ok(Look::Needs(shape.fixed)) };
    if size as u64 > description.limits.frame {
        return Err(spoilt("a frame is larger than the protocol allows"));
    }
    let needed = size.min(WHOLE);
    let Some(frame) = bytes.get(..needed) else { return Ok(Look::Needs(needed)) };
    if shape.size.is_some() {
        shape.lay(frame, size, layout)?;
    }
    if layout.body_start() as u64 > description.limits.head {
        return Err(spoilt("a frame has too much in front of its body"));
    }
    let is_small = matches!(located.kind, RpcKind::Heartbeat | RpcKind::HeartbeatAnswer | RpcKind::GoAway);
    if needed < size && is_small {
        return Err(broken("a heartbeat is too large"));
    }
    // Of a large frame, one that covers nothing of the body and stands in front of it; the others run along with the body.
    let is_here = |sum: &Checksum| needed == size || (sum.last_is_in_front && !sum.trails);
    if let Some(checksum) =
        shape.checksum.as_ref().filter(|sum| layout.has_checksum && sum.verify && is_here(sum))
    {
        let body = frame.get(layout.body_start()..layout.body_start() + layout.body_length()).unwrap_or(&[]);
        if checksum.place.read(frame, layout) != Some(checksum.over(frame, &[body], layout)) {
            return Err(broken("a checksum is wrong"));
        }
    }
    Ok(Look::Seen(located, shape))
}
