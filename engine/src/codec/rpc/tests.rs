//! Described protocols on a bench: golden frames of real peers, and what no peer should send.

mod bolt;
mod life;
mod others;
mod plain;
mod road;
mod splits;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;

use super::{Connection, Description, compile};
use crate::bytes::{Out, Outbox, Pool};
use crate::codec::contract::{Codec, Command, Event, Input, StreamId};
use crate::codec::testing::Bench;
use crate::message::{RequestHead, ResponseHead, Tick};
use crate::plan::RpcProtocol;

pub(super) fn plan(name: &str) -> RpcProtocol {
    let text = match name {
        "bolt" => include_str!("../../../testdata/protocols/bolt.json"),
        "dubbo" => include_str!("../../../testdata/protocols/dubbo.json"),
        "thrift" => include_str!("../../../testdata/protocols/thrift.json"),
        _ => include_str!("../../../testdata/protocols/volt.json"),
    };
    serde_json::from_str(text).unwrap()
}

pub(super) fn description(name: &str) -> Arc<Description> {
    Arc::new(compile(&plan(name)).unwrap())
}

pub(super) fn server(name: &str) -> Bench<Connection> {
    Bench::new(Connection::server(description(name)))
}

pub(super) fn client(name: &str) -> Bench<Connection> {
    Bench::new(Connection::client(description(name)))
}

/// Hexadecimal digits, and texts in quotes.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, piece) in text.split('"').enumerate() {
        if index % 2 == 1 {
            bytes.extend(piece.as_bytes());
            continue;
        }
        let digits: Vec<u8> = piece.bytes().filter(u8::is_ascii_hexdigit).collect();
        assert_eq!(digits.len() % 2, 0, "{piece}");
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        bytes.extend(digits.chunks(2).map(byte));
    }
    bytes
}

/// Two connections of one proxy, and the exchange between them reduced to passing on.
pub(super) struct Proxy {
    pub down: Connection,
    pub up: Connection,
    outboxes: (Outbox, Outbox),
    pool: Pool,
    carries: (Vec<u8>, Vec<u8>),
    /// Upstream stream by that of the caller, and back.
    ups: HashMap<u32, u32>,
    downs: HashMap<u32, u32>,
    pub edit_request: fn(&mut RequestHead),
    pub edit_response: fn(&mut ResponseHead),
    pub faults: Vec<&'static str>,
}

impl Proxy {
    pub fn new(name: &str) -> Self {
        // Also where servers answer one after the other: what is looked at here is one connection.
        let mut plan = plan(name);
        plan.limits.provider_calls = plan.limits.calls;
        let description = Arc::new(compile(&plan).unwrap());
        Self {
            down: Connection::server(Arc::clone(&description)),
            up: Connection::client(description),
            outboxes: (Outbox::default(), Outbox::default()),
            pool: Pool::default(),
            carries: (Vec::new(), Vec::new()),
            ups: HashMap::new(),
            downs: HashMap::new(),
            edit_request: |_| {},
            edit_response: |_| {},
            faults: Vec::new(),
        }
    }

    fn drain(outbox: &mut Outbox, pool: &mut Pool) -> Vec<u8> {
        let bytes = outbox.pieces().flatten().copied().collect();
        outbox.clear(pool);
        bytes
    }

    /// Bytes of the caller; gives those for the server and those for the caller.
    pub fn caller_sends(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        self.carries.0.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.carries.0);
        let mut input = Input::new(&mut buffer, false);
        let mut sent = Vec::new();
        loop {
            let mut out = Out::new(&mut self.outboxes.0, &mut self.pool);
            let event = match self.down.next_event(&mut input, &mut out, Tick(1)) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(fault) => {
                    self.faults.push(fault.what);
                    break;
                }
            };
            let mut out = Out::new(&mut self.outboxes.1, &mut self.pool);
            match event {
                Event::RequestReceived { stream, mut head, body, end } => {
                    (self.edit_request)(&mut head);
                    let up = self.up.open_stream().unwrap();
                    self.ups.insert(stream.0, up.0);
                    self.downs.insert(up.0, stream.0);
                    let command = Command::SendRequest { stream: up, head: &head, body, end };
                    let accepted = self.up.perform(command, &mut out, Tick(1)).unwrap().bytes;
                    if accepted < body.len() {
                        self.data_goes_up(up, &body[accepted..], end, &mut sent);
                    }
                }
                Event::DataReceived { stream, bytes, end } => {
                    let up = StreamId(self.ups[&stream.0]);
                    self.data_goes_up(up, bytes, end, &mut sent);
                    let bytes = bytes.len();
                    let mut out = Out::new(&mut self.outboxes.0, &mut self.pool);
                    self.down.perform(Command::GrantCredit { stream, bytes }, &mut out, Tick(1)).unwrap();
                }
                _ => {}
            }
        }
        let consumed = input.consumed();
        self.carries.0 = buffer.split_off(consumed);
        sent.extend(Self::drain(&mut self.outboxes.1, &mut self.pool));
        (sent, Self::drain(&mut self.outboxes.0, &mut self.pool))
    }

    fn data_goes_up(&mut self, up: StreamId, bytes: &[u8], end: bool, sent: &mut Vec<u8>) {
        let mut rest = bytes;
        loop {
            let mut out = Out::new(&mut self.outboxes.1, &mut self.pool);
            let data = Command::SendData { stream: up, bytes: rest, end };
            let accepted = self.up.perform(data, &mut out, Tick(1)).unwrap().bytes;
            rest = &rest[accepted..];
            if rest.is_empty() {
                break;
            }
            // The socket takes it all; then there is room again.
            sent.extend(Self::drain(&mut self.outboxes.1, &mut self.pool));
            self.up.on_room();
            let mut out = Out::new(&mut self.outboxes.1, &mut self.pool);
            let room = self.up.next_event(&mut Input::new(&mut [], false), &mut out, Tick(1));
            assert!(matches!(room, Ok(Some(Event::StreamWritable { stream })) if stream == up));
        }
    }

    /// Bytes of the server; gives those for the caller.
    pub fn server_sends(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.carries.1.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.carries.1);
        let mut input = Input::new(&mut buffer, false);
        loop {
            let mut out = Out::new(&mut self.outboxes.1, &mut self.pool);
            let event = match self.up.next_event(&mut input, &mut out, Tick(1)) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(fault) => {
                    self.faults.push(fault.what);
                    break;
                }
            };
            let mut out = Out::new(&mut self.outboxes.0, &mut self.pool);
            match event {
                Event::ResponseReceived { stream, mut head, body, end } => {
                    (self.edit_response)(&mut head);
                    let stream = StreamId(self.downs[&stream.0]);
                    self.down
                        .perform(Command::SendResponse { stream, head: &head, body, end }, &mut out, Tick(1))
                        .unwrap();
                }
                Event::DataReceived { stream, bytes, end } => {
                    let stream = StreamId(self.downs[&stream.0]);
                    self.down.perform(Command::SendData { stream, bytes, end }, &mut out, Tick(1)).unwrap();
                }
                _ => {}
            }
        }
        let consumed = input.consumed();
        self.carries.1 = buffer.split_off(consumed);
        Self::drain(&mut self.outboxes.0, &mut self.pool)
    }
}
