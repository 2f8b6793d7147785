//! A third protocol, for tests only: framed calls as SOFABolt and its kin have them. If it fits the codec contract and the exchange,
//! neither is shaped like HTTP.
//!
//! A frame: kind (1 call, 2 one-way call, 3 answer), id (4 bytes), status (2), length of the name (2), length of the body (4), name
//! (`service/method`), body. Frames are taken and sent whole, many calls at a time, answers in any order.

use std::collections::BTreeMap;

use crate::bytes::Out;
use crate::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use crate::message::{BodyLength, Protocol, RequestHead, ResetReason, ResponseHead, Tick};

const HEAD: usize = 13;
const CALL: u8 = 1;
const ONE_WAY: u8 = 2;
const ANSWER: u8 = 3;

/// A frame as bytes.
pub fn frame(kind: u8, id: u32, status: u16, name: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend(status.to_be_bytes());
    bytes.extend((name.len() as u16).to_be_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(body);
    bytes
}

pub fn call(id: u32, name: &str, body: &[u8]) -> Vec<u8> {
    frame(CALL, id, 0, name, body)
}

pub fn one_way(id: u32, name: &str, body: &[u8]) -> Vec<u8> {
    frame(ONE_WAY, id, 0, name, body)
}

pub fn answer(id: u32, status: u16, body: &[u8]) -> Vec<u8> {
    frame(ANSWER, id, status, "", body)
}

/// What is being put together for one stream.
#[derive(Debug, Default)]
struct Draft {
    kind: u8,
    status: u16,
    name: String,
    body: Vec<u8>,
}

/// Either role.
#[derive(Debug, Default)]
pub struct Bolt {
    is_client: bool,
    next: u32,
    /// Open streams, with what goes out on them.
    streams: BTreeMap<u32, Draft>,
    /// The body behind a head that was reported.
    body_of: Option<(u32, usize)>,
    lost: bool,
    broken: bool,
}

impl Bolt {
    pub fn server() -> Self {
        Self::default()
    }

    pub fn client() -> Self {
        Self { is_client: true, ..Self::default() }
    }

    fn send(&mut self, stream: u32, out: &mut Out<'_>) {
        let Some(draft) = self.streams.get_mut(&stream) else { return };
        out.put(&frame(draft.kind, stream, draft.status, &draft.name, &draft.body));
        if !self.is_client || draft.kind == ONE_WAY {
            self.streams.remove(&stream);
        }
    }
}

impl Codec for Bolt {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        _: &mut Out<'_>,
        _: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if let Some((id, length)) = self.body_of.take() {
            if self.is_client {
                self.streams.remove(&id);
            }
            return Ok(Some(Event::DataReceived {
                stream: StreamId(id),
                bytes: input.take(length),
                end: true,
            }));
        }
        let rest = input.rest();
        if rest.is_empty() && input.ended && !self.lost {
            self.lost = true;
            return Ok(Some(Event::InputEnded));
        }
        if rest.len() < HEAD {
            return Ok(None);
        }
        let number = |at: usize, size: usize| {
            rest[at..at + size].iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
        };
        let (kind, id, status) = (rest[0], number(1, 4) as u32, number(5, 2) as u16);
        let (name, body) = (number(7, 2), number(9, 4));
        if !(CALL..=ANSWER).contains(&kind) || (kind == ANSWER) != self.is_client {
            self.broken = true;
            return Err(ConnectionFault {
                reason: ResetReason::ProtocolError,
                answered: None,
                what: "no such frame",
            });
        }
        if rest.len() < HEAD + name + body {
            return Ok(None);
        }
        let head = input.take(HEAD + name);
        let (stream, end) = (StreamId(id), body == 0);
        if !end {
            self.body_of = Some((id, body));
        }
        let length = if end { BodyLength::Empty } else { BodyLength::Known(body as u64) };
        if self.is_client {
            if !self.streams.contains_key(&id) {
                self.body_of = None;
                input.take(body);
                return self.next_event(
                    input,
                    &mut Out::new(&mut Default::default(), &mut Default::default()),
                    Tick(0),
                );
            }
            if end {
                self.streams.remove(&id);
            }
            let head =
                ResponseHead { status, protocol: Protocol::Rpc, body: length, ..ResponseHead::default() };
            return Ok(Some(Event::ResponseReceived { stream, head: Box::new(head), end }));
        }
        let name = String::from_utf8_lossy(&head[HEAD..]).into_owned();
        let mut request = Box::<RequestHead>::default();
        (request.protocol, request.body) = (Protocol::Rpc, length);
        request.one_way = kind == ONE_WAY;
        request.set_method(b"POST");
        request.set_scheme(b"bolt");
        request.set_authority(name.split('/').next().unwrap_or("").as_bytes());
        request.set_path(format!("/{name}").as_bytes());
        if !request.one_way {
            self.streams.insert(id, Draft { kind: ANSWER, ..Draft::default() });
        }
        Ok(Some(Event::RequestReceived { stream, head: request, end }))
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, _: Tick) -> Result<Accepted, Refused> {
        let done = Ok(Accepted::default());
        match command {
            Command::SendRequest { stream, head, end } => {
                let draft = self.streams.get_mut(&stream.0).ok_or(Refused)?;
                draft.kind = if head.one_way { ONE_WAY } else { CALL };
                draft.name = String::from_utf8_lossy(&head.path()[1..]).into_owned();
                if end {
                    self.send(stream.0, out);
                }
                done
            }
            Command::SendResponse { stream, head, end } => {
                self.streams.get_mut(&stream.0).ok_or(Refused)?.status = head.status;
                if end {
                    self.send(stream.0, out);
                }
                done
            }
            Command::SendData { stream, bytes, end } => {
                let draft = self.streams.get_mut(&stream.0).ok_or(Refused)?;
                draft.body.extend_from_slice(bytes);
                if end {
                    self.send(stream.0, out);
                }
                Ok(Accepted { bytes: bytes.len() })
            }
            Command::ResetStream { stream, .. } => {
                // The peer is told nothing: its answer, if one comes, finds no stream.
                self.streams.remove(&stream.0).map(|_| Accepted::default()).ok_or(Refused)
            }
            Command::SendTrailers { stream, .. } => {
                self.send(stream.0, out);
                done
            }
            _ => done,
        }
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        self.next += 1;
        self.streams.insert(self.next, Draft::default());
        Some(StreamId(self.next))
    }

    fn open_streams(&self) -> usize {
        self.streams.len()
    }

    fn ending(&self) -> Ending {
        if self.broken || self.lost { Ending::Closed } else { Ending::Open }
    }

    fn wants_input(&self) -> bool {
        !self.broken
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        self.lost = true;
        self.streams.pop_first().map(|(id, _)| StreamId(id))
    }

    fn deadline(&self) -> Option<Tick> {
        None
    }

    fn on_deadline(&mut self, _: Tick, _: &mut Out<'_>) -> Result<(), ConnectionFault> {
        Ok(())
    }

    fn on_room(&mut self) {}
}
