//! One connection: its state, the order of its events, its timers and its end.
//!
//! In: contiguous bytes of the peer. Out: events that borrow them, and SETTINGS, acknowledgements, resets and credit in the
//! outbox. Invariant: bytes of DATA pass through as they come and are held nowhere; a frame that must be whole waits in the
//! reactor's carry; heads that go on in CONTINUATION frames are gathered here up to a limit.
//! Called through `role`; `receive`, `receive_head` and `control` read frames, `send` writes them.

use std::collections::VecDeque;

use super::frame::{ErrorCode, MAX_PAYLOAD, Wrong, put_go_away, put_ping, put_window_update, wrong};
use super::guard::{Flood, Guard};
use super::hpack_decode::Decoder;
use super::hpack_encode::Encoder;
use super::stream::{Closed, Memory, Stream, Streams, Waiting};
use super::window::{self, ReceiveWindow, SendWindow};
use super::{Settings, settings};
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Ending, Event, Input, StreamId};
use crate::codec::detect::HTTP2_PREFACE;
use crate::message::{ResetReason, SECOND, Tick};

/// The peer must acknowledge our SETTINGS within, nanoseconds.
const SETTINGS_TIMEOUT: u64 = 10 * SECOND;
/// How long a gentle GOAWAY waits for its ping, nanoseconds.
const DRAIN_TIMEOUT: u64 = SECOND;
/// What a client may open before the server has said how much it takes.
const INITIAL_STREAMS: u32 = 100;
pub(super) const MAX_STREAM_ID: u32 = 0x7fff_ffff;
pub(super) const KEEPALIVE_PING: [u8; 8] = *b"mainstay";
pub(super) const DRAIN_PING: [u8; 8] = *b"draining";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// What the next bytes are.
#[derive(Debug)]
pub(super) enum Reading {
    /// Server role: the client's preface.
    Preface,
    FrameHeader,
    /// Payload of DATA: `left` bytes of content, then `padding`.
    Data {
        stream: u32,
        left: usize,
        padding: usize,
        end: bool,
    },
    Skip(usize),
}

/// A head whose CONTINUATION frames are still coming.
#[derive(Debug)]
pub(super) struct Gathering {
    pub stream: u32,
    pub end: bool,
    pub block: Vec<u8>,
    pub frames: u32,
}

/// How far a two-step GOAWAY has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draining {
    No,
    /// Announced; streams are still taken until the ping comes back, or until then.
    Announced(Tick),
    /// No stream above this one is taken.
    Final(u32),
}

pub(super) enum Step<'b> {
    Event(Event<'b>),
    Again,
    Wait,
}

/// A fault of the whole connection, or of one stream only.
pub(super) enum Fault {
    Connection(Wrong),
    Stream(u32, Wrong),
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Self::Connection(wrong)
    }
}

impl From<Flood> for Fault {
    fn from(Flood(what): Flood) -> Self {
        Self::Connection(wrong(ErrorCode::EnhanceYourCalm, what))
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub role: Role,
    pub settings: Settings,
    pub begun: bool,
    pub reading: Reading,
    pub gathering: Option<Gathering>,
    pub decoder: Decoder,
    pub encoder: Encoder,
    pub streams: Streams,
    pub memory: Memory,
    pub guard: Guard,
    pub send_window: SendWindow,
    pub receive_window: ReceiveWindow,
    /// Streams whose data waits for the connection's window, for room or for their turn.
    pub queue: VecDeque<u32>,
    /// The peer's SETTINGS.
    pub peer_initial_window: u32,
    pub peer_max_streams: u32,
    pub peer_max_frame: usize,
    pub has_peer_settings: bool,
    /// Server role: the client sends elsewhere what is declined.
    pub peer_resends: bool,
    pub capacity_changed: bool,
    /// Server role: the highest stream of the peer. Client role: our highest.
    pub last_stream: u32,
    /// The highest that we have sent a head on (client role).
    pub last_sent: u32,
    pub draining: Draining,
    /// The peer's GOAWAY: streams above were not processed.
    pub peer_last: Option<u32>,
    /// Server role: a new request waits in the carry until the outbox has room.
    pub parked: bool,
    pub over: Option<Ending>,
    end_reported: bool,
    pub head_due: Option<Tick>,
    pub settings_due: Option<Tick>,
    pub last_heard: Tick,
    keepalive_at: Option<Tick>,
    pub ping_due: Option<Tick>,
}

impl Connection {
    pub fn new(role: Role, settings: Settings) -> Self {
        Self {
            role,
            settings,
            begun: false,
            reading: if role == Role::Server { Reading::Preface } else { Reading::FrameHeader },
            gathering: None,
            decoder: Decoder::new(),
            encoder: Encoder::new(),
            streams: Streams::default(),
            memory: Memory::default(),
            guard: Guard::new(),
            send_window: SendWindow::new(window::INITIAL),
            receive_window: ReceiveWindow::new(settings.connection_window.max(window::INITIAL)),
            queue: VecDeque::new(),
            peer_initial_window: window::INITIAL,
            peer_max_streams: INITIAL_STREAMS,
            peer_max_frame: MAX_PAYLOAD,
            has_peer_settings: false,
            peer_resends: false,
            capacity_changed: false,
            last_stream: 0,
            last_sent: 0,
            draining: Draining::No,
            peer_last: None,
            parked: false,
            over: None,
            end_reported: false,
            head_due: None,
            settings_due: None,
            last_heard: Tick::default(),
            keepalive_at: None,
            ping_due: None,
        }
    }

