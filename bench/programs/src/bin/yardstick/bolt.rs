//! Bolt 1 by hand: every offset a constant, every choice a match. It does what the described codec does for a call and its answer:
//! heads with service, method, deadline, attributes and fields, memory of heads that goes round, ids of its own, a whole message as
//! one event and one command, frames that leave as they came but for the id; calls without an answer, heartbeats, error replies,
//! account of what each call holds, bounds. It knows no version 2, no header that was changed, no body to look into and no large
//! frames: a yardstick, which never carries traffic.

use std::num::NonZeroU64;

use mainstay_engine::bytes::{Out, decimal, find};
use mainstay_engine::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use mainstay_engine::message::{
    BodyLength, Frame, HeaderBlock, NameId, Protocol, Recorder, RequestHead, ResetReason, ResponseHead, Span,
    Tick, fresh,
};

use crate::table::Table;

const REQUEST: usize = 22;
const RESPONSE: usize = 20;
const ID: usize = 5;
/// As its description has them.
const MOST_HEADERS: usize = 128;
const MOST_CALLS: usize = 8_192;
const MOST_CALLS_TO_PROVIDER: usize = 1_024;
const MOST_BYTES: usize = 8_519_680;
const MOST_IN_FRONT: usize = 32_837;
const MOST_QUEUED: usize = 32 * 1024 * 1024;
/// Serialisations that are looked into.
const HESSIAN: [u8; 2] = [1, 4];
const LONGEST_NAME: usize = 1_024;
/// A body up to this size goes out in one piece with what is in front of it, bytes.
const SMALL: usize = 4 * 1024;
const FRAME_TIMEOUT: u64 = 30_000;
/// What requests' heads need beside the frame: scheme, method and names of attributes.
const TEXTS: &[u8] = b"boltPOSTbolt-versionbolt-codecbolt-class";
const SCHEME: (u32, u32) = (0, 4);
const METHOD: (u32, u32) = (4, 4);
const VERSION: (u32, u32) = (8, 12);
const CODEC: (u32, u32) = (20, 10);
const CLASS: (u32, u32) = (30, 10);

pub struct Call {
    id: u32,
    one_way: bool,
    /// The request's numbers, for an error reply.
    asked: [u8; REQUEST],
    /// Bytes of its body that were handed over and for which no credit has come back.
    held: usize,
    draft: Option<Box<Draft>>,
}

/// A message that does not come in one piece.
struct Draft {
    bytes: Vec<u8>,
    content: usize,
}

pub struct Bolt {
    is_client: bool,
    calls: Table<Call>,
    /// Version and shape of the first request: others go by other connections.
    first: Option<u64>,
    /// Sum over the calls.
    held: usize,
    /// When the frame that has begun must be whole.
    frame_due: Option<Tick>,
    last_traffic: Tick,
    over: bool,
}

/// Lengths in a frame's head.
struct Lengths {
    class: usize,
    map: usize,
    content: usize,
}

