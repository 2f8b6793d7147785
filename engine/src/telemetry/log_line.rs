//! A log's format, compiled: parts that are appended one after another.
//!
//! In: a format, or JSON's fields. Out: lines. A part is literal text, with all its quotes and escapes, and a value behind it. Neighbouring
//! values that depend on the same (see `log_source::depends`) are one part: a worker keeps its text (`log_texts`), so that a
//! call writes for itself only what is its own.

use super::facts::Facts;
use super::log_compile::{Form, joined};
use super::log_escape::{escape_from, push_escaped};
use super::log_format::{Format, Operator};
use super::log_source::{Typed, depends_on, typed};
use super::log_texts::{PIECES, Pieces, Texts};
use super::log_time::write_time;
use crate::bytes::push_decimal;
use crate::matching::{Field, Lent};
use crate::message::MILLISECOND;

/// So few values are sooner written than found.
const WORTH_KEEPING: usize = 3;
/// Bytes of most literals.
const SHORT: usize = 32;

#[derive(Debug)]
pub(super) struct Line {
    id: u64,
    style: Style,
    parts: Box<[Part]>,
    /// Of connections and courses, by their index.
    kept: [Box<[Kept]>; 2],
}

/// Neighbours of which a worker keeps the text.
type Kept = Box<[Part]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Text,
    Json,
    /// JSON without fields that have no value: which comma is needed shows when the line is written.
    Sparse,
}

#[derive(Debug)]
pub(super) struct Part {
    pub lead: Literal,
    pub what: What,
}

/// Text of a format. Mostly it is shorter than its buffer: then all of that is copied and cut, which needs no call.
#[derive(Debug)]
pub(super) struct Literal {
    short: [u8; SHORT],
    length: usize,
    long: Box<[u8]>,
    /// Begins with a comma, which is left out behind an opening brace.
    is_member: bool,
}

/// What stands behind the literal. In JSON the opening quote is the literal's, and taken back if the value turns out to be no text.
#[derive(Debug)]
pub(super) enum What {
    Nothing,
    /// A number, always; without a quote in front of it.
    Count(Count),
    /// RFC 3339 with milliseconds.
    Started,
    Request(Fields),
    Response(Fields),
    /// Any operator: keeps its type in JSON. `most`: at most so many bytes.
    One {
        operator: Operator,
        most: Option<usize>,
    },
    /// A text of several pieces.
    Several(Format),
    Kept {
        key: Key,
        index: usize,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Received,
    Sent,
    Milliseconds,
}

#[derive(Debug)]
pub(super) struct Fields {
    pub name: Field,
    pub otherwise: Option<Field>,
}

/// What a kept text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Connection,
    Course,
}

impl Line {
    /// `id`: no other line's.
    pub fn new(id: u64, form: Form) -> Self {
        let mut line = Self { id, style: form.style, parts: Box::default(), kept: Default::default() };
        let mut parts = form.parts;
        let [connections, courses] = &mut line.kept;
        for (key, kept) in [(Key::Connection, connections), (Key::Course, courses)] {
            if parts.iter().filter(|part| depends_on(&part.what) == Some(key)).count() >= WORTH_KEEPING {
                (parts, *kept) = joined(parts, key, PIECES);
            }
        }
        line.parts = parts.into();
        line
    }

    fn kept(&self, key: Key) -> &[Kept] {
        let [connections, courses] = &self.kept;
        match key {
            Key::Connection => connections,
            Key::Course => courses,
        }
    }

    /// Appends the line of these facts.
    pub fn write(&self, facts: &Facts<'_>, texts: &mut Texts, out: &mut Vec<u8>) {
        // A layer-4 connection has one line, and one that came to nothing no number of its own.
        let is_call = facts.request.is_some();
        let fill = |key: Key| {
            move |pieces: &mut Pieces| {
                for (index, parts) in self.kept(key).iter().enumerate() {
                    parts.iter().for_each(|part| self.write_part(part, facts, [None; 2], &mut pieces.text));
                    pieces.end(index);
                }
            }
        };
        let Texts { connections, courses, .. } = texts;
        let mut pieces = [None; 2];
        let [connection, course] = &mut pieces;
        if is_call && !self.kept(Key::Connection).is_empty() {
            *connection = connections.find(self.id, facts, fill(Key::Connection));
        }
        if is_call && !self.kept(Key::Course).is_empty() {
            *course = courses.find(self.id, facts, fill(Key::Course));
        }
        for part in &self.parts {
            self.write_part(part, facts, pieces, out);
        }
    }

