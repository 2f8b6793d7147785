//! From a frame to a head: service, method, deadline, attributes and headers, wherever the description says they are.
//!
//! In: a whole frame, or the first `WHOLE` bytes of a larger one, and its layout. Out: heads whose arena begins with all that lay in front
//! of the body, so that the frame can be written again. Order of the fields: attributes, then the header map's pairs, then
//! attachments of the body; names are lower-cased, as everywhere.

use std::hash::{BuildHasher, Hasher};

use super::description::{Body, Description, Preamble, Reader, Texts};
use super::gathered::{Gathered, Spelled};
use super::layout::Layout;
use super::map::{self, Even, NextPair, Pairs, Walk};
use super::shape::{Pinned, Shape};
use super::window::Opened;
use super::{Broken, broken, hessian, spoilt};
use crate::bytes::find;
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
        let (bytes, preamble) = self.stash_with_preamble(&mut head.headers);
        head.headers.push_each(reader.names, &reader.attributes, |arena, attribute| {
            self.attribute(attribute, (bytes.start, preamble), &gathered, arena)
        });
        let attributes = head.headers.mark().fields();
        self.read_map(bytes.start, &mut gathered, &mut head.headers)?;
        let pairs = head.headers.mark();
        self.put_attachments(&mut gathered, &mut head.headers);
        let plain = |texts| self.plain_text(texts, &gathered);
        let (service, method) = match (plain(&reader.service), plain(&reader.method)) {
            (Some(service), Some(method)) => self.name(service, method, preamble, &mut head)?,
            _ => self.name_by_sources(reader, &mut gathered, preamble, &mut head)?,
        };
        if reader.agrees && !self.agree(reader, &gathered) {
            return Err(spoilt("its header and its body name different methods"));
        }
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
        let front = self.front();
        head.headers.make_room(2 * front.len() + 128, 16);
        let bytes = head.headers.stash(front);
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
            Pinned::Known(pin) => *pin,
            Pinned::Nothing => 0,
            Pinned::Opening(mask) => Pinned::of_opening(Opened::new(self.frame), *mask, self.index),
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

    /// Everything in front of the body, which goes to the beginning of the arena.
    #[inline(always)]
    fn front(&self) -> &'a [u8] {
        self.frame.get(..self.layout.body_start()).unwrap_or(&[])
    }

    /// Stashes the front, and behind it the texts that every request needs: where the first lies and where the others begin.
    #[inline(always)]
    fn stash_with_preamble(&self, headers: &mut HeaderBlock) -> (Span, u32) {
        let (front, preamble) = (self.front(), self.description.preamble.bytes());
        headers.make_room(2 * front.len() + 128, 16);
        let Span { start, .. } = headers.stash_parts([front, preamble]);
        (Span { start, length: front.len() as u32 }, start + front.len() as u32)
    }

    #[inline(always)]
    fn look_into_body(&self, gathered: &mut Gathered) {
        if let Some(body) = &self.description.body
            && self.shape.looks_into_body(self.frame)
        {
            self.look(body, gathered);
        }
    }

    #[inline(never)]
    fn look(&self, body: &Body, gathered: &mut Gathered) {
        let most = self.description.limits.headers as usize;
        gathered.body = Some(hessian::look(body, self.body(), most));
    }

    /// `front`: where the frame's first byte lies in the arena.
    #[inline(always)]
    fn read_map(&self, front: u32, gathered: &mut Gathered, headers: &mut HeaderBlock) -> Result<(), Broken> {
        let (Some(part), Some(form)) = (self.shape.headers, &self.description.headers) else { return Ok(()) };
        let (start, end) = self.layout.span(part);
        let (map, map_at) = (self.frame.get(start..end).unwrap_or(&[]), front + start as u32);
        // No head is so large; and in a smaller map no name is too long for a field.
        if map.len() > usize::from(u16::MAX) {
            return Err(map::TOO_MUCH);
        }
        let to = (front, form.last_wins, headers);
        match form.walk {
            Walk::Four => self.take_pairs(Even::<4>::new(map, map_at, form.nulls()), gathered, to),
            Walk::Two => self.take_pairs(Even::<2>::new(map, map_at, form.nulls()), gathered, to),
            Walk::Any => self.take_pairs(Pairs::new(&form.plan, map, map_at)?, gathered, to),
        }
    }

    // Each form has a loop of its own, with all registers for itself.
    #[inline(never)]
    fn take_pairs<'m>(
        &self,
        pairs: impl NextPair<'m>,
        gathered: &mut Gathered,
        (front, last_wins, headers): (u32, bool, &mut HeaderBlock),
    ) -> Result<(), Broken> {
        let Description { wanted, limits, .. } = self.description;
        headers.record(
            last_wins,
            |recorder| pairs.record(recorder.fields() + limits.headers as usize, recorder),
            wanted.iter().map(|name| &**name),
            |index, value| gathered.headers.take(index, Span { start: value.start - front, ..value }),
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
            if let Some(index) = self.description.wanted.iter().position(|wanted| **wanted == *name) {
                let start = (body_at + pair.value.start) as u32;
                taken.take(index, Span { start, length: value.len() as u32 });
            }
            if name.len() <= usize::from(u16::MAX) {
                headers.push(name, value);
            }
        }
    }

    /// Names a request whose names are not simply the headers that are asked first.
    #[inline(never)]
    fn name_by_sources(
        &self,
        reader: &Reader,
        gathered: &mut Gathered,
        preamble: u32,
        head: &mut RequestHead,
    ) -> Result<(Span, Span), Broken> {
        let is_told = |texts: &Texts, gathered| self.first_text(&texts.sources, gathered).is_some();
        if gathered.body.is_none()
            && !(is_told(&reader.service, gathered) && is_told(&reader.method, gathered))
        {
            self.look_into_body(gathered);
        }
        let service = Spelled::from(self.first_text(&reader.service.sources, gathered));
        let method = Spelled::from(self.first_text(&reader.method.sources, gathered));
        self.name(service.as_bytes(), method.as_bytes(), preamble, head)
    }

    /// Names the request; where service and method stand in the arena comes back.
    #[inline(always)]
    fn name(
        &self,
        service: &[u8],
        called: &[u8],
        preamble: u32,
        head: &mut RequestHead,
    ) -> Result<(Span, Span), Broken> {
        let path = head.headers.stash_parts([b"/", service, b"/", called]);
        // Policies read the path `/service/method`: nobody may shift its slash.
        if is_unreadable(service) || is_unreadable_method(called) {
            return Err(spoilt("a service or method has a character that none has"));
        }
        let authority = Span { start: path.start + 1, length: service.len() as u32 };
        let called = Span { start: path.start + service.len() as u32 + 2, length: called.len() as u32 };
        let known = |span: Span| Span { start: preamble + span.start, ..span };
        let Preamble { scheme, method, .. } = &self.description.preamble;
        head.set_spans(known(*method), known(*scheme), authority, path);
        Ok((authority, called))
    }
}

/// As little as a slash.
#[inline(always)]
fn is_unreadable_method(text: &[u8]) -> bool {
    let is_hit = |byte: u8| byte.is_ascii_control() || matches!(byte, b' ' | b'/');
    find(text, |word| word.below(b' ' + 1) | word.equal(0x7f) | word.equal(b'/'), is_hit).is_some()
}

/// Blanks and control characters are in no name.
#[inline]
pub(in crate::codec) fn is_unreadable(text: &[u8]) -> bool {
    let is_hit = |byte: u8| byte.is_ascii_control() || byte == b' ';
    find(text, |word| word.below(b' ' + 1) | word.equal(0x7f), is_hit).is_some()
}
