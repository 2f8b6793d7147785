//! Header mutations (`envoy.config.core.v3.HeaderValueOption`): compiled once, evaluated per request.
//!
//! As in Envoy: a level first removes; then every value is evaluated against what is left, empty ones are passed over unless
//! kept, overwriting ones are set, and the others are added. A later level sees what an earlier one did.

use crate::matching::Field;
use crate::message::{HeaderBlock, Name, RequestHead, ResponseHead};
use crate::plan::{HeaderChange, HeaderChangeKind, PlanError, RouteHeaders};
use crate::telemetry::log_format::{Format, Operator, Source};

/// Mutations of one level and direction.
#[derive(Debug, Clone, Default)]
pub struct HeaderChanges {
    removed: Box<[Name]>,
    /// First those that overwrite, then those that add.
    changes: Box<[Change]>,
    /// Nothing depends on the message: what is written is known beforehand.
    is_fixed: bool,
}

#[derive(Debug, Clone)]
struct Change {
    name: Name,
    value: Format,
    kind: HeaderChangeKind,
    keep_empty: bool,
}

impl Change {
    fn overwrites(&self) -> bool {
        matches!(self.kind, HeaderChangeKind::OverwriteIfExists | HeaderChangeKind::OverwriteIfExistsOrAdd)
    }

    /// `None`: the change does not take place.
    fn write(&self, value: Option<&[u8]>, block: &mut HeaderBlock) {
        match value {
            Some(value) if self.overwrites() => block.set(&self.name, value),
            Some(value) => block.push_name(&self.name, value),
            None => {}
        }
    }

    /// The value, if it is always the same and always written.
    fn fixed(&self) -> Option<&[u8]> {
        let always = matches!(
            self.kind,
            HeaderChangeKind::AppendIfExistsOrAdd | HeaderChangeKind::OverwriteIfExistsOrAdd
        );
        let value = self.value.constant().filter(|value| always && (!value.is_empty() || self.keep_empty));
        value.map(str::as_bytes)
    }
}

impl HeaderChanges {
    /// `path` and `removed_path`: where the lists stand in the plan.
    pub fn compile(
        changes: &[HeaderChange],
        path: &str,
        removed: &[String],
        removed_path: &str,
    ) -> Result<Self, PlanError> {
        let mut made = Vec::with_capacity(changes.len());
        for (index, plan) in changes.iter().enumerate() {
            let name =
                modifiable(&plan.name).map_err(|problem| problem.within(&format!("{path}[{index}].name")))?;
            let value = Format::parse(&plan.value)
                .map_err(|reason| PlanError::new(format!("{path}[{index}].value"), reason))?;
            if value.pieces().iter().any(breaks_lines) {
                return Err(PlanError::new(
                    format!("{path}[{index}].value"),
                    "a header value cannot hold line breaks or NUL",
                ));
            }
            made.push(Change { name, value, kind: plan.action, keep_empty: plan.keep_empty });
        }
        let removed = removed.iter().enumerate().map(|(index, name)| {
            modifiable(name).map_err(|problem| problem.within(&format!("{removed_path}[{index}]")))
        });
        let is_fixed = made.iter().all(|change| change.fixed().is_some());
        made.sort_by_key(|change| !change.overwrites());
        Ok(Self { removed: removed.collect::<Result<_, _>>()?, changes: made.into(), is_fixed })
    }

    /// The request's side of one level.
    pub fn of_request(plan: &RouteHeaders) -> Result<Self, PlanError> {
        Self::compile(&plan.request, "headers.request", &plan.request_remove, "headers.request_remove")
    }