fn lengths(bytes: &[u8], at: usize) -> Option<Lengths> {
    let [a, b, c, d, e, f, g, h] = *bytes.get(at..)?.first_chunk::<8>()?;
    Some(Lengths {
        class: u16::from_be_bytes([a, b]).into(),
        map: u16::from_be_bytes([c, d]).into(),
        content: u32::from_be_bytes([e, f, g, h]) as usize,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

fn fault(what: &'static str) -> ConnectionFault {
    ConnectionFault { reason: ResetReason::ProtocolError, answered: None, what }
}

/// Service and method as the header map says them.
#[derive(Default)]
struct Named<'a> {
    service: Option<&'a [u8]>,
    target: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    remaining: Option<&'a [u8]>,
}

/// Reads the map that begins at `map_at` of the arena.
fn read_map<'a>(
    map: &'a [u8],
    map_at: usize,
    headers: &mut HeaderBlock,
    found: &mut Named<'a>,
) -> Result<(), ConnectionFault> {
    let walk = |recorder: &mut Recorder<'_>| {
        const CUT: &str = "a header map is cut";
        let (mut rest, mut count) = (map, 0);
        while !rest.is_empty() {
            let (name, behind) = text(rest).ok_or_else(|| fault(CUT))?;
            let (value, behind) = text(behind).ok_or_else(|| fault(CUT))?;
            let pair_end = map.len() - behind.len();
            rest = behind;
            let (Some(name), Some(value)) = (name, value) else { continue };
            count += 1;
            if count > MOST_HEADERS {
                return Err(fault("too many headers"));
            }
            match name {
                b"service" => found.service = Some(value),
                b"sofa_head_target_service" => found.target = Some(value),
                b"sofa_head_method_name" => found.method = Some(value),
                b"sofa_head_deadline_remain_time" => found.remaining = Some(value),
                _ => {}
            }
            let value_at = map_at + pair_end - value.len();
            let name_at = value_at - 4 - name.len();
            let letters = name.first().copied().zip(name.last().copied()).unwrap_or((0, 0));
            let name = Span { start: name_at as u32, length: name.len() as u32 };
            recorder.add(name, letters, Span { start: value_at as u32, length: value.len() as u32 });
        }
        Ok(())
    };
    // None is looked for: the names that matter are matched on the way.
    headers.record(true, walk, std::iter::empty(), |_, _| {})
}

/// A text behind its length, `None` for a null, and what follows.
fn text(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*length) {
        length if length < 0 => Some((None, rest)),
        length => rest.split_at_checked(length as usize).map(|(text, rest)| (Some(text), rest)),
    }
}

/// Blanks and control characters are in no name.
fn is_unreadable(text: &[u8]) -> bool {
    let is_hit = |byte: u8| byte.is_ascii_control() || byte == b' ';
    find(text, |word| word.below(b' ' + 1) | word.equal(0x7f), is_hit).is_some()
}

/// A text that may be a name.
fn named(candidates: [Option<&[u8]>; 2]) -> &[u8] {
    let is_name = |text: &&[u8]| (1..=LONGEST_NAME).contains(&text.len());
    candidates.into_iter().flatten().find(is_name).unwrap_or(&[])
}

impl Bolt {
    pub fn server() -> Self {
        Self::new(false)
    }

    pub fn client() -> Self {
        Self::new(true)
    }

    fn new(is_client: bool) -> Self {
        Bolt {
            is_client,
            calls: Table::default(),
            first: None,
            held: 0,
            frame_due: None,
            last_traffic: Tick(0),
            over: false,
        }
    }