    /// Says what must be said first.
    pub fn begin(&mut self, out: &mut Out<'_>, now: Tick) {
        if self.begun {
            return;
        }
        self.begun = true;
        self.last_heard = now;
        if self.role == Role::Client {
            out.put(HTTP2_PREFACE);
        } else {
            self.head_due = self.settings.head_timeout.map(|limit| now.after_milliseconds(limit));
        }
        settings::put(out, &self.settings, self.role == Role::Server);
        let more = self.settings.connection_window.saturating_sub(window::INITIAL);
        if more > 0 {
            put_window_update(out, 0, more);
        }
        self.settings_due = Some(now + SETTINGS_TIMEOUT);
        self.keepalive_at = self.settings.keepalive_interval.map(|interval| now.after_milliseconds(interval));
    }

    pub fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if self.over.is_some() {
            return Ok(None);
        }
        self.begin(out, now);
        if !input.rest().is_empty() {
            self.last_heard = now;
        }
        loop {
            if let Some(event) = self.pending(out) {
                return Ok(Some(event));
            }
            let step = match self.step(input, out, now) {
                Err(Fault::Stream(stream, wrong)) => self.break_stream(stream, wrong, out, now),
                step => step,
            };
            match step {
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return Ok(self.at_end(input.ended)),
                Err(Fault::Connection(wrong) | Fault::Stream(_, wrong)) => return Err(self.fail(wrong, out)),
            }
        }
    }

