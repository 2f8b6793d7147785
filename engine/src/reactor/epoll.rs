//! The driver over epoll, through mio.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::driver::{Driver, Incoming, Readiness, WAKE, Wanted};
use super::sys::{self, Target};
use crate::message::Tick;
use crate::plan::TcpKeepalive;

/// Events taken from the kernel at once; the others come with the next turn.
const EVENTS: usize = 512;

/// The moment from which every thread of an engine counts its ticks.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Default for Epoch {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Epoch {
    pub fn now(self) -> Tick {
        Tick(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
pub struct Epoll {
    poll: Poll,
    events: Events,
    epoch: Epoch,
}

impl Epoll {
    /// The driver and what wakes it out of its wait.
    pub fn new(epoch: Epoch) -> io::Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKE as usize))?);
        Ok((Self { poll, events: Events::with_capacity(EVENTS), epoch }, waker))
    }

    fn register(&self, socket: &OwnedFd, token: u64, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(token as usize), interest)
    }
}

impl Driver for Epoll {
    type Socket = OwnedFd;

    fn now(&self) -> Tick {
        self.epoch.now()
    }

    fn wall(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    }

    fn wait(&mut self, timeout: Option<u64>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout.map(Duration::from_nanos)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        ready.extend(self.events.iter().map(|event| Readiness {
            token: event.token().0 as u64,
            readable: event.is_readable(),
            writable: event.is_writable(),
            ended: event.is_read_closed(),
            failed: event.is_error(),
        }));
        Ok(())
    }

    fn watch(&mut self, socket: &OwnedFd, token: u64) -> io::Result<()> {
        self.register(socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn watch_listener(&mut self, socket: &OwnedFd, token: u64) -> io::Result<()> {
        self.register(socket, token, Interest::READABLE)
    }

    fn unwatch(&mut self, socket: &OwnedFd) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()));
    }

    fn accept(&mut self, listener: &OwnedFd) -> io::Result<Incoming<OwnedFd>> {
        let (socket, remote) = sys::accept(listener.as_fd())?;
        sys::set_no_delay(socket.as_fd());
        Ok(Incoming { socket, remote })
    }

    fn dial(&mut self, wanted: &Wanted, token: u64) -> io::Result<OwnedFd> {
        let socket = sys::stream_socket(&wanted.target)?;
        if matches!(wanted.target, Target::Ip(_)) {
            sys::set_no_delay(socket.as_fd());
        }
        if let Some(keepalive) = &wanted.keepalive {
            sys::set_keepalive(socket.as_fd(), keepalive);
        }
        if let Some(source) = wanted.source {
            sys::set_late_port(socket.as_fd());
            sys::bind(socket.as_fd(), &Target::Ip(source))?;
        }
        sys::connect(socket.as_fd(), &wanted.target)?;
        self.watch(&socket, token)?;
        Ok(socket)
    }

    fn dialed(&mut self, socket: &OwnedFd) -> io::Result<()> {
        sys::take_error(socket.as_fd())
    }

    fn receive(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
        sys::receive(socket.as_fd(), buffer)
    }

    fn send(&mut self, socket: &OwnedFd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::send(socket.as_fd(), pieces)
    }

    fn end_output(&mut self, socket: &OwnedFd) {
        sys::end_output(socket.as_fd());
    }

    fn reset_on_drop(&mut self, socket: &OwnedFd) {
        sys::reset_on_close(socket.as_fd());
    }

    fn local_address(&self, socket: &OwnedFd) -> Option<SocketAddr> {
        sys::local_address(socket.as_fd())
    }

    fn original_destination(&self, socket: &OwnedFd) -> Option<SocketAddr> {
        sys::original_destination(socket.as_fd())
    }

    fn set_keepalive(&self, socket: &OwnedFd, keepalive: &TcpKeepalive) {
        sys::set_keepalive(socket.as_fd(), keepalive);
    }
}