    /// The next frame's event, if it has one.
    fn next_frame<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let before = input.consumed();
        let event = if self.is_client { self.response(input) } else { self.request(input, out) }?;
        if input.consumed() > before {
            self.frame_due = None;
            self.last_traffic = now;
        } else if self.frame_due.is_none() {
            self.frame_due = Some(now.after_milliseconds(FRAME_TIMEOUT));
        }
        Ok(event)
    }

    fn request<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        let frame = input.rest();
        let Some(lengths) = lengths(frame, 14) else { return Ok(None) };
        let content = REQUEST + lengths.class + lengths.map;
        let Some(id) = self.check(frame, content, lengths.content)? else { return Ok(None) };
        let one_way = match frame.first_chunk() {
            Some([1, 1, 0, 1]) => false,
            Some([1, 2, 0, 1]) => true,
            Some([1, 1, 0, 0]) => {
                put_reply(id, frame.get(9).copied().unwrap_or(1), [0, 0], 0, out);
                input.take(content + lengths.content);
                return Ok(None);
            }
            _ => return Err(fault("no such frame")),
        };
        if HESSIAN.contains(frame.get(9).unwrap_or(&0)) {
            return Err(fault("a body to look into"));
        }
        let front = frame.get(..content).unwrap_or(&[]);
        let mut head = fresh::<RequestHead>();
        (head.protocol, head.body, head.one_way) = (Protocol::Rpc, body(lengths.content), one_way);
        let headers = &mut head.headers;
        headers.make_room(2 * content + 128, 16);
        let bytes = headers.stash(front);
        let texts = headers.stash(TEXTS).start;
        let known = |(start, length): (u32, u32)| Span { start: texts + start, length };
        for (name, number) in [(VERSION, frame.first()), (CODEC, frame.get(9))] {
            let value = headers.stash(decimal(number.copied().unwrap_or(0).into()).as_bytes());
            headers.push_known(NameId::OTHER, known(name), value);
        }
        if lengths.class > 0 {
            let class = Span { start: REQUEST as u32, length: lengths.class as u32 };
            headers.push_known(NameId::OTHER, known(CLASS), class);
        }
        let attributes = headers.mark().fields() as u16;
        let mut found = Named::default();
        let map = front.get(REQUEST + lengths.class..).unwrap_or(&[]);
        read_map(map, REQUEST + lengths.class, headers, &mut found)?;
        let (service, method) = (named([found.service, found.target]), named([found.method, None]));
        let has_slash = method.contains(&b'/');
        let path = headers.stash_with(|arena| {
            for piece in [b"/", service, b"/", method] {
                arena.extend_from_slice(piece);
            }
            Ok::<_, ConnectionFault>(())
        })?;
        if has_slash || is_unreadable(headers.slice(path)) {
            return Err(fault("a service or method has a character that none has"));
        }
        let service = Span { start: path.start + 1, length: service.len() as u32 };
        let method = Span { start: service.start + service.length + 1, length: method.len() as u32 };
        let remaining = found.remaining.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok());
        let timeout = word(front, 10).and_then(|word| u64::try_from(word as i32).ok());
        head.deadline_milliseconds =
            [timeout, remaining].into_iter().flatten().filter(|&time| time > 0).min();
        let mark = head.headers.mark();
        head.frame = Some(Frame {
            bytes,
            protocol: NonZeroU64::MIN,
            shape: 1,
            number: id.into(),
            service,
            method,
            pin: 1,
            attributes,
            pairs: (mark.fields() as u16).saturating_sub(attributes),
            mark,
        });
        head.set_spans(known(METHOD), known(SCHEME), service, path);
        let asked = frame.first_chunk().copied().unwrap_or([0; REQUEST]);
        let stream = self.calls.next_number();
        self.calls.insert(stream, Call { id, one_way, asked, held: 0, draft: None });
        self.first.get_or_insert(1);
        let frame = &*input.take(content + lengths.content);
        let body = frame.get(content..).unwrap_or(&[]);
        Ok(Some(Event::RequestReceived { stream: StreamId(stream), head, body, end: true }))
    }

    fn response<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        let frame = input.rest();
        let Some(lengths) = lengths(frame, 12) else { return Ok(None) };
        let content = RESPONSE + lengths.class + lengths.map;
        let Some(id) = self.check(frame, content, lengths.content)? else { return Ok(None) };
        match frame.first_chunk() {
            Some([1, 0, 0, 2]) if self.calls.get_mut(id).is_some() => {}
            // An answer of which the call is over, or that of a heartbeat.
            Some([1, 0, 0, 2] | [1, 0, 0, 0]) => {
                input.take(content + lengths.content);
                return Ok(None);
            }
            _ => return Err(fault("no such frame")),
        }
        let front = frame.get(..content).unwrap_or(&[]);
        let number = front.get(10..12).map_or(0, |status| u64::from(status[0]) << 8 | u64::from(status[1]));
        let status = match number {
            0 => 200,
            4 => 503,
            6 => 404,
            7 => 504,
            8 | 16 => 502,
            9 | 18 => 400,
            _ => 500,
        };
        let mut head = fresh::<ResponseHead>();
        (head.status, head.protocol, head.body) = (status, Protocol::Rpc, body(lengths.content));
        head.headers.make_room(2 * content + 128, 16);
        let bytes = head.headers.stash(front);
        if lengths.map > 0 {
            let map = front.get(RESPONSE + lengths.class..).unwrap_or(&[]);
            read_map(map, RESPONSE + lengths.class, &mut head.headers, &mut Named::default())?;
        }
        let mark = head.headers.mark();
        head.frame = Some(Frame {
            bytes,
            protocol: NonZeroU64::MIN,
            shape: 0,
            number,
            service: Span::default(),
            method: Span::default(),
            pin: 1,
            attributes: 0,
            pairs: mark.fields() as u16,
            mark,
        });
        let frame = &*input.take(content + lengths.content);
        let body = frame.get(content..).unwrap_or(&[]);
        self.end(id);
        Ok(Some(Event::ResponseReceived { stream: StreamId(id), head, body, end: true }))
    }

    /// The id of a frame that is whole; `None` while bytes are missing.
    fn check(&self, frame: &[u8], content: usize, length: usize) -> Result<Option<u32>, ConnectionFault> {
        if content.saturating_add(length) > MOST_BYTES
            || content > MOST_IN_FRONT
            || !self.is_client && self.calls.len() >= MOST_CALLS
        {
            return Err(fault("a frame is too large"));
        }
        Ok(word(frame, ID).filter(|_| frame.len() >= content + length))
    }

    /// Sends a head and what there is of its body.
    fn send_head(
        &mut self,
        stream: u32,
        (headers, frame, length): (&HeaderBlock, Option<Frame>, BodyLength),
        (body, end): (&[u8], bool),
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let frame = frame.filter(|frame| headers.mark() == frame.mark).ok_or(Refused)?;
        let front = headers.slice(frame.bytes);
        let content = if let BodyLength::Known(length) = length { length as usize } else { 0 };
        let call = self.calls.get_mut(stream).ok_or(Refused)?;
        let id = call.id.to_be_bytes();
        let (Some(before), Some(after)) = (front.get(..ID), front.get(ID + 4..)) else { return Err(Refused) };
        if !end {
            let bytes = [before, &id, after, body].concat();
            call.draft = Some(Box::new(Draft { bytes, content: content.saturating_sub(body.len()) }));
            return Ok(body.len());
        }
        if content != body.len() || self.is_client && out.room() == 0 {
            return Err(Refused);
        }
        if body.len() <= SMALL {
            out.put_parts([before, &id, after, body]);
        } else {
            out.put_parts([before, &id, after]);
            out.put(body);
        }
        self.sent(stream, out);
        Ok(body.len())
    }

    fn send_data(
        &mut self,
        stream: u32,
        bytes: &[u8],
        end: bool,
        out: &mut Out<'_>,
    ) -> Result<usize, Refused> {
        let draft = self.calls.get_mut(stream).and_then(|call| call.draft.as_mut()).ok_or(Refused)?;
        draft.content = draft.content.checked_sub(bytes.len()).ok_or(Refused)?;
        draft.bytes.extend_from_slice(bytes);
        if end {
            out.put(&draft.bytes);
            self.sent(stream, out);
        }
        Ok(bytes.len())
    }

    /// A message has gone out.
    fn sent(&mut self, stream: u32, out: &Out<'_>) {
        if out.outbox.len() > MOST_QUEUED {
            self.over = true;
        }
        if !self.is_client || self.calls.get_mut(stream).is_some_and(|call| call.one_way) {
            self.end(stream);
        }
    }

    /// A call is over; what it held is free.
    fn end(&mut self, stream: u32) -> Option<Call> {
        let call = self.calls.remove(stream)?;
        self.held -= call.held;
        Some(call)
    }
}

