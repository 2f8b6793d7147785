//! What a worker has besides its exchanges: connections, timers, the lists of a turn. Through it `stream` reaches them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::connection::{Connection, Dialing, Direct, Phase, Transport};
use super::driver::{Driver, Wanted};
use super::shared::Shared;
use super::sys::Target;
use super::wheel::Wheel;
use crate::bytes::{Out, Pool};
use crate::codec::AnyCodec;
use crate::codec::contract::{Accepted, Codec, Command, Ending, Refused, StreamId};
use crate::message::{Key, Peer, Protocol, Slab, Tick};
use crate::plan;
use crate::snapshot::{Chain, Snapshot, Terminal};
use crate::stream::{Binding, Close, Dial, DialError, DialErrorKind, Owner, Port, Speak, TimerSlot};
use crate::telemetry::{Facts, Recorder};

/// Slices of this size and more may pass the outbox.
const LARGE_SLICE: usize = 16 * 1024;

/// High mark of a connection to an endpoint of a framed protocol, bytes, unless its cluster sets one: it takes in one turn what
/// hundreds of callers have sent at once. Envoy's default for any connection.
const FRAMED_HIGH_MARK: u32 = 1024 * 1024;

/// Whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Stream(Owner),
    Connection(Key),
    /// The worker's own: draining goes a step further.
    Drain,
    /// A chore's deadline.
    Chores,
    /// Accepting may be tried again.
    Doors,
    /// Once a minute: quiet series, load figures.
    Housekeeping,
}

/// Connections and what serves them.
#[derive(Debug)]
pub struct Board<D: Driver> {
    pub(super) driver: D,
    pub(super) connections: Slab<Connection<D::Socket>>,
    pub(super) pool: Pool,
    pub(super) wheel: Wheel<Alarm>,
    /// Connections that may go on, in order; those that got something to write or changed otherwise.
    pub(super) ready: std::collections::VecDeque<Key>,
    pub(super) dirty: Vec<Key>,
    /// Dials that failed before they began.
    pub(super) failed: Vec<(Key, DialError)>,
    pub(super) now: Tick,
    /// The clock as it was first read in the present step.
    pub(super) reading: Option<Tick>,
    wall: u64,
    /// Moment at which `wall` was read.
    wall_at: Tick,
    random: u64,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) recorder: Recorder,
    pub(super) shared: Arc<Shared>,
    /// Live connections here, and those that the acceptor has sent.
    pub(super) load: Arc<AtomicUsize>,
    /// Cipher text on its way to the socket.
    pub(super) scratch: Vec<u8>,
}

impl<D: Driver> Board<D> {
    pub fn new(
        driver: D,
        snapshot: Arc<Snapshot>,
        recorder: Recorder,
        shared: Arc<Shared>,
        load: Arc<AtomicUsize>,
        seed: u64,
    ) -> Self {
        let (now, wall) = (driver.now(), driver.wall());
        Self {
            driver,
            connections: Slab::default(),
            pool: Pool::default(),
            wheel: Wheel::default(),
            ready: std::collections::VecDeque::new(),
            dirty: Vec::new(),
            failed: Vec::new(),
            now,
            reading: None,
            wall,
            wall_at: now,
            // A xorshift never leaves zero.
            random: seed | 1,
            snapshot,
            recorder,
            shared,
            load,
            scratch: Vec::new(),
        }
    }

    /// A new turn: one reading of the clock.
    pub(super) fn read_clock(&mut self) {
        self.now = self.driver.now();
        // The wall clock is read once a second; in between it goes with the other one.
        if self.now.since(self.wall_at) >= crate::message::SECOND {
            (self.wall, self.wall_at) = (self.driver.wall(), self.now);
        }
    }

    /// Looked at once more before the turn ends: something to write, or a codec that has changed.
    pub(super) fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    pub(super) fn mark_ready(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_ready
        {
            connection.is_ready = true;
            self.ready.push_back(key);
        }
    }

