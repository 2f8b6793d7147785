//! From a frame to a head: service, method, deadline, attributes and headers, wherever the description says they are.
//!
//! In: a whole frame, or the first `WHOLE` bytes of a larger one, and its layout. Out: heads whose arena begins with all that lay in front
//! of the body, so that the frame can be written again. Order of the fields: attributes, then the header map's pairs, then
//! attachments of the body; names are lower-cased, as everywhere.

use std::hash::{BuildHasher, Hasher};

use super::description::{Description, Preamble, Reader};
use super::gathered::{Gathered, Text};
use super::layout::Layout;
use super::map;
use super::shape::{Pinned, Shape};
use super::window::Opened;
use super::{Broken, broken, hessian, spoilt};
use crate::bytes::{decimal, find};
use crate::message::{
    BodyLength, Frame, HeaderBlock, Protocol, QuickHash, RequestHead, ResponseHead, Span, fresh,
};

/// A frame being read.
pub(super) struct Reading<'a> {
    pub description: &'a Description,
    pub index: u16,
    pub shape: &'a Shape,
    pub frame: &'a [u8],
    pub layout: &'a Layout,
}

impl<'a> Reading<'a> {
    pub(super) fn body(&self) -> &'a [u8] {
        let body = self.layout.body_start();
        let end = (body + self.layout.body_length()).min(self.frame.len());
        self.frame.get(body..end).unwrap_or(&[])
    }

    fn body_length(&self) -> BodyLength {
        match self.layout.body_length() {
            0 => BodyLength::Empty,
            length => BodyLength::Known(length as u64),
        }
    }

    pub fn request(&self, one_way: bool) -> Result<Box<RequestHead>, Broken> {
        let reader = self.description.readers.get(usize::from(self.index)).ok_or(broken("no such frame"))?;
        let mut head = fresh::<RequestHead>();
        (head.protocol, head.body, head.one_way) = (Protocol::Rpc, self.body_length(), one_way);
        let mut gathered = Gathered::default();
        if self.description.body.as_ref().is_some_and(|body| body.always) {
            self.look_into_body(&mut gathered);
        }
        let bytes = self.stash(&mut head.headers);
        let preamble = head.headers.stash(self.description.preamble.bytes()).start;
        for attribute in &reader.attributes {
            self.put_attribute(attribute, (bytes.start, preamble), &gathered, &mut head.headers);
        }
        let attributes = head.headers.mark().fields();
        self.read_map(bytes.start, &mut gathered, &mut head.headers)?;
        let pairs = head.headers.mark();
        self.put_attachments(&mut gathered, &mut head.headers);
        let mut names = self.names(reader, &gathered);
        if gathered.body.is_none() && (names.0.is_none() || names.1.is_none()) {
            self.look_into_body(&mut gathered);
            names = self.names(reader, &gathered);
        }
        if reader.agrees && !self.agree(reader, &gathered) {
            return Err(spoilt("its header and its body name different methods"));
        }
        let (service, method) = self.name(names, preamble, &mut head)?;
        head.deadline_milliseconds = self.deadline(reader, &gathered);
        head.frame = Some(Frame {
            bytes,
            protocol: self.description.digest,
            shape: self.index,
            number: self.shape.id.read(self.frame, self.layout).unwrap_or(0),
            service,
            method,
            pin: self.pin(),
            attributes: attributes as u16,
            pairs: pairs.fields().saturating_sub(attributes) as u16,
            mark: head.headers.mark(),
        });
        Ok(head)
    }

    pub fn response(&self) -> Result<Box<ResponseHead>, Broken> {
        let status = self.shape.status.and_then(|number| number.read(self.frame, self.layout));
        let number = status.ok_or(spoilt("a response has no status"))?;
        let status = self.description.status_of(number);
        let mut head = fresh::<ResponseHead>();
        (head.status, head.protocol, head.body) = (status, Protocol::Rpc, self.body_length());
        let bytes = self.stash(&mut head.headers);
        if self.shape.headers.is_some_and(|part| !self.layout.part(self.frame, part).is_empty()) {
            self.read_map(bytes.start, &mut Gathered::default(), &mut head.headers)?;
        }
        let mark = head.headers.mark();
        head.frame = Some(Frame {
            bytes,
            protocol: self.description.digest,
            shape: self.index,
            number,
            service: Span::default(),
            method: Span::default(),
            pin: 0,
            attributes: 0,
            pairs: mark.fields() as u16,
            mark,
        });
        Ok(head)
    }

    /// Equal for frames whose pinned fields are.
    fn pin(&self) -> u64 {
        match &self.shape.pinned {
            Pinned::Nothing => 0,
            Pinned::Opening(mask) => Opened::new(self.frame).mixed(*mask) ^ u64::from(self.index),
            Pinned::Places(places) => {
                let mut hasher = QuickHash::default().build_hasher();
                hasher.write_u16(self.index);
                for place in places {
                    hasher.write_u64(place.read(self.frame, self.layout).unwrap_or(0));
                }
                hasher.finish()
            }
        }
    }

    /// Everything in front of the body, at the beginning of the arena.
    fn stash(&self, headers: &mut HeaderBlock) -> Span {
        let front = self.frame.get(..self.layout.body_start()).unwrap_or(&[]);
        headers.make_room(2 * front.len() + 128, 16);
        headers.stash(front)
    }

    fn look_into_body(&self, gathered: &mut Gathered) {
        let Some(body) = &self.description.body else { return };
        if self.shape.looks_into_body(Opened::new(self.frame)) {
            let most = self.description.limits.headers as usize;
            gathered.body = Some(hessian::look(body, self.body(), most));
        }
    }

    /// `front`: where the frame's first byte lies in the arena.
    fn read_map(&self, front: u32, gathered: &mut Gathered, headers: &mut HeaderBlock) -> Result<(), Broken> {
        let (Some(part), Some(form)) = (self.shape.headers, &self.description.headers) else { return Ok(()) };
        let Description { wanted, limits, .. } = self.description;
        let last_wins = map::last_wins(form);
        let (map, map_at) = (self.layout.part(self.frame, part), front + self.layout.span(part).0 as u32);
        headers.record(
            last_wins,
            |recorder| map::record(form, map, map_at, limits.headers, recorder),
            wanted.lengths(),
            |name, value| {
                if let Some(index) = wanted.position(name) {
                    gathered.headers.take(index, Span { start: value.start - front, ..value }, last_wins);
                }
            },
        )
    }

    fn put_attachments(&self, gathered: &mut Gathered, headers: &mut HeaderBlock) {
        let Gathered { headers: taken, body: Some(found) } = gathered else { return };
        let (body, body_at) = (self.body(), self.layout.body_start());
        for pair in &found.attachments {
            let (Some(name), Some(value)) = (body.get(pair.name.clone()), body.get(pair.value.clone()))
            else {
                continue;
            };
            if let Some(index) = self.description.wanted.position(name) {
                let start = (body_at + pair.value.start) as u32;
                taken.take(index, Span { start, length: value.len() as u32 }, true);
            }
            if name.len() <= usize::from(u16::MAX) {
                headers.push(name, value);
            }
        }
    }

    /// Service and method.
    fn names<'s>(
        &'s self,
        reader: &'s Reader,
        gathered: &'s Gathered,
    ) -> (Option<Text<'s>>, Option<Text<'s>>) {
        (self.first_text(&reader.service, gathered), self.first_text(&reader.method, gathered))
    }

    /// Names the request; where service and method stand in the arena comes back.
    fn name(
        &self,
        (service, method): (Option<Text<'_>>, Option<Text<'_>>),
        preamble: u32,
        head: &mut RequestHead,
    ) -> Result<(Span, Span), Broken> {
        let put = |text: Option<Text<'_>>, arena: &mut Vec<u8>| match text {
            Some(Text::Bytes(text)) => arena.extend_from_slice(text),
            Some(Text::Number(number, _)) => arena.extend_from_slice(decimal(number).as_bytes()),
            None => {}
        };
        // Into the arena at once, without a piece of memory of its own.
        let mut slash = 0;
        let path = head.headers.stash_with(|arena| -> Result<(), Broken> {
            arena.push(b'/');
            put(service, arena);
            slash = arena.len() as u32;
            arena.push(b'/');
            put(method, arena);
            Ok(())
        })?;
        let authority = Span { start: path.start + 1, length: slash - path.start - 1 };
        let called = Span { start: slash + 1, length: path.start + path.length - slash - 1 };
        // Policies read the path `/service/method`: nobody may shift its slash.
        if head.headers.slice(called).contains(&b'/') || is_unreadable(head.headers.slice(path)) {
            return Err(spoilt("a service or method has a character that none has"));
        }
        let known = |span: Span| Span { start: preamble + span.start, ..span };
        let Preamble { scheme, method, .. } = &self.description.preamble;
        head.set_spans(known(*method), known(*scheme), authority, path);
        Ok((authority, called))
    }
}

/// Blanks and control characters are in no name.
pub(in crate::codec) fn is_unreadable(text: &[u8]) -> bool {
    let is_hit = |byte: u8| byte.is_ascii_control() || byte == b' ';
    find(text, |word| word.below(b' ' + 1) | word.equal(0x7f), is_hit).is_some()
}
