//! The trivial codec: stream 0, data and end both ways. Also what a tunnel is after an HTTP/1 upgrade.
//!
//! In: bytes as they come and the pipe's data. Out: the same, with half-closes and resets kept. Invariant: what the
//! contract asks here it may ask of every protocol.

use super::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, READ_WINDOW, Refused, StreamId,
};
use crate::bytes::Out;
use crate::message::{ResetReason, Tick};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// The stream was reset by us.
    Aborted,
    /// The socket is gone.
    Lost,
}

/// One TCP connection, in either role.
#[derive(Debug, Default)]
pub struct Connection {
    stream: u32,
    state: State,
    /// Client role: `open_stream` was called.
    taken: bool,
    received_end: bool,
    sent_end: bool,
    /// Bytes handed over for which no credit has come back.
    uncredited: usize,
    blocked: bool,
    writable: bool,
}

impl Connection {
    pub fn new() -> Self {
        Self::default()
    }

    /// The raw bytes behind an upgrade, under the number of the stream that asked for it.
    pub fn tunnel(stream: StreamId) -> Self {
        Self { stream: stream.0, taken: true, ..Self::default() }
    }

    fn id(&self) -> StreamId {
        StreamId(self.stream)
    }

    fn is_open(&self) -> bool {
        self.state == State::Open && !(self.received_end && self.sent_end)
    }

    fn send(&mut self, bytes: &[u8], end: bool, out: &mut Out<'_>) -> Result<Accepted, Refused> {
        if self.sent_end {
            return Err(Refused);
        }
        let accepted = bytes.len().min(out.room());
        out.put(bytes.get(..accepted).unwrap_or(&[]));
        self.blocked = accepted < bytes.len();
        self.sent_end = end && !self.blocked;
        Ok(Accepted { bytes: accepted })
    }
}

impl Codec for Connection {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        _out: &mut Out<'_>,
        _now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if std::mem::take(&mut self.writable) {
            return Ok(Some(Event::StreamWritable { stream: self.id() }));
        }
        let available = input.rest().len();
        if self.state != State::Open || self.received_end || (available == 0 && !input.ended) {
            return Ok(None);
        }
        self.received_end = input.ended;
        self.uncredited += available;
        Ok(Some(Event::DataReceived {
            stream: self.id(),
            bytes: input.take(available),
            end: self.received_end,
        }))
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, _now: Tick) -> Result<Accepted, Refused> {
        if self.state != State::Open {
            return Err(Refused);
        }
        match command {
            Command::SendData { stream, bytes, end } if stream == self.id() => self.send(bytes, end, out),
            Command::GrantCredit { stream, bytes } if stream == self.id() => {
                self.uncredited = self.uncredited.saturating_sub(bytes);
                Ok(Accepted::default())
            }
            Command::ResetStream { stream, reason } if stream == self.id() => {
                // A pipe that is simply over ends by FIN; everything else travels as RST.
                if reason == ResetReason::NoError {
                    (self.received_end, self.sent_end) = (true, true);
                } else {
                    self.state = State::Aborted;
                }
                Ok(Accepted::default())
            }
            Command::BecomeTunnel { .. } | Command::GoAway { .. } => Ok(Accepted::default()),
            _ => Err(Refused),
        }
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        (!std::mem::replace(&mut self.taken, true) && self.is_open()).then(|| self.id())
    }

    fn open_streams(&self) -> usize {
        usize::from(self.is_open())
    }

    fn ending(&self) -> Ending {
        match self.state {
            State::Aborted => Ending::Aborted,
            State::Lost => Ending::Closed,
            State::Open if !self.sent_end => Ending::Open,
            State::Open if self.received_end => Ending::Closed,
            State::Open => Ending::HalfClosed,
        }
    }

    fn wants_input(&self) -> bool {
        self.state == State::Open && !self.received_end && self.uncredited < READ_WINDOW
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        let open = self.is_open();
        self.state = State::Lost;
        open.then(|| self.id())
    }

    fn deadline(&self) -> Option<Tick> {
        None
    }

    fn on_deadline(&mut self, _now: Tick, _out: &mut Out<'_>) -> Result<(), ConnectionFault> {
        Ok(())
    }

    fn on_room(&mut self) {
        self.writable |= std::mem::take(&mut self.blocked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{Bench, Seen};

    const STREAM: StreamId = StreamId(0);

    #[test]
    fn fin_follows_its_bytes_and_the_other_direction_goes_on() {
        let mut bench = Bench::new(Connection::new());
        assert_eq!(bench.receive_end(b"last words"), [Seen::data(0, b"last words"), Seen::End(0)]);
        assert_eq!(bench.codec.ending(), Ending::Open);
        bench.send(Command::SendData { stream: STREAM, bytes: b"answer", end: false }).unwrap();
        bench.send(Command::SendData { stream: STREAM, bytes: b"", end: true }).unwrap();
        assert_eq!(bench.sent(), b"answer");
        assert_eq!(bench.codec.ending(), Ending::Closed);
    }

    #[test]
    fn our_end_half_closes() {
        let mut bench = Bench::new(Connection::new());
        bench.send(Command::SendData { stream: STREAM, bytes: b"", end: true }).unwrap();
        assert_eq!((bench.codec.ending(), bench.codec.open_streams()), (Ending::HalfClosed, 1));
        assert_eq!(bench.receive(b"more"), [Seen::data(0, b"more")]);
        assert_eq!(bench.send(Command::SendData { stream: STREAM, bytes: b"x", end: false }), Err(Refused));
    }

    #[test]
    fn data_without_credit_stops_reading() {
        let mut bench = Bench::new(Connection::new());
        bench.receive(&vec![0; READ_WINDOW]);
        assert!(!bench.codec.wants_input());
        bench.send(Command::GrantCredit { stream: STREAM, bytes: 1 }).unwrap();
        assert!(bench.codec.wants_input());
    }

    #[test]
    fn full_outbox_takes_a_part_and_says_when_there_is_room() {
        let mut bench = Bench::new(Connection::new());
        let bytes = vec![7; 100_000];
        let accepted =
            bench.send(Command::SendData { stream: STREAM, bytes: &bytes, end: true }).unwrap().bytes;
        assert_eq!((accepted, bench.codec.ending()), (65_536, Ending::Open));
        assert_eq!(bench.sent().len(), accepted);
        bench.codec.on_room();
        assert_eq!(bench.receive(b""), [Seen::Writable(0)]);
        bench.send(Command::SendData { stream: STREAM, bytes: &bytes[accepted..], end: true }).unwrap();
        assert_eq!(bench.codec.ending(), Ending::HalfClosed);
    }

    #[test]
    fn reset_travels_as_reset() {
        let mut bench = Bench::new(Connection::new());
        bench.send(Command::ResetStream { stream: STREAM, reason: ResetReason::Failed }).unwrap();
        assert_eq!((bench.codec.ending(), bench.codec.next_reset()), (Ending::Aborted, None));
        let mut lost = Connection::new();
        assert_eq!((lost.next_reset(), lost.next_reset()), (Some(STREAM), None));
    }
}
