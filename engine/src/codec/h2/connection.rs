//! One connection, receiving: frames of the peer become events and answers.
//!
//! In: contiguous bytes of the peer. Out: events that borrow them, and SETTINGS, acknowledgements, resets and credit in the
//! outbox. Invariant: bytes of DATA pass through as they come and are held nowhere; a frame that must be whole waits in the
//! reactor's carry, at most 16 KiB of it; heads that go on in CONTINUATION frames are gathered here up to a limit.
//! Called through `role`; `send` is the other direction.

use std::collections::VecDeque;

use super::frame::{
    self, ACK, END_HEADERS, END_STREAM, ErrorCode, Frame, HEADER, Kind, MAX_PAYLOAD, PADDED, PRIORITY, Wrong,
    protocol_error, put_go_away, put_ping, put_reset, put_settings_ack, put_window_update, reason_of, wrong,
};
use super::guard::{Flood, Guard};
use super::head::{self, Read};
use super::hpack_decode::{Decoder, Limits};
use super::hpack_encode::Encoder;
use super::stream::{Asked, Closed, Memory, Receiving, Sending, Stream, Streams, Waiting};
use super::window::{self, Exceeded, ReceiveWindow, SendWindow};
use super::{Settings, settings};
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Ending, Event, Input, StreamId};
use crate::codec::detect::HTTP2_PREFACE;
use crate::message::{ResetReason, ResponseHead, SECOND, Tick};

