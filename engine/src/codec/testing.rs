//! A codec on a bench: bytes in, normalised events out, so that tests read as transcripts and any split of the input
//! can be compared with any other.

use super::contract::{Accepted, Codec, Command, ConnectionFault, Event, Input, Refused};
use crate::bytes::{Out, Outbox, Pool};
use crate::message::{HeaderBlock, RequestHead, ResetReason, ResponseHead, Tick};

/// An event without loans. Adjacent data is one, and an end is an event of its own: where input was cut does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// `METHOD scheme authority path`, then one `name: value` a line.
    Request(u32, String),
    /// Status, then one `name: value` a line.
    Response(u32, String),
    Interim(u32, String),
    Data(u32, Vec<u8>),
    Trailers(u32, String),
    End(u32),
    Reset(u32, ResetReason, bool),
    Writable(u32),
    Capacity(u32),
    GoAway(u32),
    InputEnded,
    /// The connection is broken: the status answered, and what was wrong.
    Fault(Option<u16>, &'static str),
}

impl Seen {
    pub fn data(stream: u32, bytes: &[u8]) -> Self {
        Self::Data(stream, bytes.to_vec())
    }
}

pub fn fields(block: &HeaderBlock) -> String {
    block
        .iter()
        .map(|(_, name, value)| {
            format!("\n{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        })
        .collect()
}

pub fn request_text(head: &RequestHead) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{} {} {} {}{}",
        text(head.method()),
        text(head.scheme()),
        text(head.authority()),
        text(head.path()),
        fields(&head.headers)
    )
}

pub fn response_text(head: &ResponseHead) -> String {
    format!("{}{}", head.status, fields(&head.headers))
}

/// A request as a test writes it.
pub fn request(method: &str, authority: &str, path: &str, headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set_method(method.as_bytes());
    head.set_scheme(b"http");
    head.set_authority(authority.as_bytes());
    head.set_path(path.as_bytes());
    for (name, value) in headers {
        head.headers.push(name.as_bytes(), value.as_bytes());
    }
    head
}

pub fn response(status: u16, headers: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::with_status(status);
    for (name, value) in headers {
        head.headers.push(name.as_bytes(), value.as_bytes());
    }
    head
}

#[derive(Debug)]
pub struct Bench<C> {
    pub codec: C,
    pub outbox: Outbox,
    pub pool: Pool,
    pub now: Tick,
    /// As the reactor's carry: what the codec left.
    pub carry: Vec<u8>,
    pub ended: bool,
}

impl<C: Codec> Bench<C> {
    pub fn new(codec: C) -> Self {
        Self {
            codec,
            outbox: Outbox::default(),
            pool: Pool::default(),
            now: Tick::default(),
            carry: Vec::new(),
            ended: false,
        }
    }

    /// Offers bytes and gives all events that follow.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.offer(bytes, &mut seen);
        seen
    }

    pub fn receive_end(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.ended = true;
        self.receive(bytes)
    }

    /// The same in pieces, cut at the given sizes in turn.
    pub fn receive_split(&mut self, bytes: &[u8], sizes: &[usize]) -> Vec<Seen> {
        let (mut seen, mut rest, mut turn) = (Vec::new(), bytes, 0);
        while !rest.is_empty() {
            let size = sizes.get(turn % sizes.len().max(1)).copied().unwrap_or(1).clamp(1, rest.len());
            self.offer(&rest[..size], &mut seen);
            rest = &rest[size..];
            turn += 1;
        }
        seen
    }

    fn offer(&mut self, bytes: &[u8], seen: &mut Vec<Seen>) {
        self.offer_with(bytes, seen, |_, _| {});
    }

    /// As `receive`, with a say after each event: what the exchange would answer.
    pub fn receive_with(
        &mut self,
        bytes: &[u8],
        mut answer: impl FnMut(&Seen, &mut Step<'_, C>),
    ) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.offer_with(bytes, &mut seen, |event, step| answer(event, step));
        seen
    }

    fn offer_with(
        &mut self,
        bytes: &[u8],
        seen: &mut Vec<Seen>,
        mut answer: impl FnMut(&Seen, &mut Step<'_, C>),
    ) {
        let mut buffer = std::mem::take(&mut self.carry);
        buffer.extend_from_slice(bytes);
        let mut copy = buffer.clone();
        let mut input = Input::new(&mut copy, self.ended);
        loop {
            let mut out = Out::new(&mut self.outbox, &mut self.pool);
            let event = match self.codec.next_event(&mut input, &mut out, self.now) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(ConnectionFault { answered, what, .. }) => {
                    seen.push(Seen::Fault(answered, what));
                    break;
                }
            };
            let mut step = Step { codec: &mut self.codec, out, now: self.now };
            for event in note(event) {
                answer(&event, &mut step);
                merge(event, seen);
            }
        }
        let consumed = input.consumed();
        assert!(consumed <= buffer.len(), "consumed beyond the input");
        self.carry = buffer.split_off(consumed);
    }

    pub fn send(&mut self, command: Command<'_>) -> Result<Accepted, Refused> {
        let mut out = Out::new(&mut self.outbox, &mut self.pool);
        self.codec.perform(command, &mut out, self.now)
    }

    pub fn pass_deadline(&mut self) -> Result<(), ConnectionFault> {
        self.now = self.codec.deadline().expect("a deadline");
        let mut out = Out::new(&mut self.outbox, &mut self.pool);
        self.codec.on_deadline(self.now, &mut out)
    }

    /// Takes everything out of the outbox.
    pub fn sent(&mut self) -> Vec<u8> {
        let bytes = self.outbox.pieces().flatten().copied().collect();
        self.outbox.clear(&mut self.pool);
        bytes
    }

    pub fn sent_text(&mut self) -> String {
        String::from_utf8_lossy(&self.sent()).into_owned()
    }
}

