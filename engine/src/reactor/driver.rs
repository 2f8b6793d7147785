//! What a worker needs of the operating system: readiness, sockets, a clock. One implementation is epoll, another a simulation.
//!
//! Readiness is edge-triggered: it is told once, and whoever was told keeps the flag until a call would block. Numbers
//! that name sockets (`token`) are the worker's; an event for a socket that is gone may still come and finds nothing.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::sys::Target;
use crate::message::Tick;
use crate::plan::TcpKeepalive;

/// What has become possible on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// The peer's FIN has arrived: a read that was short may be followed by one that returns 0.
    pub ended: bool,
    /// An error waits on the socket.
    pub failed: bool,
}

/// A connection that came in.
#[derive(Debug)]
pub struct Incoming<S> {
    pub socket: S,
    pub remote: Option<SocketAddr>,
}

/// Where to connect.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub target: Target,
    pub source: Option<SocketAddr>,
    pub keepalive: Option<TcpKeepalive>,
}

/// The token of wake-ups out of `wait`: nothing to do but to look into the mailbox.
pub const WAKE: u64 = u64::MAX;

pub trait Driver {
    type Socket: std::fmt::Debug;

    fn now(&self) -> Tick;
    /// Nanoseconds since the Unix epoch.
    fn wall(&self) -> u64;

    /// Waits for readiness, at most `timeout` nanoseconds (`None`: as long as it takes).
    fn wait(&mut self, timeout: Option<u64>, ready: &mut Vec<Readiness>) -> io::Result<()>;

    /// Begins to tell about a socket. Its present readiness is told too.
    fn watch(&mut self, socket: &Self::Socket, token: u64) -> io::Result<()>;
    fn watch_listener(&mut self, socket: &Self::Socket, token: u64) -> io::Result<()>;
    fn unwatch(&mut self, socket: &Self::Socket);

    fn accept(&mut self, listener: &Self::Socket) -> io::Result<Incoming<Self::Socket>>;
    /// Begins to connect and watches the socket: writable or failed when it is decided.
    fn dial(&mut self, wanted: &Wanted, token: u64) -> io::Result<Self::Socket>;
    /// How the connect has ended; an error of kind `WouldBlock`: it has not.
    fn dialed(&mut self, socket: &Self::Socket) -> io::Result<()>;

    fn receive(&mut self, socket: &Self::Socket, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&mut self, socket: &Self::Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// FIN.
    fn end_output(&mut self, socket: &Self::Socket);
    /// When dropped, the socket shall end with RST.
    fn reset_on_drop(&mut self, socket: &Self::Socket);

    fn local_address(&self, socket: &Self::Socket) -> Option<SocketAddr>;
    fn original_destination(&self, socket: &Self::Socket) -> Option<SocketAddr>;
    fn set_keepalive(&self, socket: &Self::Socket, keepalive: &TcpKeepalive);
}
