//! A change of configuration, and what became of it.

use serde::{Deserialize, Serialize};

use super::route::serde_bytes_compat;

/// Kinds of resources, in the order in which a delta is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Secret,
    Endpoints,
    Cluster,
    Route,
    /// A route table of framed protocols; its names are its own.
    GenericRoute,
    Listener,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    pub upserts: Vec<Upsert>,
    pub removals: Vec<Removal>,
}

/// `body`: MessagePack of the kind's struct. An equal `digest` is skipped undecoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upsert {
    pub resource: Kind,
    pub name: String,
    pub digest: String,
    #[serde(with = "serde_bytes_compat")]
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    pub resource: Kind,
    pub name: String,
}

/// `generation` counts snapshots; what is not refused is in force (or warming).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyReport {
    pub generation: u64,
    pub accepted: u64,
    pub refused: Vec<RefusedResource>,
}

/// The resource keeps its last good version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedResource {
    pub resource: Kind,
    pub name: String,
    /// Field path inside the plan struct, empty for the whole.
    pub path: String,
    pub reason: String,
}