    /// What earlier frames left to be told.
    fn pending<'b>(&mut self, out: &mut Out<'_>) -> Option<Event<'b>> {
        if std::mem::take(&mut self.capacity_changed) {
            return Some(Event::CapacityChanged { streams: self.peer_max_streams });
        }
        if let (Role::Client, Some(last)) = (self.role, self.peer_last)
            && let Some(stream) = self.streams.pop_above(last)
        {
            self.release(&stream, out);
            let stream = StreamId(stream.id);
            return Some(Event::StreamReset { stream, reason: ResetReason::Refused, unprocessed: true });
        }
        if self.queue.is_empty() || self.send_window.room() == 0 || out.room() == 0 {
            return None;
        }
        while let Some(id) = self.queue.pop_front() {
            let Some(stream) = self.streams.get(id).filter(|stream| stream.waiting == Waiting::InQueue)
            else {
                continue;
            };
            if stream.send_window.room() > 0 {
                stream.waiting = Waiting::No;
                return Some(Event::StreamWritable { stream: StreamId(id) });
            }
            stream.waiting = Waiting::ForWindow;
        }
        None
    }

    /// Nothing more can be made of the input; if it has ended, streams and then the connection end with it.
    fn at_end<'b>(&mut self, ended: bool) -> Option<Event<'b>> {
        if !ended || self.parked {
            return None;
        }
        if let Some(stream) = self.streams.pop_above(0) {
            let reason = ResetReason::ConnectionClosed;
            let stream = StreamId(stream.id);
            return Some(Event::StreamReset { stream, reason, unprocessed: false });
        }
        self.over = Some(Ending::Closed);
        (!std::mem::replace(&mut self.end_reported, true)).then_some(Event::InputEnded)
    }

    pub fn stream_window(&self) -> ReceiveWindow {
        ReceiveWindow::new(self.settings.stream_window.max(window::INITIAL))
    }

    /// The second step of a gentle GOAWAY: what the client had under way when it learnt of the first has arrived.
    pub fn finish_drain(&mut self, out: &mut Out<'_>) {
        put_go_away(out, self.last_stream, ErrorCode::NoError);
        self.draining = Draining::Final(self.last_stream);
    }

    pub fn announce_drain(&mut self, out: &mut Out<'_>, now: Tick) {
        put_go_away(out, MAX_STREAM_ID, ErrorCode::NoError);
        put_ping(out, 0, DRAIN_PING);
        self.draining = Draining::Announced(now + DRAIN_TIMEOUT);
    }

    /// The connection cannot go on.
    pub fn fail(&mut self, wrong: Wrong, out: &mut Out<'_>) -> ConnectionFault {
        let last = if self.role == Role::Server { self.last_stream } else { 0 };
        put_go_away(out, last, wrong.code);
        self.gathering = None;
        let reason = match wrong.code {
            ErrorCode::EnhanceYourCalm => ResetReason::Overloaded,
            ErrorCode::SettingsTimeout => ResetReason::Timeout,
            _ => ResetReason::ProtocolError,
        };
        self.over = Some(if self.role == Role::Server { Ending::Lingering } else { Ending::Closed });
        ConnectionFault { reason, answered: None, what: wrong.what }
    }

    /// A stream is gone: what was handed over for it counts as taken, or the connection's window would shrink for good.
    pub fn release(&mut self, stream: &Stream, out: &mut Out<'_>) {
        self.return_to_connection(stream.uncredited, out);
    }

    /// So many bytes of a stream are done with. A connection to an endpoint carries streams of many clients, and one who does
    /// not read must hold up no other: there its window is given back as data comes, and only the stream's own holds back.
    pub fn return_to_connection(&mut self, bytes: usize, out: &mut Out<'_>) {
        if self.role == Role::Server {
            self.credit_connection(bytes, out);
        }
    }

    pub fn credit_connection(&mut self, bytes: usize, out: &mut Out<'_>) {
        if let Some(increment) = self.receive_window.give(bytes) {
            put_window_update(out, 0, increment);
        }
    }

    pub fn close_if_ended(&mut self, id: u32, out: &mut Out<'_>) {
        if !self.streams.get(id).is_some_and(|stream| stream.has_ended()) {
            return;
        }
        if let Some(stream) = self.streams.remove(id) {
            self.release(&stream, out);
        }
        self.guard.ended_well();
        self.memory.note(id, Closed::ByPeer);
    }

    pub fn deadline(&self) -> Option<Tick> {
        if self.over.is_some() {
            return None;
        }
        let drain = match self.draining {
            Draining::Announced(until) => Some(until),
            _ => None,
        };
        [self.head_due, self.settings_due, self.ping_due, self.keepalive_at, drain]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        let is_due = |due: Option<Tick>| due.is_some_and(|due| due <= now);
        if self.over.is_some() {
            return Ok(());
        }
        if is_due(self.head_due) {
            let fault = self.fail(wrong(ErrorCode::EnhanceYourCalm, "head timeout"), out);
            return Err(ConnectionFault { reason: ResetReason::Timeout, ..fault });
        }
        if is_due(self.settings_due) {
            return Err(self.fail(wrong(ErrorCode::SettingsTimeout, "SETTINGS not acknowledged"), out));
        }
        if is_due(self.ping_due) {
            let fault = self.fail(wrong(ErrorCode::NoError, "keep-alive ping not answered"), out);
            return Err(ConnectionFault { reason: ResetReason::Timeout, ..fault });
        }
        if matches!(self.draining, Draining::Announced(until) if until <= now) {
            self.finish_drain(out);
        }
        if let (true, Some(interval)) = (is_due(self.keepalive_at), self.settings.keepalive_interval) {
            let quiet_until = self.last_heard.after_milliseconds(interval);
            if quiet_until > now {
                // Heard from it since: the timer moves only when it fires.
                self.keepalive_at = Some(quiet_until);
            } else {
                put_ping(out, 0, KEEPALIVE_PING);
                self.ping_due.get_or_insert(now.after_milliseconds(self.settings.keepalive_timeout));
                self.keepalive_at = Some(now.after_milliseconds(interval));
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn missing_credit(&self) -> u32 {
        self.receive_window.missing()
    }
}
