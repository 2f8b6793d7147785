//! From a frame to a head: service, method, deadline, attributes and headers, wherever the description says they are.
//!
//! In: a whole frame, or the first `WHOLE` bytes of a larger one, and its layout. Out: heads whose arena begins with all that lay in front
//! of the body, so that the frame can be written again. Order of the fields: attributes, then the header map's pairs, then
//! attachments of the body; names are lower-cased, as everywhere.

use std::hash::{BuildHasher, Hasher};

use super::description::{Attribute, Description, MAX_WANTED, Origin, Preamble, Reader, Source};
use super::hessian::{self, Found};
use super::map::{self, Even, NextPair, Pairs};
use super::shape::{Layout, Number, Pinned, Shape};
use super::window::Opened;
use super::{Broken, broken, spoilt};
use crate::bytes::{decimal, find};
use crate::message::{
    BodyLength, Frame, HeaderBlock, Protocol, QuickHash, RequestHead, ResponseHead, Span, fresh,
};
use crate::plan::RpcHeaders;

/// Longest service, method or attribute that is believed, bytes.
const MAX_TEXT: usize = 1_024;

/// A frame being read.
pub(super) struct Reading<'a> {
    pub description: &'a Description,
    pub index: u16,
    pub shape: &'a Shape,
    pub frame: &'a [u8],
    pub layout: &'a Layout,
}

/// What a source gave.
enum Text<'a> {
    Bytes(&'a [u8]),
    Number(u64, Option<i64>),
}

/// Texts by where they were found.
#[derive(Default)]
struct Gathered<'a> {
    headers: [Option<&'a [u8]>; MAX_WANTED],
    body: Option<Found>,
}

