//! Endpoints of original destination clusters: made when first asked for, one per address, forgotten when quiet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::address::Remote;
use super::endpoint::{Endpoint, Spec};
use super::set::renew;
use crate::message::{MILLISECOND, Tick};
use crate::plan::Health;
use crate::telemetry::PeerLabels;
use crate::tls::ClientCell;

/// Destinations of one cluster at a time; beyond, new ones are served but not remembered.
const MAX_DESTINATIONS: usize = 16_384;

/// Locked for a look-up per layer-4 connection or request: far rarer than bytes, so no cleverer structure is paid for.
#[derive(Debug, Default)]
pub(super) struct Destinations(Mutex<HashMap<SocketAddr, (Arc<Endpoint>, Tick)>>);

impl Destinations {
    pub fn find(&self, wanted: SocketAddr, tls: Option<Arc<ClientCell>>, now: Tick) -> Option<Arc<Endpoint>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let former = known.get(&wanted).map(|(endpoint, _)| endpoint);
        let spec = match former {
            Some(former) => Arc::clone(&former.spec),
            None => Arc::new(Spec {
                address: Remote::Socket(wanted),
                hostname: "".into(),
                weight: 1,
                health: Health::Healthy,
                socket_labels: Arc::default(),
                labels: Arc::new(PeerLabels::default()),
                takes_http1_in_http2: false,
            }),
        };
        let endpoint = renew(former, &spec, tls);
        if known.len() < MAX_DESTINATIONS || known.contains_key(&wanted) {
            known.insert(wanted, (Arc::clone(&endpoint), now));
        }
        Some(endpoint)
    }

    /// Forgets what was not asked for during `interval` milliseconds and is not in use.
    pub fn sweep(&self, interval: u64, now: Tick) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (endpoint, used)| {
            Arc::strong_count(endpoint) > 1 || now.since(*used) < interval.saturating_mul(MILLISECOND)
        });
    }

    pub fn list(&self) -> Vec<Arc<Endpoint>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|(endpoint, _)| Arc::clone(endpoint)).collect()
    }
}
