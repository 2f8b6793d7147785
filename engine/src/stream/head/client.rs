//! Who the client is, and what it may say: addresses behind trusted hops, and `x-envoy-*` fields from outside.
//!
//! In: the connection's peer, the plan, a request's head. Out: the client's address, whether it is one of ours, and a
//! head without what strangers may not ask. The rules are those of Envoy's connection manager.

use std::net::{IpAddr, SocketAddr};

use super::Entrance;
use crate::bytes::push_ip;
use crate::message::{HeaderBlock, NameId, NameSet, RequestHead};

/// What is known of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Client {
    /// As trusted hops forwarded it, else the connection's peer.
    pub address: Option<SocketAddr>,
    /// The request comes from inside, by a single address that the plan calls internal.
    pub is_internal: bool,
    /// We are the edge, and the request does not come from inside.
    pub is_edge: bool,
}

/// Fields by which a caller steers us; only callers inside may.
const STEERING: NameSet = NameSet::of(&[
    NameId::X_ENVOY_RETRIABLE_STATUS_CODES,
    NameId::X_ENVOY_RETRIABLE_HEADER_NAMES,
    NameId::X_ENVOY_RETRY_ON,
    NameId::X_ENVOY_RETRY_GRPC_ON,
    NameId::X_ENVOY_MAX_RETRIES,
    NameId::X_ENVOY_UPSTREAM_ALT_STAT_NAME,
    NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    NameId::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    NameId::X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE,
    NameId::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    NameId::X_ENVOY_FORCE_TRACE,
    NameId::X_ENVOY_IP_TAGS,
    NameId::X_ENVOY_ORIGINAL_PATH,
    NameId::X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
]);

/// Finds the client, appends to `x-forwarded-for`, sets `x-forwarded-proto`, and removes what it may not say.
pub fn identify(entrance: Entrance<'_>, head: &mut RequestHead) -> Client {
    let Entrance { manager, peer, .. } = entrance;
    let headers = &mut head.headers;
    headers.remove_id(NameId::X_ENVOY_INTERNAL);
    let (forwarded, single) = if manager.use_remote_address {
        let single = !headers.contains_id(NameId::X_FORWARDED_FOR);
        let hops = manager.xff_trusted_hops;
        let address = hops.checked_sub(1).and_then(|skip| forwarded_for(headers, skip));
        if !manager.skip_xff_append
            && let Some(remote) = peer.remote
        {
            append(headers, NameId::X_FORWARDED_FOR, b",", &text_of(remote.ip()));
        }
        if hops == 0 {
            headers.remove_id(NameId::X_FORWARDED_PROTO);
        }
        (address, single)
    } else {
        let address = forwarded_for(headers, manager.xff_trusted_hops);
        let single = headers
            .get_id(NameId::X_FORWARDED_FOR)
            .is_some_and(|value| !value.contains(&b',') && manager.xff_trusted_hops == 0);
        (address, single)
    };
    if !headers.contains_id(NameId::X_FORWARDED_PROTO) {
        headers.push_id(NameId::X_FORWARDED_PROTO, if peer.is_tls { b"https" } else { b"http" });
    }
    let address = forwarded.map(|ip| SocketAddr::new(ip, 0)).or(peer.remote);
    let is_internal = single && is_inside(entrance, address);
    let client = Client { address, is_internal, is_edge: manager.use_remote_address && !is_internal };
    strip(headers, client);
    client
}

fn strip(headers: &mut HeaderBlock, client: Client) {
    if client.is_internal {
        headers.push_id(NameId::X_ENVOY_INTERNAL, b"true");
        return;
    }
    headers.remove_ids(STEERING);
    if !client.is_edge {
        return;
    }
    headers.remove_id(NameId::X_ENVOY_DECORATOR_OPERATION);
    headers.remove_id(NameId::X_ENVOY_ORIGINAL_HOST);
    headers.remove_where(|_, name, _| name.starts_with(b"x-envoy-downstream-service-"));
    if let Some(address) = client.address {
        headers.set_id(NameId::X_ENVOY_EXTERNAL_ADDRESS, &text_of(address.ip()));
    }
}

fn text_of(ip: IpAddr) -> Vec<u8> {
    let mut text = Vec::with_capacity(40);
    push_ip(&mut text, ip.to_canonical());
    text
}

/// The address `skip` places before the last of `x-forwarded-for`.
fn forwarded_for(headers: &HeaderBlock, skip: u32) -> Option<IpAddr> {
    if !headers.contains_id(NameId::X_FORWARDED_FOR) {
        return None;
    }
    let fields: Vec<&[u8]> = headers.all_id(NameId::X_FORWARDED_FOR).collect();
    let joined = fields.join(&b","[..]);
    let text = std::str::from_utf8(&joined).ok()?;
    text.rsplit(',').nth(usize::try_from(skip).ok()?)?.trim().parse().ok()
}

/// Appends to a list field, all of whose lines become one.
pub fn append(headers: &mut HeaderBlock, id: NameId, separator: &[u8], value: &[u8]) {
    let mut list: Vec<u8> = Vec::new();
    for earlier in headers.all_id(id) {
        list.extend_from_slice(earlier);
        list.extend_from_slice(separator);
    }
    list.extend_from_slice(value);
    headers.set_id(id, &list);
}

/// `internal_address_config`. A client without an address came by a Unix socket.
fn is_inside(entrance: Entrance<'_>, address: Option<SocketAddr>) -> bool {
    match address {
        Some(address) => entrance.internal.iter().any(|range| range.contains(address.ip())),
        None => entrance.manager.internal_unix_sockets,
    }
}
