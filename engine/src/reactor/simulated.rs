//! A driver without a kernel: sockets in memory, a clock that the test moves, and a seeded demon that splits reads, shortens
//! writes and delays readiness. What holds for every seed holds for the worker, not for one timing of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use super::driver::{Driver, Incoming, Readiness, Wanted};
use crate::message::Tick;
use crate::plan::TcpKeepalive;

/// Bytes that a socket buffers for its reader.
const BUFFER: usize = 48 * 1024;

/// One end of a connection.
#[derive(Debug, Default)]
struct End {
    /// What the other end wrote and this one has not read.
    inbox: VecDeque<u8>,
    peer: usize,
    /// The other end has said its last byte; or the connection was reset.
    ended: bool,
    reset: bool,
    token: Option<u64>,
    reset_on_drop: bool,
    /// The last write was not taken whole: room is news.
    wants_room: bool,
    readiness: Readiness,
}

#[derive(Debug)]
pub(super) struct Net {
    ends: Vec<End>,
    now: Tick,
    random: u64,
    /// Our far ends of connections that were dialled.
    pub dialed: Vec<usize>,
    /// No trouble: what is written arrives whole.
    pub calm: bool,
}

/// A number in `0..below`.
fn roll(random: &mut u64, below: usize) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    (*random % below.max(1) as u64) as usize
}

impl Net {
    pub fn new(seed: u64) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            ends: Vec::new(),
            now: Tick(1),
            random: seed | 1,
            dialed: Vec::new(),
            calm: false,
        }))
    }

    pub fn pass(&mut self, nanoseconds: u64) {
        self.now = self.now + nanoseconds;
    }

    /// Two ends that are connected.
    pub fn pair(&mut self) -> (usize, usize) {
        let near = self.ends.len();
        self.ends.push(End { peer: near + 1, ..End::default() });
        self.ends.push(End { peer: near, ..End::default() });
        (near, near + 1)
    }

    pub fn write(&mut self, end: usize, bytes: &[u8]) -> io::Result<usize> {
        let peer = self.ends[end].peer;
        if self.ends[end].reset || self.ends[peer].ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut count = bytes.len().min(BUFFER - self.ends[peer].inbox.len().min(BUFFER));
        if !self.calm && count > 1 && roll(&mut self.random, 4) == 0 {
            count = 1 + roll(&mut self.random, count);
        }
        self.ends[end].wants_room = count < bytes.len();
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.ends[peer].inbox.extend(&bytes[..count]);
        self.ends[peer].readiness.readable = true;
        Ok(count)
    }

    pub fn read(&mut self, end: usize, room: &mut [u8]) -> io::Result<usize> {
        let here = &mut self.ends[end];
        if here.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if here.inbox.is_empty() {
            return if here.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = here.inbox.len().min(room.len());
        for (slot, byte) in room.iter_mut().zip(here.inbox.drain(..count)) {
            *slot = byte;
        }
        let peer = here.peer;
        if std::mem::take(&mut self.ends[peer].wants_room) {
            self.ends[peer].readiness.writable = true;
        }
        Ok(count)
    }

    pub fn end_output(&mut self, end: usize) {
        let peer = self.ends[end].peer;
        self.ends[peer].ended = true;
        self.ends[peer].readiness.readable = true;
        self.ends[peer].readiness.ended = true;
    }

    pub fn reset(&mut self, end: usize) {
        let peer = self.ends[end].peer;
        for each in [end, peer] {
            self.ends[each].reset = true;
            self.ends[each].inbox.clear();
            self.ends[each].readiness.failed = true;
        }
    }

    /// The other end is gone for good: closed or reset.
    pub fn is_gone(&self, end: usize) -> bool {
        self.ends[end].reset || self.ends[end].ended
    }
}

/// A socket of the worker.
#[derive(Debug)]
pub(super) struct Socket {
    net: Rc<RefCell<Net>>,
    pub end: usize,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut net = self.net.borrow_mut();
        net.ends[self.end].token = None;
        // As the kernel does: what was not read, or a linger of zero, makes a RST of the FIN.
        if net.ends[self.end].reset_on_drop || !net.ends[self.end].inbox.is_empty() {
            net.reset(self.end);
        } else {
            net.end_output(self.end);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Simulated(pub Rc<RefCell<Net>>);

impl Simulated {
    pub fn socket(&self, end: usize) -> Socket {
        Socket { net: Rc::clone(&self.0), end }
    }
}

impl Driver for Simulated {
    type Socket = Socket;

    fn now(&self) -> Tick {
        self.0.borrow().now
    }

    fn wall(&self) -> u64 {
        1_700_000_000_000_000_000 + self.now().0
    }

    /// Never waits: the test moves the clock. Some readiness is told a turn later.
    fn wait(&mut self, _timeout: Option<u64>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        let net = &mut *self.0.borrow_mut();
        for end in &mut net.ends {
            let Some(token) = end.token else { continue };
            if end.readiness == Readiness::default() || (!net.calm && roll(&mut net.random, 5) == 0) {
                continue;
            }
            ready.push(Readiness { token, ..std::mem::take(&mut end.readiness) });
        }
        Ok(())
    }

    fn watch(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        let end = &mut self.0.borrow_mut().ends[socket.end];
        end.token = Some(token);
        end.readiness.writable = true;
        end.readiness.readable |= !end.inbox.is_empty();
        Ok(())
    }

    fn watch_listener(&mut self, _: &Socket, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _: &Socket) {}

    fn accept(&mut self, _: &Socket) -> io::Result<Incoming<Socket>> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn dial(&mut self, _: &Wanted, token: u64) -> io::Result<Socket> {
        let (near, far) = {
            let mut net = self.0.borrow_mut();
            let (near, far) = net.pair();
            net.dialed.push(far);
            (near, far)
        };
        let _ = far;
        let socket = self.socket(near);
        self.watch(&socket, token)?;
        Ok(socket)
    }

    fn dialed(&mut self, socket: &Socket) -> io::Result<()> {
        if self.0.borrow().ends[socket.end].reset {
            Err(io::ErrorKind::ConnectionRefused.into())
        } else {
            Ok(())
        }
    }

    fn receive(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let mut net = self.0.borrow_mut();
        // A short read would promise that the socket is empty: only a smaller piece at a time may be there.
        net.read(socket.end, buffer)
    }

    fn send(&mut self, socket: &Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.0.borrow_mut().write(socket.end, &whole)
    }

    fn end_output(&mut self, socket: &Socket) {
        self.0.borrow_mut().end_output(socket.end);
    }

    fn reset_on_drop(&mut self, socket: &Socket) {
        self.0.borrow_mut().ends[socket.end].reset_on_drop = true;
    }

    fn local_address(&self, _: &Socket) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], 80).into())
    }

    fn original_destination(&self, _: &Socket) -> Option<SocketAddr> {
        None
    }

    fn set_keepalive(&self, _: &Socket, _: &TcpKeepalive) {}
}
