//! One connection, in either role: its calls, what is being read and written, and its end.
//!
//! In: bytes of the peer and commands of the exchange. Out: events, and frames in the outbox. Invariant: between two frames of a connection
//! there is never a part of another; a call is in `calls` from its request until its response has been written (server role) or read
//! (client role). `receive`, `send` and `heartbeat` are its directions and its pulse, `ending` ends calls before their time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::calls::{Call, Calls, Kept};
use super::description::Description;
use super::gather::Gather;
use super::heartbeat::Heart;
use super::summing::Summing;
use super::{FRAME_TIMEOUT, WHOLE, late};
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use crate::message::Tick;

/// Bytes handed over for which no credit has come back, before a caller is no longer read; and an upstream, which must never wait
/// for one caller among many.
const CALLER_WINDOW: usize = 1 << 20;
const UPSTREAM_WINDOW: usize = 32 << 20;
/// What may be queued to one peer; more ends its connection.
pub(super) const MAX_QUEUED: usize = 32 << 20;
/// Buffers that are kept for the next frames.
const SPARE: usize = 4;

/// What the next bytes are.
#[derive(Debug)]
pub(super) enum Incoming {
    Frame,
    /// The body of a stream's frame, then `tail` bytes.
    Body {
        stream: u32,
        left: usize,
        tail: usize,
        /// Of a large frame whose checksum is verified.
        summing: Option<Summing>,
    },
    Skip(usize),
}

/// The large frame that is being written.
#[derive(Debug)]
pub(super) struct Writing {
    pub stream: u32,
    pub left: usize,
    pub summing: Option<Summing>,
    /// The source waits for room.
    pub blocked: bool,
}

/// The first request of the connection: what heartbeats are like, and which other requests may come on it.
#[derive(Debug)]
pub(super) struct First {
    pub shape: u16,
    pub pin: u64,
    pub kept: Kept,
}

#[derive(Debug)]
pub(super) struct State {
    pub is_client: bool,
    pub calls: Calls,
    pub incoming: Incoming,
    /// Which of the openings the last frame had: the next has mostly the same.
    pub opening: u16,
    /// When the rest of a frame, or the next piece of a large one, must have come.
    pub frame_due: Option<Tick>,
    /// Memory for a frame that is not whole.
    pub gather: Gather,
    /// Nothing is read until the outbox has room.
    pub parked: bool,
    pub writing: Option<Writing>,
    /// Whole frames that wait for the large one to end.
    pub behind: VecDeque<Vec<u8>>,
    pub behind_bytes: usize,
    pub spare: Vec<Vec<u8>>,
    /// Streams that were refused for want of room, in the order of their asking.
    pub waiting: VecDeque<u32>,
    /// They may try again.
    pub writable: bool,
    pub first: Option<First>,
    pub heart: Heart,
    pub told_to_go: bool,
    pub draining: bool,
    pub over: Option<Ending>,
    pub end_reported: bool,
    /// Streams that are yet to learn that the connection is lost.
    doomed: Option<Vec<u32>>,
}

/// A connection that speaks a described protocol.
#[derive(Debug)]
pub struct Connection {
    // Beside the state, so that both can be borrowed at once.
    description: Arc<Description>,
    state: Box<State>,
}

impl Connection {
    pub fn server(description: Arc<Description>) -> Self {
        Self { state: Box::new(State::new(&description, false)), description }
    }

    pub fn client(description: Arc<Description>) -> Self {
        Self { state: Box::new(State::new(&description, true)), description }
    }

    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// The next call's number will be one behind this.
    #[cfg(test)]
    pub fn count_from(&mut self, number: u32) {
        self.state.calls.count_from(number);
    }

    /// As `next_event`, the long way for each frame.
    #[cfg(test)]
    pub fn next_event_closely<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        self.state.next_event_closely(&self.description, input, out, now)
    }

    /// Which requests may share this connection to a server: those whose frame has this `pin`; `None`: any, as none came yet.
    pub fn pin(&self) -> Option<u64> {
        self.state.first.as_ref().map(|first| first.pin)
    }
}

impl State {
    fn new(description: &Description, is_client: bool) -> Self {
        Self {
            is_client,
            heart: Heart::new(description, is_client),
            calls: Calls::new(description.id_width()),
            incoming: Incoming::Frame,
            opening: 0,
            frame_due: None,
            gather: Gather::default(),
            parked: false,
            writing: None,
            behind: VecDeque::new(),
            behind_bytes: 0,
            spare: Vec::new(),
            waiting: VecDeque::new(),
            writable: false,
            first: None,
            told_to_go: false,
            draining: false,
            over: None,
            end_reported: false,
            doomed: None,
        }
    }

    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE && buffer.capacity() <= 2 * WHOLE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Sends a frame that is whole, now or behind the large one. More than a peer may have queued ends the connection.
    pub fn put_whole(&mut self, frame: Vec<u8>, out: &mut Out<'_>) {
        if self.writing.is_none() {
            out.put(&frame);
            self.recycle(frame);
        } else {
            self.behind_bytes += frame.len();
            self.behind.push_back(frame);
        }
        self.cut_if_stuck(out);
    }

