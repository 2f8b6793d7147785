//! One connection, in either role: one call at a time, and the next when its answer has gone.
//!
//! Invariant: bytes of one message follow each other without another's between them; what came in front of a body leaves as it
//! came. A call that is given up towards a provider ends its connection, since the answer would come for the next one.

use super::ThriftCompact;
use super::frame::{self, Front, Kind, Wrong};
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, READ_WINDOW, Refused, StreamId,
};
use crate::codec::native::{Name, put_name};
use crate::codec::rpc::{FRAME_TIMEOUT, words_of};
use crate::message::{
    BodyLength, Frame, HeaderBlock, Protocol, RequestHead, ResetReason, ResponseHead, Span, Tick, fresh,
};

/// Service of calls that name none: only multiplexed ones write `service:method`.
const SERVICE: &[u8] = b"thrift";
/// Longest text of a reply of ours, bytes.
const MAX_MESSAGE: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    Front,
    /// So much of a body. What comes of a call that is over is passed over.
    Body(usize),
}

#[derive(Debug)]
enum Outgoing {
    Nothing,
    /// So much of a body is yet to come.
    Body(usize),
    /// A reply of ours, which goes out when its text is whole.
    Reply {
        status: u16,
        message: Vec<u8>,
    },
    Ended,
}

#[derive(Debug)]
struct Call {
    sequence: u32,
    /// For replies of ours.
    name: Box<[u8]>,
    one_way: bool,
    /// All of what the peer says has come.
    received: bool,
    outgoing: Outgoing,
}

#[derive(Debug)]
pub(super) struct Connection {
    protocol: ThriftCompact,
    is_client: bool,
    number: u32,
    call: Option<Call>,
    incoming: Incoming,
    /// When more of a frame must have come.
    due: Option<Tick>,
    uncredited: usize,
    /// Bytes of the next call lie behind this one's, or nothing is read until the outbox has room.
    has_pipelined: bool,
    blocked: bool,
    writable: bool,
    draining: bool,
    end_reported: bool,
    over: Option<Ending>,
}

impl Connection {
    pub fn new(protocol: ThriftCompact, is_client: bool) -> Self {
        Self {
            protocol,
            is_client,
            number: 0,
            call: None,
            incoming: Incoming::Front,
            due: None,
            uncredited: 0,
            has_pipelined: false,
            blocked: false,
            writable: false,
            draining: false,
            end_reported: false,
            over: None,
        }
    }

    fn id(&self) -> StreamId {
        StreamId(self.number)
    }

    fn fault(&mut self, what: &'static str, reason: ResetReason) -> ConnectionFault {
        // A caller may still be sending: what it is told must not be overtaken by a RST.
        self.over = Some(if self.is_client { Ending::Closed } else { Ending::Lingering });
        ConnectionFault { reason, answered: None, what }
    }

    /// What is wrong ends the connection; who called learns why.
    fn refuse(&mut self, Wrong { what, call }: Wrong, out: &mut Out<'_>) -> ConnectionFault {
        let fault = self.fault(what, ResetReason::ProtocolError);
        match call.filter(|_| !self.is_client) {
            Some(sequence) => {
                out.put(&frame::exception(sequence, b"", 400, what.as_bytes()));
                ConnectionFault { answered: Some(400), ..fault }
            }
            None => fault,
        }
    }

