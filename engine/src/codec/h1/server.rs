//! The server role: requests in, responses out, one at a time and in order.
//!
//! In: bytes of a client and commands of the exchange. Out: the events of one stream after another. Invariant: the
//! next head is parsed only when the previous response has been written and the outbox has room, so a client that
//! pipelines without reading costs us no memory. Called by the worker.

use super::body::{Body, Piece};
use super::head::{Asked, Request, Search, parse_request, take_head};
use super::write::{CONTINUE, Recipient, Sending, put_interim, put_refusal, put_response};
use super::{Malformed, Settings};
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, READ_WINDOW, Refused, StreamId,
};
use crate::codec::tcp;
use crate::message::{Protocol, ResetReason, Tick};

/// Line ends in front of a request line that are forgiven (RFC 9112 §2.2), since old clients send one behind a body.
const MAX_EMPTY_LINES: u8 = 4;

/// What was understood of the request that is being answered.
#[derive(Debug)]
struct Current {
    body: Body,
    sending: Sending,
    protocol: Protocol,
    asked: Asked,
    persists: bool,
}

#[derive(Debug)]
enum State {
    /// Between two messages, or within a head.
    Head(Search),
    Exchange(Current),
    Tunnel(tcp::Connection),
    Over(Ending),
}

/// One connection of a client.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    state: State,
    stream: u32,
    empty_lines: u8,
    /// When the head now arriving must be whole.
    head_deadline: Option<Tick>,
    draining: bool,
    /// Bytes of later requests lie unread in the carry.
    has_pipelined: bool,
    uncredited: usize,
    blocked: bool,
    writable: bool,
    /// The connection broke under an exchange that does not know it yet.
    reset_pending: bool,
}

