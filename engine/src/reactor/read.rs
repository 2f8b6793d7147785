//! From the socket to the codec's events: read, decrypt, deliver, and keep what is not consumed.

use std::io;
use std::ops::ControlFlow;

use super::connection::{Connection, Phase, Secure, Transport};
use super::driver::Driver;
use super::worker::{LEAST_READ, READ_BUFFER, STREAMS_PER_TURN, Worker};
use crate::bytes::Out;
use crate::codec::contract::{Codec, ConnectionFault, Event, Input};
use crate::message::{Key, ResetReason};
use crate::stream::{DialError, DialErrorKind};
use crate::tls::{Opened, TlsFault};

/// What a read brought.
enum Read {
    /// So many bytes behind the carry; 0: the peer's end.
    Bytes(usize),
    Nothing,
    Broken(io::Error),
}

impl<D: Driver> Worker<D> {
    /// One read of a connection and all that comes of it. Break: nothing more to read for now.
    pub(super) fn read(&mut self, key: Key) -> ControlFlow<()> {
        self.board.reading = None;
        let Some(connection) = self.board.connections.get_mut(key) else { return ControlFlow::Break(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        // What waits is put in front of the new bytes, so that codecs see one piece.
        let waiting = match &mut connection.transport {
            Transport::Plain => &mut connection.carry,
            Transport::Tls(secure) => &mut secure.carry,
        };
        let kept = waiting.len();
        if buffer.len() < kept + LEAST_READ {
            buffer.resize(READ_BUFFER.max(kept + LEAST_READ), 0);
        }
        let (front, room) = buffer.split_at_mut(kept);
        front.copy_from_slice(waiting);
        let read = receive(&mut self.board.driver, connection, room);
        let flow = match read {
            Read::Bytes(count) => {
                match &mut connection.transport {
                    Transport::Plain => connection.carry = Vec::new(),
                    Transport::Tls(secure) => secure.carry = Vec::new(),
                }
                let filled = buffer.get_mut(..kept + count).unwrap_or(&mut []);
                self.arrived(key, filled);
                ControlFlow::Continue(())
            }
            Read::Nothing => ControlFlow::Break(()),
            Read::Broken(error) => {
                self.lose(key, &error.to_string());
                ControlFlow::Break(())
            }
        };
        if buffer.len() > READ_BUFFER {
            buffer = Vec::new();
        }
        self.buffer = buffer;
        flow
    }

    /// Goes on with what lies in the carry: the phase has changed, or the codec takes input again.
    pub(super) fn advance(&mut self, key: Key) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        connection.unoffered = false;
        if let Transport::Tls(secure) = &mut connection.transport
            && !secure.session.is_established()
        {
            let mut waiting = std::mem::take(&mut secure.carry);
            self.decrypt(key, &mut waiting);
            return;
        }
        let mut waiting = std::mem::take(&mut connection.carry);
        self.deliver(key, &mut waiting);
    }

    fn arrived(&mut self, key: Key, bytes: &mut [u8]) {
        match self.board.connections.get(key).map(|connection| &connection.transport) {
            Some(Transport::Plain) => self.deliver(key, bytes),
            Some(Transport::Tls(_)) => self.decrypt(key, bytes),
            None => {}
        }
    }

    /// Cipher text: whole records are opened, half a one is kept.
    fn decrypt(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let Transport::Tls(secure) = &mut connection.transport else { return };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.append(&mut connection.carry);
        let Secure { session, unsent, carry, .. } = &mut **secure;
        let result = session.open(bytes, &mut plain, unsent);
        if let Ok(opened) = &result {
            carry.extend_from_slice(bytes.get(opened.consumed..).unwrap_or(&[]));
            connection.ended |= opened.peer_closed;
        }
        let ended_early = connection.ended && !session.is_established();
        if !unsent.is_empty() {
            self.board.mark_dirty(key);
        }
        match result {
            Ok(_) if ended_early => self.lose(key, "connection closed during the TLS handshake"),
            Ok(opened) => self.opened_records(key, opened, &mut plain),
            Err(fault) => self.tls_failed(key, &fault),
        }
        if plain.capacity() > 4 * READ_BUFFER {
            plain = Vec::new();
        }
        self.plain = plain;
    }

    fn opened_records(&mut self, key: Key, opened: Opened, plain: &mut Vec<u8>) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        let ended = connection.ended;
        if opened.established {
            let waits = !plain.is_empty() || ended;
            // What came with the end of the handshake lies in the carry while the codec is made: who goes on from there
            // finds the bytes before the end of input, not after it.
            connection.carry = std::mem::take(plain);
            self.established(key);
            if waits {
                return;
            }
        }
        if !plain.is_empty() || ended || opened.established {
            self.deliver(key, plain);
        }
    }