    fn at_end<'b>(&mut self, input: &Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        if !input.ended || self.end_reported {
            return Ok(None);
        }
        self.end_reported = true;
        if !input.rest().is_empty() || self.incoming != Incoming::Front {
            return Err(self.fault("the connection ended within a frame", ResetReason::ConnectionClosed));
        }
        self.over = Some(Ending::Closed);
        Ok(Some(Event::InputEnded))
    }

    fn next_front<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        // A caller is read again when its call is over and its answers leave room.
        self.has_pipelined = !self.is_client && (self.call.is_some() || out.room() == 0);
        if self.has_pipelined {
            return Ok(None);
        }
        let front = match frame::read(input.rest()) {
            Ok(Some(front)) => front,
            Ok(None) => {
                self.due.get_or_insert(now.after_milliseconds(FRAME_TIMEOUT));
                return self.at_end(input);
            }
            Err(wrong) => return Err(self.refuse(wrong, out)),
        };
        let bytes = input.rest().get(..front.size).unwrap_or(&[]);
        let event = if self.is_client { self.response(&front, bytes) } else { self.request(&front, bytes) };
        let event = match event {
            Ok(event) => event,
            Err(wrong) => return Err(self.refuse(wrong, out)),
        };
        let body = front.body;
        input.take(front.size);
        let (body, end) = self.take_body(body, input, now);
        let stream = self.id();
        if end {
            self.received();
        }
        Ok(Some(match event {
            Begun::Request(head) => Event::RequestReceived { stream, head, body, end },
            Begun::Response(head) => Event::ResponseReceived { stream, head, body, end },
        }))
    }

    /// The body if all of it is there, and whether it is.
    fn take_body<'b>(&mut self, length: usize, input: &mut Input<'b>, now: Tick) -> (&'b [u8], bool) {
        if input.rest().len() < length {
            self.incoming = Incoming::Body(length);
            self.due = Some(now.after_milliseconds(FRAME_TIMEOUT));
            return (&[], false);
        }
        self.due = None;
        (input.take(length), true)
    }

    fn request(&mut self, front: &Front<'_>, bytes: &[u8]) -> Result<Begun, Wrong> {
        let one_way = match front.kind {
            Kind::Call => false,
            Kind::OneWay => true,
            _ => return Err(Wrong { what: "an answer nobody asked for", call: None }),
        };
        let mut head = fresh::<RequestHead>();
        (head.body, head.one_way) = (length_of(front.body), one_way);
        let span = head.headers.stash(bytes);
        let colon = memchr::memchr(b':', front.name);
        let (service, method) = match colon.and_then(|at| front.name.split_at_checked(at)) {
            Some((service, [_, method @ ..])) if !service.is_empty() => (service, method),
            _ => (SERVICE, front.name),
        };
        let name = Name { scheme: super::ENTRY.name, service, method };
        let (service, method) = put_name(&mut head, name).ok_or(Wrong {
            what: "a service or method has a character that none has",
            call: (!one_way).then_some(front.sequence),
        })?;
        head.frame =
            Some(Frame { service, method, ..self.frame(span, front.sequence.into(), &head.headers) });
        self.number = self.number.wrapping_add(1);
        self.call = Some(Call {
            sequence: front.sequence,
            name: front.name.into(),
            one_way,
            received: false,
            outgoing: Outgoing::Nothing,
        });
        Ok(Begun::Request(head))
    }

    fn response(&mut self, front: &Front<'_>, bytes: &[u8]) -> Result<Begun, Wrong> {
        let wrong = |what| Err(Wrong { what, call: None });
        let Some(call) = self.call.as_ref().filter(|call| !matches!(call.outgoing, Outgoing::Nothing)) else {
            return wrong("an answer nobody asked for");
        };
        if call.sequence != front.sequence || !matches!(front.kind, Kind::Reply | Kind::Exception) {
            return wrong("this is no answer to the call");
        }
        let mut head = fresh::<ResponseHead>();
        (head.protocol, head.body) = (Protocol::Rpc, length_of(front.body));
        head.status = frame::status_of(front, self.protocol.declared);
        let span = head.headers.stash(bytes);
        head.frame = Some(self.frame(span, frame::number_of(front.kind), &head.headers));
        Ok(Begun::Response(head))
    }

    fn frame(&self, bytes: Span, number: u64, headers: &HeaderBlock) -> Frame {
        Frame {
            bytes,
            protocol: self.protocol.digest,
            shape: 0,
            number,
            service: Span::default(),
            method: Span::default(),
            pin: 0,
            attributes: 0,
            pairs: 0,
            mark: headers.mark(),
        }
    }

    fn next_piece<'b>(&mut self, left: usize, input: &mut Input<'b>, now: Tick) -> Option<Event<'b>> {
        let bytes = &*input.take(left);
        let left = left - bytes.len();
        let end = left == 0;
        self.incoming = if end { Incoming::Front } else { Incoming::Body(left) };
        self.due = (!end).then(|| now.after_milliseconds(FRAME_TIMEOUT));
        self.call.as_ref().filter(|call| !call.received)?;
        let stream = self.id();
        self.uncredited += bytes.len();
        if end {
            self.received();
        }
        Some(Event::DataReceived { stream, bytes, end })
    }

    /// All of what the peer says on this call has come.
    fn received(&mut self) {
        if let Some(call) = &mut self.call {
            call.received = true;
            if self.is_client && matches!(call.outgoing, Outgoing::Ended) {
                self.end_call();
            }
        }
    }

    /// All of what is said to the peer has been written.
    fn sent(&mut self) {
        let Some(call) = &mut self.call else { return };
        call.outgoing = Outgoing::Ended;
        if !self.is_client || call.one_way || call.received {
            self.end_call();
        }
    }

    fn end_call(&mut self) {
        self.call = None;
        (self.blocked, self.has_pipelined, self.uncredited) = (false, false, 0);
    }

    fn send_request(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let frame = head.frame.filter(|frame| frame.protocol == self.protocol.digest).ok_or(Refused)?;
        let call = self.call.as_mut().filter(|_| self.is_client).ok_or(Refused)?;
        if !matches!(call.outgoing, Outgoing::Nothing) {
            return Err(Refused);
        }
        (call.sequence, call.one_way) = (frame.number as u32, head.one_way);
        call.outgoing = Outgoing::Body(bytes_of(head.body));
        out.put(head.headers.slice(frame.bytes));
        self.send(body, end, out)
    }

    fn send_response(
        &mut self,
        head: &ResponseHead,
        body: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let call = self.call.as_mut().filter(|call| !self.is_client && !call.one_way).ok_or(Refused)?;
        if !matches!(call.outgoing, Outgoing::Nothing) {
            return Err(Refused);
        }
        match head.frame {
            Some(frame) if frame.protocol == self.protocol.digest => {
                call.outgoing = Outgoing::Body(bytes_of(head.body));
                out.put(head.headers.slice(frame.bytes));
            }
            Some(_) => return Err(Refused),
            None => call.outgoing = Outgoing::Reply { status: head.status, message: Vec::new() },
        }
        self.send(body, end, out)
    }

    fn send(&mut self, bytes: &[u8], end: bool, out: &mut Out<'_>) -> Result<usize, Refused> {
        let call = self.call.as_mut().ok_or(Refused)?;
        let (accepted, is_over) = match &mut call.outgoing {
            Outgoing::Nothing | Outgoing::Ended => return Err(Refused),
            Outgoing::Reply { status, message } => {
                let room = MAX_MESSAGE.saturating_sub(message.len()).min(bytes.len());
                message.extend_from_slice(bytes.get(..room).unwrap_or(&[]));
                if end {
                    let words = if message.is_empty() { words_of(*status) } else { message };
                    out.put(&frame::exception(call.sequence, &call.name, *status, words));
                }
                (bytes.len(), end)
            }
            Outgoing::Body(left) => {
                let accepted = bytes.len().min(out.room());
                let is_over = end && accepted == bytes.len();
                if accepted > *left || (is_over && accepted < *left) {
                    // Not as long as it said: only a broken connection tells.
                    self.over = Some(Ending::Aborted);
                    return Err(Refused);
                }
                *left -= accepted;
                out.put(bytes.get(..accepted).unwrap_or(&[]));
                self.blocked = accepted < bytes.len();
                (accepted, is_over)
            }
        };
        if is_over {
            self.sent();
        }
        Ok(accepted)
    }

    fn reset(&mut self, reason: ResetReason, out: &mut Out<'_>) -> Result<(), Refused> {
        let call = self.call.as_ref().ok_or(Refused)?;
        match &call.outgoing {
            Outgoing::Body(_) => self.over = Some(Ending::Aborted),
            Outgoing::Nothing if self.is_client => {}
            // The provider is at this call still.
            _ if self.is_client => self.over = Some(Ending::Closed),
            _ if call.one_way => {}
            _ => {
                let (status, message): (_, &[u8]) = match reason {
                    ResetReason::Timeout => (504, b"timeout"),
                    ResetReason::Overloaded => (503, b"overloaded"),
                    _ => (502, b"the connection to the provider failed"),
                };
                out.put(&frame::exception(call.sequence, &call.name, status, message));
            }
        }
        self.end_call();
        Ok(())
    }
}