impl Server {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Head(Search::default()),
            stream: 0,
            empty_lines: 0,
            head_deadline: None,
            draining: false,
            has_pipelined: false,
            uncredited: 0,
            blocked: false,
            writable: false,
            reset_pending: false,
        }
    }

    fn id(&self) -> StreamId {
        StreamId(self.stream)
    }

    fn next_head<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let State::Head(search) = &mut self.state else { return Ok(None) };
        while search.is_fresh() && input.rest().starts_with(b"\r\n") && self.empty_lines < MAX_EMPTY_LINES {
            input.take(2);
            self.empty_lines += 1;
        }
        self.has_pipelined = false;
        if input.rest().is_empty() {
            return Ok(self.end_of_input(input.ended));
        }
        // Room first: responses that nobody reads must not pile up.
        self.has_pipelined = out.room() == 0;
        if self.has_pipelined {
            return Ok(None);
        }
        let State::Head(search) = &mut self.state else { return Ok(None) };
        // A lone CR may yet turn out to be an empty line.
        let settings = &self.settings;
        let found = match input.rest() {
            b"\r" => Ok(None),
            _ => take_head(input, search, settings, |section| parse_request(section, settings)),
        };
        match found {
            Ok(Some(request)) => Ok(Some(self.begin(request, input, out))),
            Ok(None) if input.ended => {
                Err(self.give_up(ResetReason::ConnectionClosed, "connection ended within a head"))
            }
            Ok(None) => {
                if self.head_deadline.is_none() {
                    self.head_deadline =
                        self.settings.head_timeout.map(|limit| now.after_milliseconds(limit));
                }
                Ok(None)
            }
            Err(malformed) => Err(self.refuse(malformed, out)),
        }
    }

    fn end_of_input<'b>(&mut self, ended: bool) -> Option<Event<'b>> {
        ended.then(|| {
            self.state = State::Over(Ending::Closed);
            Event::InputEnded
        })
    }

    fn begin<'b>(&mut self, request: Request, input: &mut Input<'b>, out: &mut Out<'_>) -> Event<'b> {
        let Request { mut head, framing, persists, expects_continue } = request;
        self.stream = self.stream.wrapping_add(1);
        (self.head_deadline, self.empty_lines) = (None, 0);
        if expects_continue && !self.settings.pass_expect {
            head.headers.remove_id(crate::message::NameId::EXPECT);
            out.put(CONTINUE);
        }
        let mut body = Body::new(framing);
        let bytes = body.take_whole(input);
        let end = body.has_ended();
        self.state = State::Exchange(Current {
            body,
            sending: Sending::Head,
            protocol: head.protocol,
            asked: Asked::of(head.method()),
            persists,
        });
        Event::RequestReceived { stream: self.id(), head, body: bytes, end }
    }

    fn next_in_exchange<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let stream = self.id();
        let State::Exchange(current) = &mut self.state else { return Ok(None) };
        if current.body.has_ended() {
            self.has_pipelined = !input.rest().is_empty();
            return Ok(if input.ended { self.cancel() } else { None });
        }
        match current.body.next(input, &self.settings) {
            Ok(Some(Piece::Data { bytes, end })) => {
                self.uncredited += bytes.len();
                self.finish_if_both_ended();
                Ok(Some(Event::DataReceived { stream, bytes, end }))
            }
            Ok(Some(Piece::Trailers(trailers))) => {
                self.finish_if_both_ended();
                Ok(Some(Event::TrailersReceived { stream, trailers }))
            }
            Ok(None) if input.ended => Ok(self.cancel()),
            Ok(None) => Ok(None),
            Err(malformed) => Err(self.refuse(malformed, out)),
        }
    }

    /// The client went away before its response was complete.
    #[cold]
    fn cancel<'b>(&mut self) -> Option<Event<'b>> {
        self.state = State::Over(Ending::Closed);
        Some(Event::StreamReset {
            stream: self.id(),
            reason: ResetReason::ConnectionClosed,
            unprocessed: false,
        })
    }

    /// Says what is wrong, if no response has begun, and ends the connection. A stream still open is reported by `next_reset`.
    #[cold]
    fn refuse(&mut self, malformed: Malformed, out: &mut Out<'_>) -> ConnectionFault {
        let may_answer = match &self.state {
            State::Head(_) => true,
            State::Exchange(current) => current.sending == Sending::Head,
            _ => false,
        };
        if may_answer {
            put_refusal(out, malformed.status);
        }
        let answered = may_answer.then_some(malformed.status);
        let reason = if malformed.status == 408 { ResetReason::Timeout } else { ResetReason::ProtocolError };
        let ending = if may_answer { Ending::Lingering } else { Ending::Closed };
        self.end(ending);
        ConnectionFault { reason, answered, what: malformed.what }
    }

    #[cold]
    fn give_up(&mut self, reason: ResetReason, what: &'static str) -> ConnectionFault {
        self.end(Ending::Closed);
        ConnectionFault { reason, answered: None, what }
    }

    /// Over, but an open exchange stays countable until `next_reset` has named it.
    fn end(&mut self, ending: Ending) {
        self.head_deadline = None;
        self.reset_pending |= matches!(self.state, State::Exchange(_));
        self.state = State::Over(ending);
    }

    fn respond(
        &mut self,
        head: &crate::message::ResponseHead,
        body: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<Accepted, Refused> {
        let draining = self.draining;
        let State::Exchange(current) = &mut self.state else { return Err(Refused) };
        if current.sending != Sending::Head {
            return Err(Refused);
        }
        let is_all = end && body.is_empty();
        // Response over before the request: the rest is not read, so the connection cannot go on.
        let leaves_body = is_all && !current.body.has_ended();
        current.persists &= !draining && !leaves_body;
        let to = Recipient { protocol: current.protocol, asked: current.asked, persists: current.persists };
        current.sending = put_response(out, head, is_all, to);
        current.persists &= current.sending != Sending::UntilClose;
        // What follows a 101 or a CONNECT's 2xx waits for `BecomeTunnel`.
        let is_tunnel =
            head.status == 101 || (current.asked == Asked::Connect && (200..300).contains(&head.status));
        if !is_tunnel {
            self.finish_if_both_ended();
        }
        if body.is_empty() {
            return Ok(Accepted::default());
        }
        // What is wrong with it shows again when it comes by itself.
        Ok(self.send(body, end, out).unwrap_or_default())
    }

    fn send(&mut self, bytes: &[u8], end: bool, out: &mut Out<'_>) -> Result<Accepted, Refused> {
        let State::Exchange(current) = &mut self.state else { return Err(Refused) };
        let sent = current.sending.data(bytes, end, out);
        match sent {
            Ok(accepted) => {
                self.blocked = accepted.bytes < bytes.len();
                self.finish_if_both_ended();
            }
            // Not what was announced: only a broken connection tells the client.
            Err(Refused) if !current.sending.has_ended() => self.state = State::Over(Ending::Aborted),
            Err(Refused) => {}
        }
        sent
    }

    fn finish_if_both_ended(&mut self) {
        let State::Exchange(current) = &self.state else { return };
        if !current.sending.has_ended() {
            return;
        }
        (self.blocked, self.has_pipelined, self.uncredited) = (false, false, 0);
        self.state = match (current.body.has_ended(), current.persists) {
            (true, true) => State::Head(Search::default()),
            (true, false) => State::Over(Ending::Closed),
            (false, _) => State::Over(Ending::Lingering),
        };
    }

    fn reset(&mut self) {
        // A client cannot tell a body that ends with the connection from one that was cut, but by RST.
        let ending = match &self.state {
            State::Exchange(current) if current.sending == Sending::UntilClose => Ending::Aborted,
            _ => Ending::Closed,
        };
        self.state = State::Over(ending);
    }
}