/// An answer of ours without parts.
fn put_reply(id: u32, codec: u8, command: [u8; 2], status: u16, out: &mut Out<'_>) {
    let mut frame = [0; RESPONSE];
    let [a, b, c, d] = id.to_be_bytes();
    let [high, low] = status.to_be_bytes();
    let [first, second] = command;
    frame[..12].copy_from_slice(&[1, 0, first, second, 1, a, b, c, d, codec, high, low]);
    out.put(&frame);
}

fn body(length: usize) -> BodyLength {
    if length == 0 { BodyLength::Empty } else { BodyLength::Known(length as u64) }
}

impl Codec for Bolt {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        out: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        loop {
            if self.over || input.rest().is_empty() || !self.is_client && out.room() == 0 {
                return Ok(None);
            }
            let before = input.consumed();
            let event = self.next_frame(input, out, now)?;
            if event.is_some() || input.consumed() == before {
                return Ok(event);
            }
        }
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, now: Tick) -> Result<Accepted, Refused> {
        let mut accepted = Accepted::default();
        match command {
            Command::SendRequest { stream, head, body, end } => {
                let pin = head.frame.map(|frame| frame.pin);
                if !self.is_client || self.first.is_some() && self.first != pin {
                    return Err(Refused);
                }
                self.calls.get_mut(stream.0).ok_or(Refused)?.one_way = head.one_way;
                let message = (&head.headers, head.frame, head.body);
                accepted.bytes = self.send_head(stream.0, message, (body, end), out)?;
                (self.first, self.last_traffic) = (pin, now);
            }
            Command::SendResponse { stream, head, body, end } => {
                if self.is_client || self.calls.get_mut(stream.0).is_none_or(|call| call.one_way) {
                    return Err(Refused);
                }
                let message = (&head.headers, head.frame, head.body);
                accepted.bytes = self.send_head(stream.0, message, (body, end), out)?;
            }
            Command::SendData { stream, bytes, end } => {
                accepted.bytes = self.send_data(stream.0, bytes, end, out)?
            }
            Command::HoldCredit { stream, bytes } => {
                if let Some(call) = self.calls.get_mut(stream.0) {
                    call.held += bytes;
                    self.held += bytes;
                }
            }
            Command::GrantCredit { stream, bytes } => {
                if let Some(call) = self.calls.get_mut(stream.0) {
                    let bytes = bytes.min(call.held);
                    call.held -= bytes;
                    self.held -= bytes;
                }
            }
            Command::ResetStream { stream, reason } => {
                let call = self.end(stream.0).ok_or(Refused)?;
                if !self.is_client && !call.one_way {
                    let status = match reason {
                        ResetReason::Timeout => 7,
                        ResetReason::Overloaded => 4,
                        _ => 16,
                    };
                    put_reply(call.id, call.asked[9], [0, 2], status, out);
                }
            }
            _ => return Err(Refused),
        }
        Ok(accepted)
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        if !self.is_client || self.over || self.calls.len() >= MOST_CALLS_TO_PROVIDER {
            return None;
        }
        let number = self.calls.next_number();
        let call = Call { id: number, one_way: false, asked: [0; REQUEST], held: 0, draft: None };
        self.calls.insert(number, call);
        Some(StreamId(number))
    }

    fn open_streams(&self) -> usize {
        self.calls.len()
    }

    fn ending(&self) -> Ending {
        if self.over { Ending::Aborted } else { Ending::Open }
    }

    fn wants_input(&self) -> bool {
        !self.over && self.held < 1 << 20
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        None
    }

    fn deadline(&self) -> Option<Tick> {
        self.frame_due
    }

    fn on_deadline(&mut self, now: Tick, _: &mut Out<'_>) -> Result<(), ConnectionFault> {
        if self.frame_due.is_some_and(|due| due <= now) {
            self.over = true;
            return Err(fault("a frame takes too long"));
        }
        Ok(())
    }

    fn on_room(&mut self) {}
}
