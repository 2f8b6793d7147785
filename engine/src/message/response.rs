//! Head of a response, whatever protocol carried it.

use super::frame::Frame;
use super::headers::HeaderBlock;
use super::request::{BodyLength, Protocol};

#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub headers: HeaderBlock,
    /// HTTP status; for RPC the HTTP status that corresponds to the outcome.
    pub status: u16,
    pub protocol: Protocol,
    pub body: BodyLength,
    /// As it came, where a framed protocol carried it.
    pub frame: Option<Frame>,
}

impl ResponseHead {
    pub fn with_status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        let Self { headers, status, protocol, body, frame } = self;
        headers.clear();
        (*status, *protocol, *body, *frame) = (0, Protocol::default(), BodyLength::default(), None);
    }
}
