//! A framed protocol as the rest of the mesh knows it: by what it is called, how its calls share connections, and the codecs that it makes.
//!
//! In: what a snapshot says. Out: the one type by which listeners, pools and metrics speak of framed protocols, however their
//! frames are made. Invariant: two are equal exactly if frames that came by one can be written by the other.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::AnyCodec;
use super::native;
use super::rpc::{self, Match, Trace};
use crate::message::ResponseHead;
use crate::plan::{PlanError, RpcCodec};

#[derive(Debug, Clone)]
pub enum Framed {
    Described(Arc<rpc::Description>),
    Native(Arc<native::Protocol>),
}

impl Framed {
    pub fn compile(plan: &RpcCodec) -> Result<Self, PlanError> {
        match plan {
            RpcCodec::Described { protocol } => Ok(Self::Described(Arc::new(rpc::compile(protocol)?))),
            RpcCodec::Native { name, options } => {
                Ok(Self::Native(Arc::new(native::Protocol::compile(name, options)?)))
            }
        }
    }

    /// Of a description's plan, as JSON.
    #[cfg(test)]
    pub fn described(plan: &str) -> Self {
        Self::Described(Arc::new(rpc::compile(&serde_json::from_str(plan).unwrap()).unwrap()))
    }

    /// Scheme of requests, and label of metrics.
    pub fn name(&self) -> &str {
        match self {
            Self::Described(description) => &description.name,
            Self::Native(protocol) => protocol.name(),
        }
    }

    /// Equal for equal protocols: what heads that came by one keep as `Frame::protocol`.
    #[inline]
    pub fn digest(&self) -> NonZeroU64 {
        match self {
            Self::Described(description) => description.digest(),
            Self::Native(protocol) => protocol.digest(),
        }
    }

    /// Where calls tell their trace, if they do.
    pub fn trace(&self) -> Option<&Trace> {
        match self {
            Self::Described(description) => description.trace.as_ref(),
            Self::Native(protocol) => protocol.trace(),
        }
    }

    /// Calls in flight on one of our connections to a provider.
    pub fn provider_calls(&self) -> u32 {
        match self {
            Self::Described(description) => description.provider_calls(),
            Self::Native(protocol) => protocol.provider_calls(),
        }
    }

    /// The protocol's status in a reply of ours with this head.
    pub fn reply_status(&self, head: &ResponseHead) -> u64 {
        match self {
            Self::Described(description) => description.reply_status(head),
            Self::Native(protocol) => protocol.reply_status(head),
        }
    }

    /// First bytes may tell it: it need not be declared.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Described(description) => description.is_certain(),
            Self::Native(protocol) => protocol.is_certain(),
        }
    }

    /// Whether a client's first bytes are this protocol. Never `Yes` for one that must be declared.
    pub fn recognise(&self, bytes: &[u8]) -> Match {
        match self {
            Self::Described(description) => description.recognise(bytes),
            Self::Native(protocol) => protocol.recognise(bytes),
        }
    }

    /// The codec of a caller's connection.
    pub fn server(&self) -> AnyCodec {
        match self {
            Self::Described(description) => rpc::Connection::server(Arc::clone(description)).into(),
            Self::Native(protocol) => protocol.server().into(),
        }
    }

    /// The codec of a connection to a provider.
    pub fn client(&self) -> AnyCodec {
        match self {
            Self::Described(description) => rpc::Connection::client(Arc::clone(description)).into(),
            Self::Native(protocol) => protocol.client().into(),
        }
    }
}

impl PartialEq for Framed {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Framed {}
