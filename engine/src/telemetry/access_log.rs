//! A compiled access log: facts in, one line out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::facts::Facts;
use super::log_compile::Form;
use super::log_filter::Filter;
use super::log_format::Format;
use super::log_line::Line;
use super::log_sheet::Sheet;
use super::log_texts::Texts;
use crate::plan::{self, AccessLogFormat, AccessLogSink, PlanError};

/// Where lines go and what they look like.
#[derive(Debug)]
pub struct AccessLogger {
    pub sink: AccessLogSink,
    line: Line,
    filter: Option<Filter>,
}

/// Numbers logs, so that what a worker keeps of one is never taken for another's.
static NEXT: AtomicU64 = AtomicU64::new(1);

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
        let form = match &plan.format {
            AccessLogFormat::Text { format } => {
                let parsed = Format::parse(format);
                Form::of_text(parsed.map_err(|reason| PlanError::new("format.format", reason))?)
            }
            AccessLogFormat::Json { fields, omit_empty } => {
                Form::of_json(fields, *omit_empty).map_err(|problem| problem.within("format.fields"))?
            }
        };
        let line = Line::new(NEXT.fetch_add(1, Relaxed), form);
        let filter = plan.filter.as_ref().map(Filter::compile).transpose();
        Ok(Self { sink, line, filter: filter.map_err(|problem| problem.within("filter"))? })
    }

    /// Every one of a list, with its index in the path of a refusal.
    pub fn compile_all(plans: &[plan::AccessLog], path: &str) -> Result<Box<[Self]>, PlanError> {
        let compile = |(index, plan)| {
            Self::compile(plan).map_err(|problem| problem.within(&format!("{path}[{index}]")))
        };
        plans.iter().enumerate().map(compile).collect()
    }

    /// No other log's, and never 0.
    pub(super) fn id(&self) -> u64 {
        self.line.id
    }

    /// Whether the log tells of these facts.
    pub fn wants(&self, facts: &Facts<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.passes(facts))
    }

    /// Appends the line of these facts. `texts`: the worker's.
    pub(super) fn write(&self, facts: &Facts<'_>, texts: &mut Texts, out: &mut Sheet) {
        self.line.write(facts, texts, out);
    }
}
