//! Clusters that wait for facts of their own before they are in force: the first answers of the resolver, the first round of
//! health checks. The version before serves meanwhile; after `LIMIT` the new one is put in force with what is known.

use std::sync::Arc;

use super::builder::Endpoints;
use crate::message::Tick;
use crate::upstream::{Cluster, EndpointSet, Membership};

/// Milliseconds.
pub(super) const LIMIT: u64 = 15_000;

#[derive(Debug)]
pub(super) struct Warming {
    pub cluster: Arc<Cluster>,
    pub endpoints: Endpoints,
    pub membership: Arc<Membership>,
    /// What it will be in force; its new endpoints are being checked.
    pub preview: Arc<EndpointSet>,
    pub until: Tick,
}
