//! What a framed protocol keeps of a message beside its fields, so that it can be written again as it came.

use std::num::NonZeroU64;

use super::headers::{Mark, Span};

/// Opaque to all but codecs of the same protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// All in front of the body, as received; lies in the arena of the head's fields.
    pub bytes: Span,
    /// Which protocol: the digest of its description.
    pub protocol: NonZeroU64,
    /// Which of its shapes.
    pub shape: u16,
    /// Of a request its caller's id, of a response its status, as the frame says them.
    pub number: u64,
    /// Of a request, as the frame says them: routes may rewrite the head's authority and path.
    pub service: Span,
    pub method: Span,
    /// Of a request: those that may share a connection to a server have equal ones (versions, say).
    pub pin: u64,
    /// The first so many fields were not in the frame's header map.
    pub attributes: u16,
    /// Fields that are pairs of the map, behind the attributes.
    pub pairs: u16,
    /// The fields as they were received.
    pub mark: Mark,
}
