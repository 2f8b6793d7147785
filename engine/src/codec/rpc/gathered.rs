//! What a frame tells of its call: texts and numbers, by the sources that a description names.
//!
//! In: a frame being read, and where in it the values lie of headers that sources look for. Out: attributes, names, a deadline. Invariant: a
//! text is believed up to `MAX_TEXT` bytes, and an empty one is none, so that the next source is asked.

use super::description::{Attribute, MAX_WANTED, Origin, Reader, Source, Value};
use super::head::Reading;
use super::hessian::Found;
use super::place::Number;
use crate::bytes::decimal;
use crate::message::{HeaderBlock, Span};

/// Longest service, method or attribute that is believed, bytes.
const MAX_TEXT: usize = 1_024;

/// What a source gave.
pub(super) enum Text<'a> {
    Bytes(&'a [u8]),
    /// As it stands, and with its sign if it has one.
    Number(u64, Option<i64>),
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
    /// Of several values of one name the last one counts, or the first.
    pub fn take(&mut self, index: usize, value: Span, last_wins: bool) {
        if let Some(slot) = self.0.get_mut(index)
            && (last_wins || slot.start == 0)
        {
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
    /// `front`, `preamble`: where they begin in the arena.
    pub fn put_attribute(
        &self,
        attribute: &Attribute,
        (front, preamble): (u32, u32),
        gathered: &Gathered,
        headers: &mut HeaderBlock,
    ) {
        let value = match &attribute.value {
            Value::Part(part) => {
                let (start, end) = self.layout.span(*part);
                let length = end - start;
                (1..=MAX_TEXT)
                    .contains(&length)
                    .then_some(Span { start: front + start as u32, length: length as u32 })
            }
            Value::Number(number) => {
                number.read(self.frame, self.layout).map(|number| stash_number(number, headers))
            }
            Value::Sources(sources) => self.first_text(sources, gathered).map(|text| match text {
                Text::Bytes(value) => headers.stash(value),
                Text::Number(_, Some(number)) if number < 0 => headers.stash(number.to_string().as_bytes()),
                Text::Number(number, _) => stash_number(number, headers),
            }),
        };
        let Span { start, length } = attribute.name;
        if let Some(value) = value {
            headers.push_known(attribute.id, Span { start: preamble + start, length }, value);
        }
    }

    /// The first source that has something.
    #[inline]
    pub fn first_text<'s>(&'s self, sources: &'s [Source], gathered: &'s Gathered) -> Option<Text<'s>> {
        sources.iter().find_map(|source| match source.origin {
            Origin::Header(index) if source.is_whole() => believed(gathered.headers.of(self.frame, index)),
            _ => self.text(source, gathered),
        })
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
        let mut texts = reader.method.iter().filter_map(|source| match self.text(source, gathered)? {
            Text::Bytes(text) => Some(text),
            Text::Number(..) => None,
        });
        let first = texts.next();
        texts.all(|text| Some(text) == first)
    }

    /// The shortest time that a source gives, milliseconds.
    pub fn deadline(&self, reader: &Reader, gathered: &Gathered) -> Option<u64> {
        let times = reader.deadline.iter().filter_map(|source| match &source.origin {
            Origin::Number(number) if number.signed => {
                u64::try_from(number.read_signed(self.frame, self.layout)?).ok()
            }
            Origin::Number(number) => number.read(self.frame, self.layout),
            Origin::Header(index) if gathered.headers.of(self.frame, *index).is_empty() => None,
            _ => match self.text(source, gathered)? {
                Text::Bytes(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
                Text::Number(number, _) => Some(number),
            },
        });
        times.filter(|&time| time > 0).min()
    }
}

/// A text that is one.
#[inline]
fn believed(text: &[u8]) -> Option<Text<'_>> {
    (1..=MAX_TEXT).contains(&text.len()).then_some(Text::Bytes(text))
}

/// As text. Most are small: two bytes are written whatever the number, which costs less than to copy as many as it has digits.
#[inline]
fn stash_number(number: u64, headers: &mut HeaderBlock) -> Span {
    if number >= 100 {
        return headers.stash(decimal(number).as_bytes());
    }
    let small = number as u8;
    let Span { start, length } = headers.stash(&[b'0' + small / 10, b'0' + small % 10]);
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
