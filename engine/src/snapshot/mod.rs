//! Configuration in force: deltas become the next immutable snapshot, or refusals by path.
//!
//! In: deltas from Python, answers of the resolver and of first health checks. Out: snapshots that workers swap in between
//! turns, a report, events. Invariant: each resource is judged alone and keeps its last good version; what is unchanged
//! keeps its `Arc`, so that pointer equality tells what changed. One `Builder` per engine, outside the workers.

mod builder;
mod compile;
mod facts;
mod listener;
mod monitor;
mod secrets;
mod shards;
#[cfg(test)]
mod tests;
mod view;
mod warm;

pub use builder::Builder;
pub use facts::{Due, Lookup, Outcome};
pub use listener::{Chain, HttpManager, Listener, Routes, Sought, TcpProxy, Terminal};
pub use monitor::Probe;
pub use secrets::{KeyRing, SecretStore};
pub use shards::Shards;
pub use view::Snapshot;

pub use crate::tls::{ClientCell, ServerCell};
