//! All of a connection in one slot: socket, transport, carry, codec, outbox, and where it stands.
//!
//! Invariant: an idle connection owns no buffer; what waits for more bytes is in the carry, what waits for the peer in the
//! outbox. Others refer to it by key.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::driver::Driver;
use super::inspection::Inspection;
use super::intake::{Arrival, Origin};
use crate::bytes::{Outbox, Pool, WriteThrough};
use crate::codec::AnyCodec;
use crate::codec::contract::{Codec, Ending};
use crate::message::{Key, Peer, Tick};
use crate::stream::{Binding, Close, DialTls, Speak, Traffic};
use crate::tls;

/// Pieces of one write; the kernel takes 1,024.
const PIECES: usize = 64;
/// Plain bytes that are encrypted for one write.
const SEALED_AT_ONCE: usize = 128 * 1024;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// Came in; listener filters look at its first bytes.
    Inspecting(Box<Inspection>),
    /// Came in; the handshake of its chain is under way.
    Accepting(Box<Arrival>),
    /// Came in; its chain speaks HTTP, the first bytes decide which.
    Choosing(Box<Arrival>),
    /// Goes out; the kernel connects.
    Connecting(Box<Dialing>),
    /// Goes out; the handshake is under way.
    Securing(Box<Dialing>),
    Open(Open),
    /// FIN is sent; what comes is discarded until the peer's end.
    Lingering,
}

/// A connection with a codec.
#[derive(Debug)]
pub(super) struct Open {
    pub codec: AnyCodec,
    pub binding: Binding,
}

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dialing {
    pub tls: Option<DialTls>,
    pub speak: Speak,
    pub binding: Binding,
}

/// TLS between socket and codec.
#[derive(Debug)]
pub(super) struct Secure {
    pub session: tls::Transport,
    /// Cipher text of a record that is not whole yet.
    pub carry: Vec<u8>,
    /// Cipher text that the socket has not taken; `sent` bytes of it have left.
    pub unsent: Vec<u8>,
    pub sent: usize,
    /// close_notify lies in `unsent` or has left.
    pub said_goodbye: bool,
}

impl Secure {
    pub fn new(session: tls::Transport) -> Box<Self> {
        Box::new(Self { session, carry: Vec::new(), unsent: Vec::new(), sent: 0, said_goodbye: false })
    }

    fn pending(&self) -> &[u8] {
        self.unsent.get(self.sent..).unwrap_or(&[])
    }

    fn took(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.unsent.len() {
            self.unsent = Vec::new();
            self.sent = 0;
        }
    }
}

/// What is between the socket and the codec.
#[derive(Debug)]
pub(super) enum Transport {
    Plain,
    Tls(Box<Secure>),
}

/// How the end of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Output {
    #[default]
    Open,
    /// FIN has left.
    Ended,
}

#[derive(Debug)]
pub(super) struct Connection<S> {
    /// `None`: a dial that failed before it began.
    pub socket: Option<S>,
    pub transport: Transport,
    pub phase: Phase,
    /// Plain bytes that the codec has not consumed.
    pub carry: Vec<u8>,
    pub outbox: Outbox,
    pub peer: Arc<Peer>,
    /// Where it came in; `None`: it goes out.
    pub origin: Option<Box<Origin>>,
    /// The reactor's own timer, and when it fires (`u64::MAX`: it is not armed). It moves to earlier moments only: one that fires
    /// before anything is due is armed anew, so that deadlines that come and go with every message cost a comparison.
    pub timer: Option<Key>,
    pub armed: Tick,
    /// When the present phase must be over.
    pub deadline: Option<Tick>,
    /// When the peer must have taken something.
    pub stall: Option<Tick>,
    pub traffic: Traffic,
    pub closing: Option<Close>,
    pub output: Output,
    /// The kernel may have bytes for us, or room for ours.
    pub readable: bool,
    pub writable: bool,
    /// FIN (or close_notify) was read: the carry is all there will be.
    pub ended: bool,
    /// The kernel told of the peer's FIN, which a further read will show.
    pub end_announced: bool,
    /// The codec did not want input when it was last asked: what waits is offered again when it does.
    pub unoffered: bool,
    /// The outbox has reached its high mark; the codec is told when there is room again.
    pub full: bool,
    pub is_dirty: bool,
    pub is_ready: bool,
    /// An error waits on the socket.
    pub failed: bool,
}

/// Of a timer that is not armed.
pub(super) const UNARMED: Tick = Tick(u64::MAX);

impl<S> Connection<S> {
    pub fn new(socket: Option<S>, phase: Phase, peer: Arc<Peer>) -> Self {
        Self {
            socket,
            transport: Transport::Plain,
            phase,
            carry: Vec::new(),
            outbox: Outbox::default(),
            peer,
            origin: None,
            timer: None,
            armed: UNARMED,
            deadline: None,
            stall: None,
            traffic: Traffic::default(),
            closing: None,
            output: Output::Open,
            readable: false,
            writable: false,
            ended: false,
            end_announced: false,
            unoffered: false,
            full: false,
            is_dirty: false,
            is_ready: false,
            failed: false,
        }
    }

    pub fn open(&self) -> Option<&Open> {
        match &self.phase {
            Phase::Open(open) => Some(open),
            _ => None,
        }
    }

