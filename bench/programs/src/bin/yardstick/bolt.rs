//! Bolt 1 by hand: every offset a constant, every choice a match. It does what the described codec does for a call and its answer:
//! heads with service, method, deadline, attributes and fields, ids of its own, frames as they came. It knows no version 2, no
//! one-way calls, no heartbeats and no large frames: a yardstick, which never carries traffic.

use std::collections::HashMap;

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
    uncredited: usize,
    pulse: Tick,
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
    let attributes = headers.mark().fields() as usize;
    let (mut rest, mut count, mut seen) = (map, 0, 0u64);
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
        let mut span = Span { start: at as u32, length: name.len() as u32 };
        let value = Span { start: (map_at + pair_end - value.len()) as u32, length: value.len() as u32 };
        if name.iter().any(u8::is_ascii_uppercase) {
            span = headers.stash(name);
            headers.slice_mut(span).make_ascii_lowercase();
        }
        let id = NameId::of(headers.slice(span));
        let bit = 1 << ((name.len() ^ usize::from(name.last().copied().unwrap_or(0))) % 64);
        if seen & bit != 0 && headers.iter().any(|(_, known, _)| known == headers.slice(span)) {
            let text = headers.slice(span).to_vec();
            headers.remove_behind(attributes, &text);
        }
        seen |= bit;
        headers.push_known(id, span, value);
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
            uncredited: 0,
            pulse: Tick(0),
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

    fn request<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        let frame = input.rest();
        let Some(lengths) = lengths(frame, 14) else { return Ok(None) };
        let content = REQUEST + lengths.class + lengths.map;
        let Some(id) = self.check(frame, content, lengths.content, &[1, 1, 0, 1])? else { return Ok(None) };
        let front = frame.get(..content).unwrap_or(&[]);
        let mut head = Box::<RequestHead>::default();
        (head.protocol, head.body) = (Protocol::Rpc, body(lengths.content));
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
            protocol: 1,
            shape: 1,
            number: id.into(),
            service,
            method,
            pin: 1,
            attributes,
            pairs: (mark.fields() as u16).saturating_sub(attributes),
            repeated: mark.removed() as u16,
            mark,
        });
        head.set_spans(known(METHOD), known(SCHEME), service, path);
        let stream = self.next_number();
        self.calls.insert(stream, Call { id, ..Call::default() });
        input.take(content);
        let end = lengths.content == 0;
        self.incoming = (!end).then_some((stream, lengths.content));
        Ok(Some(Event::RequestReceived { stream: StreamId(stream), head, end }))
    }

    fn response<'b>(&mut self, input: &mut Input<'b>) -> Result<Option<Event<'b>>, ConnectionFault> {
        let frame = input.rest();
        let Some(lengths) = lengths(frame, 12) else { return Ok(None) };
        let content = RESPONSE + lengths.class + lengths.map;
        let Some(id) = self.check(frame, content, lengths.content, &[1, 0, 0, 2])? else { return Ok(None) };
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
            protocol: 1,
            shape: 0,
            number,
            service: Span::default(),
            method: Span::default(),
            pin: 1,
            attributes: 0,
            pairs: mark.fields() as u16,
            repeated: mark.removed() as u16,
            mark,
        });
        if !self.calls.contains_key(&id) {
            return Err(fault("an answer that nobody waits for"));
        }
        input.take(content);
        let end = lengths.content == 0;
        if end {
            self.calls.remove(&id);
        }
        self.incoming = (!end).then_some((id, lengths.content));
        Ok(Some(Event::ResponseReceived { stream: StreamId(id), head, end }))
    }

    /// The id of a frame that is whole and begins so; `None` while bytes are missing.
    fn check(
        &self,
        frame: &[u8],
        content: usize,
        length: usize,
        opening: &[u8],
    ) -> Result<Option<u32>, ConnectionFault> {
        if !frame.starts_with(opening) {
            return Err(fault("no such frame"));
        }
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
        if !self.is_client {
            self.calls.remove(&stream);
        }
        Ok(bytes.len())
    }
}

fn body(length: usize) -> BodyLength {
    if length == 0 { BodyLength::Empty } else { BodyLength::Known(length as u64) }
}

impl Codec for Bolt {
    fn next_event<'b>(
        &mut self,
        input: &mut Input<'b>,
        _: &mut Out<'_>,
        now: Tick,
    ) -> Result<Option<Event<'b>>, ConnectionFault> {
        if input.rest().is_empty() {
            return Ok(None);
        }
        self.pulse = now;
        let Some((stream, left)) = self.incoming.take() else {
            return if self.is_client { self.response(input) } else { self.request(input) };
        };
        let bytes = &*input.take(left);
        let end = bytes.len() == left;
        if end && self.is_client {
            self.calls.remove(&stream);
        }
        self.incoming = (!end).then(|| (stream, left - bytes.len()));
        self.uncredited += bytes.len();
        Ok(Some(Event::DataReceived { stream: StreamId(stream), bytes, end }))
    }

    fn perform(&mut self, command: Command<'_>, out: &mut Out<'_>, _: Tick) -> Result<Accepted, Refused> {
        let mut accepted = Accepted::default();
        match command {
            Command::SendRequest { stream, head, end } => {
                self.begin(stream.0, (&head.headers, head.frame), head.body)?;
                if end {
                    self.send(stream.0, &[], true, out)?;
                }
            }
            Command::SendResponse { stream, head, end } => {
                self.begin(stream.0, (&head.headers, head.frame), head.body)?;
                if end {
                    self.send(stream.0, &[], true, out)?;
                }
            }
            Command::SendData { stream, bytes, end } => {
                accepted.bytes = self.send(stream.0, bytes, end, out)?
            }
            Command::GrantCredit { bytes, .. } => self.uncredited = self.uncredited.saturating_sub(bytes),
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
        Ending::Open
    }

    fn wants_input(&self) -> bool {
        self.uncredited < 1 << 20
    }

    fn next_reset(&mut self) -> Option<StreamId> {
        None
    }

    fn deadline(&self) -> Option<Tick> {
        None
    }

    fn on_deadline(&mut self, _: Tick, _: &mut Out<'_>) -> Result<(), ConnectionFault> {
        Ok(())
    }

    fn on_room(&mut self) {}
}
