//! The line of a course as it was written last, but for what is each call's own: a call copies the texts between its own values.
//!
//! In: a line's parts, and a call. Out: lines of calls of the same course (`log_texts` keeps one for each). What of a line is made of
//! more than the course, but mostly says the same (method, path, agents; which of our connections it went by), is *steady*:
//! it is text as long as each call says the same, and each call's own from the first time that one says something else. Invariant: a
//! line that is written from here is the one that its parts make.

use std::net::SocketAddr;

use super::facts::Facts;
use super::log_line::Line;
use super::log_part::{Count, Fields, Style, What, push_members};
use super::log_sheet::Sheet;
use super::log_texts::Pieces;
use crate::bytes::is_same;
use crate::matching::Field;
use crate::message::NameSet;

/// Steady parts of a line at most; what is beyond is each call's own.
pub(super) const STEADY: usize = 32;
/// Longer values of theirs, bytes, are each call's own.
const LONGEST_VALUE: usize = 256;
/// Bytes of a whole line.
const LONGEST: usize = 2 * 1024;
/// Shorter texts are copied without a call; so many bytes lie behind all of them.
const SHORT: usize = 32;

#[derive(Debug)]
pub(super) struct Ready {
    /// All texts, one behind the other.
    text: Box<[u8]>,
    cuts: Box<[Cut]>,
    /// Bytes of text behind the last cut.
    rest: usize,
    held: Box<[Held]>,
    /// What the held ones say.
    values: Box<[u8]>,
    /// As long as none of these can be among the request's fields, steady parts that would look for them need not.
    absent: NameSet,
    /// Steady parts that are each call's own, as bits.
    own: u32,
}

/// Where a call's own value stands: behind so many bytes of text.
#[derive(Debug)]
struct Cut {
    length: usize,
    own: Own,
}

#[derive(Debug)]
enum Own {
    Count(Count),
    Started,
    /// What is kept of the connection.
    Kept(usize),
    /// By its index.
    Part(usize),
}

/// A steady part that is text, with the value that it is the text of.
#[derive(Debug)]
struct Held {
    number: usize,
    part: usize,
    said: Said,
    question: Question,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Text { start: usize, end: usize },
    Address(Option<SocketAddr>),
}

/// What it takes to see that a call says the same.
#[derive(Debug)]
enum Question {
    /// Nothing, while the names tell that its fields are not there.
    Names,
    /// A text of the request's own, while they do.
    Text(Field),
    /// The whole.
    Value,
}

impl Ready {
    /// With what this call says. `own`: see there. `None`: it is too long.
    #[cold]
    pub fn made(line: &Line, facts: &Facts<'_>, mut own: u32) -> Option<Box<Self>> {
        let (mut held, mut values, mut absent) = (Vec::new(), Vec::new(), NameSet::default());
        let mut scratch = Vec::new();
        for (number, &part) in line.steady().iter().enumerate() {
            let what = line.parts().get(part).map(|part| &part.what)?;
            scratch.clear();
            let value = what.lend(facts, &mut scratch);
            if own >> number & 1 == 1 || value.is_some_and(|value| value.len() > LONGEST_VALUE) {
                own |= 1 << number;
                continue;
            }
            let said = match (what, value) {
                (What::UpstreamLocal, _) => Said::Address(facts.upstream_local),
                (_, None) => Said::Nothing,
                (_, Some(value)) => {
                    let start = values.len();
                    values.extend_from_slice(value);
                    Said::Text { start, end: values.len() }
                }
            };
            held.push(Held { number, part, said, question: question(what, facts, &mut absent) });
        }
        let (mut text, mut run, mut cuts) = (Vec::new(), Sheet::default(), Vec::new());
        for (index, part) in line.parts().iter().enumerate() {
            if part.is_of_course || held.iter().any(|held| held.part == index) {
                line.write_part(part, facts, &mut scratch, &mut run);
                continue;
            }
            let own = match part.what {
                What::Kept { index } => Own::Kept(index),
                // Its literal goes if there is no value, so that the part says all by itself.
                _ if line.style() == Style::Sparse => Own::Part(index),
                What::Count(count) => Own::Count(count),
                What::Started => Own::Started,
                _ => Own::Part(index),
            };
            if line.style() != Style::Sparse {
                part.lead.push(&mut run);
            }
            cuts.push(Cut { length: run.len(), own });
            text.extend_from_slice(run.as_bytes());
            run.truncate(0);
        }
        text.extend_from_slice(run.as_bytes());
        let length = text.len() + values.len();
        text.extend_from_slice(&[0; SHORT]);
        let made = Self {
            text: text.into(),
            cuts: cuts.into(),
            rest: run.len(),
            held: held.into(),
            values: values.into(),
            absent,
            own,
        };
        (length <= LONGEST).then(|| Box::new(made))
    }

