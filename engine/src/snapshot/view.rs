//! The configuration in force, as a worker holds it between turns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::listener::{Listener, Routes};
use super::shards::Shards;
use crate::route::Table;
use crate::upstream::Cluster;

/// Immutable; the next one shares what has not changed.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts snapshots.
    pub generation: u64,
    pub listeners: BTreeMap<Arc<str>, Arc<Listener>>,
    pub clusters: Shards<Cluster>,
    pub tables: Shards<Table>,
    /// Of framed protocols.
    pub generic_tables: Shards<Table>,
}

impl Snapshot {
    /// `None`: there is no such cluster (flag NC).
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }

    /// The routes of an HTTP manager; `None`: its table has not come, or was removed (404, flag NR).
    pub fn routes<'s>(&'s self, routes: &'s Routes) -> Option<&'s Arc<Table>> {
        match routes {
            Routes::Named(name) => self.tables.get(name),
            Routes::Generic(name) => self.generic_tables.get(name),
            Routes::Inline(table) => Some(table),
        }
    }
}
