//! A log's format, compiled: parts that are appended one after another.
//!
//! In: a format, or JSON's fields. Out: lines. A part is literal text, with all its quotes and escapes, and a value behind it. Neighbouring
//! values that depend on the same (see `log_source::depends`) are one part: a worker keeps its text (`log_texts`), so that a
//! call writes for itself only what is its own.

use super::facts::Facts;
use super::log_compile::{Form, joined};
use super::log_escape::push_escaped;
use super::log_format::{Format, Operator};
use super::log_sheet::Sheet;
use super::log_source::{Typed, depends_on, lend_of_answer, typed};
use super::log_texts::{PIECES, Pieces, Texts};
use super::log_time::standard;
use crate::matching::{Field, Lent};
use crate::message::MILLISECOND;

/// So few values are sooner written than found.
const WORTH_KEEPING: usize = 3;
/// Bytes of most literals.
const SHORT: usize = 32;

#[derive(Debug)]
pub(super) struct Line {
    pub id: u64,
    style: Style,
    parts: Box<[Part]>,
    /// Of connections and courses, by their index.
    kept: [Box<[Kept]>; 2],
}

/// Neighbours of which a worker keeps the text.
pub(super) type Kept = Box<[Part]>;

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
    pub fn write(&self, facts: &Facts<'_>, texts: &mut Texts, out: &mut Sheet) {
        // A layer-4 connection has one line, and one that came to nothing no number of its own.
        let is_call = facts.request.is_some();
        let make = |key: Key| {
            move || {
                Pieces::made(|index, sheet| {
                    let parts = self.kept(key).get(index);
                    self.write_apart(parts.map_or(&[], |parts| parts), facts, sheet);
                    parts.is_some()
                })
            }
        };
        let Texts { connections, courses, scratch, .. } = texts;
        let (mut connection, mut course) = (None, None);
        if is_call && !self.kept(Key::Connection).is_empty() {
            connection = connections.find(self.id, facts, make(Key::Connection));
        }
        if is_call && !self.kept(Key::Course).is_empty() {
            course = courses.find(self.id, facts, make(Key::Course));
        }
        for part in &self.parts {
            let What::Kept { key, index } = part.what else {
                self.write_part(part, facts, scratch, out);
                continue;
            };
            let pieces = match key {
                Key::Connection => connection,
                Key::Course => course,
            };
            match pieces {
                Some(pieces) if self.style == Style::Sparse => push_member(pieces.get(index), out),
                Some(pieces) => out.push_all(pieces.get(index)),
                None => {
                    let parts = self.kept(key).get(index);
                    self.write_apart(parts.map_or(&[], |parts| parts), facts, out);
                }
            }
        }
    }

    /// Parts that are to be kept, or that are for once or too long.
    #[cold]
    fn write_apart(&self, parts: &[Part], facts: &Facts<'_>, out: &mut Sheet) {
        let mut scratch = Vec::new();
        for part in parts {
            self.write_part(part, facts, &mut scratch, out);
        }
    }

    #[inline(always)]
    fn write_part(&self, part: &Part, facts: &Facts<'_>, scratch: &mut Vec<u8>, out: &mut Sheet) {
        let start = out.len();
        part.lead.push(out);
        match &part.what {
            What::Count(count) => out.push_decimal(count.of(facts)),
            What::Started => {
                let text = standard(facts.moments.started_wall);
                out.push_short(&text, text.len());
                self.close(out);
            }
            What::Request(fields) => match facts.request {
                Some(head) => {
                    scratch.clear();
                    let found = fields.name.lend_of_request(head, scratch);
                    let found = found.or_else(|| fields.otherwise.as_ref()?.lend_of_request(head, scratch));
                    self.write_field(found, scratch, start, out);
                }
                None => self.write_absent(start, out),
            },
            What::Response(fields) => {
                scratch.clear();
                let found = lend_of_answer(facts, &fields.name, scratch);
                let found = found.or_else(|| lend_of_answer(facts, fields.otherwise.as_ref()?, scratch));
                self.write_field(found, scratch, start, out);
            }
            What::One { operator, most } => self.write_one((operator, *most), facts, scratch, start, out),
            What::Several(format) => {
                scratch.clear();
                format.render(facts, if self.style == Style::Sparse { "" } else { "-" }, scratch);
                self.write_text(scratch, out);
            }
            // Where it stands it is written in its own way.
            What::Nothing | What::Kept { .. } => {}
        }
    }

    /// Behind a text.
    #[inline(always)]
    fn close(&self, out: &mut Sheet) {
        if self.style != Style::Text {
            out.push(b'"');
        }
    }

    /// `start`: where the literal in front of the value begins.
    #[inline]
    fn write_absent(&self, start: usize, out: &mut Sheet) {
        match self.style {
            Style::Text => out.push(b'-'),
            Style::Json => {
                // The quote.
                out.truncate(out.len().saturating_sub(1));
                out.push_short(b"null", 4);
            }
            Style::Sparse => out.truncate(start),
        }
    }

    #[inline]
    fn write_text(&self, text: &[u8], out: &mut Sheet) {
        match self.style {
            Style::Text => out.push_all(text),
            Style::Json | Style::Sparse => {
                push_escaped(text, out);
                out.push(b'"');
            }
        }
    }

    #[inline]
    fn write_field(&self, found: Option<Lent<'_>>, scratch: &[u8], start: usize, out: &mut Sheet) {
        match found {
            Some(Lent::Here(value)) => self.write_text(value, out),
            Some(Lent::Pushed { from }) => self.write_text(scratch.get(from..).unwrap_or(&[]), out),
            None => self.write_absent(start, out),
        }
    }

    #[inline(never)]
    fn write_one(
        &self,
        (operator, most): (&Operator, Option<usize>),
        facts: &Facts<'_>,
        scratch: &mut Vec<u8>,
        start: usize,
        out: &mut Sheet,
    ) {
        scratch.clear();
        let from = out.len();
        match typed(facts, operator, scratch) {
            Typed::Number(number) => {
                if self.style != Style::Text {
                    out.truncate(from.saturating_sub(1));
                }
                out.push_decimal(number);
            }
            Typed::Absent => self.write_absent(start, out),
            Typed::Text(text) => self.write_text(cut(text, most), out),
            Typed::Plain => {
                out.push_all(cut(scratch, most));
                self.close(out);
            }
            Typed::Written => self.write_text(cut(scratch, most), out),
        }
        if self.style == Style::Text {
            out.truncate(most.map_or(usize::MAX, |most| from.saturating_add(most)));
        }
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

    #[inline(always)]
    fn push(&self, out: &mut Sheet) {
        if self.is_member {
            push_member(self.short.get(..self.length).unwrap_or(&self.long), out);
        } else if self.length <= SHORT {
            out.push_short(&self.short, self.length);
        } else {
            out.push_all(&self.long);
        }
    }
}

impl Count {
    #[inline]
    fn of(self, facts: &Facts<'_>) -> u64 {
        match self {
            Self::Received => facts.received,
            Self::Sent => facts.sent,
            Self::Milliseconds => facts.duration() / MILLISECOND,
        }
    }
}

/// Appends members of an object.
fn push_member(text: &[u8], out: &mut Sheet) {
    // No value ends with an opening brace: texts end with their quotes.
    let is_first = out.last() == Some(b'{');
    out.push_all(text.get(usize::from(is_first)..).unwrap_or(&[]));
}

/// So much of a value as is wanted.
fn cut(value: &[u8], most: Option<usize>) -> &[u8] {
    most.and_then(|most| value.get(..most)).unwrap_or(value)
}