    /// The response's side of one level.
    pub fn of_response(plan: &RouteHeaders) -> Result<Self, PlanError> {
        Self::compile(&plan.response, "headers.response", &plan.response_remove, "headers.response_remove")
    }

    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.changes.is_empty()
    }

    /// `%REQ(…)%` is answered from the head itself, all else by `source`.
    pub fn apply_request(&self, head: &mut RequestHead, source: &dyn Source) {
        if self.is_empty() {
            return;
        }
        self.remove(&mut head.headers);
        if self.is_fixed {
            return self.write_fixed(&mut head.headers);
        }
        let values = self.evaluate(&head.headers, &RequestSource { head, rest: source });
        self.write(&values, &mut head.headers);
    }

    /// `%RESP(…)%` is answered from the head itself, all else by `source`.
    pub fn apply_response(&self, head: &mut ResponseHead, source: &dyn Source) {
        if self.is_empty() {
            return;
        }
        self.remove(&mut head.headers);
        if self.is_fixed {
            return self.write_fixed(&mut head.headers);
        }
        let values = self.evaluate(&head.headers, &ResponseSource { head, rest: source });
        self.write(&values, &mut head.headers);
    }

    fn remove(&self, block: &mut HeaderBlock) {
        for name in &self.removed {
            block.remove(name);
        }
    }

    /// For every change its value, `None` if it does not take place.
    fn evaluate(&self, block: &HeaderBlock, source: &dyn Source) -> Vec<Option<Vec<u8>>> {
        let evaluate = |change: &Change| {
            let exists = block.get(&change.name).is_some();
            match change.kind {
                HeaderChangeKind::AddIfAbsent if exists => return None,
                HeaderChangeKind::OverwriteIfExists if !exists => return None,
                _ => {}
            }
            let mut value = Vec::new();
            change.value.render(source, "", &mut value);
            // What came from a peer may hold anything that a codec lets pass; a line break must not.
            value.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            (!value.is_empty() || change.keep_empty).then_some(value)
        };
        self.changes.iter().map(evaluate).collect()
    }

    fn write_fixed(&self, block: &mut HeaderBlock) {
        for change in &self.changes {
            change.write(change.fixed(), block);
        }
    }

    fn write(&self, values: &[Option<Vec<u8>>], block: &mut HeaderBlock) {
        for (change, value) in self.changes.iter().zip(values) {
            change.write(value.as_deref(), block);
        }
    }
}

fn breaks_lines(piece: &crate::telemetry::log_format::Piece) -> bool {
    matches!(piece, crate::telemetry::log_format::Piece::Text(text)
        if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)))
}

/// A header that configuration may change: framing and routing rest on the others.
fn modifiable(name: &str) -> Result<Name, PlanError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(PlanError::new(
            "",
            format!("{name} cannot be changed here; host and path have rewrites of their own"),
        ));
    }
    if name.is_empty() || !name.bytes().all(token) {
        return Err(PlanError::new("", format!("\"{name}\" is no header name")));
    }
    Ok(Name::new(name))
}

/// Answers `%REQ(…)%` from a head that the exchange has lent out for a change.
pub struct RequestSource<'a> {
    pub head: &'a RequestHead,
    pub rest: &'a dyn Source,
}

impl Source for RequestSource<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::Request { name, otherwise } => {
                let value = |field: &Field| field.of_request(self.head);
                append(value(name).or_else(|| otherwise.as_ref().and_then(value)).as_deref(), out)
            }
            operator => self.rest.write(operator, out),
        }
    }
}

/// Answers `%RESP(…)%` from a head that the exchange has lent out for a change.
pub struct ResponseSource<'a> {
    pub head: &'a ResponseHead,
    pub rest: &'a dyn Source,
}

impl Source for ResponseSource<'_> {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        match operator {
            Operator::Response { name, otherwise } => {
                let value = |field: &Field| field.of_response(self.head);
                append(value(name).or_else(|| otherwise.as_ref().and_then(value)).as_deref(), out)
            }
            operator => self.rest.write(operator, out),
        }
    }
}

fn append(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    if let Some(value) = value {
        out.extend_from_slice(value);
    }
    value.is_some()
}