    /// Connections that were left unread for want of memory take their turn again.
    #[cold]
    pub(super) fn read_again(&mut self) {
        for key in self.connections.keys() {
            let waits = self.connections.get(key).is_some_and(|connection| {
                connection.wants_input() && (connection.unoffered || connection.readable)
            });
            if waits {
                self.mark_ready(key);
            }
        }
    }

    /// The connection's timer fires no later than its nearest deadline.
    pub(super) fn arm_connection(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Some(next) = connection.next_deadline()
            && next < connection.armed
        {
            connection.armed = next;
            self.wheel.arm(&mut connection.timer, Alarm::Connection(key), Some(next));
        }
    }

    /// Takes a connection out for good and gives back what it held.
    pub(super) fn remove(&mut self, key: Key) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        self.wheel.arm(&mut connection.timer, Alarm::Connection(key), None);
        connection.outbox.clear(&mut self.pool);
        self.shared.live.fetch_sub(1, Ordering::Relaxed);
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// Puts a connection into a slot under the key that it has been watched with.
    pub(super) fn insert(&mut self, connection: Connection<D::Socket>) -> Key {
        self.shared.live.fetch_add(1, Ordering::Relaxed);
        self.load.fetch_add(1, Ordering::Relaxed);
        self.connections.insert(connection)
    }

    fn begin_dial(&mut self, dial: &Dial, key: Key) -> std::io::Result<D::Socket> {
        let target = match &dial.address {
            plan::Address::Socket { ip, port } => Target::Ip((*ip, *port).into()),
            plan::Address::Pipe { path } => Target::Unix(path.clone()),
            plan::Address::Name { host, .. } => {
                return Err(std::io::Error::other(format!("{host} is not resolved")));
            }
        };
        let source = match &dial.source {
            Some(plan::Address::Socket { ip, port }) => Some((*ip, *port).into()),
            _ => None,
        };
        self.driver.dial(&Wanted { target, source, keepalive: dial.keepalive }, key.to_bits())
    }
}

/// xorshift64*: for spreading, never for secrets.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

impl<D: Driver> Port for Board<D> {
    fn now(&self) -> Tick {
        self.now
    }

    /// One reading for all that one read of one connection causes: it takes a few microseconds, a reading costs 50 ns.
    fn clock(&mut self) -> Tick {
        match self.reading {
            Some(reading) => reading,
            None => *self.reading.insert(self.driver.now()),
        }
    }

    fn wall(&self) -> u64 {
        self.wall + self.now.since(self.wall_at)
    }

    fn random(&mut self) -> u64 {
        next_random(&mut self.random)
    }

    fn refuses_exchanges(&self) -> bool {
        self.shared.pressure.refuses_exchanges()
    }

    fn ends_keep_alive(&self) -> bool {
        self.shared.is_draining() || self.shared.pressure.ends_keep_alive()
    }

    fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    fn perform(&mut self, key: Key, command: Command<'_>) -> Result<Accepted, Refused> {
        let connection = self.connections.get_mut(key).ok_or(Refused)?;
        if connection.closing.is_some() {
            return Err(Refused);
        }
        let Phase::Open(open) = &mut connection.phase else { return Err(Refused) };
        let given = command.data();
        let is_large = given >= LARGE_SLICE;
        let socket = connection
            .socket
            .as_ref()
            .filter(|_| is_large && connection.writable && matches!(connection.transport, Transport::Plain));
        let socket_takes = socket.is_some();
        let result = if let Some(socket) = socket {
            let mut direct = Direct {
                driver: &mut self.driver,
                socket,
                writable: &mut connection.writable,
                sent: &mut connection.traffic.sent,
            };
            let mut out = Out::with_write_through(&mut connection.outbox, &mut self.pool, &mut direct);
            open.codec.perform(command, &mut out, self.now)
        } else {
            let mut out = Out::new(&mut connection.outbox, &mut self.pool);
            open.codec.perform(command, &mut out, self.now)
        };
        // A codec that took less than it was given waits for room (or for its window), also where what it took passed the outbox.
        let passed = socket_takes && result.as_ref().is_ok_and(|took| (1..given).contains(&took.bytes));
        connection.full |= passed || connection.outbox.len() >= connection.outbox.high_mark();
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
        result
    }

