//! Bytes of the peer → events. Invariant: a frame begins only where the one before it has ended, and towards us a call only when
//! the one before it is over; a body is one event with its front if all of it is there, else it goes in pieces.

use super::{Call, Connection, Incoming, Outgoing};
use crate::bytes::Out;
use crate::codec::contract::{ConnectionFault, Ending, Event, Input};
use crate::codec::native::thrift_compact::ENTRY;
use crate::codec::native::thrift_compact::frame::{self, Front, Kind, Wrong};
use crate::codec::native::{Name, put_name};
use crate::codec::rpc::FRAME_TIMEOUT;
use crate::message::{
    BodyLength, Frame, HeaderBlock, Protocol, RequestHead, ResetReason, ResponseHead, Span, Tick, fresh,
};

/// Service of calls that name none: only multiplexed ones write `service:method`.
const SERVICE: &[u8] = b"thrift";
/// What a frame begins.
enum Begun {
    Request(Box<RequestHead>),
    Response(Box<ResponseHead>),
}

impl Connection {
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

    pub(super) fn at_end<'b>(&mut self, input: &Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
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

    pub(super) fn next_front<'b>(
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
        let name = Name { scheme: ENTRY.name, service, method };
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

    pub(super) fn next_piece<'b>(
        &mut self,
        left: usize,
        input: &mut Input<'b>,
        now: Tick,
    ) -> Option<Event<'b>> {
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
}

fn length_of(body: usize) -> BodyLength {
    if body == 0 { BodyLength::Empty } else { BodyLength::Known(body as u64) }
}