    #[inline]
    fn write_part(&self, part: &Part, facts: &Facts<'_>, pieces: [Option<&Pieces>; 2], out: &mut Vec<u8>) {
        let start = out.len();
        part.lead.push(out);
        match &part.what {
            What::Nothing => {}
            What::Count(count) => push_decimal(out, count.of(facts)),
            What::Started => {
                write_time("", facts.moments.started_wall, out);
                self.close(out);
            }
            What::Request(fields) => {
                let found = facts.request.and_then(|head| {
                    let found = fields.name.lend_of_request(head, out);
                    found.or_else(|| fields.otherwise.as_ref()?.lend_of_request(head, out))
                });
                self.write_field(found, start, out);
            }
            What::Response(fields) => {
                let found = facts.response.and_then(|head| {
                    let found = fields.name.lend_of_response(head, out);
                    found.or_else(|| fields.otherwise.as_ref()?.lend_of_response(head, out))
                });
                self.write_field(found, start, out);
            }
            What::One { operator, most } => self.write_one(operator, *most, facts, start, out),
            What::Several(format) => self.write_several(format, facts, out),
            What::Kept { key, index } => {
                let [connection, course] = pieces;
                let pieces = match key {
                    Key::Connection => connection,
                    Key::Course => course,
                };
                match pieces {
                    Some(pieces) if self.style == Style::Sparse => push_member(pieces.get(*index), out),
                    Some(pieces) => out.extend_from_slice(pieces.get(*index)),
                    None => self.write_kept(*key, *index, facts, out),
                }
            }
        }
    }

    /// For once, or too long.
    #[cold]
    fn write_kept(&self, key: Key, index: usize, facts: &Facts<'_>, out: &mut Vec<u8>) {
        for part in self.kept(key).get(index).into_iter().flatten() {
            self.write_part(part, facts, [None; 2], out);
        }
    }

    /// Behind a text.
    #[inline]
    fn close(&self, out: &mut Vec<u8>) {
        if self.style != Style::Text {
            out.push(b'"');
        }
    }

    /// `start`: where the literal in front of the value begins.
    #[inline]
    fn write_absent(&self, start: usize, out: &mut Vec<u8>) {
        match self.style {
            Style::Text => out.push(b'-'),
            Style::Json => {
                out.pop();
                out.extend_from_slice(b"null");
            }
            Style::Sparse => out.truncate(start),
        }
    }

    #[inline]
    fn write_text(&self, text: &[u8], out: &mut Vec<u8>) {
        match self.style {
            Style::Text => out.extend_from_slice(text),
            Style::Json | Style::Sparse => {
                push_escaped(text, out);
                out.push(b'"');
            }
        }
    }

    #[inline]
    fn write_field(&self, found: Option<Lent<'_>>, start: usize, out: &mut Vec<u8>) {
        match found {
            Some(Lent::Here(value)) => self.write_text(value, out),
            Some(Lent::Pushed { from }) => self.end_text(from, out),
            None => self.write_absent(start, out),
        }
    }

    /// The text that has been written from here on.
    fn end_text(&self, from: usize, out: &mut Vec<u8>) {
        if self.style != Style::Text {
            escape_from(from, out);
            out.push(b'"');
        }
    }

    fn write_one(
        &self,
        operator: &Operator,
        most: Option<usize>,
        facts: &Facts<'_>,
        start: usize,
        out: &mut Vec<u8>,
    ) {
        let from = out.len();
        let is_text = self.style == Style::Text;
        match typed(facts, operator, out) {
            Typed::Number(number) => {
                if !is_text {
                    out.pop();
                }
                push_decimal(out, number);
            }
            Typed::Absent => self.write_absent(start, out),
            Typed::Text(text) => self.write_text(cut(text, most), out),
            Typed::Plain if most.is_none() => self.close(out),
            Typed::Written | Typed::Plain => {
                out.truncate(end_of(from, most));
                self.end_text(from, out);
            }
        }
        if is_text {
            out.truncate(end_of(from, most));
        }
    }

    fn write_several(&self, format: &Format, facts: &Facts<'_>, out: &mut Vec<u8>) {
        let from = out.len();
        format.render(facts, if self.style == Style::Sparse { "" } else { "-" }, out);
        self.end_text(from, out);
    }
}

impl Literal {
    pub fn new(text: &[u8], is_member: bool) -> Self {
        let mut short = [0; SHORT];
        let long = match short.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Box::default()
            }
            None => text.into(),
        };
        Self { short, length: text.len(), long, is_member }
    }

    #[inline]
    fn push(&self, out: &mut Vec<u8>) {
        if self.is_member && out.last() == Some(&b'{') {
            return out.extend_from_slice(self.as_bytes().get(1..).unwrap_or(&[]));
        }
        if self.length <= SHORT {
            let end = out.len() + self.length;
            out.extend_from_slice(&self.short);
            out.truncate(end);
        } else {
            out.extend_from_slice(&self.long);
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.short.get(..self.length).unwrap_or(&self.long)
    }
}

impl Count {
    fn of(self, facts: &Facts<'_>) -> u64 {
        match self {
            Self::Received => facts.received,
            Self::Sent => facts.sent,
            Self::Milliseconds => facts.duration() / MILLISECOND,
        }
    }
}

/// Appends members of an object.
fn push_member(text: &[u8], out: &mut Vec<u8>) {
    // No value ends with an opening brace: texts end with their quotes.
    let is_first = out.last() == Some(&b'{');
    out.extend_from_slice(text.get(usize::from(is_first)..).unwrap_or(&[]));
}

/// So much of a value as is wanted.
fn cut(value: &[u8], most: Option<usize>) -> &[u8] {
    most.and_then(|most| value.get(..most)).unwrap_or(value)
}

fn end_of(from: usize, most: Option<usize>) -> usize {
    most.map_or(usize::MAX, |most| from.saturating_add(most))
}
