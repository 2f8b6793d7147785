//! What a frame tells of its call: texts and numbers, by the sources that a description names.
//!
//! In: a frame being read, and where in it the values lie of headers that sources look for. Out: attributes, names, a deadline. Invariant: a
//! text is believed up to `MAX_TEXT` bytes, and an empty one is none, so that the next source is asked.

use super::description::{Attribute, MAX_WANTED, Origin, Reader, Source, Texts, Value};
use super::head::Reading;
use super::hessian::Found;
use super::place::Number;
use crate::bytes::{Digits, decimal};
use crate::message::{NameId, Span};

/// Longest service, method or attribute that is believed, bytes.
const MAX_TEXT: usize = 1_024;

/// What a source gave.
pub(super) enum Text<'a> {
    Bytes(&'a [u8]),
    /// As it stands, and with its sign if it has one.
    Number(u64, Option<i64>),
}

/// As it is written in a path, where nothing was told is nothing.
pub(super) enum Spelled<'a> {
    Bytes(&'a [u8]),
    Digits(Digits),
}

impl<'a> From<Option<Text<'a>>> for Spelled<'a> {
    fn from(text: Option<Text<'a>>) -> Self {
        match text {
            Some(Text::Bytes(text)) => Self::Bytes(text),
            Some(Text::Number(number, _)) => Self::Digits(decimal(number)),
            None => Self::Bytes(&[]),
        }
    }
}

impl Spelled<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(text) => text,
            Self::Digits(digits) => digits.as_bytes(),
        }
    }
}

/// Places of texts, by what was found.
#[derive(Default)]
pub(super) struct Gathered {
    pub headers: Taken,
    pub body: Option<Found>,
}

/// Where values of wanted headers lie in the frame, by their numbers. No value lies at its very beginning.
#[derive(Default)]
pub(super) struct Taken([Span; MAX_WANTED]);

impl Taken {
    #[inline(always)]
    pub fn take(&mut self, index: usize, value: Span) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = value;
        }
    }

    /// The value of a header; empty if none came.
    #[inline]
    fn of<'a>(&self, frame: &'a [u8], index: u8) -> &'a [u8] {
        let Span { start, length } = self.0.get(usize::from(index)).copied().unwrap_or_default();
        frame.get(start as usize..(start + length) as usize).unwrap_or(&[])
    }
}

impl<'a> Reading<'a> {
    /// Name and value of an attribute, which is put into the arena if it does not lie there. `front`, `preamble`: where they begin in it.
    #[inline(always)]
    pub fn attribute(
        &self,
        attribute: &Attribute,
        (front, preamble): (u32, u32),
        gathered: &Gathered,
        arena: &mut Vec<u8>,
    ) -> Option<(NameId, Span, Span)> {
        let value = match &attribute.value {
            Value::Part(part) => {
                let (start, end) = self.layout.span(*part);
                let length = end - start;
                (1..=MAX_TEXT)
                    .contains(&length)
                    .then_some(Span { start: front + start as u32, length: length as u32 })
            }
            Value::Told(text) => Some(Span { start: preamble + text.start, ..*text }),
            Value::Number(number) => {
                number.read(self.frame, self.layout).map(|number| put_number(number, arena))
            }
            Value::Sources(sources) => self.put_text(sources, gathered, arena),
        };
        let Span { start, length } = attribute.name;
        Some((attribute.id, Span { start: preamble + start, length }, value?))
    }

    #[inline(never)]
    fn put_text(&self, sources: &[Source], gathered: &Gathered, arena: &mut Vec<u8>) -> Option<Span> {
        Some(match self.first_text(sources, gathered)? {
            Text::Bytes(value) => put(value, arena),
            Text::Number(_, Some(number)) if number < 0 => put(number.to_string().as_bytes(), arena),
            Text::Number(number, _) => put_number(number, arena),
        })
    }

