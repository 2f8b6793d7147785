//! The one contract of all protocols, in a server and a client role.
//!
//! In: bytes of one connection and commands of the exchange. Out: events that borrow the bytes, and bytes in the
//! connection's outbox. Invariant: an event is handled, its effects on other connections included, before the next is
//! asked for; so nothing re-enters and events can borrow the worker's read buffer. A codec knows no socket, no clock,
//! no route. A rule here that is awkward for TCP is wrong.
//!
//! Back-pressure is one idea, credit. `SendData` accepts min(stream window, connection window, room below the outbox's
//! high mark); the exchange keeps the rest and grants the source no credit for it. Credit becomes WINDOW_UPDATE in
//! HTTP/2 and "read again" in HTTP/1 and TCP (`wants_input`).

use crate::bytes::Out;
use crate::message::{HeaderBlock, RequestHead, ResetReason, ResponseHead, Tick};

/// A codec's own number for a stream: always 0 for TCP, counts requests for HTTP/1, the frame's id for HTTP/2 and RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Bytes that have arrived, contiguous. What a codec leaves unconsumed is offered again, with more behind it.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    consumed: usize,
    /// The peer has sent its last byte (FIN or close_notify); nothing follows.
    pub ended: bool,
}

impl<'b> Input<'b> {
    pub fn new(bytes: &'b mut [u8], ended: bool) -> Self {
        Self { bytes, consumed: 0, ended }
    }

    /// What has not been consumed.
    pub fn rest(&self) -> &[u8] {
        self.bytes
    }

    pub fn rest_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Bytes taken so far: the reactor moves the others to the connection's carry.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Consumes up to `count` bytes and hands them out; the slice lives as long as the loan of the read buffer.
    pub fn take(&mut self, count: usize) -> &'b mut [u8] {
        let bytes = std::mem::take(&mut self.bytes);
        let count = count.min(bytes.len());
        let (taken, rest) = bytes.split_at_mut(count);
        self.bytes = rest;
        self.consumed += count;
        taken
    }
}

/// What a codec reports, one at a time.
#[derive(Debug)]
pub enum Event<'b> {
    /// Server role: a request's head, and with it `body`: all of the body, where it lies in the input as one piece with its
    /// head; `end` is true then, and a message that is whole is one event. Else it is empty, and `end` says that there is
    /// none: no body and no trailers follow. A codec need not look for it. Its bytes count as if they had left our hands
    /// already; for those that have not, the exchange says `HoldCredit`.
    RequestReceived {
        stream: StreamId,
        head: Box<RequestHead>,
        body: &'b [u8],
        end: bool,
    },
    /// Client role: a 1xx head other than 101.
    InterimReceived {
        stream: StreamId,
        head: Box<ResponseHead>,
    },
    /// `body` and `end` as with `RequestReceived`. Nothing follows on the stream for which credit would count.
    ResponseReceived {
        stream: StreamId,
        head: Box<ResponseHead>,
        body: &'b [u8],
        end: bool,
    },
    DataReceived {
        stream: StreamId,
        bytes: &'b [u8],
        end: bool,
    },
    /// Trailers end the message.
    TrailersReceived {
        stream: StreamId,
        trailers: Box<HeaderBlock>,
    },
    /// The stream is over before its time. `unprocessed`: the peer surely did not process it, so that a retry is safe.
    StreamReset {
        stream: StreamId,
        reason: ResetReason,
        unprocessed: bool,
    },
    /// `SendData` had accepted less than it was given; now there is room again.
    StreamWritable {
        stream: StreamId,
    },
    /// Client role: how many streams the peer allows at once.
    CapacityChanged {
        streams: u32,
    },
    /// The peer will take no new streams; those above `last` were not processed (they are reset by events of their own).
    GoAwayReceived {
        last: StreamId,
        reason: ResetReason,
    },
    /// The peer has sent its last byte on this connection (only after all messages were complete or reset). TCP and
    /// tunnels say it by `end` of their stream instead.
    InputEnded,
}

impl Event<'_> {
    /// The stream that it is about, `None` if it is about the connection.
    #[inline]
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::RequestReceived { stream, .. }
            | Self::InterimReceived { stream, .. }
            | Self::ResponseReceived { stream, .. }
            | Self::DataReceived { stream, .. }
            | Self::TrailersReceived { stream, .. }
            | Self::StreamReset { stream, .. }
            | Self::StreamWritable { stream } => Some(*stream),
            Self::CapacityChanged { .. } | Self::GoAwayReceived { .. } | Self::InputEnded => None,
        }
    }
}