/// What a frame begins.
enum Begun {
    Request(Box<RequestHead>),
    Response(Box<ResponseHead>),
}

fn length_of(body: usize) -> BodyLength {
    if body == 0 { BodyLength::Empty } else { BodyLength::Known(body as u64) }
}

fn bytes_of(length: BodyLength) -> usize {
    match length {
        BodyLength::Known(length) => usize::try_from(length).unwrap_or(usize::MAX),
        BodyLength::Empty | BodyLength::Unknown => 0,
    }
}

impl Codec for Connection {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if std::mem::take(&mut self.writable) && self.call.is_some() {
            return Ok(Some(Event::StreamWritable { stream: self.id() }));
        }
        while self.over.is_none() {
            if input.rest().is_empty() {
                return self.at_end(input);
            }
            match self.incoming {
                Incoming::Front => return self.next_front(input, out, now),
                Incoming::Body(left) => {
                    if let Some(event) = self.next_piece(left, input, now) {
                        return Ok(Some(event));
                    }
                }
            }
        }
        Ok(None)
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, _now: Tick) -> Result<Accepted, Refused> {
        let of = match &command {
            Command::SendRequest { stream, .. }
            | Command::SendResponse { stream, .. }
            | Command::SendData { stream, .. }
            | Command::SendTrailers { stream, .. }
            | Command::ResetStream { stream, .. }
            | Command::GrantCredit { stream, .. }
            | Command::HoldCredit { stream, .. } => Some(*stream),
            _ => None,
        };
        if of.is_some_and(|stream| stream != self.id()) || self.over.is_some() {
            return Err(Refused);
        }
        let bytes = match command {
            Command::SendRequest { head, body, end, .. } => self.send_request(head, body, end, out)?,
            Command::SendResponse { head, body, end, .. } => self.send_response(head, body, end, out)?,
            Command::SendData { bytes, end, .. } => self.send(bytes, end, out)?,
            Command::SendTrailers { .. } => self.send(&[], true, out)?,
            Command::ResetStream { reason, .. } => {
                self.reset(reason, out)?;
                0
            }
            Command::GrantCredit { bytes, .. } => {
                self.uncredited = self.uncredited.saturating_sub(bytes);
                0
            }
            Command::HoldCredit { bytes, .. } => {
                self.uncredited += bytes;
                0
            }
            Command::GoAway { gentle } => {
                self.draining |= !gentle;
                0
            }
            Command::SendInterim { .. } => 0,
            Command::BecomeTunnel { .. } | Command::DeclineStream { .. } => return Err(Refused),
        };
        Ok(Accepted { bytes })
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        let is_free = self.call.is_none() && self.incoming == Incoming::Front;
        if !self.is_client || !is_free || self.draining || self.over.is_some() {
            return None;
        }
        self.number = self.number.wrapping_add(1);
        self.call = Some(Call {
            sequence: 0,
            name: Box::default(),
            one_way: false,
            received: false,
            outgoing: Outgoing::Nothing,
        });
        Some(self.id())
    }

    fn open_streams(&self) -> usize {
        usize::from(self.call.is_some())
    }

    fn ending(&self) -> Ending {
        match self.over {
            Some(ending) => ending,
            None if self.draining && self.call.is_none() => Ending::Closed,
            None => Ending::Open,
        }
    }

    fn wants_input(&self) -> bool {
        self.over.is_none() && !self.has_pipelined && self.uncredited < READ_WINDOW
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        self.over.get_or_insert(Ending::Closed);
        self.call.take().map(|_| self.id())
    }

    fn deadline(&self) -> Option<Tick> {
        self.due.filter(|_| self.over.is_none())
    }

    fn on_deadline(&mut self, now: Tick, _out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        match self.due {
            Some(due) if due <= now && self.wants_input() => {
                Err(self.fault("a frame takes too long", ResetReason::Timeout))
            }
            // We do not read: its sender is not to blame.
            Some(due) if due <= now => {
                self.due = Some(now.after_milliseconds(FRAME_TIMEOUT));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_room(&mut self) {
        self.has_pipelined = false;
        self.writable |= std::mem::take(&mut self.blocked);
    }
}
