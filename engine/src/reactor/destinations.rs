//! Which listener a redirected connection was meant for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::plan::Address;
use crate::snapshot::{Listener, Snapshot};

/// Listeners by address, made once a snapshot.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    exact: HashMap<SocketAddr, Arc<Listener>>,
    /// Listeners of `0.0.0.0` and `::`, by port and family.
    any: HashMap<(u16, bool), Arc<Listener>>,
}

impl Destinations {
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut made = Self::default();
        // A listener that only receives what others hand to it is meant more than one that hands on.
        for listener in snapshot.listeners.values().filter(|listener| !listener.use_original_destination) {
            if let Address::Socket { ip, port } = listener.address {
                if ip.is_unspecified() {
                    made.any.insert((port, ip.is_ipv6()), Arc::clone(listener));
                } else {
                    made.exact.insert((ip, port).into(), Arc::clone(listener));
                }
            }
        }
        made
    }

    /// Exact address first, then the port on any address; an IPv6 wildcard also stands for IPv4.
    pub fn find(&self, destination: SocketAddr) -> Option<&Arc<Listener>> {
        let port = destination.port();
        self.exact
            .get(&destination)
            .or_else(|| self.any.get(&(port, destination.is_ipv6())))
            .or_else(|| self.any.get(&(port, true)))
    }
}
