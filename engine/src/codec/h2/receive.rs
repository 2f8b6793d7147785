//! Frames as they arrive: which may come now, and the bodies in DATA frames.
//!
//! In: contiguous bytes of the peer. Out: events that borrow them. Invariant: DATA passes through as it comes, whatever part of
//! the frame is there; every other frame is judged whole.

use super::connection::{Connection, Draining, Fault, Reading, Role, Step};
use super::frame::{
    ACK, END_STREAM, ErrorCode, Frame, HEADER, Kind, MAX_PAYLOAD, PADDED, Wrong, protocol_error,
    put_window_update, wrong,
};
use super::stream::{Closed, Receiving};
use super::window::Exceeded;
use crate::bytes::Out;
use crate::codec::contract::{Event, Input, StreamId};
use crate::codec::detect::HTTP2_PREFACE;
use crate::message::Tick;

impl Connection {
    pub(super) fn step<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
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

    pub(super) fn next_frame<'b>(
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
    pub(super) fn check_order(&self, frame: &Frame) -> Result<(), Wrong> {
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
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || stream > self.last_stream
    }

    pub(super) fn is_beyond_drain(&self, id: u32) -> bool {
        matches!(self.draining, Draining::Final(last) if id > last)
    }

    pub(super) fn begin_data<'b>(
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
        if self.role == Role::Client {
            self.credit_connection(frame.length, out);
        }
        let end = frame.has(END_STREAM);
        if left > 0 || end {
            self.guard.work(1);
        } else {
            self.guard.idle_frame(now)?;
        }
        self.reading = Reading::Data { stream: frame.stream, left, padding, end };
        let judged = self.judge_data(&frame, left, overhead, end, out);
        if judged.is_err() {
            self.reading = Reading::Data { stream: 0, left, padding, end: false };
        }
        self.return_to_connection(overhead, out);
        judged?;
        Ok(Step::Again)
    }

    pub(super) fn judge_data(
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
    pub(super) fn next_data<'b>(
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
            self.return_to_connection(bytes.len(), out);
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
}
