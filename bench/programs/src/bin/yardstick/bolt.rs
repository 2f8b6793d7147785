//! Bolt 1 by hand: every offset a constant, every choice a match. It does what the described codec does for a call and its answer:
//! heads with service, method, deadline, attributes and fields, ids of its own, frames as they came; calls without an answer, heartbeats,
//! error replies, account of what each call holds, bounds. It knows no version 2, no header that was changed and no large frames: a
//! yardstick, which never carries traffic.

use std::collections::HashMap;
use std::num::NonZeroU64;

use mainstay_engine::bytes::{Out, decimal};
use mainstay_engine::codec::contract::{
    Accepted, Codec, Command, ConnectionFault, Ending, Event, Input, Refused, StreamId,
};
use mainstay_engine::message::{
    BodyLength, Frame, HeaderBlock, NameId, Protocol, QuickHash, RequestHead, ResetReason, ResponseHead,
    Span, Tick,
};

const REQUEST: usize = 22;
const RESPONSE: usize = 20;
const ID: usize = 5;
const MOST_HEADERS: usize = 256;
const MOST_CALLS: usize = 4_096;
const MOST_BYTES: usize = 8 * 1024 * 1024;
const MOST_QUEUED: usize = 32 * 1024 * 1024;
const FRAME_TIMEOUT: u64 = 30_000;
/// What requests' heads need beside the frame: scheme, method and names of attributes.
const TEXTS: &[u8] = b"boltPOSTbolt-versionbolt-codecbolt-class";
const SCHEME: (u32, u32) = (0, 4);
const METHOD: (u32, u32) = (4, 4);
const VERSION: (u32, u32) = (8, 12);
const CODEC: (u32, u32) = (20, 10);
const CLASS: (u32, u32) = (30, 10);

#[derive(Default)]
struct Call {
    id: u32,
    one_way: bool,
    /// The request's codec, for an error reply.
    codec: u8,
    /// Bytes of its body that were handed over and for which no credit has come back.
    held: usize,
    draft: Vec<u8>,
    content: usize,
}

pub struct Bolt {
    is_client: bool,
    calls: HashMap<u32, Call, QuickHash>,
    number: u32,
    /// Whose content comes next, and how much of it.
    incoming: Option<(u32, usize)>,
    spare: Vec<Vec<u8>>,
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
    named: &mut Named<'a>,
) -> Result<(), ConnectionFault> {
    const CUT: &str = "a header map is cut";
    let (mut rest, mut count, mut recorder) = (map, 0, headers.record(true));
    while !rest.is_empty() {
        let (name, behind) = text(rest).ok_or_else(|| fault(CUT))?;
        let (value, behind) = text(behind).ok_or_else(|| fault(CUT))?;
        let (pair_end, pair) = (map.len() - behind.len(), (name, value));
        rest = behind;
        count += 1;
        if count > MOST_HEADERS {
            return Err(fault("too many headers"));
        }
        let (Some(name), Some(value)) = pair else { continue };
        let at = map_at + pair_end - value.len() - 4 - name.len();
        match name {
            b"service" => named.service = Some(value),
            b"sofa_head_target_service" => named.target = Some(value),
            b"sofa_head_method_name" => named.method = Some(value),
            b"sofa_head_deadline_remain_time" => named.remaining = Some(value),
            _ => {}
        }
        let value = Span { start: (map_at + pair_end - value.len()) as u32, length: value.len() as u32 };
        recorder.add(Span { start: at as u32, length: name.len() as u32 }, value);
    }
    Ok(())
}