    fn open_stream(&mut self, key: Key) -> Option<StreamId> {
        let connection = self.connections.get_mut(key)?;
        if connection.closing.is_some() {
            return None;
        }
        connection.open_mut()?.codec.open_stream()
    }

    fn open_streams(&self, key: Key) -> usize {
        self.connections.get(key).and_then(Connection::open).map_or(0, |open| open.codec.open_streams())
    }

    fn is_open(&self, key: Key) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            connection.closing.is_none()
                && connection.open().is_some_and(|open| open.codec.ending() == Ending::Open)
        })
    }

    fn protocol(&self, key: Key) -> Option<Protocol> {
        Some(match &self.connections.get(key)?.open()?.codec {
            AnyCodec::Tcp(_) => Protocol::Tcp,
            AnyCodec::Http1Server(_) | AnyCodec::Http1Client(_) => Protocol::Http11,
            AnyCodec::Http2Server(_) | AnyCodec::Http2Client(_) => Protocol::Http2,
            AnyCodec::Rpc(_) | AnyCodec::Native(_) => Protocol::Rpc,
        })
    }

    fn binding(&mut self, key: Key) -> Option<&mut Binding> {
        match &mut self.connections.get_mut(key)?.phase {
            Phase::Open(open) => Some(&mut open.binding),
            Phase::Connecting(dialing) | Phase::Securing(dialing) => Some(&mut dialing.binding),
            _ => None,
        }
    }

    fn peer(&self, key: Key) -> Option<&Arc<Peer>> {
        self.connections.get(key).map(|connection| &connection.peer)
    }

    fn dial(&mut self, dial: Dial) -> Key {
        let key = self.connections.next_key();
        let socket = self.begin_dial(&dial, key);
        let Dial { address, tls, speak, deadline, buffer_limit, binding, .. } = dial;
        let usual = if matches!(speak, Speak::Rpc(_)) { FRAMED_HIGH_MARK } else { 0 };
        let dialing = Box::new(Dialing { tls, speak, binding });
        let remote = match address {
            plan::Address::Socket { ip, port } => Some((ip, port).into()),
            _ => None,
        };
        let peer = Arc::new(Peer { remote, ..Peer::default() });
        let (socket, problem) = match socket {
            Ok(socket) => (Some(socket), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mut connection = Connection::new(socket, Phase::Connecting(dialing), peer);
        connection.deadline = Some(deadline);
        connection.outbox.limit(buffer_limit.unwrap_or(usual));
        let inserted = self.insert(connection);
        debug_assert_eq!(inserted, key);
        match problem {
            None => self.arm_connection(key),
            Some(what) => self.failed.push((key, DialError { kind: DialErrorKind::Connect, what })),
        }
        key
    }

    fn close(&mut self, key: Key, how: Close) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.closing = Some(how);
            self.mark_dirty(key);
        }
    }

    fn arm(&mut self, slot: &mut TimerSlot, owner: Owner, at: Option<Tick>) {
        self.wheel.arm(&mut slot.0, Alarm::Stream(owner), at);
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn log(&mut self, chain: &Chain, facts: &Facts<'_>) {
        let logs = match &chain.terminal {
            Terminal::Http(manager) => &manager.access_logs,
            Terminal::Tcp(proxy) => {
                if let Some(listener) = self.snapshot.listeners.get(&chain.listener) {
                    self.recorder.log(&listener.access_logs, facts);
                }
                &proxy.access_logs
            }
        };
        self.recorder.log(logs, facts);
    }

    fn emit(&mut self, event: plan::Event) {
        self.shared.emit(event);
    }
}
