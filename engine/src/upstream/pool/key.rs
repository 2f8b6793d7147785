//! By what requests share a connection: equal keys mean that a connection of the one can carry the other.

use std::sync::Arc;

use crate::codec::Framed;
use crate::upstream::breaker::Priority;
use crate::upstream::endpoint::EndpointId;

/// What requests of a pool travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolProtocol {
    Http1,
    Http2,
    /// As ALPN says.
    Auto,
}

/// A framed protocol, and which of its requests may share a connection.
#[derive(Debug, Clone)]
pub struct RpcKey {
    pub protocol: Framed,
    /// The frame's.
    pub pin: u64,
}

impl PartialEq for RpcKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.protocol, self.pin) == (&other.protocol, other.pin)
    }
}

impl Eq for RpcKey {}

/// What must be equal for two requests to share a connection, beside the endpoint and its TLS context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolKey {
    pub protocol: PoolProtocol,
    pub priority: Priority,
    /// Server name taken from the request (`auto_host_sni`).
    pub server_name: Option<Arc<str>>,
    /// HTTP/1 requests ride inside (`takes_http1_in_http2`).
    pub carries_http1: bool,
    /// Frames instead of HTTP, whatever `protocol` says.
    pub rpc: Option<RpcKey>,
}

/// A `PoolKey` that is only looked for: it borrows where the key holds.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub protocol: PoolProtocol,
    pub priority: Priority,
    pub server_name: Option<Arc<str>>,
    pub carries_http1: bool,
    /// The protocol and the frame's pin.
    pub rpc: Option<(&'a Framed, u64)>,
}

impl Wanted<'_> {
    pub(super) fn is(&self, key: &PoolKey) -> bool {
        let spoken = match (self.rpc, &key.rpc) {
            (Some((protocol, pin)), Some(known)) => pin == known.pin && *protocol == known.protocol,
            (None, None) => true,
            _ => false,
        };
        spoken
            && self.protocol == key.protocol
            && self.priority == key.priority
            && self.carries_http1 == key.carries_http1
            && self.server_name == key.server_name
    }

    pub(super) fn to_key(&self) -> PoolKey {
        let rpc = self.rpc.map(|(protocol, pin)| RpcKey { protocol: protocol.clone(), pin });
        PoolKey {
            protocol: self.protocol,
            priority: self.priority,
            server_name: self.server_name.clone(),
            carries_http1: self.carries_http1,
            rpc,
        }
    }
}

impl PoolKey {
    #[cfg(test)]
    pub(super) fn wanted(&self) -> Wanted<'_> {
        let rpc = self.rpc.as_ref().map(|spoken| (&spoken.protocol, spoken.pin));
        let server_name = self.server_name.clone();
        Wanted {
            protocol: self.protocol,
            priority: self.priority,
            server_name,
            carries_http1: self.carries_http1,
            rpc,
        }
    }

    /// Calls that a connection of a framed protocol takes at once.
    pub(super) fn calls(&self) -> u32 {
        self.rpc.as_ref().map_or(1, |spoken| spoken.protocol.provider_calls())
    }
}

/// A key with what is known of the endpoint.
#[derive(Debug)]
pub(super) struct FullKey {
    pub endpoint: EndpointId,
    /// Address of the TLS cell, 0 for clear text: a changed context means other connections.
    pub tls: usize,
    pub key: PoolKey,
}