/// A text behind its length, `None` for a null, and what follows.
fn text(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*length) {
        length if length < 0 => Some((None, rest)),
        length => rest.split_at_checked(length as usize).map(|(text, rest)| (Some(text), rest)),
    }
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
            calls: HashMap::default(),
            number: 0,
            incoming: None,
            spare: Vec::new(),
            held: 0,
            frame_due: None,
            last_traffic: Tick(0),
            over: false,
        }
    }

    fn next_number(&mut self) -> u32 {
        loop {
            self.number = self.number.wrapping_add(1);
            if self.number != 0 && !self.calls.contains_key(&self.number) {
                return self.number;
            }
        }
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
        let codec = frame.get(9).copied().unwrap_or(1);
        let front = frame.get(..content).unwrap_or(&[]);
        let mut head = Box::<RequestHead>::default();
        (head.protocol, head.body, head.one_way) = (Protocol::Rpc, body(lengths.content), one_way);
        head.headers = HeaderBlock::with_capacity(2 * content + 128, 16);
        let headers = &mut head.headers;
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
        let mut named = Named::default();
        let map = front.get(REQUEST + lengths.class..).unwrap_or(&[]);
        read_map(map, REQUEST + lengths.class, headers, &mut named)?;
        let (service, method) = (named.service.or(named.target).unwrap_or(&[]), named.method.unwrap_or(&[]));
        let is_bad = |byte: &u8| byte.is_ascii_control() || *byte == b' ';
        if method.contains(&b'/') || service.iter().chain(method).any(is_bad) {
            return Err(fault("a service or method has a character that none has"));
        }
        let path = headers.stash_with(|arena| {
            for piece in [b"/", service, b"/", method] {
                arena.extend_from_slice(piece);
            }
            Ok::<_, ConnectionFault>(())
        })?;
        let service = Span { start: path.start + 1, length: service.len() as u32 };
        let method = Span { start: service.start + service.length + 1, length: method.len() as u32 };
        let remaining = named.remaining.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse().ok());
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
        let stream = self.next_number();
        let end = lengths.content == 0;
        if !(one_way && end) {
            self.calls.insert(stream, Call { id, one_way, codec, ..Call::default() });
        }
        input.take(content);
        self.incoming = (!end).then_some((stream, lengths.content));
        Ok(Some(Event::RequestReceived { stream: StreamId(stream), head, body: &[], end }))
    }

    fn response<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        let frame = input.rest();
        let Some(lengths) = lengths(frame, 12) else { return Ok(None) };
        let content = RESPONSE + lengths.class + lengths.map;
        let Some(id) = self.check(frame, content, lengths.content)? else { return Ok(None) };
        match frame.first_chunk() {
            Some([1, 0, 0, 2]) => {}
            Some([1, 0, 0, 0]) => {
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
        let mut head = Box::new(ResponseHead { status, ..ResponseHead::default() });
        (head.protocol, head.body) = (Protocol::Rpc, body(lengths.content));
        head.headers = HeaderBlock::with_capacity(2 * content + 128, 16);
        let bytes = head.headers.stash(front);
        let map = front.get(RESPONSE + lengths.class..).unwrap_or(&[]);
        read_map(map, RESPONSE + lengths.class, &mut head.headers, &mut Named::default())?;
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
        if !self.calls.contains_key(&id) {
            return Err(fault("an answer that nobody waits for"));
        }
        input.take(content);
        let end = lengths.content == 0;
        if end {
            self.end(id);
        }
        self.incoming = (!end).then_some((id, lengths.content));
        Ok(Some(Event::ResponseReceived { stream: StreamId(id), head, body: &[], end }))
    }

    /// The id of a frame that is whole; `None` while bytes are missing.
    fn check(&self, frame: &[u8], content: usize, length: usize) -> Result<Option<u32>, ConnectionFault> {
        if content.saturating_add(length) > MOST_BYTES || self.calls.len() > MOST_CALLS {
            return Err(fault("a frame is too large"));
        }
        Ok(word(frame, ID).filter(|_| frame.len() >= content + length))
    }

    fn begin(
        &mut self,
        stream: u32,
        head: (&HeaderBlock, Option<Frame>),
        body: BodyLength,
    ) -> Result<(), Refused> {
        let (headers, frame) = head;
        let frame = frame.filter(|frame| headers.mark() == frame.mark).ok_or(Refused)?;
        let mut draft = self.spare.pop().unwrap_or_default();
        let call = self.calls.get_mut(&stream).ok_or(Refused)?;
        draft.extend_from_slice(headers.slice(frame.bytes));
        draft.get_mut(ID..ID + 4).ok_or(Refused)?.copy_from_slice(&call.id.to_be_bytes());
        call.content = if let BodyLength::Known(length) = body { length as usize } else { 0 };
        call.draft = draft;
        Ok(())
    }

    fn send(&mut self, stream: u32, bytes: &[u8], end: bool, out: &mut Out<'_>) -> Result<usize, Refused> {
        let call = self.calls.get_mut(&stream).ok_or(Refused)?;
        if !end {
            call.draft.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let mut draft = std::mem::take(&mut call.draft);
        if call.content < bytes.len() {
            return Err(Refused);
        }
        out.put_parts([&draft, bytes]);
        draft.clear();
        if self.spare.len() < 4 {
            self.spare.push(draft);
        }
        if out.outbox.len() > MOST_QUEUED {
            self.over = true;
        }
        if !self.is_client || call.one_way {
            self.end(stream);
        }
        Ok(bytes.len())
    }

    /// A call is over; what it held is free.
    fn end(&mut self, stream: u32) -> Option<Call> {
        let call = self.calls.remove(&stream)?;
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
            if self.over || input.rest().is_empty() {
                return Ok(None);
            }
            let Some((stream, left)) = self.incoming.take() else {
                if !self.is_client && out.room() == 0 {
                    return Ok(None);
                }
                let before = input.consumed();
                let event = if self.is_client { self.response(input) } else { self.request(input, out) }?;
                let is_whole = input.consumed() > before;
                match (is_whole, self.frame_due) {
                    (true, _) => self.frame_due = None,
                    (false, None) => self.frame_due = Some(now.after_milliseconds(FRAME_TIMEOUT)),
                    _ => {}
                }
                self.last_traffic = now;
                if event.is_none() && is_whole {
                    continue;
                }
                return Ok(event);
            };
            let Some(call) = self.calls.get_mut(&stream) else {
                // Answered already, or given up.
                let taken = input.take(left).len();
                self.incoming = (taken < left).then_some((stream, left - taken));
                continue;
            };
            let bytes = &*input.take(left);
            let end = bytes.len() == left;
            call.held += bytes.len();
            self.held += bytes.len();
            let is_over = end && (self.is_client || call.one_way);
            if is_over {
                self.end(stream);
            }
            self.incoming = (!end).then(|| (stream, left - bytes.len()));
            return Ok(Some(Event::DataReceived { stream: StreamId(stream), bytes, end }));
        }
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, _: Tick) -> Result<Accepted, Refused> {
        let mut accepted = Accepted::default();
        match command {
            Command::SendRequest { stream, head, body, end } => {
                self.calls.get_mut(&stream.0).ok_or(Refused)?.one_way = head.one_way;
                self.begin(stream.0, (&head.headers, head.frame), head.body)?;
                if end || !body.is_empty() {
                    accepted.bytes = self.send(stream.0, body, end, out)?;
                }
            }
            Command::SendResponse { stream, head, body, end } => {
                self.begin(stream.0, (&head.headers, head.frame), head.body)?;
                if end || !body.is_empty() {
                    accepted.bytes = self.send(stream.0, body, end, out)?;
                }
            }
            Command::SendData { stream, bytes, end } => {
                accepted.bytes = self.send(stream.0, bytes, end, out)?
            }
            Command::GrantCredit { stream, bytes } => {
                if let Some(call) = self.calls.get_mut(&stream.0) {
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
                    put_reply(call.id, call.codec, [0, 2], status, out);
                }
            }
            _ => return Err(Refused),
        }
        Ok(accepted)
    }

    fn open_stream(&mut self) -> Option<StreamId> {
        let number = self.next_number();
        self.calls.insert(number, Call { id: number, ..Call::default() });
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