/// A codec between two events, for a test that answers at once.
pub struct Step<'a, C> {
    pub codec: &'a mut C,
    out: Out<'a>,
    now: Tick,
}

impl<C: Codec> Step<'_, C> {
    pub fn send(&mut self, command: Command<'_>) -> Result<Accepted, Refused> {
        self.codec.perform(command, &mut self.out, self.now)
    }
}

fn note(event: Event<'_>) -> Vec<Seen> {
    let ended = match &event {
        Event::RequestReceived { stream, end: true, .. }
        | Event::ResponseReceived { stream, end: true, .. }
        | Event::DataReceived { stream, end: true, .. }
        | Event::TrailersReceived { stream, .. } => Some(Seen::End(stream.0)),
        _ => None,
    };
    let body = match &event {
        Event::RequestReceived { stream, body, end, .. }
        | Event::ResponseReceived { stream, body, end, .. } => {
            assert!(body.is_empty() || *end, "a body that comes with its head is whole");
            (!body.is_empty()).then(|| Seen::Data(stream.0, body.to_vec()))
        }
        _ => None,
    };
    let seen = match event {
        Event::RequestReceived { stream, head, .. } => Seen::Request(stream.0, request_text(&head)),
        Event::InterimReceived { stream, head } => Seen::Interim(stream.0, response_text(&head)),
        Event::ResponseReceived { stream, head, .. } => Seen::Response(stream.0, response_text(&head)),
        Event::DataReceived { bytes: [], .. } => return ended.into_iter().collect(),
        Event::DataReceived { stream, bytes, .. } => Seen::Data(stream.0, bytes.to_vec()),
        Event::TrailersReceived { stream, trailers } => Seen::Trailers(stream.0, fields(&trailers)),
        Event::StreamReset { stream, reason, unprocessed } => Seen::Reset(stream.0, reason, unprocessed),
        Event::StreamWritable { stream } => Seen::Writable(stream.0),
        Event::CapacityChanged { streams } => Seen::Capacity(streams),
        Event::GoAwayReceived { last, .. } => Seen::GoAway(last.0),
        Event::InputEnded => Seen::InputEnded,
    };
    std::iter::once(seen).chain(body).chain(ended).collect()
}

/// Data joins what came before on its stream, if nothing of that stream lies between.
fn merge(event: Seen, seen: &mut Vec<Seen>) {
    if let Seen::Data(stream, bytes) = &event {
        let earlier = seen.iter_mut().rev().find_map(|earlier| match earlier {
            Seen::Data(id, known) if id == stream => Some(Some(known)),
            Seen::Request(id, _) | Seen::Response(id, _) | Seen::End(id) if id == stream => Some(None),
            _ => None,
        });
        if let Some(known) = earlier.flatten() {
            known.extend_from_slice(bytes);
            return;
        }
    }
    seen.push(event);
}