    pub fn cut_if_stuck(&mut self, out: &Out<'_>) {
        if out.outbox.len() + self.behind_bytes + self.calls.gathered() > MAX_QUEUED {
            self.over = Some(Ending::Aborted);
        }
    }

    /// The large frame has ended: what waited goes out.
    pub fn put_waiting(&mut self, out: &mut Out<'_>) {
        while let Some(frame) = self.behind.pop_front() {
            self.behind_bytes -= frame.len();
            out.put(&frame);
            self.recycle(frame);
        }
    }

    /// Whether what was handed over leaves room for more.
    fn has_credit(&self) -> bool {
        self.calls.held() < if self.is_client { UPSTREAM_WINDOW } else { CALLER_WINDOW }
    }

    fn wants_input(&self) -> bool {
        self.over.is_none() && !self.parked && self.has_credit() && (self.is_client || self.gather.may_read())
    }

    fn grant(&mut self, stream: u32, bytes: usize, now: Tick) {
        let was_waiting = !self.has_credit();
        self.calls.grant(stream, bytes);
        if was_waiting && self.has_credit() && self.frame_due.is_some() {
            self.frame_due = Some(now.after_milliseconds(FRAME_TIMEOUT));
        }
    }

    /// This stream's large frame is being written.
    pub fn is_writing(&self, stream: u32) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.stream == stream)
    }
}

impl Codec for Connection {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        self.state.next_event(&self.description, input, out, now)
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, now: Tick) -> Result<Accepted, Refused> {
        let (state, description) = (&mut *self.state, &*self.description);
        match command {
            Command::GrantCredit { stream, bytes } => {
                state.grant(stream.0, bytes, now);
                return Ok(Accepted::default());
            }
            Command::HoldCredit { stream, bytes } => {
                state.calls.hand_over(stream.0, bytes);
                return Ok(Accepted::default());
            }
            _ => {}
        }
        if state.over.is_some() {
            return Err(Refused);
        }
        let (stream, taken) = match command {
            Command::SendRequest { stream, head, body, end } => {
                (stream, state.send_request(description, stream.0, head, (body, end), out, now))
            }
            Command::SendResponse { stream, head, body, end } => {
                (stream, state.send_response(description, stream.0, head, (body, end), out))
            }
            Command::SendData { stream, bytes, end } => {
                (stream, state.send_data(description, stream.0, bytes, end, out))
            }
            Command::SendTrailers { stream, .. } => {
                (stream, state.send_data(description, stream.0, &[], true, out))
            }
            Command::ResetStream { stream, reason } => {
                state.reset(description, stream.0, reason, out)?;
                return Ok(Accepted::default());
            }
            Command::GoAway { gentle } => {
                state.go_away(description, gentle, out);
                return Ok(Accepted::default());
            }
            Command::SendInterim { .. } | Command::GrantCredit { .. } | Command::HoldCredit { .. } => {
                return Ok(Accepted::default());
            }
            Command::BecomeTunnel { .. } | Command::DeclineStream { .. } => return Err(Refused),
        };
        if taken.is_err() {
            state.give_up(description, stream.0, out);
        }
        taken.map(|bytes| Accepted { bytes })
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        let state = &mut *self.state;
        if !state.is_client
            || state.over.is_some()
            || state.told_to_go
            || state.draining
            || state.writing.is_some()
            || state.calls.are_full(self.description.provider_calls())
        {
            return None;
        }
        let stream = state.calls.next_number();
        state.calls.insert(stream, || Call::new(u64::from(stream), 0, false, Kept::new(&[])));
        Some(StreamId(stream))
    }

    fn open_streams(&self) -> usize {
        self.state.calls.len() + self.state.doomed.as_ref().map_or(0, Vec::len)
    }

    fn ending(&self) -> Ending {
        match self.state.over {
            Some(ending) => ending,
            None if (self.state.draining || self.state.told_to_go && self.state.is_client)
                && self.state.calls.is_empty() =>
            {
                Ending::Closed
            }
            None => Ending::Open,
        }
    }

    fn wants_input(&self) -> bool {
        self.state.wants_input()
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        let state = &mut *self.state;
        state.over.get_or_insert(Ending::Closed);
        state.doomed.get_or_insert_with(|| state.calls.drain()).pop().map(StreamId)
    }

    fn deadline(&self) -> Option<Tick> {
        match self.state.over {
            Some(_) => None,
            None => Tick::earlier(self.state.frame_due, self.state.heart.due(&self.state.first)),
        }
    }

    fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        let state = &mut *self.state;
        if state.frame_due.is_some_and(|due| due <= now) {
            if state.wants_input() {
                return Err(state.fault(late("a frame takes too long")));
            }
            // We do not read: its sender is not to blame.
            state.frame_due = Some(now.after_milliseconds(FRAME_TIMEOUT));
        }
        state.beat(&self.description, now, out)
    }

    fn on_room(&mut self) {
        let state = &mut *self.state;
        state.parked = false;
        if let Some(writing) = state.writing.as_mut().filter(|writing| writing.blocked) {
            writing.blocked = false;
            state.waiting.push_front(writing.stream);
        }
        state.writable = !state.waiting.is_empty();
    }
}
