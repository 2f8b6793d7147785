//! One place where telemetry ends: facts gather on the exchange, one recorder turns them into counters, histogram, log line and span.

pub mod counters;
pub mod facts;
pub mod histogram;
pub mod log_format;
pub mod prometheus;
mod record;
pub mod series;

pub use counters::{ClusterCounter, Group, HttpCounter, ListenerCounter, TcpCounter, class_of};
pub use facts::{Facts, Moments, PeerLabels, Reporter};
pub use record::{Recorder, Shard, Telemetry};
