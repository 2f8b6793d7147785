//! A log's format, compiled: parts that are appended one after another.
//!
//! In: a format, or JSON's fields. Out: lines. A part is literal text, with all its quotes and escapes, and a value behind it. What all
//! calls of a course say alike is kept as one text (`log_ready`), as are neighbours that depend on the connection (`log_texts`), so
//! that a call writes for itself only what is its own.

use super::facts::Facts;
use super::log_compile::{Form, joined};
use super::log_escape::push_escaped;
use super::log_format::Operator;
use super::log_part::{Kept, Part, Style, What, push_members};
use super::log_ready::STEADY;
use super::log_sheet::Sheet;
use super::log_source::{Depends, Typed, depends_on, typed};
use super::log_texts::{PIECES, Pieces, Texts};
use super::log_time::standard;
use crate::bytes::push_address;

/// So few values are sooner written than found.
const WORTH_KEEPING: usize = 3;

#[derive(Debug)]
pub(super) struct Line {
    pub id: u64,
    style: Style,
    parts: Box<[Part]>,
    /// Of connections, by their index.
    kept: Box<[Kept]>,
    /// Parts that depend on what mostly stays the same.
    steady: Box<[usize]>,
    /// Enough of a line is the course's.
    has_courses: bool,
}

impl Line {
    /// `id`: no other line's.
    pub fn new(id: u64, form: Form) -> Self {
        let (mut parts, mut kept) = (form.parts, Box::default());
        let count = |parts: &[Part], wanted: &[Depends]| {
            parts.iter().filter(|part| wanted.contains(&depends_on(&part.what))).count()
        };
        if count(&parts, &[Depends::Connection]) >= WORTH_KEEPING {
            (parts, kept) = joined(parts, PIECES);
        }
        let is_steady = |part: &Part| depends_on(&part.what) == Depends::Steady;
        let steady = parts.iter().enumerate().filter(|(_, part)| is_steady(part)).map(|(index, _)| index);
        Self {
            id,
            style: form.style,
            kept,
            steady: steady.take(STEADY).collect(),
            has_courses: count(&parts, &[Depends::Course, Depends::Steady]) >= WORTH_KEEPING,
            parts: parts.into(),
        }
    }

    pub fn style(&self) -> Style {
        self.style
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn steady(&self) -> &[usize] {
        &self.steady
    }

    /// Appends the line of these facts.
    pub fn write(&self, facts: &Facts<'_>, texts: &mut Texts, out: &mut Sheet) {
        let Texts { connections, courses, scratch, .. } = texts;
        // A layer-4 connection has one line, and one that came to nothing no number of its own.
        let is_call = facts.request.is_some();
        let connection = if is_call && !self.kept.is_empty() {
            connections.find(self.id, facts, || {
                Pieces::made(|index, sheet| {
                    let parts = self.kept.get(index);
                    self.write_apart(parts.map_or(&[], |parts| parts), facts, sheet);
                    parts.is_some()
                })
            })
        } else {
            None
        };
        let ready = if is_call && self.has_courses { courses.find(self, facts, scratch) } else { None };
        match ready {
            Some(ready) => ready.write(self, facts, connection, scratch, out),
            None => self.write_all(facts, connection, scratch, out),
        }
    }

    /// What is for once, or too long.
    #[cold]
    fn write_all(
        &self,
        facts: &Facts<'_>,
        connection: Option<&Pieces>,
        scratch: &mut Vec<u8>,
        out: &mut Sheet,
    ) {
        for part in &self.parts {
            match part.what {
                What::Kept { index } => self.write_kept(index, facts, connection, out),
                _ => self.write_part(part, facts, scratch, out),
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
    pub fn write_kept(&self, index: usize, facts: &Facts<'_>, connection: Option<&Pieces>, out: &mut Sheet) {
        match connection {
            Some(pieces) if self.style == Style::Sparse => push_members(pieces.get(index), out),
            Some(pieces) => out.push_all(pieces.get(index)),
            None => {
                let parts = self.kept.get(index);
                self.write_apart(parts.map_or(&[], |parts| parts), facts, out);
            }
        }
    }

    /// A part within a line that is ready. Of a sparse one it says all by itself, since its literal goes if there is no value.
    #[inline(always)]
    pub fn write_own(&self, part: &Part, facts: &Facts<'_>, scratch: &mut Vec<u8>, out: &mut Sheet) {
        if self.style == Style::Sparse {
            self.write_part(part, facts, scratch, out);
        } else {
            self.write_value(&part.what, facts, scratch, out.len(), out);
        }
    }

    pub fn write_part(&self, part: &Part, facts: &Facts<'_>, scratch: &mut Vec<u8>, out: &mut Sheet) {
        let start = out.len();
        part.lead.push(out);
        self.write_value(&part.what, facts, scratch, start, out);
    }

    /// `start`: where the literal in front of the value begins; of interest in a sparse line.
    #[inline(always)]
    fn write_value(
        &self,
        what: &What,
        facts: &Facts<'_>,
        scratch: &mut Vec<u8>,
        start: usize,
        out: &mut Sheet,
    ) {
        match what {
            What::Count(count) => out.push_decimal(count.of(facts)),
            What::Started => self.write_started(facts, out),
            What::ServiceTime(_)
                if let (Some(milliseconds), Some(_)) = (facts.service_time, facts.response) =>
            {
                out.push_decimal(milliseconds.into());
                self.close(out);
            }
            What::Request(_) | What::Response(_) | What::ServiceTime(_) => {
                scratch.clear();
                match what.lend(facts, scratch) {
                    Some(value) => self.write_text(value, out),
                    None => self.write_absent(start, out),
                }
            }
            What::UpstreamLocal => match facts.upstream_local {
                Some(address) => {
                    scratch.clear();
                    push_address(scratch, address);
                    out.push_all(scratch);
                    self.close(out);
                }
                None => self.write_absent(start, out),
            },
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

    #[inline(always)]
    pub fn write_started(&self, facts: &Facts<'_>, out: &mut Sheet) {
        let text = standard(facts.moments.started_wall);
        out.push_short(&text, text.len());
        self.close(out);
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

/// So much of a value as is wanted.
fn cut(value: &[u8], most: Option<usize>) -> &[u8] {
    most.and_then(|most| value.get(..most)).unwrap_or(value)
}
