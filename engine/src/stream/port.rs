//! All that the stream room may ask of the worker it runs in, and what the two keep for each other.
//!
//! In: commands for codecs, dials, timers. Out: nothing but what the calls return: a `Port` never calls back into
//! `Streams`; what comes of a call arrives as a later `Streams::event`, `dialed`, `timer` or `closed`. So nothing re-enters, and an
//! in-memory port over real codecs is all a test needs. Implemented by the reactor; generic, hence dispatched statically.

use std::sync::Arc;

use super::binding::Binding;
use crate::codec::contract::{Accepted, Command, Refused, StreamId};
use crate::codec::{AnyCodec, Framed, h1, h2, tcp};
use crate::message::{Key, Peer, Tick};
use crate::plan;
use crate::snapshot::{Chain, Snapshot};
use crate::telemetry::{Facts, Recorder};
use crate::tls::{ClientContext, FaultKind};

/// What has a timer. Each owner has at most one, at its nearest deadline; the reactor keeps the place in its wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The exchange in this place of its slab, engine-born ones included: whichever is there when the time has come.
    Exchange(u32),
    /// A layer-4 connection with its endpoint.
    Pipe(Key),
    /// The stream room's own deadline for a connection (idle, maximum age), beside the codec's.
    Connection(Key),
}

/// Where the reactor remembers an armed timer; kept by the owner, opaque to the stream room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerSlot(pub Option<Key>);

/// How a connection is to be closed from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// When what lies in the outbox has been written.
    Flushed,
    /// RST; the outbox is dropped.
    Reset,
}

/// What a connection that is dialled shall speak; the reactor calls `codec` once ALPN is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Speak {
    Tcp,
    Http1(h1::Settings),
    Http2(h2::Settings),
    Rpc(Framed),
    /// HTTP/2 if ALPN says so, else HTTP/1.
    Auto {
        http1: h1::Settings,
        http2: h2::Settings,
    },
}

impl Speak {
    /// The codec, once ALPN is known (`None`: clear text, or the peer chose none).
    pub fn codec(&self, alpn: Option<&str>) -> AnyCodec {
        match self {
            Self::Tcp => tcp::Connection::new().into(),
            Self::Http1(settings) => h1::Client::new(*settings).into(),
            Self::Http2(settings) => h2::Client::new(*settings).into(),
            Self::Rpc(protocol) => protocol.client(),
            Self::Auto { http2, .. } if alpn.is_some_and(is_http2) => h2::Client::new(*http2).into(),
            Self::Auto { http1, .. } => h1::Client::new(*http1).into(),
        }
    }
}

/// ALPN names under which HTTP/2 is spoken; Istio has one of its own.
pub fn is_http2(alpn: &str) -> bool {
    matches!(alpn, "h2" | "istio-h2")
}

/// TLS towards an endpoint.
#[derive(Debug, Clone)]
pub struct DialTls {
    pub context: Arc<ClientContext>,
    /// Server name from the request's host, where the context asks for it (`auto_host_sni`); else the context's own.
    pub host: Option<Arc<str>>,
    /// Offered by ALPN instead of what the context says.
    pub application_protocols: Option<Vec<Vec<u8>>>,
}

/// A connection wanted. The key is there at once, its codec takes commands only after `Streams::dialed`.
#[derive(Debug)]
pub struct Dial {
    /// `Socket` or `Pipe`; names are resolved before.
    pub address: plan::Address,
    /// Source address to bind.
    pub source: Option<plan::Address>,
    pub tls: Option<DialTls>,
    pub speak: Speak,
    /// Connecting and handshaking together end here.
    pub deadline: Tick,
    pub keepalive: Option<plan::TcpKeepalive>,
    /// Bytes that may wait to be sent before their source is held back; `None` = the usual.
    pub buffer_limit: Option<u32>,
    pub binding: Binding,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialError {
    pub kind: DialErrorKind,
    /// For the log (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`).
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialErrorKind {
    /// Refused, unreachable, no descriptors.
    Connect,
    Timeout,
    /// The handshake failed.
    Tls(FaultKind),
}

/// `Ok`: connected, TLS established, the codec made; `Port::peer` and `Port::protocol` know the rest.
pub type DialOutcome = Result<(), DialError>;

/// What had gone over a connection when it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
    /// The peer ended it, not we.
    pub by_peer: bool,
}

/// What a worker does for its exchanges.
pub trait Port {
    /// The turn's reading of the monotonic clock.
    fn now(&self) -> Tick;
    /// A new reading, for true latencies: once per request and response head.
    fn clock(&mut self) -> Tick;
    /// Wall clock at `now`, nanoseconds since the epoch.
    fn wall(&self) -> u64;
    fn random(&mut self) -> u64;
    /// The configuration in force for this turn.
    fn snapshot(&self) -> &Arc<Snapshot>;
    /// Pressure of 0.98 and more: new exchanges are refused.
    fn refuses_exchanges(&self) -> bool;
    /// Draining, or pressure of 0.92 and more: responses say that the connection ends.
    fn ends_keep_alive(&self) -> bool;

    /// Hands a command to the codec of a connection; `Refused` also when there is no such connection or it is not open yet.
    fn perform(&mut self, connection: Key, command: Command<'_>) -> Result<Accepted, Refused>;
    /// A stream on an upstream connection, `None` when it can take none now.
    fn open_stream(&mut self, connection: Key) -> Option<StreamId>;
    fn open_streams(&self, connection: Key) -> usize;
    /// The codec goes on after its present streams.
    fn is_open(&self, connection: Key) -> bool;
    /// `Protocol` the codec speaks.
    fn protocol(&self, connection: Key) -> Option<crate::message::Protocol>;
    /// The stream room's data of a connection.
    fn binding(&mut self, connection: Key) -> Option<&mut Binding>;
    /// Who is at the other end; complete once the connection is open.
    fn peer(&self, connection: Key) -> Option<&Arc<Peer>>;

    fn dial(&mut self, dial: Dial) -> Key;
    /// Closes; `Streams::closed` follows, but not from within this call. Unknown keys are ignored.
    fn close(&mut self, connection: Key, how: Close);

    /// Moves the owner's timer, or drops it (`None`). The slot is the owner's.
    fn arm(&mut self, slot: &mut TimerSlot, owner: Owner, at: Option<Tick>);

    fn recorder(&mut self) -> &mut Recorder;
    /// To the access logs of the chain.
    fn log(&mut self, _chain: &Chain, _facts: &Facts<'_>) {}
    fn emit(&mut self, event: plan::Event);
}
