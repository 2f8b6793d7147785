//! The client role: one request at a time towards an upstream, and its response.
//!
//! In: commands of an attempt, bytes of the upstream. Out: interim heads, one response, or why there is none.
//! Invariant: the connection takes a new stream only when the last request and the last response were both whole and
//! both sides keep it. Called by the worker; the pool asks `open_stream`.

use super::body::{Body, Piece};
use super::head::{Asked, Response, Search, parse_response, take_head};
use super::write::{Sending, put_request};
use super::{Malformed, Settings, bad};
use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, READ_WINDOW, Refused, StreamId,
};
use crate::codec::tcp;
use crate::message::{ResetReason, Tick};

/// Interim heads before a response; more is an upstream that does not answer.
const MAX_INTERIM: u8 = 32;

#[derive(Debug)]
enum Receiving {
    Head(Search),
    Body(Body),
    /// 101, or 2xx to CONNECT: waits for `BecomeTunnel`.
    Switching,
}

#[derive(Debug)]
struct Current {
    sending: Sending,
    receiving: Receiving,
    asked: Asked,
    asked_upgrade: bool,
    persists: bool,
    interim: u8,
}

#[derive(Debug)]
enum State {
    Idle,
    Exchange(Current),
    Tunnel(tcp::Connection),
    Over(Ending),
}

/// One connection to an upstream.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    state: State,
    stream: u32,
    draining: bool,
    uncredited: usize,
    blocked: bool,
    writable: bool,
    reset_pending: bool,
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Idle,
            stream: 0,
            draining: false,
            uncredited: 0,
            blocked: false,
            writable: false,
            reset_pending: false,
        }
    }

    fn id(&self) -> StreamId {
        StreamId(self.stream)
    }

    fn next_idle<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        match input.rest() {
            [] if input.ended => {
                self.state = State::Over(Ending::Closed);
                Ok(Some(Event::InputEnded))
            }
            [] => Ok(None),
            _ => Err(self.fault(bad("response without a request"))),
        }
    }

    fn next_in_exchange<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        let State::Exchange(current) = &mut self.state else { return Ok(None) };
        let next = match &mut current.receiving {
            Receiving::Head(search) => {
                let asked = current.asked;
                match take_head(input, search, &self.settings, |section| parse_response(section, asked)) {
                    Ok(Some(response)) => return self.next_head(response, input),
                    Ok(None) => Ok(None),
                    Err(malformed) => Err(malformed),
                }
            }
            // The response is whole, the request is still going out.
            Receiving::Body(body) if body.has_ended() => match input.rest() {
                [] => Ok(None),
                _ => Err(bad("bytes behind a response")),
            },
            Receiving::Body(body) => body.next(input, &self.settings),
            Receiving::Switching => Ok(None),
        };
        let stream = self.id();
        match next {
            Ok(Some(Piece::Data { bytes, end })) => {
                self.uncredited += bytes.len();
                self.finish_if_both_ended();
                Ok(Some(Event::DataReceived { stream, bytes, end }))
            }
            Ok(Some(Piece::Trailers(trailers))) => {
                self.finish_if_both_ended();
                Ok(Some(Event::TrailersReceived { stream, trailers }))
            }
            Ok(None) if input.ended => {
                self.state = State::Over(Ending::Closed);
                Ok(Some(Event::StreamReset {
                    stream,
                    reason: ResetReason::ConnectionClosed,
                    unprocessed: false,
                }))
            }
            Ok(None) => Ok(None),
            Err(malformed) => Err(self.fault(malformed)),
        }
    }

    fn next_head<'b>(
        &mut self,
        response: Response,
        input: &mut Input<'b>,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let stream = self.id();
        let State::Exchange(current) = &mut self.state else { return Ok(None) };
        let head = response.head;
        match head.status {
            101 if !current.asked_upgrade => Err(self.fault(bad("101 without being asked"))),
            100 | 102..=199 => {
                current.interim += 1;
                if current.interim > MAX_INTERIM {
                    return Err(self.fault(bad("too many interim responses")));
                }
                Ok(Some(Event::InterimReceived { stream, head }))
            }
            status if status == 101 || (current.asked == Asked::Connect && status < 300) => {
                current.receiving = Receiving::Switching;
                Ok(Some(Event::ResponseReceived { stream, head, body: &[], end: false }))
            }
            _ => {
                let mut body = Body::new(response.framing);
                let bytes = body.take_whole(input);
                let end = body.has_ended();
                current.persists = response.persists;
                current.receiving = Receiving::Body(body);
                self.finish_if_both_ended();
                Ok(Some(Event::ResponseReceived { stream, head, body: bytes, end }))
            }
        }
    }

    fn finish_if_both_ended(&mut self) {
        let State::Exchange(current) = &self.state else { return };
        let received = matches!(&current.receiving, Receiving::Body(body) if body.has_ended());
        if !received || !current.sending.has_ended() {
            return;
        }
        (self.blocked, self.uncredited) = (false, 0);
        let goes_on = current.persists && !self.draining;
        self.state = if goes_on { State::Idle } else { State::Over(Ending::Closed) };
    }

    #[cold]
    fn fault(&mut self, malformed: Malformed) -> ConnectionFault {
        self.end(Ending::Closed);
        ConnectionFault { reason: ResetReason::ProtocolError, answered: None, what: malformed.what }
    }

    fn end(&mut self, ending: Ending) {
        self.reset_pending |= matches!(self.state, State::Exchange(_));
        self.state = State::Over(ending);
    }

    fn request(
        &mut self,
        head: &crate::message::RequestHead,
        body: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<Accepted, Refused> {
        let State::Exchange(current) = &mut self.state else { return Err(Refused) };
        if current.sending != Sending::Head {
            return Err(Refused);
        }
        current.asked = Asked::of(head.method());
        current.asked_upgrade = head.upgrade.is_some();
        current.sending = put_request(out, head, end && body.is_empty());
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
            // Not what was announced: only a broken connection tells the upstream.
            Err(Refused) if !current.sending.has_ended() => self.state = State::Over(Ending::Aborted),
            Err(Refused) => {}
        }
        sent
    }
}

