//! Access logs (`envoy.config.accesslog.v3.AccessLog` with the file and stream loggers).

use serde::{Deserialize, Serialize};

use super::matching::HeaderMatch;
use super::route::Fraction;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    pub sink: AccessLogSink,
    pub format: AccessLogFormat,
    /// `None`: everything is told.
    pub filter: Option<LogFilter>,
}

/// `envoy.config.accesslog.v3.AccessLogFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LogFilter {
    StatusCode {
        comparison: LogComparison,
    },
    /// Of milliseconds.
    Duration {
        comparison: LogComparison,
    },
    NotHealthCheck {},
    /// Requests whose trace is sampled.
    Traceable {},
    And {
        filters: Vec<LogFilter>,
    },
    Or {
        filters: Vec<LogFilter>,
    },
    /// A share of all; unless `independent`, chosen by `x-request-id`.
    Runtime {
        fraction: Fraction,
        independent: bool,
    },
    /// Of the request.
    Header {
        matches: HeaderMatch,
    },
    /// Any of these; any at all if there are none.
    ResponseFlag {
        flags: Vec<String>,
    },
    GrpcStatus {
        statuses: Vec<u32>,
        exclude: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogComparison {
    pub kind: LogComparisonKind,
    pub value: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogComparisonKind {
    Eq,
    Ge,
    Le,
    Ne,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AccessLogSink {
    File { path: String },
    Stdout {},
    Stderr {},
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AccessLogFormat {
    /// Envoy's command operators; ends in a newline.
    Text { format: String },
    /// One object a line; values may hold operators and keep their type where they consist of one. Field order is kept.
    Json { fields: Vec<JsonField>, omit_empty: bool },
}

/// `value` is a format string, or nested `fields` when not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonField {
    pub name: String,
    pub value: String,
    pub fields: Vec<JsonField>,
}