    fn established(&mut self, key: Key) {
        match self.board.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Accepting(_)) => self.accepted(key),
            Some(Phase::Securing(_)) => self.secured(key),
            _ => {}
        }
    }

    #[cold]
    fn tls_failed(&mut self, key: Key, fault: &TlsFault) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        // The alert tells the peer why; it leaves if the socket takes it at once.
        let _ = connection.flush(&mut self.board.driver, &mut self.board.pool, &mut self.board.scratch);
        match connection.phase {
            Phase::Securing(_) => {
                self.fail_dial(
                    key,
                    DialError { kind: DialErrorKind::Tls(fault.kind), what: fault.what.clone() },
                );
            }
            _ => {
                self.count_tls_fault(key, fault);
                self.lose(key, &fault.what);
            }
        }
    }

    /// Plain bytes, for whoever is at the connection now. What is not consumed goes into the carry.
    fn deliver(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(connection) = self.board.connections.get_mut(key) else { return };
        match connection.phase {
            Phase::Open(_) => {
                let ended = connection.ended;
                self.pump(key, bytes, ended);
            }
            Phase::Inspecting(_) | Phase::Choosing(_) => {
                connection.carry = bytes.to_vec();
                self.look(key);
            }
            Phase::Lingering if connection.ended => self.board.remove(key),
            Phase::Lingering => {}
            Phase::Accepting(_) | Phase::Connecting(_) | Phase::Securing(_) if bytes.is_empty() => {}
            Phase::Accepting(_) | Phase::Connecting(_) | Phase::Securing(_) => {
                connection.carry = bytes.to_vec();
            }
        }
    }

    /// Asks the codec for events until it has none, each handled before the next. What it did not consume goes into the carry.
    fn pump(&mut self, key: Key, bytes: &mut [u8], ended: bool) {
        let mut input = Input::new(bytes, ended);
        let mut streams = 0;
        while let Some(result) = self.next_event(key, &mut input) {
            match result {
                Ok(event) => {
                    streams += usize::from(matches!(event, Event::RequestReceived { .. }));
                    self.streams.event(&mut self.board, key, event);
                    if streams == STREAMS_PER_TURN {
                        self.board.mark_ready(key);
                        break;
                    }
                }
                Err(fault) => {
                    self.streams.fault(&mut self.board, key, &fault);
                    self.reset_streams(key, fault.reason);
                    break;
                }
            }
        }
        let is_left = ended || !input.rest().is_empty();
        if let Some(connection) = self.board.connections.get_mut(key) {
            if !input.rest().is_empty() {
                connection.carry = input.rest().to_vec();
            }
            // Where the codec waits for credit or room, the rest is offered again when it does not.
            connection.unoffered = is_left && (streams == STREAMS_PER_TURN || !connection.wants_input());
            if !connection.is_at_rest() {
                self.board.mark_dirty(key);
            }
        }
    }

    fn next_event<'b>(
        &mut self,
        key: Key,
        input: &mut Input<'b>,
    ) -> Option<Result<Event<'b>, ConnectionFault>> {
        let connection = self.board.connections.get_mut(key)?;
        if connection.closing.is_some() {
            return None;
        }
        let Phase::Open(open) = &mut connection.phase else { return None };
        let mut out = Out::new(&mut connection.outbox, &mut self.board.pool);
        let next = open.codec.next_event(input, &mut out, self.board.now);
        // What the codec says on its own (acknowledgements, credit) may fill the outbox too.
        connection.full |= connection.outbox.len() >= connection.outbox.high_mark();
        next.transpose()
    }

    /// Each stream that is still open learns that it is over.
    pub(super) fn reset_streams(&mut self, key: Key, reason: ResetReason) {
        while let Some(open) = self.board.connections.get_mut(key).and_then(Connection::open_mut) {
            let Some(stream) = open.codec.next_reset() else { return };
            let event = Event::StreamReset { stream, reason, unprocessed: false };
            self.streams.event(&mut self.board, key, event);
        }
    }
}

fn receive<D: Driver>(driver: &mut D, connection: &mut Connection<D::Socket>, room: &mut [u8]) -> Read {
    let Some(socket) = &connection.socket else { return Read::Nothing };
    match driver.receive(socket, room) {
        Ok(0) => {
            connection.readable = false;
            connection.ended = true;
            connection.traffic.by_peer = true;
            Read::Bytes(0)
        }
        Ok(count) => {
            // A short read has emptied the socket; the kernel tells of what comes later, unless it has told already.
            if count < room.len() && !connection.end_announced {
                connection.readable = false;
            }
            connection.traffic.received += count as u64;
            Read::Bytes(count)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            connection.readable = false;
            Read::Nothing
        }
        Err(error) => {
            connection.traffic.by_peer = true;
            Read::Broken(error)
        }
    }
}
