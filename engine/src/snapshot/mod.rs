//! Configuration in force: deltas become the next immutable snapshot, or refusals by path.

mod secrets;
mod shards;

pub use secrets::{KeyRing, SecretStore};
pub use shards::Shards;

pub use crate::tls::{ClientCell, ServerCell};
