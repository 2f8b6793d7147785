//! Frames that steer: RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, PRIORITY; and what breaks a single stream.
//!
//! In: whole payloads. Out: events and answers. Invariant: nothing is answered or borne without being counted by `guard`.

use super::connection::{Connection, DRAIN_PING, Draining, Fault, KEEPALIVE_PING, MAX_STREAM_ID, Role, Step};
use super::frame::{
    ACK, ErrorCode, Frame, Wrong, protocol_error, put_ping, put_reset, put_settings_ack, reason_of, wrong,
};
use super::guard::Flood;
use super::settings;
use super::stream::{Closed, Waiting};
use super::window::Exceeded;
use crate::bytes::Out;
use crate::codec::contract::{Event, StreamId};
use crate::message::{ResetReason, Tick};

impl Connection {
    pub(super) fn on_reset<'b>(
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

    pub(super) fn on_settings<'b>(
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
        self.peer_resends |= change.resends;
        if let Some(size) = change.max_frame {
            self.peer_max_frame = size as usize;
        }
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
    pub(super) fn change_windows(&mut self, window: u32) -> Result<(), Wrong> {
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

    pub(super) fn on_ping<'b>(
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

    pub(super) fn on_go_away<'b>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'b>, Fault> {
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

    pub(super) fn on_window_update<'b>(&mut self, frame: Frame, payload: &[u8]) -> Result<Step<'b>, Fault> {
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
    pub(super) fn on_priority<'b>(
        &mut self,
        frame: Frame,
        payload: &[u8],
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
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
    pub(super) fn break_stream<'b>(
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

    pub(super) fn answer_reset(&mut self, id: u32, code: ErrorCode, out: &mut Out<'_>) -> Result<(), Flood> {
        self.guard.answer(out)?;
        put_reset(out, id, code);
        self.memory.note(id, Closed::ByUs);
        Ok(())
    }
}