impl<'a> Reading<'a> {
    fn body(&self) -> &'a [u8] {
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
        let mut head = fresh::<RequestHead>();
        (head.protocol, head.body, head.one_way) = (Protocol::Rpc, self.body_length(), one_way);
        let mut gathered = Gathered::default();
        let body = self.description.body.as_ref();
        if body.is_some_and(|body| body.always) {
            self.look_into_body(&mut gathered);
        }
        let bytes = self.stash(&mut head.headers);
        let preamble = head.headers.stash(self.description.preamble.bytes()).start;
        let reader = self.description.readers.get(usize::from(self.index)).ok_or(broken("no such frame"))?;
        for attribute in &reader.attributes {
            self.put_attribute(attribute, preamble, &gathered, &mut head.headers);
        }
        let attributes = head.headers.mark().fields();
        self.read_map(bytes.start as usize, &mut gathered, &mut head.headers)?;
        let pairs = head.headers.mark();
        self.put_attachments(&mut gathered, &mut head.headers);
        let mut names = self.names(reader, &gathered);
        if gathered.body.is_none() && (names.0.is_none() || names.1.is_none()) {
            self.look_into_body(&mut gathered);
            names = self.names(reader, &gathered);
        }
        if reader.agrees && !self.agree(&reader.method, &gathered) {
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
            self.read_map(bytes.start as usize, &mut Gathered::default(), &mut head.headers)?;
        }
        let mark = head.headers.mark();
        head.frame = Some(Frame {
            bytes,
            protocol: self.description.digest,
            shape: self.index,
            number,
            service: Span::default(),
            method: Span::default(),
            pin: self.pin(),
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

    fn look_into_body(&self, gathered: &mut Gathered<'a>) {
        let Some(body) = &self.description.body else { return };
        if self.shape.looks_into_body(Opened::new(self.frame)) {
            let most = self.description.limits.headers as usize;
            gathered.body = Some(hessian::look(body, self.body(), most));
        }
    }

    /// `base`: where the frame's first byte lies in the arena.
    fn read_map(
        &self,
        base: usize,
        gathered: &mut Gathered<'a>,
        headers: &mut HeaderBlock,
    ) -> Result<(), Broken> {
        let (Some(part), Some(form)) = (self.shape.headers, &self.description.headers) else { return Ok(()) };
        let (map, map_at) = (self.layout.part(self.frame, part), base + self.layout.span(part).0);
        // Each form has a loop of its own.
        match form {
            RpcHeaders::Pairs {
                count_bytes: 0,
                name_bytes,
                value_bytes,
                little_endian: false,
                nulls,
                ..
            } => match (name_bytes, value_bytes) {
                (4, 4) => self.read_pairs(Even::<4>::new(map, *nulls), map_at, gathered, headers),
                (2, 2) => self.read_pairs(Even::<2>::new(map, *nulls), map_at, gathered, headers),
                _ => self.read_pairs(Pairs::new(form, map)?, map_at, gathered, headers),
            },
            _ => self.read_pairs(Pairs::new(form, map)?, map_at, gathered, headers),
        }
    }

    /// `map_at`: where the map begins in the arena.
    fn read_pairs(
        &self,
        mut pairs: impl NextPair<'a>,
        map_at: usize,
        gathered: &mut Gathered<'a>,
        headers: &mut HeaderBlock,
    ) -> Result<(), Broken> {
        let last_wins = self.description.headers.as_ref().is_some_and(map::last_wins);
        let Description { wanted, limits, .. } = self.description;
        let (mut recorder, mut count) = (headers.record(last_wins), 0);
        while let Some(pair) = pairs.next()? {
            count += 1;
            if count > limits.headers || pair.name.len() > usize::from(u16::MAX) {
                return Err(spoilt("too many headers, or too long a name"));
            }
            if let Some(index) = wanted.position(pair.name)
                && let Some(slot) = gathered.headers.get_mut(index)
                && (slot.is_none() || last_wins)
            {
                *slot = Some(pair.value);
            }
            let value = Span { start: (map_at + pair.value_at) as u32, length: pair.value.len() as u32 };
            let name = Span { start: (map_at + pair.name_at) as u32, length: pair.name.len() as u32 };
            recorder.add(name, value);
        }
        Ok(())
    }

    fn put_attachments(&self, gathered: &mut Gathered<'a>, headers: &mut HeaderBlock) {
        let Some(found) = &gathered.body else { return };
        let body = self.body();
        for pair in &found.attachments {
            let (Some(name), Some(value)) = (body.get(pair.name.clone()), body.get(pair.value.clone()))
            else {
                continue;
            };
            if let Some(index) = self.description.wanted.position(name)
                && let Some(slot) = gathered.headers.get_mut(index)
            {
                *slot = Some(value);
            }
            if name.len() <= usize::from(u16::MAX) {
                headers.push(name, value);
            }
        }
    }

    /// `preamble`: where it begins in the arena.
    fn put_attribute(
        &self,
        attribute: &Attribute,
        preamble: u32,
        gathered: &Gathered<'a>,
        headers: &mut HeaderBlock,
    ) {
        let Some(text) = self.first_text(&attribute.sources, gathered) else { return };
        let value = match text {
            Text::Bytes(value) => headers.stash(value),
            Text::Number(digit @ 0..=9, None) => headers.stash(&[b'0' + digit as u8]),
            Text::Number(_, Some(number)) if number < 0 => headers.stash(number.to_string().as_bytes()),
            Text::Number(number, _) => headers.stash(decimal(number).as_bytes()),
        };
        let Span { start, length } = attribute.name;
        headers.push_known(attribute.id, Span { start: preamble + start, length }, value);
    }

    /// The first source that has something.
    fn first_text<'s>(&'s self, sources: &'s [Source], gathered: &Gathered<'s>) -> Option<Text<'s>> {
        sources.iter().find_map(|source| self.text(source, gathered))
    }

