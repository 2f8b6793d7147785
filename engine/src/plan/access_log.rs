//! Access logs (`envoy.config.accesslog.v3.AccessLog` with the file and stream loggers).

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    pub sink: AccessLogSink,
    pub format: AccessLogFormat,
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
