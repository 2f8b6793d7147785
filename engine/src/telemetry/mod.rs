//! One place where telemetry ends: facts gather on the exchange, one recorder turns them into counters, histogram, log line and span.

pub mod facts;

pub use facts::{Facts, PeerLabels, Reporter};
