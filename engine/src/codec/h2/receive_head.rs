//! Heads and trailers as they arrive, in HEADERS and CONTINUATION frames.
//!
//! In: header blocks. Out: events, refusals. Invariant: every block is decoded, wanted or not, since the peer's next one builds
//! on it; each belongs to a stream that may have it now.

use super::connection::{Connection, Fault, Gathering, MAX_STREAM_ID, Role, Step};
use super::frame::{
    self, END_HEADERS, END_STREAM, ErrorCode, Frame, PADDED, PRIORITY, Wrong, protocol_error, put_reset,
    wrong,
};
use super::head::{self, Read};
use super::hpack_decode::Limits;
use super::stream::{Asked, Closed, Receiving, Sending, Stream, Waiting};
use super::window::SendWindow;
use crate::bytes::Out;
use crate::codec::contract::{Event, StreamId};
use crate::message::{NameId, ResponseHead, Tick};

/// CONTINUATION frames behind one HEADERS.
const MAX_CONTINUATIONS: u32 = 64;

const BAD_BLOCK: Wrong = wrong(ErrorCode::Compression, "bad header block");

impl Connection {
    pub(super) fn on_headers<'b>(
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

    pub(super) fn on_continuation<'b>(
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
    pub(super) fn on_block<'b>(
        &mut self,
        id: u32,
        block: &[u8],
        end: bool,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Step<'b>, Fault> {
        self.head_due = None;
        self.guard.work(1);
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

    pub(super) fn skip(&mut self, block: &[u8]) -> Result<(), Wrong> {
        head::skip(&mut self.decoder, block).map_err(|_| BAD_BLOCK)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { bytes: self.settings.max_head_bytes, fields: self.settings.max_fields }
    }

    pub(super) fn on_request<'b>(
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
            head.headers.remove_id(NameId::EXPECT);
            self.put_response_head(id, &ResponseHead::with_status(100), false, out);
        }
        Ok(Step::Event(Event::RequestReceived { stream: StreamId(id), head, body: &[], end }))
    }

    /// 431 for a head beyond the limits; repeated, it is a flood.
    pub(super) fn refuse_head(
        &mut self,
        id: u32,
        end: bool,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<(), Fault> {
        self.guard.ended_early(now, now)?;
        self.guard.answer(out)?;
        self.put_response_head(id, &ResponseHead::with_status(431), true, out);
        if !end {
            put_reset(out, id, ErrorCode::NoError);
        }
        self.memory.note(id, Closed::ByUs);
        Ok(())
    }

    pub(super) fn on_response<'b>(
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
        Ok(Step::Event(Event::ResponseReceived { stream: StreamId(id), head, body: &[], end }))
    }

    pub(super) fn on_trailers<'b>(
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
}