    /// The steady parts that are each call's own, if one that was not yet says something else in this call.
    #[inline]
    pub fn changed(&self, line: &Line, facts: &Facts<'_>, scratch: &mut Vec<u8>) -> Option<u32> {
        let head = facts.request?;
        let tells = !head.headers.may_contain(self.absent);
        let other = self.held.iter().find(|held| match (&held.question, &held.said) {
            (_, Said::Address(known)) => *known != facts.upstream_local,
            (Question::Names, _) if tells => false,
            (Question::Text(field), said) if tells => !self.is_said(said, field.text_of(head)),
            (_, said) => {
                scratch.clear();
                let part = line.parts().get(held.part);
                !self.is_said(said, part.and_then(|part| part.what.lend(facts, scratch)))
            }
        });
        Some(self.own | 1 << other?.number)
    }

    #[inline(always)]
    fn is_said(&self, said: &Said, value: Option<&[u8]>) -> bool {
        match (said, value) {
            (Said::Text { start, end }, Some(value)) => {
                self.values.get(*start..*end).is_some_and(|known| is_same(known, value))
            }
            (said, value) => *said == Said::Nothing && value.is_none(),
        }
    }

    /// Appends the line of a call that says what is held.
    #[inline]
    pub fn write(
        &self,
        line: &Line,
        facts: &Facts<'_>,
        connection: Option<&Pieces>,
        scratch: &mut Vec<u8>,
        out: &mut Sheet,
    ) {
        let mut text = &*self.text;
        for cut in &self.cuts {
            text = push(line.style(), text, cut.length, out);
            match cut.own {
                Own::Count(count) => out.push_decimal(count.of(facts)),
                Own::Started => line.write_started(facts, out),
                Own::Kept(index) => line.write_kept(index, facts, connection, out),
                Own::Part(index) => {
                    if let Some(part) = line.parts().get(index) {
                        line.write_own(part, facts, scratch, out);
                    }
                }
            }
        }
        push(line.style(), text, self.rest, out);
    }
}

/// `absent` takes the names that the answer is about.
fn question(what: &What, facts: &Facts<'_>, absent: &mut NameSet) -> Question {
    let (What::Request(Fields { name, otherwise }), Some(head)) = (what, facts.request) else {
        return Question::Value;
    };
    let mut fields = std::iter::once(name).chain(otherwise).peekable();
    let mut names = NameSet::default();
    while let Some(field) = fields.next() {
        match field {
            Field::Header(name) if !head.headers.may_have(name) => names.insert(name.id),
            Field::Header(_) => return Question::Value,
            _ if fields.peek().is_some() => return Question::Value,
            text => {
                absent.add(names);
                return Question::Text(text.clone());
            }
        }
    }
    absent.add(names);
    Question::Names
}

/// Appends so much of a text, and returns what is behind it.
#[inline(always)]
fn push<'t>(style: Style, text: &'t [u8], length: usize, out: &mut Sheet) -> &'t [u8] {
    let Some((run, behind)) = text.split_at_checked(length) else { return &[] };
    if style == Style::Sparse {
        push_members(run, out);
        return behind;
    }
    match text.first_chunk::<SHORT>() {
        Some(short) if length <= SHORT => out.push_short(short, length),
        _ => out.push_all(run),
    }
    behind
}