/// What the exchange asks of a codec. Only bytes in the outbox result; writing belongs to the flush.
#[derive(Debug)]
pub enum Command<'a> {
    /// Client role: the head of a request on the stream that `open_stream` gave, and what there is of its body. `end`: that is
    /// all. What is not accepted of the body is for a `SendData`, which may be sent at once: it says whether to wait. A connection that
    /// refuses it and stays open can write no such request: the asker's fault, not the endpoint's.
    SendRequest {
        stream: StreamId,
        head: &'a RequestHead,
        body: &'a [u8],
        end: bool,
    },
    SendInterim {
        stream: StreamId,
        head: &'a ResponseHead,
    },
    /// `body` and `end` as with `SendRequest`.
    SendResponse {
        stream: StreamId,
        head: &'a ResponseHead,
        body: &'a [u8],
        end: bool,
    },
    SendData {
        stream: StreamId,
        bytes: &'a [u8],
        end: bool,
    },
    SendTrailers {
        stream: StreamId,
        trailers: &'a HeaderBlock,
    },
    ResetStream {
        stream: StreamId,
        reason: ResetReason,
    },
    /// Server role: tells a peer that knows the word that its request was not processed and may be sent elsewhere.
    /// `Refused` where the protocol has none or the peer does not know it: it gets an answer then.
    DeclineStream {
        stream: StreamId,
    },
    /// `bytes` of this stream's data have left our hands: the peer may send as many more.
    GrantCredit {
        stream: StreamId,
        bytes: usize,
    },
    /// `bytes` of the body that came with the request's head have not left our hands: a `GrantCredit` follows when they have.
    HoldCredit {
        stream: StreamId,
        bytes: usize,
    },
    /// After 101 (HTTP/1) or 2xx to CONNECT: what follows on the stream is raw bytes both ways. A request that asks for
    /// an upgrade ends as any other (`end` after its head or body); this opens both directions again. Until the command
    /// comes, HTTP/1 leaves the bytes behind a 101 unread.
    BecomeTunnel {
        stream: StreamId,
    },
    /// No new streams from the peer. Gentle announces (HTTP/2: GOAWAY 2^31-1 and a ping; HTTP/1: `Connection: close` on the next response);
    /// otherwise the last id is final and the connection ends when its streams have.
    GoAway {
        gentle: bool,
    },
}

impl Command<'_> {
    /// How many bytes of a body it carries.
    #[inline]
    pub fn data(&self) -> usize {
        match self {
            Self::SendRequest { body: bytes, .. }
            | Self::SendResponse { body: bytes, .. }
            | Self::SendData { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// How a codec took a command. `bytes`: how much of a `SendData`, or of the body that goes with a head, was accepted (its `end`
/// counts only if all was); 0 for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    pub bytes: usize,
}

/// A command that cannot be carried out: its stream is gone, or it comes out of order. Harmless; the exchange drops the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// The connection cannot go on. What the codec had to say (400, GOAWAY) already lies in the outbox: flush, then do as `ending` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFault {
    pub reason: ResetReason,
    /// The status that was answered for a request nobody will see (400, 408, 431 …), for log and counters.
    pub answered: Option<u16>,
    /// For the log: what was wrong, without bytes of the peer.
    pub what: &'static str,
}

/// What shall become of the connection once its outbox is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// It goes on.
    #[default]
    Open,
    /// FIN (TLS: close_notify first): we have said our last byte, the peer may still send. TCP and tunnels.
    HalfClosed,
    /// Close.
    Closed,
    /// FIN, then read and discard until the peer's end, at most 1 s, then close: closing with input unread would send
    /// a RST that overtakes the response (RFC 9112 §9.6).
    Lingering,
    /// RST at once; the outbox is dropped, since the peer must see that the message is not whole.
    Aborted,
}

/// Data of one stream that HTTP/1 and TCP hand over without credit before `wants_input` turns false, in bytes. One
/// more read may be handed over on top.
pub const READ_WINDOW: usize = 64 * 1024;

/// What a codec does, whatever the protocol.
pub trait Codec {
    /// The next event in `input`, or `None` when more bytes are needed.
    ///
    /// After `Err` the codec reports a `StreamReset` for each open stream through `next_reset`, and nothing else.
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault>;

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, now: Tick) -> Result<Accepted, Refused>;

    /// Client role: a number for a new stream, `None` when the connection can take none now.
    fn open_stream(&mut self) -> Option<StreamId>;

    /// Streams now open.
    fn open_streams(&self) -> usize;

    /// How the connection ends, asked for after each step and after a `ConnectionFault`.
    fn ending(&self) -> Ending;

    /// Nothing more can ever happen: no open streams, and the protocol ends the connection (HTTP/1 close, GOAWAY sent or received).
    fn is_finished(&self) -> bool {
        matches!(self.ending(), Ending::Closed | Ending::Lingering | Ending::Aborted)
    }

    /// False while the source must wait (for credit, or for the answer to an earlier request): the reactor leaves the
    /// socket unread. When it turns true again, what lies in the carry is offered first.
    fn wants_input(&self) -> bool;

    /// The connection has lost its socket: every stream still open, one a call, until `None`.
    fn next_reset(&mut self) -> Option<StreamId>;

    /// The codec's own next timer (pings, SETTINGS acknowledgement, head timeout).
    fn deadline(&self) -> Option<Tick>;
    fn on_deadline(&mut self, now: Tick, out: &mut Out<'_>) -> Result<(), ConnectionFault>;

    /// The outbox has fallen below its high mark: streams that waited may write; each is then reported by `next_event`
    /// as `StreamWritable`, so ask for events afterwards even without new input (pipelined heads also wait for room).
    fn on_room(&mut self);
}