    fn text<'s>(&'s self, source: &'s Source, gathered: &Gathered<'s>) -> Option<Text<'s>> {
        let whole = match &source.origin {
            Origin::Header(index) => gathered.headers.get(usize::from(*index)).copied().flatten()?,
            Origin::Body(index) => {
                let range = gathered.body.as_ref()?.values.get(usize::from(*index))?.clone()?;
                self.body().get(range)?
            }
            Origin::Text(text) => text,
            Origin::Part(index) => self.layout.part(self.frame, *index),
            Origin::Number(number) => return self.number(number),
        };
        let cut = cut(whole, &source.before, &source.after)?;
        (!cut.is_empty() && cut.len() <= MAX_TEXT).then_some(Text::Bytes(cut))
    }

    fn number<'s>(&self, number: &Number) -> Option<Text<'s>> {
        let value = number.read(self.frame, self.layout)?;
        let signed = if number.signed { number.read_signed(self.frame, self.layout) } else { None };
        Some(Text::Number(value, signed))
    }

    /// Service and method.
    fn names<'s>(
        &'s self,
        reader: &'s Reader,
        gathered: &Gathered<'s>,
    ) -> (Option<Text<'s>>, Option<Text<'s>>) {
        (self.first_text(&reader.service, gathered), self.first_text(&reader.method, gathered))
    }

    /// Whether all that these sources have is the same text.
    fn agree(&self, sources: &[Source], gathered: &Gathered<'_>) -> bool {
        let mut texts = sources.iter().filter_map(|source| match self.text(source, gathered)? {
            Text::Bytes(text) => Some(text),
            Text::Number(..) => None,
        });
        let first = texts.next();
        texts.all(|text| Some(text) == first)
    }

    /// Names the request; where service and method stand in the arena comes back.
    fn name(
        &self,
        (service, method): (Option<Text<'_>>, Option<Text<'_>>),
        preamble: u32,
        head: &mut RequestHead,
    ) -> Result<(Span, Span), Broken> {
        let bytes = |text| match text {
            Some(Text::Bytes(text)) => std::borrow::Cow::Borrowed(text),
            Some(Text::Number(number, _)) => std::borrow::Cow::Owned(number.to_string().into_bytes()),
            None => std::borrow::Cow::Borrowed(&b""[..]),
        };
        let (service, method) = (bytes(service), bytes(method));
        // Into the arena at once, without a piece of memory of its own.
        let path = head.headers.stash_with(|arena| -> Result<(), Broken> {
            arena.push(b'/');
            arena.extend_from_slice(&service);
            arena.push(b'/');
            arena.extend_from_slice(&method);
            Ok(())
        })?;
        // Policies read the path `/service/method`: nobody may shift its slash.
        if method.contains(&b'/') || is_unreadable(head.headers.slice(path)) {
            return Err(spoilt("a service or method has a character that none has"));
        }
        let authority = Span { start: path.start + 1, length: service.len() as u32 };
        let called = Span { start: authority.start + authority.length + 1, length: method.len() as u32 };
        let known = |span: Span| Span { start: preamble + span.start, ..span };
        let Preamble { scheme, method, .. } = &self.description.preamble;
        head.set_spans(known(*method), known(*scheme), authority, path);
        Ok((authority, called))
    }

    /// The shortest time that a source gives, milliseconds.
    fn deadline(&self, reader: &Reader, gathered: &Gathered<'a>) -> Option<u64> {
        let times = reader.deadline.iter().filter_map(|source| match self.text(source, gathered)? {
            Text::Number(number, None) => Some(number),
            Text::Number(_, Some(number)) => u64::try_from(number).ok(),
            Text::Bytes(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        });
        times.filter(|&time| time > 0).min()
    }
}

/// Blanks and control characters are in no name.
pub(in crate::codec) fn is_unreadable(text: &[u8]) -> bool {
    let is_hit = |byte: u8| byte.is_ascii_control() || byte == b' ';
    find(text, |word| word.below(b' ' + 1) | word.equal(0x7f), is_hit).is_some()
}

/// What stands in front of, or behind, the first such text.
fn cut<'a>(whole: &'a [u8], before: &[u8], after: &[u8]) -> Option<&'a [u8]> {
    let mut text = whole;
    if !after.is_empty()
        && let Some(at) = memchr::memmem::find(text, after)
    {
        text = text.get(at + after.len()..)?;
    }
    if !before.is_empty() {
        text = text.get(..memchr::memmem::find(text, before)?)?;
    }
    Some(text)
}
