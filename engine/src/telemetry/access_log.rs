//! A compiled access log: facts in, one line out.

use std::io::Write;

use super::facts::Facts;
use super::log_filter::Filter;
use super::log_format::{Format, Piece};
use super::log_source::{Typed, typed};
use crate::bytes::{Word, find, push_decimal};
use crate::plan::{self, AccessLogFormat, AccessLogSink, JsonField, PlanError};

/// Where lines go and what they look like.
#[derive(Debug)]
pub struct AccessLogger {
    pub sink: AccessLogSink,
    format: Line,
    filter: Option<Filter>,
}

#[derive(Debug)]
enum Line {
    Text(Format),
    Json { fields: Box<[Field]>, omit_empty: bool },
}

#[derive(Debug)]
struct Field {
    /// `,"name":` with what the value begins with if it is text: a quote. Escaped.
    lead: Box<[u8]>,
    value: FieldValue,
}

#[derive(Debug)]
enum FieldValue {
    Format(Format),
    Object(Box<[Field]>),
}

/// Objects in objects at most.
const MAX_DEPTH: u32 = 16;

impl AccessLogger {
    pub fn compile(plan: &plan::AccessLog) -> Result<Self, PlanError> {
        let sink = match &plan.sink {
            // Opened anew these may be refused (a socket, another user's pipe); the descriptors are there already.
            AccessLogSink::File { path } if path == "/dev/stdout" => AccessLogSink::Stdout {},
            AccessLogSink::File { path } if path == "/dev/stderr" => AccessLogSink::Stderr {},
            AccessLogSink::File { path } if path.is_empty() => {
                return Err(PlanError::new("sink.path", "a log file needs a path"));
            }
            other => other.clone(),
        };
        let format = match &plan.format {
            AccessLogFormat::Text { format } => {
                Line::Text(Format::parse(format).map_err(|reason| PlanError::new("format.format", reason))?)
            }
            AccessLogFormat::Json { fields, omit_empty } => {
                let fields = compile_fields(fields, 0).map_err(|problem| problem.within("format.fields"))?;
                Line::Json { fields, omit_empty: *omit_empty }
            }
        };
        let filter = plan.filter.as_ref().map(Filter::compile).transpose();
        Ok(Self { sink, format, filter: filter.map_err(|problem| problem.within("filter"))? })
    }

    /// Every one of a list, with its index in the path of a refusal.
    pub fn compile_all(plans: &[plan::AccessLog], path: &str) -> Result<Box<[Self]>, PlanError> {
        let compile = |(index, plan)| {
            Self::compile(plan).map_err(|problem| problem.within(&format!("{path}[{index}]")))
        };
        plans.iter().enumerate().map(compile).collect()
    }

    /// Whether the log tells of these facts.
    pub fn wants(&self, facts: &Facts<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.passes(facts))
    }

    /// Appends the line of these facts.
    pub fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        match &self.format {
            Line::Text(format) => format.render(facts, "-", out),
            Line::Json { fields, omit_empty } => {
                write_object(fields, facts, *omit_empty, out);
                out.push(b'\n');
            }
        }
    }
}

fn compile_fields(plans: &[JsonField], depth: u32) -> Result<Box<[Field]>, PlanError> {
    if depth >= MAX_DEPTH {
        return Err(PlanError::new("", format!("objects nest deeper than {MAX_DEPTH}")));
    }
    let compile = |(index, plan): (usize, &JsonField)| {
        let within = |problem: PlanError| problem.within(&format!("[{index}]"));
        let mut lead = b",\"".to_vec();
        escape(plan.name.as_bytes(), &mut lead);
        lead.extend_from_slice(if plan.fields.is_empty() { b"\":\"" } else { b"\":" });
        let value = if plan.fields.is_empty() {
            let parsed = Format::parse(&plan.value).map_err(|reason| PlanError::new("value", reason));
            FieldValue::Format(parsed.map_err(within)?)
        } else {
            let nested = compile_fields(&plan.fields, depth + 1);
            FieldValue::Object(nested.map_err(|problem| within(problem.within("fields")))?)
        };
        Ok(Field { lead: lead.into(), value })
    };
    plans.iter().enumerate().map(compile).collect()
}

fn write_object(fields: &[Field], facts: &Facts<'_>, omit_empty: bool, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut is_first = true;
    for field in fields {
        let start = out.len();
        out.extend_from_slice(field.lead.get(usize::from(is_first)..).unwrap_or(&[]));
        let kept = match &field.value {
            FieldValue::Object(nested) => {
                write_object(nested, facts, omit_empty, out);
                true
            }
            FieldValue::Format(format) => write_value(format, facts, omit_empty, out),
        };
        if kept {
            is_first = false;
        } else {
            out.truncate(start);
        }
    }
    out.push(b'}');
}

/// A value that is one operator keeps its type, and is null (or left out) where there is none. Its opening quote is written.
fn write_value(format: &Format, facts: &Facts<'_>, omit_empty: bool, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let [Piece::Operator { operator, most }] = format.pieces() else {
        format.render(facts, if omit_empty { "" } else { "-" }, out);
        end_string(start, out);
        return true;
    };
    match typed(facts, operator, out) {
        Typed::Number(number) => {
            out.pop();
            push_decimal(out, number);
            return true;
        }
        Typed::Absent => {
            out.pop();
            if !omit_empty {
                out.extend_from_slice(b"null");
            }
            return !omit_empty;
        }
        Typed::Text(found) => out.extend_from_slice(found.as_bytes()),
        Typed::Plain if most.is_none() => {
            out.push(b'"');
            return true;
        }
        Typed::Written | Typed::Plain => {}
    }
    if let Some(most) = most {
        out.truncate(start.saturating_add(*most));
    }
    end_string(start, out);
    true
}

/// Ends the string whose text begins at `start`. Nearly all of them are written as they are.
fn end_string(start: usize, out: &mut Vec<u8>) {
    let is_special = |byte: u8| !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\';
    let marks = |word: Word| {
        word.below(0x20) | word.equal(b'"') | word.equal(b'\\') | word.equal(0x7f) | word.beyond_ascii()
    };
    let written = out.get(start..).unwrap_or(&[]);
    if let Some(at) = find(written, marks, is_special) {
        let raw = written.get(at..).unwrap_or(&[]).to_vec();
        out.truncate(start + at);
        escape(&raw, out);
    }
    out.push(b'"');
}

/// The text of a JSON string (RFC 8259 §7); bytes that are no UTF-8 become the replacement character.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => {
                    let _ = write!(out, "\\u{byte:04x}");
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
