//! One connection, in either role: its calls, what is being read and written, and its end.
//!
//! In: bytes of the peer and commands of the exchange. Out: events, and frames in the outbox. Invariant: between two frames of a connection
//! there is never a part of another; a call is in `calls` from its request until its response has been written (server role) or read
//! (client role). `receive`, `send` and `heartbeat` are its directions and its pulse.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::description::Description;
use super::heartbeat::Heart;
use super::shape::{Layout, Summing};
use super::write::{self, Telling};
use super::{Broken, WHOLE};
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use crate::message::{BodyLength, QuickHash, ResetReason, Tick};

/// A frame handled whole must arrive within, milliseconds.
pub(super) const FRAME_TIMEOUT: u64 = 30_000;
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
    pub kept: Kept,
    pub draft: Option<Draft>,
}

impl Call {
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
    },
    /// A reply of ours: HTTP status and text.
    Reply { status: u16, message: Vec<u8> },
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
    /// Bytes of the ids that we give.
    id_width: u8,
    pub calls: HashMap<u32, Call, QuickHash>,
    /// The last number given to a call, or to a heartbeat.
    pub number: u32,
    pub incoming: Incoming,
    pub frame_due: Option<Tick>,
    uncredited: usize,
    pub parked: bool,
    pub writing: Option<Writing>,
    /// Whole frames that wait for the large one to end.
    pub behind: VecDeque<Vec<u8>>,
    pub behind_bytes: usize,
    pub spare: Vec<Vec<u8>>,
    pub writable: Option<u32>,
    pub first: Option<First>,
    pub heart: Heart,
    pub told_to_go: bool,
    draining: bool,
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
            id_width: description.shapes.first().map_or(4, |shape| shape.id.width.clamp(1, 4)),
            calls: HashMap::default(),
            number: 0,
            incoming: Incoming::Frame,
            frame_due: None,
            uncredited: 0,
            parked: false,
            writing: None,
            behind: VecDeque::new(),
            behind_bytes: 0,
            spare: Vec::new(),
            writable: None,
            first: None,
            told_to_go: false,
            draining: false,
            over: None,
            end_reported: false,
            doomed: None,
        }
    }

    /// A number that no call has.
    pub fn next_number(&mut self) -> u32 {
        let mask = u32::MAX >> (32 - 8 * u32::from(self.id_width));
        loop {
            self.number = self.number.wrapping_add(1) & mask;
            // 0 means "no id" to some peers.
            if self.number != 0 && !self.calls.contains_key(&self.number) {
                return self.number;
            }
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

    /// Bytes were handed over.
    pub fn hand_over(&mut self, bytes: usize) {
        self.uncredited += bytes;
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
        if out.outbox.len() + self.behind_bytes > MAX_QUEUED {
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

    /// Answers a request from here. Nothing for protocols that cannot.
    pub fn put_error(
        &mut self,
        description: &Description,
        asked: Asked<'_>,
        status: u16,
        message: &[u8],
        out: &mut Out<'_>,
    ) {
        let mut frame = self.buffer();
        let telling = Telling { id: Some(asked.id), status: Some(description.reply_of(status)), message };
        if write::make(description, &description.error_replies, asked.shape, asked.front, telling, &mut frame)
        {
            self.put_whole(frame, out);
        }
    }

    /// The connection cannot go on.
    pub fn fault(&mut self, broken: Broken) -> ConnectionFault {
        self.over = Some(Ending::Closed);
        ConnectionFault { reason: broken.reason, answered: None, what: broken.what }
    }

    fn go_away(&mut self, description: &Description, gentle: bool, out: &mut Out<'_>) {
        self.draining |= !gentle;
        if self.is_client || std::mem::replace(&mut self.told_to_go, true) {
            return;
        }
        if let Some(First { shape, kept, .. }) = &self.first {
            let (shape, kept) = (*shape, kept.clone());
            let mut frame = self.buffer();
            let telling = Telling { id: Some(u64::from(self.next_number())), ..Telling::default() };
            if write::make(description, &description.go_away, shape, kept.bytes(), telling, &mut frame) {
                self.put_whole(frame, out);
            }
        }
    }

    fn reset(
        &mut self,
        description: &Description,
        stream: u32,
        reason: ResetReason,
        out: &mut Out<'_>,
    ) -> Result<(), Refused> {
        let call = self.calls.remove(&stream).ok_or(Refused)?;
        if self.writing.as_ref().is_some_and(|writing| writing.stream == stream) {
            // Half a frame cannot be taken back.
            self.over = Some(Ending::Aborted);
        } else if !self.is_client && !call.one_way {
            let (status, message) = match reason {
                ResetReason::Timeout => (504, "timeout"),
                ResetReason::Overloaded => (503, "overloaded"),
                _ => (502, "the connection to the provider failed"),
            };
            self.put_error(description, call.asked(), status, message.as_bytes(), out);
        }
        Ok(())
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
        if let Command::GrantCredit { bytes, .. } = command {
            state.uncredited = state.uncredited.saturating_sub(bytes);
            return Ok(Accepted::default());
        }
        if state.over.is_some() {
            return Err(Refused);
        }
        match command {
            Command::SendRequest { stream, head, end } => {
                state.send_request(description, stream.0, head, end, out, now)?
            }
            Command::SendResponse { stream, head, end } => {
                state.send_response(description, stream.0, head, end, out)?
            }
            Command::SendData { stream, bytes, end } => {
                return state
                    .send_data(description, stream.0, bytes, end, out)
                    .map(|bytes| Accepted { bytes });
            }
            Command::SendTrailers { stream, .. } => {
                state.send_data(description, stream.0, &[], true, out)?;
            }
            Command::ResetStream { stream, reason } => state.reset(description, stream.0, reason, out)?,
            Command::GoAway { gentle } => state.go_away(description, gentle, out),
            Command::SendInterim { .. } | Command::GrantCredit { .. } => {}
            Command::BecomeTunnel { .. } | Command::DeclineStream { .. } => return Err(Refused),
        }
        Ok(Accepted::default())
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        let state = &mut *self.state;
        let ids = (1 << (8 * u64::from(state.id_width))) - 2;
        let full = state.calls.len() as u64 >= ids.min(u64::from(self.description.limits.calls));
        if !state.is_client
            || state.over.is_some()
            || state.told_to_go
            || state.draining
            || state.writing.is_some()
            || full
        {
            return None;
        }
        let stream = state.next_number();
        let call =
            Call { id: u64::from(stream), shape: 0, one_way: false, kept: Kept::new(&[]), draft: None };
        state.calls.insert(stream, call);
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
        let window = if self.state.is_client { UPSTREAM_WINDOW } else { CALLER_WINDOW };
        self.state.over.is_none() && !self.state.parked && self.state.uncredited < window
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        let state = &mut *self.state;
        state.over.get_or_insert(Ending::Closed);
        let doomed = state.doomed.get_or_insert_with(|| {
            let mut streams: Vec<_> = state.calls.drain().map(|(stream, _)| stream).collect();
            streams.sort_unstable_by(|one, other| other.cmp(one));
            streams
        });
        doomed.pop().map(StreamId)
    }

    fn deadline(&self) -> Option<Tick> {
        match self.state.over {
            Some(_) => None,
            None => {
                [self.state.frame_due, self.state.heart.due(&self.state.first)].into_iter().flatten().min()
            }
        }
    }

    fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        let state = &mut *self.state;
        if state.frame_due.is_some_and(|due| due <= now) {
            return Err(state.fault(Broken { what: "a frame takes too long", reason: ResetReason::Timeout }));
        }
        state.beat(&self.description, now, out)
    }

    fn on_room(&mut self) {
        let state = &mut *self.state;
        state.parked = false;
        if let Some(writing) = state.writing.as_mut().filter(|writing| writing.blocked) {
            writing.blocked = false;
            state.writable = Some(writing.stream);
        }
    }
}
