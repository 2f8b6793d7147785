//! What a log's line is made of: literal texts, and values behind them.

use super::facts::Facts;
use super::log_format::{Format, Operator};
use super::log_sheet::Sheet;
use super::log_source::{Depends, Typed, depends_on, lend_of_answer, typed};
use crate::matching::{Field, Lent};
use crate::message::MILLISECOND;

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
    /// All calls of a course say the same.
    pub is_of_course: bool,
}

/// Text of a format.
#[derive(Debug)]
pub(super) struct Literal {
    text: Box<[u8]>,
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
    /// An answer's field, or what calls of framed protocols have in its place.
    ServiceTime(Fields),
    /// Where we asked from.
    UpstreamLocal,
    /// Any operator: keeps its type in JSON. `most`: at most so many bytes.
    One {
        operator: Operator,
        most: Option<usize>,
    },
    /// A text of several pieces.
    Several(Format),
    Kept {
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

impl Part {
    pub fn new(lead: Literal, what: What) -> Self {
        let is_of_course = matches!(depends_on(&what), Depends::Nothing | Depends::Course);
        Self { lead, what, is_of_course }
    }
}

impl What {
    /// The value of a steady part, before quotes and escapes. `scratch`: empty; for what has to be made.
    #[inline]
    pub fn lend<'v>(&'v self, facts: &'v Facts<'_>, scratch: &'v mut Vec<u8>) -> Option<&'v [u8]> {
        let found = match self {
            Self::Request(fields) => {
                let head = facts.request?;
                let found = fields.name.lend_of_request(head, scratch);
                found.or_else(|| fields.otherwise.as_ref()?.lend_of_request(head, scratch))
            }
            Self::Response(fields) | Self::ServiceTime(fields) => {
                let found = lend_of_answer(facts, &fields.name, scratch);
                found.or_else(|| lend_of_answer(facts, fields.otherwise.as_ref()?, scratch))
            }
            Self::One { operator, .. } => match typed(facts, operator, scratch) {
                Typed::Text(text) => Some(Lent::Here(text)),
                Typed::Written | Typed::Plain => Some(Lent::Pushed { from: 0 }),
                Typed::Number(_) | Typed::Absent => None,
            },
            _ => None,
        };
        match found? {
            Lent::Here(value) => Some(value),
            Lent::Pushed { from } => scratch.get(from..),
        }
    }
}

impl Literal {
    pub fn new(text: &[u8], is_member: bool) -> Self {
        Self { text: text.into(), is_member }
    }

    pub fn push(&self, out: &mut Sheet) {
        if self.is_member {
            push_members(&self.text, out);
        } else {
            out.push_all(&self.text);
        }
    }
}

impl Count {
    #[inline]
    pub fn of(self, facts: &Facts<'_>) -> u64 {
        match self {
            Self::Received => facts.received,
            Self::Sent => facts.sent,
            Self::Milliseconds => facts.duration() / MILLISECOND,
        }
    }
}

/// Appends text of an object: a comma that it begins with goes where no member is in front of it.
#[inline(always)]
pub(super) fn push_members(text: &[u8], out: &mut Sheet) {
    // No value ends with an opening brace: texts end with their quotes.
    let is_first = text.first() == Some(&b',') && out.last() == Some(b'{');
    out.push_all(text.get(usize::from(is_first)..).unwrap_or(&[]));
}
