//! One connection, in either role: one call at a time, and the next when its answer has gone.
//!
//! Invariant: bytes of one message follow each other without another's between them; what came in front of a body leaves as it
//! came. A call that is given up towards a provider ends its connection, since the answer would come for the next one.
//!
//! `receive` turns bytes into events, `send` commands into bytes. What both change is the call, whose life is told here: it is
//! over when both sides have said all of theirs, towards a caller when the answer has been written.

mod receive;
mod send;

use super::ThriftCompact;
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, READ_WINDOW, Refused, StreamId,
};
use crate::codec::rpc::FRAME_TIMEOUT;
use crate::message::{ResetReason, Tick};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    /// A frame begins, or nothing does.
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