/// The peer must acknowledge our SETTINGS within, nanoseconds.
const SETTINGS_TIMEOUT: u64 = 10 * SECOND;
/// How long a gentle GOAWAY waits for its ping, nanoseconds.
const DRAIN_TIMEOUT: u64 = SECOND;
/// CONTINUATION frames behind one HEADERS.
const MAX_CONTINUATIONS: u32 = 64;
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
enum Reading {
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
struct Gathering {
    stream: u32,
    end: bool,
    block: Vec<u8>,
    frames: u32,
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
    reading: Reading,
    gathering: Option<Gathering>,
    decoder: Decoder,
    pub encoder: Encoder,
    pub streams: Streams,
    pub memory: Memory,
    pub guard: Guard,
    pub send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Streams whose data waits for the connection's window, for room or for their turn.
    pub queue: VecDeque<u32>,
    /// The peer's SETTINGS.
    pub peer_initial_window: u32,
    pub peer_max_streams: u32,
    has_peer_settings: bool,
    capacity_changed: bool,
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
    head_due: Option<Tick>,
    settings_due: Option<Tick>,
    pub last_heard: Tick,
    keepalive_at: Option<Tick>,
    ping_due: Option<Tick>,
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
            has_peer_settings: false,
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
            let reason = match self.role {
                Role::Server => ResetReason::Cancelled,
                Role::Client => ResetReason::ConnectionClosed,
            };
            let stream = StreamId(stream.id);
            return Some(Event::StreamReset { stream, reason, unprocessed: false });
        }
        self.over = Some(Ending::Closed);
        (!std::mem::replace(&mut self.end_reported, true)).then_some(Event::InputEnded)
    }

    fn step<'b>(&mut self, input: &mut Input<'b>, out: &mut Out<'_>, now: Tick) -> Result<Step<'b>, Fault> {
        match self.reading {
            Reading::FrameHeader => self.next_frame(input, out, now),
            Reading::Data { stream, left, padding, end } => {
                Ok(self.next_data(input, out, stream, left, padding, end))
            }
            Reading::Skip(left) => {
                let taken = input.take(left).len();
                self.reading = if taken < left { Reading::Skip(left - taken) } else { Reading::FrameHeader };
                Ok(if taken < left { Step::Wait } else { Step::Again })
            }
            Reading::Preface => {
                let length = input.rest().len().min(HTTP2_PREFACE.len());
                if input.rest().get(..length) != HTTP2_PREFACE.get(..length) {
                    return Err(protocol_error("bad connection preface").into());
                }
                if length < HTTP2_PREFACE.len() {
                    return Ok(Step::Wait);
                }
                input.take(length);
                self.reading = Reading::FrameHeader;
                Ok(Step::Again)
            }
        }
    }

    fn next_frame<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        let Some(frame) = Frame::parse(input.rest()) else { return Ok(Step::Wait) };
        self.check_order(&frame)?;
        if frame.length > MAX_PAYLOAD {
            return Err(wrong(ErrorCode::FrameSize, "frame too large").into());
        }
        match frame.kind {
            Kind::Data => return self.begin_data(frame, input, out, now),
            Kind::Unknown => {
                self.guard.idle_frame(now)?;
                input.take(HEADER);
                self.reading = Reading::Skip(frame.length);
                return Ok(Step::Again);
            }
            Kind::Headers if self.role == Role::Server && out.room() == 0 => {
                // Room first: responses that nobody reads must not pile up. A client never stops reading, so two
                // proxies cannot wait for each other.
                self.parked = true;
                return Ok(Step::Wait);
            }
            _ => {}
        }
        if input.rest().len() < HEADER + frame.length {
            if frame.kind == Kind::Headers && self.head_due.is_none() {
                self.head_due = self.settings.head_timeout.map(|limit| now.after_milliseconds(limit));
            }
            return Ok(Step::Wait);
        }
        let bytes: &[u8] = input.take(HEADER + frame.length);
        let payload = bytes.get(HEADER..).unwrap_or(&[]);
        match frame.kind {
            Kind::Headers => self.on_headers(frame, payload, out, now),
            Kind::Continuation => self.on_continuation(frame, payload, out, now),
            Kind::ResetStream => self.on_reset(frame, payload, out, now),
            Kind::Settings => self.on_settings(frame, payload, out, now),
            Kind::Ping => self.on_ping(frame, payload, out, now),
            Kind::GoAway => self.on_go_away(frame, payload),
            Kind::WindowUpdate => self.on_window_update(frame, payload),
            Kind::Priority => self.on_priority(frame, payload, now),
            Kind::PushPromise => Err(protocol_error("PUSH_PROMISE").into()),
            Kind::Data | Kind::Unknown => Ok(Step::Again),
        }
    }

    /// Frames that may not come now, whatever they hold.
    fn check_order(&self, frame: &Frame) -> Result<(), Wrong> {
        if !self.has_peer_settings && (frame.kind != Kind::Settings || frame.has(ACK)) {
            return Err(protocol_error("connection does not begin with SETTINGS"));
        }
        match &self.gathering {
            Some(gathering) if frame.kind != Kind::Continuation || frame.stream != gathering.stream => {
                Err(protocol_error("frame within a head"))
            }
            None if frame.kind == Kind::Continuation => Err(protocol_error("CONTINUATION without HEADERS")),
            _ => Ok(()),
        }
    }

    /// A stream that neither side has opened.
    fn is_idle(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || stream > self.last_stream
    }

    fn begin_data<'b>(
        &mut self,
        frame: Frame,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        let is_padded = frame.has(PADDED);
        let mut padding = 0;
        if is_padded {
            if frame.length == 0 {
                return Err(wrong(ErrorCode::FrameSize, "padded frame without padding").into());
            }
            let Some(&length) = input.rest().get(HEADER) else { return Ok(Step::Wait) };
            padding = usize::from(length);
        }
        if frame.stream == 0 || (self.is_idle(frame.stream) && !self.is_beyond_drain(frame.stream)) {
            return Err(protocol_error("DATA on an idle stream").into());
        }
        let overhead = usize::from(is_padded) + padding;
        let Some(left) = frame.length.checked_sub(overhead) else {
            return Err(protocol_error("padding longer than its frame").into());
        };
        input.take(HEADER + usize::from(is_padded));
        self.receive_window
            .charge(frame.length)
            .map_err(|Exceeded| wrong(ErrorCode::FlowControl, "more data than the connection's window"))?;
        let end = frame.has(END_STREAM);
        if left > 0 || end {
            self.guard.work();
        } else {
            self.guard.idle_frame(now)?;
        }
        self.reading = Reading::Data { stream: frame.stream, left, padding, end };
        let judged = self.judge_data(&frame, left, overhead, end, out);
        if judged.is_err() {
            self.reading = Reading::Data { stream: 0, left, padding, end: false };
        }
        self.credit_connection(overhead, out);
        judged?;
        Ok(Step::Again)
    }

    fn judge_data(
        &mut self,
        frame: &Frame,
        left: usize,
        overhead: usize,
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<(), Fault> {
        let id = frame.stream;
        let fault = |code, what| Err(Fault::Stream(id, wrong(code, what)));
        let Some(stream) = self.streams.get(id) else {
            return match self.memory.find(id) {
                Some(Closed::ByPeer) => fault(ErrorCode::StreamClosed, "DATA on a closed stream"),
                _ => Ok(()),
            };
        };
        match stream.receiving {
            Receiving::Head => return fault(ErrorCode::Protocol, "DATA before a response"),
            Receiving::Ended => return fault(ErrorCode::StreamClosed, "DATA behind the end"),
            Receiving::Body => {}
        }
        if stream.receive_window.charge(frame.length).is_err() {
            return fault(ErrorCode::FlowControl, "more data than the stream's window");
        }
        if !stream.fits(left, end) {
            return fault(ErrorCode::Protocol, "body differs from its content length");
        }
        if overhead > 0
            && !end
            && let Some(increment) = stream.receive_window.give(overhead)
        {
            put_window_update(out, id, increment);
        }
        Ok(())
    }

    /// Hands over what has come of a DATA frame.
    fn next_data<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        id: u32,
        left: usize,
        padding: usize,
        end: bool,
    ) -> Step<'b> {
        let bytes: &'b [u8] = input.take(left);
        let rest = left - bytes.len();
        if bytes.is_empty() && rest > 0 {
            return Step::Wait;
        }
        self.reading = match rest {
            0 => Reading::Skip(padding),
            _ => Reading::Data { stream: id, left: rest, padding, end },
        };
        let Some(stream) = self.streams.get(id) else {
            self.credit_connection(bytes.len(), out);
            return Step::Again;
        };
        let end = end && rest == 0;
        if bytes.is_empty() && !end {
            return Step::Again;
        }
        stream.uncredited += bytes.len();
        if end {
            stream.receiving = Receiving::Ended;
            self.close_if_ended(id, out);
        }
        Step::Event(Event::DataReceived { stream: StreamId(id), bytes, end })
    }

    fn on_headers<'b>(
        &mut self,
        frame: Frame,
        payload: &[u8],
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        if frame.stream.is_multiple_of(2) {
            return Err(protocol_error("HEADERS on a stream that is not the client's").into());
        }
        let Some(content) = frame::content(&frame, payload) else {
            return Err(protocol_error("padding longer than its frame").into());
        };
        let depends_on = frame
            .has(PRIORITY)
            .then(|| payload.get(usize::from(frame.has(PADDED))..)?.first_chunk::<4>())
            .flatten()
            .map(|bytes| u32::from_be_bytes(*bytes) & MAX_STREAM_ID);
        let block = payload.get(content).unwrap_or(&[]);
        let end = frame.has(END_STREAM);
        if !frame.has(END_HEADERS) {
            self.gathering = Some(Gathering { stream: frame.stream, end, block: block.to_vec(), frames: 0 });
            if self.head_due.is_none() {
                self.head_due = self.settings.head_timeout.map(|limit| now.after_milliseconds(limit));
            }
            return Ok(Step::Again);
        }
        if depends_on == Some(frame.stream) {
            self.skip(block)?;
            if self.role == Role::Server {
                self.last_stream = self.last_stream.max(frame.stream);
            }
            return Err(Fault::Stream(frame.stream, protocol_error("stream that depends on itself")));
        }
        self.on_block(frame.stream, block, end, out, now)
    }

    fn on_continuation<'b>(
        &mut self,
        frame: Frame,
        payload: &[u8],
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        let Some(gathering) = &mut self.gathering else { return Ok(Step::Again) };
        gathering.frames += 1;
        gathering.block.extend_from_slice(payload);
        // Somewhat beyond the limit a head still gets its 431; further on it is an attack.
        if gathering.frames > MAX_CONTINUATIONS || gathering.block.len() > 2 * self.settings.max_head_bytes {
            return Err(wrong(ErrorCode::EnhanceYourCalm, "flood of CONTINUATION").into());
        }
        if !frame.has(END_HEADERS) {
            return Ok(Step::Again);
        }
        match self.gathering.take() {
            Some(Gathering { stream, end, block, .. }) => self.on_block(stream, &block, end, out, now),
            None => Ok(Step::Again),
        }
    }

    /// A complete header block.
    fn on_block<'b>(
        &mut self,
        id: u32,
        block: &[u8],
        end: bool,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        self.head_due = None;
        self.guard.work();
        if let Some(stream) = self.streams.get(id) {
            return match stream.receiving {
                Receiving::Head => self.on_response(id, block, end, out),
                Receiving::Body => self.on_trailers(id, block, end, out),
                Receiving::Ended => {
                    self.skip(block)?;
                    Err(Fault::Stream(id, wrong(ErrorCode::StreamClosed, "HEADERS behind the end")))
                }
            };
        }
        if self.role == Role::Server && id > self.last_stream {
            return self.on_request(id, block, end, out, now);
        }
        self.skip(block)?;
        match self.memory.find(id) {
            Some(Closed::ByUs) => {
                self.guard.idle_frame(now)?;
                Ok(Step::Again)
            }
            Some(Closed::ByPeer) => Err(wrong(ErrorCode::StreamClosed, "HEADERS on a closed stream").into()),
            None if self.role == Role::Client && id <= self.last_stream => Ok(Step::Again),
            None => Err(protocol_error("HEADERS on an unexpected stream").into()),
        }
    }

    fn skip(&mut self, block: &[u8]) -> Result<(), Wrong> {
        head::skip(&mut self.decoder, block).map_err(|_| BAD_BLOCK)
    }

    fn limits(&self) -> Limits {
        Limits { bytes: self.settings.max_head_bytes, fields: self.settings.max_fields }
    }

    fn is_beyond_drain(&self, id: u32) -> bool {
        matches!(self.draining, Draining::Final(last) if id > last)
    }

    fn on_request<'b>(
        &mut self,
        id: u32,
        block: &[u8],
        end: bool,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        if self.is_beyond_drain(id) {
            // Our GOAWAY told the client that it is not processed.
            self.skip(block)?;
            return Ok(Step::Again);
        }
        self.last_stream = id;
        if self.streams.len() >= self.settings.max_concurrent_streams as usize {
            self.skip(block)?;
            self.guard.ended_early(now, now)?;
            self.answer_reset(id, ErrorCode::RefusedStream, out)?;
            return Ok(Step::Again);
        }
        // Pseudo-headers are no fields of the limit.
        let limits = Limits { fields: self.limits().fields + 4, ..self.limits() };
        let request = match head::read_request(&mut self.decoder, block, end, limits) {
            Ok(Read::Fine(request)) => request,
            Ok(Read::TooLarge) => {
                self.refuse_head(id, end, out, now)?;
                return Ok(Step::Again);
            }
            Ok(Read::Malformed(what)) => return Err(Fault::Stream(id, protocol_error(what))),
            Err(_) => return Err(BAD_BLOCK.into()),
        };
        let mut head = request.head;
        self.streams.push(Stream {
            id,
            sending: Sending::Head,
            receiving: if end { Receiving::Ended } else { Receiving::Body },
            waiting: Waiting::No,
            asked: Asked::of(head.method()),
            send_window: SendWindow::new(self.peer_initial_window),
            receive_window: self.stream_window(),
            uncredited: 0,
            expected: request.content_length,
            born: now,
        });
        if request.expects_continue && !self.settings.pass_expect {
            head.headers.remove_id(crate::message::NameId::EXPECT);
            self.put_response_head(id, &ResponseHead::with_status(100), false, out);
        }
        Ok(Step::Event(Event::RequestReceived { stream: StreamId(id), head, end }))
    }

    pub fn stream_window(&self) -> ReceiveWindow {
        ReceiveWindow::new(self.settings.stream_window.max(window::INITIAL))
    }

    /// 431 for a head beyond the limits; repeated, it is a flood.
    fn refuse_head(&mut self, id: u32, end: bool, out: &mut Out<'_>, now: Tick) -> Result<(), Fault> {
        self.guard.ended_early(now, now)?;
        self.guard.answer(out)?;
        self.put_response_head(id, &ResponseHead::with_status(431), true, out);
        if !end {
            put_reset(out, id, ErrorCode::NoError);
        }
        self.memory.note(id, Closed::ByUs);
        Ok(())
    }

    fn on_response<'b>(
        &mut self,
        id: u32,
        block: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<Step<'b>, Fault> {
        let fault = |what| Err(Fault::Stream(id, protocol_error(what)));
        let limits = Limits { fields: self.limits().fields + 1, ..self.limits() };
        let response = match head::read_response(&mut self.decoder, block, end, limits) {
            Ok(Read::Fine(response)) => response,
            Ok(Read::TooLarge) => return fault("response head too large"),
            Ok(Read::Malformed(what)) => return fault(what),
            Err(_) => return Err(BAD_BLOCK.into()),
        };
        let head = response.head;
        let Some(stream) = self.streams.get(id) else { return Ok(Step::Again) };
        if head.status < 200 {
            // 101 does not exist here (RFC 9113 §8.6).
            return if end || head.status == 101 {
                fault("bad interim response")
            } else {
                Ok(Step::Event(Event::InterimReceived { stream: StreamId(id), head }))
            };
        }
        let has_body = stream.asked != Asked::Head && !matches!(head.status, 204 | 304);
        stream.expected = if has_body { response.content_length } else { Some(0) };
        if !stream.fits(0, end) {
            return fault("no body, but a content length");
        }
        stream.receiving = if end { Receiving::Ended } else { Receiving::Body };
        if end {
            self.close_if_ended(id, out);
        }
        Ok(Step::Event(Event::ResponseReceived { stream: StreamId(id), head, end }))
    }

    fn on_trailers<'b>(
        &mut self,
        id: u32,
        block: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<Step<'b>, Fault> {
        let fault = |what| Err(Fault::Stream(id, protocol_error(what)));
        let limits = self.limits();
        let trailers = match head::read_trailers(&mut self.decoder, block, limits) {
            Ok(Read::Fine(trailers)) => trailers,
            Ok(Read::TooLarge) => return fault("trailers too large"),
            Ok(Read::Malformed(what)) => return fault(what),
            Err(_) => return Err(BAD_BLOCK.into()),
        };
        let Some(stream) = self.streams.get(id) else { return Ok(Step::Again) };
        if !end {
            return fault("HEADERS within a body");
        }
        if !stream.fits(0, true) {
            return fault("body differs from its content length");
        }
        stream.receiving = Receiving::Ended;
        self.close_if_ended(id, out);
        Ok(Step::Event(Event::TrailersReceived { stream: StreamId(id), trailers }))
    }

    fn on_reset<'b>(
        &mut self,
        frame: Frame,
        payload: &[u8],
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        let Some(code) = payload.first_chunk::<4>().filter(|_| payload.len() == 4) else {
            return Err(wrong(ErrorCode::FrameSize, "bad length of RST_STREAM").into());
        };
        if frame.stream == 0 || (self.is_idle(frame.stream) && !self.is_beyond_drain(frame.stream)) {
            return Err(protocol_error("RST_STREAM on an idle stream").into());
        }
        let Some(stream) = self.streams.remove(frame.stream) else {
            self.guard.idle_frame(now)?;
            return Ok(Step::Again);
        };
        self.memory.note(stream.id, Closed::ByPeer);
        self.release(&stream, out);
        if self.role == Role::Server {
            self.guard.ended_early(stream.born, now)?;
        }
        let reason = reason_of(u32::from_be_bytes(*code));
        Ok(Step::Event(Event::StreamReset {
            stream: StreamId(stream.id),
            reason,
            unprocessed: self.role == Role::Client && reason == ResetReason::Refused,
        }))
    }

    fn on_settings<'b>(
        &mut self,
        frame: Frame,
        payload: &[u8],
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        if frame.stream != 0 {
            return Err(protocol_error("SETTINGS on a stream").into());
        }
        if frame.has(ACK) {
            if !payload.is_empty() {
                return Err(wrong(ErrorCode::FrameSize, "SETTINGS acknowledged with content").into());
            }
            self.settings_due = None;
            return Ok(Step::Again);
        }
        if !payload.len().is_multiple_of(6) {
            return Err(wrong(ErrorCode::FrameSize, "bad length of SETTINGS").into());
        }
        self.guard.idle_frame(now)?;
        let encoder = &mut self.encoder;
        let change =
            settings::parse(payload, self.role == Role::Server, |size| encoder.resize(size as usize))?;
        if let Some(window) = change.initial_window {
            self.change_windows(window)?;
        }
        if self.role == Role::Client {
            let known = self.has_peer_settings;
            let unsaid = if known { self.peer_max_streams } else { u32::MAX };
            let streams = change.max_concurrent_streams.unwrap_or(unsaid);
            self.capacity_changed |= !known || streams != self.peer_max_streams;
            self.peer_max_streams = streams;
        } else if !self.has_peer_settings {
            self.head_due = None;
        }
        self.has_peer_settings = true;
        self.guard.answer(out)?;
        put_settings_ack(out);
        Ok(Step::Again)
    }

    /// The initial window of streams has changed: open ones change by the difference (RFC 9113 §6.9.2).
    fn change_windows(&mut self, window: u32) -> Result<(), Wrong> {
        let by = i64::from(window) - i64::from(self.peer_initial_window);
        self.peer_initial_window = window;
        for stream in self.streams.iter_mut() {
            stream
                .send_window
                .change(by)
                .map_err(|Exceeded| wrong(ErrorCode::FlowControl, "window above 2^31-1"))?;
            if stream.waiting == Waiting::ForWindow && stream.send_window.room() > 0 {
                stream.waiting = Waiting::InQueue;
                self.queue.push_back(stream.id);
            }
        }
        Ok(())
    }

    fn on_ping<'b>(
        &mut self,
        frame: Frame,
        payload: &[u8],
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        if frame.stream != 0 {
            return Err(protocol_error("PING on a stream").into());
        }
        let Some(content) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
            return Err(wrong(ErrorCode::FrameSize, "bad length of PING").into());
        };
        if !frame.has(ACK) {
            self.guard.idle_frame(now)?;
            self.guard.answer(out)?;
            put_ping(out, ACK, *content);
        } else if *content == KEEPALIVE_PING {
            self.ping_due = None;
        } else if *content == DRAIN_PING && matches!(self.draining, Draining::Announced(_)) {
            self.finish_drain(out);
        }
        Ok(Step::Again)
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

    fn on_go_away<'b>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'b>, Fault> {
        if frame.stream != 0 {
            return Err(protocol_error("GOAWAY on a stream").into());
        }
        let (Some(last), Some(code)) =
            (payload.first_chunk::<4>(), payload.get(4..).and_then(|rest| rest.first_chunk::<4>()))
        else {
            return Err(wrong(ErrorCode::FrameSize, "bad length of GOAWAY").into());
        };
        let last = u32::from_be_bytes(*last) & MAX_STREAM_ID;
        // It may fall with each GOAWAY, never rise (RFC 9113 §6.8).
        let last = self.peer_last.map_or(last, |before| before.min(last));
        self.peer_last = Some(last);
        let reason = reason_of(u32::from_be_bytes(*code));
        Ok(Step::Event(Event::GoAwayReceived { last: StreamId(last), reason }))
    }

    fn on_window_update<'b>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'b>, Fault> {
        let Some(bytes) = payload.first_chunk::<4>().filter(|_| payload.len() == 4) else {
            return Err(wrong(ErrorCode::FrameSize, "bad length of WINDOW_UPDATE").into());
        };
        self.guard.window_update()?;
        let increment = u32::from_be_bytes(*bytes) & MAX_STREAM_ID;
        let id = frame.stream;
        if id == 0 {
            if increment == 0 {
                return Err(protocol_error("WINDOW_UPDATE by nothing").into());
            }
            let changed = self.send_window.change(i64::from(increment));
            changed.map_err(|Exceeded| wrong(ErrorCode::FlowControl, "window above 2^31-1"))?;
            return Ok(Step::Again);
        }
        if self.is_idle(id) && !self.is_beyond_drain(id) {
            return Err(protocol_error("WINDOW_UPDATE on an idle stream").into());
        }
        let Some(stream) = self.streams.get(id) else { return Ok(Step::Again) };
        if increment == 0 {
            return Err(Fault::Stream(id, protocol_error("WINDOW_UPDATE by nothing")));
        }
        if stream.send_window.change(i64::from(increment)).is_err() {
            return Err(Fault::Stream(id, wrong(ErrorCode::FlowControl, "window above 2^31-1")));
        }
        if stream.waiting == Waiting::ForWindow && stream.send_window.room() > 0 {
            stream.waiting = Waiting::InQueue;
            self.queue.push_back(id);
        }
        Ok(Step::Again)
    }

    /// Priorities are gone since RFC 9113 §5.3; only their form is checked.
    fn on_priority<'b>(&mut self, frame: Frame, payload: &[u8], now: Tick) -> Result<Step<'b>, Fault> {
        self.guard.idle_frame(now)?;
        if frame.stream == 0 {
            return Err(protocol_error("PRIORITY without a stream").into());
        }
        let Some(bytes) = payload.first_chunk::<4>().filter(|_| payload.len() == 5) else {
            return Err(Fault::Stream(frame.stream, wrong(ErrorCode::FrameSize, "bad length of PRIORITY")));
        };
        if u32::from_be_bytes(*bytes) & MAX_STREAM_ID == frame.stream {
            return Err(Fault::Stream(frame.stream, protocol_error("stream that depends on itself")));
        }
        Ok(Step::Again)
    }

    /// The peer broke the rules of one stream: it is reset, and the exchange learns of it if it knows the stream.
    fn break_stream<'b>(
        &mut self,
        id: u32,
        wrong: Wrong,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        let known = self.streams.remove(id);
        if self.is_idle(id) {
            // Idle streams cannot be reset (RFC 9113 §6.4).
            return Err(Fault::Connection(wrong));
        }
        // Making us reset costs a peer as little as resetting (the "MadeYouReset" attack): it counts the same.
        if self.role == Role::Server {
            self.guard.ended_early(known.as_ref().map_or(now, |stream| stream.born), now)?;
        }
        self.answer_reset(id, wrong.code, out)?;
        let Some(stream) = known else { return Ok(Step::Again) };
        self.release(&stream, out);
        let stream = StreamId(id);
        Ok(Step::Event(Event::StreamReset { stream, reason: ResetReason::ProtocolError, unprocessed: false }))
    }

    fn answer_reset(&mut self, id: u32, code: ErrorCode, out: &mut Out<'_>) -> Result<(), Flood> {
        self.guard.answer(out)?;
        put_reset(out, id, code);
        self.memory.note(id, Closed::ByUs);
        Ok(())
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
        self.credit_connection(stream.uncredited, out);
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

const BAD_BLOCK: Wrong = wrong(ErrorCode::Compression, "bad header block");