impl Codec for Client {
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
            State::Idle => self.next_idle(input),
            State::Exchange(_) => self.next_in_exchange(input),
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
            Command::GoAway { .. } => {
                self.draining = true;
                if matches!(self.state, State::Idle) {
                    self.state = State::Over(Ending::Closed);
                }
                done
            }
            Command::SendRequest { stream, head, body, end } if stream == self.id() => {
                self.request(head, body, end, out)
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
            Command::ResetStream { stream, .. }
                if stream == self.id() && matches!(self.state, State::Exchange(_)) =>
            {
                self.state = State::Over(Ending::Closed);
                done
            }
            Command::GrantCredit { stream, bytes } if stream == self.id() => {
                self.uncredited = self.uncredited.saturating_sub(bytes);
                done
            }
            Command::BecomeTunnel { stream } if stream == self.id() => {
                let State::Exchange(Current { receiving: Receiving::Switching, .. }) = &self.state else {
                    return Err(Refused);
                };
                self.state = State::Tunnel(tcp::Connection::tunnel(stream));
                done
            }
            _ => Err(Refused),
        }
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        if self.draining || !matches!(self.state, State::Idle) {
            return None;
        }
        self.stream = self.stream.wrapping_add(1);
        self.state = State::Exchange(Current {
            sending: Sending::Head,
            receiving: Receiving::Head(Search::default()),
            asked: Asked::Content,
            asked_upgrade: false,
            persists: true,
            interim: 0,
        });
        Some(self.id())
    }

    fn open_streams(&self) -> usize {
        match &self.state {
            State::Exchange(_) => 1,
            State::Tunnel(tunnel) => tunnel.open_streams(),
            State::Idle | State::Over(_) => 0,
        }
    }

    fn ending(&self) -> Ending {
        match &self.state {
            State::Idle | State::Exchange(_) => Ending::Open,
            State::Tunnel(tunnel) => tunnel.ending(),
            State::Over(ending) => *ending,
        }
    }

    fn wants_input(&self) -> bool {
        match &self.state {
            State::Idle => true,
            State::Exchange(current) => {
                self.uncredited < READ_WINDOW && !matches!(current.receiving, Receiving::Switching)
            }
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
        None
    }

    fn on_deadline(&mut self, _now: Tick, _out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        Ok(())
    }

    fn on_room(&mut self) {
        match &mut self.state {
            State::Tunnel(tunnel) => tunnel.on_room(),
            _ => self.writable |= std::mem::take(&mut self.blocked),
        }
    }
}
