//! HTTP/2 (RFC 9113) with header compression (RFC 7541), both roles, with prior knowledge; ALPN is the transport's matter.
//!
//! `frame`, `hpack_decode`, `head` and `settings` judge a peer's bytes, `receive` and its kin when they may come; `guard` counts what
//! is allowed once but not a thousand times. `connection` holds the state that both roles share.

mod connection;
mod control;
mod frame;
mod guard;
mod head;
mod hpack_decode;
mod hpack_encode;
mod huffman;
mod receive;
mod receive_head;
mod role;
mod send;
mod settings;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod window;

pub use role::{Client, Server};

/// Limits and habits of one connection. The defaults are those of ARCHITECTURE.md's table of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a head or of trailers after decompression, 32 more a field (RFC 9113 §6.5.2); more is 431.
    pub max_head_bytes: usize,
    /// Fields of a head, and of trailers; more is 431.
    pub max_fields: usize,
    /// From a head's first byte to its last, and from the connection's first to the end of its preface, milliseconds.
    /// `None` = unlimited.
    pub head_timeout: Option<u64>,
    /// Streams that the peer may have open at once (server role).
    pub max_concurrent_streams: u32,
    /// Bytes a peer may send on a stream, and on the connection, before it gets credit; at least 65,535.
    pub stream_window: u32,
    pub connection_window: u32,
    /// Milliseconds without a byte of the peer until a PING asks whether it lives. `None` = never.
    pub keepalive_interval: Option<u64>,
    /// Milliseconds that the PING may stay unanswered.
    pub keepalive_timeout: u64,
    /// Leave `Expect: 100-continue` to the upstream instead of answering it at once.
    pub pass_expect: bool,
    /// Tell the peer that what it declines is sent elsewhere (client role; Mainstay's own SETTINGS parameter).
    pub resends: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_head_bytes: 60 * 1024,
            max_fields: 100,
            head_timeout: Some(10_000),
            max_concurrent_streams: 256,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            keepalive_interval: None,
            keepalive_timeout: 20_000,
            pass_expect: false,
            resends: false,
        }
    }
}
