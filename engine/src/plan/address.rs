//! Where something listens or is reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// A socket address or a Unix socket (`envoy.config.core.v3.Address`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Address {
    /// `port` 0 in a listener means any free one; the chosen one is reported.
    Socket { ip: IpAddr, port: u16 },
    /// `path`: at most 107 bytes; a leading `@` means the abstract namespace.
    Pipe { path: String },
    /// A host name for the resolver (STRICT_DNS endpoints only).
    Name { host: String, port: u16 },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { ip, port } => SocketAddr::new(*ip, *port).fmt(formatter),
            Self::Pipe { path } => path.fmt(formatter),
            Self::Name { host, port } => write!(formatter, "{host}:{port}"),
        }
    }
}

/// `10.0.0.0/8` (`envoy.config.core.v3.CidrRange`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressRange {
    pub ip: IpAddr,
    pub prefix: u8,
}