    pub fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            _ => None,
        }
    }

    /// Nothing of ours waits for the socket.
    pub fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
            && match &self.transport {
                Transport::Plain => true,
                Transport::Tls(secure) => secure.pending().is_empty(),
            }
    }

    /// What the codec, or whoever closes, wants to become of the connection.
    pub fn ending(&self) -> Ending {
        match (self.closing, &self.phase) {
            (Some(Close::Reset), _) => Ending::Aborted,
            (Some(Close::Flushed), _) => Ending::Closed,
            (None, Phase::Open(open)) => open.codec.ending(),
            (None, _) => Ending::Open,
        }
    }

    /// What the reactor would read now, if there is anything.
    pub fn wants_input(&self) -> bool {
        if self.closing.is_some() {
            return false;
        }
        match &self.phase {
            Phase::Connecting(_) => false,
            Phase::Open(open) => open.codec.wants_input(),
            _ => true,
        }
    }

    /// Nothing is to be written, read, timed or ended: the end of the turn need not look at it.
    pub fn is_at_rest(&self) -> bool {
        !(self.readable || self.unoffered || self.full)
            && self.is_flushed()
            && self.ending() == Ending::Open
            && self.next_deadline().is_none_or(|at| at >= self.armed)
    }

    /// The nearest of the codec's deadline, the phase's and the stalled peer's.
    pub fn next_deadline(&self) -> Option<Tick> {
        let codec = self.open().and_then(|open| open.codec.deadline());
        Tick::earlier(Tick::earlier(codec, self.deadline), self.stall)
    }

    /// Writes what the outbox holds as far as the socket takes it; says whether anything left.
    pub fn flush<D: Driver<Socket = S>>(
        &mut self,
        driver: &mut D,
        pool: &mut Pool,
        scratch: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(false) };
        let mut sent = 0;
        while self.writable && !self.is_flushed() {
            let written = match &mut self.transport {
                Transport::Plain => {
                    let front = self.outbox.front();
                    // Most of what is written is one piece.
                    let (result, offered) = if front.len() == self.outbox.len() {
                        (driver.send(socket, &[IoSlice::new(front)]), front.len())
                    } else {
                        let mut slices = [IoSlice::new(&[]); PIECES];
                        let used = self.outbox.gather(&mut slices);
                        let pieces = slices.get(..used).unwrap_or(&[]);
                        (driver.send(socket, pieces), pieces.iter().map(|piece| piece.len()).sum())
                    };
                    take_up(result, offered, &mut self.writable)
                        .inspect(|&count| self.outbox.consume(pool, count))?
                }
                Transport::Tls(secure) => {
                    seal(secure, &mut self.outbox, pool, scratch)?;
                    let (offered, kept) = match secure.pending() {
                        [] => (scratch.as_slice(), false),
                        pending => (pending, true),
                    };
                    let result = driver.send(socket, &[IoSlice::new(offered)]);
                    let count = take_up(result, offered.len(), &mut self.writable)?;
                    if kept {
                        secure.took(count);
                    } else {
                        secure.unsent.extend_from_slice(scratch.get(count..).unwrap_or(&[]));
                        secure.sent = 0;
                    }
                    count
                }
            };
            sent += written;
        }
        self.traffic.sent += sent as u64;
        Ok(sent > 0)
    }

    /// Lets what the TLS session has to say wait for the flush.
    pub fn say_goodbye(&mut self) {
        if let Transport::Tls(secure) = &mut self.transport
            && !secure.said_goodbye
        {
            secure.said_goodbye = true;
            let Secure { session, unsent, .. } = &mut **secure;
            session.close(unsent);
        }
    }
}

/// Encrypts from the outbox into `scratch`, but nothing as long as earlier cipher text waits.
fn seal(secure: &mut Secure, outbox: &mut Outbox, pool: &mut Pool, scratch: &mut Vec<u8>) -> io::Result<()> {
    scratch.clear();
    if !secure.pending().is_empty() {
        return Ok(());
    }
    while !outbox.is_empty() && scratch.len() < SEALED_AT_ONCE {
        let piece = outbox.front();
        let length = piece.len();
        secure.session.seal(piece, scratch).map_err(|fault| io::Error::other(fault.what))?;
        outbox.consume(pool, length);
    }
    Ok(())
}

/// A short write means that the socket is full: the kernel will tell when it is not.
fn take_up(result: io::Result<usize>, offered: usize, writable: &mut bool) -> io::Result<usize> {
    match result {
        Ok(count) => {
            *writable = count == offered;
            Ok(count)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            *writable = false;
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// Writes a large slice past the outbox of a plain connection.
pub(super) struct Direct<'a, D: Driver> {
    pub driver: &'a mut D,
    pub socket: &'a D::Socket,
    pub writable: &'a mut bool,
    pub sent: &'a mut u64,
}

impl<D: Driver> std::fmt::Debug for Direct<'_, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Direct")
    }
}

impl<D: Driver> WriteThrough for Direct<'_, D> {
    fn write(&mut self, queued: &Outbox, bytes: &[u8]) -> usize {
        let mut slices = [IoSlice::new(&[]); 4];
        let (front, _) = slices.split_at_mut(3);
        let used = queued.gather(front);
        if queued.pieces().count() > used {
            return 0;
        }
        if let Some(slot) = slices.get_mut(used) {
            *slot = IoSlice::new(bytes);
        }
        let offered = queued.len() + bytes.len();
        let pieces = slices.get(..=used).unwrap_or(&[]);
        // An error shows again at the next read or flush.
        let count = take_up(self.driver.send(self.socket, pieces), offered, self.writable).unwrap_or(0);
        *self.sent += count as u64;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // With its peer's addresses and two boxes it stays below 1 KiB.
        let size = size_of::<Connection<std::os::fd::OwnedFd>>();
        assert!(size <= 640, "{size} bytes, of which the codec takes {}", size_of::<AnyCodec>());
    }
}
