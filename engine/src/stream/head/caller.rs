//! Who calls, where the protocol has no place for what a caller says of itself.
//!
//! In: the identity that the connection proved, its address, the configuration in force. Out: labels of the endpoint that has
//! this address and stands in the identity's namespace, if the configuration knows one: a workload that calls is mostly
//! called too. The certificate decides on principal and namespace, whatever the endpoint says.

use std::net::IpAddr;

use super::peer_metadata;
use crate::message::SpiffeId;
use crate::snapshot::Snapshot;
use crate::telemetry::PeerLabels;

/// Endpoints that are looked at, once a connection: more than most sidecars know, in less than a millisecond.
const MAX_LOOKED_AT: usize = 4_096;

/// Labels of a caller, and whether its endpoint was found.
pub fn labels(
    identity: Option<&SpiffeId>,
    address: Option<IpAddr>,
    snapshot: &Snapshot,
) -> (PeerLabels, bool) {
    let proved = peer_metadata::labels(identity, None);
    let found = address.filter(|_| !proved.namespace.is_empty()).and_then(|ip| find(ip, &proved, snapshot));
    match found {
        Some(found) => {
            (PeerLabels { principal: proved.principal, namespace: proved.namespace, ..found }, true)
        }
        None => (proved, false),
    }
}

fn find(ip: IpAddr, proved: &PeerLabels, snapshot: &Snapshot) -> Option<PeerLabels> {
    let mut left = MAX_LOOKED_AT;
    for (_, cluster) in snapshot.clusters.iter() {
        let set = cluster.endpoints();
        for endpoint in set.endpoints.iter().take(left) {
            let labels = endpoint.labels();
            if endpoint.address().socket().is_some_and(|address| address.ip() == ip)
                && labels.namespace == proved.namespace
                && !labels.workload.is_empty()
            {
                return Some(PeerLabels::clone(labels));
            }
        }
        left = left.checked_sub(set.endpoints.len())?;
    }
    None
}
