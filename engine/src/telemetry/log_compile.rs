//! From a format to the parts of its lines.

use super::log_escape::escaped;
use super::log_format::{Format, Operator, Piece, Value};
use super::log_part::{Count, Fields, Kept, Literal, Part, Style, What};
use super::log_source::{Depends, depends_on, is_service_time};
use crate::plan::{JsonField, PlanError};

/// Objects in objects at most.
const MAX_DEPTH: u32 = 16;

/// All that a line is made of, in order.
pub(super) struct Form {
    pub style: Style,
    pub parts: Vec<Part>,
    /// Text that waits for the next part.
    text: Vec<u8>,
}

impl Form {
    pub fn of_text(format: Format) -> Self {
        let mut form = Self { style: Style::Text, parts: Vec::new(), text: Vec::new() };
        for piece in format.into_pieces() {
            match piece {
                Piece::Text(text) => form.text.extend_from_slice(text.as_bytes()),
                Piece::Operator { operator, most } => form.push(what(operator, most), false),
            }
        }
        form.ended()
    }

    pub fn of_json(fields: &[JsonField], omit_empty: bool) -> Result<Self, PlanError> {
        let style = if omit_empty { Style::Sparse } else { Style::Json };
        let mut form = Self { style, parts: Vec::new(), text: Vec::new() };
        form.object(fields, 0)?;
        form.text.push(b'\n');
        Ok(form.ended())
    }

    fn push(&mut self, what: What, is_member: bool) {
        let text = std::mem::take(&mut self.text);
        self.parts.push(Part::new(Literal::new(&text, is_member), what));
    }

    fn ended(mut self) -> Self {
        if !self.text.is_empty() {
            self.push(What::Nothing, false);
        }
        self
    }

    fn object(&mut self, fields: &[JsonField], depth: u32) -> Result<(), PlanError> {
        if depth >= MAX_DEPTH {
            return Err(PlanError::new("", format!("objects nest deeper than {MAX_DEPTH}")));
        }
        self.text.push(b'{');
        for (index, field) in fields.iter().enumerate() {
            self.field(field, index == 0, depth).map_err(|problem| problem.within(&format!("[{index}]")))?;
        }
        self.text.push(b'}');
        Ok(())
    }

    fn field(&mut self, field: &JsonField, is_first: bool, depth: u32) -> Result<(), PlanError> {
        let is_sparse = self.style == Style::Sparse;
        if is_sparse && !self.text.is_empty() {
            // The comma of the next is not sure.
            self.push(What::Nothing, false);
        }
        if is_sparse || !is_first {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend(escaped(field.name.as_bytes()));
        self.text.extend_from_slice(b"\":");
        if !field.fields.is_empty() {
            if is_sparse {
                self.push(What::Nothing, true);
            }
            return self.object(&field.fields, depth + 1).map_err(|problem| problem.within("fields"));
        }
        let format = Format::parse(&field.value).map_err(|reason| PlanError::new("value", reason))?;
        if let Some(constant) = format.constant() {
            self.text.push(b'"');
            self.text.extend(escaped(constant.as_bytes()));
            self.text.push(b'"');
            if is_sparse {
                self.push(What::Nothing, true);
            }
            return Ok(());
        }
        let what = match format.single() {
            Ok((operator, most)) => what(operator, most),
            Err(several) => What::Several(several),
        };
        if !matches!(what, What::Count(_)) {
            self.text.push(b'"');
        }
        self.push(what, is_sparse);
        Ok(())
    }
}

fn what(operator: Operator, most: Option<usize>) -> What {
    match (operator, most) {
        (Operator::Value(Value::BytesReceived), None) => What::Count(Count::Received),
        (Operator::Value(Value::BytesSent), None) => What::Count(Count::Sent),
        (Operator::Value(Value::Duration), None) => What::Count(Count::Milliseconds),
        (Operator::Value(Value::UpstreamLocalAddress), None) => What::UpstreamLocal,
        (Operator::StartTime { format }, None) if format.is_empty() => What::Started,
        (Operator::Request { name, otherwise }, None) => What::Request(Fields { name, otherwise }),
        (Operator::Response { name, otherwise }, None) if is_service_time(&name) => {
            What::ServiceTime(Fields { name, otherwise })
        }
        (Operator::Response { name, otherwise }, None) => What::Response(Fields { name, otherwise }),
        (operator, most) => What::One { operator, most },
    }
}

/// Puts neighbours that depend on the connection together, up to so many groups.
pub(super) fn joined(parts: Vec<Part>, most: usize) -> (Vec<Part>, Box<[Kept]>) {
    let (mut rest, mut groups) = (Vec::with_capacity(parts.len()), Vec::new());
    let mut parts = parts.into_iter().peekable();
    let belongs = |part: &Part| depends_on(&part.what) == Depends::Connection;
    while let Some(part) = parts.next() {
        if !belongs(&part) || groups.len() == most {
            rest.push(part);
            continue;
        }
        let mut group = vec![part];
        while let Some(next) = parts.next_if(belongs) {
            group.push(next);
        }
        rest.push(Part::new(Literal::new(b"", false), What::Kept { index: groups.len() }));
        groups.push(group.into());
    }
    (rest, groups.into())
}