impl Codec for Server {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if std::mem::take(&mut self.writable) && matches!(self.state, State::Exchange(_)) {
            return Ok(Some(Event::StreamWritable { stream: self.id() }));
        }
        match &mut self.state {
            State::Head(_) => self.next_head(input, out, now),
            State::Exchange(_) => self.next_in_exchange(input, out),
            State::Tunnel(tunnel) => tunnel.next_event(input, out, now),
            State::Over(_) => Ok(None),
        }
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, now: Tick) -> Result<Accepted, Refused> {
        if let State::Tunnel(tunnel) = &mut self.state {
            return tunnel.perform(command, out, now);
        }
        let done = Ok(Accepted::default());
        match command {
            Command::GoAway { gentle } => {
                self.draining = true;
                if !gentle && matches!(self.state, State::Head(_)) {
                    self.state = State::Over(Ending::Closed);
                }
                done
            }
            Command::SendResponse { stream, head, body, end } if stream == self.id() => {
                self.respond(head, body, end, out)
            }
            Command::SendData { stream, bytes, end } if stream == self.id() => self.send(bytes, end, out),
            Command::SendTrailers { stream, trailers } if stream == self.id() => {
                let carry = self.settings.trailers;
                let State::Exchange(current) = &mut self.state else { return Err(Refused) };
                if current.sending.trailers(trailers, carry, out).is_err() {
                    self.state = State::Over(Ending::Aborted);
                    return Err(Refused);
                }
                self.finish_if_both_ended();
                done
            }
            Command::SendInterim { stream, head } if stream == self.id() => {
                let State::Exchange(current) = &self.state else { return Err(Refused) };
                if current.protocol == Protocol::Http11 && current.sending == Sending::Head {
                    put_interim(out, head);
                }
                done
            }
            Command::ResetStream { stream, .. }
                if stream == self.id() && matches!(self.state, State::Exchange(_)) =>
            {
                self.reset();
                done
            }
            Command::GrantCredit { stream, bytes } if stream == self.id() => {
                self.uncredited = self.uncredited.saturating_sub(bytes);
                done
            }
            // Nothing more is read as long as it runs, but for its end.
            Command::HoldCredit { stream, .. } if stream == self.id() => done,
            Command::BecomeTunnel { stream } if stream == self.id() => {
                let State::Exchange(current) = &self.state else { return Err(Refused) };
                if !current.sending.has_ended() {
                    return Err(Refused);
                }
                self.has_pipelined = false;
                self.state = State::Tunnel(tcp::Connection::tunnel(stream));
                done
            }
            _ => Err(Refused),
        }
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        None
    }

    fn open_streams(&self) -> usize {
        match &self.state {
            State::Exchange(_) => 1,
            State::Tunnel(tunnel) => tunnel.open_streams(),
            State::Head(_) | State::Over(_) => 0,
        }
    }

    fn ending(&self) -> Ending {
        match &self.state {
            State::Head(_) | State::Exchange(_) => Ending::Open,
            State::Tunnel(tunnel) => tunnel.ending(),
            State::Over(ending) => *ending,
        }
    }

    fn wants_input(&self) -> bool {
        match &self.state {
            State::Head(_) => !self.has_pipelined,
            // Also while the response is under way: the end of input is a cancellation.
            State::Exchange(_) => !self.has_pipelined && self.uncredited < READ_WINDOW,
            State::Tunnel(tunnel) => tunnel.wants_input(),
            State::Over(_) => false,
        }
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        if let State::Tunnel(tunnel) = &mut self.state {
            return tunnel.next_reset();
        }
        if !matches!(self.state, State::Over(_)) {
            self.end(Ending::Closed);
        }
        std::mem::take(&mut self.reset_pending).then(|| self.id())
    }

    fn deadline(&self) -> Option<Tick> {
        self.head_deadline
    }

    fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        match self.head_deadline {
            Some(deadline) if deadline <= now => {
                Err(self.refuse(Malformed { status: 408, what: "head timeout" }, out))
            }
            _ => Ok(()),
        }
    }

    fn on_room(&mut self) {
        match &mut self.state {
            State::Tunnel(tunnel) => tunnel.on_room(),
            State::Head(_) => self.has_pipelined = false,
            State::Exchange(_) | State::Over(_) => self.writable |= std::mem::take(&mut self.blocked),
        }
    }
}
