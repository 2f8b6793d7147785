//! Where an endpoint is reached.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::plan::Address;

/// An address that can be dialled; identity of an endpoint within its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Remote {
    Socket(SocketAddr),
    /// A Unix socket; a leading `@` means the abstract namespace.
    Pipe(Arc<str>),
}

impl Remote {
    /// `None` for a host name: that is for the resolver.
    pub fn new(address: &Address) -> Option<Self> {
        match address {
            Address::Socket { ip, port } => Some(Self::Socket(SocketAddr::new(*ip, *port))),
            Address::Pipe { path } => Some(Self::Pipe(path.as_str().into())),
            Address::Name { .. } => None,
        }
    }

    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Pipe(_) => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(formatter),
            Self::Pipe(path) => formatter.write_str(path),
        }
    }
}
