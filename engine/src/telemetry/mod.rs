//! One place where telemetry ends: facts gather on the exchange, one recorder turns them into counters, histogram, log line and span.

mod access_log;
pub mod counters;
pub mod facts;
pub mod histogram;
mod log_buffer;
mod log_compile;
mod log_escape;
mod log_filter;
pub mod log_format;
mod log_line;
#[cfg(test)]
mod log_line_tests;
mod log_part;
mod log_ready;
mod log_sheet;
mod log_source;
#[cfg(test)]
mod log_tests;
mod log_texts;
mod log_time;
mod named;
pub mod prometheus;
mod record;
pub mod series;
mod trace;

pub use access_log::AccessLogger;
pub use counters::{ClusterCounter, Group, HttpCounter, ListenerCounter, TcpCounter, class_of};
pub use facts::{Facts, Moments, PeerLabels, Reporter, RpcFacts};
pub use log_buffer::{LogBuffers, LogWriter, Trouble};
pub use log_time::write_time;
pub use record::{Recorder, Shard, Telemetry};
pub use trace::{TraceContext, ensure_rpc_trace, ensure_trace, request_id};
