//! Configuration in force: deltas become the next immutable snapshot, or refusals by path.

mod secrets;
mod shards;

pub use secrets::{ClientCell, KeyRing, SecretStore, ServerCell};
pub use shards::Shards;
