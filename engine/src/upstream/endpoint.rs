//! An endpoint of a cluster, and the atomics that all workers share about it.
//!
//! Identity is cluster + address: a new endpoint set re-uses the `State` of every address it had before, so that counts,
//! ejections and pools live on. What the configuration says of an endpoint is its `Spec`; it may change under the same state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::address::Remote;
use crate::message::Tick;
use crate::plan::Health;
use crate::telemetry::PeerLabels;
use crate::tls::ClientCell;

/// Number of an endpoint (cluster + address) in this process: pools and lists of tried endpoints use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// What the configuration says of an endpoint. Equal specs are one object through updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub address: Remote,
    /// Empty if unknown.
    pub hostname: Arc<str>,
    /// At least 1.
    pub weight: u32,
    pub health: Health,
    /// `envoy.transport_socket_match` metadata.
    pub socket_labels: Arc<[(String, String)]>,
    /// For Istio's metrics.
    pub labels: Arc<PeerLabels>,
    pub takes_http1_in_http2: bool,
}

/// Bits of `State::bits`: why an endpoint is out of rotation, whatever the configuration says.
pub(super) const FAILED_CHECK: u32 = 1;
pub(super) const EJECTED: u32 = 2;

/// One line of atomics per endpoint. The healthy path only reads.
#[derive(Debug)]
pub(super) struct State {
    pub id: EndpointId,
    pub bits: AtomicU32,
    pub consecutive_5xx: AtomicU32,
    pub consecutive_gateway: AtomicU32,
    pub consecutive_local: AtomicU32,
    /// Requests under way, counted where the balancer asks for it.
    pub active: AtomicU32,
    /// How many ejections the next one's duration is multiplied by, less one.
    pub ejections: AtomicU32,
    /// Nanoseconds; meaningful while `EJECTED` is set.
    pub ejected_until: AtomicU64,
    /// Nanoseconds: until then it is avoided, since it declined a connection or a request; 0 once it has taken one.
    pub avoided_until: AtomicU64,
}

impl State {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: EndpointId(NEXT.fetch_add(1, Relaxed)),
            bits: AtomicU32::new(0),
            consecutive_5xx: AtomicU32::new(0),
            consecutive_gateway: AtomicU32::new(0),
            consecutive_local: AtomicU32::new(0),
            active: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            avoided_until: AtomicU64::new(0),
        }
    }
}

/// An endpoint as a request finds it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub(super) spec: Arc<Spec>,
    pub(super) tls: Option<Arc<ClientCell>>,
    pub(super) state: Arc<State>,
}

impl Endpoint {
    pub fn id(&self) -> EndpointId {
        self.state.id
    }

    pub fn address(&self) -> &Remote {
        &self.spec.address
    }

    /// For `Host` rewriting and TLS names; empty if unknown.
    pub fn hostname(&self) -> &Arc<str> {
        &self.spec.hostname
    }

    /// What Istio's metrics say of the destination.
    pub fn labels(&self) -> &Arc<PeerLabels> {
        &self.spec.labels
    }

    pub fn weight(&self) -> u32 {
        self.spec.weight
    }

    /// The context for connections to it, chosen by its socket labels; `None` = clear text.
    pub fn tls(&self) -> Option<&Arc<ClientCell>> {
        self.tls.as_ref()
    }

    pub fn takes_http1_in_http2(&self) -> bool {
        self.spec.takes_http1_in_http2
    }

    pub fn is_ejected(&self) -> bool {
        self.state.bits.load(Relaxed) & EJECTED != 0
    }

    pub fn failed_health_check(&self) -> bool {
        self.state.bits.load(Relaxed) & FAILED_CHECK != 0
    }

    /// In which rank requests may go to it: what the configuration says, unless checks or ejection say worse.
    pub fn health(&self) -> Health {
        match self.state.bits.load(Relaxed) {
            0 => self.spec.health,
            _ => Health::Unhealthy,
        }
    }

    /// What the configuration says of it, whatever checks and ejection say.
    pub fn configured_health(&self) -> Health {
        self.spec.health
    }

    /// Since when it is out until when; `None` unless ejected.
    pub fn ejected_until(&self) -> Option<Tick> {
        self.is_ejected().then(|| Tick(self.state.ejected_until.load(Relaxed)))
    }

    /// It has just declined a connection or a request: others are asked first.
    pub fn is_avoided(&self, now: Tick) -> bool {
        self.state.avoided_until.load(Relaxed) > now.0
    }

    /// It has taken a connection.
    pub fn note_connected(&self) {
        if self.state.avoided_until.load(Relaxed) != 0 {
            self.state.avoided_until.store(0, Relaxed);
        }
    }

    pub fn active_requests(&self) -> u32 {
        self.state.active.load(Relaxed)
    }

    /// Counts a request under way until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.state.active.fetch_add(1, Relaxed);
        InFlight(Arc::clone(&self.state))
    }
}

/// A request under way at an endpoint.
#[derive(Debug)]
pub struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}
