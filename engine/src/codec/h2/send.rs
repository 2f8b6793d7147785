//! One connection, sending: commands of the exchange become frames in the outbox.
//!
//! In: heads, data and credit for streams. Out: frames, and how much was accepted. Invariant: no more data than both windows
//! and the outbox have room for; where several streams wait, each writes one frame and queues again.

use std::cell::Cell;

use super::connection::{Connection, Draining, MAX_STREAM_ID, Role};
use super::frame::{
    END_HEADERS, END_STREAM, ErrorCode, Kind, MAX_PAYLOAD, code_of, put_go_away, put_header, put_reset,
    put_window_update,
};
use super::head;
use super::stream::{Asked, Closed, Receiving, Sending, Stream, Waiting};
use super::window::SendWindow;
use crate::bytes::Out;
use crate::codec::contract::{Accepted, Command, Ending, Refused, StreamId};
use crate::message::{HeaderBlock, RequestHead, ResetReason, ResponseHead, Tick};

thread_local! {
    /// Where a header block is built, since its length comes before it. Lent to one call at a time.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest frame that we send, whatever the peer takes, bytes.
const LARGEST_FRAME: usize = 256 * 1024;
/// Scratch memory beyond this is not kept, bytes.
const KEPT_SCRATCH: usize = 64 * 1024;

impl Connection {
    pub fn perform(
        &mut self,
        command: Command<'_>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Accepted, Refused> {
        if self.over.is_some() {
            return Err(Refused);
        }
        self.begin(out, now);
        let done = Ok(Accepted::default());
        match command {
            Command::SendRequest { stream, head, body, end } => {
                self.send_request(stream.0, head, end && body.is_empty(), out, now)?;
                return Ok(self.send_with_head(stream.0, body, end, out));
            }
            Command::SendInterim { stream, head } => {
                self.head_not_sent(stream.0, Role::Server)?;
                self.put_response_head(stream.0, head, false, out);
            }
            Command::SendResponse { stream, head, body, end } => {
                self.send_response(stream.0, head, end && body.is_empty(), out)?;
                return Ok(self.send_with_head(stream.0, body, end, out));
            }
            Command::SendData { stream, bytes, end } => return self.send_data(stream.0, bytes, end, out),
            Command::SendTrailers { stream, trailers } => self.send_trailers(stream.0, trailers, out)?,
            Command::ResetStream { stream, reason } => self.reset(stream.0, reason, out)?,
            Command::DeclineStream { stream } if self.role == Role::Server && self.peer_resends => {
                self.reset(stream.0, ResetReason::Refused, out)?;
            }
            Command::DeclineStream { .. } => return Err(Refused),
            Command::GrantCredit { stream, bytes } => self.grant(stream.0, bytes, out)?,
            // Heads come without bodies.
            Command::HoldCredit { .. } => {}
            Command::BecomeTunnel { stream } => self.become_tunnel(stream.0)?,
            Command::GoAway { gentle } => self.go_away(gentle, out, now),
        }
        done
    }

    pub fn open_stream(&mut self) -> Option<StreamId> {
        let may = self.role == Role::Client
            && self.over.is_none()
            && self.draining == Draining::No
            && self.peer_last.is_none()
            && self.streams.len() < self.peer_max_streams as usize
            && self.last_stream < MAX_STREAM_ID - 1;
        if !may {
            return None;
        }
        let id = if self.last_stream == 0 { 1 } else { self.last_stream + 2 };
        self.last_stream = id;
        self.streams.push(Stream {
            id,
            sending: Sending::Head,
            receiving: Receiving::Head,
            waiting: Waiting::No,
            asked: Asked::Content,
            send_window: SendWindow::new(self.peer_initial_window),
            receive_window: self.stream_window(),
            uncredited: 0,
            expected: None,
            born: Tick::default(),
        });
        Some(StreamId(id))
    }

    /// The stream, if `role` is ours and its head is still to be sent.
    fn head_not_sent(&mut self, id: u32, role: Role) -> Result<&mut Stream, Refused> {
        if self.role != role {
            return Err(Refused);
        }
        self.streams.get(id).filter(|stream| stream.sending == Sending::Head).ok_or(Refused)
    }

    fn send_request(
        &mut self,
        id: u32,
        head: &RequestHead,
        end: bool,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<(), Refused> {
        let is_late = id <= self.last_sent;
        let stream = self.head_not_sent(id, Role::Client)?;
        // Upgrades do not exist here, and heads go out in the order of their streams (RFC 9113 §5.1.1).
        if is_late || head.upgrade.is_some() {
            self.streams.remove(id);
            return Err(Refused);
        }
        stream.asked = Asked::of(head.method());
        stream.born = now;
        // The tunnel that CONNECT asks for stays open.
        let end = end && stream.asked != Asked::Connect;
        stream.sending = if end { Sending::Ended } else { Sending::Body };
        self.last_sent = id;
        self.put_block(id, end, out, |encoder, block| head::encode_request(encoder, head, block));
        Ok(())
    }

    fn send_response(
        &mut self,
        id: u32,
        head: &ResponseHead,
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<(), Refused> {
        let stream = self.head_not_sent(id, Role::Server)?;
        // Switching protocols is of HTTP/1 alone; other 1xx are `SendInterim`.
        if head.status < 200 {
            return Err(Refused);
        }
        let is_tunnel = stream.asked == Asked::Connect && head.status < 300;
        let is_bodiless = stream.asked == Asked::Head || matches!(head.status, 204 | 304);
        stream.sending = match (end, is_bodiless) {
            _ if is_tunnel => Sending::Body,
            (true, _) => Sending::Ended,
            (false, true) => Sending::Bodiless,
            (false, false) => Sending::Body,
        };
        let end = stream.sending != Sending::Body;
        self.put_response_head(id, head, end, out);
        self.close_if_ended(id, out);
        Ok(())
    }

    pub fn put_response_head(&mut self, id: u32, head: &ResponseHead, end: bool, out: &mut Out<'_>) {
        self.put_block(id, end, out, |encoder, block| head::encode_response(encoder, head, block));
    }

    fn put_block(
        &mut self,
        id: u32,
        end: bool,
        out: &mut Out<'_>,
        encode: impl FnOnce(&mut super::hpack_encode::Encoder, &mut Vec<u8>),
    ) {
        self.guard.work(1);
        let mut block = SCRATCH.take();
        block.clear();
        encode(&mut self.encoder, &mut block);
        let end_stream = if end { END_STREAM } else { 0 };
        let (first, mut rest) = block.split_at_checked(MAX_PAYLOAD).unwrap_or((&block, &[]));
        let end_headers = if rest.is_empty() { END_HEADERS } else { 0 };
        put_header(out, first.len(), Kind::Headers, end_stream | end_headers, id);
        out.put(first);
        while !rest.is_empty() {
            let (next, behind) = rest.split_at_checked(MAX_PAYLOAD).unwrap_or((rest, &[]));
            let end_headers = if behind.is_empty() { END_HEADERS } else { 0 };
            put_header(out, next.len(), Kind::Continuation, end_headers, id);
            out.put(next);
            rest = behind;
        }
        if block.capacity() <= KEPT_SCRATCH {
            SCRATCH.set(block);
        }
    }

    /// A body behind its head. What is wrong with it shows again when it comes by itself.
    fn send_with_head(&mut self, id: u32, body: &[u8], end: bool, out: &mut Out<'_>) -> Accepted {
        if body.is_empty() {
            return Accepted::default();
        }
        self.send_data(id, body, end, out).unwrap_or_default()
    }

    fn send_data(
        &mut self,
        id: u32,
        mut bytes: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<Accepted, Refused> {
        let others_wait = !self.queue.is_empty();
        let connection_room = self.send_window.room();
        let stream = self.streams.get(id).ok_or(Refused)?;
        match stream.sending {
            Sending::Head | Sending::Ended => return Err(Refused),
            Sending::Bodiless => {
                let accepted = bytes.len();
                if end {
                    stream.sending = Sending::Ended;
                    self.close_if_ended(id, out);
                }
                return Ok(Accepted { bytes: accepted });
            }
            Sending::Body => {}
        }
        // Large frames are written from where they lie; small ones are gathered for the flush, since a write each would
        // cost more than the copy.
        let largest = self.peer_max_frame.min(LARGEST_FRAME);
        let goes_through = !others_wait && largest > MAX_PAYLOAD;
        let room = if goes_through { out.room() } else { out.outbox.room() };
        let turn = if others_wait { MAX_PAYLOAD } else { usize::MAX };
        let shared = connection_room.min(room).min(turn);
        let accepted = bytes.len().min(shared).min(stream.send_window.room());
        let is_all = accepted == bytes.len();
        if !is_all && stream.waiting != Waiting::InQueue {
            let for_window = accepted == stream.send_window.room();
            stream.waiting = if for_window { Waiting::ForWindow } else { Waiting::InQueue };
        }
        let end = end && is_all;
        if end {
            stream.sending = Sending::Ended;
        }
        stream.send_window.take(accepted);
        let must_queue = !is_all && stream.waiting == Waiting::InQueue;
        if must_queue && !self.queue.contains(&id) {
            self.queue.push_back(id);
        }
        self.send_window.take(accepted);
        bytes = bytes.get(..accepted).unwrap_or(&[]);
        if accepted > 0 || end {
            self.guard.work(1 + accepted / MAX_PAYLOAD);
            let size = if goes_through { largest } else { MAX_PAYLOAD };
            loop {
                let (frame, rest) = bytes.split_at_checked(size).unwrap_or((bytes, &[]));
                let flags = if end && rest.is_empty() { END_STREAM } else { 0 };
                put_header(out, frame.len(), Kind::Data, flags, id);
                if goes_through {
                    out.put(frame);
                } else {
                    out.outbox.put(out.pool, frame);
                }
                bytes = rest;
                if bytes.is_empty() {
                    break;
                }
            }
        }
        if end {
            self.close_if_ended(id, out);
        }
        Ok(Accepted { bytes: accepted })
    }

    fn send_trailers(&mut self, id: u32, trailers: &HeaderBlock, out: &mut Out<'_>) -> Result<(), Refused> {
        let stream = self.streams.get(id).ok_or(Refused)?;
        match std::mem::replace(&mut stream.sending, Sending::Ended) {
            Sending::Body => {
                self.put_block(id, true, out, |encoder, block| {
                    head::encode_trailers(encoder, trailers, block)
                });
            }
            Sending::Bodiless => {}
            before => {
                stream.sending = before;
                return Err(Refused);
            }
        }
        self.close_if_ended(id, out);
        Ok(())
    }

    fn reset(&mut self, id: u32, reason: ResetReason, out: &mut Out<'_>) -> Result<(), Refused> {
        let stream = self.streams.remove(id).ok_or(Refused)?;
        self.release(&stream, out);
        // A stream on which nothing was sent is idle to the peer, and idle streams cannot be reset.
        if self.role == Role::Server || stream.sending != Sending::Head {
            put_reset(out, id, code_of(reason));
        }
        self.memory.note(id, Closed::ByUs);
        Ok(())
    }

    fn grant(&mut self, id: u32, bytes: usize, out: &mut Out<'_>) -> Result<(), Refused> {
        let stream = self.streams.get(id).ok_or(Refused)?;
        let granted = bytes.min(stream.uncredited);
        stream.uncredited -= granted;
        if stream.receiving != Receiving::Ended
            && let Some(increment) = stream.receive_window.give(granted)
        {
            put_window_update(out, id, increment);
        }
        self.return_to_connection(granted, out);
        Ok(())
    }

    /// Here a stream is raw bytes both ways already; it only has to be the answered CONNECT.
    fn become_tunnel(&mut self, id: u32) -> Result<(), Refused> {
        let stream = self.streams.get(id).ok_or(Refused)?;
        stream.expected = None;
        let is_open = stream.asked == Asked::Connect && stream.sending == Sending::Body;
        if is_open { Ok(()) } else { Err(Refused) }
    }

    fn go_away(&mut self, gentle: bool, out: &mut Out<'_>, now: Tick) {
        match (self.role, self.draining) {
            (_, Draining::Final(_)) => {}
            (Role::Client, _) => {
                put_go_away(out, 0, ErrorCode::NoError);
                self.draining = Draining::Final(0);
            }
            (Role::Server, Draining::No) if gentle => self.announce_drain(out, now),
            (Role::Server, Draining::Announced(_)) if gentle => {}
            (Role::Server, _) => self.finish_drain(out),
        }
    }

    pub fn ending(&self) -> Ending {
        if let Some(ending) = self.over {
            return ending;
        }
        let is_over = match (self.role, self.draining) {
            (_, Draining::Final(_)) => true,
            // A client that says GOAWAY ends the connection itself.
            (Role::Server, _) => false,
            (Role::Client, _) => self.peer_last.is_some(),
        };
        match (is_over && self.streams.is_empty(), self.role) {
            (false, _) => Ending::Open,
            (true, Role::Client) => Ending::Closed,
            // Frames that the client had under way must not turn our last ones into a RST.
            (true, Role::Server) => Ending::Lingering,
        }
    }
}
