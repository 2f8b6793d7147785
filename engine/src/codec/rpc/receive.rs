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
use super::look::{Look, glance, look};
use super::shape::Shape;
use super::write::{self, Telling};
use super::{Broken, FRAME_TIMEOUT, WHOLE, broken};
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Ending, Event, Input, StreamId};
use crate::message::{ResetReason, Tick};
use crate::plan::RpcKind;

/// A frame that lies in the input: whole, or its first bytes.
pub(super) struct Seen<'a> {
    pub located: Located,
    pub shape: &'a Shape,
    pub layout: &'a Layout,
}

/// What a frame does here.
enum Role {
    /// It begins a call.
    Request,
    /// It ends this one.
    Response(u32),
    None,
}

impl State {
    pub fn next_event<'b>(
        &mut self,
        description: &Description,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let mut layout = Layout::default();
        if !self.writable
            && self.over.is_none()
            && (self.is_client || out.room() > 0)
            && matches!(self.incoming, Incoming::Frame)
            && let Some((located, shape)) = glance(description, input.rest(), &mut self.opening, &mut layout)
        {
            let seen = Seen { located, shape, layout: &layout };
            match self.role_of(description, &seen, input.rest()) {
                Role::Request => return self.begin_request(description, &seen, input, out, now),
                Role::Response(stream) => {
                    return self.begin_response(description, &seen, stream, input, out, now);
                }
                Role::None => {}
            }
        }
        self.next_event_closely(description, input, out, now)
    }

    /// As `next_event`, frame after frame until there is one, whatever comes.
    // A loop, which the first frame must not pay for.
    #[inline(never)]
    pub fn next_event_closely<'b>(
        &mut self,
        description: &Description,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if self.writable
            && let Some(stream) = self.next_writable(out)
        {
            return Ok(Some(Event::StreamWritable { stream }));
        }
        while self.over.is_none() {
            if input.rest().is_empty() {
                return self.at_end(input);
            }
            if !matches!(self.incoming, Incoming::Frame) {
                match self.next_of_large(input, now)? {
                    None if matches!(self.incoming, Incoming::Body { .. }) => return self.at_end(input),
                    None => continue,
                    event => return Ok(event),
                }
            }
            // Answers that nobody reads must not pile up.
            self.parked = !self.is_client && out.room() == 0;
            if self.parked {
                return Ok(None);
            }
            let mut layout = Layout::default();
            let (located, shape) = match look(description, input.rest(), &mut layout) {
                Ok(Look::Seen(located, shape)) => (located, shape),
                Ok(Look::Needs(bytes)) => {
                    self.wait_for(bytes, now);
                    return self.at_end(input);
                }
                Err(broken) => match self.spoilt(description, input, broken, out)? {
                    None => continue,
                    event => return Ok(event),
                },
            };
            let seen = Seen { located, shape, layout: &layout };
            let event = match self.role_of(description, &seen, input.rest()) {
                Role::Request => self.begin_request(description, &seen, input, out, now)?,
                Role::Response(stream) => self.begin_response(description, &seen, stream, input, out, now)?,
                Role::None => self.pass_over(description, &seen, input, out, now),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// What a frame is to this connection.
    #[inline(always)]
    fn role_of(&self, description: &Description, seen: &Seen<'_>, frame: &[u8]) -> Role {
        match seen.located.kind {
            RpcKind::Request | RpcKind::OneWay
                if !self.is_client && self.calls.len() < description.limits.calls as usize =>
            {
                Role::Request
            }
            RpcKind::Response if self.is_client => {
                let id = seen.shape.id.read(frame, seen.layout).and_then(|id| u32::try_from(id).ok());
                let is_called = |stream: &u32| self.calls.get(*stream).is_some_and(|call| !call.answered);
                id.filter(is_called).map_or(Role::None, Role::Response)
            }
            _ => Role::None,
        }
    }

    /// A frame has come.
    #[inline(always)]
    fn note_frame(&mut self, now: Tick) {
        self.parked = false;
        self.frame_due = None;
        self.gather.release();
        self.heart.note_life(now);
    }

    /// A stream that waited and may write now.
    #[cold]
    fn next_writable(&mut self, out: &Out<'_>) -> Option<StreamId> {
        if out.room() == 0 {
            return None;
        }
        let stream = self.waiting.pop_front();
        self.writable = stream.is_some();
        if let Some(call) = stream.and_then(|stream| self.calls.get_mut(stream)) {
            call.waits = false;
        }
        stream.map(StreamId)
    }

    /// The rest of the frame must go on coming, if there is a rest.
    #[inline]
    pub fn expect_more(&mut self, is_left: bool, now: Tick) {
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

    /// The frame that has begun needs so many bytes.
    #[cold]
    fn wait_for(&mut self, bytes: usize, now: Tick) {
        if self.frame_due.is_none() {
            self.frame_due = Some(now.after_milliseconds(FRAME_TIMEOUT));
        }
        if !self.is_client {
            self.gather.reserve(bytes);
        }
    }

    /// A frame that begins and ends no call, or none that we take.
    #[cold]
    fn pass_over<'b>(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Option<Event<'b>> {
        self.note_frame(now);
        let mut event = None;
        match seen.located.kind {
            RpcKind::Request if !self.is_client => {
                self.answer(description, seen, input.rest(), 503, "too many calls on this connection", out);
            }
            // Nobody here serves a server.
            RpcKind::Request => {
                self.answer(description, seen, input.rest(), 404, "no such service here", out)
            }
            RpcKind::Heartbeat => self.answer_heartbeat(description, seen, input.rest(), out),
            RpcKind::GoAway if self.is_client && !std::mem::replace(&mut self.told_to_go, true) => {
                let (last, reason) = (StreamId(u32::MAX), ResetReason::NoError);
                event = Some(Event::GoAwayReceived { last, reason });
            }
            // Too late: its call is over.
            RpcKind::Response if self.is_client => self.heart.note_traffic(description, now),
            RpcKind::GoAway | RpcKind::HeartbeatAnswer | RpcKind::Response | RpcKind::OneWay => {}
        }
        self.skip(seen.layout.size, input);
        event
    }

    /// Passes over so many bytes, now and when they come.
    pub fn skip(&mut self, bytes: usize, input: &mut Input<'_>) {
        let left = bytes - input.take(bytes).len();
        self.incoming = if left == 0 { Incoming::Frame } else { Incoming::Skip(left) };
    }

    #[inline(never)]
    fn begin_request<'b>(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        self.note_frame(now);
        let (frame, layout) = (input.rest(), seen.layout);
        let one_way = seen.located.kind == RpcKind::OneWay;
        let head = match reading(description, seen, frame).request(one_way) {
            Ok(head) => head,
            Err(broken) => return Err(self.refuse(description, frame, broken, out)),
        };
        let remembered = if description.remembers_parts { layout.body_start() } else { seen.shape.fixed };
        let (id, pin) = head.frame.as_ref().map_or((0, 0), |frame| (frame.number, frame.pin));
        if self.first.is_none() {
            let kept = Kept::of(frame, remembered);
            self.first = Some(First { shape: seen.located.shape, pin, kept });
        }
        let stream = self.calls.next_number();
        // What is kept is written where the call lies.
        self.calls.insert(stream, || Call::new(id, seen.located.shape, one_way, Kept::of(frame, remembered)));
        let (body, end) = self.take_front(seen, stream, input);
        Ok(Some(Event::RequestReceived { stream: StreamId(stream), head, body, end }))
    }

    #[inline(never)]
    fn begin_response<'b>(
        &mut self,
        description: &Description,
        seen: &Seen<'_>,
        stream: u32,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        self.note_frame(now);
        self.heart.note_traffic(description, now);
        let frame = input.rest();
        let head = match reading(description, seen, frame).response() {
            Ok(head) => head,
            Err(broken) => return self.spoilt(description, input, broken, out),
        };
        let (body, end) = self.take_front(seen, stream, input);
        if end {
            self.answered(stream);
        }
        Ok(Some(Event::ResponseReceived { stream: StreamId(stream), head, body, end }))
    }

    /// A response is whole: its call is over, unless its request is still being written.
    #[inline]
    pub fn answered(&mut self, stream: u32) {
        if self.is_writing(stream)
            && let Some(call) = self.calls.get_mut(stream)
        {
            call.answered = true;
        } else {
            self.calls.end(stream);
        }
    }

    /// Consumes the frame and gives its body, or all in front of the body if the frame is not whole. Says whether it was all.
    #[inline(always)]
    fn take_front<'b>(&mut self, seen: &Seen<'_>, stream: u32, input: &mut Input<'b>) -> (&'b [u8], bool) {
        let layout = seen.layout;
        if layout.size > WHOLE {
            return self.take_front_of_large(seen, stream, input);
        }
        let frame = &*input.take(layout.size);
        let body = frame.get(layout.body.0 as usize..layout.body.1 as usize);
        (body.unwrap_or(&[]), true)
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