    /// What mostly tells a name: the header that is asked first, as it stands.
    #[inline(always)]
    pub fn plain_text<'s>(&'s self, texts: &Texts, gathered: &Gathered) -> Option<&'s [u8]> {
        Some(gathered.headers.of(self.frame, texts.first)).filter(|text| is_believed(text))
    }

    /// The first source that has something.
    #[inline]
    pub fn first_text<'s>(&'s self, sources: &'s [Source], gathered: &'s Gathered) -> Option<Text<'s>> {
        sources.iter().find_map(|source| self.text(source, gathered))
    }

    fn text<'s>(&'s self, source: &'s Source, gathered: &'s Gathered) -> Option<Text<'s>> {
        let whole = match &source.origin {
            Origin::Header(index) => gathered.headers.of(self.frame, *index),
            Origin::Body(index) => {
                let range = gathered.body.as_ref()?.values.get(usize::from(*index))?.clone()?;
                self.body().get(range)?
            }
            Origin::Text(text) => text,
            Origin::Part(index) => self.layout.part(self.frame, *index),
            Origin::Number(number) => return self.number(number),
        };
        believed(if source.is_whole() { whole } else { cut(whole, &source.before, &source.after)? })
    }

    fn number<'s>(&self, number: &Number) -> Option<Text<'s>> {
        let value = number.read(self.frame, self.layout)?;
        let signed = if number.signed { number.read_signed(self.frame, self.layout) } else { None };
        Some(Text::Number(value, signed))
    }

    /// Whether all that tells the method tells the same.
    pub fn agree(&self, reader: &Reader, gathered: &Gathered) -> bool {
        if gathered.body.is_none() && !reader.is_told_in_front {
            return true;
        }
        let mut texts =
            reader.method.sources.iter().filter_map(|source| match self.text(source, gathered)? {
                Text::Bytes(text) => Some(text),
                Text::Number(..) => None,
            });
        let first = texts.next();
        texts.all(|text| Some(text) == first)
    }

    /// The shortest time that a source gives, milliseconds.
    pub fn deadline(&self, reader: &Reader, gathered: &Gathered) -> Option<u64> {
        // 0, and what cannot be read, is no time: it becomes the longest.
        let mut shortest = u64::MAX;
        for source in &reader.deadline {
            let time = match &source.origin {
                Origin::Number(number) => {
                    let value = number.read(self.frame, self.layout).unwrap_or(0);
                    if number.signed && number.with_sign(value) < 0 { 0 } else { value }
                }
                Origin::Header(index) if gathered.headers.of(self.frame, *index).is_empty() => 0,
                _ => self.time(source, gathered).unwrap_or(0),
            };
            shortest = shortest.min(time.wrapping_sub(1));
        }
        shortest.checked_add(1)
    }

    #[inline(never)]
    fn time(&self, source: &Source, gathered: &Gathered) -> Option<u64> {
        match self.text(source, gathered)? {
            Text::Bytes(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
            Text::Number(number, _) => Some(number),
        }
    }
}

/// A text that is one.
#[inline]
fn believed(text: &[u8]) -> Option<Text<'_>> {
    is_believed(text).then_some(Text::Bytes(text))
}

#[inline(always)]
fn is_believed(text: &[u8]) -> bool {
    (1..=MAX_TEXT).contains(&text.len())
}

#[inline(always)]
fn put(text: &[u8], arena: &mut Vec<u8>) -> Span {
    let start = arena.len() as u32;
    arena.extend_from_slice(text);
    Span { start, length: text.len() as u32 }
}

/// As text. Most are small: two bytes are written whatever the number, which costs less than to copy as many as it has digits.
#[inline(always)]
fn put_number(number: u64, arena: &mut Vec<u8>) -> Span {
    if number >= 100 {
        return put(decimal(number).as_bytes(), arena);
    }
    let small = number as u8;
    let Span { start, length } = put(&[b'0' + small / 10, b'0' + small % 10], arena);
    let blank = u32::from(small < 10);
    Span { start: start + blank, length: length - blank }
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
